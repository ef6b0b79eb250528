//! Rows from the RFCs, and properties against an addition that is written out at length.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::arbitrary;

/// RFC 1071 in the plainest way: an unbounded sum, then carries until there are none.
fn slow_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[test]
fn the_example_of_rfc_1071_sums_to_its_result() {
    assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
}

#[test]
fn an_odd_last_byte_counts_as_the_high_half() {
    let rows: [(&[u8], u16); 6] = [
        (&[], 0),
        (&[0x12], 0x1200),
        (&[0x12, 0x34], 0x1234),
        (&[0x12, 0x34, 0x01], 0x1334),
        (&[0xff, 0xff, 0xff], 0xff00),
        (&[0xff, 0xff, 0xff, 0xff, 0x00, 0x01, 0x01], 0x0101),
    ];
    for (bytes, expected) in rows {
        assert_eq!(sum(bytes), expected, "{bytes:02x?}");
    }
}

#[test]
fn the_longest_packet_of_ones_does_not_overflow() {
    assert_eq!(sum(&[0xff; 65_535]), slow_sum(&[0xff; 65_535]));
}

//= https://www.rfc-editor.org/rfc/rfc1624#section-4
#[test]
fn the_example_of_rfc_1624_gives_zero_and_not_all_ones() {
    assert_eq!(Difference::NONE.u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
}

#[test]
fn no_change_leaves_the_checksum() {
    for checksum in 0..=u16::MAX {
        assert_eq!(Difference::NONE.apply(checksum), checksum);
        if checksum != 0xffff {
            // A field that changes to what it was.
            assert_eq!(Difference::NONE.u16(0x1234, 0x1234).apply(checksum), checksum);
        }
    }
}

/// Ten million changes of one word beside one that stays, every old value among them: the same 16 bits as a full
/// computation, so 0x0000 and 0xffff are told apart.
//= rfc1624#3
#[test]
fn a_difference_is_right_for_every_old_value_and_many_new_ones() {
    let full = |words: [u16; 2]| {
        let sum = u32::from(words[0]) + u32::from(words[1]);
        !((sum & 0xffff) + (sum >> 16)) as u16
    };
    let some = || (0..=u16::MAX).step_by(1285).chain([1, 0x7fff, 0x8000, 0xfffe]);
    for stays in [1, 0x4500, 0xffff] {
        for new in some() {
            let expected = full([stays, new]);
            for old in 0..=u16::MAX {
                let difference = Difference::NONE.u16(old, new);
                assert_eq!(difference.apply(full([stays, old])), expected, "{old:04x} to {new:04x}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn the_sum_is_that_of_the_words_one_by_one(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(sum(&bytes), slow_sum(&bytes));
    }

    /// The same 16 bits, not just the same number: 0x0000 and 0xffff are told apart.
    //= https://www.rfc-editor.org/rfc/rfc1624#section-3
    #[test]
    fn a_difference_gives_what_a_full_computation_gives(
        mut words in vec(prop_oneof![any::<u16>(), Just(0), Just(0xffff)], 2..40),
        changes in vec((any::<proptest::sample::Index>(), any::<u16>()), 0..8),
    ) {
        // As in every header, something that does not change is not zero.
        words[0] |= 1;
        let bytes = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>();
        let before = !slow_sum(&bytes(&words));
        let mut difference = Difference::NONE;
        for (at, new) in changes {
            let at = 1 + at.index(words.len() - 1);
            difference = difference.u16(words[at], new);
            words[at] = new;
        }
        prop_assert_eq!(difference.apply(before), !slow_sum(&bytes(&words)));
    }

    #[test]
    fn an_address_is_its_two_halves(old in arbitrary::address(), new in arbitrary::address(), more: u16) {
        let [a, b, c, d] = old.octets();
        let [e, f, g, h] = new.octets();
        let base = Difference::NONE.u16(0, more);
        let halves = base
            .u16(u16::from_be_bytes([a, b]), u16::from_be_bytes([e, f]))
            .u16(u16::from_be_bytes([c, d]), u16::from_be_bytes([g, h]));
        prop_assert_eq!(base.address(old, new), halves);
        prop_assert_eq!(base.and(Difference::NONE.address(old, new)).apply(0x1234), halves.apply(0x1234));
    }

    #[test]
    fn the_pseudo_header_is_that_of_rfc_768(
        source in arbitrary::address(),
        destination in arbitrary::address(),
        protocol: u8,
        length: u16,
    ) {
        let mut bytes = [source.octets(), destination.octets()].concat();
        bytes.extend([0, protocol]);
        bytes.extend(length.to_be_bytes());
        prop_assert_eq!(pseudo_header_sum(source, destination, Protocol(protocol), length), slow_sum(&bytes));
    }
}
