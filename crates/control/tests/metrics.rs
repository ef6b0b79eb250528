//! Scrapes over a real socket, parsed as Prometheus parses them.
#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Daemon, node};
use control::{Limits, METRICS, MetricKind};

fn daemon() -> Daemon {
    Daemon::start(node(), Limits::default())
}

/// Sends one request; gives status, head and body.
fn ask(daemon: &Daemon, method: &str, path: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(daemon.metrics).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// Samples by what stands before the value: name and labels.
fn samples(body: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "twice: {line}");
    }
    samples
}

#[test]
fn a_scrape_shows_the_nodes_numbers() {
    let (status, head, body) = ask(&daemon(), "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("\n# EOF\n"), "{body}");
    let samples = samples(&body);
    for (name, value) in [
        (r#"natgate_build_info{node="gw\"1\"",version="0.1.0",revision="abc"}"#, 1.0),
        ("natgate_uptime_seconds", 3661.0),
        ("natgate_generation", 7.0),
        ("natgate_warnings", 1.0),
        (r#"natgate_rx_packets_total{port="in"}"#, 600.0),
        (r#"natgate_rx_bytes_total{port="in"}"#, 60_000.0),
        (r#"natgate_tx_packets_total{port="in"}"#, 490.0),
        (r#"natgate_tx_bytes_total{port="in"}"#, 49_000.0),
        (r#"natgate_rx_missed_total{port="in"}"#, 1.0),
        (r#"natgate_rx_errors_total{port="in"}"#, 2.0),
        (r#"natgate_tx_errors_total{port="in"}"#, 3.0),
        (r#"natgate_rx_no_buffer_total{port="in"}"#, 4.0),
        (r#"natgate_port_link_up{port="in"}"#, 1.0),
        (r#"natgate_books_packets_total{entry="rx"}"#, 1000.0),
        (r#"natgate_books_packets_total{entry="originated"}"#, 10.0),
        (r#"natgate_books_packets_total{entry="tx"}"#, 980.0),
        (r#"natgate_books_packets_total{entry="consumed"}"#, 5.0),
        (r#"natgate_books_packets_total{entry="dropped"}"#, 7.0),
        ("natgate_books_held_packets", 8.0),
        ("natgate_books_in_rings_packets", 10.0),
        ("natgate_books_balance_packets", 0.0),
        (r#"natgate_drops_total{reason="no_route"}"#, 7.0),
        (r#"natgate_drops_total{reason="ttl_expired"}"#, 0.0),
        (r#"natgate_routers{state="up"}"#, 1.0),
        (r#"natgate_routers{state="down"}"#, 1.0),
        (r#"natgate_sessions_active{router="r1",protocol="tcp",state="established"}"#, 3.0),
        (r#"natgate_sessions_active{router="r2",protocol="tcp",state="established"}"#, 3.0),
        ("natgate_sessions_created_total", 2060.0),
        ("natgate_sessions_closed_total", 60.0),
        ("natgate_sessions_taken_over", 1900.0),
        (r#"natgate_pool_ports_used{pool="p1"}"#, 12.0),
        (r#"natgate_pool_ports_used{pool="r2/out"}"#, 0.0),
        (r#"natgate_pool_ports{pool="p1"}"#, 387_072.0),
        (r#"natgate_pool_ports{pool="r2/out"}"#, 193_536.0),
        (r#"natgate_table_entries{table="sessions"}"#, 2000.0),
        (r#"natgate_table_capacity{table="sessions"}"#, 65_536.0),
        (r#"natgate_worker_busy_ratio{worker="0"}"#, 0.25),
        (r#"natgate_worker_heartbeat_age_seconds{worker="0"}"#, 0.02),
        (r#"natgate_worker_generation{worker="0"}"#, 7.0),
        (r#"natgate_worker_shards{worker="0"}"#, 16.0),
        (r#"natgate_worker_rx_packets_total{worker="0"}"#, 1000.0),
        (r#"natgate_worker_tx_packets_total{worker="0"}"#, 990.0),
        (r#"natgate_worker_handed_out_packets_total{worker="0"}"#, 30.0),
        (r#"natgate_worker_handed_in_packets_total{worker="0"}"#, 20.0),
        (r#"natgate_worker_express_packets_total{worker="0"}"#, 900.0),
        (r#"natgate_worker_translated_for_others_packets_total{worker="0"}"#, 10.0),
        (r#"natgate_worker_stage_packets_total{worker="0"}"#, 1020.0),
        (r#"natgate_worker_stage_clocks_total{worker="0",stage="receive"}"#, 1.0),
        (r#"natgate_worker_stage_clocks_total{worker="0",stage="process"}"#, 2.0),
        (r#"natgate_worker_stage_clocks_total{worker="0",stage="handed"}"#, 3.0),
        (r#"natgate_worker_stage_clocks_total{worker="0",stage="tick"}"#, 4.0),
        (r#"natgate_worker_stage_clocks_total{worker="0",stage="transmit"}"#, 5.0),
        ("natgate_feed_connected", 1.0),
        ("natgate_feed_staleness_seconds", 1.5),
        ("natgate_feed_applied_version", 12.0),
        ("natgate_feed_rejected_objects", 2.0),
    ] {
        assert_eq!(samples.get(name), Some(&value), "{name}\n{body}");
    }
    assert_eq!(samples.len(), 56, "a sample that this test does not know:\n{body}");
}

#[test]
fn the_catalogue_and_the_scrape_name_the_same_metrics() {
    let (_, _, body) = ask(&daemon(), "GET", "/metrics");
    let samples = samples(&body);
    let shown: HashSet<&str> = samples.keys().map(|name| name.split('{').next().unwrap()).collect();
    let known: HashSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, known);

    for metric in METRICS {
        let bare = match metric.kind {
            MetricKind::Counter => metric.name.strip_suffix("_total").unwrap(),
            MetricKind::Gauge => metric.name,
            MetricKind::Info => metric.name.strip_suffix("_info").unwrap(),
        };
        let lines = format!("# HELP {bare} {}\n# TYPE {bare} {}\n", metric.help, metric.kind.word());
        assert!(body.contains(&lines), "{lines}\n{body}");
    }
}

#[test]
fn a_gateway_that_does_not_answer_is_no_empty_scrape() {
    let daemon = daemon();
    daemon.node.fails.store(true, Ordering::Relaxed);
    let (status, _, body) = ask(&daemon, "GET", "/metrics");
    assert_eq!((status, body.as_str()), (503, "worker 1 does not answer\n"));
    let (status, _, _) = ask(&daemon, "GET", "/healthz");
    assert_eq!(status, 503);
}

#[test]
fn health_follows_the_workers() {
    let (status, _, body) = ask(&daemon(), "GET", "/healthz");
    assert_eq!((status, body.as_str()), (200, "ok\n"));

    let mut ill = node();
    ill.status.workers[0].heartbeat_age_ms = 60_000;
    ill.status.workers[0].state = control::rows::WorkerState::Stuck;
    let (status, _, body) = ask(&Daemon::start(ill, Limits::default()), "GET", "/healthz");
    assert_eq!((status, body.as_str()), (503, "worker 0 on core 1 has been stuck for 60000 ms\n"));
}

#[test]
fn other_paths_and_methods_are_refused() {
    let daemon = daemon();
    assert_eq!(ask(&daemon, "GET", "/").0, 404);
    let (status, head, _) = ask(&daemon, "POST", "/metrics");
    assert_eq!(status, 405);
    assert!(head.to_lowercase().contains("allow: get, head"), "{head}");
    let (status, _, body) = ask(&daemon, "HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
}

#[test]
fn a_half_open_client_does_not_stop_a_scrape() {
    let daemon = daemon();
    let mut half = TcpStream::connect(daemon.metrics).unwrap();
    half.write_all(b"GET /metrics HTT").unwrap();
    assert_eq!(ask(&daemon, "GET", "/metrics").0, 200);
}

#[test]
fn a_head_without_end_is_cut_off() {
    let daemon = daemon();
    let mut stream = TcpStream::connect(daemon.metrics).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ").unwrap();
    let chunk = [b'a'; 4096];
    let written = (0..100_000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(written < 100_000, "400 MB were read without an end");
}
