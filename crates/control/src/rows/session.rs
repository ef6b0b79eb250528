//! One session: the state of one flow that is translated.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One session, seen from the internal host that began it.
///
/// ```text
///   source:source_port ──> external:external_port ──> destination:destination_port
///     internal endpoint       external endpoint           remote endpoint
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The router's id.
    pub router: String,
    /// Its protocol.
    pub protocol: SessionProtocol,
    /// How far it has come.
    pub state: SessionState,
    /// The internal host.
    pub source: Ipv4Addr,
    /// Its port; the identifier of an ICMP query.
    pub source_port: u16,
    /// The external address it is translated to.
    pub external: Ipv4Addr,
    /// The external port, or ICMP identifier.
    pub external_port: u16,
    /// The remote host.
    pub destination: Ipv4Addr,
    /// Its port; 0 for ICMP.
    pub destination_port: u16,
    /// Packets towards the remote host.
    pub packets_out: u64,
    /// Packets towards the internal host.
    pub packets_in: u64,
    /// Bytes towards the remote host.
    pub bytes_out: u64,
    /// Bytes towards the internal host.
    pub bytes_in: u64,
    /// Seconds since its first packet.
    pub age_s: u64,
    /// Seconds since its last packet.
    pub idle_s: u64,
    /// Seconds until it ends, if no packet comes.
    pub expires_in_s: u64,
    /// The worker that owns it.
    pub worker: u16,
}

/// A session's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP queries.
    Icmp,
    /// Another, without ports.
    Other,
}

/// How far a session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// The remote side has not answered; TCP: the handshake is not complete.
    HalfOpen,
    /// Both sides have spoken.
    Established,
    /// TCP: a FIN or a reset was seen.
    Closing,
}

impl SessionProtocol {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Other];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Other => "other",
        }
    }
}

impl SessionState {
    /// All of them, in the order a session goes through them.
    pub const ALL: [Self; 3] = [Self::HalfOpen, Self::Established, Self::Closing];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::HalfOpen => "half_open",
            Self::Established => "established",
            Self::Closing => "closing",
        }
    }
}

impl fmt::Display for SessionProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for SessionProtocol {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|protocol| protocol.word() == word).ok_or(())
    }
}

impl FromStr for SessionState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|state| state.word() == word).ok_or(())
    }
}
