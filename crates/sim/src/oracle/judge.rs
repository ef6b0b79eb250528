//! The way of a packet through the gateway, step by step as the RFCs tell it.

use std::net::Ipv4Addr;

use super::Oracle;
use super::bytes::{
    Frame, Header, ICMP, TCP, UDP, fix_header, fix_icmp, hop, read, sum, u16_at, with_endpoints,
};
use super::errors::read_error;
use super::state::{Life, Mapping, Session, same};
use super::world::{Class, Endpoint, Router, Use, mac_of};

/// What has to come out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Nothing,
    Packet(Frame),
    Error(Error),
}

/// An ICMP error of the gateway's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) mtu: u16,
    pub(super) from: Ipv4Addr,
    pub(super) to: Ipv4Addr,
}

/// Type, code, MTU.
type Kind = (u8, u8, u16);
const TTL_EXCEEDED: Kind = (11, 0, 0);
const NET_UNREACHABLE: Kind = (3, 0, 0);
const HOST_UNREACHABLE: Kind = (3, 1, 0);
const PROHIBITED: Kind = (3, 13, 0);

/// A packet's endpoint in another realm.
enum Outside {
    /// This.
    Is(Endpoint, Option<(usize, usize)>),
    /// It has one, which was not seen.
    Unseen,
}

type Judged = Result<Expected, String>;

impl Oracle {
    pub(super) fn expect(&mut self, frame: &Frame, seen: Option<&Frame>) -> Judged {
        let Some(header) = read(&frame.packet) else { return Ok(Expected::Nothing) };
        let Some((router, leg)) = self.world.leg_with(frame.segment, frame.to) else {
            return Ok(Expected::Nothing);
        };
        let (source, destination) = (header.source.0, header.destination.0);
        if source.is_link_local() || destination.is_link_local() || !is_host(source) {
            return Ok(Expected::Nothing);
        }
        let external = self.world.routers[router].interfaces[leg].external;
        if external {
            self.expect_from_outside(frame, &header, router, seen)
        } else {
            self.expect_from_inside(frame, &header, router, leg, seen)
        }
    }

    fn expect_from_inside(
        &mut self,
        frame: &Frame,
        header: &Header,
        at: usize,
        leg: usize,
        seen: Option<&Frame>,
    ) -> Judged {
        let router = self.world.routers[at].clone();
        let (source, destination) = (header.source.0, header.destination.0);
        // Strict reverse path; and nobody is us.
        let entrance = &router.interfaces[leg];
        let is_nobody = entrance.address.0 == source || entrance.is_edge(source);
        if is_nobody || router.route(source).is_none_or(|(back, _)| back != leg) {
            return Ok(Expected::Nothing);
        }
        if destination.is_multicast() || destination.is_broadcast() {
            return Ok(Expected::Nothing);
        }
        let Some(way) = router.route(destination) else {
            return Ok(self.refuse(frame, header, NET_UNREACHABLE));
        };
        let egress = &router.interfaces[way.0];
        // RFC 2644.
        if way.1 == destination && egress.is_edge(destination) {
            return Ok(Expected::Nothing);
        }
        let ours = self.world.use_of(egress.segment, destination);
        match ours {
            Some(Use::Leg | Use::Pool(true)) if header.is_echo_request() => {
                return Ok(echo_reply(frame, header));
            }
            Some(Use::Leg) => return Ok(Expected::Nothing),
            _ => {}
        }
        if header.ttl <= 1 {
            return Ok(self.refuse(frame, header, TTL_EXCEEDED));
        }
        if !egress.external {
            let packet = hop(frame.packet[..header.total].to_vec());
            return Ok(self.send(frame, header, &router, way, packet));
        }
        if header.is_icmp_error() {
            return Ok(self.expect_error_out(frame, header, at, way, ours, seen));
        }
        let outside = match self.translate_out(frame, header, &router, leg, way.0, seen)? {
            Ok(outside) => outside,
            Err(expected) => return Ok(expected),
        };
        if ours.is_some() {
            return self.hairpin(frame, header, egress.segment, outside, seen);
        }
        let (external, session) = match outside {
            Outside::Is(external, session) => (external, session),
            Outside::Unseen if header.total > usize::from(self.world.segments[egress.segment].mtu) => {
                (header.source, None)
            }
            Outside::Unseen => return Err("it was to pass, and did not".into()),
        };
        let packet = hop(with_endpoints(&frame.packet[..header.total], header, external, header.destination));
        let expected = self.send(frame, header, &router, way, packet);
        self.note(&expected, header, [session, None]);
        Ok(expected)
    }

