//! Packets that somebody sends: hosts, whoever they speak with, and those who only pretend.

use std::net::Ipv4Addr;

use super::Play;
use crate::craft::{self, ICMP, TCP, UDP};
use crate::oracle::{Endpoint, Frame, Header, mac_of, read};
use crate::scene::{self, INTERNET, ISP, PARTNERS, network_of};

impl Play {
    pub(super) fn some_packet(&mut self) -> Option<Frame> {
        match self.random.below(27) {
            0..9 => self.ask(),
            9..17 => self.answer(),
            17..19 => self.hairpin(),
            19..21 => self.complain(),
            21..23 => self.intrude(),
            23 => self.forge(),
            24 => self.repeat(),
            25 => self.corrupt(),
            _ => self.stray(),
        }
    }

    /// A host sends something to somebody.
    fn ask(&mut self) -> Option<Frame> {
        let remote = match self.random.below(20) {
            0 => Ipv4Addr::new(192, 0, 2, 9),
            1 => Ipv4Addr::new(10, 0, self.random.below(2) as u8, 11 + self.random.below(4) as u8),
            2 => Ipv4Addr::new(10, 20, 0, 5),
            3 => Ipv4Addr::new(10, 0, 0, 1),
            4 | 5 => Ipv4Addr::new(172, 20, 0, 1 + self.random.below(2) as u8),
            _ => Ipv4Addr::new(198, 51, 100, 1 + self.random.below(3) as u8),
        };
        let port = self.random.one_of(&[80, 80, 80, 81, 81, 81, 53]);
        Some(self.sent_by_host((remote, port)))
    }

    /// A host sends something to an external address of ours.
    fn hairpin(&mut self) -> Option<Frame> {
        let to = if self.random.one_in(3) { self.some_endpoint() } else { self.some_external() };
        Some(self.sent_by_host(to))
    }

    pub(super) fn some_external(&mut self) -> Endpoint {
        scene::some_external(&self.world, &mut self.random)
    }

    /// The source of a packet that was seen outside.
    fn some_endpoint(&mut self) -> Endpoint {
        let seen = self.some_frame().filter(|(frame, _)| frame.segment >= INTERNET);
        match seen {
            Some((_, header)) => header.source,
            None => self.some_external(),
        }
    }

    fn sent_by_host(&mut self, to: Endpoint) -> Frame {
        let (segment, address, via) = self.some_host();
        let from = (address, 4_000 + self.random.below(4) as u16);
        let from = if self.random.one_in(12) { (address, 600 + from.1 % 2) } else { from };
        let packet = match self.random.below(24) {
            0..10 => self.datagram(from, to),
            10..18 => {
                let flags = self.random.one_of(&[2, 2, 2, 2, 0x10, 0x18, 0x11, 4, 0x12]);
                self.segment(from, to, flags, None)
            }
            18..22 => {
                // The last is no query.
                let kind = self.random.one_of(&[8, 8, 8, 13, 10]);
                self.ping(from, to, kind)
            }
            _ => self.other(from, to),
        };
        let packet = self.vary(packet);
        Frame { segment, to: via, from: mac_of(segment, address), packet }
    }

    /// A host: its network, its address, and the MAC of its router there.
    fn some_host(&mut self) -> (usize, Ipv4Addr, [u8; 6]) {
        let segment = self.random.below(INTERNET);
        let subnet = u8::from(segment == 1);
        let last = self.random.one_of(&[11, 11, 12, 12, 13, 50, 51]);
        let mut legs = self.world.routers.iter().flat_map(|router| &router.interfaces);
        let mac = legs.find(|leg| leg.segment == segment).map_or([2; 6], |leg| leg.mac);
        (segment, Ipv4Addr::new(10, 0, subnet, last), mac)
    }

    fn some_frame(&mut self) -> Option<(Frame, Header)> {
        if self.delivered.is_empty() {
            return None;
        }
        let frame = &self.delivered[self.random.below(self.delivered.len())];
        Some((frame.clone(), read(&frame.packet)?))
    }

    /// Whoever got a packet says something back.
    fn answer(&mut self) -> Option<Frame> {
        let (frame, header) = self.some_frame()?;
        let (mut from, mut to) = (header.destination, header.source);
        if self.random.one_in(16) {
            from.1 ^= 1;
        }
        if self.random.one_in(32) {
            to.1 ^= 1;
        }
        let packet = match header.protocol {
            UDP => self.datagram(from, to),
            TCP if header.is_whole() => {
                let [_, acknowledged, behind] = craft::sequences(&frame.packet, &header);
                let flags = match header.flags & 0x17 {
                    2 => self.random.one_of(&[0x12, 0x12, 0x12, 0x12, 0x14, 2]),
                    _ => self.random.one_of(&[0x10, 0x10, 0x18, 0x18, 0x18, 0x11, 4, 0x14]),
                };
                self.segment(from, to, flags, Some([acknowledged, behind]))
            }
            ICMP if header.is_whole() && matches!(header.icmp, 8 | 13) => {
                let message = &frame.packet[header.length..];
                let word = message[4..8].try_into().unwrap_or([0; 4]);
                craft::icmp(from, to, [0, 14][usize::from(header.icmp == 13)], 0, word, &message[8..])
            }
            ICMP | TCP => return None,
            protocol => craft::ipv4(protocol, from, to, &[9; 30]),
        };
        let packet = self.vary(packet);
        Some(back(&frame, packet))
    }

