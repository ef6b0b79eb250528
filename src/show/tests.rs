//! Questions asked over a real socket; how the answers look is in [`tables`].

mod tables;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use control::Exit;

use super::{Unanswered, answer, drops};
use crate::cli::{Output, Query, SessionsQuery};

/// A socket on which somebody answers each request line with what stands beside it, once per connection.
struct Daemon {
    path: PathBuf,
}

impl Daemon {
    fn answering(answers: &'static [(&'static str, &'static str)]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("natgate-show-{}-{number}.sock", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = String::new();
                BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
                let answer = answers.iter().find(|(asked, _)| *asked == request.trim_end());
                let (_, answer) = answer.unwrap_or_else(|| panic!("nobody expected {request}"));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Daemon { path }
    }

    fn ask(&self, query: &Query, output: Output) -> Result<String, Unanswered> {
        let mut out = Vec::new();
        answer(query, &self.path, output, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn list(filter: &[&str], limit: Option<u64>) -> Query {
    let filter = filter.iter().map(|word| (*word).to_owned()).collect();
    Query::Sessions(SessionsQuery::List { filter, limit })
}

const ONE_DROP: &str = r#"{"reason":"no_route","help":"No route.","count":3}"#;

#[test]
fn json_is_one_document_made_of_the_rows_that_came() {
    let daemon = Daemon::answering(&[
        (r#"{"call":"status"}"#, "{\"node\":\"a\",\"new\":1}\n{\"done\":true,\"rows\":1,\"more\":false}\n"),
        (r#"{"call":"router","id":"r1"}"#, "{\"id\":\"r1\"}\n{\"done\":true,\"rows\":1,\"more\":false}\n"),
        (r#"{"call":"routers"}"#, "{\"done\":true,\"rows\":0,\"more\":false}\n"),
        (
            r#"{"call":"sessions","filter":["proto=tcp"],"limit":2}"#,
            "{\"a\":1}\n{\"b\":2}\n{\"done\":true,\"rows\":2,\"more\":true}\n",
        ),
    ]);
    let one = Query::Routers { id: Some("r1".into()) };
    let all = Query::Routers { id: None };
    let sessions = list(&["proto=tcp"], Some(2));
    assert_eq!(
        daemon.ask(&Query::Status { workers: false }, Output::Json).unwrap(),
        "{\"node\":\"a\",\"new\":1}\n"
    );
    assert_eq!(daemon.ask(&one, Output::Json).unwrap(), "{\"id\":\"r1\"}\n");
    assert_eq!(daemon.ask(&all, Output::Json).unwrap(), "[]\n");
    let text = daemon.ask(&sessions, Output::Json).unwrap();
    assert_eq!(text, "[\n{\"a\":1},\n{\"b\":2}\n]\n");
    assert!(serde_json::from_str::<serde_json::Value>(&text).unwrap().is_array());
}

#[test]
fn a_table_is_made_of_the_rows_that_came() {
    let answer = format!("{ONE_DROP}\n{{\"done\":true,\"rows\":1,\"more\":false}}\n");
    let answers = vec![(r#"{"call":"drops"}"#, &*Box::leak(answer.into_boxed_str()))];
    let daemon = Daemon::answering(Box::leak(answers.into_boxed_slice()));
    let text = daemon.ask(&Query::Drops { all: false }, Output::Table).unwrap();
    assert_eq!(text, drops::show(&[serde_json::from_str(ONE_DROP).unwrap()], false));
}

#[test]
fn only_a_table_of_sessions_has_a_limit_of_its_own() {
    let daemon = Daemon::answering(&[
        (r#"{"call":"sessions","limit":1000}"#, "{\"done\":true,\"rows\":0,\"more\":false}\n"),
        (r#"{"call":"sessions"}"#, "{\"done\":true,\"rows\":0,\"more\":false}\n"),
    ]);
    assert_eq!(daemon.ask(&list(&[], None), Output::Table).unwrap(), "No session matches.\n");
    assert_eq!(daemon.ask(&list(&[], None), Output::Json).unwrap(), "[]\n");
}

#[test]
fn failures_end_with_their_documented_codes() {
    let daemon = Daemon::answering(&[(
        r#"{"call":"router","id":"r9"}"#,
        "{\"error\":{\"code\":\"not_found\",\"message\":\"no router has the id \\\"r9\\\"\"}}\n",
    )]);
    for output in [Output::Table, Output::Json] {
        let error = daemon.ask(&Query::Routers { id: Some("r9".into()) }, output).unwrap_err();
        assert_eq!((error.exit(), error.to_string()), (Exit::NotFound, "no router has the id \"r9\"".into()));

        let error = daemon.ask(&list(&["proto=tpc"], None), output).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);

        let nobody = Daemon { path: "/nonexistent/admin.sock".into() };
        assert_eq!(
            nobody.ask(&Query::Status { workers: false }, output).unwrap_err().exit(),
            Exit::Unreachable
        );
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let daemon = Daemon::answering(&[(
        r#"{"call":"drops"}"#,
        "{\"reason\":\"a\",\"help\":\"\",\"count\":1}\n{\"done\":true,\"rows\":1,\"more\":false}\n",
    )]);
    for output in [Output::Table, Output::Json] {
        answer(&Query::Drops { all: false }, &daemon.path, output, &mut Closed).unwrap();
    }
}
