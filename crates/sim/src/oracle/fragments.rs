//! Which datagram a fragment is of: those that come before the first wait for it, and all have its ports (RFC 4787 REQ-14).

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{Frame, Header};
use super::judge::Case;

/// How long a datagram's fragments have, in milliseconds.
const HOLD_MS: u64 = 2_000;

/// Inside or out, whose router or network, source, destination, identification, protocol.
pub(super) type Key = (bool, usize, Ipv4Addr, Ipv4Addr, u16, u8);

/// What the first fragment lends the others of its datagram.
#[derive(Clone, Copy)]
pub(super) struct Lent {
    pub(super) key: Key,
    first: Header,
}

impl Lent {
    pub(super) fn to(self, header: Header) -> Header {
        let Header { source, destination, icmp, .. } = self.first;
        Header { source, destination, icmp, ..header }
    }
}

/// See the file's page.
#[derive(Default)]
pub(super) struct Datagram {
    began_ms: u64,
    /// Which units of eight bytes have come.
    units: HashSet<u16>,
    /// Where it ends, in bytes.
    end: Option<usize>,
    lent: Option<Lent>,
    waiting: Vec<Frame>,
    /// All that comes is dropped.
    is_refused: bool,
    /// The identification with which its fragments leave.
    pub(super) identification: Option<u16>,
}

impl Oracle {
    /// A fragment that needs its datagram's ports: it is judged with those, or waits for them.
    pub(super) fn reassemble(&mut self, case: &Case, out: &mut Vec<&Frame>) -> Result<(), String> {
        let header = &case.header;
        let is_outside = self.world.routers[case.router].interfaces[case.leg].external;
        let place = if is_outside { case.frame.segment } else { case.router };
        let (source, destination) = (header.source.0, header.destination.0);
        let key = (is_outside, place, source, destination, header.identification, header.protocol);
        let now_ms = self.now_ms;
        self.datagrams.retain(|_, datagram| now_ms - datagram.began_ms <= HOLD_MS);
        let datagram =
            self.datagrams.entry(key).or_insert_with(|| Datagram { began_ms: now_ms, ..Datagram::default() });
        if now_ms - datagram.began_ms >= HOLD_MS {
            datagram.waiting.clear();
        }
        //= rfc4787#REQ-14
        let frames = datagram.add(case, key);
        let Some(lent) = datagram.lent else { return Ok(()) };
        for frame in frames {
            self.carry(&frame, Some(&lent), out)?;
        }
        // All of it has come: what else has its key is another's.
        self.datagrams.retain(|_, one| one.end.is_none_or(|end| one.units.len() < end.div_ceil(8)));
        Ok(())
    }
}

impl Datagram {
    /// A fragment has come: what goes on now.
    fn add(&mut self, case: &Case, key: Key) -> Vec<Frame> {
        let header = &case.header;
        let start = usize::from(header.offset) * 8;
        let end = start + header.total - header.length;
        let units: Vec<u16> = (header.offset..end.div_ceil(8) as u16).collect();
        let is_behind = self.end.is_some_and(|known| end > known);
        if self.is_refused || (units.iter().all(|unit| self.units.contains(unit)) && !is_behind) {
            return Vec::new();
        }
        let is_last_again = !header.more
            && (self.end.is_some() || self.units.iter().any(|unit| usize::from(*unit) * 8 >= end));
        //= rfc5722#4
        if is_behind || is_last_again || units.iter().any(|unit| self.units.contains(unit)) {
            self.is_refused = true;
            self.waiting.clear();
            return Vec::new();
        }
        self.units.extend(units);
        if !header.more {
            self.end = Some(end);
        }
        if header.offset == 0 {
            self.lent = Some(Lent { key, first: *header });
        }
        self.waiting.push(case.frame.clone());
        if self.lent.is_none() {
            return Vec::new();
        }
        // The first goes first.
        let mut frames = std::mem::take(&mut self.waiting);
        frames.rotate_right(1);
        frames
    }
}
