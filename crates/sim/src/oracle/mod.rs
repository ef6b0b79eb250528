//! The oracle: another NAT, slow and obvious, written from the text of RFC 4787, 5382, 5508, 6888 and 7857.
//!
//! It takes no part in choosing. Told which sessions the gateways opened for a packet, with the external endpoint that was
//! chosen, and which they closed, it judges whether each was allowed, and computes by itself every byte that had to come
//! out, or that nothing had to. It shares no line of code with what it judges; a test sees to that, and to its size.
//!
//! ```text
//! world.rs      what it is told of routers, pools and networks
//! bytes.rs      packets read and changed by hand, all checksums computed anew
//! tcp.rs        what was seen of a session, TCP's windows, timers
//! state.rs      mappings and sessions
//! judge.rs      the way of a packet
//! choice.rs     whether an external endpoint may be chosen, or none
//! errors.rs     ICMP errors through the translation
//! fragments.rs  which datagram a fragment is of
//! send.rs       what comes out of it, against what came
//! ```

mod bytes;
mod choice;
mod errors;
mod fragments;
mod judge;
mod send;
mod state;
mod tcp;
mod world;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

pub use bytes::{Frame, Header, read};
pub use state::{Flow, Told};
pub use world::{
    Class, Endpoint, Forwarding, Gateway, Interface, Mac, Pairing, Pool, Ports, Prefix, Router, Segment,
    Timeouts, Use, World, mac_of,
};

/// See the file's page.
#[derive(Default)]
pub struct Oracle {
    /// The rules as they are.
    pub world: Rc<World>,
    now_ms: u64,
    /// How long gateways had been awake at which time: as far back as they may not have noticed yet.
    awake: VecDeque<(u64, u64)>,
    sessions: BTreeMap<Flow, state::Session>,
    mappings: BTreeMap<u64, state::Mapping>,
    number: u64,
    /// The external address that was last chosen for a host: router, network, address.
    hosts: HashMap<(usize, usize, Ipv4Addr), Ipv4Addr>,
    datagrams: HashMap<fragments::Key, fragments::Datagram>,
    /// When an identification was last seen, between two addresses, of a protocol.
    identifications: HashMap<(Ipv4Addr, Ipv4Addr, u8, u16), u64>,
    /// What the gateways say they opened for this packet, and what they closed before their time was up.
    opened: Vec<Told>,
    closed: Vec<state::Session>,
    /// Nothing came out for it.
    is_silent: bool,
    /// How many verdicts of each kind: dropped, sent on, answered by an error or an echo.
    pub judged: [u64; 3],
}

impl Oracle {
    /// One that has seen nothing.
    pub fn new(world: World, now_ms: u64) -> Self {
        let awake = VecDeque::from([(0, now_ms)]);
        Self { world: Rc::new(world), now_ms, awake, ..Self::default() }
    }

    /// Other rules from now on.
    pub fn change(&mut self, world: World) {
        let before = std::mem::replace(&mut self.world, Rc::new(world));
        self.doubt(&before);
    }

    /// Gateways have begun anew: what they remember of fragments, and of identifications, ended with them.
    pub fn restart(&mut self) {
        self.datagrams.clear();
        self.identifications.clear();
    }

    /// Judges what came out for a packet that went in, or while none did, and what was opened and closed meanwhile.
    ///
    /// # Errors
    /// What was to come out, or why what came out was not allowed.
    pub fn judge(
        &mut self,
        frame: Option<&Frame>,
        out: &[Frame],
        opened: &[Told],
        closed: &[Told],
    ) -> Result<(), String> {
        self.opened = opened.to_vec();
        let ended: Vec<_> = closed.iter().filter_map(|told| self.close(&told.flow)).collect();
        self.closed = ended.into_iter().filter(|(_, is_due)| !is_due).map(|(session, _)| session).collect();
        let mut out: Vec<&Frame> = out.iter().collect();
        self.is_silent = out.is_empty();
        if let Some(frame) = frame {
            self.carry(frame, None, &mut out)?;
        }
        match out.first() {
            None => self.end(),
            Some(first) => Err(format!(
                "nothing was to come out, or nothing more than what comes before {:x?}",
                first.packet
            )),
        }
    }

    /// All that was opened and closed has been found right.
    fn end(&mut self) -> Result<(), String> {
        //= rfc4787#REQ-12
        //= rfc5382#REQ-10
        //= rfc5508#REQ-6
        if let Some(session) = self.closed.first() {
            return Err(format!("it was closed before its time: {session:?}"));
        }
        match self.opened.first() {
            Some(told) => Err(format!("it was not to be opened: {told:?}")),
            None => Ok(()),
        }
    }

    /// Nobody has anything any more.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.mappings.is_empty()
    }

    /// What it remembers, for a reader.
    pub fn remembered(&self) -> String {
        format!("{:#?}\n{:#?}", self.sessions, self.mappings)
    }
}
