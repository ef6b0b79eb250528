//! ICMP errors through the translation (RFC 5508 section 4): one transformation of the packet they quote.

use std::rc::Rc;

use super::Oracle;
use super::bytes::{Header, fix_header, fix_icmp, hop, read_quote, sum, with_endpoints};
use super::judge::{Case, Passage, Stop, Way};
use super::state::{Flow, Told};
use super::world::{Endpoint, Use};

impl Oracle {
    /// What an error quotes, if it is one that may go on: its checksum and that of the quoted header are right, and enough
    /// is there (RFC 5508 REQ-3); redirects stay on their link.
    pub(super) fn quote(&self, case: &Case) -> Option<Header> {
        let message = case.frame.packet.get(case.header.length..case.header.total)?;
        //= rfc5508#REQ-3
        //= rfc5508#REQ-3a
        //= rfc5508#REQ-3b
        let is_good = case.header.is_error() && case.header.is_whole() && case.header.icmp != 5;
        if is_good && sum(message, 0) == 0xffff { read_quote(message.get(8..)?) } else { None }
    }

    /// An error from a host, about a packet that came to it.
    //= rfc5508#REQ-5
    pub(super) fn error_out(
        &self,
        case: &Case,
        gateway: usize,
        way: (usize, std::net::Ipv4Addr),
        ours: Option<Use>,
    ) -> Way<Passage> {
        let quote = self.quote(case).ok_or(Stop::Drop)?;
        let router = &self.world.routers[case.router];
        let (host, remote) = (quote.destination, quote.source);
        // It goes to whoever sent the packet it is about.
        //= rfc5508#REQ-7a
        if remote.0 != case.header.destination.0 {
            return Err(Stop::Drop);
        }
        let floating = router.floating_of(gateway, host.0);
        let external = if router.is_no_nat(remote.0) {
            host
        } else if let Some(external) =
            floating.filter(|_| router.forwarded_from(gateway, quote.protocol, host).is_none())
        {
            (external, host.1)
        } else {
            self.quoted(&(case.router, quote.protocol, host, remote))?.external
        };
        // From a router among the hosts: under its own floating IP, or under the address of the host it speaks for.
        let speaker = case.header.source.0;
        //= rfc5508#REQ-5c
        let speaker = match router.floating_of(gateway, speaker) {
            _ if router.is_no_nat(remote.0) => speaker,
            Some(floating) if speaker != host.0 => floating,
            _ => external.0,
        };
        if ours.is_none() {
            let packet = with_quote(case, &quote, (speaker, case.header.destination.0), (remote, external));
            return Ok(Passage { packet, router: case.router, way, sessions: [None; 2] });
        }
        self.error_to_host(case, &quote, router.interfaces[way.0].segment, speaker, external)
    }

    /// An error from outside, about a packet that went out.
    //= rfc5508#REQ-4
    //= rfc4787#REQ-12b
    //= rfc5382#REQ-9
    pub(super) fn error_in(&self, case: &Case) -> Way<Passage> {
        let quote = self.quote(case).ok_or(Stop::Drop)?;
        if case.header.ttl <= 1 {
            return Err(Stop::Drop);
        }
        self.error_to_host(case, &quote, case.frame.segment, case.header.source.0, quote.destination)
    }

    /// The session that a quoted packet is of. Whether one whose time is up still counts is not asked for.
    fn quoted(&self, flow: &Flow) -> Way<Told> {
        let session = self.sessions.get(flow).ok_or(Stop::Drop)?;
        let is_allowed = self.is_allowed(&session.told, session.mapping.is_some());
        let is_over = self.is_silent && self.is_due(session);
        if is_allowed && !is_over { Ok(session.told) } else { Err(Stop::Drop) }
    }

    /// The error as the host gets it that sent the packet which is quoted; `remote` is to whom, as the outside sees it.
    fn error_to_host(
        &self,
        case: &Case,
        quote: &Header,
        segment: usize,
        speaker: std::net::Ipv4Addr,
        remote: Endpoint,
    ) -> Way<Passage> {
        let external = quote.source;
        if external.0 != case.header.destination.0 {
            return Err(Stop::Drop);
        }
        let ours = self.world.use_of(segment, external.0).unwrap_or_default();
        let (router, host) = if let Some((router, host)) = ours.floating {
            (router, (host, external.1))
        } else {
            let flow = self.outside.get(&(segment, quote.protocol, external, remote)).ok_or(Stop::Drop)?;
            self.quoted(flow)?;
            (flow.0, flow.2)
        };
        let world = Rc::clone(&self.world);
        let way = world.routers[router].route_in(host.0).ok_or(Stop::Drop)?;
        let packet = with_quote(case, quote, (speaker, host.0), (host, remote));
        Ok(Passage { packet, router, way, sessions: [None; 2] })
    }
}

/// The error with other addresses, and other endpoints in its quote, all checksums right.
fn with_quote(
    case: &Case,
    quote: &Header,
    outer: (std::net::Ipv4Addr, std::net::Ipv4Addr),
    quoted: (Endpoint, Endpoint),
) -> Vec<u8> {
    let mut packet = case.frame.packet[..case.header.total].to_vec();
    packet[12..16].copy_from_slice(&outer.0.octets());
    packet[16..20].copy_from_slice(&outer.1.octets());
    let old = packet.split_off(case.header.length + 8);
    //= rfc5508#REQ-3c
    //= rfc5508#REQ-3d
    packet.extend(with_endpoints(&old, quote, quoted.0, quoted.1));
    fix_icmp(&mut packet[case.header.length..]);
    fix_header(&mut packet);
    hop(packet)
}
