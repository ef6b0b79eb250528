//! Idle connections that end by resets to both sides, where the rules want it.
//!
//! ```text
//! its time is up   the session is noted as reset, and has the reset timer from now on               shard.rs
//! then             a reset is made as each side would send it, and goes through the gateway         here
//! ```
//!
//! So a reset finds its way, waits for a neighbour and passes a hairpin as any segment does, and is one to whoever follows
//! the connection. Its sequence number is what its receiver has acknowledged last: the very one that it expects, if nothing
//! is under way (RFC 5961 section 3.2). A receiver that does not believe it finds the session still there: its challenge
//! reaches the other side, which has been reset, and answers for itself.
//!
//! What is made here shows the gateway's MAC as its source too: nobody is told where it cannot go on.

use arrayvec::ArrayVec;
use flowtable::SlotIndex;
use packet::ethernet::LinkHeader;
use packet::reset::Reset;
use packet::{BURST_FRAMES_MAX, Burst, Frame, Moment, PacketIo, PortIndex};

use crate::flow::{Endpoint, Flow};
use crate::gateway::Gateway;
use crate::lane::Handed;

/// Sessions that one turn may end so: their resets are one burst.
const IDLE_MAX: usize = BURST_FRAMES_MAX / 2;

/// Sessions whose resets are to be sent in this turn.
pub(crate) type Idle = ArrayVec<SlotIndex, IDLE_MAX>;

impl<F: Frame> Gateway<F> {
    /// Sends the resets of both sides of each session.
    pub(crate) fn reset_both_sides<I: PacketIo<Frame = F>>(&mut self, idle: Idle, now: Moment, io: &mut I) {
        if idle.is_empty() {
            return;
        }
        let mut frames = Burst::new();
        for slot in idle {
            let sides = self.state.keys(slot).into_iter().zip(self.state.expected(slot));
            for (flow, sequence) in sides {
                let Some((port, link)) = self.entrance_of(&flow) else { continue };
                let end = |Endpoint { address, port }| (address, port);
                let (source, destination) = (end(flow.source()), end(flow.destination()));
                let reset = Reset { source, destination, sequence, acknowledgement: None };
                let made = self.make(io, |frame| reset.write(frame, link));
                frames.extend(made.map(|frame| Handed::received(frame, port)));
            }
        }
        self.carry(&mut frames, now, io);
    }

    /// Where a frame of the flow would come in: from inside by the interface behind which its source is, from outside by that
    /// of its network.
    fn entrance_of(&self, flow: &Flow) -> Option<(PortIndex, LinkHeader)> {
        let rules = &self.rules;
        let interface = match rules.router_of(flow.realm()) {
            Some(router) => rules.routers[router.0 as usize].route(flow.source().address)?.interface,
            None => {
                let segment = &rules.segments[rules.segment_of_realm(flow.realm())?.0 as usize];
                segment.addresses.get(&flow.destination().address)?.interface
            }
        };
        let egress = self.egress(interface);
        Some((egress.port, LinkHeader { destination: egress.mac, source: egress.mac, vlan: egress.vlan }))
    }
}