    /// What the external network sees as the source.
    fn translate_out(
        &mut self,
        frame: &Frame,
        header: &Header,
        router: &Router,
        leg: usize,
        egress: usize,
        seen: Option<&Frame>,
    ) -> Result<Result<Outside, Expected>, String> {
        let (internal, remote) = (header.source, header.destination);
        let gateway = router.gateways.iter().find(|way| way.interface == egress).ok_or("no gateway there")?;
        //= rfc6888#REQ-6
        if router.is_no_nat(remote.0) {
            return Ok(Ok(Outside::Is(internal, None)));
        }
        if let Some((external, _)) = router.floating.iter().find(|(_, one)| *one == internal.0) {
            return Ok(Ok(Outside::Is((*external, internal.1), None)));
        }
        if !router.interfaces[leg].snat || !gateway.snat {
            return Ok(Err(self.refuse(frame, header, PROHIBITED)));
        }
        if !is_translatable(header) {
            return Ok(Err(Expected::Nothing));
        }
        let segment = router.interfaces[egress].segment;
        let told =
            seen.and_then(|seen| read(&seen.packet)).filter(|out| !out.is_icmp_error()).map(|out| out.source);
        let found = self.session_out(router.id, segment, header, told);
        if let Some((mapping, session, life)) = found {
            let one = &mut self.mappings[mapping];
            let external = one.external;
            let (is_reopened, is_perhaps) = one.sessions[session].is_reopened_by(header);
            let goes_on = match life {
                _ if is_reopened => false,
                Life::Alive if !is_perhaps => true,
                _ if !self.opens(header) && seen.is_none() => return Ok(Err(Expected::Nothing)),
                // Over, and begun again with another endpoint, or refused; or nobody can tell.
                _ => {
                    let is_same = if external.is_none() {
                        !is_refusal(seen)
                    } else {
                        told.is_some() && told == external
                    };
                    !self.opens(header) || is_same
                }
            };
            let one = &mut self.mappings[mapping];
            if goes_on {
                if life == Life::Perhaps || is_perhaps {
                    one.sessions[session].fork(self.now_ms);
                }
                let Some(external) = external.or(told) else {
                    let first =
                        Session::new(remote, self.now_ms).ends_ms(header.protocol, &router.timeouts).1;
                    let session = &mut one.sessions[session];
                    session.bounds.1 = session.bounds.1.max(first);
                    return Ok(Ok(Outside::Unseen));
                };
                one.external = Some(external);
                return Ok(Ok(Outside::Is(external, Some((mapping, session)))));
            }
            one.sessions.swap_remove(session);
            one.ended.1 = one.ended.1.max(self.now_ms);
        }
        if !self.opens(header) {
            return Ok(Err(Expected::Nothing));
        }
        self.begin(frame, header, router, gateway.interface, seen, told)
    }

