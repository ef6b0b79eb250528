//! The way of a packet through the gateway, step by step as the RFCs tell it.

use std::net::Ipv4Addr;
use std::rc::Rc;

use super::Oracle;
use super::bytes::{Frame, Header, ICMP, TCP, UDP, hop, read, with_endpoints};
use super::fragments::Lent;
use super::state::{Flow, Session, Told, same};
use super::world::{Class, Endpoint, Router, Use, World};

/// A packet that came in, and by which router's leg.
pub(super) struct Case<'a> {
    pub(super) frame: &'a Frame,
    pub(super) header: Header,
    pub(super) lent: Option<&'a Lent>,
    pub(super) router: usize,
    pub(super) leg: usize,
}

/// A packet that goes on: as it leaves, by which router's leg, to whom, and the sessions out and in that say so.
pub(super) struct Passage {
    pub(super) packet: Vec<u8>,
    pub(super) router: usize,
    pub(super) way: (usize, Ipv4Addr),
    pub(super) sessions: [Option<Flow>; 2],
}

/// Why a packet goes no further.
pub(super) enum Stop {
    Drop,
    /// Its sender is told: type, code, MTU.
    Refuse(u8, u8, u16),
    Echo,
    /// Its datagram's ports have to be known.
    Reassemble,
    /// The gateways did wrong.
    Wrong(String),
}

pub(super) type Way<T> = Result<T, Stop>;

pub(super) fn wrong<T>(why: impl Into<String>) -> Way<T> {
    Err(Stop::Wrong(why.into()))
}

const NET_UNREACHABLE: Stop = Stop::Refuse(3, 0, 0);
const HOST_UNREACHABLE: Stop = Stop::Refuse(3, 1, 0);
const PROHIBITED: Stop = Stop::Refuse(3, 13, 0);

impl Case<'_> {
    fn may_travel(&self) -> Way<()> {
        //= rfc1812#5.3.1
        if self.header.ttl <= 1 { Err(Stop::Refuse(11, 0, 0)) } else { Ok(()) }
    }

    fn has_ports(&self) -> bool {
        self.header.is_whole() || self.lent.is_some()
    }

    /// Where ports decide.
    fn ask_for_ports(&self) -> Way<()> {
        let needs = matches!(self.header.protocol, TCP | UDP | ICMP);
        if needs && !self.has_ports() { Err(Stop::Reassemble) } else { Ok(()) }
    }

    /// Whether translation to an address that many share covers the packet: not where the addresses are signed (RFC 4302),
    /// nor ICMP but queries.
    fn ask_for_translation(&self) -> Way<()> {
        match self.header.protocol {
            51 => Err(Stop::Drop),
            _ if !self.has_ports() => Err(Stop::Reassemble),
            //= rfc5508#REQ-11
            ICMP if !self.header.is_request() && !self.header.is_reply() => Err(Stop::Drop),
            _ => Ok(()),
        }
    }

    fn is_ping(&self) -> bool {
        self.header.protocol == ICMP && self.header.is_whole() && self.header.icmp == 8
    }

    /// It is to ourselves.
    fn local(&self) -> Stop {
        if self.is_ping() { Stop::Echo } else { Stop::Drop }
    }

    fn is_error(&self) -> bool {
        self.header.is_error() && self.header.is_whole()
    }

    /// For translation: not the first fragment of an error, for what that quotes may lie in any of them.
    fn is_fit(&self) -> bool {
        !self.header.is_error() || self.header.is_whole() || self.header.offset > 0
    }

    pub(super) fn packet(&self) -> &[u8] {
        &self.frame.packet[..self.header.total]
    }

    /// Untranslated.
    fn routed(&self, router: usize, way: (usize, Ipv4Addr)) -> Passage {
        Passage { packet: hop(self.packet().to_vec()), router, way, sessions: [None; 2] }
    }

    /// Between these endpoints.
    fn translated(&self, source: Endpoint, destination: Endpoint) -> Vec<u8> {
        hop(with_endpoints(self.packet(), &self.header, source, destination))
    }
}

