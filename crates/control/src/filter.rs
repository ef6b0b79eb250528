//! Which sessions to show, as words of a command line: `router=r1 proto=tcp dst=198.51.100.0/24 idle>60`.
//!
//! All words must hold. A filter is a pure function of a row, so it runs wherever rows are; the daemon runs it, so that
//! only what was asked for crosses the socket.

use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::rows::{SessionProtocol, SessionRow, SessionState};

/// What a session must be like to be shown. The default lets every session through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionFilter {
    router: Option<String>,
    source: Option<Ipv4Net>,
    destination: Option<Ipv4Net>,
    external: Option<Ipv4Net>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    external_port: Option<u16>,
    protocol: Option<SessionProtocol>,
    state: Option<SessionState>,
    idle_above_s: Option<u64>,
}

/// A word that is not a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// No filter begins so.
    #[error(
        "\"{word}\" is not a filter; filters are router= src= dst= ext= sport= dport= extport= proto= state= idle>"
    )]
    Unknown {
        /// The word.
        word: String,
    },
    /// The filter is known, its value is not one.
    #[error("\"{word}\" is not a filter: {expected}")]
    BadValue {
        /// The word.
        word: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The same filter twice: no session could satisfy both, or one is superfluous.
    #[error("\"{word}\" repeats a filter that was given before")]
    Repeated {
        /// The later word.
        word: String,
    },
}

const ADDRESS: &str = "it takes an address, as 10.0.0.5, or a prefix, as 10.0.0.0/24";
const PORT: &str = "it takes a port, 0 to 65535";
const PROTOCOL: &str = "it takes tcp, udp, icmp or other";
const STATE: &str = "it takes half_open, established or closing";
const SECONDS: &str = "it takes a number of seconds";
const ROUTER: &str = "it takes a router's id";

