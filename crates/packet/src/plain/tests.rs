//! Whatever the frame, a plain packet is what the general reader and the general rewriter make of it.

use proptest::bool::weighted;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{address, hostile_frame, icmp_error_frame, ipv4_frame, plain_packet};
use crate::rewrite::{self, Replacement, Rewrite};
use crate::{Fragment, MacAddress, Parsed, Payload, ethernet, fragment, testing};

fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![9 => nearly_plain(), 1 => ipv4_frame(), 1 => icmp_error_frame(), 1 => hostile_frame()]
}

/// Of the frames that anybody may send few are plain. These are, but for two bits at most.
fn nearly_plain() -> impl Strategy<Value = Vec<u8>> {
    let tag = prop_oneof![5 => Just(None), 1 => Just(Some(0x0fff)), 1 => Just(Some(0xf000))];
    let ttl = prop_oneof![4 => any::<u8>(), 1 => 0..4_u8];
    // A bit of the headers, and whether the first of them is made right again.
    let odd = vec((0..40 * 8_usize, weighted(0.9)), 0..3);
    (plain_packet(), tag, ttl, odd, 0..48_usize).prop_map(|(mut frame, tag, ttl, odd, padding)| {
        if let (Some(tag), Some(&[0x81, 0])) = (tag, frame.get(12..14)) {
            frame[14..16].copy_from_slice(&u16::to_be_bytes(tag));
        }
        frame = testing::with_ttl(frame, ttl);
        let network = if frame[12] == 0x81 { 18 } else { 14 };
        for (bit, is_right) in odd {
            let (at, bit) = (bit / 8, 1 << (bit % 8));
            // What says how long the header is stays, for that.
            let is_length = at == 0 && bit < 1 << 4;
            if is_right && at < 20 && !is_length && frame[network] & 0x0f == 5 {
                frame = testing::with_header(frame, |header| header[at] ^= bit);
            } else {
                frame.iter_mut().skip(network + at).take(1).for_each(|byte| *byte ^= bit);
            }
        }
        testing::with_padding(frame, padding)
    })
}

/// What is plain, in the general reader's words.
fn is_plain(parsed: &Parsed) -> bool {
    parsed.payload == Payload::Ipv4
        && parsed.transport_offset - parsed.network_offset == 20
        && parsed.fragment == Fragment::Whole
        && parsed.ttl > 1
        && matches!(parsed.protocol, Protocol::TCP | Protocol::UDP)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_plain_packet_is_read_as_by_the_general_reader(frame in frame()) {
        let parsed = Parsed::read(&frame).ok().filter(is_plain);
        let plain = Plain::read(&frame);
        prop_assert_eq!(plain.is_some(), parsed.is_some());
        if let (Some((plain, arrival)), Some(parsed)) = (plain, parsed) {
            prop_assert_eq!((arrival.mac, arrival.vlan), (ethernet::destination(&frame).into(), parsed.vlan));
            prop_assert_eq!((plain.source(), plain.destination()), (parsed.source, parsed.destination));
            let [a, b, c, d] = plain.ports.to_ne_bytes();
            let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            prop_assert_eq!(ports, (parsed.source_port, parsed.destination_port));
            prop_assert_eq!(plain.protocol, parsed.protocol);
            prop_assert_eq!(plain.network_offset, parsed.network_offset);
            prop_assert_eq!(plain.total_length, parsed.total_length);
            prop_assert_eq!(plain.dont_fragment, parsed.dont_fragment);
            prop_assert_eq!(plain.tcp_flags, parsed.tcp_flags);
            prop_assert_eq!(plain.tcp_window, parsed.tcp_window);
            prop_assert_eq!(plain.tcp_acknowledgement, parsed.tcp_acknowledgement);
            prop_assert_eq!(addresses(&frame), Some(plain.addresses));
        }
    }

    #[test]
    fn a_plain_packet_is_changed_as_by_the_general_rewriter(
        frame in frame(),
        address in address(),
        port in any::<u16>(),
        identification in option::of(any::<u16>()),
    ) {
        for end in [End::Source(identification), End::Destination] {
            if let Some([one, other]) = changed_both_ways(&frame, address, port, end) {
                prop_assert_eq!(one, other);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// With another identification, or none.
    Source(Option<u16>),
    Destination,
}

/// The frame as the plain packet in it is changed, and as by the general rewriter.
fn changed_both_ways(frame: &[u8], address: Ipv4Addr, port: u16, end: End) -> Option<[Vec<u8>; 2]> {
    let (plain, _) = Plain::read(frame)?;
    let parsed = Parsed::read(frame).ok()?;
    let (mut one, mut other) = (frame.to_vec(), frame.to_vec());
    let new = NewEndpoint { address: u32::from_ne_bytes(address.octets()), port: port.to_be() };
    let replacement = Some(Replacement { address, port: Some(port) });
    let offset = usize::from(plain.network_offset);
    let rewrite = match end {
        End::Source(identification) => {
            plain.replace_source(&mut one, offset, new, identification);
            if let Some(identification) = identification {
                fragment::set_identification(&mut other, &parsed, identification);
            }
            Rewrite { source: replacement, destination: None }
        }
        End::Destination => {
            plain.replace_destination(&mut one, offset, new);
            Rewrite { source: None, destination: replacement }
        }
    };
    rewrite::apply(&mut other, &parsed, rewrite);
    Some([one, other])
}

/// Those too that carry twice or come out as zero, which chance hardly meets.
#[test]
fn checksums_come_to_all_that_there_is_as_by_the_general_rewriter() {
    let [from, to] = [([1; 6], [10, 0, 0, 1], 4_000), ([2; 6], [198, 51, 100, 1], 80)]
        .map(|(mac, address, port)| (MacAddress(mac), Ipv4Addr::from(address), port));
    let other_host = Ipv4Addr::new(203, 0, 113, 10);
    for frame in [testing::udp(from, to, None, b"hi"), testing::tcp(from, to, None, 0x10, 1, 2, b"hi")] {
        let frame = testing::with_may_fragment(frame, 7);
        for number in 0..=u16::MAX {
            for end in [End::Source(Some(number)), End::Destination] {
                let [one, other] = changed_both_ways(&frame, other_host, number, end).unwrap();
                assert_eq!(one, other, "{number} {end:?}");
            }
        }
    }
}