impl Oracle {
    /// Judges a packet, and takes what it explains from what came out.
    pub(super) fn carry(
        &mut self,
        frame: &Frame,
        lent: Option<&Lent>,
        out: &mut Vec<&Frame>,
    ) -> Result<(), String> {
        let read = read(&frame.packet).map(|header| lent.map_or(header, |lent| lent.to(header)));
        let (Some(header), Some((router, leg))) = (read, self.world.leg_with(frame.segment, frame.to)) else {
            self.judged[0] += 1;
            return Ok(());
        };
        let case = Case { frame, header, lent, router, leg };
        let sent = self.expect(&case).and_then(|passage| self.send(&case, passage, out));
        let (kind, verdict) = match sent {
            Err(Stop::Reassemble) => return self.reassemble(&case, out),
            Err(Stop::Refuse(kind, code, mtu)) => (2, self.check_error(&case, (kind, code, mtu), out)),
            Err(Stop::Echo) => (2, self.check_echo(&case, out)),
            sent => (1, sent),
        };
        match verdict {
            Ok(()) => self.judged[kind] += 1,
            Err(Stop::Wrong(why)) => return Err(why),
            Err(_) => self.judged[0] += 1,
        }
        Ok(())
    }

    fn expect(&mut self, case: &Case) -> Way<Passage> {
        let (source, destination) = (case.header.source.0, case.header.destination.0);
        //= rfc1812#5.3.7
        let is_host = !matches!(source.octets()[0], 0 | 127 | 224..);
        if source.is_link_local() || destination.is_link_local() || !is_host {
            return Err(Stop::Drop);
        }
        let world = Rc::clone(&self.world);
        let router = &world.routers[case.router];
        if router.interfaces[case.leg].external {
            self.expect_outside(case, &world)
        } else {
            self.expect_inside(case, &world, router)
        }
    }

    fn expect_inside(&mut self, case: &Case, world: &World, router: &Router) -> Way<Passage> {
        let header = &case.header;
        let (source, destination) = (header.source.0, header.destination.0);
        // Strict reverse path; and nobody is us.
        let entrance = &router.interfaces[case.leg];
        let is_nobody = entrance.address.0 == source || entrance.is_edge(source);
        //= rfc1812#5.3.8
        let is_foreign = router.route(source).is_none_or(|(back, _)| back != case.leg);
        if is_nobody || is_foreign || destination.is_multicast() || destination.is_broadcast() {
            return Err(Stop::Drop);
        }
        //= rfc1812#4.3.3.1
        //= rfc5508#REQ-10
        let way = router.route(destination).ok_or(NET_UNREACHABLE)?;
        let egress = &router.interfaces[way.0];
        // RFC 2644.
        if way.1 == destination && egress.is_edge(destination) {
            return Err(Stop::Drop);
        }
        let segment = egress.segment;
        let ours = world.use_of(segment, destination);
        if ours.is_some_and(|ours| ours.forwarded) {
            case.ask_for_ports()?;
        }
        if let Some(Use { leg: true, pool, .. }) = ours {
            //= rfc1812#4.3.3.6
            let passes = pool || world.forwarded_to(segment, header.protocol, header.destination).is_some();
            if case.is_ping() || !passes {
                return Err(case.local());
            }
        }
        case.may_travel()?;
        let Some(gateway) = router.gateway_into(segment).filter(|_| egress.external) else {
            return Ok(case.routed(case.router, way));
        };
        if case.is_error() {
            return self.error_out(case, gateway, way);
        }
        let (external, out_by) = self.translate_out(case, router, gateway)?;
        if ours.is_none() {
            let packet = case.translated(external, header.destination);
            return Ok(Passage { packet, router: case.router, way, sessions: [out_by, None] });
        }
        // To one of our own external addresses, and in again (RFC 4787 REQ-9).
        //= rfc4787#REQ-9
        //= rfc4787#REQ-9a
        //= rfc5382#REQ-8
        //= rfc5382#REQ-8a
        //= rfc5508#REQ-7
        //= rfc7857#13
        let (at, inside, in_by) = self.translate_in(case, segment, external)?;
        let way = world.routers[at].route_in(inside.0).ok_or(Stop::Drop)?;
        Ok(Passage { packet: case.translated(external, inside), router: at, way, sessions: [out_by, in_by] })
    }

