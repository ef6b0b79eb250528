//! What an operator sees of a running gateway, and how it gets out of the process.
//!
//! One set of [`rows`] serves everyone: the command line prints them, the admin socket carries them as JSON lines, and
//! the metrics are the same numbers in another notation. So a table, a script and a dashboard cannot disagree.
//!
//! ```text
//!   natgate status, sessions ... ── Client ──┐ unix socket, one JSON object a line
//!                                       AdminServer ──┐
//!   Prometheus ── HTTP GET /metrics ── MetricsServer ─┴── trait Node ── implemented by the binary
//! ```
//!
//! The gateway itself is behind [`Node`]: this crate knows neither workers nor NICs, and asks for pages small enough
//! that no worker stops for them. Absent on purpose: a way to change rules. They come by the feed alone.

mod admin;
mod exit;
mod filter;
mod log;
mod metrics;
mod node;
pub mod rows;

pub use admin::{
    AdminServer, Client, ClientError, Done, ErrorCode, Limits, Refusal, Request, SessionList, SocketError,
};
pub use exit::Exit;
pub use filter::{FilterError, SessionFilter};
pub use log::{LogError, LogFormat, init as init_log};
pub use metrics::{METRICS, Metric, MetricKind, MetricsServer, Sample};
pub use node::{Node, NodeError, SessionCursor, SessionPage};