    /// A session that begins with this packet.
    fn begin(
        &mut self,
        frame: &Frame,
        header: &Header,
        router: &Router,
        egress: usize,
        seen: Option<&Frame>,
        told: Option<Endpoint>,
    ) -> Result<Result<Outside, Expected>, String> {
        let gateway = router.gateways.iter().find(|way| way.interface == egress).ok_or("no gateway there")?;
        let (internal, remote) = (header.source, header.destination);
        let segment = router.interfaces[egress].segment;
        let class = self.behaviour(gateway.pool, header.protocol).mapping;
        let mut session = Session::new(remote, self.now_ms);
        let of_it = |one: &Mapping| {
            (one.router, one.protocol, one.internal, one.segment, one.class)
                == (router.id, header.protocol, internal, segment, class)
        };
        let living: Vec<usize> = (0..self.mappings.len())
            .filter(|at| {
                let one = &self.mappings[*at];
                of_it(one)
                    && class != Class::AddressAndPort
                    && one.covers(remote)
                    && !one.doubtful
                    && one.sessions.iter().any(|session| self.life(one, session) == Life::Alive)
            })
            .collect();
        //= rfc4787#REQ-1
        if let Some(at) = living.first() {
            let mapping = &mut self.mappings[*at];
            let external = mapping.external.or(told);
            mapping.external = external;
            session.doubtful = seen.is_none();
            mapping.sessions.push(session);
            let last = mapping.sessions.len() - 1;
            return Ok(Ok(match external {
                Some(external) => Outside::Is(external, Some((*at, last))),
                None => Outside::Unseen,
            }));
        }
        let hold_down_ms = match (gateway.pool, header.protocol) {
            (_, TCP) => 0,
            (Some(pool), _) => self.world.pools[pool].hold_down_ms,
            _ => 60_000,
        };
        let mut new = Mapping {
            router: router.id,
            protocol: header.protocol,
            internal,
            class,
            segment,
            external: None,
            hold_down_ms,
            sessions: vec![session],
            doubtful: false,
            moved: false,
            ended: (0, 0),
        };
        let Some(told) = told else {
            //= rfc6888#REQ-11
            if is_refusal(seen) {
                return match self.may_refuse(router, gateway, &new, remote) {
                    true => Ok(Err(self.refuse(frame, header, HOST_UNREACHABLE))),
                    false => Err("refused though there are ports".into()),
                };
            }
            new.sessions[0].doubtful = true;
            self.mappings.push(new);
            return Ok(Ok(Outside::Unseen));
        };
        self.may_choose(router, gateway, &new, remote, told)?;
        new.external = Some(told);
        // One that rested and has come back, or one that was perhaps there still: it is this one.
        let same_one = |one: &Mapping| {
            of_it(one) && one.external.is_none_or(|external| external == told) && class == Class::Independent
        };
        let old = self.mappings.iter().position(same_one);
        let at = match old {
            Some(at) => {
                let mapping = &mut self.mappings[at];
                mapping.external = Some(told);
                mapping.doubtful = false;
                mapping.hold_down_ms = mapping.hold_down_ms.max(hold_down_ms);
                mapping.sessions.iter_mut().for_each(|session| session.doubtful = true);
                mapping.sessions.push(session);
                at
            }
            None => {
                self.mappings.push(new);
                self.mappings.len() - 1
            }
        };
        Ok(Ok(Outside::Is(told, Some((at, self.mappings[at].sessions.len() - 1)))))
    }

    /// The session of a packet from inside that is most alive; among equals the one that was seen.
    fn session_out(
        &self,
        router: &str,
        segment: usize,
        header: &Header,
        told: Option<Endpoint>,
    ) -> Option<(usize, usize, Life)> {
        let mut found: Option<(usize, usize, Life)> = None;
        for (at, mapping) in self.mappings.iter().enumerate() {
            if (mapping.router, mapping.segment, mapping.protocol, mapping.internal)
                != (router, segment, header.protocol, header.source)
            {
                continue;
            }
            for (number, session) in mapping.sessions.iter().enumerate() {
                let life = self.life(mapping, session);
                let is_better =
                    found.is_none_or(|(.., best)| life > best || (life == best && mapping.external == told));
                if session.remote == header.destination && life > Life::Dead && is_better {
                    found = Some((at, number, life));
                }
            }
        }
        found
    }

    fn opens(&self, header: &Header) -> bool {
        match header.protocol {
            TCP => header.is_syn(),
            ICMP => header.is_request(),
            _ => true,
        }
    }

