//! What the gateway itself says in ICMP: errors (RFC 792, 1812) and echo replies.
//!
//! Both are written from scratch or in place, without a template: they are rare, and whoever calls limits their rate.
//! What the gateway originates is an atomic datagram in the sense of RFC 6864: DF set, never fragmented, so its
//! identification means nothing and is 0.

use core::net::Ipv4Addr;

use zerocopy::{FromBytes, IntoBytes};

use crate::checksum::{self, Difference};
use crate::ethernet::{self, LinkHeader};
use crate::wire::{self, ether_type};
use crate::{Fragment, Frame, NoRoom, Parsed, Protocol};

/// ICMP types the path tells apart.
pub mod kind {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench (deprecated, RFC 6633).
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Timestamp request.
    pub const TIMESTAMP_REQUEST: u8 = 13;
    /// Timestamp reply.
    pub const TIMESTAMP_REPLY: u8 = 14;
}

/// True for the ICMP types that quote the packet they are about.
pub fn is_error(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        kind::UNREACHABLE
            | kind::SOURCE_QUENCH
            | kind::REDIRECT
            | kind::TIME_EXCEEDED
            | kind::PARAMETER_PROBLEM
    )
}

/// True for the requests of ICMP queries that the path translates: echo and timestamp. Information and address mask are
/// obsolete (RFC 6918).
#[inline]
pub const fn is_request(icmp_type: u8) -> bool {
    matches!(icmp_type, kind::ECHO_REQUEST | kind::TIMESTAMP_REQUEST)
}

/// True for their replies.
#[inline]
pub const fn is_reply(icmp_type: u8) -> bool {
    matches!(icmp_type, kind::ECHO_REPLY | kind::TIMESTAMP_REPLY)
}

/// True for both: the ICMP messages with an identifier that the path translates.
#[inline]
pub const fn is_query(icmp_type: u8) -> bool {
    is_request(icmp_type) || is_reply(icmp_type)
}

/// An ICMP error the gateway originates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// TTL reached zero in transit (type 11, code 0).
    TtlExceeded,
    /// The packet is larger than the next link takes and must not be fragmented (type 3, code 4).
    FragmentationNeeded {
        /// The next link's MTU in bytes (RFC 1191).
        mtu: u16,
    },
    /// No route to the destination (type 3, code 0).
    NetUnreachable,
    /// The next hop does not answer, or no port is left (type 3, code 1; RFC 6888 REQ-11).
    HostUnreachable,
    /// Nobody is at the port (type 3, code 3).
    PortUnreachable,
    /// Refused by policy (type 3, code 13).
    AdministrativelyProhibited,
}

/// Largest IPv4 packet of an ICMP error we originate, in bytes (RFC 1812 4.3.2.3).
pub const ERROR_LENGTH_MAX: usize = 576;

/// The TTL of what the gateway originates.
const TTL: u8 = 64;

/// Precedence "internetwork control" for errors.
//= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.5
//# SHOULD have their precedence value set to 6 (INTERNETWORK CONTROL) or 7 (NETWORK CONTROL)
const TYPE_OF_SERVICE: u8 = 6 << 5;

impl Error {
    /// Type, code, and the last 16 bits of the ICMP header.
    const fn fields(self) -> (u8, u8, u16) {
        match self {
            Self::TtlExceeded => (kind::TIME_EXCEEDED, 0, 0),
            Self::FragmentationNeeded { mtu } => (kind::UNREACHABLE, 4, mtu),
            Self::NetUnreachable => (kind::UNREACHABLE, 0, 0),
            Self::HostUnreachable => (kind::UNREACHABLE, 1, 0),
            Self::PortUnreachable => (kind::UNREACHABLE, 3, 0),
            Self::AdministrativelyProhibited => (kind::UNREACHABLE, 13, 0),
        }
    }
}

/// Whether an ICMP error may be sent about this packet (RFC 1122 3.2.2): not about an ICMP error, a later fragment,
/// a broadcast or multicast (either address or the frame's), or a source that is no single host.
///
/// A subnet's own broadcast address is known to the routing, not here.
//= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
//# An ICMP error message MUST NOT be sent as the result of receiving:
pub fn may_answer(bytes: &[u8], parsed: &Parsed) -> bool {
    let to_many = ethernet::destination(bytes).is_multicast()
        || parsed.destination.is_multicast()
        || parsed.destination.is_broadcast();
    // The type is 0 for other protocols and the source 0.0.0.0 for other payloads.
    parsed.fragment != Fragment::Later
        && !is_error(parsed.icmp_type)
        && !to_many
        && is_single_host(parsed.source)
}

/// False for "this network" (0/8), loopback, multicast, class E and the broadcast address.
fn is_single_host(address: Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    first != 0 && first != 127 && first < 224
}

