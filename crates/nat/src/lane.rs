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
    /// What has been found out about its datagram, if it is a fragment: the one thing that cannot be found out anew.
    pub(crate) datagram: Option<Datagram>,
}

impl<F> Handed<F> {
    /// A frame that has just come in.
    pub(crate) fn received(frame: F, port: PortIndex) -> Self {
        Self { frame, port, tickets: Tickets::new(), datagram: None }
    }
}

/// What a fragment has from its datagram: the first fragment alone carries the transport header. See [`crate::fragments`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    source_port: u16,
    destination_port: u16,
    icmp_type: u8,
    /// The one with which all its fragments leave, where they leave under an address that others share.
    pub(crate) identification: u16,
}

impl Datagram {
    /// What the first fragment says.
    pub(crate) fn of(first: &Parsed, identification: u16) -> Self {
        let Parsed { source_port, destination_port, icmp_type, .. } = *first;
        Self { source_port, destination_port, icmp_type, identification }
    }

    /// Lets a fragment be read as of its datagram's flow. Of TCP's flags a later fragment has none.
    pub(crate) fn lend(self, fragment: &mut Parsed) {
        let Self { source_port, destination_port, icmp_type, .. } = self;
        (fragment.source_port, fragment.destination_port) = (source_port, destination_port);
        fragment.icmp_type = icmp_type;
    }
}

/// A frame on its way through the stages, and what they have found out about it.
pub(crate) struct Lane<F> {
    pub(crate) frame: F,
    pub(crate) port: PortIndex,
    pub(crate) tickets: Tickets,
    pub(crate) datagram: Option<Datagram>,
    pub(crate) parsed: Parsed,
    pub(crate) entry: Entry,
    /// The flow as it was received.
    pub(crate) flow: Flow,
    /// What frames keep their order by: the flow, or of a fragment that does not know its own, the datagram.
    pub(crate) order: Flow,
    /// Where to look for its session, if one may decide about it.
    pub(crate) shard: Option<ShardIndex>,
    pub(crate) line: Option<LineIndex>,
}

impl<F> Lane<F> {
    /// The frame as it was received, to be judged anew.
    pub(crate) fn into_handed(self) -> Handed<F> {
        Handed { frame: self.frame, port: self.port, tickets: self.tickets, datagram: self.datagram }
    }
}
