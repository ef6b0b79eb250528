//! Hosts, and the packets they say and hear.
//!
//! What a host hears is written as what somebody beside it would have said: `a.peer(address)` is whoever has `address`
//! and reaches `a` through the gateway. So an expectation is a whole frame, and a test compares all of its bytes.

use std::fmt;
use std::net::Ipv4Addr;

use packet::arp::{Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::testing::Segment;
use packet::{MacAddress, Parsed, Protocol, VlanId, ethernet, icmp, testing};

/// An address and a port.
pub(crate) type Endpoint = (Ipv4Addr, u16);

/// Type, code and the second word of an ICMP header.
pub(crate) type Icmp = (u8, u8, u32);

/// The sequence number of the first byte behind the SYN of [`Host::tcp`], of either side.
pub(crate) const FIRST_BYTE: u32 = 2_000;

/// A network's place: a port and a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wire {
    pub(crate) port: u8,
    pub(crate) vlan: Option<VlanId>,
}

/// The MAC 02:00:00:00:xx:yy.
pub(crate) const fn mac(group: u8, number: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, group, number])
}

/// A host, or one beyond a neighbour router, whose MAC it then shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) wire: Wire,
    pub(crate) mac: MacAddress,
    pub(crate) address: Ipv4Addr,
    /// The MAC of the gateway's interface that it speaks to.
    pub(crate) via: MacAddress,
}

impl Host {
    /// Whoever has `address` and is heard by this host through the gateway.
    pub(crate) fn peer(self, address: Ipv4Addr) -> Self {
        Self { wire: self.wire, mac: self.via, address, via: self.mac }
    }

    /// The same host, speaking to another interface of the gateway.
    pub(crate) fn through(self, via: MacAddress) -> Self {
        Self { via, ..self }
    }

    /// A UDP datagram.
    pub(crate) fn udp(self, port: u16, to: Endpoint, payload: &[u8]) -> Packet {
        self.says(testing::udp(self.endpoint(port), self.other(to), self.wire.vlan, payload))
    }

    /// A TCP segment in sequence: with a SYN before the first byte, else there, acknowledging as much of the other side.
    pub(crate) fn tcp(self, port: u16, to: Endpoint, flags: u8) -> Packet {
        let payload: &[u8] = if flags & packet::tcp::PSH != 0 { b"data" } else { b"" };
        let sequence = FIRST_BYTE - u32::from(flags & packet::tcp::SYN != 0);
        self.segment(
            port,
            to,
            Segment { flags, sequence, acknowledgement: FIRST_BYTE, payload, ..Segment::default() },
        )
    }

    /// Any TCP segment.
    pub(crate) fn segment(self, port: u16, to: Endpoint, segment: Segment) -> Packet {
        let (from, to) = (self.endpoint(port), self.other(to));
        self.says(testing::segment(from, to, self.wire.vlan, segment))
    }

    /// An ICMP echo request.
    pub(crate) fn ping(self, identifier: u16, to: Ipv4Addr) -> Packet {
        self.echo(icmp::kind::ECHO_REQUEST, identifier, to)
    }

    /// An ICMP echo reply.
    pub(crate) fn pong(self, identifier: u16, to: Ipv4Addr) -> Packet {
        self.echo(icmp::kind::ECHO_REPLY, identifier, to)
    }

    fn echo(self, icmp_type: u8, identifier: u16, to: Ipv4Addr) -> Packet {
        let (from, to) = ((self.mac, self.address), (self.via, to));
        self.says(testing::echo(icmp_type, from, to, self.wire.vlan, identifier, 7, b"are you there?"))
    }

    /// An ICMP error about a packet as this host heard it, quoting `quoted` bytes behind the IPv4 header.
    pub(crate) fn error(self, to: Ipv4Addr, icmp: Icmp, about: &Packet, quoted: usize) -> Packet {
        let (from, to) = ((self.mac, self.address), (self.via, to));
        self.says(testing::icmp_error(from, to, self.wire.vlan, icmp, &about.bytes, quoted))
    }

    /// An ICMP error as the gateway writes it: of internetwork control precedence, not to be fragmented, quoting as much
    /// as 576 bytes hold, and nobody has forwarded it yet.
    pub(crate) fn gateway_error(self, to: Ipv4Addr, icmp: Icmp, about: &Packet) -> Packet {
        self.error(to, icmp, about, 576 - 20 - 8 - 20)
            .change(|bytes| testing::with_header(bytes, |header| (header[1], header[6]) = (0xc0, 0x40)))
    }

    /// Any IPv4 packet.
    pub(crate) fn ipv4(self, protocol: u8, to: Ipv4Addr, payload: &[u8]) -> Packet {
        let (from, to) = ((self.mac, self.address), (self.via, to));
        self.says(testing::ipv4(from, to, self.wire.vlan, Protocol(protocol), payload))
    }