/// Makes `frame`, whatever it held, into `error` about the packet in `original`, from `source` to the packet's source,
/// with TTL 64. Quotes as much as fits in [`ERROR_LENGTH_MAX`], as it was received.
///
/// Ask [`may_answer`] first.
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small; the frame is unchanged.
pub fn write_error(
    frame: &mut impl Frame,
    link: LinkHeader,
    source: Ipv4Addr,
    error: Error,
    original: &[u8],
    parsed: &Parsed,
) -> Result<(), NoRoom> {
    const HEADERS_LENGTH: usize = size_of::<wire::Ipv4>() + size_of::<wire::Icmp>();
    //= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.3
    //# the ICMP datagram SHOULD contain as much of the original datagram as possible without the length of the ICMP
    //# datagram exceeding 576 bytes
    let packet = original.get(parsed.network_range()).unwrap_or_default();
    let quote = packet.get(..ERROR_LENGTH_MAX - HEADERS_LENGTH).unwrap_or(packet);
    let length = HEADERS_LENGTH + quote.len();

    frame.resize(link.length() + length)?;
    let bytes = frame.bytes_mut();
    link.write(bytes, ether_type::IPV4);

    let mut network = wire::Ipv4 {
        version_and_length: 0x45,
        type_of_service: TYPE_OF_SERVICE,
        total_length: (length as u16).into(),
        identification: 0.into(),
        flags_and_offset: wire::Ipv4::DONT_FRAGMENT.into(),
        ttl: TTL,
        protocol: Protocol::ICMP.0,
        checksum: 0.into(),
        source: source.octets(),
        destination: parsed.source.octets(),
    };
    network.checksum.set(checksum::checksum(network.as_bytes()));

    let (icmp_type, code, last) = error.fields();
    let mut icmp =
        wire::Icmp { icmp_type, code, checksum: 0.into(), identifier: 0.into(), sequence: last.into() };
    // The header is of even length, so the sums of its two parts add up.
    icmp.checksum.set(checksum::checksum_of_parts(icmp.as_bytes(), quote));

    // The frame was made to fit these three.
    let parts = [network.as_bytes(), icmp.as_bytes(), quote];
    let mut rest = bytes.get_mut(link.length()..).unwrap_or_default();
    for part in parts {
        let Some((place, behind)) = rest.split_at_mut_checked(part.len()) else { return Err(NoRoom) };
        place.copy_from_slice(part);
        rest = behind;
    }
    Ok(())
}

/// Turns an echo request into its reply in place: IPv4 addresses swapped, type 0, TTL 64, checksums right. The
/// Ethernet header is left to [`crate::ethernet::replace_header`].
///
/// IP options are not sent back: their bytes become end-of-list. A source route would have to be reversed, and a
/// gateway that records routes for strangers helps nobody (a deviation from the SHOULDs of RFC 1122 3.2.2.6).
///
/// Returns false, and changes nothing, where the ICMP checksum of the request is wrong, where it is a fragment of a
/// larger one, and for anything else that is no echo request.
//= https://www.rfc-editor.org/rfc/rfc792
//# To form an echo reply message, the source and destination addresses are simply reversed, the type code changed to 0,
//# and the checksum recomputed.
pub fn make_echo_reply(bytes: &mut [u8], parsed: &Parsed) -> bool {
    if parsed.icmp_type != kind::ECHO_REQUEST || parsed.fragment != Fragment::Whole {
        return false;
    }
    let Some(packet) = bytes.get_mut(parsed.network_range()) else { return false };
    let header_length = usize::from(parsed.transport_offset - parsed.network_offset);
    let Some((header_bytes, message)) = packet.split_at_mut_checked(header_length) else { return false };
    if checksum::sum(message) != 0xffff {
        return false;
    }
    let Ok((icmp, _)) = wire::Icmp::mut_from_prefix(message) else { return false };
    let type_and_code = |icmp: &wire::Icmp| u16::from_be_bytes([icmp.icmp_type, icmp.code]);
    let old = type_and_code(icmp);
    icmp.icmp_type = kind::ECHO_REPLY;
    icmp.checksum.set(Difference::NONE.u16(old, type_and_code(icmp)).apply(icmp.checksum.get()));

    if let Ok((header, options)) = wire::Ipv4::mut_from_prefix(header_bytes) {
        core::mem::swap(&mut header.source, &mut header.destination);
        header.ttl = TTL;
        header.checksum.set(0);
        options.fill(END_OF_OPTIONS);
    }
    let sum = checksum::checksum(header_bytes);
    if let Ok((header, _)) = wire::Ipv4::mut_from_prefix(header_bytes) {
        header.checksum.set(sum);
    }
    true
}

/// The IP option that ends the list; what follows it is padding.
const END_OF_OPTIONS: u8 = 0;

#[cfg(test)]
mod tests;
