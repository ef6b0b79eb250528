//! What comes out of a packet that goes on, is refused, or is an echo request to us, against what came.

use super::Oracle;
use super::bytes::{Frame, ICMP, cut, echo_reply, read, sum, u16_at, with_identification, with_segments_of};
use super::judge::{Case, Passage, Stop, Way, wrong};
use super::world::mac_of;

/// How long a fragment may be under way (RFC 6864), in milliseconds.
const LIFETIME_MS: u64 = 30_000;

impl Oracle {
    /// The packet on its way to its next hop.
    pub(super) fn send(&mut self, case: &Case, passage: Passage, out: &mut Vec<&Frame>) -> Way<()> {
        let Passage { mut packet, router, way: (leg, next_hop), sessions } = passage;
        let header = &case.header;
        let world = std::rc::Rc::clone(&self.world);
        let leg = &world.routers[router].interfaces[leg];
        let mtu = world.segments[leg.segment].mtu;
        let is_too_long = packet.len() > usize::from(mtu);
        //= rfc4787#REQ-13
        if is_too_long && header.dont_fragment {
            return Err(Stop::Refuse(3, 4, mtu));
        }
        let clamps = world.routers[router].clamp_mss || world.routers[case.router].clamp_mss;
        if clamps && header.flags & 2 != 0 && header.offset == 0 {
            let smaller = mtu.min(world.segments[case.frame.segment].mtu);
            packet = with_segments_of(packet, header, smaller - 40);
        }
        let mut pieces =
            if is_too_long { cut(&packet, header, mtu).ok_or(Stop::Drop)? } else { vec![packet] };
        //= rfc6864#4.1
        if sessions[0].is_some() && !(header.is_whole() && header.dont_fragment) {
            self.renumber(case, &mut pieces, out)?;
        }
        for (side, flow) in sessions.iter().enumerate() {
            if let Some(flow) = flow {
                self.note(side, flow, header);
            }
        }
        let mut behind = 0;
        for packet in pieces {
            let to = mac_of(leg.segment, next_hop);
            //= rfc4787#REQ-13a
            //= rfc4787#REQ-10
            //= rfc5382#REQ-6
            //= rfc5508#REQ-1
            behind = take(&Frame { segment: leg.segment, to, from: leg.mac, packet }, out, behind)?;
        }
        Ok(())
    }

    /// Gives pieces the identification that they came out with: one that no other datagram has while its fragments may be
    /// under way, and all fragments of one datagram have (RFC 6864).
    fn renumber(&mut self, case: &Case, pieces: &mut [Vec<u8>], out: &[&Frame]) -> Way<()> {
        let came_out =
            |seen: &&&Frame| with_identification(&pieces[0], u16_at(&seen.packet, 4)) == seen.packet;
        let Some(seen) = out.iter().find(came_out) else { return Ok(()) };
        let identification = u16_at(&seen.packet, 4);
        pieces.iter_mut().for_each(|piece| *piece = with_identification(piece, identification));
        let datagram = case.lent.and_then(|lent| self.datagrams.get_mut(&lent.key));
        match datagram.and_then(|datagram| datagram.identification.replace(identification)) {
            Some(known) if known == identification => return Ok(()),
            Some(known) => return wrong(format!("identification {identification}, not {known}")),
            None => {}
        }
        let Some(header) = read(&pieces[0]) else { return Ok(()) };
        let key = (header.source.0, header.destination.0, header.protocol, identification);
        let (before, now_ms) = (self.identifications.insert(key, self.now_ms), self.now_ms);
        if self.identifications.len() > 10_000 {
            self.identifications.retain(|_, seen| now_ms - *seen < LIFETIME_MS);
        }
        //= rfc6864#5.3.1
        //= rfc6864#4.3
        //= rfc7857#11
        match before {
            Some(before) if now_ms - before < LIFETIME_MS => {
                wrong(format!("identification {identification} is another's still"))
            }
            _ => Ok(()),
        }
    }

    /// An error to the source, where one may be sent (RFC 1122 section 3.2.2), is the one that was to come.
    pub(super) fn check_error(
        &self,
        case: &Case,
        (kind, code, mtu): (u8, u8, u16),
        out: &mut Vec<&Frame>,
    ) -> Way<()> {
        let Case { frame, header, .. } = case;
        let leg = &self.world.routers[case.router].interfaces[case.leg];
        //= rfc1812#4.3.2.7
        //= rfc5508#REQ-9
        if header.offset > 0 || header.is_error() || !leg.errors {
            return Err(Stop::Drop);
        }
        let is_right = |seen: &&Frame| {
            let Some(error) = read(&seen.packet).filter(|error| error.protocol == ICMP) else { return false };
            let message = &seen.packet[error.length..];
            (seen.segment, seen.to, seen.from) == (frame.segment, frame.from, frame.to)
                //= rfc1812#4.3.2.4
                && (error.source.0, error.destination.0) == (leg.address.0, header.source.0)
                && message[..2] == [kind, code]
                && message[4..8] == [0, 0, (mtu >> 8) as u8, mtu as u8]
                && (sum(message, 0), error.total) == (0xffff, seen.packet.len())
                //= rfc1812#4.3.2.5
                && (error.ttl >= 32 && seen.packet[1] >> 5 >= 6)
                //= rfc1812#4.3.2.3
                && message[8..] == frame.packet[..header.total.min(548)]
        };
        if out.first().is_some_and(is_right) {
            out.remove(0);
            return Ok(());
        }
        wrong(format!(
            "an ICMP error of type {kind}, code {code}, MTU {mtu} was to come out, not {:x?}",
            out.first()
        ))
    }

    /// The answer to an echo request to us.
    pub(super) fn check_echo(&mut self, case: &Case, out: &mut Vec<&Frame>) -> Way<()> {
        if sum(&case.packet()[case.header.length..], 0) != 0xffff {
            return Err(Stop::Drop);
        }
        let Frame { segment, to, from, .. } = *case.frame;
        let packet = echo_reply(case.packet(), &case.header);
        take(&Frame { segment, to: from, from: to, packet }, out, 0)?;
        Ok(())
    }
}

/// Takes a frame from what came out, behind so many others; where it was.
fn take(expected: &Frame, out: &mut Vec<&Frame>, behind: usize) -> Way<usize> {
    if let Some(at) = out.iter().position(|seen| *seen == expected).filter(|at| *at >= behind) {
        out.remove(at);
        return Ok(at);
    }
    match out.get(behind) {
        None => wrong(format!("nothing came out, and {expected:x?} was to")),
        Some(seen) => wrong(expected.difference(seen)),
    }
}
