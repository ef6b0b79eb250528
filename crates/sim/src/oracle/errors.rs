//! ICMP errors: through the translation (RFC 5508 section 4), and those that the gateway itself makes (RFC 1812 4.3).

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{Frame, Header, fix_header, fix_icmp, hop, read, read_quote, sum, u16_at, with_endpoints};
use super::judge::{Error, Expected};
use super::state::{Life, Mapping};
use super::world::{Endpoint, Router, Use};

/// The quoted packet as one side sees it.
#[derive(Clone, Copy)]
struct Quoted {
    source: Endpoint,
    destination: Endpoint,
}

impl Oracle {
    /// An error from a host, about a packet that came to it. `ours` is what its destination is to us.
    pub(super) fn expect_error_out(
        &self,
        frame: &Frame,
        header: &Header,
        router: usize,
        way_out: (usize, Ipv4Addr),
        ours: Option<Use>,
        seen: Option<&Frame>,
    ) -> Expected {
        let Some(quote) = read_error(frame, header) else { return Expected::Nothing };
        let router = &self.world.routers[router];
        let egress = router.interfaces[way_out.0].segment;
        // It goes to whoever sent the packet it is about.
        if quote.source.0 != header.destination.0 {
            return Expected::Nothing;
        }
        let host = quote.destination;
        let externals: Vec<(Life, Endpoint)> = if router.is_no_nat(quote.source.0) {
            vec![(Life::Alive, host)]
        } else if let Some((external, _)) = router.floating.iter().find(|(_, internal)| *internal == host.0) {
            vec![(Life::Alive, (*external, host.1))]
        } else {
            let of_host = self.mappings.iter().filter(|mapping| {
                (mapping.router, mapping.protocol, mapping.internal, mapping.segment)
                    == (router.id, quote.protocol, host, egress)
            });
            let alive = of_host.map(|mapping| (self.life_to(mapping, quote.source), mapping));
            alive
                .filter(|(life, _)| *life > Life::Dead)
                .filter_map(|(life, mapping)| Some((life, mapping.external?)))
                .collect()
        };
        self.one_of(
            externals.into_iter().map(|(life, external)| {
                // From a router among the hosts: under its own floating IP, or under the address of the host it speaks for.
                let speaker = match router.floating.iter().find(|(_, internal)| *internal == header.source.0)
                {
                    _ if router.is_no_nat(header.destination.0) => header.source.0,
                    Some((external, _)) => *external,
                    None => external.0,
                };
                let outside = Quoted { source: quote.source, destination: external };
                let Some(_) = ours else {
                    let packet = error_with(frame, header, speaker, header.destination.0, outside);
                    return (life, self.send(frame, header, router, way_out, packet));
                };
                let inside = self.error_in(frame, header, egress, speaker, outside, seen);
                (life, inside)
            }),
            seen,
        )
    }

    /// An error from outside, about a packet that went out.
    pub(super) fn expect_error_in(&self, frame: &Frame, header: &Header, seen: Option<&Frame>) -> Expected {
        let Some(quote) = read_error(frame, header) else { return Expected::Nothing };
        let outside = Quoted { source: quote.source, destination: quote.destination };
        let expected = self.error_in(frame, header, frame.segment, header.source.0, outside, seen);
        // No error is sent about an error.
        if header.ttl <= 1 { Expected::Nothing } else { expected }
    }

