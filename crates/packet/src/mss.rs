//! The maximum segment size that a host asks for in its SYN (RFC 9293 section 3.7.1), lowered to what a link carries.
//!
//! It helps where path MTU discovery does not, because somebody on the way drops the errors it lives by.

use zerocopy::FromBytes;

use crate::checksum::Difference;
use crate::{Fragment, Parsed, Protocol, tcp, wire};

/// The IPv4 and TCP headers without options: what a link's MTU has beside the segment (RFC 6691).
pub const HEADERS_LENGTH: u16 = (wire::Ipv4::LENGTH_MIN + wire::Tcp::LENGTH_MIN) as u16;

/// Lowers the maximum segment size in a SYN to `mss_max`, and carries the checksum along (RFC 1624). All else is left as it
/// is: other segments, a SYN without the option or with a smaller one, and options that cannot be read.
#[inline]
pub fn clamp(bytes: &mut [u8], parsed: &Parsed, mss_max: u16) {
    if parsed.protocol == Protocol::TCP
        && parsed.tcp_flags & tcp::SYN != 0
        && parsed.fragment != Fragment::Later
        && let Some(segment) = bytes.get_mut(parsed.transport_range())
    {
        clamp_segment(segment, mss_max);
    }
}

fn clamp_segment(segment: &mut [u8], mss_max: u16) {
    let Ok((header, _)) = wire::Tcp::ref_from_prefix(segment) else { return };
    let options = segment.get(wire::Tcp::LENGTH_MIN..header.header_length());
    let Some(within) = options.and_then(find_mss) else { return };
    let at = wire::Tcp::LENGTH_MIN + within;
    let Some(field) = segment.get_mut(at..).and_then(|from| from.first_chunk_mut()) else { return };
    let old = u16::from_be_bytes(*field);
    if old <= mss_max {
        return;
    }
    *field = mss_max.to_be_bytes();
    // Behind an odd number of bytes each half of the field is summed in the other's place.
    let changed = if at.is_multiple_of(2) {
        Difference::NONE.u16(old, mss_max)
    } else {
        Difference::NONE.u16(old.swap_bytes(), mss_max.swap_bytes())
    };
    let Ok((header, _)) = wire::Tcp::mut_from_prefix(segment) else { return };
    header.checksum.set(changed.apply(header.checksum.get()));
}

/// Where in the options the maximum segment size stands, if they can be read up to there.
fn find_mss(options: &[u8]) -> Option<usize> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const MSS: u8 = 2;
    const MSS_LENGTH: u8 = 4;
    let mut at = 0;
    loop {
        match options.get(at..)? {
            [END, ..] | [] => return None,
            [NO_OPERATION, ..] => at += 1,
            [MSS, MSS_LENGTH, _, _, ..] => return Some(at + 2),
            [MSS, ..] => return None,
            [_, length, ..] if *length >= 2 => at += usize::from(*length),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests;