    /// What the external network sees as the source.
    fn translate_out(
        &mut self,
        case: &Case,
        router: &Router,
        number: usize,
    ) -> Way<(Endpoint, Option<Flow>)> {
        let header = &case.header;
        let (host, remote) = (header.source, header.destination);
        let gateway = &router.gateways[number];
        let forwards = router.forwardings.iter().any(|one| one.gateway == number);
        if forwards && !router.is_no_nat(remote.0) {
            case.ask_for_ports()?;
        }
        //= rfc6888#REQ-6
        if let Some(external) = router.fixed(number, header.protocol, host, remote) {
            return (external == host || case.is_fit()).then_some((external, None)).ok_or(Stop::Drop);
        }
        let is_snat = router.interfaces[case.leg].snat && gateway.snat;
        if !is_snat && !forwards {
            return Err(PROHIBITED);
        }
        case.ask_for_translation()?;
        let flow = (case.router, header.protocol, host, remote);
        if let Some(told) = self.session(&flow, 0, header)? {
            return Ok((told.external, Some(flow)));
        }
        let opens = match header.protocol {
            TCP if router.loose => header.flags & 4 == 0,
            TCP => header.is_syn(),
            ICMP => header.is_request(),
            _ => true,
        };
        if !opens {
            return Err(Stop::Drop);
        }
        let forwarded = router.forwarded_from(number, header.protocol, host);
        if forwarded.is_none() && !is_snat {
            return Err(PROHIBITED);
        }
        let Some(told) = self.take_opened(|told| told.flow == flow) else {
            //= rfc6888#REQ-11
            //= rfc6888#REQ-11B
            //= rfc5508#REQ-8
            //= rfc4787#REQ-11
            let segment = router.interfaces[gateway.interface].segment;
            if forwarded.is_none() && self.may_refuse(&flow, segment) {
                return Err(HOST_UNREACHABLE);
            }
            return wrong("no session was opened, though there are ports");
        };
        match forwarded {
            None => self.open(told)?,
            Some(external) if told.external == external => self.insert(told, None, true),
            Some(external) => return wrong(format!("its session was to have the forwarded {external:?}")),
        }
        Ok((told.external, Some(flow)))
    }

    /// The session of a flow, if it goes on with this packet.
    fn session(&mut self, flow: &Flow, side: usize, header: &Header) -> Way<Option<Told>> {
        self.closed
            .retain(|session| session.told.flow != *flow || !session.track.is_reopened_by(side, header));
        let Some(session) = self.sessions.get(flow) else { return Ok(None) };
        // A connection that is cut off rests.
        if !self.is_allowed(session) && flow.1 == TCP && !session.track.is_over() {
            return Ok(None);
        } else if !self.is_allowed(session) {
            return wrong(format!("the rules do not allow it any more: {session:?}"));
        }
        if session.track.is_reopened_by(side, header) {
            return wrong(format!("another was to begin: {session:?}"));
        }
        Ok(Some(session.told))
    }

    fn take_opened(&mut self, is_it: impl Fn(&Told) -> bool) -> Option<Told> {
        let at = self.opened.iter().position(is_it)?;
        Some(self.opened.swap_remove(at))
    }

    fn expect_outside(&mut self, case: &Case, world: &World) -> Way<Passage> {
        let header = &case.header;
        let destination = header.destination.0;
        let segment = case.frame.segment;
        let Some(ours) = world.use_of(segment, destination) else {
            let router = &world.routers[case.router];
            //= rfc4787#REQ-12a
            let is_about_exempt = self
                .quote(case)
                .is_some_and(|quote| quote.source.0 == destination && router.is_no_nat(quote.destination.0));
            let may_enter = router.is_no_nat(header.source.0) || is_about_exempt;
            let way = router.route_in(destination).filter(|_| may_enter).ok_or(Stop::Drop)?;
            let there = world.use_of(router.interfaces[way.0].segment, destination);
            let on = case.may_travel().map(|()| case.routed(case.router, way));
            return if there.is_some_and(|there| there.leg) { Err(case.local()) } else { on };
        };
        if ours.leg && case.is_ping() {
            return Err(Stop::Echo);
        }
        if case.is_error() {
            return self.error_in(case);
        }
        let (router, inside, in_by) = self.translate_in(case, segment, header.source)?;
        let way = world.routers[router].route_in(inside.0).ok_or(Stop::Drop)?;
        case.may_travel()?;
        Ok(Passage { packet: case.translated(header.source, inside), router, way, sessions: [None, in_by] })
    }

