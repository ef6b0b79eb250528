//! Metrics: the operator's rows in Prometheus' notation, taken anew at every scrape.
//!
//! Nothing is counted here. A scrape asks the node for the rows that `natgate status`, `routers` and `drops` show and
//! writes them down under other names, so a dashboard and a table cannot disagree, and a gateway nobody scrapes spends
//! nothing on it.

mod catalogue;
mod collector;
mod http;

pub use catalogue::{METRICS, Metric, MetricKind};
pub use collector::Sample;
pub use http::MetricsServer;
