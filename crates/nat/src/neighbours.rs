//! Next hops' MAC addresses, learnt by ARP, and the frames that wait for one.
//!
//! An entry is asked for when a frame first needs it, refreshed before it expires while it is used, and remembered as
//! silent for a while where nobody answers, so that a scan of an empty subnet costs one request per address.
//! A waiting frame is held as it arrived, untranslated, and judged again when the answer comes: the rules may have
//! changed meanwhile.

use std::net::Ipv4Addr;

use arrayvec::ArrayVec;
use flowtable::{HashKey, SWEEP_DUE_MAX, SlotIndex, Table};
use packet::{Burst, MacAddress, PortIndex};
use rules::compiled::Realm;
use zerocopy::{Immutable, IntoBytes};

use crate::{DropReason, time};

/// The most neighbours that are known, asked for or silent at once.
pub const NEIGHBOURS_MAX: u32 = 65_536;
/// Frames that wait, in all.
const HELD_MAX: usize = 256;
/// Frames that wait for one neighbour (RFC 1122 section 2.3.2.2 asks for at least one).
const HELD_PER_NEIGHBOUR_MAX: usize = 8;
/// How long a request waits for its answer.
const ANSWER_MS: u32 = 1_000;
/// Requests before a neighbour counts as silent.
const REQUESTS_MAX: u8 = 3;
/// How long an answer is good for before it is asked for again.
const FRESH_MS: u32 = 30_000;
/// How long a silent neighbour is not asked for again.
const SILENT_MS: u32 = 3_000;

/// A network's realm and an address on it.
#[derive(Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
struct Key {
    realm: [u8; 4],
    address: [u8; 4],
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Asked for, no answer yet.
    #[default]
    Incomplete,
    /// Answered.
    Fresh,
    /// Answered once, and asked for again; still used.
    Refreshing,
    /// Asked for in vain.
    Silent,
}

#[derive(Clone, Copy, Default)]
struct Neighbour {
    mac: MacAddress,
    state: State,
    /// Requests since the last answer.
    requests: u8,
    /// Looked up since the last answer.
    used: bool,
}

/// A frame that waits for a neighbour's MAC.
struct Held<F> {
    frame: F,
    port: PortIndex,
    slot: SlotIndex,
}

/// What the table says of a next hop.
pub(crate) enum Resolution {
    /// Its MAC.
    Known(MacAddress),
    /// Being asked for: the frame may wait.
    Asking(SlotIndex),
    /// It was not in the table: ask for it; the frame may wait.
    Ask(SlotIndex),
    /// It does not answer, or the table is full.
    Unreachable(DropReason),
}

/// What has to be done about a neighbour whose time has come.
pub(crate) enum Due {
    /// Ask again who has the address.
    Ask(Realm, Ipv4Addr),
    /// It is silent: the frames that wait for it are to be taken with [`Neighbours::take_held`] and refused.
    Silent(SlotIndex),
}

/// See the module's page.
pub(crate) struct Neighbours<F> {
    table: Table<Key, Neighbour, 1>,
    held: ArrayVec<Held<F>, HELD_MAX>,
    sweep: time::Sweep,
}

