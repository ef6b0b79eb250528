//! Workers: threads that own their queues and their shards over one state, what they hand to each other, and what the control
//! thread sees of them.
//!
//! ```text
//! control thread                                   worker thread, one of a team
//!   Handle::publish ---- Command::Adopt ---------->  adopts at a burst boundary
//!                   <--- Report::Retired ----------  gives the old rules back, to be freed there
//!   Handle::list    ---- Command::List(page) ----->  fills the page that was sent
//!                   <--- Report::Listed(page) -----
//!   Status, Counters ............................... read at any time, written by the worker alone
//!
//! a turn:  a command | each port: receive, process_burst | each ring: take, process_handed | tick
//!          | flush the ports | outbox -> rings, wake who sleeps | end_turn
//! ```
//!
//! A worker never waits, neither for the control thread nor for another worker; it takes no lock and frees no rules:
//! what it is done with travels back.

pub mod clock;
mod exchange;
mod idle;
mod mailbox;
mod ring;
mod stages;
mod status;
mod sync;
mod team;
mod worker;

pub use exchange::RING_FRAMES_MAX;
pub use idle::{Idle, Sleep};
pub use mailbox::{Busy, Handle, SESSION_PAGE_MAX, SessionPage};
pub use stages::{Stage, StageTotals};
pub use status::Status;
pub use team::team;
pub use worker::Worker;
