//! Random traffic under random rules: nothing is delivered to the wrong host, no endpoint has two owners, and in the
//! end everything has been given back.
//!
//! The model is what an observer outside can know: who last spoke from an external endpoint, and to whom. It keeps no
//! timers and no ports of its own, so it cannot be wrong in the way the brain can.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;

use packet::Protocol;
use packet::tcp::{ACK, FIN, PSH, RST, SYN};

use crate::exchange::EXCHANGES;
use crate::world::scene::*;
use crate::world::{Endpoint, Host, Packet, Random, Setup, World};

const SEEDS: std::ops::Range<u64> = 1..6;
const OPERATIONS: u32 = 60_000;
const SESSIONS_MAX: u32 = 300;

/// What rules there are to change between.
const VARIANTS: usize = 9;

/// The pools' addresses, in all variants.
const ADDRESSES: std::ops::Range<u8> = 10..13;

/// The variant's rules, and which host has which floating IP.
fn rules(variant: usize) -> (String, Vec<(Ipv4Addr, Host)>) {
    let pool = match variant {
        1 => "[203.0.113.10]",
        2 => "[203.0.113.11-203.0.113.12]",
        _ => "[203.0.113.10-203.0.113.11]",
    };
    let pool = format!("addresses: {pool}, ports: 2000-2039, hold_down_s: 30");
    let mut changes = vec![("addresses: [203.0.113.10]", pool.as_str()), ("pool: blue}", "pool: red}")];
    let mut floating = vec![(WEB, RED_WEB), (MAIL, RED_MAIL), (BLUE_WEB_FLOATING, BLUE_WEB)];
    match variant {
        3 => {
            changes.push(("internal: 10.0.0.50", "internal: 10.0.0.100"));
            floating[0].1 = red(100);
        }
        4 => {
            changes.push(("  - id: red\n    interfaces", "  - id: red\n    admin_up: false\n    interfaces"))
        }
        5 => changes.push(("  - id: red\n    interfaces", "  - id: crimson\n    interfaces")),
        6 => changes.push(("next_hop: 203.0.113.1, pool: red}", "next_hop: 203.0.113.1, snat: false}")),
        7 => changes.push(("no_nat: [192.0.2.0/24]", "no_nat: [198.51.100.0/31]")),
        8 => changes.push(("pool: red}]", "pool: red}]\n    timeouts: {profile: rfc}")),
        _ => {}
    }
    (rules_with(&changes), floating)
}

/// A packet that was seen under an external endpoint.
#[derive(Clone)]
struct Said {
    exchange: usize,
    external: Endpoint,
    remote: Endpoint,
    packet: Packet,
}

struct Play {
    world: World,
    random: Random,
    hosts: Vec<Host>,
    floating: Vec<(Ipv4Addr, Host)>,
    said: Vec<Said>,
    /// Who last spoke from an external endpoint: for TCP, to that remote; else to anyone.
    speakers: HashMap<(usize, Endpoint, Option<Endpoint>), (Host, u16)>,
    delivered: u32,
}

const UDP: usize = 0;
const TCP: usize = 1;

impl Play {
    fn new(seed: u64) -> Self {
        let (first, floating) = rules(0);
        let setup = Setup { sessions_max: SESSIONS_MAX, ..Setup::default() };
        let mut world = World::with(setup, &first, &HOSTS);
        let mut hosts = vec![RED_WEB, RED_MAIL, BLUE_WEB, RED_DB];
        hosts.extend((100..105).flat_map(|number| [red(number), blue(number)]));
        hosts.iter().for_each(|host| world.add(*host));
        let random = Random::new(seed);
        Self { world, random, hosts, floating, said: Vec::new(), speakers: HashMap::new(), delivered: 0 }
    }

    fn step(&mut self) {
        match self.random.below(1_000) {
            0..500 => self.ask(),
            500..800 => self.answer(),
            800..880 => self.complain(),
            880..960 => self.hairpin(),
            960..990 => self.leap(1, 3_000),
            990..995 => self.leap(10_000, 100_000),
            995..996 => self.leap(1_000_000, 4_000_000),
            _ => self.change_rules(),
        }
    }

    fn ask(&mut self) {
        let remote = self.random.one_of(&[SERVER, OTHER, OFFICE]).address;
        let port = 50 + self.random.below(4) as u16;
        self.send_from_host((remote, port));
    }

    fn hairpin(&mut self) {
        let to = match self.random.below(2) {
            0 if !self.said.is_empty() => self.said[self.random.below(self.said.len())].external,
            _ => (self.random.one_of(&[WEB, MAIL, BLUE_WEB_FLOATING]), 80),
        };
        self.send_from_host(to);
    }

