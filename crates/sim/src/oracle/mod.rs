//! The oracle: another NAT, slow and obvious, written from the text of RFC 4787, 5382, 5508, 6888 and 7857.
//!
//! It takes no part in choosing. Told what came out of the gateway for a packet that went in, it reads from that which
//! external endpoint was chosen, judges whether that was allowed, and computes by itself every byte that had to come
//! out, or that nothing had to. It shares no line of code with what it judges; a test sees to that.
//!
//! ```text
//! world.rs   what it is told of routers, pools and networks
//! bytes.rs   packets read and changed by hand, all checksums computed anew
//! state.rs   mappings and sessions: alive, dead or perhaps
//! track.rs   what was seen of a session, TCP's windows, timers
//! judge.rs   the way of a packet
//! choice.rs  whether an external endpoint may be chosen, or none
//! errors.rs  ICMP errors through the translation, and those that the gateway makes
//! ```

mod bytes;
mod choice;
mod errors;
mod judge;
mod state;
mod track;
mod world;

pub use bytes::{Frame, Header, read};
pub use world::{
    Behaviour, Class, Endpoint, Gateway, Interface, Mac, Pool, Router, Segment, Timeouts, Use, World, mac_of,
};

/// Rows of the compliance page that the oracle does not judge, and why.
pub const NOT_JUDGED: &[(&str, &str)] = &[
    (
        "rfc4787#REQ-10",
        "payloads are compared byte by byte, which is all there is to judge: there is no gateway for any",
    ),
    (
        "rfc4787#REQ-11",
        "the class is compared under exhaustion; whether one was chosen by load is not visible to it",
    ),
    (
        "rfc4787#REQ-1",
        "UDP and ICMP by endpoint, TCP by address and port: no world has other mapping classes, or mapping by port",
    ),
    ("rfc4787#REQ-8", "UDP by address: no world has other filtering classes"),
    ("rfc4787#REQ-2", "strict pairing alone: no world has soft pairing, or none"),
    ("rfc4787#REQ-3", "no world preserves ports, hands them out in blocks, or limits what a host may have"),
    ("rfc4787#REQ-4", "no world preserves parity"),
    ("rfc4787#REQ-5", "no world has timers of its own for a port"),
    ("rfc4787#REQ-6", "datagrams from outside always refresh; no world has it otherwise"),
    (
        "rfc4787#REQ-13",
        "too long for the next network: an error with DF is judged; cutting without DF is not, nor a lowered MSS",
    ),
    ("rfc4787#REQ-14", "no fragment that the operations send meets its first: none goes through SNAT"),
    (
        "rfc5382#REQ-4",
        "no world answers an unsolicited SYN, or resets what is idle, or picks connections up in their middle",
    ),
    ("rfc5382#REQ-5", "as rfc4787#REQ-5; its own timers are judged"),
    ("rfc7857#11", "an identification is taken as it comes wherever DF is not set"),
    ("rfc6888#REQ-2", "as rfc4787#REQ-2"),
    ("rfc6888#REQ-4", "as rfc4787#REQ-3"),
    ("rfc6888#REQ-8", "how many ports rest at most: no world sets it; how long they rest is judged"),
    ("rfc7857#9", "as rfc4787#REQ-4"),
    (
        "protocols without ports",
        "protocols other than TCP, UDP and ICMP pass by floating IPs alone here: none goes through SNAT",
    ),
    ("rfc6888#REQ-9", "no control protocol; no world forwards ports, or has a router with several gateways"),
    ("rfc6888#REQ-10", "management is not a packet"),
    ("rfc6888#REQ-12", "logs are not packets"),
    ("rfc6888#REQ-14", "logs are not packets"),
    (
        "rfc6888#REQ-15",
        "whether a choice can be guessed is a matter of many choices: crates/nat/tests/brain/ports.rs",
    ),
    ("rfc7857#10", "as rfc6888#REQ-15"),
];

