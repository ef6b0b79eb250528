//! The TCP flags a NAT reads (RFC 9293), as bits of [`Parsed::tcp_flags`](crate::Parsed::tcp_flags), and the option that
//! says how to read windows.

use crate::Parsed;

/// The sender has finished sending.
pub const FIN: u8 = 0x01;
/// Opens a connection.
pub const SYN: u8 = 0x02;
/// Aborts a connection.
pub const RST: u8 = 0x04;
/// Data to hand over at once.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

/// The largest shift of a window (RFC 7323 section 2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;

const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;
const WINDOW_SCALE: u8 = 3;

/// The shift that a SYN announces for the sender's later windows, if it has the option; one beyond the largest counts as
/// that (RFC 7323 section 2.3). At most 40 bytes are read.
pub fn window_scale(bytes: &[u8], parsed: &Parsed) -> Option<u8> {
    let start = usize::from(parsed.transport_offset);
    let header = start.checked_add(20)?..start + usize::from(parsed.tcp_header_length);
    let mut options = bytes.get(header)?;
    loop {
        match *options {
            [END_OF_OPTIONS, ..] | [] => return None,
            [NO_OPERATION, ref rest @ ..] => options = rest,
            [WINDOW_SCALE, 3, shift, ..] => return Some(shift.min(WINDOW_SCALE_MAX)),
            [_, length, ..] if length >= 2 => options = options.get(usize::from(length)..)?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MacAddress, testing};

    fn scale(options: &[u8]) -> Option<u8> {
        let end = |last| (MacAddress([2, 0, 0, 0, 0, last]), [10, 0, 0, last].into(), 80);
        let segment = testing::Segment { flags: SYN, options, ..testing::Segment::default() };
        let frame = testing::segment(end(1), end(2), None, segment);
        testing::assert_checksums(&frame);
        window_scale(&frame, &Parsed::read(&frame).unwrap())
    }

    #[test]
    fn the_window_scale_is_found_among_other_options() {
        assert_eq!(scale(&[2, 4, 5, 0xb4, 1, 3, 3, 7]), Some(7));
        assert_eq!(scale(&[3, 3, 200, 0]), Some(14), "no more than RFC 7323 allows");
        assert_eq!(scale(&[]), None);
        assert_eq!(scale(&[2, 4, 5, 0xb4]), None);
        assert_eq!(scale(&[0, 3, 3, 7]), None, "behind the end of the list");
    }

    #[test]
    fn options_that_lie_about_their_length_say_nothing() {
        for options in [[2, 0, 3, 3], [2, 1, 3, 3], [9, 60, 3, 3], [1, 1, 1, 3], [1, 1, 3, 3], [3, 2, 0, 0]] {
            assert_eq!(scale(&options), None, "{options:?}");
        }
    }
}
