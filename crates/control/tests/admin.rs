//! A client and a server over a real socket.
#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Daemon, PAGE_ROWS, node};
use control::rows::SessionRow;
use control::{Client, ClientError, ErrorCode, Exit, Limits, Request, SessionFilter};

fn daemon() -> Daemon {
    Daemon::start(node(), Limits::default())
}

fn connect(daemon: &Daemon) -> Client {
    Client::connect(&daemon.socket).unwrap()
}

#[test]
fn every_call_shows_the_nodes_own_rows_on_one_connection() {
    let daemon = daemon();
    let mut client = connect(&daemon);
    assert_eq!(client.status().unwrap(), daemon.node.status);
    assert_eq!(client.routers().unwrap(), daemon.node.routers);
    assert_eq!(client.router("r2").unwrap(), daemon.node.routers[1]);
    assert_eq!(client.drops().unwrap(), daemon.node.drops);
    let all = client.sessions(&SessionFilter::default(), None).unwrap();
    assert_eq!(all.rows, daemon.node.sessions);
    assert!(!all.more);
}

#[test]
fn sessions_come_in_bounded_pages() {
    let daemon = daemon();
    connect(&daemon).sessions(&SessionFilter::default(), None).unwrap();
    let full = daemon.node.sessions.len().div_ceil(PAGE_ROWS) as u64;
    // The fake puts an empty page between any two.
    assert_eq!(daemon.node.pages.load(Ordering::Relaxed), 2 * full - 1);
}

#[test]
fn a_filter_is_applied_by_the_daemon() {
    let daemon = daemon();
    let filter = SessionFilter::parse(&["router=r2", "sport=1001"]).unwrap();
    let found = connect(&daemon).sessions(&filter, None).unwrap();
    assert_eq!(found.rows, [common::session(1001)]);
}

#[test]
fn a_limit_says_whether_there_is_more() {
    let daemon = daemon();
    let mut client = connect(&daemon);
    let filter = SessionFilter::parse(&["router=r1"]).unwrap();
    for (limit, rows, more) in [(0, 0, true), (999, 999, true), (1000, 1000, false), (1001, 1000, false)] {
        let found = client.sessions(&filter, Some(limit)).unwrap();
        assert_eq!((found.rows.len(), found.more), (rows, more), "limit {limit}");
    }
}

#[test]
fn a_limit_spares_the_workers_the_rest_of_the_walk() {
    let daemon = daemon();
    connect(&daemon).sessions(&SessionFilter::default(), Some(5)).unwrap();
    assert_eq!(daemon.node.pages.load(Ordering::Relaxed), 1);
}

#[test]
fn a_router_that_is_not_there_ends_in_not_found() {
    let daemon = daemon();
    let error = connect(&daemon).router("r3").unwrap_err();
    assert_eq!(error.exit(), Exit::NotFound);
    assert_eq!(error.to_string(), "no router has the id \"r3\"");
}

#[test]
fn a_bad_filter_is_a_mistake_of_usage_and_names_the_word() {
    let daemon = daemon();
    let request = Request::Sessions { filter: vec!["proto=tpc".into()], limit: None };
    let error = connect(&daemon).lines(&request, |_| Ok(())).unwrap_err();
    assert_eq!(error.exit(), Exit::Usage);
    assert!(error.to_string().contains("\"proto=tpc\""), "{error}");
}

#[test]
fn lines_hand_out_the_wire_form() {
    let daemon = daemon();
    let mut lines = Vec::new();
    let done = connect(&daemon)
        .lines(&Request::Sessions { filter: vec![], limit: Some(2) }, |line| {
            lines.push(line.to_owned());
            Ok(())
        })
        .unwrap();
    assert_eq!((done.rows, done.more), (2, true));
    let rows: Vec<SessionRow> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows, daemon.node.sessions[..2]);
}

#[test]
fn a_gateway_that_fails_or_hangs_is_reported_and_the_connection_lives_on() {
    let limits = Limits { node_timeout: Duration::from_millis(50), ..Limits::default() };
    let daemon = Daemon::start(node(), limits);
    let mut client = connect(&daemon);

    daemon.node.fails.store(true, Ordering::Relaxed);
    let error = client.status().unwrap_err();
    assert_eq!((error.exit(), error.to_string()), (Exit::Failed, "worker 1 does not answer".into()));
    daemon.node.fails.store(false, Ordering::Relaxed);

    daemon.node.hangs.store(true, Ordering::Relaxed);
    let error = client.status().unwrap_err();
    assert!(error.to_string().contains("did not answer within 50ms"), "{error}");
    daemon.node.hangs.store(false, Ordering::Relaxed);

    assert_eq!(client.status().unwrap(), daemon.node.status);
}

