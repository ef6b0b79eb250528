//! Whole segments with whatever options, before and after.

use super::*;
use crate::tcp::{ACK, SYN};
use crate::{MacAddress, testing};

/// A segment with these options, its checksum right.
fn segment(flags: u8, options: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    let (from, to) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    testing::tcp_with_options(
        (from, [10, 0, 0, 5].into(), 4_000),
        (to, [192, 0, 2, 1].into(), 80),
        None,
        flags,
        options,
    )
}

fn clamped(mut frame: Vec<u8>, mss_max: u16) -> Vec<u8> {
    let parsed = Parsed::read(&frame).unwrap();
    clamp(&mut frame, &parsed, mss_max);
    frame
}

#[test]
fn a_maximum_segment_size_is_lowered_wherever_it_stands() {
    let rows: [(&[u8], &[u8]); 5] = [
        (&[2, 4, 0x05, 0xb4], &[2, 4, 0x05, 0x50]),
        // Behind an odd number of bytes, with and without others.
        (&[1, 2, 4, 0x05, 0xb4, 0, 0, 0], &[1, 2, 4, 0x05, 0x50, 0, 0, 0]),
        (&[3, 3, 7, 2, 4, 0x05, 0xb4, 0], &[3, 3, 7, 2, 4, 0x05, 0x50, 0]),
        (&[4, 2, 1, 1, 2, 4, 0xff, 0xff], &[4, 2, 1, 1, 2, 4, 0x05, 0x50]),
        // The first counts.
        (&[2, 4, 0x06, 0, 2, 4, 0x06, 0], &[2, 4, 0x05, 0x50, 2, 4, 0x06, 0]),
    ];
    for (before, after) in rows {
        for flags in [SYN, SYN | ACK] {
            assert_eq!(clamped(segment(flags, before), 1_360), segment(flags, after), "{before:?}");
        }
    }
}

#[test]
fn all_else_is_left_as_it_is() {
    let rows: [(u8, &[u8]); 10] = [
        (ACK, &[2, 4, 0x05, 0xb4]),
        (SYN, &[]),
        (SYN, &[2, 4, 0x05, 0x50]),
        (SYN, &[2, 4, 0x02, 0x18]),
        // Of another length, cut off, behind an option of no length, of length 1, too long, and behind the end.
        (SYN, &[2, 3, 0x05, 0xb4]),
        (SYN, &[1, 1, 1, 2]),
        (SYN, &[3, 0, 2, 4, 0x05, 0xb4, 0, 0]),
        (SYN, &[3, 1, 2, 4, 0x05, 0xb4, 0, 0]),
        (SYN, &[3, 9, 2, 4, 0x05, 0xb4, 0, 0]),
        (SYN, &[0, 2, 4, 0x05, 0xb4, 0, 0, 0]),
    ];
    for (flags, options) in rows {
        let before = segment(flags, options);
        assert_eq!(clamped(before.clone(), 1_360), before, "{options:?}");
    }
    // A datagram that looks like one.
    let look_alike = segment(SYN, &[2, 4, 0x05, 0xb4]);
    let datagram = testing::with_header(look_alike, |header| header[9] = 17);
    assert_eq!(clamped(datagram.clone(), 1_360), datagram);
}
