//! Every metric there is. `docs/operations.md` has the same table; a test compares them, and another the scrape.
//!
//! Labels are the node's own things (ports, workers, routers, reasons), never hosts or addresses: their number is what
//! the operator configured, not what a tenant does.

/// What the gateway exports about one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The whole name, unit and suffix included.
    pub name: &'static str,
    /// How it moves.
    pub kind: MetricKind,
    /// Its labels, in order.
    pub labels: &'static [&'static str],
    /// What it says, without a full stop.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// It only rises. Of a port or a worker it begins at 0 with the process; else it goes on over a restart that takes the
    /// flow state over.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is always 1; its labels say it all.
    Info,
}

impl MetricKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Info => "info",
        }
    }
}

macro_rules! metrics {
    ($($constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(super) const $constant: Metric = Metric {
            name: concat!("natgate_", $name),
            kind: MetricKind::$kind,
            labels: &[$($label),*],
            help: $help,
        };)*

        /// Every metric, in the order of the scrape.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD = Info "build_info" ["node", "version", "revision"] "What runs";
    UPTIME = Gauge "uptime_seconds" [] "Seconds since the daemon started";
    GENERATION = Gauge "generation" [] "The generation of rules that every worker runs";
    WARNINGS = Gauge "warnings" [] "Sentences under WARNINGS in natgate status";

    RX_PACKETS = Counter "rx_packets_total" ["port"] "Frames received";
    RX_BYTES = Counter "rx_bytes_total" ["port"] "Bytes received";
    TX_PACKETS = Counter "tx_packets_total" ["port"] "Frames transmitted";
    TX_BYTES = Counter "tx_bytes_total" ["port"] "Bytes transmitted";
    RX_MISSED = Counter "rx_missed_total" ["port"] "Frames the device dropped because no worker fetched them in time";
    RX_ERRORS = Counter "rx_errors_total" ["port"] "Frames received broken";
    TX_ERRORS = Counter "tx_errors_total" ["port"] "Frames the device failed to transmit";
    RX_NO_BUFFER = Counter "rx_no_buffer_total" ["port"] "Frames the driver dropped because no packet buffer was free";
    LINK_UP = Gauge "port_link_up" ["port"] "1 while the link is up";

    BOOKS = Counter "books_packets_total" ["entry"]
        "Frames by book entry: rx, originated, tx, consumed, dropped";
    BOOKS_HELD = Gauge "books_held_packets" [] "Frames waiting now";
    BOOKS_IN_RINGS = Gauge "books_in_rings_packets" [] "Frames on their way from worker to worker now";
    BOOKS_BALANCE = Gauge "books_balance_packets" [] "Frames in less frames out: 0, but for a burst under way";
    DROPS = Counter "drops_total" ["reason"] "Frames dropped, by reason";

    ROUTERS = Gauge "routers" ["state"] "Routers by state";
    SESSIONS = Gauge "sessions_active" ["router", "protocol", "state"] "Sessions of a router";
    SESSIONS_CREATED = Counter "sessions_created_total" [] "Sessions created";
    SESSIONS_CLOSED = Counter "sessions_closed_total" [] "Sessions closed, for whatever reason";
    SESSIONS_TAKEN_OVER = Gauge "sessions_taken_over" [] "Sessions that were taken over from an earlier process at the start";
    POOL_PORTS_USED = Gauge "pool_ports_used" ["pool"]
        "Ports and query identifiers of a pool that are in use or in hold-down";
    POOL_PORTS = Gauge "pool_ports" ["pool"] "Ports and query identifiers it has";
    TABLE_ENTRIES = Gauge "table_entries" ["table"] "Entries in a table of flow state";
    TABLE_CAPACITY = Gauge "table_capacity" ["table"] "Entries it can hold";

    WORKER_BUSY = Gauge "worker_busy_ratio" ["worker"] "The part of a worker's time that goes into packets, 0 to 1";
    WORKER_HEARTBEAT = Gauge "worker_heartbeat_age_seconds" ["worker"]
        "Seconds since a worker last began a turn of its loop";
    WORKER_GENERATION = Gauge "worker_generation" ["worker"] "The generation of rules a worker runs";
    WORKER_SHARDS = Gauge "worker_shards" ["worker"] "Shards a worker owns";
    WORKER_RX = Counter "worker_rx_packets_total" ["worker"] "Frames a worker received";
    WORKER_TX = Counter "worker_tx_packets_total" ["worker"] "Frames a worker transmitted";
    WORKER_HANDED_OUT = Counter "worker_handed_out_packets_total" ["worker"] "Frames a worker handed on to another";
    WORKER_HANDED_IN = Counter "worker_handed_in_packets_total" ["worker"] "Frames that others handed on to a worker";
    WORKER_EXPRESS = Counter "worker_express_packets_total" ["worker"]
        "Packets that took a worker's express way: those of established sessions and floating IPs, mostly";
    WORKER_FOR_OTHERS = Counter "worker_translated_for_others_packets_total" ["worker"]
        "Packets a worker translated although another owns their shard";
    WORKER_STAGE_PACKETS = Counter "worker_stage_packets_total" ["worker"]
        "Packets of the turns whose stages were clocked; none unless stage_clocks is on";
    WORKER_STAGE_CLOCKS = Counter "worker_stage_clocks_total" ["worker", "stage"]
        "Clocks that stages of a worker's loop took: receive, process, handed, tick, transmit";

    FEED_CONNECTED = Gauge "feed_connected" [] "1 while the stream of rules stands";
    FEED_STALENESS = Gauge "feed_staleness_seconds" [] "Seconds since the source of rules was last heard of";
    FEED_VERSION = Gauge "feed_applied_version" [] "The version of the rules applied last";
    FEED_REJECTED = Gauge "feed_rejected_objects" [] "Objects of the feed that are refused now";
}

#[cfg(test)]
mod tests {
    use super::{METRICS, MetricKind};

    #[test]
    fn names_end_as_their_kind_asks_and_stand_once() {
        let mut names = std::collections::HashSet::new();
        for metric in METRICS {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            assert_eq!(
                metric.kind == MetricKind::Counter,
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            assert_eq!(metric.kind == MetricKind::Info, metric.name.ends_with("_info"), "{}", metric.name);
            assert!(!metric.help.ends_with('.') && !metric.help.contains(['\n', '\\']), "{}", metric.name);
        }
    }
}
