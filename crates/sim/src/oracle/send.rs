//! What comes out of a packet that goes on, is refused, or is an echo request to us, against what came.

use super::Oracle;
use super::bytes::{
    Frame, Header, cut, fix_header, fix_icmp, read, sum, u16_at, with_identification, with_segments_of,
};
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
        &mut self,
        case: &Case,
        (kind, code, mtu): (u8, u8, u16),
        out: &mut Vec<&Frame>,
    ) -> Result<(), String> {
        let leg = &self.world.routers[case.router].interfaces[case.leg];
        //= rfc1812#4.3.2.7
        //= rfc5508#REQ-9
        if case.header.offset > 0 || case.header.is_error() || !leg.errors {
            self.judged[0] += 1;
            return Ok(());
        }
        let expected = format!("an ICMP error of type {kind}, code {code}, MTU {mtu}");
        let wrong = |what: &str| Err(format!("{what}: {expected} was to come out"));
        let Some(seen) = (!out.is_empty()).then(|| out.remove(0)) else { return wrong("nothing") };
        let Some(Header { length, total, ttl, protocol: 1, source, destination, .. }) = read(&seen.packet)
        else {
            return wrong("no ICMP");
        };
        let message = &seen.packet[length..];
        let frame = case.frame;
        let is_right = (seen.segment, seen.to, seen.from) == (frame.segment, frame.from, frame.to)
            //= rfc1812#4.3.2.4
            && (source.0, destination.0) == (leg.address.0, case.header.source.0)
            && message[..2] == [kind, code]
            && message[4..8] == [0, 0, (mtu >> 8) as u8, mtu as u8]
            && (sum(message, 0), total) == (0xffff, seen.packet.len())
            //= rfc1812#4.3.2.5
            && (ttl >= 32 && seen.packet[1] >> 5 >= 6)
            //= rfc1812#4.3.2.3
            && message[8..] == frame.packet[..case.header.total.min(548)];
        if !is_right {
            return wrong("another error");
        }
        self.judged[2] += 1;
        Ok(())
    }

    /// The answer to an echo request to us.
    pub(super) fn check_echo(&mut self, case: &Case, out: &mut Vec<&Frame>) -> Result<(), String> {
        let Frame { segment, to, from, ref packet } = *case.frame;
        let mut packet = packet[..case.header.total].to_vec();
        let length = case.header.length;
        if sum(&packet[length..], 0) != 0xffff {
            self.judged[0] += 1;
            return Ok(());
        }
        packet[8] = 64;
        packet[12..16].copy_from_slice(&case.header.destination.0.octets());
        packet[16..20].copy_from_slice(&case.header.source.0.octets());
        packet[20..length].fill(0);
        packet[length] = 0;
        fix_icmp(&mut packet[length..]);
        fix_header(&mut packet);
        self.judged[2] += 1;
        match take(&Frame { segment, to: from, from: to, packet }, out, 0) {
            Err(Stop::Wrong(why)) => Err(why),
            _ => Ok(()),
        }
    }
}

/// Takes a frame from what came out, behind so many others; where it was.
fn take(expected: &Frame, out: &mut Vec<&Frame>, behind: usize) -> Way<usize> {
    if let Some(at) = out.iter().position(|seen| *seen == expected).filter(|at| *at >= behind) {
        out.remove(at);
        return Ok(at);
    }
    let Some(seen) = out.get(behind) else {
        return wrong(format!("nothing came out, and {expected:x?} was to"));
    };
    let bytes = expected.packet.iter().zip(&seen.packet).enumerate();
    let bytes = bytes.filter(|(_, (one, other))| one != other);
    let bytes: Vec<_> = bytes.map(|(at, (one, other))| format!("{at}: {one:02x}, not {other:02x}")).collect();
    let link = |frame: &Frame| (frame.segment, frame.to, frame.from, frame.packet.len());
    wrong(format!("{:x?} was to come, not {:x?}; bytes {bytes:?}", link(expected), link(seen)))
}