/// See the file's page.
pub struct Oracle {
    /// The rules as they are.
    pub world: World,
    now_ms: u64,
    mappings: Vec<state::Mapping>,
    /// When nobody was awake to notice that a time is up: from, to.
    stalls: Vec<(u64, u64)>,
    /// How many verdicts of each kind: dropped, sent on, answered by an error or an echo.
    pub judged: [u64; 3],
}

impl Oracle {
    /// One that has seen nothing.
    pub fn new(world: World) -> Self {
        Self { world, now_ms: 0, mappings: Vec::new(), stalls: Vec::new(), judged: [0; 3] }
    }

    /// Other rules from now on.
    pub fn change(&mut self, world: World) {
        let before = std::mem::replace(&mut self.world, world);
        self.doubt(&before);
    }

    /// Time passed at once: whatever ended meanwhile is noticed behind it.
    pub fn stall(&mut self, from_ms: u64, to_ms: u64) {
        self.stalls.push((from_ms, to_ms));
        if self.stalls.len() > 64 {
            self.stalls.remove(0);
        }
    }

    /// Judges what came out for a packet that went in.
    ///
    /// # Errors
    /// What was to come out, or why what came out was not allowed.
    pub fn judge(&mut self, now_ms: u64, frame: &Frame, out: &[Frame]) -> Result<(), String> {
        self.now_ms = now_ms;
        self.forget();
        let seen = out.first();
        if out.len() > 1 {
            return Err(format!("one packet in, {} out", out.len()));
        }
        let expected = self.expect(frame, seen)?;
        match (&expected, seen) {
            (judge::Expected::Nothing, None) => self.judged[0] += 1,
            (judge::Expected::Packet(one), Some(seen)) if renumbered(one, seen) == *seen => {
                self.judged[1] += 1
            }
            (judge::Expected::Error(error), Some(seen)) => {
                self.check_error(frame, error, seen)?;
                self.judged[2] += 1;
            }
            (judge::Expected::Packet(one), Some(seen)) => return Err(difference(one, seen)),
            (expected, _) => return Err(format!("expected {expected:?}")),
        }
        Ok(())
    }

    /// What it remembers, for a reader.
    pub fn remembered(&self) -> Vec<String> {
        let show = |one: &state::Mapping| {
            let life = self.port_life(one);
            let sessions: Vec<_> = one
                .sessions
                .iter()
                .map(|session| {
                    (session.remote, session.track, session.again, session.doubtful, self.life(one, session))
                })
                .collect();
            format!(
                "{} protocol {} {:?} {:?} {:?} {life:?} ended {:?} doubtful {} remotes {sessions:?}",
                one.router, one.protocol, one.internal, one.external, one.class, one.ended, one.doubtful
            )
        };
        self.mappings.iter().map(show).collect()
    }
}

/// What is expected, with the identification that came where the packet may be cut: behind SNAT it is the gateway's own choice
/// (RFC 6864).
fn renumbered(expected: &Frame, seen: &Frame) -> Frame {
    let mut expected = expected.clone();
    let atomic = expected.packet[6] & 0x40 != 0;
    if !atomic && let (Some(to), Some(from)) = (expected.packet.get_mut(4..6), seen.packet.get(4..6)) {
        to.copy_from_slice(from);
        bytes::fix_header(&mut expected.packet);
    }
    expected
}

/// Where two frames differ.
fn difference(expected: &Frame, seen: &Frame) -> String {
    let link = |frame: &Frame| (frame.segment, frame.to, frame.from, frame.packet.len());
    let bytes = expected.packet.iter().zip(&seen.packet).enumerate().filter(|(_, (one, other))| one != other);
    let bytes: Vec<String> =
        bytes.map(|(at, (one, other))| format!("byte {at}: {one:02x}, not {other:02x}")).collect();
    format!("expected {:x?}, came {:x?}; expected {}", link(expected), link(seen), bytes.join(", "))
}
