//! The judge of the brain. Never shipped.
//!
//! ```text
//! oracle      another NAT, written from the RFCs, that is told what came out and says whether it had to
//! scene       worlds to play in, as a seed draws them; rules_text: the same as rules for the gateways
//! team        the gateways, in memory: workers stepped in an order of the seed's, rings between them
//! invariants  what holds at every moment, whatever happened before
//! worlds      hosts, links and time around the gateways: what comes of all of it, told from outside
//! play        random operations; each packet that comes out is compared with the oracle's
//! ```
//!
//! A seed is a test case: it decides everything, so a failure is told by its seed and the number of its operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a judge fails by panicking")]

mod craft;
mod crew;
mod invariants;
mod not_judged;
pub mod oracle;
pub mod play;
mod random;
mod rules_text;
mod scene;
mod show;
mod team;
pub mod worlds;

pub use not_judged::NOT_JUDGED;
pub use random::Random;
