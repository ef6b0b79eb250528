//! Bytes in, meaning out.
//!
//! A frame is received as bytes ([`Frame`]), read once ([`Parsed`]), judged elsewhere, and changed in place
//! ([`rewrite`], [`mss`], [`ethernet`]), or cut ([`fragment`]). What the gateway itself says (ARP, ICMP errors, echo replies) is written here too
//! ([`arp`], [`icmp`]). Nothing here knows NAT, allocates, or reads a clock.

#[cfg(test)]
mod arbitrary;
pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fragment;
mod frame;
pub mod icmp;
mod moment;
pub mod mss;
mod parse;
mod plain;
mod quote;
pub mod reset;
pub mod rewrite;
pub mod tcp;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod wire;

pub use ethernet::{MacAddress, MacNumber, VlanId};
pub use frame::{BURST_FRAMES_MAX, Burst, Frame, NoRoom, PacketIo, PortIndex, Sent};
pub use moment::Moment;
pub use parse::{Fragment, Malformed, Parsed, Payload, Protocol};
pub use plain::{Arrival, NewEndpoint, Plain, addresses};