    /// The error as the host gets it that sent the packet which is quoted.
    fn error_in(
        &self,
        frame: &Frame,
        header: &Header,
        segment: usize,
        speaker: Ipv4Addr,
        outside: Quoted,
        seen: Option<&Frame>,
    ) -> Expected {
        let protocol = read_error(frame, header).map_or(0, |quote| quote.protocol);
        if outside.source.0 != header.destination.0 {
            return Expected::Nothing;
        }
        let mut hosts: Vec<(Life, &Router, Endpoint)> = Vec::new();
        if let Some(Use::Floating(router, floating)) = self.world.use_of(segment, outside.source.0) {
            let router = &self.world.routers[router];
            hosts.push((Life::Alive, router, (router.floating[floating].1, outside.source.1)));
        } else {
            for mapping in &self.mappings {
                let life = self.life_to(mapping, outside.destination);
                let is_it = (mapping.protocol, mapping.segment, mapping.external)
                    == (protocol, segment, Some(outside.source));
                let router = self.world.routers.iter().find(|router| router.id == mapping.router);
                if let Some(router) = router.filter(|_| is_it && life > Life::Dead) {
                    hosts.push((life, router, mapping.internal));
                }
            }
        }
        self.one_of(
            hosts.into_iter().map(|(life, router, host)| {
                let Some(way) = router.route(host.0).filter(|(leg, _)| !router.interfaces[*leg].external)
                else {
                    return (life, Expected::Nothing);
                };
                let inside = Quoted { source: host, destination: outside.destination };
                let packet = error_with(frame, header, speaker, host.0, inside);
                (life, self.send(frame, header, router, way, packet))
            }),
            seen,
        )
    }

    /// Of what may be expected, what was seen; else what had to be.
    fn one_of(&self, expected: impl Iterator<Item = (Life, Expected)>, seen: Option<&Frame>) -> Expected {
        let expected: Vec<_> = expected.collect();
        let is_seen = |one: &&(Life, Expected)| matches!((&one.1, seen), (Expected::Packet(packet), Some(seen)) if packet == seen);
        let had_to = expected.iter().find(|(life, _)| *life == Life::Alive);
        let was = expected.iter().find(is_seen).or(had_to).or(expected.first().filter(|_| seen.is_some()));
        was.map_or(Expected::Nothing, |(_, expected)| expected.clone())
    }

    /// Whether a mapping's session with this remote is alive.
    fn life_to(&self, mapping: &Mapping, remote: Endpoint) -> Life {
        let sessions = mapping.sessions.iter().filter(|session| session.remote == remote);
        sessions.map(|session| self.life(mapping, session)).max().unwrap_or(Life::Dead)
    }

    /// Whether an error that was seen is the one that was to come.
    pub(super) fn check_error(&self, frame: &Frame, error: &Error, seen: &Frame) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("{what} of the error; expected {error:?}"));
        let Some(header) = read(&seen.packet) else { return wrong("header") };
        let message = &seen.packet[header.length..];
        let quote = &message[8..];
        let original = &frame.packet[..usize::from(u16_at(&frame.packet, 2)).min(548)];
        if (seen.segment, seen.to, seen.from) != (frame.segment, frame.from, frame.to) {
            return wrong("link");
        }
        if (header.source.0, header.destination.0) != (error.from, error.to) {
            return wrong("addresses");
        }
        if header.protocol != 1 || (message[0], message[1]) != (error.kind, error.code) {
            return wrong("type and code");
        }
        if message[4..8] != [0, 0, (error.mtu >> 8) as u8, error.mtu as u8] {
            return wrong("MTU");
        }
        if sum(message, 0) != 0xffff || header.total != seen.packet.len() || header.ttl < 32 {
            return wrong("checksum, length or TTL");
        }
        if quote != original { wrong("quote") } else { Ok(()) }
    }
}

/// What an error quotes, if it is one that may go on: its checksum and that of the quoted header are right, and enough
/// is there (RFC 5508 REQ-3); redirects stay on their link.
pub(super) fn read_error(frame: &Frame, header: &Header) -> Option<Header> {
    let message = &frame.packet[header.length..header.total];
    if header.icmp == 5 || sum(message, 0) != 0xffff {
        return None;
    }
    read_quote(&message[8..])
}

/// The error with other addresses and another quote, all checksums right.
fn error_with(frame: &Frame, header: &Header, from: Ipv4Addr, to: Ipv4Addr, quoted: Quoted) -> Vec<u8> {
    let mut packet = frame.packet[..header.total].to_vec();
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let quote = packet.split_off(header.length + 8);
    if let Some(quote_header) = read_quote(&quote) {
        packet.extend(with_endpoints(&quote, &quote_header, quoted.source, quoted.destination));
    }
    fix_icmp(&mut packet[header.length..]);
    fix_header(&mut packet);
    hop(packet)
}