#[test]
fn no_daemon_is_told_from_every_other_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let error = Client::connect(&path).unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable);
    assert!(error.to_string().starts_with("no natgate answers on /"), "{error}");

    // The file that a killed daemon leaves.
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::NotRunning { .. })));
}

#[test]
fn stopping_takes_the_socket_away_and_lets_clients_go() {
    let mut daemon = daemon();
    let mut client = connect(&daemon);
    client.status().unwrap();
    daemon.stop();
    assert!(!daemon.socket.exists());
    assert_eq!(client.status().unwrap_err().exit(), Exit::Unreachable);
}

/// What a client makes of one answer.
fn answered_with(answer: &'static str) -> Result<Vec<control::rows::DropRow>, ClientError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let other = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        BufReader::new(stream.try_clone().unwrap()).read_line(&mut String::new()).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let rows = Client::connect(&path).unwrap().drops();
    other.join().unwrap();
    rows
}

#[test]
fn an_answer_without_its_last_line_is_not_taken_for_whole() {
    let row = r#"{"reason":"no_route","help":"","count":3}"#;
    let whole = Box::leak(format!("{row}\n{{\"done\":true,\"rows\":1,\"more\":false}}\n").into_boxed_str());
    assert_eq!(answered_with(whole).unwrap().len(), 1);
    for end in 0..=row.len() + 1 {
        let error = answered_with(&whole[..end]).unwrap_err();
        assert!(matches!(error, ClientError::BrokenOff { .. }), "cut at {end}: {error}");
        assert_eq!(error.exit(), Exit::Unreachable);
    }
}

#[test]
fn an_answer_in_another_language_is_named_as_such() {
    for answer in [
        "HTTP/1.1 400 Bad Request\n{\"done\":true,\"rows\":0,\"more\":false}\n",
        "{}\n{\"done\":true,\"rows\":0,\"more\":false}\n",
    ] {
        let error = answered_with(answer).unwrap_err();
        assert!(matches!(error, ClientError::Garbled { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Failed);
    }
}

#[test]
fn a_line_that_is_no_request_is_refused_and_the_next_one_answered() {
    let daemon = daemon();
    let mut stream = UnixStream::connect(&daemon.socket).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let deep = "[".repeat(10_000);
    for bad in [&b""[..], b"status", b"{}", b"{\"call\":\"reboot\"}", b"\xff\x00", deep.as_bytes()] {
        stream.write_all(bad).unwrap();
        stream.write_all(b"\n").unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        assert!(line.starts_with(r#"{"error":{"code":"bad_request","message":"not a request: "#), "{line}");
    }
    stream.write_all(b"{\"call\":\"drops\"}\n").unwrap();
    let lines: Vec<String> = reader.lines().take(3).map(Result::unwrap).collect();
    assert_eq!(lines[0], r#"{"reason":"no_route","help":"No route.","count":7}"#);
    assert_eq!(lines[2], r#"{"done":true,"rows":2,"more":false}"#);
}

#[test]
fn no_row_can_be_taken_for_a_last_line() {
    let node = node();
    let rows = [
        serde_json::to_value(&node.status),
        serde_json::to_value(&node.routers[0]),
        serde_json::to_value(&node.sessions[0]),
        serde_json::to_value(&node.drops[0]),
    ];
    for row in rows {
        let row = row.unwrap();
        assert!(row.get("done").is_none() && row.get("error").is_none(), "{row}");
    }
}

#[test]
fn every_kind_of_refusal_has_its_exit_code() {
    assert_eq!(ErrorCode::BadRequest.exit(), Exit::Usage);
    assert_eq!(ErrorCode::NotFound.exit(), Exit::NotFound);
    assert_eq!(ErrorCode::Busy.exit(), Exit::Failed);
    assert_eq!(ErrorCode::Failed.exit(), Exit::Failed);
}
