//! The rule feed: how rules come to a gateway, and how it answers.
//!
//! ```text
//! source -> publisher -> catalog -> talk  ==gRPC==>  subscriber -> staging -> replica -> Program -> workers
//!   (what the rules are)  (versions)  (per gateway)                (snapshots)  (judged)     |
//!                                        <==========  Ack: received, validated, programmed --'
//! ```
//!
//! The server's half ([`Server`], [`FileSource`]) and the gateway's ([`Subscriber`]) share [`wire`], the messages of
//! `proto/feed.proto`, and [`decode`] and [`encode`], which translate them from and to the model of `rules`. What comes
//! over the wire is never trusted, and a feed that is gone never changes what is forwarded.
//!
//! Absent on purpose: TLS (put the feed on a network of its own until it is there), and any way to change a part of an
//! object.

mod address;
mod backoff;
mod catalog;
mod conversation;
pub mod decode;
mod digest;
pub mod encode;
mod guard;
pub mod last_good;
mod program;
mod reject;
mod replica;
mod server;
mod source;
mod staging;
mod state;
mod subscriber;
#[cfg(test)]
mod testing;
pub mod wire;

pub use address::{AddressError, Connection, FeedAddress, InProcess, Listener, SocketFile};
pub use digest::Digest;
pub use program::{Program, ProgramError};
pub use reject::{Code, Reject};
pub use server::{GatewayState, Publisher, Refusal, Server, ServerConfig, ServerState, Source};
pub use source::FileSource;
pub use state::{FeedCounters, FeedState};
pub use subscriber::{Subscriber, SubscriberConfig};

/// The version of the protocol that this crate speaks.
pub const PROTOCOL: u32 = 1;