    /// To one of our own external addresses, and in again (RFC 4787 REQ-9).
    fn hairpin(
        &mut self,
        frame: &Frame,
        header: &Header,
        segment: usize,
        outside: Outside,
        seen: Option<&Frame>,
    ) -> Judged {
        let (source, out_by) = match outside {
            Outside::Is(source, session) => (source, session),
            Outside::Unseen => {
                let Some(Use::Floating(at, floating)) = self.world.use_of(segment, header.destination.0)
                else {
                    // Too long for the network that it was meant for, whichever that was.
                    let mtu = seen
                        .filter(|seen| seen.packet[20..22] == [3, 4])
                        .map(|seen| u16_at(&seen.packet, 26));
                    let mtu = mtu.filter(|mtu| {
                        let is_there = self.world.segments.iter().any(|segment| segment.mtu == *mtu);
                        is_there && header.total > usize::from(*mtu) && header.dont_fragment
                    });
                    return Ok(mtu.map_or(Expected::Nothing, |mtu| self.refuse(frame, header, (3, 4, mtu))));
                };
                let router = &self.world.routers[at];
                let Some(way) = inward(router, router.floating[floating].1) else {
                    return Ok(Expected::Nothing);
                };
                let as_it_is = self.send(frame, header, router, way, frame.packet[..header.total].to_vec());
                return match as_it_is {
                    Expected::Packet(_) => Err("a hairpin to a floating IP did not pass".into()),
                    refused => Ok(refused),
                };
            }
        };
        if seen.is_none()
            && let Some((mapping, session)) = out_by
            && self.mappings[mapping].sessions[session].track.packets[0] == 0
        {
            self.mappings[mapping].sessions[session].doubtful = true;
        }
        let (inside, router, in_by) = match self.translate_in(header, source, segment, seen)? {
            Some(inside) => inside,
            None => return Ok(Expected::Nothing),
        };
        let router = self.world.routers[router].clone();
        let Some(way) = inward(&router, inside.0) else { return Ok(Expected::Nothing) };
        let packet = hop(with_endpoints(&frame.packet[..header.total], header, source, inside));
        let expected = self.send(frame, header, &router, way, packet);
        self.note(&expected, header, [out_by, in_by]);
        Ok(expected)
    }

    fn expect_from_outside(
        &mut self,
        frame: &Frame,
        header: &Header,
        at: usize,
        seen: Option<&Frame>,
    ) -> Judged {
        let destination = header.destination.0;
        let Some(ours) = self.world.use_of(frame.segment, destination) else {
            let router = self.world.routers[at].clone();
            //= rfc4787#REQ-12a
            let quote = read_error(frame, header).filter(|_| header.is_icmp_error());
            let is_about_exempt = quote
                .is_some_and(|quote| quote.source.0 == destination && router.is_no_nat(quote.destination.0));
            let may_enter = router.is_no_nat(header.source.0) || is_about_exempt;
            let Some(way) = inward(&router, destination).filter(|_| may_enter) else {
                return Ok(Expected::Nothing);
            };
            if header.ttl <= 1 {
                return Ok(self.refuse(frame, header, TTL_EXCEEDED));
            }
            let packet = hop(frame.packet[..header.total].to_vec());
            return Ok(self.send(frame, header, &router, way, packet));
        };
        if header.is_echo_request() && matches!(ours, Use::Leg | Use::Pool(true)) {
            return Ok(echo_reply(frame, header));
        }
        if header.is_icmp_error() {
            return Ok(self.expect_error_in(frame, header, seen));
        }
        let Some((inside, router, in_by)) = self.translate_in(header, header.source, frame.segment, seen)?
        else {
            return Ok(Expected::Nothing);
        };
        let router = self.world.routers[router].clone();
        let Some(way) = inward(&router, inside.0) else { return Ok(Expected::Nothing) };
        if header.ttl <= 1 {
            return Ok(self.refuse(frame, header, TTL_EXCEEDED));
        }
        let packet = hop(with_endpoints(&frame.packet[..header.total], header, header.source, inside));
        let expected = self.send(frame, header, &router, way, packet);
        self.note(&expected, header, [None, in_by]);
        Ok(expected)
    }