impl SessionFilter {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// The first word that is not a filter, and why.
    pub fn parse<W: AsRef<str>>(words: &[W]) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for word in words {
            filter.add(word.as_ref())?;
        }
        Ok(filter)
    }

    fn add(&mut self, word: &str) -> Result<(), FilterError> {
        let Some(end) = word.find(['=', '>']) else {
            return Err(FilterError::Unknown { word: word.to_owned() });
        };
        let (key, value) = word.split_at(end + 1);
        match key {
            "router=" => set(&mut self.router, word, router(value), ROUTER),
            "src=" => set(&mut self.source, word, prefix(value), ADDRESS),
            "dst=" => set(&mut self.destination, word, prefix(value), ADDRESS),
            "ext=" => set(&mut self.external, word, prefix(value), ADDRESS),
            "sport=" => set(&mut self.source_port, word, value.parse().ok(), PORT),
            "dport=" => set(&mut self.destination_port, word, value.parse().ok(), PORT),
            "extport=" => set(&mut self.external_port, word, value.parse().ok(), PORT),
            "proto=" => set(&mut self.protocol, word, value.parse().ok(), PROTOCOL),
            "state=" => set(&mut self.state, word, value.parse().ok(), STATE),
            "idle>" => set(&mut self.idle_above_s, word, value.parse().ok(), SECONDS),
            _ => Err(FilterError::Unknown { word: word.to_owned() }),
        }
    }

    /// Whether a session is to be shown.
    pub fn matches(&self, row: &SessionRow) -> bool {
        self.router.as_ref().is_none_or(|router| *router == row.router)
            && self.source.is_none_or(|prefix| prefix.contains(&row.source))
            && self.destination.is_none_or(|prefix| prefix.contains(&row.destination))
            && self.external.is_none_or(|prefix| prefix.contains(&row.external))
            && self.source_port.is_none_or(|port| port == row.source_port)
            && self.destination_port.is_none_or(|port| port == row.destination_port)
            && self.external_port.is_none_or(|port| port == row.external_port)
            && self.protocol.is_none_or(|protocol| protocol == row.protocol)
            && self.state.is_none_or(|state| state == row.state)
            && self.idle_above_s.is_none_or(|idle_s| row.idle_s > idle_s)
    }

    /// The words it is made of; [`SessionFilter::parse`] reads them back.
    pub fn words(&self) -> Vec<String> {
        fn word<T: fmt::Display>(key: &str, value: &Option<T>) -> Option<String> {
            value.as_ref().map(|value| format!("{key}{value}"))
        }
        [
            word("router=", &self.router),
            word("src=", &self.source),
            word("dst=", &self.destination),
            word("ext=", &self.external),
            word("sport=", &self.source_port),
            word("dport=", &self.destination_port),
            word("extport=", &self.external_port),
            word("proto=", &self.protocol),
            word("state=", &self.state),
            word("idle>", &self.idle_above_s),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn set<T>(
    field: &mut Option<T>,
    word: &str,
    value: Option<T>,
    expected: &'static str,
) -> Result<(), FilterError> {
    let value = value.ok_or_else(|| FilterError::BadValue { word: word.to_owned(), expected })?;
    if field.replace(value).is_some() {
        return Err(FilterError::Repeated { word: word.to_owned() });
    }
    Ok(())
}

fn router(value: &str) -> Option<String> {
    (!value.is_empty()).then(|| value.to_owned())
}

fn prefix(value: &str) -> Option<Ipv4Net> {
    value.parse().ok().or_else(|| value.parse::<Ipv4Addr>().ok().map(Ipv4Net::from))
}

#[cfg(test)]
mod tests {
    use super::{FilterError, SessionFilter};
    use crate::rows::{SessionProtocol, SessionRow, SessionState};

    fn row() -> SessionRow {
        SessionRow {
            router: "r1".into(),
            protocol: SessionProtocol::Tcp,
            state: SessionState::Established,
            source: [10, 0, 0, 5].into(),
            source_port: 43210,
            external: [203, 0, 113, 10].into(),
            external_port: 50123,
            destination: [198, 51, 100, 7].into(),
            destination_port: 443,
            packets_out: 1,
            packets_in: 1,
            bytes_out: 60,
            bytes_in: 60,
            age_s: 100,
            idle_s: 61,
            expires_in_s: 10,
            worker: 0,
        }
    }

    fn matches(words: &[&str]) -> bool {
        SessionFilter::parse(words).unwrap().matches(&row())
    }

    #[test]
    fn no_words_let_every_session_through() {
        assert!(matches(&[]));
    }

    #[test]
    fn each_word_lets_its_session_through_and_no_other() {
        for (hit, miss) in [
            ("router=r1", "router=r"),
            ("src=10.0.0.5", "src=10.0.0.6"),
            ("src=10.0.0.0/24", "src=10.0.1.0/24"),
            ("dst=198.51.100.7", "dst=203.0.113.10"),
            ("dst=198.51.0.0/16", "dst=10.0.0.0/8"),
            ("ext=203.0.113.10", "ext=198.51.100.7"),
            ("sport=43210", "sport=443"),
            ("dport=443", "dport=50123"),
            ("extport=50123", "extport=43210"),
            ("proto=tcp", "proto=udp"),
            ("state=established", "state=closing"),
            ("idle>60", "idle>61"),
        ] {
            assert!(matches(&[hit]), "{hit}");
            assert!(!matches(&[miss]), "{miss}");
        }
    }

    #[test]
    fn all_words_must_hold() {
        assert!(matches(&["proto=tcp", "dport=443"]));
        assert!(!matches(&["proto=tcp", "dport=80"]));
    }

    #[test]
    fn a_bad_word_is_named_with_what_should_stand_there() {
        for (word, part) in [
            ("colour=red", "filters are router="),
            ("tcp", "filters are router="),
            ("", "filters are router="),
            ("idle=60", "filters are router="),
            ("src=10.0.0", "an address"),
            ("dst=10.0.0.0/33", "an address"),
            ("ext=::1", "an address"),
            ("dport=65536", "a port"),
            ("sport=-1", "a port"),
            ("extport=", "a port"),
            ("proto=TCP", "tcp, udp, icmp or other"),
            ("state=open", "half_open, established or closing"),
            ("idle>1m", "seconds"),
            ("src=", "an address"),
        ] {
            let message = SessionFilter::parse(&["router=r1", word]).unwrap_err().to_string();
            assert!(message.starts_with(&format!("\"{word}\" ")), "{message}");
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_router_filter_needs_an_id() {
        let message = SessionFilter::parse(&["router="]).unwrap_err().to_string();
        assert!(message.contains("a router's id"), "{message}");
    }

    #[test]
    fn a_repeated_filter_is_refused() {
        assert_eq!(
            SessionFilter::parse(&["src=10.0.0.5", "src=10.0.0.6"]),
            Err(FilterError::Repeated { word: "src=10.0.0.6".into() })
        );
    }

    #[test]
    fn words_read_back_as_the_same_filter() {
        let words = [
            "router=r1",
            "src=10.0.0.0/24",
            "dst=198.51.100.7",
            "ext=203.0.113.0/28",
            "sport=1",
            "dport=2",
            "extport=3",
            "proto=icmp",
            "state=half_open",
            "idle>4",
        ];
        let filter = SessionFilter::parse(&words).unwrap();
        assert_eq!(filter.words().len(), words.len());
        assert_eq!(SessionFilter::parse(&filter.words()), Ok(filter));
    }
}
