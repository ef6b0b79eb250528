//! No frame overtakes another of its flow, whichever workers the two pass through and however long they are on their way.
//!
//! Frames carry their flow's number and their place in it. Workers turn in a seed's order, half turns at a time; what goes from
//! one to another takes its time, and so do neighbours' answers. Each flow comes in at one worker: to keep an order
//! between queues is nobody's to do.

use std::collections::HashMap;
use std::sync::Arc;

use nat::DropReason;
use packet::tcp::{ACK, PSH, RST, SYN};
use rules::RuleSet;

use crate::world::scene::*;
use crate::world::{Endpoint, Entrance, Host, Packet, Random, Setup, TeamSetup, World};

/// Frames of one flow follow each other closely: what keeps their order is at work.
const FRAMES_PER_FLOW: u32 = 6;

/// What tells the frames apart when they come out: flow and place.
fn payload(flow: u32, place: u32) -> [u8; 8] {
    let mut payload = [0; 8];
    payload[..4].copy_from_slice(&flow.to_be_bytes());
    payload[4..].copy_from_slice(&place.to_be_bytes());
    payload
}

fn read(packet: &Packet) -> (u32, u32) {
    let payload = &packet.transport()[8..];
    let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
    (word(0), word(4))
}

struct Play {
    world: World,
    random: Random,
    answers: Vec<Packet>,
    /// Frames yet to be sent, by flow: who says them to whom.
    flows: Vec<(u32, Host, u16, Endpoint, u32)>,
    begun: u32,
    last: HashMap<u32, u32>,
    heard: u32,
    /// Who says a flow, from which port.
    speakers: HashMap<u32, (Host, u16)>,
    /// External endpoints that were seen lately, and whose they are.
    mappings: Vec<(Endpoint, (Host, u16))>,
    /// Rules that some workers have not adopted yet, and those that they run.
    changing: Option<(Arc<RuleSet>, Vec<usize>)>,
    changes: usize,
}

impl Play {
    fn new(seed: u64, workers: usize) -> Self {
        let setup = Setup::of_workers(workers);
        let team = TeamSetup { entrance: Entrance::ByFlow, delay_max: 12, seed, ..setup.team };
        let setup = Setup { sessions_max: 32_768, shards: 16, team, ..setup };
        let mut world = scene_on(setup, &[("pool: blue}", "pool: red}")]);
        (100..120).for_each(|number| {
            world.add(red(number));
            world.add(blue(number));
        });
        Self {
            world,
            random: Random::new(seed),
            answers: Vec::new(),
            flows: Vec::new(),
            begun: 0,
            last: HashMap::new(),
            heard: 0,
            speakers: HashMap::new(),
            mappings: Vec::new(),
            changing: None,
            changes: 0,
        }
    }

    /// One worker adopts what others run already; or new rules are there to adopt, by which sessions of red's end.
    fn change_rules(&mut self) {
        let Some((before, workers)) = &mut self.changing else {
            if self.random.below(40) == 0 {
                self.changes += 1;
                let pool = ["[203.0.113.10]", "[203.0.113.11]"][self.changes % 2];
                let moved = format!("addresses: {pool}");
                let changes = [("addresses: [203.0.113.10]", moved.as_str()), ("pool: blue}", "pool: red}")];
                let before = self.world.publish(&rules_with(&changes));
                self.changing = Some((before, self.world.team.all()));
            }
            return;
        };
        if let Some(worker) = workers.pop() {
            self.world.adopt_at(worker, before);
        } else {
            self.changing = None;
        }
    }

    /// A flow of any of the ways there are through the gateway.
    fn begin(&mut self) {
        self.begun += 1;
        let mut port = (self.begun % 60_000) as u16 + 1;
        let number = 100 + self.random.below(20) as u8;
        let host = if self.random.below(2) == 0 { red(number) } else { blue(number) };
        let (from, to) = match self.random.below(8) {
            0 | 1 => (host, (SERVER.address, 53)),
            2 => (host, (WEB, 80)),
            3 => (SERVER, (WEB, port)),
            4 => (RED_MAIL, (BLUE_WEB_FLOATING, port)),
            5 => (red(number), (RED_DB.address, port)),
            _ if self.mappings.is_empty() => (host, (OFFICE.address, 1)),
            6 => (SERVER, self.random.one_of(&self.mappings).0),
            // Hosts of ours that meet under their mappings: the first frames are filtered, the later ones let in.
            _ => {
                let (_, speaker) = self.random.one_of(&self.mappings);
                port = speaker.1;
                (speaker.0, self.random.one_of(&self.mappings).0)
            }
        };
        self.speakers.insert(self.begun, (from, port));
        self.flows.push((self.begun, from, port, to, 0));
    }

