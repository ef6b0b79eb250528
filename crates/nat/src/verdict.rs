//! What the brain decides about a packet. There are no errors on the packet path, only verdicts.

use flowtable::{LineIndex, SlotIndex};
use packet::icmp;
use packet::rewrite::{Quote, Rewrite};
use rules::compiled::{NextHop, RouterIndex};

use crate::DropReason;
use crate::flow::Flow;
use crate::state::WorkerIndex;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Change it and send it to a next hop.
    Forward(Passage),
    /// It takes what only this worker's gateway may do, or it has to follow another of its flow there.
    HandOff(WorkerIndex),
    /// Another of its flow waits for this neighbour: it waits behind that.
    Wait(SlotIndex),
    /// It is a fragment, and what becomes of it depends on its ports: they are to be found out first.
    Reassemble,
    /// An echo request to one of our own addresses: answer it.
    EchoReply,
    /// Drop it.
    Drop(DropReason),
    /// Drop it and tell its source.
    Refuse(DropReason, icmp::Error),
    /// Drop it, a segment of no connection, and reset its sender.
    Reset(DropReason),
    /// Drop it: a SYN that nobody waits for. Its source is told in a while, unless the connection, which the external
    /// network sees as this flow, is opened from our side meanwhile.
    AnswerLater(DropReason, Flow),
}

/// How a packet goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passage {
    pub(crate) change: Change,
    pub(crate) next_hop: NextHop,
    /// The session it goes out by, and the one it comes in by. A hairpinned packet may have both.
    pub(crate) sessions: [Option<SessionLine>; 2],
}

/// A session that a packet goes through, by the line of the packet's direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionLine {
    pub(crate) line: LineIndex,
    /// The one whose timers it goes by.
    pub(crate) router: RouterIndex,
}

impl Passage {
    /// Without a session.
    pub(crate) fn stateless(change: Change, next_hop: NextHop) -> Self {
        Self { change, next_hop, sessions: [None; 2] }
    }
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
