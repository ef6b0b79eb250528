//! What the brain decides about a packet. There are no errors on the packet path, only verdicts.

use packet::icmp;
use packet::rewrite::{Quote, Rewrite};
use rules::compiled::NextHop;

use crate::DropReason;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Change it and send it to a next hop.
    Forward(Change, NextHop),
    /// An echo request to one of our own addresses: answer it.
    EchoReply,
    /// Drop it.
    Drop(DropReason),
    /// Drop it and tell its source.
    Refuse(DropReason, icmp::Error),
}

/// What changes in a packet, besides its TTL and its link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Addresses and ports of the packet itself.
    Packet(Rewrite),
    /// An ICMP error: the packet's own addresses, and those of the packet it quotes.
    Error { outer: Rewrite, quote: Quote, quoted: Rewrite },
}

/// An early end of a judgement: lets it be written with `?`.
impl From<DropReason> for Verdict {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}
