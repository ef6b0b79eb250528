//! How many ICMP errors of our own a worker may send: a bounded number at once, and a bounded rate (RFC 1812 section
//! 4.3.2.8).
//!
//! Whoever can make us refuse packets could else make us flood a network, or whoever the packets seem to come from. One token
//! is one error; there is a new one each millisecond. What is not said is counted: the packet is dropped for its reason all
//! the same.

/// Errors that may leave at once.
const TOKENS_MAX: u32 = 256;

/// See the file's page.
pub(crate) struct ErrorBudget {
    tokens: u32,
    filled_ms: u32,
}

impl ErrorBudget {
    pub(crate) fn new() -> Self {
        Self { tokens: TOKENS_MAX, filled_ms: 0 }
    }

    /// Adds a token for each millisecond that has passed. Called every turn.
    pub(crate) fn refill(&mut self, now_ms: u32) {
        let passed_ms = now_ms.wrapping_sub(self.filled_ms);
        self.tokens = self.tokens.saturating_add(passed_ms).min(TOKENS_MAX);
        self.filled_ms = now_ms;
    }

    /// Takes the token for one error, if there is one.
    pub(crate) fn take(&mut self) -> bool {
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_each_millisecond() {
        let mut budget = ErrorBudget::new();
        budget.refill(u32::MAX - 1);
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), TOKENS_MAX as usize);
        // Over the seam of the clock.
        budget.refill(3);
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 5);
        budget.refill(1_000_000);
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), TOKENS_MAX as usize);
    }
}
