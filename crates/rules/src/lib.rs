//! Rules in three shapes: as fed ([`model`]), as found valid ([`validate`]), as the workers run them ([`compiled`]).
//!
//! Only the last reaches a worker. Fed data are untrusted: whatever they hold, the answer is a list of [`Fault`]s with
//! the path of each field, never a panic, and what was in force stays in force.

pub mod compiled;
pub mod model;

pub use compiled::RuleSet;
pub use model::Rules;