    fn step(&mut self) {
        match self.random.below(16) {
            0..5 if self.flows.len() < 12 => self.begin(),
            0..9 => self.say(),
            9..15 => {
                let worker = self.world.team.next();
                if self.random.below(2) == 0 {
                    self.world.team.take(worker, self.world.now);
                } else {
                    self.world.send_out(worker, &mut self.answers);
                    self.listen();
                }
            }
            _ => self.answer(),
        }
    }

    fn say(&mut self) {
        if self.flows.is_empty() {
            return;
        }
        let at = self.random.below(self.flows.len());
        let (flow, from, port, to, place) = &mut self.flows[at];
        *place += 1;
        self.world.enter(from.udp(*port, *to, &payload(*flow, *place)));
        if *place == FRAMES_PER_FLOW {
            self.flows.swap_remove(at);
        }
    }

    /// A neighbour's answer arrives, late; now and then some time passes, or so much that neighbours are forgotten.
    fn answer(&mut self) {
        if !self.answers.is_empty() {
            let at = self.random.below(self.answers.len());
            let answer = self.answers.swap_remove(at);
            self.world.enter(answer);
        }
        match self.random.below(400) {
            0 => self.pass(31_500),
            1..20 => self.pass(100),
            _ => self.change_rules(),
        }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.world.now + ms;
        while self.world.now < end {
            self.world.tick(500, &mut self.answers);
            self.listen();
        }
    }

    fn listen(&mut self) {
        for packet in self.world.heard() {
            if packet.quoted().is_some() {
                continue;
            }
            let (flow, place) = read(&packet);
            let last = self.last.entry(flow).or_default();
            assert!(*last < place, "frame {place} of flow {flow} came behind frame {last}: {packet:?}");
            *last = place;
            self.heard += 1;
            if packet.wire == INTERNET && packet.source().0.octets()[3] < 12 {
                self.mappings.truncate(19);
                self.mappings.insert(0, (packet.source(), self.speakers[&flow]));
            }
        }
    }
}

#[test]
fn no_frame_overtakes_another_of_its_flow() {
    for (seed, workers) in [(1, 2), (2, 4), (3, 3), (4, 4)] {
        println!("seed {seed}, {workers} workers");
        let mut play = Play::new(seed, workers);
        while play.begun < 6_000 {
            play.step();
        }
        while play.changing.is_some() {
            play.change_rules();
        }
        play.pass(10_000);
        play.world.settled();
        let count = |counter: fn(&nat::Counters) -> &nat::Counter| play.world.count(counter);
        assert!(play.heard > play.begun, "{} frames came out", play.heard);
        assert!(count(|counters| &counters.handed_in) > 5_000);
        assert!(count(|counters| &counters.translated_for_others) > 1_000);
        assert!(count(|counters| &counters.hairpins_across_shards) > 100);
        // Workers that run different rules may hold a session to be ended, and to stand, and hand its frames to and fro; and
        // what waits for a silent neighbour keeps a cell open for seconds, in which others share its way.
        let astray = play.world.dropped(DropReason::HandOffAstray);
        assert!(astray < play.world.books().received / 200, "{astray} astray");
        assert_eq!(play.world.dropped(DropReason::HandOffRingFull), 0);
        // Nothing is open any more: what is established is handed on no more.
        play.world.one(RED_A.udp(1, (SERVER.address, 1), b"1"));
        let before = play.world.books().handed_out;
        (0..10).for_each(|_| _ = play.world.one(RED_A.udp(1, (SERVER.address, 1), b"2")));
        assert_eq!(play.world.books().handed_out, before);
    }
}

/// The segment that ends a connection needs its session's owner, the one before it a neighbour: it waits behind it all the same.
#[test]
fn what_another_worker_could_send_waits_behind_what_waits() {
    for worker in 0..3 {
        for number in 100..116 {
            let setup = Setup::of_workers(3);
            let team = TeamSetup { entrance: Entrance::At(worker), ..setup.team };
            let mut world = scene_on(Setup { team, ..setup }, &[]);
            let host = red(number);
            world.add(host);
            world.one(host.tcp(4_000, (SERVER.address, 443), SYN));
            world.silence(ISP);
            world.pass(34_000);
            let frames = [ACK, PSH | ACK, RST].map(|flags| host.tcp(4_000, (SERVER.address, 443), flags));
            // The session has ended meanwhile where its handshake did not: it is opened again first.
            let _ = world.send(host.tcp(4_000, (SERVER.address, 443), SYN));
            for frame in frames {
                assert_eq!(world.send(frame), []);
            }
            world.unsilence(ISP);
            let heard: Vec<_> = world.pass(1_100).iter().map(|packet| packet.parsed().tcp_flags).collect();
            assert_eq!(heard, [SYN, ACK, PSH | ACK, RST], "host {number} at worker {worker}");
        }
    }
}
