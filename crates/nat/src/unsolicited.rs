//! SYNs from outside that nobody waits for, where the rules want them answered in the end: for six seconds the host may
//! open the same connection from its side, which would make an error wrong (RFC 5382 REQ-4).
//!
//! ```text
//! it comes            dropped for its reason, as any; what an error will quote goes to the end of the queue
//! every 750 ms        is there a session of the same connection?   yes: forgotten     no: to the end of the queue again
//! at the eighth time  an ICMP error, by the rules as they are then
//! ```
//!
//! All wait equally long, so the queue is in order of time, and only its front is looked at. It is looked at that often since
//! the shortest session lives for a second: none comes and goes between two looks.
//!
//! A queue that is full takes no more, and who is not in it is never answered: a flood gets what a scan gets by default.
//! Neither does the queue outlive the process.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use packet::{Frame, Moment, PacketIo, Parsed, PortIndex, icmp};
use rules::RuleSet;
use rules::compiled::{AddressRules, UnsolicitedSyn};

use crate::classify::classify;
use crate::flow::Flow;
use crate::gateway::Gateway;
use crate::lane::Lane;
use crate::{DropReason, forwarding, time};

/// SYNs that wait: of a steady stream, some 680 a second are answered.
const SYNS_MAX: usize = 4_096;

/// How many of them one turn looks at.
const LOOKS_PER_TURN: usize = 64;

const LOOK_EVERY_MS: u32 = 750;
const LOOKS: u32 = 8;
//= rfc5382#REQ-4
const _: () = assert!(LOOKS * LOOK_EVERY_MS >= 6_000);

/// What is kept of a frame: the link header with its tag, and the largest headers of IPv4 and TCP.
const BYTES_MAX: usize = 18 + 60 + 60;

/// A SYN that waits for its answer.
struct Syn {
    /// When it is looked at next.
    due_ms: u32,
    looks: u32,
    /// As the external network sees it.
    flow: Flow,
    port: PortIndex,
    /// Of the bytes that are kept.
    parsed: Parsed,
    bytes: ArrayVec<u8, BYTES_MAX>,
}

/// See the file's page.
pub(crate) struct Unsolicited(VecDeque<Syn>);

impl Unsolicited {
    pub(crate) fn new() -> Self {
        Self(VecDeque::with_capacity(SYNS_MAX))
    }

    /// The next that is to be looked at now.
    fn due(&mut self, now_ms: u32) -> Option<Syn> {
        self.0.pop_front_if(|syn| time::has_come(syn.due_ms, now_ms))
    }

    /// Lets a SYN wait for its next look, if there is room.
    fn wait(&mut self, syn: Syn) -> bool {
        let has_room = self.0.len() < SYNS_MAX;
        if has_room {
            self.0.push_back(syn);
        }
        has_room
    }
}

/// Whether the rules want a SYN to this address answered that no session waits for. Of routers that share a pool, the one
/// that answers ARP for the address decides.
pub(crate) fn is_answered(rules: &RuleSet, address: &AddressRules, flow: &Flow) -> bool {
    let interface = &rules.interfaces[address.interface.0 as usize];
    let router = &rules.routers[interface.router.0 as usize];
    router.tcp.unsolicited_syn == UnsolicitedSyn::ErrorAfter6s
        && forwarding::inward(rules, address, flow).is_none()
}

impl<F: Frame> Gateway<F> {
    /// Drops a SYN, and keeps what is needed to answer it later. `flow` is what the external network sees of it.
    pub(crate) fn answer_later(&mut self, reason: DropReason, flow: Flow, lane: &Lane<F>, now: Moment) {
        self.discard(&lane.tickets, reason);
        if !icmp::may_answer(lane.frame.bytes(), &lane.parsed) {
            return;
        }
        let bytes: ArrayVec<u8, BYTES_MAX> = lane.frame.bytes().iter().copied().take(BYTES_MAX).collect();
        let kept = bytes.len().saturating_sub(lane.parsed.network_offset.into());
        let total_length = lane.parsed.total_length.min(kept as u16);
        let syn = Syn {
            due_ms: (now.ms() as u32).wrapping_add(LOOK_EVERY_MS),
            looks: 0,
            flow,
            port: lane.port,
            parsed: Parsed { total_length, ..lane.parsed },
            bytes,
        };
        if !self.unsolicited.wait(syn) {
            self.counters().errors_limited.add(1);
        }
    }

    /// Looks at the SYNs that have waited for a while, a bounded number of them.
    pub(crate) fn look_after_unsolicited<I: PacketIo<Frame = F>>(&mut self, now: Moment, io: &mut I) {
        let now_ms = now.ms() as u32;
        for _ in 0..LOOKS_PER_TURN {
            let Some(syn) = self.unsolicited.due(now_ms) else { break };
            let looks = syn.looks + 1;
            if !self.is_unsolicited_still(&syn.flow) {
                continue;
            }
            if looks < LOOKS {
                // It has just made room for itself.
                self.unsolicited.wait(Syn { due_ms: now_ms.wrapping_add(LOOK_EVERY_MS), looks, ..syn });
                continue;
            }
            // Its network and interface may be others by now, or nobody's.
            let entry = classify(&self.rules, syn.port, &syn.bytes, &syn.parsed);
            if let Ok(Some(interface)) = entry.map(|entry| entry.interface) {
                //= rfc5382#REQ-4a
                let error = icmp::Error::PortUnreachable;
                self.tell(error, syn.port, interface, &syn.bytes, &syn.parsed, io);
            }
        }
    }

    /// Whether there is no session of the connection, and the rules want an answer.
    fn is_unsolicited_still(&self, flow: &Flow) -> bool {
        let segment = self.rules.segment_of_realm(flow.realm());
        let addresses = segment.map(|segment| &self.rules.segments[segment.0 as usize].addresses);
        let address = addresses.and_then(|all| all.get(&flow.destination().address));
        let Some((address, ports)) = address.and_then(|address| Some((address, address.ports?))) else {
            return false;
        };
        let shard = self.state.shard_of_port(ports, flow);
        let session = shard.and_then(|shard| self.state.line(shard, flow, None));
        session.is_none() && is_answered(&self.rules, address, flow)
    }
}