    fn send_from_host(&mut self, to: Endpoint) {
        let exchange = self.random.below(3);
        let host = self.hosts[self.random.below(self.hosts.len())];
        let port = 4_000 + self.random.below(20) as u16;
        let packet = match exchange {
            TCP => {
                let flags = self.random.one_of(&[SYN, SYN, ACK, PSH | ACK, FIN | ACK, RST]);
                host.tcp(port, to, flags)
            }
            _ => (EXCHANGES[exchange].ask)(host, port, to),
        };
        let seen = self.world.send(packet);
        if seen.is_empty() {
            self.note_unseen(exchange, host, port, to);
        }
        for seen in seen {
            match seen.quoted() {
                // A refusal goes to who is refused.
                Some((source, _)) => assert_eq!((seen.wire, source), (host.wire, host.address)),
                None => self.note(exchange, host, port, to, seen),
            }
        }
    }

    /// A hairpinned packet that was filtered on its way in has got an external endpoint all the same: here alone the
    /// model has to ask.
    fn note_unseen(&mut self, exchange: usize, host: Host, port: u16, to: Endpoint) {
        let realm = self.world.realm_of(host);
        let internal = nat::Endpoint { address: host.address, port };
        let protocol = [Protocol::UDP, Protocol::TCP, Protocol::ICMP][exchange];
        let session = self.world.sessions().into_iter().find(|session| {
            (Some(session.realm), session.protocol, session.internal) == (realm, protocol, internal)
                && session.remote.address == to.0
                && session.idle_ms == 0
        });
        if let Some(session) = session {
            let external = (session.external.address, session.external.port);
            let remote = (exchange == TCP).then_some(to);
            self.speakers.insert((exchange, external, remote), (host, port));
        }
    }

    /// A packet of `host`'s was seen: outside, or by another host under an external address.
    fn note(&mut self, exchange: usize, host: Host, port: u16, to: Endpoint, seen: Packet) {
        let external = seen.source();
        let ping = exchange != UDP && exchange != TCP;
        let remote = if ping { (to.0, 0) } else { to };
        let is_local_answer = seen.link_destination() == host.mac && external.0 == to.0 && ping;
        if is_local_answer || external.0 == host.address {
            // The gateway's own echo reply; or a destination that is exempt, which the world has checked.
            return;
        }
        match self.floating.iter().find(|(_, one)| *one == host) {
            Some((floating, _)) => assert_eq!(external, (*floating, port), "it speaks under its floating IP"),
            None => {
                let last = external.0.octets()[3];
                assert!(ADDRESSES.contains(&last) && (2000..2040).contains(&external.1), "{seen:?}");
            }
        }
        self.speakers.insert((exchange, external, (exchange == TCP).then_some(remote)), (host, port));
        if seen.wire != INTERNET {
            self.check_delivery(exchange, to, external, &seen);
        }
        let said = Said { exchange, external, remote, packet: seen };
        if self.said.len() < 200 {
            self.said.push(said);
        } else {
            let place = self.random.below(200);
            self.said[place] = said;
        }
    }

    /// `seen`, sent by `remote` to an external endpoint, has come to the host that has this endpoint.
    fn check_delivery(&mut self, exchange: usize, to: Endpoint, remote: Endpoint, seen: &Packet) {
        self.delivered += 1;
        let (host, port) = match self.floating.iter().find(|(floating, _)| *floating == to.0) {
            Some((_, host)) => (*host, to.1),
            None => {
                let key = (exchange, to, (exchange == TCP).then_some(remote));
                *self.speakers.get(&key).unwrap_or_else(|| panic!("nobody has {to:?}: {seen:?}"))
            }
        };
        assert_eq!((seen.wire, seen.link_destination()), (host.wire, host.mac), "{seen:?}");
        assert_eq!(seen.destination().0, host.address);
        if seen.quoted().is_none() && exchange != 2 {
            assert_eq!(seen.destination().1, port, "{seen:?}");
        }
    }

    fn answer(&mut self) {
        let Some((said, server)) = self.somebody() else { return };
        let (exchange, external) = (said.exchange, said.external);
        let remote = match exchange {
            UDP => (said.remote.0, said.remote.1 + self.random.below(2) as u16),
            _ => said.remote,
        };
        let packet = match exchange {
            TCP => {
                let flags = self.random.one_of(&[SYN, SYN | ACK, SYN | ACK, ACK, FIN | ACK, RST]);
                server.tcp(remote.1, external, flags)
            }
            _ => (EXCHANGES[exchange].answer)(server, remote.1, external),
        };
        for seen in self.world.send(packet) {
            self.check_delivery(exchange, external, remote, &seen);
        }
    }

    /// A router on the way complains about a packet, now or long after it passed.
    fn complain(&mut self) {
        let Some((said, server)) = self.somebody() else { return };
        let hop = Host { address: Ipv4Addr::new(100, 100, 0, 7), ..server };
        let icmp = self.random.one_of(&[(3, 3, 0), (11, 0, 0), (3, 4, 1_400)]);
        for seen in self.world.send(hop.error(said.external.0, icmp, &said.packet, 8)) {
            self.check_delivery(said.exchange, said.external, said.remote, &seen);
            assert_eq!(seen.quoted().map(|(source, _)| source), Some(seen.destination().0));
        }
    }

