//! Fragments that wait for the first of their datagram, as they were received.

use packet::{BURST_FRAMES_MAX, Burst};

use super::{ACCOUNTS, Account};
use crate::lane::Handed;
use crate::time::has_come;

/// Frames that wait, in all.
pub(crate) const HELD_MAX: usize = 512;
/// Frames of one account: what the largest datagram has at an MTU of 1,500, whose first fragment comes last, and some more.
pub(crate) const HELD_PER_ACCOUNT_MAX: u16 = 64;

struct Waiter<F> {
    handed: Handed<F>,
    /// Its datagram's.
    number: u32,
    account: Account,
    until_ms: u32,
}

/// See the file's page. The room is taken at the start.
pub(crate) struct Held<F> {
    /// In the order they came.
    waiters: Vec<Waiter<F>>,
    by_account: Box<[u16; ACCOUNTS]>,
    /// When it was last looked for those whose time is up.
    looked_ms: u32,
}

impl<F> Held<F> {
    pub(crate) fn new() -> Self {
        Self { waiters: Vec::with_capacity(HELD_MAX), by_account: Box::new([0; ACCOUNTS]), looked_ms: 0 }
    }

    /// Keeps a frame; gives it back where too many wait already.
    pub(crate) fn hold(
        &mut self,
        handed: Handed<F>,
        number: u32,
        account: Account,
        until_ms: u32,
    ) -> Result<(), Handed<F>> {
        let of_account = &mut self.by_account[usize::from(account.0)];
        if *of_account >= HELD_PER_ACCOUNT_MAX || self.waiters.len() >= HELD_MAX {
            return Err(handed);
        }
        *of_account += 1;
        self.waiters.push(Waiter { handed, number, account, until_ms });
        Ok(())
    }

    /// Takes a burst of the frames of a datagram, in the order they came. None is left when it comes back empty.
    pub(crate) fn take(&mut self, number: u32) -> Burst<Handed<F>> {
        let mut taken = Burst::new();
        let mut room = BURST_FRAMES_MAX;
        let is_of = |waiter: &mut Waiter<F>| {
            let is_of = waiter.number == number && room > 0;
            room -= usize::from(is_of);
            is_of
        };
        for waiter in self.waiters.extract_if(.., is_of) {
            self.by_account[usize::from(waiter.account.0)] -= 1;
            taken.push(waiter.handed);
        }
        taken
    }

    /// Takes one whose time is up. Looks once in a millisecond, or again where it has just found one.
    pub(crate) fn take_expired(&mut self, now_ms: u32) -> Option<Handed<F>> {
        if self.waiters.is_empty() || self.looked_ms == now_ms {
            return None;
        }
        let expired = self.waiters.iter().position(|waiter| has_come(waiter.until_ms, now_ms));
        match expired {
            Some(at) => Some(self.release(at)),
            None => {
                self.looked_ms = now_ms;
                None
            }
        }
    }

    /// Takes any.
    pub(crate) fn pop(&mut self) -> Option<Handed<F>> {
        self.waiters.len().checked_sub(1).map(|last| self.release(last))
    }

    fn release(&mut self, at: usize) -> Handed<F> {
        let waiter = self.waiters.remove(at);
        self.by_account[usize::from(waiter.account.0)] -= 1;
        waiter.handed
    }
}

#[cfg(test)]
mod tests {
    use packet::PortIndex;

    use super::*;

    fn frame(number: u64) -> Handed<u64> {
        Handed::received(number, PortIndex(0))
    }

    #[test]
    fn those_of_a_datagram_leave_in_order_a_burst_at_a_time() {
        let mut held = Held::new();
        for number in 0..50 {
            assert!(held.hold(frame(number), 7, Account(1), 100).is_ok());
            assert!(held.hold(frame(number), number as u32 + 100, Account(2), 100).is_ok());
        }
        let mut taken = Vec::new();
        for expected in [32, 18, 0] {
            let burst = held.take(7);
            assert_eq!(burst.len(), expected);
            taken.extend(burst.into_iter().map(|handed| handed.frame));
        }
        assert_eq!(taken, (0..50).collect::<Vec<_>>());
        assert_eq!((held.by_account[1], held.by_account[2]), (0, 50));
    }

    #[test]
    fn an_account_has_so_many_and_all_together_have_no_more_than_there_is_room_for() {
        let mut held = Held::new();
        let mut kept = |account| {
            (0..100).filter(|n| held.hold(frame(*n), *n as u32, Account(account), 9).is_ok()).count()
        };
        for account in 0..8 {
            assert_eq!(kept(account), usize::from(HELD_PER_ACCOUNT_MAX));
        }
        assert_eq!(kept(8), 0);
        assert_eq!(std::iter::from_fn(|| held.pop()).count(), HELD_MAX);
        assert_eq!(*held.by_account, [0; ACCOUNTS]);
    }

    #[test]
    fn what_has_waited_in_vain_is_taken_when_its_time_is_up() {
        let mut held = Held::new();
        for (number, until_ms) in [(1, 20), (2, 10), (3, 20)] {
            assert!(held.hold(frame(number), 7, Account(1), until_ms).is_ok());
        }
        let mut expired = |now_ms| -> Vec<_> {
            std::iter::from_fn(|| held.take_expired(now_ms)).map(|handed| handed.frame).collect()
        };
        assert_eq!(expired(9), [0; 0]);
        assert_eq!(expired(10), [2]);
        assert_eq!(expired(20), [1, 3]);
    }
}
