//! The text forms of the model's values: `fa:16:3e:00:00:01`, `203.0.113.10-203.0.113.20`, `1024-65535`.
//!
//! Reading checks syntax alone. Whether the value makes sense (a range that runs backwards, a multicast address) is
//! for validation to say, because there the answer carries the object and the path of the field. One exception: host
//! bits in `a.b.c.d/len` are refused here, because the range that it becomes no longer shows them.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::model::{AddressRange, Mac, PortRange};

/// A text that is not the value it stands for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a MAC address.
    #[error("`{0}` is not a MAC address: six hexadecimal bytes are expected, as `fa:16:3e:00:00:01`")]
    Mac(String),
    /// Not a run of addresses.
    #[error(
        "`{0}` is not a run of addresses: expected `203.0.113.10`, `203.0.113.0/28` or `203.0.113.10-203.0.113.20`"
    )]
    AddressRange(String),
    /// A prefix with host bits set.
    #[error("`{given}` has host bits set: the prefix is `{meant}`")]
    HostBits {
        /// The text.
        given: String,
        /// The prefix that holds the address.
        meant: Ipv4Net,
    },
    /// Not an address with a prefix length.
    #[error("`{0}` is not an address with a prefix length, as `10.0.0.1/24`")]
    Prefix(String),
    /// Not a run of ports.
    #[error(
        "`{0}` is not a run of ports: one or two numbers up to 65535 are expected, as `443` or `1024-65535`"
    )]
    PortRange(String),
}

impl FromStr for Mac {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let bad = || TextError::Mac(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().ok_or_else(bad)?;
            // `from_str_radix` takes a sign, and one digit; the written form has neither.
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(octets)) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&packet::MacAddress(self.0), f)
    }
}

impl FromStr for AddressRange {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let bad = || TextError::AddressRange(text.to_owned());
        if text.contains('/') {
            let prefix: Ipv4Net = text.parse().map_err(|_| bad())?;
            if prefix.addr() != prefix.network() {
                return Err(TextError::HostBits { given: text.to_owned(), meant: prefix.trunc() });
            }
            return Ok(Self { first: prefix.network(), last: prefix.broadcast() });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let address = |part: &str| part.trim().parse::<Ipv4Addr>().map_err(|_| bad());
        Ok(Self { first: address(first)?, last: address(last)? })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl FromStr for PortRange {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let bad = || TextError::PortRange(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |part: &str| part.trim().parse().map_err(|_| bad());
        Ok(Self { first: port(first)?, last: port(last)? })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

impl Default for PortRange {
    /// Every port but the well-known ones.
    fn default() -> Self {
        Self { first: 1024, last: 65535 }
    }
}

/// Gives a type that reads and writes itself as text its place in files and in the JSON Schema.
macro_rules! as_text {
    ($type:ident, $description:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "description": $description, "pattern": $pattern })
            }
        }
    };
}

as_text!(Mac, "A MAC address, as `fa:16:3e:00:00:01`.", "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$");
as_text!(
    AddressRange,
    "A run of addresses, both ends included: `203.0.113.10`, `203.0.113.0/28` or `203.0.113.10-203.0.113.20`.",
    r"^[0-9.]+(/[0-9]{1,2}| *- *[0-9.]+)?$"
);

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u16(self.first)
        } else {
            serializer.collect_str(self)
        }
    }
}

/// A run of one port may be written as a number.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a run of ports, as 443 or 1024-65535")]
enum PortOrRange {
    Port(u16),
    Range(String),
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match PortOrRange::deserialize(deserializer)? {
            PortOrRange::Port(port) => Ok(Self { first: port, last: port }),
            PortOrRange::Range(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl JsonSchema for PortRange {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PortRange".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A run of ports, both ends included, as `1024-65535`; or one port, as `443`.",
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]{1,5}( *- *[0-9]{1,5})?$" },
                { "type": "integer", "minimum": 1, "maximum": 65535 },
            ],
        })
    }
}

/// An [`Ipv4Net`] whose error says what is expected.
struct Prefix(Ipv4Net);

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| de::Error::custom(TextError::Prefix(text)))
    }
}

/// Reads `10.0.0.1/24`; host bits stay.
pub(crate) fn prefix<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Ipv4Net, D::Error> {
    Prefix::deserialize(deserializer).map(|prefix| prefix.0)
}

/// Reads a list of `10.0.0.1/24`; host bits stay.
pub(crate) fn prefixes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Ipv4Net>, D::Error> {
    let prefixes: Vec<Prefix> = Vec::deserialize(deserializer)?;
    Ok(prefixes.into_iter().map(|prefix| prefix.0).collect())
}
