//! The way out: a packet that may go on is changed, addressed to its next hop, and sent.

use flowtable::{LineIndex, SlotIndex};
use packet::ethernet::{self, LinkHeader};
use packet::fragment::{self, Cut};
use packet::{
    Fragment, Frame, MacAddress, Moment, PacketIo, Parsed, PortIndex, VlanId, icmp, mss, rewrite, tcp,
};
use rules::compiled::{InterfaceIndex, Realm};

use crate::DropReason;
use crate::gateway::Gateway;
use crate::lane::{Lane, Tickets};
use crate::neighbours::Resolution;
use crate::state::WorkerIndex;
use crate::verdict::{Change, Passage, SessionLine, Verdict};

/// By which port, under which tag and MAC a frame leaves, and what its network takes.
pub(crate) struct Egress {
    pub(crate) port: PortIndex,
    pub(crate) vlan: Option<VlanId>,
    pub(crate) mac: MacAddress,
    /// The network's realm, of its neighbours.
    realm: Realm,
    mtu: u16,
}

impl<F: Frame> Gateway<F> {
    /// Sends a packet on, if it fits and its next hop is known; else it is refused, or held as it came, by the owner of
    /// that neighbour.
    pub(crate) fn forward<I: PacketIo<Frame = F>>(
        &mut self,
        passage: Passage,
        mut lane: Lane<F>,
        now: Moment,
        io: &mut I,
    ) {
        let Passage { change, next_hop, sessions } = passage;
        let egress = self.egress(next_hop.interface);
        let cut = match how_it_fits(&lane.parsed, egress.mtu) {
            Ok(cut) => cut,
            Err(verdict) => return self.carry_out(verdict, lane, now, io),
        };
        let now_ms = now.ms() as u32;
        let shard = self.state.shard_of_host(egress.realm, next_hop.address);
        let resolution = self.neighbours.resolve(shard, egress.realm, next_hop.address, now_ms);
        let (destination, neighbour) = match resolution {
            Resolution::Known(mac, line) => (mac, line),
            Resolution::Asking(slot) => return self.hold(lane, slot),
            Resolution::Ask(slot) => {
                self.ask(next_hop, io);
                return self.hold(lane, slot);
            }
            Resolution::Unreachable(reason) => {
                return self.refuse(reason, icmp::Error::HostUnreachable, lane, io);
            }
            Resolution::Elsewhere => return self.hand_off(lane, self.state.worker_of(shard)),
        };
        if let Err(owner) = self.note(sessions, &lane, now_ms) {
            return self.hand_off(lane, owner);
        }
        // The last one leads to the next hop.
        if let Some(SessionLine { line, .. }) = sessions.into_iter().flatten().next_back() {
            self.state.parts.sessions.value(line).remember_next_hop(neighbour);
        }
        if sessions[0].is_some() {
            self.identify(&mut lane);
        }
        match change {
            Change::Packet(rewrite) => rewrite::apply(lane.frame.bytes_mut(), &lane.parsed, rewrite),
            Change::Error { outer, quote, quoted } => {
                rewrite::apply_to_quote(lane.frame.bytes_mut(), &lane.parsed, &quote, quoted);
                rewrite::apply(lane.frame.bytes_mut(), &lane.parsed, outer);
            }
        }
        self.clamp_mss(&mut lane, next_hop.interface, egress.mtu);
        let link = LinkHeader { destination, source: egress.mac, vlan: egress.vlan };
        match cut {
            None => self.send(egress.port, lane, link, io),
            Some(cut) => self.send_in_pieces(&cut, egress.port, lane, link, io),
        }
    }

    /// Notes a packet in its sessions, now that nothing keeps it from being sent. Done last, and once for each session.
    ///
    /// What makes a session's time shorter, as a first FIN or reset does, is its owner's to note, and so is what the host
    /// inside sends first by a session from outside.
    ///
    /// # Errors
    /// Another owner has to note it, and to send the packet: nothing is counted yet.
    fn note(
        &mut self,
        sessions: [Option<SessionLine>; 2],
        lane: &Lane<F>,
        now_ms: u32,
    ) -> Result<(), WorkerIndex> {
        let parsed = &lane.parsed;
        let mut owner_elsewhere = None;
        for SessionLine { line, router } in sessions.into_iter().flatten() {
            let router = &self.rules.routers[router.0 as usize];
            let news = self.state.news(line, parsed, lane.frame.bytes(), router);
            let is_first_word = self.state.is_first_word(line, parsed);
            let is_owners = is_first_word || news.as_ref().is_some_and(|news| news.brings_the_end_nearer);
            let shard = is_owners.then(|| self.state.shard_of_line(line));
            let owner = shard.and_then(|shard| self.shards.get_mut(shard));
            if let (Some(shard), None) = (shard, &owner) {
                owner_elsewhere = Some(self.state.worker_of(shard));
                continue;
            }
            if let Some(news) = &news {
                self.state.note_news(line, news, now_ms);
            }
            if let Some(owner) = owner {
                if is_first_word {
                    owner.speak(line, now_ms);
                }
                owner.set_deadline(line, &self.rules);
            }
        }
        if let Some(owner) = owner_elsewhere {
            return Err(owner);
        }
        let lines = sessions.map(|session| session.map(|session| session.line));
        lines.into_iter().flatten().for_each(|line| self.state.touch(line, parsed, now_ms));
        self.count_passage(lines);
        Ok(())
    }

