//! One worker: a thread that owns its queues and its brain, and what the control thread sees of it.
//!
//! ```text
//! control thread                                   worker thread
//!   Handle::publish ---- Command::Adopt ---------->  adopts at a burst boundary
//!                   <--- Report::Retired ----------  gives the old rules back, to be freed there
//!   Handle::list    ---- Command::List(page) ----->  fills the page that was sent
//!                   <--- Report::Listed(page) -----
//!   Status, Counters ............................... read at any time, written by the worker alone
//! ```
//!
//! The worker never waits for the control thread, takes no lock and frees nothing: what it is done with travels back.

mod idle;
mod mailbox;
mod ring;
mod status;
mod sync;
#[cfg(test)]
mod tests;
mod worker;

pub use idle::Idle;
pub use mailbox::{Busy, Handle, SESSION_PAGE_MAX, SessionPage};
pub use status::Status;
pub use worker::Worker;
