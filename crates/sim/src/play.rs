//! Random operations, few endpoints and fewer ports, so that everything happens often: collisions, exhaustion, hairpins,
//! late answers. What comes out is compared with the oracle's, packet by packet.

use std::fmt;
use std::net::Ipv4Addr;

use crate::craft::{self, ICMP, TCP, UDP};
use crate::oracle::{Endpoint, Frame, Header, Oracle, mac_of, read};
use crate::random::Random;
use crate::scene::{self, INTERNET, ISP, public};
use crate::show;
use crate::team::Team;

/// The clock starts a minute before its 32 bits of milliseconds wrap.
const START_MS: u64 = u32::MAX as u64 - 60_000;

/// Packets that are remembered, to be answered, repeated or complained about.
const REMEMBERED: usize = 48;

/// How often the books are looked at.
const STEPS_PER_CHECK: u64 = 64;

/// One play of a seed.
pub struct Play {
    random: Random,
    team: Team,
    oracle: Oracle,
    seed: u64,
    step: u64,
    delivered: Vec<Frame>,
    trace_hash: u64,
    /// A disagreement is to be told with all that both remember.
    pub explains: bool,
    /// Every packet is to be shown.
    pub traces: bool,
    /// What has been done.
    pub report: Report,
}

/// What a play has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Operations.
    pub operations: u64,
    /// Packets that were sent in.
    pub packets: u64,
    /// Verdicts: dropped, sent on, answered by an error.
    pub judged: [u64; 3],
}

impl Report {
    /// The sum of two.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.packets += other.packets;
        for (sum, other) in self.judged.iter_mut().zip(other.judged) {
            *sum += other;
        }
    }
}

