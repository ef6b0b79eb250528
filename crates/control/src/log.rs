//! The log: state edges of the gateway on standard error, as text or as JSON lines.
//!
//! `NATGATE_LOG` says how much, in the words of `tracing_subscriber`: `info`, `feed=debug,info`. Standard output stays
//! free for what a command answers.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// The variable that says how much is logged.
const VARIABLE: &str = "NATGATE_LOG";

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The variable's value is not a filter.
    #[error("{VARIABLE}=\"{value}\" is not a log filter ({reason}); write for instance {VARIABLE}=info")]
    BadFilter {
        /// The value.
        value: String,
        /// What the parser says.
        reason: String,
    },
    /// It was set up before.
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log of this process, once. Without `NATGATE_LOG` the level is `info`.
///
/// # Errors
/// [`LogError`]; nothing is set up then.
pub fn init(format: LogFormat) -> Result<(), LogError> {
    let value = std::env::var(VARIABLE).unwrap_or_default();
    let filter = parse(&value)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    }
    .map_err(|_| LogError::Twice)
}

fn parse(value: &str) -> Result<EnvFilter, LogError> {
    let words = if value.is_empty() { "info" } else { value };
    EnvFilter::try_new(words)
        .map_err(|error| LogError::BadFilter { value: value.to_owned(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn no_filter_means_info() {
        assert_eq!(parse("").unwrap().to_string(), "info");
    }

    #[test]
    fn a_filter_by_area_is_kept() {
        assert_eq!(parse("feed=debug,info").unwrap().to_string(), "feed=debug,info");
    }

    #[test]
    fn a_bad_filter_is_named() {
        let message = parse("feed=loud").unwrap_err().to_string();
        assert!(message.contains("NATGATE_LOG=\"feed=loud\""), "{message}");
    }
}
