//! The brain: a plain function of (bytes, now, rules, state).
//!
//! ```text
//! process_burst     gateway.rs      parse all, classify all, look up all; then judge, change and send each
//!   classify        classify.rs     which network, which interface: which router, which side
//!   judge           judge.rs        outbound, inbound, hairpin, floating, local -> Verdict; changes no bytes
//!                   icmp_errors.rs  the same for errors, and for the packets they quote
//!   sessions        sessions.rs     two lines a session; made, judged again, expired; sessions/listing.rs: shown
//!                   mappings.rs     who has which external endpoint; ports.rs: which port is next
//!   forward         forward.rs      fits? next hop known? then rewrite, link header, send
//!   answers         answers.rs      echo replies, ICMP errors; address_resolution.rs: ARP; neighbours.rs: who is known
//! ```
//!
//! Absent on purpose: threads, clocks, sockets, logging. Time is an argument, randomness a key, and what cannot go on is
//! a [`DropReason`], never an error.

mod address_resolution;
mod answers;
mod classify;
mod counters;
mod drop_reason;
mod flow;
mod forward;
mod gateway;
mod icmp_errors;
mod judge;
mod mappings;
mod neighbours;
mod ports;
mod random;
mod sessions;
mod tcp;
mod time;
mod verdict;

pub use counters::{Books, Counter, Counters, PORTS_MAX, PortCounters};
pub use drop_reason::DropReason;
pub use flow::{Endpoint, Flow};
pub use gateway::{Configuration, Gateway, Occupancy, new_addresses};
pub use neighbours::NEIGHBOURS_MAX;
pub use sessions::SessionView;
pub use tcp::Phase;
