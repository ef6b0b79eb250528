//! From rows to metrics.

use std::fmt::{self, Write};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::catalogue::{self as name, Metric, MetricKind};
use crate::node::{Node, NodeError};
use crate::rows::{DropRow, FeedRow, PoolRow, PortRow, RouterRow, RouterState, Status, WorkerRow};

/// The node's rows at one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// The node as a whole.
    pub status: Status,
    /// All routers.
    pub routers: Vec<RouterRow>,
    /// All addresses that are translated to.
    pub pools: Vec<PoolRow>,
    /// Drops by reason.
    pub drops: Vec<DropRow>,
}

impl Sample {
    /// Asks the node for everything a scrape shows.
    ///
    /// # Errors
    /// The node's own.
    pub async fn take<N: Node>(node: &N) -> Result<Self, NodeError> {
        Ok(Sample {
            status: node.status().await?,
            routers: node.routers().await?,
            pools: node.pools().await?,
            drops: node.drops().await?,
        })
    }

    /// Writes the sample in the OpenMetrics text format, which Prometheus reads.
    pub fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
        text
    }
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        node(out, &self.status)?;
        ports(out, &self.status)?;
        books(out, &self.status)?;
        drops(out, &self.drops)?;
        routers(out, &self.routers)?;
        sessions(out, &self.status)?;
        pools(out, &self.pools)?;
        tables(out, &self.status)?;
        workers(out, &self.status)?;
        feed(out, &self.status.feed)
    }
}

fn node(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut build = family(out, &name::BUILD)?;
    build.info(&[&status.node, &status.version, &status.revision])?;
    family(out, &name::UPTIME)?.gauge(&[], status.uptime_s)?;
    family(out, &name::GENERATION)?.gauge(&[], status.generation)?;
    family(out, &name::WARNINGS)?.gauge(&[], status.warnings.len() as u64)
}

fn ports(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut counter = |metric, count: fn(&PortRow) -> u64| {
        let mut family = family(out, metric)?;
        status.ports.iter().try_for_each(|port| family.counter(&[&port.name], count(port)))
    };
    counter(&name::RX_PACKETS, |port| port.rx_frames)?;
    counter(&name::RX_BYTES, |port| port.rx_bytes)?;
    counter(&name::TX_PACKETS, |port| port.tx_frames)?;
    counter(&name::TX_BYTES, |port| port.tx_bytes)?;
    counter(&name::RX_MISSED, |port| port.rx_missed)?;
    counter(&name::RX_ERRORS, |port| port.rx_errors)?;
    counter(&name::TX_ERRORS, |port| port.tx_errors)?;
    counter(&name::RX_NO_BUFFER, |port| port.rx_no_buffer)?;
    let mut link = family(out, &name::LINK_UP)?;
    status.ports.iter().try_for_each(|port| link.gauge(&[&port.name], flag(port.link_up)))
}

fn books(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let books = &status.books;
    let mut entries = family(out, &name::BOOKS)?;
    for (entry, frames) in [
        ("rx", books.rx),
        ("originated", books.originated),
        ("tx", books.tx),
        ("consumed", books.consumed),
        ("dropped", books.dropped),
    ] {
        entries.counter(&[entry], frames)?;
    }
    family(out, &name::BOOKS_HELD)?.gauge(&[], books.held)?;
    family(out, &name::BOOKS_IN_RINGS)?.gauge(&[], books.in_rings)?;
    family(out, &name::BOOKS_BALANCE)?.gauge(&[], books.balance)
}

fn drops(out: &mut DescriptorEncoder<'_>, drops: &[DropRow]) -> fmt::Result {
    let mut family = family(out, &name::DROPS)?;
    drops.iter().try_for_each(|row| family.counter(&[&row.reason], row.count))
}

fn routers(out: &mut DescriptorEncoder<'_>, routers: &[RouterRow]) -> fmt::Result {
    let mut states = family(out, &name::ROUTERS)?;
    for state in [RouterState::Up, RouterState::Down] {
        let count = routers.iter().filter(|router| router.state == state).count();
        states.gauge(&[state.word()], count as u64)?;
    }
    let mut sessions = family(out, &name::SESSIONS)?;
    for router in routers {
        for count in &router.sessions_by {
            let labels = [router.id.as_str(), count.protocol.word(), count.state.word()];
            sessions.gauge(&labels, count.sessions)?;
        }
    }
    Ok(())
}

fn sessions(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    family(out, &name::SESSIONS_CREATED)?.counter(&[], status.sessions_created)?;
    family(out, &name::SESSIONS_CLOSED)?.counter(&[], status.sessions_closed)?;
    family(out, &name::SESSIONS_TAKEN_OVER)?.gauge(&[], status.region.sessions_kept)
}

/// Pool by pool: an address is not what an operator configured, a pool is. The rows of one stand together.
fn pools(out: &mut DescriptorEncoder<'_>, rows: &[PoolRow]) -> fmt::Result {
    let mut gauge = |metric, count: fn(&PoolRow) -> u64| {
        let mut family = family(out, metric)?;
        let mut pools = rows.chunk_by(|one, next| one.pool == next.pool);
        pools.try_for_each(|rows| family.gauge(&[&rows[0].pool], rows.iter().map(count).sum::<u64>()))
    };
    gauge(&name::POOL_PORTS_USED, |row| row.ports_used)?;
    gauge(&name::POOL_PORTS, |row| row.ports)
}