    /// Somebody on the way, or whoever got a packet, complains about it.
    fn complain(&mut self) -> Option<Frame> {
        let (frame, header) = self.some_frame()?;
        let (kind, code) = self.random.one_of(&[
            (3, 0),
            (3, 1),
            (3, 3),
            (3, 4),
            (3, 13),
            (11, 0),
            (11, 1),
            (12, 0),
            (4, 0),
            (5, 1),
        ]);
        let quoted = self.random.one_of(&[8, 8, 20, 28, 600, 4]);
        let mut quote = frame.packet[..frame.packet.len().min(header.length + quoted)].to_vec();
        if self.random.one_in(20) {
            let at = self.random.below(quote.len());
            quote[at] ^= 1 << self.random.below(8);
        }
        let mut word = if code == 4 { [0, 0, 5, 0] } else { [0; 4] };
        if self.random.one_in(20) {
            // Extensions, and where they begin (RFC 4884).
            word[1] = (quote.len() / 4) as u8;
            quote.extend([0x20, 0, 1, 2, 3, 4, 5, 6]);
        }
        let is_outside = frame.segment >= INTERNET;
        let from = match self.random.below(4) {
            0 if is_outside => (Ipv4Addr::new(100, 100, 0, 7), 0),
            1 if !is_outside => (Ipv4Addr::new(10, 0, 0, 254), 0),
            2 if !is_outside => (Ipv4Addr::new(10, 0, 0, 51), 0),
            _ => header.destination,
        };
        let mut packet = craft::icmp(from, header.source, kind, code, word, &quote);
        if self.random.one_in(20) {
            packet[22 + self.random.below(2)] ^= 1 << self.random.below(8);
        }
        let packet = self.vary(packet);
        Some(back(&frame, packet))
    }

    /// Somebody outside sends what nobody asked for.
    fn intrude(&mut self) -> Option<Frame> {
        let to = if self.random.one_in(4) { self.some_endpoint() } else { self.some_external() };
        let from = match network_of(to.0) {
            INTERNET => Ipv4Addr::new(198, 51, 100, 1 + self.random.below(3) as u8),
            _ => Ipv4Addr::new(172, 20, 0, 1 + self.random.below(2) as u8),
        };
        let from = (from, 80 + self.random.below(2) as u16);
        let packet = match self.random.below(9) {
            0..3 => {
                let flags = self.random.one_of(&[2, 2, 0x12, 0x10, 4]);
                self.segment(from, to, flags, None)
            }
            3 => {
                let from = (from.0, to.1);
                let kind = self.random.one_of(&[0, 8, 13]);
                self.ping(from, to, kind)
            }
            4 => self.other(from, to),
            _ => self.datagram(from, to),
        };
        Some(self.sent_from_outside(network_of(to.0), packet))
    }

    fn sent_from_outside(&mut self, segment: usize, packet: Vec<u8>) -> Frame {
        let packet = self.vary(packet);
        let legs = self.world.routers.iter().flat_map(|router| &router.interfaces);
        let macs: Vec<_> = legs.filter(|leg| leg.segment == segment).map(|leg| leg.mac).collect();
        let router = if segment == INTERNET { ISP } else { PARTNERS };
        Frame { segment, to: self.random.one_of(&macs), from: mac_of(segment, router), packet }
    }

    /// Somebody outside who knows a connection's endpoints forges a reset, an end, or a beginning.
    fn forge(&mut self) -> Option<Frame> {
        let (frame, header) = self.some_frame()?;
        if header.protocol != TCP || frame.segment < INTERNET {
            return self.intrude();
        }
        let flags = self.random.one_of(&[4, 4, 0x14, 0x11, 2]);
        let packet = self.segment(header.destination, header.source, flags, None);
        Some(back(&frame, packet))
    }

    /// A packet comes once more, or once more and late: as its receiver's answer that was lost and is sent again, with its own
    /// addresses.
    fn repeat(&mut self) -> Option<Frame> {
        let (frame, _) = self.some_frame()?;
        let packet = frame.packet.clone();
        Some(back(&frame, packet))
    }

    /// A packet is damaged on its way.
    fn corrupt(&mut self) -> Option<Frame> {
        let (frame, header) = self.some_frame()?;
        let mut packet = match header.protocol {
            UDP => self.datagram(header.destination, header.source),
            TCP => self.segment(header.destination, header.source, 0x18, None),
            _ => self.ping(header.destination, header.source, 0),
        };
        for _ in 0..1 + self.random.below(3) {
            let at = self.random.below(packet.len());
            packet[at] ^= 1 << self.random.below(8);
        }
        if self.random.one_in(6) {
            packet.truncate(self.random.below(packet.len()).max(20));
        }
        // Mostly with the header's checksum made right, or nothing gets past it.
        let packet = if self.random.one_in(3) { packet } else { craft::fix(packet) };
        Some(back(&frame, packet))
    }

    /// A packet with a source that cannot be, or to where nothing goes.
    fn stray(&mut self) -> Option<Frame> {
        let (segment, address, to) = self.some_host();
        let mut from = address;
        let mut remote = Ipv4Addr::new(198, 51, 100, 1);
        match self.random.below(6) {
            0 => from = Ipv4Addr::new(10, 0, 7, 7),
            1 => from = Ipv4Addr::new(198, 51, 100, 1),
            2 => from = Ipv4Addr::new(10, 0, 0, 1),
            3 => remote = Ipv4Addr::new(169, 254, 169, 254),
            4 => remote = Ipv4Addr::new(224, 0, 0, 5),
            _ => from = Ipv4Addr::new(127, 0, 0, 1),
        }
        let packet = self.datagram((from, 4_000), (remote, 80));
        Some(Frame { segment, to, from: mac_of(segment, address), packet })
    }
}

/// A packet the other way, over the same link.
fn back(frame: &Frame, packet: Vec<u8>) -> Frame {
    Frame { segment: frame.segment, to: frame.from, from: frame.to, packet }
}