    /// The internal endpoint that a packet to one of our external addresses is for, its router, and its session.
    #[expect(clippy::type_complexity, reason = "endpoint, router, session")]
    fn translate_in(
        &mut self,
        header: &Header,
        source: Endpoint,
        segment: usize,
        seen: Option<&Frame>,
    ) -> Result<Option<(Endpoint, usize, Option<(usize, usize)>)>, String> {
        let external = header.destination;
        match self.world.use_of(segment, external.0) {
            Some(Use::Floating(router, floating)) => {
                return Ok(Some((
                    (self.world.routers[router].floating[floating].1, external.1),
                    router,
                    None,
                )));
            }
            Some(Use::Pool(_)) if is_translatable(header) => {}
            _ => return Ok(None),
        }
        // What was delivered says who has an endpoint that was not seen before.
        let told = seen
            .and_then(|seen| {
                let (router, _) = self.world.leg_with(seen.segment, seen.from)?;
                Some((self.world.routers[router].id, read(&seen.packet)?))
            })
            .filter(|(_, out)| !out.is_icmp_error());
        // Two routers may have hosts of the same address.
        let is_told_of = |mapping: &Mapping| {
            told.is_some_and(|(router, out)| (router, out.destination) == (mapping.router, mapping.internal))
        };
        let mut best: Option<(usize, Life)> = None;
        for (at, mapping) in self.mappings.iter().enumerate() {
            let is_it = match mapping.external {
                Some(one) => one == external,
                None => is_told_of(mapping),
            };
            if !is_it || (mapping.protocol, mapping.segment) != (header.protocol, segment) {
                continue;
            }
            let life = self.admits(mapping, source);
            let is_told = is_told_of(mapping);
            if life > Life::Dead && best.is_none_or(|(_, other)| life > other || (life == other && is_told)) {
                best = Some((at, life));
            }
        }
        let Some((at, life)) = best else { return Ok(None) };
        if life == Life::Perhaps && seen.is_none() {
            return Ok(None);
        }
        let router = self.mappings[at].router;
        let router =
            self.world.routers.iter().position(|one| one.id == router).ok_or("a router that is not there")?;
        let now_ms = self.now_ms;
        let lives: Vec<Life> =
            self.mappings[at].sessions.iter().map(|session| self.life(&self.mappings[at], session)).collect();
        let mapping = &mut self.mappings[at];
        if seen.is_some() {
            mapping.external = Some(external);
        }
        let number = (0..mapping.sessions.len())
            .find(|one| mapping.sessions[*one].remote == source && lives[*one] > Life::Dead);
        if let Some(number) =
            number.filter(|number| lives[*number] == Life::Perhaps && mapping.protocol == UDP)
        {
            mapping.sessions[number].fork(now_ms);
        }
        let number = number.unwrap_or_else(|| {
            mapping.sessions.push(Session { doubtful: seen.is_none(), ..Session::new(source, now_ms) });
            mapping.sessions.len() - 1
        });
        Ok(Some((mapping.internal, router, Some((at, number)))))
    }

    /// Whether a mapping lets a packet from this remote in (RFC 4787 REQ-8).
    fn admits(&self, mapping: &Mapping, source: Endpoint) -> Life {
        let router = self.world.routers.iter().find(|router| router.id == mapping.router);
        let gateway = router.and_then(|router| {
            router.gateways.iter().find(|way| router.interfaces[way.interface].segment == mapping.segment)
        });
        let Some(gateway) = gateway else { return Life::Dead };
        let filtering = self.behaviour(gateway.pool, mapping.protocol).filtering;
        // Only a datagram opens a session from outside.
        let filtering = if mapping.protocol == UDP { filtering } else { Class::AddressAndPort };
        if !self.is_allowed(mapping, source) {
            return Life::Dead;
        }
        let sessions = mapping.sessions.iter().filter(|session| same(filtering, session.remote, source));
        // One that came from outside gives others nothing before it is answered (RFC 7857 section 7).
        let most = |session: &Session| {
            let is_answered =
                std::iter::once(session.track).chain(session.again).all(|one| one.packets[0] > 0);
            if session.remote == source || is_answered { Life::Alive } else { Life::Perhaps }
        };
        sessions.map(|session| self.life(mapping, session).min(most(session))).max().unwrap_or(Life::Dead)
    }

