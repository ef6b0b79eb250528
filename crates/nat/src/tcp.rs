//! What a session knows of its TCP connection: flags seen in each direction, and the phase they amount to.

use bitflags::bitflags;

bitflags! {
    /// What has been seen of a connection in one direction.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub(crate) struct Seen: u8 {
        /// A SYN.
        const SYN = 1;
        /// An acknowledgement without SYN: this side has seen the other's SYN.
        const ACKNOWLEDGED = 2;
        /// A FIN.
        const FIN = 4;
        /// A reset.
        const RESET = 8;
    }
}

/// TCP header flags, as they stand in the header.
pub(crate) mod header {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const ACK: u8 = 0x10;
}

impl Seen {
    /// What a segment with these header flags shows.
    pub(crate) fn in_segment(flags: u8) -> Self {
        let mut seen = Self::empty();
        seen.set(Self::SYN, flags & header::SYN != 0);
        seen.set(Self::ACKNOWLEDGED, flags & (header::SYN | header::ACK) == header::ACK);
        seen.set(Self::FIN, flags & header::FIN != 0);
        seen.set(Self::RESET, flags & header::RST != 0);
        seen
    }
}

/// Whether a segment opens a connection: SYN alone of SYN, ACK, RST and FIN.
pub(crate) fn is_opening(flags: u8) -> bool {
    flags & (header::SYN | header::ACK | header::RST | header::FIN) == header::SYN
}

/// Where a session stands, which decides how long it may stay silent. Derived from what both lines have seen; stored
/// nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP, the handshake is not over.
    TcpOpening,
    /// TCP, both sides have acknowledged each other.
    TcpEstablished,
    /// TCP, one side has finished.
    TcpClosing,
    /// TCP, both sides have finished.
    TcpTimeWait,
    /// TCP, one side has reset.
    TcpReset,
    /// UDP, no answer yet.
    UdpInitial,
    /// UDP, both sides have spoken.
    UdpStream,
    /// An ICMP query.
    IcmpQuery,
}

impl Phase {
    /// The phase of a TCP session whose lines have seen this, outbound and inbound.
    pub(crate) fn of_tcp(outbound: Seen, inbound: Seen) -> Self {
        let both = outbound & inbound;
        let either = outbound | inbound;
        if either.contains(Seen::RESET) {
            Self::TcpReset
        } else if both.contains(Seen::FIN) {
            Self::TcpTimeWait
        } else if either.contains(Seen::FIN) {
            Self::TcpClosing
        } else if both.contains(Seen::SYN) && outbound.contains(Seen::ACKNOWLEDGED) {
            Self::TcpEstablished
        } else {
            Self::TcpOpening
        }
    }

    /// The name an operator sees.
    pub fn name(self) -> &'static str {
        match self {
            Self::TcpOpening => "opening",
            Self::TcpEstablished => "established",
            Self::TcpClosing => "closing",
            Self::TcpTimeWait => "time_wait",
            Self::TcpReset => "reset",
            Self::UdpInitial => "initial",
            Self::UdpStream => "stream",
            Self::IcmpQuery => "query",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::header::{ACK, FIN, RST, SYN};
    use super::*;

    #[test]
    fn a_connection_walks_through_its_phases() {
        let (mut outbound, mut inbound) = (Seen::empty(), Seen::empty());
        let walk = [
            (true, SYN, Phase::TcpOpening),
            (true, SYN, Phase::TcpOpening),
            (false, SYN | ACK, Phase::TcpOpening),
            (true, ACK, Phase::TcpEstablished),
            (false, ACK, Phase::TcpEstablished),
            (false, FIN | ACK, Phase::TcpClosing),
            (true, ACK, Phase::TcpClosing),
            (true, FIN | ACK, Phase::TcpTimeWait),
            (false, ACK, Phase::TcpTimeWait),
            (false, RST, Phase::TcpReset),
        ];
        for (step, (is_outbound, flags, phase)) in walk.into_iter().enumerate() {
            *(if is_outbound { &mut outbound } else { &mut inbound }) |= Seen::in_segment(flags);
            assert_eq!(Phase::of_tcp(outbound, inbound), phase, "step {step}");
        }
    }

    #[test]
    fn only_a_bare_syn_opens() {
        assert!(is_opening(SYN));
        assert!(is_opening(SYN | 0x40 | 0x80), "with ECN set-up (RFC 3168)");
        for flags in [0, ACK, SYN | ACK, SYN | RST, SYN | FIN, FIN, RST] {
            assert!(!is_opening(flags), "{flags:#x}");
        }
    }
}
