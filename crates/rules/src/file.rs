//! Rules, and whatever else an operator writes, as text: YAML, or JSON where the first character is `{`.
//!
//! A slip of the pen should cost seconds, so an error carries the line, the column and the path of the field, and a
//! field that does not exist is an error that names it and those that do. One reader serves the rules and the node's
//! configuration, so that both feel the same.

use std::fmt;

use serde::de::DeserializeOwned;
use serde_path_to_error as path;
use serde_saphyr::{MessageFormatter, UserMessageFormatter};

use crate::model::Rules;

/// Longest text that is read, in bytes: several times the largest gateway's rules.
pub const FILE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Most values in one text. The YAML reader counts them, so that a few lines of aliases cannot grow without end.
const VALUES_MAX: usize = 16_000_000;
/// Deepest nesting: three times that of the model.
const DEPTH_MAX: usize = 24;

/// Why a text could not be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Line, from 1; 0 where the text as a whole is meant.
    pub line: u64,
    /// Column, from 1; 0 where the text as a whole is meant.
    pub column: u64,
    /// The field's path, as `routers[0].floating_ips[3].external`; empty at the top.
    pub path: String,
    /// What is wrong, for a person.
    pub message: String,
}

impl std::error::Error for FileError {}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}, column {}: ", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Reads rules. They are not validated yet.
///
/// # Errors
/// The first thing that is not as it has to be written. Nothing of the text should be used then.
pub fn read_rules(text: &str) -> Result<Rules, FileError> {
    read_document(text)
}

/// Reads any document: YAML, or JSON where the first character is `{`.
///
/// # Errors
/// The first thing that is not as it has to be written. An empty text is an error too: a file that was cut short must
/// not read as "nothing at all".
pub fn read_document<T: DeserializeOwned>(text: &str) -> Result<T, FileError> {
    if text.len() > FILE_BYTES_MAX {
        return Err(whole(format!("{} bytes are more than {FILE_BYTES_MAX}", text.len())));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The YAML reader takes a text of comments alone for a document with every field absent.
    if text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with('#')) {
        return Err(whole("nothing is written here: `{}` would say that nothing is meant".to_owned()));
    }
    if text.trim_start().starts_with('{') { read_json(text) } else { read_yaml(text) }
}

fn read_json<T: DeserializeOwned>(text: &str) -> Result<T, FileError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let located = |error: &serde_json::Error, path: String| {
        let (line, column) = (error.line() as u64, error.column() as u64);
        // The position stands in fields of its own.
        let message = error.to_string();
        let position = format!(" at line {line} column {column}");
        FileError { line, column, path, message: message.trim_end_matches(&position).to_owned() }
    };
    let value =
        path::deserialize(&mut reader).map_err(|error| located(error.inner(), path_of(error.path())))?;
    reader.end().map_err(|error| located(&error, String::new()))?;
    Ok(value)
}

fn read_yaml<T: DeserializeOwned>(text: &str) -> Result<T, FileError> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: VALUES_MAX,
            max_nodes: VALUES_MAX,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: 2,
            max_total_scalar_bytes: FILE_BYTES_MAX,
        },
        // Comments are counted and kept otherwise, and a page of them is no fault.
        emit_comments: false,
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let mut path = String::new();
    serde_saphyr::with_deserializer_from_str_with_options(text, options, |reader| {
        path::deserialize(reader).map_err(|error| {
            path = path_of(error.path());
            error.into_inner()
        })
    })
    .map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        FileError { line, column, path, message: message_of(error.without_snippet()) }
    })
}

/// The reader's own words, except where they are those of a Rust type.
fn message_of(error: &serde_saphyr::Error) -> String {
    let expected = match error {
        serde_saphyr::Error::InvalidScalar { ty, .. } => match *ty {
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" => "a whole number from 0 to 4294967295",
            "u64" | "usize" => "a whole number",
            _ => return UserMessageFormatter.format_message(error).into_owned(),
        },
        serde_saphyr::Error::InvalidBooleanStrict { .. } => "`true` or `false`",
        _ => return UserMessageFormatter.format_message(error).into_owned(),
    };
    format!("{expected} is expected")
}

/// The path as far as it is known: its root is written as a dot, and what is not known as a question mark.
fn path_of(path: &path::Path) -> String {
    let text = path.to_string();
    let known = text.strip_suffix('?').unwrap_or(&text);
    known.strip_suffix('.').unwrap_or(known).to_owned()
}

fn whole(message: String) -> FileError {
    FileError { line: 0, column: 0, path: String::new(), message }
}

#[cfg(test)]
mod tests;
