//! A flow as one realm sees it, and the keys made of it.
//!
//! Translation is a function from a flow in one realm to a flow in another: outbound from a router's internal realm to
//! its external network, inbound the other way. What has to change in the packet is the difference of the two.

use std::net::Ipv4Addr;

use packet::rewrite::{Quote, Replacement, Rewrite};
use packet::{Parsed, Plain, Protocol, icmp};
use rules::compiled::{Dependence, Realm};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::state::MIX;

/// The addresses and ports of a packet, and the realm they are meant in. Ports are 0 where the protocol has none.
///
/// ```text
///  0       4       8      10      12     13          16
///  | source| dest. | sport | dport | proto | realm (24) |     wire order, 16 bytes
///  | addresses     | rest                               |     in two words: what is made of them stays in registers
/// ```
///
/// An ICMP query's identifier is the port of the host that asked; the side that answers has port 0.
/// The full key is always compared, so tenants' overlapping addresses never meet: their realms differ.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Flow {
    addresses: u64,
    rest: u64,
}

const _: () = assert!(size_of::<Flow>() == 16);

/// The words' parts, as masks.
const SOURCE: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
const SOURCE_PORT: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0, 0, 0, 0]);
const DESTINATION_PORT: u64 = u64::from_ne_bytes([0, 0, 0xff, 0xff, 0, 0, 0, 0]);
const PROTOCOL: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0xff, 0, 0, 0]);

/// Of the bits behind the ports.
const REALM: u32 = 0x00ff_ffff;

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
    #[inline]
    pub fn new(realm: Realm, protocol: Protocol, source: Endpoint, destination: Endpoint) -> Self {
        let addresses = [source, destination].map(|end| u32::from_ne_bytes(end.address.octets()));
        let ports = [source, destination].map(|end| end.port.to_be());
        Self::of_parts(zerocopy::transmute!(addresses), zerocopy::transmute!(ports), protocol, realm)
    }

    /// A hash of few instructions, that anybody may foresee; its upper bits are the best.
    #[inline]
    pub(crate) fn mixed(&self) -> u64 {
        (self.addresses ^ self.rest.rotate_left(32)).wrapping_mul(MIX)
    }

    /// Of addresses and ports as they stand in a packet.
    #[inline]
    fn of_parts(addresses: u64, ports: u32, protocol: Protocol, realm: Realm) -> Self {
        // The realm's three bytes stand behind the protocol's one.
        let tail = u32::from(protocol.0) << 24 | realm.0 & REALM;
        let rest: [u32; 2] = [ports, tail.to_be()];
        Self { addresses, rest: zerocopy::transmute!(rest) }
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
        Self::of_parts(plain.addresses, plain.ports, plain.protocol, realm)
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
        let ([source, _], [port, ..]) = self.parts();
        Endpoint { address: source.to_ne_bytes().into(), port: u16::from_be(port) }
    }

    /// Where the flow goes.
    #[inline]
    pub fn destination(&self) -> Endpoint {
        let ([_, destination], [_, port, ..]) = self.parts();
        Endpoint { address: destination.to_ne_bytes().into(), port: u16::from_be(port) }
    }

    /// IP protocol.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        Protocol((self.tail() >> 24) as u8)
    }

    /// The realm the addresses are meant in.
    #[inline]
    pub fn realm(&self) -> Realm {
        Realm(self.tail() & REALM)
    }

    /// Addresses; ports, protocol and realm.
    #[inline]
    fn parts(&self) -> ([u32; 2], [u16; 4]) {
        (zerocopy::transmute!(self.addresses), zerocopy::transmute!(self.rest))
    }

    /// Protocol and realm.
    #[inline]
    fn tail(&self) -> u32 {
        let [_, tail]: [u32; 2] = zerocopy::transmute!(self.rest);
        u32::from_be(tail)
    }

    /// The flow of the answers, in the same realm.
    #[inline]
    pub fn reversed(&self) -> Self {
        let [ports, tail]: [u32; 2] = zerocopy::transmute!(self.rest);
        let rest = [ports.rotate_left(16), tail];
        Self { addresses: self.addresses.rotate_left(32), rest: zerocopy::transmute!(rest) }
    }

    /// The same flow with another source, in another realm: what goes out.
    #[inline]
    pub fn with_source(&self, source: Endpoint, realm: Realm) -> Self {
        let [_, destination]: [u32; 2] = zerocopy::transmute!(self.addresses);
        let addresses = [u32::from_ne_bytes(source.address.octets()), destination];
        let rest = self.rest & (DESTINATION_PORT | PROTOCOL) | in_rest(source.port, 0, realm);
        Self { addresses: zerocopy::transmute!(addresses), rest }
    }

    /// The same flow with another destination, in another realm: what comes in.
    #[inline]
    pub fn with_destination(&self, destination: Endpoint, realm: Realm) -> Self {
        let [source, _]: [u32; 2] = zerocopy::transmute!(self.addresses);
        let addresses = [source, u32::from_ne_bytes(destination.address.octets())];
        let rest = self.rest & (SOURCE_PORT | PROTOCOL) | in_rest(0, destination.port, realm);
        Self { addresses: zerocopy::transmute!(addresses), rest }
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
    #[inline]
    pub(crate) fn mapping_key(&self, mapping: Dependence, external: Realm) -> Self {
        match mapping {
            Dependence::EndpointIndependent => self.towards(external),
            Dependence::AddressDependent => self.without(DESTINATION_PORT),
            Dependence::AddressAndPortDependent => *self,
        }
    }

    /// The destination endpoint alone, from nowhere: the external side of its mapping.
    #[inline]
    pub(crate) fn destination_key(&self) -> Self {
        Self { addresses: self.addresses & !SOURCE, ..self.without(SOURCE_PORT) }
    }

    /// The key of the permission for the source's address, whatever its port, to reach the destination endpoint.
    #[inline]
    pub(crate) fn permission_key(&self) -> Self {
        self.without(SOURCE_PORT)
    }

    /// The key of the source host in an external network: the same for every protocol, port and destination.
    #[inline]
    pub(crate) fn host_key(&self, external: Realm) -> Self {
        self.towards(external).without(SOURCE_PORT | PROTOCOL)
    }

    /// The key of one of the source host's blocks of ports of the flow's protocol.
    pub(crate) fn block_key(&self, external: Realm, ordinal: u16) -> Self {
        let key = self.towards(external).without(SOURCE_PORT);
        let [first, second] = ordinal.to_be_bytes();
        Self { rest: key.rest | u64::from_ne_bytes([first, second, 0, 0, 0, 0, 0, 0]), ..key }
    }

    /// To no destination but an external network: 0.0.0.0/8, where its number is put, has no hosts.
    #[inline]
    fn towards(&self, external: Realm) -> Self {
        let [source, _]: [u32; 2] = zerocopy::transmute!(self.addresses);
        let addresses = [source, external.0.to_be()];
        Self { addresses: zerocopy::transmute!(addresses), ..self.without(DESTINATION_PORT) }
    }

    /// The same without what a mask has of the second word.
    #[inline]
    fn without(&self, mask: u64) -> Self {
        Self { addresses: self.addresses, rest: self.rest & !mask }
    }
}

/// Ports and a realm, where they stand in a flow's second word.
#[inline]
fn in_rest(source_port: u16, destination_port: u16, realm: Realm) -> u64 {
    let ports = u32::from(source_port) << 16 | u32::from(destination_port);
    let rest = [ports.to_be(), (realm.0 & REALM).to_be()];
    zerocopy::transmute!(rest)
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
            self.protocol().0,
            from.address,
            from.port,
            to.address,
            to.port
        )
    }
}