/// Where gateways and oracle disagreed.
#[derive(Debug)]
pub struct Disagreement(String);

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Play {
    /// A play that has not begun.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = scene::world();
        let team = Team::new(&world, 1 + random.below(3), seed, START_MS);
        let (oracle, delivered) = (Oracle::new(world), Vec::new());
        Self {
            random,
            team,
            oracle,
            seed,
            step: 0,
            delivered,
            trace_hash: 0xcbf2_9ce4_8422_2325,
            explains: false,
            traces: false,
            report: Report::default(),
        }
    }

    /// One operation.
    ///
    /// # Errors
    /// Where gateways and oracle disagree about it.
    pub fn step(&mut self) -> Result<(), Disagreement> {
        self.step += 1;
        self.report.operations += 1;
        let ms = 1 + self.random.below(40) as u64;
        self.pass(ms)?;
        match self.random.below(10_000) {
            0..3_400 => self.ask(),
            3_400..6_200 => self.answer(),
            6_200..7_000 => self.hairpin(),
            7_000..7_800 => self.complain(),
            7_800..8_300 => self.intrude(),
            8_300..8_700 => self.forge(),
            8_700..9_000 => self.repeat(),
            9_000..9_400 => self.fragment(),
            9_400..9_600 => self.corrupt(),
            9_600..9_700 => self.stray(),
            9_700..9_965 => self.leap(500, 12_000),
            9_965..9_985 => self.leap(10_000, 200_000),
            9_985..9_987 => self.leap(1_000_000, 8_000_000),
            9_987..9_996 => self.change_rules(),
            9_996..9_999 => self.restart(),
            _ => self.crash(),
        }?;
        if self.step.is_multiple_of(STEPS_PER_CHECK) {
            self.check()?;
        }
        Ok(())
    }

    /// A host sends something to somebody.
    fn ask(&mut self) -> Result<(), Disagreement> {
        let remote = match self.random.below(20) {
            0 => Ipv4Addr::new(192, 0, 2, 9),
            1 => Ipv4Addr::new(10, 0, self.random.below(2) as u8, 11 + self.random.below(4) as u8),
            2 => Ipv4Addr::new(10, 20, 0, 5),
            3 => Ipv4Addr::new(10, 0, 0, 1),
            _ => Ipv4Addr::new(198, 51, 100, 1 + self.random.below(3) as u8),
        };
        let port = 80 + self.random.below(2) as u16;
        self.send_from_host((remote, port))
    }

    /// A host sends something to an external address of ours.
    fn hairpin(&mut self) -> Result<(), Disagreement> {
        let to = match self.random.below(3) {
            0 => (public(self.random.one_of(&[50, 51, 60, 70])), 80),
            1 => self.some_endpoint(),
            _ => (public(10 + self.random.below(5) as u8), 2_000 + self.random.below(14) as u16),
        };
        self.send_from_host(to)
    }

    /// The source of a packet that was seen outside.
    fn some_endpoint(&mut self) -> Endpoint {
        let frame = self.some_frame().filter(|frame| frame.segment == INTERNET);
        let header = frame.and_then(|frame| read(&frame.packet));
        header.map_or((public(10), 2_000), |header| header.source)
    }

    fn send_from_host(&mut self, to: Endpoint) -> Result<(), Disagreement> {
        let (segment, address, via) = self.some_host();
        let from = (address, 4_000 + self.random.below(4) as u16);
        let packet = match self.random.below(12) {
            0..5 => self.datagram(from, to),
            5..9 => {
                let flags = self.random.one_of(&[2, 2, 2, 2, 0x10, 0x18, 0x11, 4, 0x12]);
                self.segment(from, to, flags, None)
            }
            9..11 => {
                let kind = self.random.one_of(&[8, 8, 8, 13]);
                self.ping(from, to, kind)
            }
            // An authentication header: the oracle does not know yet how other protocols go through SNAT.
            _ => craft::ipv4(51, from, to, &[7; 24]),
        };
        let packet = self.vary(packet);
        self.send(Frame { segment, to: via, from: mac_of(segment, address), packet })
    }

    /// A host: its network, its address, and the MAC of its router there.
    fn some_host(&mut self) -> (usize, Ipv4Addr, [u8; 6]) {
        let segment = self.random.below(INTERNET);
        let subnet = u8::from(segment == 1);
        let last = self.random.one_of(&[11, 11, 12, 12, 13, 50, 51]);
        let legs = self.oracle.world.routers.iter().flat_map(|router| &router.interfaces);
        let mac = legs.clone().find(|leg| leg.segment == segment).map_or([2; 6], |leg| leg.mac);
        (segment, Ipv4Addr::new(10, 0, subnet, last), mac)
    }

    fn datagram(&mut self, from: Endpoint, to: Endpoint) -> Vec<u8> {
        let payload = self.payload();
        craft::udp(from, to, &payload, !self.random.one_in(8))
    }

    fn segment(&mut self, from: Endpoint, to: Endpoint, flags: u8, numbers: Option<[u32; 2]>) -> Vec<u8> {
        let numbers =
            numbers.unwrap_or_else(|| [self.random.below(1 << 30) as u32, self.random.below(1 << 30) as u32]);
        let payload = if flags & 8 == 0 { Vec::new() } else { self.payload() };
        craft::tcp(from, to, flags, numbers, &payload)
    }

    fn ping(&mut self, from: Endpoint, to: Endpoint, kind: u8) -> Vec<u8> {
        let [high, low] = from.1.max(1).to_be_bytes();
        let payload = self.payload();
        craft::icmp(from, to, kind, 0, [high, low, 0, 7], &payload)
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.random.below(30) {
            0 => 1_340 + self.random.below(140),
            _ => self.random.below(40),
        };
        (0..length).map(|_| self.random.below(256) as u8).collect()
    }

    /// TTL, DF, options and the like.
    fn vary(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.random.one_in(40) {
            packet[8] = self.random.below(4) as u8;
        }
        if self.random.one_in(2) {
            packet[6] |= 0x40;
        }
        packet[1] = self.random.below(256) as u8;
        packet[4..6].copy_from_slice(&(self.random.below(65_536) as u16).to_be_bytes());
        if self.random.one_in(40) {
            packet.splice(20..20, [1, 7, 7, 4, 0, 0, 0, 0]);
            packet[0] = 0x47;
        }
        craft::finish(packet)
    }

    fn some_frame(&mut self) -> Option<Frame> {
        if self.delivered.is_empty() {
            return None;
        }
        Some(self.delivered[self.random.below(self.delivered.len())].clone())
    }

    /// Whoever got a packet says something back.
    fn answer(&mut self) -> Result<(), Disagreement> {
        let Some((frame, header)) =
            self.some_frame().and_then(|frame| Some((frame.clone(), read(&frame.packet)?)))
        else {
            return Ok(());
        };
        let (from, mut to) = (header.destination, header.source);
        let mut from = from;
        if self.random.one_in(16) {
            from.1 ^= 1;
        }
        if self.random.one_in(32) {
            to.1 ^= 1;
        }
        let packet = match header.protocol {
            UDP => self.datagram(from, to),
            TCP if header.is_whole_segment() => {
                let [_, acknowledged, behind] = craft::sequences(&frame.packet, &header);
                let flags = match header.flags & 0x17 {
                    2 => self.random.one_of(&[0x12, 0x12, 0x12, 0x12, 0x14, 2]),
                    _ => self.random.one_of(&[0x10, 0x10, 0x18, 0x18, 0x18, 0x11, 4, 0x14]),
                };
                self.segment(from, to, flags, Some([acknowledged, behind]))
            }
            ICMP if matches!(header.icmp, 8 | 13) => {
                let message = &frame.packet[header.length..];
                let word = message[4..8].try_into().unwrap_or([0; 4]);
                craft::icmp(from, to, [0, 14][usize::from(header.icmp == 13)], 0, word, &message[8..])
            }
            ICMP => return Ok(()),
            protocol => craft::ipv4(protocol, from, to, &[9; 30]),
        };
        let packet = self.vary(packet);
        self.send(back(&frame, packet))
    }

    /// Somebody on the way, or whoever got a packet, complains about it.
    fn complain(&mut self) -> Result<(), Disagreement> {
        let Some((frame, header)) =
            self.some_frame().and_then(|frame| Some((frame.clone(), read(&frame.packet)?)))
        else {
            return Ok(());
        };
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
        if self.random.one_in(20) {
            quote.extend([0x20, 0, 1, 2, 3, 4, 5, 6]);
        }
        let from = match self.random.below(4) {
            0 if frame.segment == INTERNET => (Ipv4Addr::new(100, 100, 0, 7), 0),
            1 if frame.segment != INTERNET => (Ipv4Addr::new(10, 0, 0, 254), 0),
            _ => header.destination,
        };
        let mtu = if code == 4 { [0, 0, 5, 0] } else { [0; 4] };
        let packet = craft::icmp(from, header.source, kind, code, mtu, &quote);
        let packet = self.vary(packet);
        self.send(back(&frame, packet))
    }

    /// Somebody outside sends what nobody asked for.
    fn intrude(&mut self) -> Result<(), Disagreement> {
        let last = self.random.one_of(&[10, 10, 11, 12, 13, 50, 51, 60, 70, 2, 3, 99]);
        let to = (public(last), 2_000 + self.random.below(14) as u16);
        let from =
            (Ipv4Addr::new(198, 51, 100, 1 + self.random.below(3) as u8), 80 + self.random.below(2) as u16);
        let packet = match self.random.below(4) {
            0 => {
                let flags = self.random.one_of(&[2, 0x12, 0x10, 4]);
                self.segment(from, to, flags, None)
            }
            1 => {
                let from = (from.0, to.1);
                let kind = self.random.one_of(&[0, 8, 13]);
                self.ping(from, to, kind)
            }
            _ => self.datagram(from, to),
        };
        self.send_from_outside(packet)
    }

    fn send_from_outside(&mut self, packet: Vec<u8>) -> Result<(), Disagreement> {
        let packet = self.vary(packet);
        let router = &self.oracle.world.routers[self.random.below(3)];
        let to = router.interfaces.iter().find(|leg| leg.external).map_or([2; 6], |leg| leg.mac);
        self.send(Frame { segment: INTERNET, to, from: mac_of(INTERNET, ISP), packet })
    }

    /// Somebody outside who knows a connection's endpoints forges a reset, an end, or a beginning.
    fn forge(&mut self) -> Result<(), Disagreement> {
        let Some((frame, header)) =
            self.some_frame().and_then(|frame| Some((frame.clone(), read(&frame.packet)?)))
        else {
            return Ok(());
        };
        if header.protocol != TCP || frame.segment != INTERNET {
            return self.intrude();
        }
        let flags = self.random.one_of(&[4, 4, 0x14, 0x11, 2]);
        let packet = self.segment(header.destination, header.source, flags, None);
        self.send(back(&frame, packet))
    }

    /// A packet comes once more, or once more and late.
    fn repeat(&mut self) -> Result<(), Disagreement> {
        let Some(frame) = self.some_frame() else { return Ok(()) };
        // As its receiver's answer that was lost and is sent again, with its own addresses.
        let packet = frame.packet.clone();
        self.send(back(&frame, packet))
    }

    /// The last piece of something larger, whose first never comes: the oracle does not know yet what would follow it.
    fn fragment(&mut self) -> Result<(), Disagreement> {
        let whole = match self.random.below(3) {
            0 => {
                let (_, address, _) = self.some_host();
                self.datagram((address, 4_000), (Ipv4Addr::new(198, 51, 100, 1), 80))
            }
            1 => {
                let to = (public(self.random.one_of(&[50, 51, 60, 10])), 2_003);
                self.datagram((Ipv4Addr::new(198, 51, 100, 1), 80), to)
            }
            _ => self.some_frame().map_or_else(Vec::new, |frame| frame.packet),
        };
        let Some(header) = read(&whole) else { return Ok(()) };
        let mut packet = whole;
        packet.truncate(500);
        packet[6] = 0;
        let (offset, more) = self.random.one_of(&[(1, 0), (2, 0), (185, 0), (8_190, 0)]);
        let word: u16 = (more << 8) | offset;
        packet[6..8].copy_from_slice(&word.to_be_bytes());
        let packet = craft::finish(packet);
        if header.source.0.octets()[0] == 10 {
            let (segment, _, to) = self.some_host();
            return self.send(Frame { segment, to, from: mac_of(segment, header.source.0), packet });
        }
        let to = self.oracle.world.routers[0]
            .interfaces
            .iter()
            .find(|leg| leg.external)
            .map_or([2; 6], |leg| leg.mac);
        self.send(Frame { segment: INTERNET, to, from: mac_of(INTERNET, ISP), packet })
    }

    /// A packet is damaged on its way.
    fn corrupt(&mut self) -> Result<(), Disagreement> {
        let Some(frame) = self.some_frame() else { return Ok(()) };
        let Some(header) = read(&frame.packet) else { return Ok(()) };
        let mut packet = match header.protocol {
            UDP => self.datagram(header.destination, header.source),
            TCP => self.segment(header.destination, header.source, 0x18, None),
            _ => self.ping(header.destination, header.source, 0),
        };
        for _ in 0..1 + self.random.below(3) {
            let at = self.random.below(packet.len());
            packet[at] ^= 1 << self.random.below(8);
            // Into a protocol of which the oracle does not know yet how it goes through SNAT.
            if at == 9 && ![1, 6, 17, 51].contains(&packet[at]) {
                packet[at] = 51;
            }
        }
        if self.random.one_in(6) {
            packet.truncate(self.random.below(packet.len()).max(20));
        }
        // Nothing that others are to follow: the oracle does not know how fragments go through SNAT.
        packet[6] &= !0x20;
        // Mostly with the header's checksum made right, or nothing gets past it.
        let packet = if self.random.one_in(3) { packet } else { craft::fix(packet) };
        self.send(back(&frame, packet))
    }

    /// A packet with a source that cannot be, or to where nothing goes.
    fn stray(&mut self) -> Result<(), Disagreement> {
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
        self.send(Frame { segment, to, from: mac_of(segment, address), packet })
    }

    fn leap(&mut self, from_ms: usize, to_ms: usize) -> Result<(), Disagreement> {
        let ms = from_ms + self.random.below(to_ms - from_ms);
        self.pass(ms as u64)?;
        for _ in 0..6 {
            self.pass(250)?;
        }
        Ok(())
    }

    fn change_rules(&mut self) -> Result<(), Disagreement> {
        let world = scene::variant(&mut self.random);
        if self.traces {
            println!("{} at {} ms: {}", self.step, self.team.now_ms, scene::rules(&world));
        }
        self.team.adopt(&world);
        self.oracle.change(world);
        self.pass(50)
    }

    fn restart(&mut self) -> Result<(), Disagreement> {
        self.team.restart(1 + self.random.below(3));
        Ok(())
    }

    fn crash(&mut self) -> Result<(), Disagreement> {
        if self.traces {
            println!("{} at {} ms: the process is killed", self.step, self.team.now_ms);
        }
        // Three in a minute would start empty.
        self.leap(61_000, 90_000)?;
        let workers = 1 + self.random.below(3);
        self.team.crash(&self.oracle.world, workers);
        Ok(())
    }

    fn pass(&mut self, ms: u64) -> Result<(), Disagreement> {
        if ms > 500 {
            self.oracle.stall(self.team.now_ms, self.team.now_ms + ms);
        }
        match self.team.pass(&self.oracle.world, ms).first() {
            None => Ok(()),
            Some(frame) => Err(self.disagreement("nobody sent anything", None, std::slice::from_ref(frame))),
        }
    }

    fn send(&mut self, frame: Frame) -> Result<(), Disagreement> {
        self.report.packets += 1;
        let drops = self.explains.then(|| self.team.drops());
        let out = self.team.send(&self.oracle.world, &frame);
        if self.traces {
            println!("{} at {} ms: in {}", self.step, self.team.now_ms, show::line(&frame));
            out.iter().for_each(|out| println!("    out {}", show::line(out)));
        }
        if let Err(why) = self.oracle.judge(self.team.now_ms, &frame, &out) {
            let why = match drops {
                Some(drops) => format!("{why}, {}", self.explanation(&drops)),
                None => why,
            };
            return Err(self.disagreement(&why, Some(&frame), &out));
        }
        self.report.judged = self.oracle.judged;
        for one in out {
            for byte in &one.packet {
                self.trace_hash = (self.trace_hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
            if self.delivered.len() < REMEMBERED {
                self.delivered.push(one);
            } else {
                let at = self.random.below(REMEMBERED);
                self.delivered[at] = one;
            }
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Disagreement> {
        let books = self.team.books();
        if books.balance() != 0 || books.in_rings() != 0 {
            return Err(self.disagreement(&format!("the books do not close: {books:?}"), None, &[]));
        }
        Ok(())
    }

    /// What both remember.
    pub fn memory(&self) -> String {
        self.explanation(&self.team.drops())
    }

    /// What both remember, and why packets were dropped since.
    fn explanation(&self, before: &[(&'static str, u64)]) -> String {
        let sessions: Vec<_> = self.team.sessions().iter().map(|session| format!("{session:?}")).collect();
        let after = self.team.drops();
        let moved: Vec<_> = after.iter().zip(before).filter(|(after, before)| after != before).collect();
        let moved: Vec<_> = moved.into_iter().map(|((name, _), _)| *name).collect();
        format!(
            "the oracle remembers {:#?}\nthe gateways {sessions:#?}\ndropped {moved:?}",
            self.oracle.remembered()
        )
    }

    fn disagreement(&self, why: &str, sent: Option<&Frame>, out: &[Frame]) -> Disagreement {
        let list = |frames: &[Frame]| match frames {
            [] => "nothing".to_owned(),
            frames => frames.iter().map(show::frame).collect::<Vec<_>>().join("\n  and "),
        };
        let sent = sent.map_or("nothing".to_owned(), show::frame);
        Disagreement(format!(
            "seed {} operation {} at {} ms with {} workers: {why}\n  in  {sent}\n  out {}\n  again: scripts/simulate --seeds {}-{} --operations {}\n",
            self.seed,
            self.step,
            self.team.now_ms,
            self.team.workers(),
            list(out),
            self.seed,
            self.seed,
            self.step,
        ))
    }

    /// Of every byte that came out: the same for the same seed.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }
}

impl Header {
    fn is_whole_segment(&self) -> bool {
        !self.more && self.offset == 0
    }
}

/// A packet the other way, over the same link.
fn back(frame: &Frame, packet: Vec<u8>) -> Frame {
    Frame { segment: frame.segment, to: frame.from, from: frame.to, packet }
}