    /// Whom a packet to one of our external addresses is for: router, host's endpoint, session.
    fn translate_in(
        &mut self,
        case: &Case,
        segment: usize,
        source: Endpoint,
    ) -> Way<(usize, Endpoint, Option<Flow>)> {
        let header = &case.header;
        let external = header.destination;
        let floating = self.world.use_of(segment, external.0).and_then(|ours| ours.floating);
        if let Some((router, host)) = floating {
            return case.is_fit().then_some((router, (host, external.1), None)).ok_or(Stop::Drop);
        }
        case.ask_for_translation()?;
        if let Some((router, host)) = self.world.forwarded_to(segment, header.protocol, external) {
            self.world.routers[router].route_in(host.0).ok_or(Stop::Drop)?;
            let flow = (router, header.protocol, host, source);
            self.forward(case, Told { flow, segment, external })?;
            return Ok((router, host, Some(flow)));
        }
        if let Some(session) = self.outside((segment, header.protocol, external, source)) {
            // One that a forwarding was taken from under is asked for by nobody any more.
            let flow = session.told.flow;
            return if self.is_allowed(session) { Ok((flow.0, flow.2, Some(flow))) } else { Err(Stop::Drop) };
        }
        //= rfc4787#REQ-8
        //= rfc5382#REQ-3
        //= rfc5382#REQ-3a
        //= rfc5382#REQ-3b
        //= rfc6888#REQ-7
        //= rfc7857#6
        let opens = header.protocol == UDP || header.is_syn() || header.is_reply();
        let who = if opens { self.admits(segment, header.protocol, external, source) } else { Vec::new() };
        let told = self
            .take_opened(|told| (told.segment, told.external, told.flow.3) == (segment, external, source));
        let Some(told) = told else {
            //= rfc5382#REQ-4
            let must = who.iter().find(|(.., must)| *must).ok_or(Stop::Drop)?;
            return wrong(format!("a session was to be opened for it: {must:?}"));
        };
        let by = who.into_iter().find(|(flow, ..)| (flow.0, flow.2) == (told.flow.0, told.flow.2));
        let Some((_, mapping, _)) = by else { return wrong(format!("nobody let it in: {told:?}")) };
        self.insert(told, Some(mapping), false);
        Ok((told.flow.0, told.flow.2, Some(told.flow)))
    }

    /// Who lets a packet from outside in (RFC 4787 REQ-8): whose flow that would be, by which mapping, and whether it has to.
    fn admits(
        &self,
        segment: usize,
        protocol: u8,
        external: Endpoint,
        source: Endpoint,
    ) -> Vec<(Flow, u64, bool)> {
        let is_its = |one: &&Session| {
            (one.told.segment, one.told.flow.1, one.told.external) == (segment, protocol, external)
        };
        let lets_in = |session: &Session| {
            let (router, _, host, remote) = session.told.flow;
            let number = session.mapping.filter(|_| session.track.spoken)?;
            let mapping = &self.mappings[&number];
            let told = Told { flow: (router, protocol, host, source), segment, external };
            let (_, filtering) = self.world.pool_of(router, segment)?.behaviour(protocol, source.1);
            // Only what has the same remote endpoint would do, and that is a session.
            let is_open = filtering != Class::AddressAndPort && same(filtering, remote, source);
            let may = is_open && !mapping.shares && self.world.allows(&told, true);
            // Nobody outside ends what goes on by another mapping.
            let is_free = !self.sessions.contains_key(&told.flow);
            let must = session.filtering == filtering && !mapping.forbidden && is_free;
            may.then_some((told.flow, number, must))
        };
        self.sessions.values().filter(is_its).filter_map(lets_in).collect()
    }

    /// A packet to forwarded ports: anybody may open a session.
    fn forward(&mut self, case: &Case, told: Told) -> Way<()> {
        let header = &case.header;
        let is_its = self.sessions.get(&told.flow).is_some_and(|session| session.told == told);
        if is_its && self.session(&told.flow, 1, header)?.is_some() {
            return Ok(());
        }
        // The last connection of the same endpoints is over, by this or another of the ports that lead there.
        self.closed
            .retain(|session| session.told.flow != told.flow || !session.track.is_over() || !header.is_syn());
        if header.protocol == TCP && !header.is_syn() {
            return Err(Stop::Drop);
        }
        match self.take_opened(|one| *one == told) {
            Some(told) if self.world.allows(&told, false) => {
                self.insert(told, None, false);
                Ok(())
            }
            None if !self.world.allows(&told, false) || self.sessions.contains_key(&told.flow) => {
                Err(Stop::Drop)
            }
            _ => wrong(format!("its session was to be {told:?}")),
        }
    }
}
