//! Clients that send too much, too slowly or nothing, and clients that do not read: each is let go, and nobody else
//! notices.
//!
//! The waits are the server's own and short; each test waits for what must come, not for a time to pass.
#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Daemon, node};
use control::{Client, Limits};

/// Far longer than anything here takes; a test that reaches it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

fn patient(daemon: &Daemon) -> UnixStream {
    let stream = UnixStream::connect(&daemon.socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the server lets go. It may let go with our bytes unread, which the system calls a reset.
fn read_until_let_go(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

/// Waits for a place, which the server gives back when it lets a client go.
fn wait_for_a_place(daemon: &Daemon) {
    let begun = Instant::now();
    while let Err(error) = Client::connect(&daemon.socket).unwrap().status() {
        assert!(error.to_string().contains("no more are allowed"), "{error}");
        assert!(begun.elapsed() < PATIENCE, "the place was never given back");
        std::thread::yield_now();
    }
}

#[test]
fn a_huge_line_is_refused_without_being_held() {
    let daemon = Daemon::start(node(), Limits { request_bytes_max: 1000, ..Limits::default() });
    let mut stream = patient(&daemon);
    // The server lets go long before this is written; then writing fails.
    let chunk = [b'a'; 4096];
    let written = (0..100_000).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    assert!(written < 100_000, "400 MB were read without an end");
    let answer = read_until_let_go(&mut stream);
    assert_eq!(
        answer,
        "{\"error\":{\"code\":\"bad_request\",\"message\":\"a request is no longer than 1000 bytes\"}}\n"
    );
}

#[test]
fn a_silent_client_is_let_go() {
    let daemon =
        Daemon::start(node(), Limits { idle_timeout: Duration::from_millis(50), ..Limits::default() });
    let mut stream = patient(&daemon);
    assert_eq!(read_until_let_go(&mut stream), "");
}

#[test]
fn a_client_that_dribbles_one_endless_request_is_let_go() {
    let daemon =
        Daemon::start(node(), Limits { idle_timeout: Duration::from_millis(100), ..Limits::default() });
    let mut stream = patient(&daemon);
    let begun = Instant::now();
    // Each byte comes well within the time; the whole line never does.
    while stream.write_all(b" ").is_ok() {
        assert!(begun.elapsed() < PATIENCE, "never let go");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_client_that_does_not_read_is_let_go() {
    let limits = Limits { connections_max: 1, write_timeout: Duration::from_millis(50), ..Limits::default() };
    let mut gateway = node();
    // Some 25 MB of rows: more than any socket buffer holds.
    gateway.sessions = (0..100_000_u32).map(|number| common::session((number % 60_000) as u16)).collect();
    let daemon = Daemon::start(gateway, limits);
    let mut deaf = patient(&daemon);
    deaf.write_all(b"{\"call\":\"sessions\"}\n").unwrap();
    // It holds the only place until it is let go.
    wait_for_a_place(&daemon);
    assert!(!read_until_let_go(&mut deaf).ends_with("\"more\":false}\n"), "it got the whole answer");
}

#[test]
fn one_client_too_many_is_told_so_and_a_free_place_is_given_again() {
    let daemon = Daemon::start(node(), Limits { connections_max: 2, ..Limits::default() });
    let mut first = Client::connect(&daemon.socket).unwrap();
    let mut second = Client::connect(&daemon.socket).unwrap();
    first.status().unwrap();
    second.status().unwrap();

    let error = Client::connect(&daemon.socket).unwrap().status().unwrap_err();
    assert_eq!(error.to_string(), "2 admin clients are connected; no more are allowed");
    first.status().unwrap();

    drop(second);
    wait_for_a_place(&daemon);
}
