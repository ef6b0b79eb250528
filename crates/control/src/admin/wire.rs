//! What crosses the admin socket: one request a line, rows as bare objects, and a last line that says how it went.

use serde::{Deserialize, Serialize};

use crate::exit::Exit;

/// What a client asks. On the wire: `{"call":"router","id":"r1"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The node as a whole: one [`crate::rows::Status`].
    Status {},
    /// All routers: one [`crate::rows::RouterRow`] each.
    Routers {},
    /// One router.
    Router {
        /// Its id.
        id: String,
    },
    /// Sessions: one [`crate::rows::SessionRow`] each.
    Sessions {
        /// Filters, as [`crate::SessionFilter::parse`] reads them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        filter: Vec<String>,
        /// No more rows than these; absent: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<u64>,
    },
    /// Addresses that are translated to: one [`crate::rows::PoolRow`] each.
    Pools {},
    /// Drops by reason: one [`crate::rows::DropRow`] each.
    Drops {},
}

/// The last line of a good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// True.
    pub done: bool,
    /// Rows sent before this line.
    pub rows: u64,
    /// Whether there were more than the limit asked for.
    pub more: bool,
}

impl Done {
    pub(super) fn new(rows: u64, more: bool) -> Self {
        Done { done: true, rows, more }
    }
}

/// The last line of an answer that failed: `{"error":{"code":"not_found","message":"..."}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    pub(super) error: Refusal,
}

/// Why the daemon did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The kind of failure.
    pub code: ErrorCode,
    /// What went wrong, in a sentence.
    pub message: String,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not one.
    BadRequest,
    /// The named object is not there.
    NotFound,
    /// Too many clients at once.
    Busy,
    /// The gateway could not answer.
    Failed,
}

impl ErrorCode {
    /// What a command that met it ends with.
    pub fn exit(self) -> Exit {
        match self {
            ErrorCode::BadRequest => Exit::Usage,
            ErrorCode::NotFound => Exit::NotFound,
            ErrorCode::Busy | ErrorCode::Failed => Exit::Failed,
        }
    }
}

/// One line as a client reads it.
pub(super) enum Line<'a> {
    Row(&'a str),
    Done(Done),
    Failed(Refusal),
}

/// Tells a row from a last line.
///
/// No row has a field `done` or `error`, and a last line has nothing else, so the attempt to read one as the other
/// fails at its first field: a row costs no second parse.
pub(super) fn read_line(line: &str) -> Line<'_> {
    if let Ok(done) = serde_json::from_str::<Done>(line) {
        Line::Done(done)
    } else if let Ok(failed) = serde_json::from_str::<Failed>(line) {
        Line::Failed(failed.error)
    } else {
        Line::Row(line)
    }
}

#[cfg(test)]
mod tests {
    use super::{Done, ErrorCode, Failed, Line, Refusal, Request, read_line};

    #[test]
    fn requests_read_as_the_documentation_writes_them() {
        for (line, request) in [
            (r#"{"call":"status"}"#, Request::Status {}),
            (r#"{"call":"routers"}"#, Request::Routers {}),
            (r#"{"call":"router","id":"r1"}"#, Request::Router { id: "r1".into() }),
            (r#"{"call":"sessions"}"#, Request::Sessions { filter: vec![], limit: None }),
            (
                r#"{"call":"sessions","filter":["proto=tcp"],"limit":5}"#,
                Request::Sessions { filter: vec!["proto=tcp".into()], limit: Some(5) },
            ),
            (r#"{"call":"pools"}"#, Request::Pools {}),
            (r#"{"call":"drops"}"#, Request::Drops {}),
        ] {
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
    }

    #[test]
    fn a_request_with_a_field_too_many_is_refused() {
        for line in [r#"{"call":"status","id":"r1"}"#, r#"{"call":"sessions","limits":5}"#] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn last_lines_are_told_from_rows() {
        let done = serde_json::to_string(&Done::new(3, true)).unwrap();
        assert_eq!(done, r#"{"done":true,"rows":3,"more":true}"#);
        assert!(matches!(read_line(&done), Line::Done(Done { done: true, rows: 3, more: true })));

        let refusal = Refusal { code: ErrorCode::NotFound, message: "no".into() };
        let failed = serde_json::to_string(&Failed { error: refusal }).unwrap();
        assert_eq!(failed, r#"{"error":{"code":"not_found","message":"no"}}"#);
        assert!(matches!(read_line(&failed), Line::Failed(_)));

        assert!(matches!(read_line(r#"{"reason":"no_route","count":3}"#), Line::Row(_)));
    }
}
