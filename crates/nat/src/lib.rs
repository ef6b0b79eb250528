//! The brain: a plain function of (bytes, now, rules, state).
//!
//! ```text
//! process_burst     gateway.rs      parse all, classify all, look up all; then judge, change and send each
//!   classify        classify.rs     which network, which interface: which router, which side
//!   judge           judge.rs        -> Verdict; changes no bytes. Its sides: outbound.rs, inbound.rs, both for a hairpin
//!                   forwarding.rs   what the rules forward, both ways
//!                   icmp_errors.rs  the same for errors, and for the packets they quote
//!   sessions        sessions.rs     two lines a session, which anyone reads; sessions/noting.rs: what packets leave there
//!                   tcp.rs          which segments are believed, and what they make of a connection; timers.rs: how long it lasts
//!   owners          shard.rs        sessions opened, closed, expired (idle_reset.rs: with a word); mappings.rs: who has which external endpoint
//!   forward         forward.rs      fits? next hop known? then note, rewrite, link header, send
//!                   pieces.rs       or is cut; identifications.rs: which hosts behind one address must not share
//!   reassemble      fragments.rs    gives fragments the ports of their datagram's first
//!   answers         answers.rs      echo replies, ICMP errors; unsolicited.rs: those that have to wait; address_resolution.rs: ARP; neighbours.rs: who is known
//! process_handed    hand_off.rs     what another gateway gave: the same walk, and why no frame overtakes another
//!                   outbox.rs       what goes to other gateways; waiting.rs: what waits for a neighbour
//! State             state.rs        what all gateways share: in one region, which the next process takes over
//!                   ports.rs        which external port is whose
//! ```
//!
//! There is a [`Gateway`] for each worker, over one [`State`]. Every gateway looks up, translates and sends on what any
//! of them has opened; only the owner of a [`Shard`] opens and closes what belongs to it, and a frame for which that has to
//! happen is [handed](Handed) to it.
//!
//! Absent on purpose: threads, clocks, sockets, logging. Time is an argument, randomness a key, and what cannot go on is
//! a [`DropReason`], never an error.

mod address_resolution;
mod answers;
mod classify;
mod counters;
mod drop_reason;
mod error_budget;
mod established;
mod flow;
mod forward;
mod forwarding;
mod fragments;
mod gateway;
mod hand_off;
mod icmp_errors;
mod identifications;
mod idle_reset;
mod inbound;
mod judge;
mod lane;
mod mappings;
mod neighbours;
mod outbound;
mod outbox;
mod pieces;
mod ports;
mod probes;
mod random;
mod sessions;
mod shard;
mod shards;
mod state;
mod sync;
mod takeover;
mod tcp;
mod time;
mod timers;
mod unsolicited;
mod verdict;
mod waiting;

pub use counters::{Books, Counter, Counters, PORTS_MAX, PortCounters};
pub use drop_reason::DropReason;
pub use flow::{Endpoint, Flow};
pub use flowtable::{HugePages, Pages};
pub use gateway::{Configuration, Gateway, new_addresses};
pub use lane::Handed;
pub use ports::PortBooks;
pub use sessions::SessionView;
pub use shard::Shard;
pub use state::{FreshReason, Occupancy, Sizes, State, WORKERS_MAX, WorkerIndex};
pub use takeover::{OpenError, Takeover};
pub use tcp::Phase;
