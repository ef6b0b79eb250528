//! What the gateway itself says in ICMP: errors (RFC 792, 1812) and echo replies.

use core::net::Ipv4Addr;

use crate::ethernet::LinkHeader;
use crate::{Frame, NoRoom, Parsed};

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
}

/// True for the ICMP types that quote the packet they are about.
pub fn is_error(icmp_type: u8) -> bool {
    matches!(
        icmp_type,
        kind::UNREACHABLE | kind::SOURCE_QUENCH | kind::REDIRECT | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM
    )
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
    /// Refused by policy (type 3, code 13).
    AdministrativelyProhibited,
}

/// Largest IPv4 packet of an ICMP error we originate, in bytes (RFC 1812 4.3.2.3).
pub const ERROR_LENGTH_MAX: usize = 576;

/// Whether an ICMP error may be sent about this packet (RFC 1122 3.2.2): not about an ICMP error, a later fragment,
/// a broadcast or multicast (either address or the frame's), or a source that is no single host.
pub fn may_answer(bytes: &[u8], parsed: &Parsed) -> bool {
    let _ = (bytes, parsed);
    todo!()
}

/// Makes `frame`, whatever it held, into `error` about the packet in `original`, from `source` to the packet's source,
/// with TTL 64. Quotes as much as fits in [`ERROR_LENGTH_MAX`].
///
/// # Errors
/// [`NoRoom`] where the frame's buffer is too small.
pub fn write_error(
    frame: &mut impl Frame,
    link: LinkHeader,
    source: Ipv4Addr,
    error: Error,
    original: &[u8],
    parsed: &Parsed,
) -> Result<(), NoRoom> {
    let _ = (frame, link, source, error, original, parsed);
    todo!()
}

/// Turns an echo request into its reply in place: IPv4 addresses swapped, type 0, TTL 64, checksums right. The
/// Ethernet header is left to [`crate::ethernet::replace_header`].
///
/// Returns false, and changes nothing, where the ICMP checksum of the request is wrong.
pub fn make_echo_reply(bytes: &mut [u8], parsed: &Parsed) -> bool {
    let _ = (bytes, parsed);
    todo!()
}
