//! Fragments of flows that are translated by their ports: each is given the ports of its datagram's first fragment, and
//! then goes the way of any packet of its flow. Nothing is put together (virtual reassembly).
//!
//! ```text
//! judge            a fragment that needs its ports and has not got them -> Verdict::Reassemble
//! home             the gateway that owns hash(realm, source, destination, identification, protocol): handed there, where
//!                  all of a datagram meet
//! datagrams.rs     what is known of the datagram there: its ports, and which bytes have come
//! held.rs          those that came before the first wait for it, as they were received
//! carry            with the ports: judged, handed to the owner of its session, held for a neighbour, as others are
//! ```
//!
//! So there is one judgement for packets and fragments, and a session is opened by either. Which bytes have come is
//! remembered because a NAT that passes fragments is asked to stop what is made to write over a header that was let pass
//! (RFC 1858): a fragment that lies partly over another ends its datagram, as RFC 5722 has it for IPv6. One all of whose
//! bytes have come is dropped alone: a network may duplicate, and the receiver never sees it.
//!
//! **Bounds.** For each gateway and each account: datagrams, and frames that wait. An account is a router, for what comes
//! from inside, and an external address, for what comes from outside: the router behind that is known only by the ports. What
//! goes beyond is dropped, nothing is pushed out, and packets that are no fragments never look here (RFC 4787 REQ-14a).
//!
//! **Time.** A datagram has [`HOLD_MS`] from its first-come fragment on, and is forgotten sooner, once all of it has come; a
//! duplicate that comes later still waits for nothing, and is an orphan.
//!
//! Absent on purpose: fragments of what needs no ports (floating IPs, routing), which pass as they come; and state that
//! outlives the process: it would be a second old.

mod datagrams;
mod held;
mod ranges;

use packet::{Fragment, Frame, Moment, PacketIo, fragment};

use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::gateway::Gateway;
use crate::lane::{Datagram, Handed, Lane};
use crate::random::fold;
use crate::state::WorkerIndex;

pub(crate) use datagrams::Datagrams;
use datagrams::{Admission, Arrival};
pub(crate) use held::Held;

/// How long a datagram's fragments have, from the first that comes, in milliseconds.
///
/// RFC 791 suggests 15 seconds, for a receiver. What waits here keeps a buffer of the network card's, and fragments that
/// the network has put out of order are milliseconds apart, on other paths a second: who is slower than this has lost one.
pub(crate) const HOLD_MS: u32 = 2_000;

/// An odd number without a pattern.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Those for whom datagrams and frames are counted, told apart by a hash: two may share an account, which nobody can
/// foretell.
const ACCOUNTS: usize = 1_024;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account(u16);

impl Account {
    fn of(hash: u64) -> Self {
        Self((hash >> 40) as u16 % ACCOUNTS as u16)
    }
}

/// The datagram that a fragment is of, as a key: the identification stands where a flow has its source port.
pub(crate) fn datagram_key(flow: &Flow, bytes: &[u8], parsed: &packet::Parsed) -> Flow {
    let identification = fragment::part(bytes, parsed).identification;
    Flow::new(
        flow.realm(),
        flow.protocol(),
        Endpoint { address: flow.source().address, port: identification },
        Endpoint { address: flow.destination().address, port: 0 },
    )
}

impl<F: Frame> Gateway<F> {
    /// Gives a fragment the ports of its datagram and carries it on, with those that have waited for it; or keeps it until
    /// they are known.
    //= rfc4787#REQ-14
    pub(crate) fn reassemble<I: PacketIo<Frame = F>>(&mut self, lane: Lane<F>, now: Moment, io: &mut I) {
        let hash = self.hash(&lane.order);
        let home = self.home_of(hash);
        if home != self.me() {
            return self.hand_off(lane, home);
        }
        let Lane { parsed, order, .. } = lane;
        let first = (parsed.fragment == Fragment::First)
            .then(|| Datagram::of(&parsed, self.identifications.draw(parsed.destination, parsed.protocol)));
        let account = self.account_of(&lane);
        let part = fragment::part(lane.frame.bytes(), &parsed);
        let arrival = Arrival { key: order, hash, account, part, first };
        match self.datagrams.admit(&arrival, now.ms() as u32) {
            Admission::Known { datagram, number, is_first } => {
                let handed = Handed { datagram: Some(datagram), ..lane.into_handed() };
                self.carry(&mut [handed].into_iter().collect(), now, io);
                if is_first {
                    self.carry_those_that_waited(number, datagram, now, io);
                }
            }
            Admission::Wait { number, until_ms } => {
                match self.held.hold(lane.into_handed(), number, account, until_ms) {
                    Ok(()) => self.counters().held.add(1),
                    Err(handed) => {
                        self.datagrams.refuse(&arrival, DropReason::FragmentLimit);
                        self.discard(&handed.tickets, DropReason::FragmentLimit);
                        self.drop_those_that_wait(number, DropReason::FragmentLimit);
                    }
                }
            }
            Admission::Drop(reason) => self.discard(&lane.tickets, reason),
            Admission::DropAll { reason, number } => {
                self.discard(&lane.tickets, reason);
                self.drop_those_that_wait(number, reason);
            }
        }
    }

    fn carry_those_that_waited<I: PacketIo<Frame = F>>(
        &mut self,
        number: u32,
        datagram: Datagram,
        now: Moment,
        io: &mut I,
    ) {
        loop {
            let mut frames = self.held.take(number);
            if frames.is_empty() {
                return;
            }
            self.counters().held.sub(frames.len() as u64);
            frames.iter_mut().for_each(|handed| handed.datagram = Some(datagram));
            self.carry(&mut frames, now, io);
        }
    }

    fn drop_those_that_wait(&mut self, number: u32, reason: DropReason) {
        loop {
            let frames = self.held.take(number);
            if frames.is_empty() {
                return;
            }
            self.counters().held.sub(frames.len() as u64);
            frames.iter().for_each(|handed| self.discard(&handed.tickets, reason));
        }
    }

    /// Forgets datagrams whose time is up, and drops what has waited in vain.
    pub(crate) fn look_after_fragments(&mut self, now: Moment) {
        let now_ms = now.ms() as u32;
        self.datagrams.expire(now_ms);
        while let Some(handed) = self.held.take_expired(now_ms) {
            self.counters().held.sub(1);
            self.discard(&handed.tickets, DropReason::FragmentOrphan);
        }
    }

    /// All of whose bits are used: for the gateway, for the place in a table, for the account.
    fn hash(&self, key: &Flow) -> u64 {
        fold(self.outbox.hash(key), MIX)
    }

    /// The gateway at which all fragments of a datagram meet.
    fn home_of(&self, hash: u64) -> WorkerIndex {
        let shard = ((hash >> 32) * u64::from(self.state.shards())) >> 32;
        self.state.worker_of(flowtable::ShardIndex(shard as u8))
    }

    fn account_of(&self, lane: &Lane<F>) -> Account {
        let from_outside = lane
            .entry
            .interface
            .is_some_and(|interface| self.rules.interfaces[interface.0 as usize].external);
        let whose = if from_outside { lane.parsed.destination } else { std::net::Ipv4Addr::UNSPECIFIED };
        let nobody = Endpoint { address: std::net::Ipv4Addr::UNSPECIFIED, port: 0 };
        let key =
            Flow::new(lane.order.realm(), packet::Protocol(0), nobody, Endpoint { address: whose, port: 0 });
        Account::of(self.hash(&key))
    }
}
