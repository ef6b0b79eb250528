//! What is known of datagrams of which fragments have come: in a table of fixed size, of one gateway's own.
//!
//! ```text
//! bucket, by hash    | datagram x 8 |      the free or forgotten ones of 8 are taken; none is pushed out
//! datagram           key | number | began | account | ports, or why it is refused | bytes that have come
//! ```

use packet::fragment::Part;

use super::ranges::{Added, Ranges};
use super::{ACCOUNTS, Account, HOLD_MS};
use crate::DropReason;
use crate::flow::Flow;
use crate::lane::Datagram;
use crate::time::Sweep;

/// Datagrams of one gateway.
pub(crate) const DATAGRAMS_MAX: usize = 4_096;
/// Datagrams of one account.
pub(crate) const DATAGRAMS_PER_ACCOUNT_MAX: u16 = 512;

/// Datagrams in a bucket: while an eighth of the room is used, one bucket in a hundred thousand is full.
const WAYS: usize = 8;
const BUCKETS: usize = DATAGRAMS_MAX / WAYS;

/// A fragment that has come to where its datagram is known.
pub(crate) struct Arrival {
    pub(crate) key: Flow,
    /// Of the key.
    pub(crate) hash: u64,
    pub(crate) account: Account,
    pub(crate) part: Part,
    /// What it says of its datagram, if it is the first fragment.
    pub(crate) first: Option<Datagram>,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The datagram's ports are known. After a first fragment those go on that have waited under this number.
    Known { datagram: Datagram, number: u32, is_first: bool },
    /// It waits for the first, under this number, until then.
    Wait { number: u32, until_ms: u32 },
    /// It is dropped.
    Drop(DropReason),
    /// And so are those that wait under this number.
    DropAll { reason: DropReason, number: u32 },
}

#[derive(Clone, Copy)]
enum Standing {
    /// The first fragment has not come.
    Waiting,
    /// What it has said.
    Known(Datagram),
    /// All that comes is dropped.
    Refused(DropReason),
}

struct Entry {
    key: Flow,
    /// Never used twice while anybody waits under it.
    number: u32,
    began_ms: u32,
    account: Account,
    standing: Standing,
    ranges: Ranges,
}

const _: () = assert!(size_of::<Option<Entry>>() <= 128, "two cache lines");

impl Entry {
    fn is_over(&self, now_ms: u32) -> bool {
        now_ms.wrapping_sub(self.began_ms) > HOLD_MS
    }
}

/// See the file's page.
pub(crate) struct Datagrams {
    slots: Box<[Option<Entry>]>,
    by_account: Box<[u16; ACCOUNTS]>,
    number: u32,
    used: u32,
    sweep: Sweep,
    next_to_sweep: usize,
}

impl Datagrams {
    pub(crate) fn new() -> Self {
        Self {
            slots: (0..DATAGRAMS_MAX).map(|_| None).collect(),
            by_account: Box::new([0; ACCOUNTS]),
            number: 0,
            used: 0,
            sweep: Sweep::default(),
            next_to_sweep: 0,
        }
    }

    /// Notes a fragment, and says what becomes of it.
    pub(crate) fn admit(&mut self, arrival: &Arrival, now_ms: u32) -> Admission {
        let slot = self.find(arrival).filter(|slot| !self.forget_if_over(*slot, now_ms));
        let Some(slot) = slot.or_else(|| self.insert(arrival, now_ms)) else {
            return Admission::Drop(DropReason::FragmentLimit);
        };
        let Some(entry) = &mut self.slots[slot] else { return Admission::Drop(DropReason::FragmentLimit) };
        if let Standing::Refused(reason) = entry.standing {
            return Admission::Drop(reason);
        }
        let number = entry.number;
        let refuse_all = |entry: &mut Entry, reason| {
            entry.standing = Standing::Refused(reason);
            Admission::DropAll { reason, number }
        };
        match entry.ranges.add(arrival.part) {
            Added::New => {}
            Added::Again => return Admission::Drop(DropReason::FragmentOverlap),
            //= rfc5722#4
            Added::Overlaps => return refuse_all(entry, DropReason::FragmentOverlap),
            Added::Scattered => return refuse_all(entry, DropReason::FragmentLimit),
        }
        if let Some(datagram) = arrival.first {
            entry.standing = Standing::Known(datagram);
        }
        let Standing::Known(datagram) = entry.standing else {
            return Admission::Wait { number, until_ms: entry.began_ms.wrapping_add(HOLD_MS) };
        };
        if entry.ranges.is_complete() {
            self.remove(slot);
        }
        Admission::Known { datagram, number, is_first: arrival.first.is_some() }
    }

    /// Drops from now on all that comes of a datagram.
    pub(crate) fn refuse(&mut self, arrival: &Arrival, reason: DropReason) {
        if let Some(slot) = self.find(arrival)
            && let Some(entry) = &mut self.slots[slot]
        {
            entry.standing = Standing::Refused(reason);
        }
    }