    fn count_passage(&self, lines: [Option<LineIndex>; 2]) {
        let [out_by, in_by] = lines.map(|line| line.map(|line| self.state.shard_of_line(line)));
        if [out_by, in_by].into_iter().flatten().any(|shard| !self.shards.has(shard)) {
            self.counters().translated_for_others.add(1);
        }
        if out_by.is_some() && in_by.is_some() && out_by != in_by {
            self.counters().hairpins_across_shards.add(1);
        }
    }

    /// Puts the link header on, and sends.
    pub(crate) fn send<I: PacketIo<Frame = F>>(
        &mut self,
        port: PortIndex,
        mut lane: Lane<F>,
        link: LinkHeader,
        io: &mut I,
    ) {
        let header_length = usize::from(lane.parsed.network_offset);
        match ethernet::replace_header(&mut lane.frame, header_length, link) {
            Ok(()) => {
                io.send(port, lane.frame);
                self.outbox.finish(&lane.tickets);
            }
            Err(_) => self.discard(&lane.tickets, DropReason::NoHeadroom),
        }
    }

    /// How frames leave by an interface.
    pub(crate) fn egress(&self, interface: InterfaceIndex) -> Egress {
        let interface = &self.rules.interfaces[interface.0 as usize];
        let segment = &self.rules.segments[interface.segment.0 as usize];
        Egress {
            port: segment.port,
            vlan: segment.vlan,
            mac: interface.mac,
            realm: segment.realm,
            mtu: segment.mtu,
        }
    }

    /// Gives a packet an identification of ours, where it leaves under an address that others share and its own means
    /// something: an atomic one keeps it (RFC 6864 section 4).
    fn identify(&mut self, lane: &mut Lane<F>) {
        let Parsed { fragment, dont_fragment, destination, protocol, .. } = lane.parsed;
        let identification = match lane.datagram {
            Some(datagram) => datagram.identification,
            None if fragment == Fragment::Whole && dont_fragment => return,
            None => self.identifications.draw(destination, protocol),
        };
        fragment::set_identification(lane.frame.bytes_mut(), &lane.parsed, identification);
    }

    /// Lowers the segment size that a SYN asks for to what both links carry: those who answer it send through both.
    fn clamp_mss(&self, lane: &mut Lane<F>, egress: InterfaceIndex, egress_mtu: u16) {
        if lane.parsed.tcp_flags & tcp::SYN == 0 {
            return;
        }
        let wants = |interface: InterfaceIndex| {
            let router = self.rules.interfaces[interface.0 as usize].router;
            self.rules.routers[router.0 as usize].tcp.clamp_mss
        };
        if wants(egress) || lane.entry.interface.is_some_and(wants) {
            let ingress_mtu = self.rules.segments[lane.entry.segment.0 as usize].mtu;
            let mss_max = ingress_mtu.min(egress_mtu).saturating_sub(mss::HEADERS_LENGTH);
            mss::clamp(lane.frame.bytes_mut(), &lane.parsed, mss_max);
        }
    }

    /// Keeps a frame until its neighbour answers.
    pub(crate) fn hold(&mut self, lane: Lane<F>, slot: SlotIndex) {
        let hash = self.outbox.hash(&lane.order);
        match self.waiting.hold(lane.into_handed(), hash, slot) {
            Ok(()) => self.counters().held.add(1),
            Err(handed) => self.discard(&handed.tickets, DropReason::NeighbourQueueFull),
        }
    }

    /// Gives a frame to another gateway, as it was received.
    pub(crate) fn hand_off(&mut self, lane: Lane<F>, owner: WorkerIndex) {
        if let Err((reason, tickets)) = self.outbox.hand_on(lane, owner) {
            self.discard(&tickets, reason);
        }
    }

    /// Drops a frame.
    pub(crate) fn discard(&mut self, tickets: &Tickets, reason: DropReason) {
        self.counters().count_drop(reason);
        self.outbox.finish(tickets);
    }
}

/// How a packet is cut for a link; `None` where it fits as it is.
///
/// # Errors
/// It does not fit and is not cut: what becomes of it.
//= rfc4787#REQ-13
fn how_it_fits(parsed: &Parsed, mtu: u16) -> Result<Option<Cut>, Verdict> {
    if parsed.total_length <= mtu {
        return Ok(None);
    }
    if parsed.dont_fragment {
        return Err(Verdict::Refuse(DropReason::MtuExceeded, icmp::Error::FragmentationNeeded { mtu }));
    }
    Cut::plan(parsed, mtu).map(Some).ok_or(Verdict::Drop(DropReason::MtuExceeded))
}