impl<F> Neighbours<F> {
    pub(crate) fn new(hash_key: HashKey) -> Self {
        Self {
            table: Table::new(NEIGHBOURS_MAX, hash_key),
            held: ArrayVec::new(),
            sweep: time::Sweep::default(),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.table.len()
    }

    /// The MAC of `address` on the network `realm`, or what to do about it.
    pub(crate) fn resolve(&mut self, realm: Realm, address: Ipv4Addr, now_ms: u32) -> Resolution {
        let key = key(realm, address);
        let Some(line) = self.table.find(&key) else {
            let asked = Neighbour { requests: 1, ..Neighbour::default() };
            return match self.table.insert([key], [asked], now_ms.wrapping_add(ANSWER_MS)) {
                Ok(slot) => Resolution::Ask(slot),
                Err(_) => Resolution::Unreachable(DropReason::NeighbourTableFull),
            };
        };
        let neighbour = self.table.value_mut(line);
        neighbour.used = true;
        match neighbour.state {
            State::Fresh | State::Refreshing => Resolution::Known(neighbour.mac),
            State::Incomplete => Resolution::Asking(self.table.slot_of(line)),
            State::Silent => Resolution::Unreachable(DropReason::NeighbourUnresolved),
        }
    }

    /// Keeps a frame until its neighbour answers; gives it back where too many wait already.
    pub(crate) fn hold(&mut self, frame: F, port: PortIndex, slot: SlotIndex) -> Result<(), F> {
        let waiting = self.held.iter().filter(|held| held.slot == slot).count();
        if waiting >= HELD_PER_NEIGHBOUR_MAX || self.held.is_full() {
            return Err(frame);
        }
        self.held.push(Held { frame, port, slot });
        Ok(())
    }

    /// Learns that `address` is at `mac`, if it is in the table; with `insert`, also if not. Returns the neighbour's slot.
    pub(crate) fn learn(
        &mut self,
        realm: Realm,
        address: Ipv4Addr,
        mac: MacAddress,
        insert: bool,
        now_ms: u32,
    ) -> Option<SlotIndex> {
        let key = key(realm, address);
        let fresh = Neighbour { mac, state: State::Fresh, requests: 0, used: false };
        let deadline_ms = now_ms.wrapping_add(FRESH_MS);
        let Some(line) = self.table.find(&key) else {
            return insert.then(|| self.table.insert([key], [fresh], deadline_ms).ok()).flatten();
        };
        *self.table.value_mut(line) = fresh;
        let slot = self.table.slot_of(line);
        self.table.set_deadline(slot, deadline_ms);
        Some(slot)
    }

    /// Takes the frames that wait for a neighbour, in the order they came, up to a burst.
    pub(crate) fn take_held(&mut self, slot: SlotIndex) -> Burst<(F, PortIndex)> {
        let mut taken = Burst::new();
        let mut index = 0;
        while index < self.held.len() {
            if self.held[index].slot == slot && !taken.is_full() {
                let held = self.held.remove(index);
                taken.push((held.frame, held.port));
            } else {
                index += 1;
            }
        }
        taken
    }

    /// Looks after a bounded number of neighbours, and reports at most `due`'s capacity of things to do.
    pub(crate) fn tick(&mut self, now_ms: u32, due: &mut ArrayVec<Due, SWEEP_DUE_MAX>) {
        let mut slots = ArrayVec::<SlotIndex, SWEEP_DUE_MAX>::new();
        self.table.sweep(now_ms, self.sweep.slots(now_ms, NEIGHBOURS_MAX), &mut slots);
        for slot in slots {
            let line = self.table.line_of(slot, 0);
            let Key { realm, address } = *self.table.key(line);
            let neighbour = self.table.value_mut(line);
            let ask = match neighbour.state {
                State::Fresh => neighbour.used,
                State::Incomplete | State::Refreshing => neighbour.requests < REQUESTS_MAX,
                State::Silent => false,
            };
            if ask {
                neighbour.requests += 1;
                if neighbour.state == State::Fresh {
                    neighbour.state = State::Refreshing;
                }
                self.table.set_deadline(slot, now_ms.wrapping_add(ANSWER_MS));
                due.push(Due::Ask(Realm(u32::from_be_bytes(realm)), address.into()));
            } else if neighbour.state == State::Incomplete {
                neighbour.state = State::Silent;
                self.table.set_deadline(slot, now_ms.wrapping_add(SILENT_MS));
                due.push(Due::Silent(slot));
            } else {
                self.table.remove(slot);
            }
        }
    }
}

fn key(realm: Realm, address: Ipv4Addr) -> Key {
    Key { realm: realm.0.to_be_bytes(), address: address.octets() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: Realm = Realm(7);
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn neighbours() -> Neighbours<u32> {
        Neighbours::new(HashKey([1, 2]))
    }

    /// Ticks every 100 ms; returns how often it asked, and how often it gave up.
    fn pass(neighbours: &mut Neighbours<u32>, from_ms: u32, to_ms: u32) -> (usize, usize) {
        let (mut asked, mut silent) = (0, 0);
        for now_ms in (from_ms..to_ms).step_by(10) {
            let mut due = ArrayVec::new();
            neighbours.tick(now_ms, &mut due);
            asked += due.iter().filter(|due| matches!(due, Due::Ask(REALM, ADDRESS))).count();
            silent += due.iter().filter(|due| matches!(due, Due::Silent(_))).count();
        }
        (asked, silent)
    }

    #[test]
    fn a_neighbour_is_asked_three_times_and_then_left_alone_for_a_while() {
        let mut neighbours = neighbours();
        let Resolution::Ask(slot) = neighbours.resolve(REALM, ADDRESS, 0) else { panic!("first use asks") };
        assert!(matches!(neighbours.resolve(REALM, ADDRESS, 1), Resolution::Asking(same) if same == slot));
        assert_eq!(pass(&mut neighbours, 1, 5_500), (2, 1), "two more requests, then silent");
        assert!(matches!(
            neighbours.resolve(REALM, ADDRESS, 5_500),
            Resolution::Unreachable(DropReason::NeighbourUnresolved)
        ));
        assert_eq!(pass(&mut neighbours, 5_500, 12_000), (0, 0));
        assert!(matches!(neighbours.resolve(REALM, ADDRESS, 12_000), Resolution::Ask(_)));
    }

    #[test]
    fn a_used_neighbour_is_refreshed_and_never_unknown_meanwhile() {
        let mut neighbours = neighbours();
        neighbours.resolve(REALM, ADDRESS, 0);
        neighbours.learn(REALM, ADDRESS, MAC, false, 0).unwrap();
        let mut asked = 0;
        for second in 0..120 {
            let now_ms = second * 1_000;
            assert!(matches!(neighbours.resolve(REALM, ADDRESS, now_ms), Resolution::Known(MAC)), "{second}");
            let (requests, _) = pass(&mut neighbours, now_ms, now_ms + 1_000);
            if requests > 0 {
                asked += 1;
                neighbours.learn(REALM, ADDRESS, MAC, false, now_ms + 999);
            }
        }
        assert!((3..=4).contains(&asked), "asked {asked} times in two minutes");
    }

    #[test]
    fn an_unused_neighbour_is_forgotten() {
        let mut neighbours = neighbours();
        neighbours.learn(REALM, ADDRESS, MAC, true, 0).unwrap();
        assert_eq!(pass(&mut neighbours, 0, 60_000), (0, 0));
        assert_eq!(neighbours.len(), 0);
    }

    #[test]
    fn frames_wait_in_order_and_no_more_than_a_few() {
        let mut neighbours = neighbours();
        let Resolution::Ask(slot) = neighbours.resolve(REALM, ADDRESS, 0) else { panic!() };
        let Resolution::Ask(other) = neighbours.resolve(REALM, Ipv4Addr::LOCALHOST, 0) else { panic!() };
        for number in 0..20 {
            let kept = neighbours.hold(number, PortIndex(0), slot).is_ok();
            assert_eq!(kept, (number as usize) < HELD_PER_NEIGHBOUR_MAX);
        }
        neighbours.hold(99, PortIndex(1), other).unwrap();
        let frames: Vec<u32> = neighbours.take_held(slot).into_iter().map(|(frame, _)| frame).collect();
        assert_eq!(frames, (0..HELD_PER_NEIGHBOUR_MAX as u32).collect::<Vec<_>>());
        assert_eq!(neighbours.take_held(other).len(), 1);
    }
}