    /// Forgets a piece of those whose time is up; all of them within a second.
    pub(crate) fn expire(&mut self, now_ms: u32) {
        let slots = self.sweep.slots(now_ms, DATAGRAMS_MAX as u32);
        if self.used == 0 {
            return;
        }
        for _ in 0..slots {
            self.forget_if_over(self.next_to_sweep, now_ms);
            self.next_to_sweep = (self.next_to_sweep + 1) % DATAGRAMS_MAX;
        }
    }

    fn find(&self, arrival: &Arrival) -> Option<usize> {
        bucket(arrival.hash)
            .find(|slot| self.slots[*slot].as_ref().is_some_and(|entry| entry.key == arrival.key))
    }

    fn insert(&mut self, arrival: &Arrival, now_ms: u32) -> Option<usize> {
        let slot = bucket(arrival.hash)
            .find(|slot| self.slots[*slot].is_none() || self.forget_if_over(*slot, now_ms))?;
        let of_account = &mut self.by_account[usize::from(arrival.account.0)];
        if *of_account >= DATAGRAMS_PER_ACCOUNT_MAX {
            return None;
        }
        *of_account += 1;
        self.used += 1;
        self.number = self.number.wrapping_add(1);
        self.slots[slot] = Some(Entry {
            key: arrival.key,
            number: self.number,
            began_ms: now_ms,
            account: arrival.account,
            standing: Standing::Waiting,
            ranges: Ranges::default(),
        });
        Some(slot)
    }

    fn forget_if_over(&mut self, slot: usize, now_ms: u32) -> bool {
        let is_over = self.slots[slot].as_ref().is_some_and(|entry| entry.is_over(now_ms));
        if is_over {
            self.remove(slot);
        }
        is_over
    }

    fn remove(&mut self, slot: usize) {
        if let Some(entry) = self.slots[slot].take() {
            self.by_account[usize::from(entry.account.0)] -= 1;
            self.used -= 1;
        }
    }
}

fn bucket(hash: u64) -> std::ops::Range<usize> {
    let first = hash as usize % BUCKETS * WAYS;
    first..first + WAYS
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use packet::Protocol;
    use rules::compiled::Realm;

    use super::*;
    use crate::flow::Endpoint;
    use crate::random::fold;

    fn lone(identification: u16, account: u16) -> Arrival {
        let source = Endpoint { address: Ipv4Addr::new(10, 0, 0, 1), port: identification };
        let destination = Endpoint { address: Ipv4Addr::new(192, 0, 2, 1), port: account };
        Arrival {
            key: Flow::new(Realm(account.into()), Protocol::UDP, source, destination),
            hash: fold(u64::from(identification) << 16 | u64::from(account), 0x9e37_79b9_7f4a_7c15),
            account: Account(account),
            part: Part { identification, start: 8, end: 16, is_last: true },
            first: None,
        }
    }

    fn admitted(datagrams: &mut Datagrams, account: u16, now_ms: u32) -> usize {
        let admit = |number| datagrams.admit(&lone(number, account), now_ms);
        (0..10_000).map(admit).filter(|admission| matches!(admission, Admission::Wait { .. })).count()
    }

    #[test]
    fn an_account_has_so_many_and_leaves_room_for_the_others() {
        let mut datagrams = Datagrams::new();
        let max = usize::from(DATAGRAMS_PER_ACCOUNT_MAX);
        // Each has its eighth, less what a full bucket refuses.
        for account in 0..4 {
            assert_eq!(admitted(&mut datagrams, account, 5), max, "{account}");
        }
        assert_eq!(datagrams.used as usize, 4 * max);
        for account in 4..40 {
            admitted(&mut datagrams, account, 5);
        }
        assert!(datagrams.used as usize > DATAGRAMS_MAX * 9 / 10 && datagrams.used as usize <= DATAGRAMS_MAX);
    }

    #[test]
    fn what_is_over_is_forgotten_by_the_sweep_and_by_who_needs_its_room() {
        let began = u32::MAX - 500;
        for is_swept in [true, false] {
            let mut datagrams = Datagrams::new();
            datagrams.expire(began);
            assert_eq!(admitted(&mut datagrams, 7, began), usize::from(DATAGRAMS_PER_ACCOUNT_MAX));
            assert_eq!(admitted(&mut datagrams, 7, began.wrapping_add(HOLD_MS)), 0, "not yet");
            let then = began.wrapping_add(HOLD_MS + 1);
            if is_swept {
                datagrams.expire(then);
                assert_eq!(datagrams.used, 0);
                assert_eq!(*datagrams.by_account, [0; ACCOUNTS]);
            }
            assert!(admitted(&mut datagrams, 7, then) > 0);
        }
    }
}