    /// A packet that went out to the internet, and its remote, which knows by ARP whom to answer.
    fn somebody(&mut self) -> Option<(Said, Host)> {
        let outside: Vec<usize> =
            (0..self.said.len()).filter(|at| self.said[*at].packet.wire == INTERNET).collect();
        let said = self.said[*outside.get(self.random.below(outside.len().max(1)))?].clone();
        let via = self.world.who_has(ISP, said.external.0)?;
        let server = Host { address: said.remote.0, ..ISP }.through(via);
        Some((said, server))
    }

    fn leap(&mut self, from_ms: usize, to_ms: usize) {
        let ms = from_ms + self.random.below(to_ms - from_ms);
        self.world.leap(ms as u64);
    }

    fn change_rules(&mut self) {
        let (rules, floating) = rules(self.random.below(VARIANTS));
        self.world.adopt(&rules);
        self.world.pass(50);
        self.floating = floating;
        self.check_tables();
    }

    /// No external endpoint has two owners, and the tables agree with each other.
    fn check_tables(&mut self) {
        let sessions = self.world.sessions();
        let mut owners = HashMap::new();
        for session in &sessions {
            let remote = (session.protocol == Protocol::TCP).then_some(session.remote);
            let owner = (session.realm, session.internal);
            let before = owners.insert((session.protocol, session.external, remote), owner);
            assert!(before.is_none_or(|before| before == owner), "two owners of {session:?}");
        }
        let tcp_ports: HashSet<_> = sessions
            .iter()
            .filter(|session| session.protocol == Protocol::TCP)
            .map(|session| session.external)
            .collect();
        let occupancy = self.world.occupancy();
        // Those that have lost their endpoint to a change of rules are not shown, and go with their next packet.
        assert!(occupancy.sessions as usize >= sessions.len());
        assert_eq!(self.ports_used() as usize, tcp_ports.len() + occupancy.mappings as usize);
    }

    fn ports_used(&self) -> u32 {
        ADDRESSES.map(|last| self.world.ports_used(Ipv4Addr::new(203, 0, 113, last))).sum()
    }

    fn end(&mut self) {
        // What waits for a neighbour that is not there is refused first.
        self.world.pass(5_000);
        self.world.leap(8_000_000);
        self.world.leap(100_000);
        let occupancy = self.world.occupancy();
        assert_eq!((occupancy.sessions, occupancy.mappings, occupancy.hosts), (0, 0, 0));
        assert_eq!((occupancy.permissions, self.ports_used()), (0, 0));
        let [created, closed] = [
            self.world.count(|counters| &counters.sessions_created),
            self.world.count(|counters| &counters.sessions_closed),
        ];
        assert_eq!(created, closed);
        assert!(self.delivered > OPERATIONS / 50, "{} deliveries are a test", self.delivered);
        assert!(created > u64::from(OPERATIONS / 50));
    }
}

#[test]
fn nothing_is_delivered_to_the_wrong_host_and_everything_is_given_back() {
    for seed in SEEDS {
        println!("seed {seed}");
        let mut play = Play::new(seed);
        for _ in 0..OPERATIONS {
            play.step();
        }
        play.end();
    }
}

/// Frames that are nearly right, and frames that are nothing: none of them makes the brain panic or lose count.
#[test]
fn no_bytes_make_it_stumble() {
    let mut world = scene();
    world.lenient = true;
    let mut random = Random::new(77);
    let external = world.one(RED_A.udp(4_000, (SERVER.address, 53), b"")).source();
    let seen = SERVER.peer(external.0).udp(external.1, (SERVER.address, 53), b"");
    let good = [
        RED_A.udp(4_000, (SERVER.address, 53), b"who is it?"),
        RED_A.tcp(4_000, (WEB, 53), SYN),
        RED_A.ping(4_000, RED_EXTERNAL),
        RED_A.asks_for(RED_GATEWAY),
        SERVER.udp(53, external, b"it is me"),
        SERVER.error(external.0, (3, 3, 0), &seen, 8),
        SERVER.ipv4(47, WEB, &[0; 9]),
        ISP.asks_for(WEB),
    ];
    for round in 0..60_000 {
        let packet = good[random.below(good.len())].clone().change(|mut bytes| {
            for _ in 0..random.below(4) {
                let at = 12 + random.below(bytes.len() - 12);
                let any = random.below(256) as u8;
                bytes[at] = random.one_of(&[0, 1, 0x45, 0x7f, 0xff, any]);
            }
            if random.below(8) == 0 {
                bytes.truncate(random.below(bytes.len()));
            }
            // Mostly with the header's checksum made right, or nothing gets past it.
            let header = if bytes.get(12..14) == Some(&[0x81, 0]) { 18 } else { 14 };
            let is_ipv4 = bytes.len() > header + 60 && bytes[header] >> 4 == 4 && bytes[header] & 15 >= 5;
            if is_ipv4 && random.below(4) > 0 { packet::testing::with_header(bytes, |_| {}) } else { bytes }
        });
        world.send(packet);
        if round % 100 == 0 {
            world.pass(50);
        }
    }
}
