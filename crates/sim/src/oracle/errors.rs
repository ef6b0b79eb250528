//! ICMP errors through the translation (RFC 5508 section 4): one transformation of the packet they quote.

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{Header, read_quote, sum, with_quote};
use super::judge::{Case, Passage, Stop, Way};
use super::state::{Session, Told};
use super::world::Endpoint;

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
    pub(super) fn error_out(&self, case: &Case, gateway: usize, way: (usize, Ipv4Addr)) -> Way<Passage> {
        let quote = self.quote(case).ok_or(Stop::Drop)?;
        let router = &self.world.routers[case.router];
        let (host, remote, to) = (quote.destination, quote.source, case.header.destination.0);
        // It goes to whoever sent the packet it is about.
        //= rfc5508#REQ-7a
        if remote.0 != to {
            return Err(Stop::Drop);
        }
        let session = self.sessions.get(&(case.router, quote.protocol, host, remote));
        let fixed = router.fixed(gateway, quote.protocol, host, remote);
        let external = fixed.map_or_else(|| self.quoted(session).map(|told| told.external), Ok)?;
        // From a router among the hosts: under its own floating IP, or under the address of the host it speaks for.
        //= rfc5508#REQ-5c
        let speaker = match router.floating_of(gateway, case.header.source.0) {
            _ if router.is_no_nat(remote.0) => case.header.source.0,
            Some(floating) if case.header.source.0 != host.0 => floating,
            _ => external.0,
        };
        let segment = router.interfaces[way.0].segment;
        if self.world.use_of(segment, to).is_some() {
            return self.error_to_host(case, &quote, segment, speaker, external);
        }
        let packet = with_quote(case.packet(), &case.header, &quote, (speaker, to), (remote, external));
        Ok(Passage { packet, router: case.router, way, sessions: [None; 2] })
    }

    /// An error from outside, about a packet that went out.
    //= rfc5508#REQ-4
    //= rfc4787#REQ-12b
    //= rfc5382#REQ-9
    pub(super) fn error_in(&self, case: &Case) -> Way<Passage> {
        let quote = self.quote(case).filter(|_| case.header.ttl > 1).ok_or(Stop::Drop)?;
        self.error_to_host(case, &quote, case.frame.segment, case.header.source.0, quote.destination)
    }

    /// The session that a quoted packet is of. Whether one whose time is up still counts is not asked for.
    fn quoted(&self, session: Option<&Session>) -> Way<Told> {
        let is_over = |session: &Session| self.is_silent && self.is_due(session);
        let session = session.filter(|session| self.is_allowed(session) && !is_over(session));
        Ok(session.ok_or(Stop::Drop)?.told)
    }

    /// The error as the host gets it that sent the packet which is quoted; `remote` is to whom, as the outside sees it.
    fn error_to_host(
        &self,
        case: &Case,
        quote: &Header,
        segment: usize,
        speaker: Ipv4Addr,
        remote: Endpoint,
    ) -> Way<Passage> {
        let external = quote.source;
        if external.0 != case.header.destination.0 {
            return Err(Stop::Drop);
        }
        let (router, host) = match self.world.use_of(segment, external.0).and_then(|ours| ours.floating) {
            Some((router, host)) => (router, (host, external.1)),
            None => {
                let flow = self.quoted(self.outside((segment, quote.protocol, external, remote)))?.flow;
                (flow.0, flow.2)
            }
        };
        let way = self.world.routers[router].route_in(host.0).ok_or(Stop::Drop)?;
        let packet = with_quote(case.packet(), &case.header, quote, (speaker, host.0), (host, remote));
        Ok(Passage { packet, router, way, sessions: [None; 2] })
    }
}