fn tables(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let mut entries = family(out, &name::TABLE_ENTRIES)?;
    status.tables.iter().try_for_each(|row| entries.gauge(&[&row.table], row.entries))?;
    let mut capacity = family(out, &name::TABLE_CAPACITY)?;
    status.tables.iter().try_for_each(|row| capacity.gauge(&[&row.table], row.capacity))
}

fn workers(out: &mut DescriptorEncoder<'_>, status: &Status) -> fmt::Result {
    let labelled: Vec<_> = status.workers.iter().map(|row| (row.worker.to_string(), row)).collect();
    let mut gauge = |metric, value: fn(&WorkerRow) -> f64| {
        let mut family = family(out, metric)?;
        labelled.iter().try_for_each(|(worker, row)| family.gauge(&[worker], value(row)))
    };
    gauge(&name::WORKER_BUSY, |row| row.busy_ratio)?;
    gauge(&name::WORKER_HEARTBEAT, |row| seconds(row.heartbeat_age_ms))?;
    gauge(&name::WORKER_GENERATION, |row| row.generation as f64)?;
    gauge(&name::WORKER_SHARDS, |row| f64::from(row.shards))?;
    let mut counter = |metric, count: fn(&WorkerRow) -> u64| {
        let mut family = family(out, metric)?;
        labelled.iter().try_for_each(|(worker, row)| family.counter(&[worker], count(row)))
    };
    counter(&name::WORKER_RX, |row| row.rx_frames)?;
    counter(&name::WORKER_TX, |row| row.tx_frames)?;
    counter(&name::WORKER_HANDED_OUT, |row| row.handed_out)?;
    counter(&name::WORKER_HANDED_IN, |row| row.handed_in)?;
    counter(&name::WORKER_EXPRESS, |row| row.express)?;
    counter(&name::WORKER_FOR_OTHERS, |row| row.translated_for_others)?;
    counter(&name::WORKER_STAGE_PACKETS, |row| row.stages.map_or(0, |stages| stages.packets))?;
    let mut clocks = family(out, &name::WORKER_STAGE_CLOCKS)?;
    for (worker, row) in &labelled {
        for (stage, count) in row.stages.unwrap_or_default().by_name() {
            clocks.counter(&[worker, stage], count)?;
        }
    }
    Ok(())
}

fn feed(out: &mut DescriptorEncoder<'_>, feed: &FeedRow) -> fmt::Result {
    // One object may have many faults; their rows stand together.
    let rejected = feed.rejects.chunk_by(|a, b| a.object == b.object).count();
    family(out, &name::FEED_CONNECTED)?.gauge(&[], flag(feed.connected))?;
    family(out, &name::FEED_STALENESS)?.gauge(&[], seconds(feed.staleness_ms))?;
    family(out, &name::FEED_VERSION)?.gauge(&[], feed.version)?;
    family(out, &name::FEED_REJECTED)?.gauge(&[], rejected as u64)
}

/// Begins a metric; its samples follow.
fn family<'a>(out: &'a mut DescriptorEncoder<'_>, metric: &'static Metric) -> Result<Family<'a>, fmt::Error> {
    // The format adds these suffixes itself.
    let (bare, kind) = match metric.kind {
        MetricKind::Counter => (metric.name.trim_end_matches("_total"), MetricType::Counter),
        MetricKind::Gauge => (metric.name, MetricType::Gauge),
        MetricKind::Info => (metric.name.trim_end_matches("_info"), MetricType::Info),
    };
    Ok(Family { encoder: out.encode_descriptor(bare, metric.help, None, kind)?, metric })
}

struct Family<'a> {
    encoder: MetricEncoder<'a>,
    metric: &'static Metric,
}

impl Family<'_> {
    fn counter(&mut self, values: &[&str], count: u64) -> fmt::Result {
        self.sample(values, |encoder| encoder.encode_counter::<NoLabelSet, _, f64>(&count, None))
    }

    fn gauge(&mut self, values: &[&str], value: impl EncodeGaugeValue) -> fmt::Result {
        self.sample(values, |encoder| encoder.encode_gauge(&value))
    }

    fn sample(
        &mut self,
        values: &[&str],
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if values.is_empty() {
            return write(&mut self.encoder);
        }
        let labels = Labels { names: self.metric.labels, values };
        write(&mut self.encoder.encode_family(&labels)?)
    }

    fn info(&mut self, values: &[&str]) -> fmt::Result {
        self.encoder.encode_info(&Labels { names: self.metric.labels, values })
    }
}

struct Labels<'a> {
    names: &'static [&'static str],
    values: &'a [&'a str],
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        debug_assert_eq!(self.names.len(), self.values.len(), "as many values as the catalogue has labels");
        for (name, value) in self.names.iter().zip(self.values) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut text = key.encode_label_value()?;
            text.write_str(value)?;
            text.finish()?;
        }
        Ok(())
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

fn flag(value: bool) -> u64 {
    u64::from(value)
}