    /// Notes a packet that has passed in its sessions.
    fn note(&mut self, expected: &Expected, header: &Header, sessions: [Option<(usize, usize)>; 2]) {
        let has_passed = matches!(expected, Expected::Packet(_));
        for (side, (mapping, number)) in
            sessions.into_iter().enumerate().filter_map(|(side, one)| Some((side, one?)))
        {
            let now_ms = self.now_ms;
            let one = &self.mappings[mapping];
            let is_doubtful = self.life(one, &one.sessions[number]) < Life::Alive;
            let timeouts = self
                .world
                .routers
                .iter()
                .find(|router| router.id == one.router)
                .map(|router| router.timeouts);
            let protocol = one.protocol;
            let session = &mut self.mappings[mapping].sessions[number];
            if has_passed {
                session.doubtful = false;
                session.bounds.0 = u64::MAX;
                session.note(side, header, now_ms);
                self.mappings[mapping].doubtful = false;
                continue;
            }
            // What was perhaps over has perhaps begun again with a packet that went no further.
            session.doubtful |= is_doubtful || session.track.packets == [0; 2];
            let first = timeouts
                .map_or(0, |timeouts| Session::new(session.remote, now_ms).ends_ms(protocol, &timeouts).1);
            session.bounds.1 = session.bounds.1.max(first);
        }
    }

    /// The packet on its way to its next hop, if it is not too long for that.
    pub(super) fn send(
        &self,
        frame: &Frame,
        header: &Header,
        router: &Router,
        (leg, next_hop): (usize, Ipv4Addr),
        packet: Vec<u8>,
    ) -> Expected {
        let leg = &router.interfaces[leg];
        let mtu = self.world.segments[leg.segment].mtu;
        if packet.len() > usize::from(mtu) {
            return if header.dont_fragment {
                self.refuse(frame, header, (3, 4, mtu))
            } else {
                Expected::Nothing
            };
        }
        Expected::Packet(Frame {
            segment: leg.segment,
            to: mac_of(leg.segment, next_hop),
            from: leg.mac,
            packet,
        })
    }

    /// An error to the source, where one may be sent (RFC 1122 section 3.2.2).
    fn refuse(&self, frame: &Frame, header: &Header, (kind, code, mtu): Kind) -> Expected {
        if header.offset > 0 || (header.protocol == ICMP && matches!(header.icmp, 3 | 4 | 5 | 11 | 12)) {
            return Expected::Nothing;
        }
        let Some((router, leg)) = self.world.leg_with(frame.segment, frame.to) else {
            return Expected::Nothing;
        };
        let from = self.world.routers[router].interfaces[leg].address.0;
        Expected::Error(Error { kind, code, mtu, from, to: header.source.0 })
    }
}

fn inward(router: &Router, address: Ipv4Addr) -> Option<(usize, Ipv4Addr)> {
    router.route(address).filter(|(leg, _)| !router.interfaces[*leg].external)
}

fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

fn is_translatable(header: &Header) -> bool {
    let is_known = matches!(header.protocol, TCP | UDP) || (header.protocol == ICMP && header.is_query());
    is_known && header.is_whole()
}

/// Whether what came out tells that there was no endpoint left.
fn is_refusal(seen: Option<&Frame>) -> bool {
    seen.is_some_and(|seen| seen.packet[9] == ICMP && seen.packet[20..22] == [3, 1])
}

/// The answer to an echo request to us.
fn echo_reply(frame: &Frame, header: &Header) -> Expected {
    let mut packet = frame.packet[..header.total].to_vec();
    if sum(&packet[header.length..], 0) != 0xffff {
        return Expected::Nothing;
    }
    packet[8] = 64;
    packet[12..16].copy_from_slice(&header.destination.0.octets());
    packet[16..20].copy_from_slice(&header.source.0.octets());
    packet[20..header.length].fill(0);
    packet[header.length] = 0;
    fix_icmp(&mut packet[header.length..]);
    fix_header(&mut packet);
    Expected::Packet(Frame { segment: frame.segment, to: frame.from, from: frame.to, packet })
}
