//! The brain, from outside: frames in, frames out, and what the rules and the RFCs say in between.
//!
//! One file a subject; a test is named after what it requires. The harness checks what must hold always.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's way to fail")]

#[path = "../world/mod.rs"]
mod world;

mod blocks;
mod checksums;
mod covered_in_part;
mod drop_reasons;
mod established;
mod exchange;
mod filtering;
mod floating;
mod forged;
mod fragments;
mod gateways;
mod hairpin;
mod icmp_answers;
mod icmp_errors;
mod identity;
mod idle_reset;
mod ip_id;
mod local;
mod mapping;
mod mss;
mod neighbours;
mod no_room;
mod order;
mod other_protocols;
mod pairing;
mod path_mtu;
mod port_choice;
mod port_forwarding;
mod ports;
mod random;
mod routing;
mod rule_changes;
mod snat;
mod tcp;
mod timers;
mod unsolicited;
mod workers;
