//! A flow as one realm sees it, and the keys made of it.
//!
//! Translation is a function from a flow in one realm to a flow in another: outbound from a router's internal realm to
//! its external network, inbound the other way. What has to change in the packet is the difference of the two.

use std::net::Ipv4Addr;

use packet::rewrite::{Quote, Replacement, Rewrite};
use packet::{Parsed, Plain, Protocol, icmp};
use rules::compiled::{Dependence, Realm};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The addresses and ports of a packet, and the realm they are meant in. Ports are 0 where the protocol has none.
///
/// ```text
///  0       4       8      10      12     13          16
///  | source| dest. | sport | dport | proto | realm (24) |     wire order, 16 bytes
/// ```
///
/// An ICMP query's identifier is the port of the host that asked; the side that answers has port 0.
/// The full key is always compared, so tenants' overlapping addresses never meet: their realms differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Flow {
    source: [u8; 4],
    destination: [u8; 4],
    source_port: [u8; 2],
    destination_port: [u8; 2],
    protocol: u8,
    realm: [u8; 3],
}

const _: () = assert!(size_of::<Flow>() == 16);

impl flowtable::Key for Flow {
    type Words = flowtable::Words<2>;
}

/// An address and a port (or ICMP query identifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address.
    pub address: Ipv4Addr,
    /// The port; 0 where the protocol has none.
    pub port: u16,
}

impl Flow {
    /// The flow of `source` and `destination` in `realm`.
    pub fn new(realm: Realm, protocol: Protocol, source: Endpoint, destination: Endpoint) -> Self {
        let [_, realm @ ..] = realm.0.to_be_bytes();
        Self {
            source: source.address.octets(),
            destination: destination.address.octets(),
            source_port: source.port.to_be_bytes(),
            destination_port: destination.port.to_be_bytes(),
            protocol: protocol.0,
            realm,
        }
    }

    /// The flow a packet belongs to, met in `realm`.
    pub fn of(parsed: &Parsed, realm: Realm) -> Self {
        let (mut source_port, mut destination_port) = (parsed.source_port, parsed.destination_port);
        if parsed.protocol == Protocol::ICMP {
            // The identifier stands in both: leave it to the side that asked.
            match icmp::is_reply(parsed.icmp_type) {
                true => source_port = 0,
                false => destination_port = 0,
            }
        }
        Self::new(
            realm,
            parsed.protocol,
            Endpoint { address: parsed.source, port: source_port },
            Endpoint { address: parsed.destination, port: destination_port },
        )
    }

    /// The same of a plain packet.
    #[inline]
    pub(crate) fn of_plain(plain: &Plain, realm: Realm) -> Self {
        // The realm's three bytes stand behind the protocol's one.
        let tail = u32::from(plain.protocol.0) << 24 | realm.0;
        let words: [u32; 2] = [plain.ports, tail.to_be()];
        let words: [u64; 2] = [plain.addresses, zerocopy::transmute!(words)];
        zerocopy::transmute!(words)
    }

    /// The flow of the packet that an ICMP error quotes.
    pub fn of_quote(quote: &Quote, realm: Realm) -> Self {
        let (mut source_port, mut destination_port) = (quote.source_port, quote.destination_port);
        if quote.protocol == Protocol::ICMP {
            match icmp::is_reply(quote.icmp_type) {
                true => source_port = 0,
                false => destination_port = 0,
            }
        }
        Self::new(
            realm,
            quote.protocol,
            Endpoint { address: quote.source, port: source_port },
            Endpoint { address: quote.destination, port: destination_port },
        )
    }

    /// Where the flow comes from.
    #[inline]
    pub fn source(&self) -> Endpoint {
        Endpoint { address: self.source.into(), port: u16::from_be_bytes(self.source_port) }
    }

    /// Where the flow goes.
    #[inline]
    pub fn destination(&self) -> Endpoint {
        Endpoint { address: self.destination.into(), port: u16::from_be_bytes(self.destination_port) }
    }

    /// IP protocol.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol(self.protocol)
    }

    /// The realm the addresses are meant in.
    #[inline]
    pub fn realm(&self) -> Realm {
        let [a, b, c] = self.realm;
        Realm(u32::from_be_bytes([0, a, b, c]))
    }

    /// The flow of the answers, in the same realm.
    pub fn reversed(&self) -> Self {
        Self::new(self.realm(), self.protocol(), self.destination(), self.source())
    }

    /// The same flow with another source, in another realm: what goes out.
    pub fn with_source(&self, source: Endpoint, realm: Realm) -> Self {
        Self::new(realm, self.protocol(), source, self.destination())
    }

    /// The same flow with another destination, in another realm: what comes in.
    pub fn with_destination(&self, destination: Endpoint, realm: Realm) -> Self {
        Self::new(realm, self.protocol(), self.source(), destination)
    }

    /// What has to change in a packet of this flow for it to be of `other`.
    pub fn rewrite_to(&self, other: &Self) -> Rewrite {
        let change = |from: Endpoint, to: Endpoint| {
            (from != to).then_some(Replacement {
                address: to.address,
                port: (from.port != to.port).then_some(to.port),
            })
        };
        Rewrite {
            source: change(self.source(), other.source()),
            destination: change(self.destination(), other.destination()),
        }
    }

    /// The key of the source endpoint's mapping into an external network, as far as that depends on the destination: the
    /// network stands in for a destination on which it does not.
    pub(crate) fn mapping_key(&self, mapping: Dependence, external: Realm) -> Self {
        match mapping {
            Dependence::EndpointIndependent => self.towards(external),
            Dependence::AddressDependent => Self { destination_port: [0; 2], ..*self },
            Dependence::AddressAndPortDependent => *self,
        }
    }

    /// The key of the destination endpoint's mapping: the same from every source.
    pub(crate) fn destination_key(&self) -> Self {
        Self { source: [0; 4], source_port: [0; 2], ..*self }
    }

    /// The key of the permission for the source's address, whatever its port, to reach the destination endpoint.
    pub(crate) fn permission_key(&self) -> Self {
        Self { source_port: [0; 2], ..*self }
    }

    /// The key of the source host in an external network: the same for every protocol, port and destination.
    pub(crate) fn host_key(&self, external: Realm) -> Self {
        Self { source_port: [0; 2], protocol: 0, ..self.towards(external) }
    }

    /// The key of one of the source host's blocks of ports of the flow's protocol.
    pub(crate) fn block_key(&self, external: Realm, ordinal: u16) -> Self {
        Self { source_port: ordinal.to_be_bytes(), ..self.towards(external) }
    }

    /// To no destination but an external network: 0.0.0.0/8, where its number is put, has no hosts.
    fn towards(&self, external: Realm) -> Self {
        Self { destination: external.0.to_be_bytes(), destination_port: [0; 2], ..*self }
    }
}

/// Whether endpoints of the protocol have ports, or identifiers, by which they can be told apart.
#[inline]
pub(crate) fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::TCP | Protocol::UDP | Protocol::ICMP)
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (from, to) = (self.source(), self.destination());
        write!(
            f,
            "{}/{} {}:{} -> {}:{}",
            self.realm().0,
            self.protocol,
            from.address,
            from.port,
            to.address,
            to.port
        )
    }
}
