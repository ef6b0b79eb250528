//! How many ICMP errors and answering resets of our own a worker may send by an interface: a bounded number at once, and a
//! bounded rate (RFC 1812 section 4.3.2.8).
//!
//! Whoever can make us refuse packets could else make us flood a network, or whoever the packets seem to come from. One token
//! is one error; there is a new one each millisecond. What is not said is counted: the packet is dropped for its reason all
//! the same.
//!
//! Each interface has tokens of its own, so that a tenant who is refused a lot takes none of those by which another learns
//! that his packets are too long.

use rules::compiled::InterfaceIndex;

/// Errors that may leave by an interface at once.
const TOKENS_MAX: u32 = 256;

/// See the file's page.
#[derive(Default)]
pub(crate) struct ErrorBudget {
    interfaces: Vec<Tokens>,
    now_ms: u32,
}

/// An interface's.
#[derive(Clone, Copy)]
struct Tokens {
    left: u32,
    filled_ms: u32,
}

impl ErrorBudget {
    /// There are so many interfaces from now on. A number may be another interface's than it was: that changes nothing of
    /// any account.
    pub(crate) fn adopt(&mut self, interfaces: usize) {
        self.interfaces.resize(interfaces, Tokens { left: TOKENS_MAX, filled_ms: self.now_ms });
    }

    /// What time it is. Called every turn.
    pub(crate) fn note_turn(&mut self, now_ms: u32) {
        self.now_ms = now_ms;
    }

    /// Takes the token for one error, if its interface has one.
    pub(crate) fn take(&mut self, InterfaceIndex(interface): InterfaceIndex) -> bool {
        let Some(tokens) = self.interfaces.get_mut(interface as usize) else { return false };
        let passed_ms = self.now_ms.wrapping_sub(tokens.filled_ms);
        let has = tokens.left.saturating_add(passed_ms).min(TOKENS_MAX);
        *tokens = Tokens { left: has.saturating_sub(1), filled_ms: self.now_ms };
        has > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &mut ErrorBudget, interface: u32) -> usize {
        (0..1_000).filter(|_| budget.take(InterfaceIndex(interface))).count()
    }

    #[test]
    fn so_many_at_once_and_then_one_each_millisecond() {
        let mut budget = ErrorBudget::default();
        budget.note_turn(u32::MAX - 1);
        budget.adopt(2);
        assert_eq!(taken(&mut budget, 0), TOKENS_MAX as usize);
        // Over the seam of the clock.
        budget.note_turn(3);
        assert_eq!(taken(&mut budget, 0), 5);
        assert_eq!(taken(&mut budget, 1), TOKENS_MAX as usize, "each for itself");
        budget.note_turn(1_000_000);
        assert_eq!(taken(&mut budget, 0), TOKENS_MAX as usize);
    }
}
