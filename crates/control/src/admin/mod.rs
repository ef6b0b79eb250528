//! The admin socket: a line of JSON asks, lines of JSON answer.
//!
//! ```text
//!   > {"call":"drops"}
//!   < {"reason":"no_route","help":"...","count":3}
//!   < {"reason":"ttl_expired","help":"...","count":1}
//!   < {"done":true,"rows":2,"more":false}
//! ```
//!
//! Why not gRPC, as the feed speaks: see `docs/decisions/0002-admin-socket-ndjson.md`.

mod client;
mod connection;
mod server;
mod socket;
mod wire;

pub use client::{Client, ClientError, SessionList};
pub use server::{AdminServer, Limits};
pub use socket::SocketError;
pub use wire::{Done, ErrorCode, Refusal, Request};