    /// A broadcast ARP request.
    pub(crate) fn asks_for(self, address: Ipv4Addr) -> Packet {
        self.arp(MacAddress::BROADCAST, Operation::Request, MacAddress::default(), address)
    }

    /// Any ARP packet in which this host is the sender.
    pub(crate) fn arp(
        self,
        to: MacAddress,
        operation: Operation,
        target_mac: MacAddress,
        target: Ipv4Addr,
    ) -> Packet {
        let link = LinkHeader { destination: to, source: self.mac, vlan: self.wire.vlan };
        let (sender_mac, sender) = (self.mac, self.address);
        self.says(testing::arp(link, &Arp { operation, sender_mac, sender, target_mac, target }))
    }

    /// These bytes, on this host's wire.
    pub(crate) fn says(self, bytes: Vec<u8>) -> Packet {
        Packet { wire: self.wire, bytes }
    }

    fn endpoint(self, port: u16) -> testing::Endpoint {
        (self.mac, self.address, port)
    }

    fn other(self, (address, port): Endpoint) -> testing::Endpoint {
        (self.via, address, port)
    }
}

/// A frame on a wire.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) wire: Wire,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    /// The packet one hop further.
    pub(crate) fn hop(self) -> Self {
        let ttl = self.ttl();
        self.with_ttl(ttl - 1)
    }

    /// The packet with another TTL.
    pub(crate) fn with_ttl(self, ttl: u8) -> Self {
        self.change(|bytes| testing::with_ttl(bytes, ttl))
    }

    /// The packet with its bytes changed.
    pub(crate) fn change(self, edit: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Self {
        Self { wire: self.wire, bytes: edit(self.bytes) }
    }

    /// The packet with its DF bit set.
    pub(crate) fn dont_fragment(self) -> Self {
        self.change(testing::with_dont_fragment)
    }

    /// The packet with its DF bit clear, and an identification.
    pub(crate) fn may_fragment(self, identification: u16) -> Self {
        self.change(|bytes| testing::with_may_fragment(bytes, identification))
    }

    /// The packet to another MAC.
    pub(crate) fn with_mac(self, mac: MacAddress) -> Self {
        self.change(|mut bytes| {
            bytes[..6].copy_from_slice(&mac.0);
            bytes
        })
    }

    /// The packet, seemingly from another address of the same sender's, its transport checksum left as it was.
    pub(crate) fn with_source(self, address: Ipv4Addr) -> Self {
        self.change(|bytes| {
            testing::with_header(bytes, |header| header[12..16].copy_from_slice(&address.octets()))
        })
    }

    pub(crate) fn parsed(&self) -> Parsed {
        Parsed::read(&self.bytes).unwrap_or_else(|error| panic!("{error}: {:02x?}", self.bytes))
    }

    pub(crate) fn source(&self) -> Endpoint {
        let parsed = self.parsed();
        (parsed.source, parsed.source_port)
    }

    pub(crate) fn destination(&self) -> Endpoint {
        let parsed = self.parsed();
        (parsed.destination, parsed.destination_port)
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.parsed().ttl
    }

    pub(crate) fn link_destination(&self) -> MacAddress {
        ethernet::destination(&self.bytes)
    }

    /// What is behind the IPv4 header.
    pub(crate) fn transport(&self) -> &[u8] {
        &self.bytes[self.parsed().transport_range()]
    }

    /// Type, code and second word of an ICMP message.
    pub(crate) fn icmp(&self) -> Icmp {
        assert_eq!(self.parsed().protocol, Protocol::ICMP, "{self:?}");
        let message = self.transport();
        (message[0], message[1], u32::from_be_bytes(message[4..8].try_into().unwrap()))
    }

    /// Source and destination of the packet that an ICMP error quotes.
    pub(crate) fn quoted(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        let parsed = self.parsed();
        let is_error = parsed.protocol == Protocol::ICMP && icmp::is_error(parsed.icmp_type);
        is_error.then(|| {
            let quote = &self.transport()[8..];
            let address = |at: usize| Ipv4Addr::new(quote[at], quote[at + 1], quote[at + 2], quote[at + 3]);
            (address(12), address(16))
        })
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wire { port, vlan } = self.wire;
        let vlan = vlan.map_or(0, VlanId::get);
        let (to, from) = (ethernet::destination(&self.bytes), ethernet::source(&self.bytes));
        write!(f, "[port {port} vlan {vlan}, {from} > {to}: ")?;
        match Parsed::read(&self.bytes) {
            Ok(parsed) => {
                let Parsed { source, source_port, destination, destination_port, protocol, ttl, .. } = parsed;
                write!(f, "{source}:{source_port} > {destination}:{destination_port} ")?;
                write!(f, "protocol {} ttl {ttl} ", protocol.0)?;
            }
            Err(error) => write!(f, "{error} ")?,
        }
        write!(f, "{:02x?}]", self.bytes)
    }
}
