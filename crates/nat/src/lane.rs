//! A frame on its way: through one gateway's stages, and from one gateway to another.

use arrayvec::ArrayVec;
use flowtable::{LineIndex, ShardIndex};
use packet::{Parsed, PortIndex};

use crate::classify::Entry;
use crate::flow::Flow;
use crate::hand_off::{HOPS_MAX, Ticket};

/// The cells that a frame was handed on by, to be credited when it is finished.
pub(crate) type Tickets = ArrayVec<Ticket, HOPS_MAX>;

/// A frame that one gateway gives to another: as it was received, so that the other reads, classifies and judges it anew,
/// by the rules that it has itself adopted by then.
pub struct Handed<F> {
    pub(crate) frame: F,
    pub(crate) port: PortIndex,
    pub(crate) tickets: Tickets,
}

impl<F> Handed<F> {
    /// A frame that has just come in.
    pub(crate) fn received(frame: F, port: PortIndex) -> Self {
        Self { frame, port, tickets: Tickets::new() }
    }
}

/// A frame on its way through the stages, and what they have found out about it.
pub(crate) struct Lane<F> {
    pub(crate) frame: F,
    pub(crate) port: PortIndex,
    pub(crate) tickets: Tickets,
    pub(crate) parsed: Parsed,
    pub(crate) entry: Entry,
    /// The flow as it was received: what its frames keep their order by.
    pub(crate) flow: Flow,
    /// Where to look for its session, if one may decide about it.
    pub(crate) shard: Option<ShardIndex>,
    pub(crate) line: Option<LineIndex>,
}

impl<F> Lane<F> {
    /// The frame as it was received, to be judged anew.
    pub(crate) fn into_handed(self) -> Handed<F> {
        Handed { frame: self.frame, port: self.port, tickets: self.tickets }
    }
}
