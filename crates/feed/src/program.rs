//! What the subscriber needs of the program it is part of.

use std::future::Future;

use rules::Valid;

/// Brings rules to the workers.
pub trait Program {
    /// Compiles and publishes `rules`, and returns their generation once **every** worker runs them: the subscriber says
    /// "programmed" to the controller then, and not before.
    ///
    /// Called with one set at a time, each replacing the one before as a whole.
    ///
    /// # Errors
    /// The workers go on with what they have; the controller is told that nothing was taken.
    fn program(&mut self, rules: &Valid) -> impl Future<Output = Result<u64, ProgramError>>;
}

/// Rules that are valid but could not be brought to the workers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ProgramError(pub String);
