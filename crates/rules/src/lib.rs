//! Rules in three shapes: as fed ([`model`]), as found valid ([`validate`]), as the workers run them ([`compiled`]).
//!
//! Only the last reaches a worker. Fed data are untrusted: whatever they hold, the answer is a list of faults with the
//! path of each field, never a panic, and what was in force stays in force.

#[cfg(test)]
mod arbitrary;
mod compile;
pub mod compiled;
#[cfg(test)]
mod documents;
mod fault;
mod file;
pub mod legs;
pub mod limits;
pub mod model;
mod numbers;
mod object;
mod routes;
mod runs;
mod store;
mod text;
mod timeouts;
mod valid;
mod validate;

pub use compile::compile;
pub use compiled::RuleSet;
pub use fault::{Code, Fault};
pub use file::{FILE_BYTES_MAX, FileError, read_document, read_rules};
pub use model::Rules;
pub use numbers::{Numbers, NumbersExhausted, RealmEntry};
pub use object::{Object, ObjectKind, ObjectRef};
pub use store::{Change, Outcome, Store};
pub use text::TextError;
pub use valid::Valid;
pub use validate::validate;
