//! The world around the gateway: hosts of two tenants with the same addresses, remotes, and what each of them must see.
//!
//! Every packet carries a tag: its flow, its way and its number on that way. So whoever gets one knows whether it is
//! his, whether it shows the endpoints that it must, and whether it is the very next: nothing lost, nothing twice, nothing
//! overtaken.
//!
//! ```text
//! UDP        out 0 1 2 ...      each answered in turn:   back 0 1 2 ...
//! TCP        out 0 SYN | 1..D data, D+1 FIN at once | D+2 ACK         (or RST for FIN, and that is the end)
//!            back      0 SYN ACK                    | 1..D data, D+1 FIN at once
//! hairpin    as UDP, to another host of ours by its external endpoint
//! opened     one packet out, from a socket of its own; over TCP a RST behind it once it was seen
//! ```

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use packet::arp::{self, Arp, Operation};
use packet::ethernet::{self, LinkHeader};
use packet::{MacAddress, Parsed, Payload, Protocol, tcp, testing};

use crate::fleet::{Fleet, Gateway, PATIENCE};
use crate::wires::{Frame, Wires};

/// The port of the external network; those of the tenants are 0 and 1.
const OUTSIDE: usize = 2;
const NEXT_HOP: (MacAddress, Ipv4Addr) = (MacAddress([2, 9, 0, 0, 0, 1]), Ipv4Addr::new(203, 0, 113, 1));
/// The first of the pool's eight.
const POOL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 64);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// Datagrams on their way at once in each flow.
const WINDOW: u32 = 4;
/// Data segments of a connection, each way.
const DATA: u32 = 4;
/// Where opened sockets send to, and whose they are: hosts that have nothing else, and floating IPs by turns.
const OPENED_REMOTE: Endpoint = (Ipv4Addr::new(198, 51, 100, 9), 53);
const OPENING_HOSTS: usize = 250;
const FIRST_OPENING_HOST: usize = 248 * 250;
/// The shortest life of a session under [`rules`].
const SESSION_MIN: Duration = Duration::from_secs(1);
/// Hosts that say nothing until they are asked for, with a flow each: what waits for one fits where it waits.
const SILENT_MAX: usize = 40;
/// Packets under way at once: fewer than a ring holds, so that none is lost for want of room.
const UNDER_WAY_MAX: u64 = 800;

/// Rules whose tenants' generations rise with every `variant`, and that mean the same for every flow of a [`Plan`].
pub(crate) fn rules(variant: usize) -> String {
    rules_with_timeouts(variant, "{}")
}

pub(crate) fn rules_with_timeouts(variant: usize, timeouts: &str) -> String {
    let router = |tenant: usize, id: &str| {
        let (internal, external) = (variant % 200 + 1, 100 + 50 * tenant + variant % 40);
        format!(
            "
- id: {id}
  interfaces:
  - {{id: lan, segment: {id}-lan, mac: {}, addresses: [{GATEWAY}/16]}}
  - {{id: ext, segment: internet, mac: 'fa:16:3e:00:01:{tenant:02}', addresses: [203.0.113.{}/24], external: true}}
  gateways: [{{interface: ext, next_hop: {}, pool: pool}}]
  floating_ips: [{{id: moves, external: 203.0.113.{external}, internal: 10.0.249.{internal}}}]
  timeouts: {timeouts}",
            gateway_mac(tenant),
            tenant + 2,
            NEXT_HOP.1,
        )
    };
    format!(
        "
segments: [{{id: red-lan, port: in0}}, {{id: blue-lan, port: in1}}, {{id: internet, port: out0}}]
pools: [{{id: pool, addresses: [{POOL}/29], hold_down_s: 1}}]
routers:{}{}",
        router(0, "red"),
        router(1, "blue")
    )
}

fn gateway_mac(tenant: usize) -> MacAddress {
    MacAddress([0xfa, 0x16, 0x3e, 0, 0, tenant as u8])
}

/// By which queue, and so to which worker, a packet comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Steering {
    /// Each way of a flow by a queue of its own, as a card's hash would have it.
    Spread,
    /// All by the first.
    OneQueue,
    /// All of a port by one.
    ByPort,
}

/// What a world is made of.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) hosts: usize,
    pub(crate) udp: usize,
    pub(crate) tcp: usize,
    pub(crate) hairpins: usize,
    pub(crate) steering: Steering,
}

type Endpoint = (Ipv4Addr, u16);

/// A socket of an internal host.
#[derive(Clone, Copy, Debug)]
struct Socket {
    tenant: usize,
    host: usize,
    port: u16,
    /// What it is outside, once that was seen.
    external: Option<Endpoint>,
}

impl Socket {
    fn mac(&self) -> MacAddress {
        MacAddress([2, self.tenant as u8, 0, 0, (self.host >> 8) as u8, self.host as u8])
    }

    fn endpoint(&self) -> Endpoint {
        (host_address(self.host), self.port)
    }
}

fn host_address(host: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1 + (host / 250) as u8, 1 + (host % 250) as u8)
}

#[derive(Clone, Copy, Debug)]
enum Talk {
    Udp,
    Tcp { resets: bool },
    Hairpin(Socket),
}

#[derive(Debug)]
struct Flow {
    socket: Socket,
    talk: Talk,
    remote: Endpoint,
    /// Packets sent and seen, by [`Way`].
    sent: [u32; 2],
    seen: [u32; 2],
    /// A connection that has ended is followed by another from the next port.
    connections: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Out = 0,
    Back = 1,
    /// To a remote, so that the external endpoint of a socket is seen there: of the flow's own, and of its peer.
    Show = 2,
    ShowPeer = 3,
    /// To the other end of a hairpin, so that it is let in from there. May be filtered itself.
    Knock = 4,
    /// The first and only packet of a socket, and over TCP the end of what it opened.
    Open = 5,
    Reset = 6,
}

#[derive(Clone, Copy, Debug)]
struct Tag {
    flow: usize,
    way: Way,
    number: u32,
}

impl Tag {
    fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&(self.flow as u32).to_be_bytes());
        bytes[4] = self.way as u8;
        bytes[8..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    fn read(payload: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        let ways = [Way::Out, Way::Back, Way::Show, Way::ShowPeer, Way::Knock, Way::Open, Way::Reset];
        Self { flow: word(0) as usize, way: ways[usize::from(payload[4])], number: word(8) }
    }
}

pub(crate) struct World {
    wires: Wires,
    workers: usize,
    steering: Steering,
    /// Those that say hello; any others are silent.
    hosts: usize,
    flows: Vec<Flow>,
    /// Whose an external endpoint is; a TCP port may be shared towards other remotes.
    owners: HashMap<(Protocol, Endpoint, Option<Endpoint>), usize>,
    /// Packets that were sent into the gateway, and those that came out of it.
    pub(crate) put_in: u64,
    pub(crate) came_out: u64,
    hellos: u64,
    waiting: Vec<(usize, Frame)>,
    /// The flow whose turn it is to send.
    next: usize,
    /// Sockets that were opened, and when the external endpoint of one was last seen.
    opened: usize,
    seen: HashMap<(Protocol, Endpoint), Instant>,
}

impl World {
    pub(crate) fn new(wires: &Wires, workers: usize, plan: Plan) -> Self {
        let total = plan.udp + plan.tcp + plan.hairpins;
        let silent = (plan.udp / 8).min(SILENT_MAX);
        let socket = |index: usize, tenant: usize| {
            let (host, nth) = match index.checked_sub(silent) {
                None => (plan.hosts + index, 0),
                Some(index) => (index % plan.hosts, index / plan.hosts),
            };
            Socket { tenant, host, port: 2_000 + 500 * nth as u16, external: None }
        };
        let flow = |index: usize| {
            let talk = match index {
                index if index < plan.udp => Talk::Udp,
                index if index < plan.udp + plan.tcp => Talk::Tcp { resets: index % 3 == 0 },
                // Its peer's port is no flow's own.
                index => Talk::Hairpin(socket(index + total, index / 2 % 2)),
            };
            let remote = (Ipv4Addr::new(198, 51, 100, 1 + (index % 4) as u8), 443);
            let socket = socket(index, index % 2);
            Flow { socket, talk, remote, sent: [0; 2], seen: [0; 2], connections: 0 }
        };
        Self {
            wires: wires.clone(),
            workers,
            steering: plan.steering,
            hosts: plan.hosts,
            flows: (0..total).map(flow).collect(),
            owners: HashMap::new(),
            put_in: 0,
            came_out: 0,
            hellos: 0,
            waiting: Vec::new(),
            next: 0,
            opened: 0,
            seen: HashMap::new(),
        }
    }

    /// All say hello, but for some hosts, which are asked for when they are first sent something; and both ends of each
    /// hairpin let the other in.
    pub(crate) fn begin(&mut self, gateway: &mut Gateway, fleet: &mut Fleet, rules: &str) {
        let rules = gateway.compile(rules);
        fleet.publish(&rules);
        self.hello(OUTSIDE, NEXT_HOP, MacAddress([0xfa, 0x16, 0x3e, 0, 1, 0]), Ipv4Addr::new(203, 0, 113, 2));
        for index in 0..self.flows.len() {
            let peer = match self.flows[index].talk {
                Talk::Hairpin(peer) => Some(peer),
                _ => None,
            };
            for socket in [Some(self.flows[index].socket), peer].into_iter().flatten() {
                if socket.host < self.hosts {
                    let host = (socket.mac(), socket.endpoint().0);
                    self.hello(socket.tenant, host, gateway_mac(socket.tenant), GATEWAY);
                }
            }
        }
        // Before they were heard, more would have to wait than can.
        let hellos = self.hellos;
        crate::fleet::wait("all are known", || gateway.books().consumed == hellos);
        for (way, number) in [(Way::Show, 0), (Way::ShowPeer, 0), (Way::Knock, 0), (Way::Knock, 1)] {
            for index in 0..self.flows.len() {
                if let Talk::Hairpin(_) = self.flows[index].talk {
                    self.send(Tag { flow: index, way, number });
                }
                if index.is_multiple_of(32) {
                    self.settle(gateway);
                }
            }
            self.settle(gateway);
        }
    }

    /// Talks until `count` more packets came out. With `changes`, the rules change all the while.
    pub(crate) fn talk(&mut self, gateway: &mut Gateway, fleet: &mut Fleet, count: u64, changes: bool) {
        let goal = self.came_out + count;
        let (mut progress, mut turn) = (Instant::now(), 0_usize);
        while self.came_out < goal {
            if self.step(gateway) {
                progress = Instant::now();
            }
            turn += 1;
            if changes && turn.is_multiple_of(64) {
                let rules = gateway.compile(&rules(turn / 64));
                fleet.send(&rules);
            }
            assert!(progress.elapsed() < PATIENCE, "nothing moves: {:?}", gateway.drops());
        }
    }

    /// Sends what is to be sent and looks at what has come out. Whether anything has.
    pub(crate) fn step(&mut self, gateway: &Gateway) -> bool {
        self.drive(gateway);
        let moves = self.pump() > 0;
        if !moves {
            std::thread::yield_now();
        }
        moves
    }

    /// Opens sockets.
    pub(crate) fn open(&mut self, count: usize, protocol: Protocol) {
        for _ in 0..count {
            self.send_opened(self.opened, Way::Open, protocol);
            self.opened += 1;
        }
    }

    fn send_opened(&mut self, number: usize, way: Way, protocol: Protocol) {
        let (host, nth) = (number / 2 % OPENING_HOSTS, number / 2 / OPENING_HOSTS);
        let socket = Socket {
            tenant: number % 2,
            host: FIRST_OPENING_HOST + host,
            port: 1_024 + (nth % 64_000) as u16,
            external: None,
        };
        let tag = Tag { flow: number, way, number: 0 }.bytes();
        let from = (socket.mac(), socket.endpoint().0, socket.port);
        let to = (gateway_mac(socket.tenant), OPENED_REMOTE.0, OPENED_REMOTE.1);
        let flags = if way == Way::Open { tcp::SYN } else { tcp::RST };
        let frame = match protocol {
            Protocol::TCP => testing::tcp(from, to, None, flags, 0, 0, &tag),
            _ => testing::udp(from, to, None, &tag),
        };
        self.put_in += 1;
        self.arrive(socket.tenant, frame);
    }

    /// An opened socket's external endpoint was no other's a moment ago.
    fn see_opened(
        &mut self,
        tag: Tag,
        protocol: Protocol,
        (port, from, to, mac): (usize, Endpoint, Endpoint, MacAddress),
    ) {
        assert_eq!((port, to, mac), (OUTSIDE, OPENED_REMOTE, NEXT_HOP.0), "{tag:?}");
        let is_pools = u32::from(from.0) & !7 == u32::from(POOL);
        // A host may have a floating IP for a while.
        assert!(is_pools || from.0.octets()[3] >= 100, "{tag:?} from {from:?}");
        if is_pools && tag.way == Way::Open {
            let before = self.seen.insert((protocol, from), Instant::now());
            let is_free = before.is_none_or(|before| before.elapsed() > SESSION_MIN / 2);
            assert!(is_free, "{from:?} had another owner {before:?} ago");
        }
        if tag.way == Way::Open && protocol == Protocol::TCP {
            self.send_opened(tag.flow, Way::Reset, protocol);
        }
    }

    /// Waits until nothing is under way any more.
    #[track_caller]
    pub(crate) fn settle(&mut self, gateway: &Gateway) {
        crate::fleet::wait("all that was sent came out or was dropped", || {
            self.pump();
            self.put_in == self.came_out + gateway.books().dropped
        });
    }

    /// Packets that the gateway has, or that wait for it.
    pub(crate) fn under_way(&self, gateway: &Gateway) -> u64 {
        // What has come out may not have been looked at yet.
        (self.put_in - self.came_out).saturating_sub(gateway.books().dropped)
    }

    /// Sends what is to be sent of its own accord, as long as not too much is under way.
    fn drive(&mut self, gateway: &Gateway) {
        let room = UNDER_WAY_MAX.saturating_sub(self.under_way(gateway));
        let full = self.put_in + room;
        for _ in 0..self.flows.len() {
            if self.put_in >= full {
                return;
            }
            let flow = self.next;
            self.next = (self.next + 1) % self.flows.len();
            let Flow { talk, sent: [out, _], seen: [_, back], .. } = self.flows[flow];
            let may = match talk {
                Talk::Udp | Talk::Hairpin(_) => WINDOW - (out - back),
                Talk::Tcp { .. } => u32::from(out == 0),
            };
            (0..may).for_each(|_| self.send_next(flow, Way::Out));
        }
    }

    /// Looks at everything that has come out.
    pub(crate) fn pump(&mut self) -> usize {
        let mut count = 0;
        for port in 0..=OUTSIDE {
            for frame in self.wires.take_sent(port) {
                count += 1;
                self.see(port, &frame);
            }
        }
        count
    }

    fn see(&mut self, port: usize, frame: &Frame) {
        let parsed = Parsed::read(frame).unwrap();
        if parsed.payload == Payload::Arp {
            return self.see_arp(port, &arp::read(frame, &parsed).unwrap());
        }
        testing::assert_checksums(frame);
        if parsed.protocol == Protocol::ICMP {
            // The gateway itself, to a host that it refused something.
            return;
        }
        self.came_out += 1;
        let header = if parsed.protocol == Protocol::TCP { 20 } else { 8 };
        let tag = Tag::read(&frame[parsed.transport_range()][header..]);
        let from = (parsed.source, parsed.source_port);
        let to = (parsed.destination, parsed.destination_port);
        let shown = (port, from, to, ethernet::destination(frame));
        if matches!(tag.way, Way::Open | Way::Reset) {
            return self.see_opened(tag, parsed.protocol, shown);
        }
        self.check(tag, parsed.protocol, shown);
        match tag.way {
            Way::Out | Way::Back => self.react(tag),
            _ => {}
        }
    }

    /// Whether a packet is where it belongs, shows what it must, and is the next of its flow.
    fn check(
        &mut self,
        tag: Tag,
        protocol: Protocol,
        (port, from, to, mac): (usize, Endpoint, Endpoint, MacAddress),
    ) {
        let at_host = |socket: Socket| (socket.tenant, socket.endpoint(), socket.mac());
        let flow = &self.flows[tag.flow];
        let (socket, remote) = (flow.socket, flow.remote);
        let peer = match flow.talk {
            Talk::Hairpin(peer) => Some(peer),
            _ => None,
        };
        match (tag.way, peer) {
            (Way::Show | Way::ShowPeer, _) | (Way::Out, None) => {
                assert_eq!((port, to, mac), (OUTSIDE, remote, NEXT_HOP.0), "{tag:?} of {flow:?}");
                self.learn(tag, protocol, from);
            }
            (Way::Back, None) => {
                assert_eq!((port, to, mac), at_host(socket), "{tag:?} of {flow:?}");
                assert_eq!(from, remote, "{tag:?} of {flow:?}");
            }
            (Way::Out | Way::Knock, Some(peer)) if (port, to, mac) == at_host(peer) => {
                assert_eq!(Some(from), socket.external, "{tag:?} of {flow:?}");
            }
            (Way::Back | Way::Knock, Some(peer)) => {
                assert_eq!((port, to, mac), at_host(socket), "{tag:?} of {flow:?}");
                assert_eq!(Some(from), peer.external, "{tag:?} of {flow:?}");
            }
            _ => unreachable!("{tag:?} of {flow:?}"),
        }
        if let Some(seen) = self.flows[tag.flow].seen.get_mut(tag.way as usize) {
            assert_eq!(tag.number, *seen, "{tag:?} is not the next, at {port} from {from:?}");
            *seen += 1;
        }
    }

    /// A socket is one endpoint outside as long as it is used, and that is nobody else's.
    fn learn(&mut self, tag: Tag, protocol: Protocol, seen: Endpoint) {
        let flow = &mut self.flows[tag.flow];
        let remote = (protocol == Protocol::TCP).then_some(flow.remote);
        let socket = match (&mut flow.talk, tag.way) {
            (Talk::Hairpin(peer), Way::ShowPeer) => peer,
            _ => &mut flow.socket,
        };
        if let Some(external) = socket.external {
            assert_eq!(seen, external, "{tag:?} has moved");
            return;
        }
        assert!(u32::from(seen.0) & !7 == u32::from(POOL), "{seen:?} is not the pool's");
        socket.external = Some(seen);
        let other = self.owners.insert((protocol, seen, remote), tag.flow);
        assert!(other.is_none_or(|other| other == tag.flow), "{seen:?} is two flows': {other:?} and {tag:?}");
    }

    /// What whoever got a packet does.
    fn react(&mut self, tag: Tag) {
        let Tag { flow, way, number } = tag;
        let Talk::Tcp { resets } = self.flows[flow].talk else {
            if way == Way::Out {
                self.send_next(flow, Way::Back);
            }
            return;
        };
        match (way, number) {
            (Way::Out, 0) => self.send_next(flow, Way::Back),
            (Way::Back, 0) => (0..=DATA).for_each(|_| self.send_next(flow, Way::Out)),
            (Way::Out, number) if number == DATA + 1 && resets => self.end_connection(flow),
            (Way::Out, number) if number == DATA + 1 => {
                (0..=DATA).for_each(|_| self.send_next(flow, Way::Back))
            }
            (Way::Back, number) if number == DATA + 1 => self.send_next(flow, Way::Out),
            (Way::Out, number) if number == DATA + 2 => self.end_connection(flow),
            _ => {}
        }
    }

    fn end_connection(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if let Some(external) = flow.socket.external.take() {
            self.owners.remove(&(Protocol::TCP, external, Some(flow.remote)));
        }
        (flow.sent, flow.seen) = ([0; 2], [0; 2]);
        flow.connections += 1;
        flow.socket.port += 1;
    }

    fn send_next(&mut self, flow: usize, way: Way) {
        let number = self.flows[flow].sent[way as usize];
        self.flows[flow].sent[way as usize] += 1;
        self.send(Tag { flow, way, number });
    }

    fn send(&mut self, tag: Tag) {
        let flow = &self.flows[tag.flow];
        let (socket, remote) = (flow.socket, flow.remote);
        let peer = match flow.talk {
            Talk::Hairpin(peer) => Some(peer),
            _ => None,
        };
        let from_host = |socket: Socket, to: Endpoint| {
            let from = (socket.mac(), socket.endpoint().0, socket.port);
            (socket.tenant, from, (gateway_mac(socket.tenant), to.0, to.1))
        };
        let external = |socket: Socket| socket.external.unwrap();
        let (port, from, to) = match (tag.way, peer) {
            (Way::Out | Way::Show, None) | (Way::Show, _) => from_host(socket, remote),
            (Way::ShowPeer, Some(peer)) => from_host(peer, remote),
            (Way::Out, Some(peer)) => from_host(socket, external(peer)),
            (Way::Back, Some(peer)) => from_host(peer, external(socket)),
            (Way::Knock, Some(peer)) if tag.number.is_multiple_of(2) => from_host(socket, external(peer)),
            (Way::Knock, Some(peer)) => from_host(peer, external(socket)),
            (Way::Back, None) => {
                let to = external(socket);
                let router = MacAddress([0xfa, 0x16, 0x3e, 0, 1, socket.tenant as u8]);
                (OUTSIDE, (NEXT_HOP.0, remote.0, remote.1), (router, to.0, to.1))
            }
            _ => unreachable!("{tag:?}"),
        };
        let frame = match flow.talk {
            Talk::Tcp { resets } => {
                let flags = match (tag.way, tag.number) {
                    (Way::Out, 0) => tcp::SYN,
                    (_, 0) => tcp::SYN | tcp::ACK,
                    (Way::Out, number) if number == DATA + 1 && resets => tcp::RST,
                    (_, number) if number == DATA + 1 => tcp::FIN | tcp::ACK,
                    _ => tcp::ACK,
                };
                testing::tcp(from, to, None, flags, tag.number, 0, &tag.bytes())
            }
            _ => testing::udp(from, to, None, &tag.bytes()),
        };
        self.put_in += 1;
        self.arrive(port, frame);
    }

    /// Takes back what nobody has received yet, for as long as nobody is there.
    pub(crate) fn pause(&mut self) {
        self.waiting = self.wires.take_arrived();
    }

    /// From now on there are so many queues; what was taken back comes first.
    pub(crate) fn resume(&mut self, workers: usize) {
        self.workers = workers;
        for (port, frame) in std::mem::take(&mut self.waiting) {
            self.arrive(port, frame);
        }
    }

    /// A frame comes in, by the same queue as all of its addresses and ports.
    fn arrive(&self, port: usize, frame: Frame) {
        let queue = match self.steering {
            Steering::Spread => {
                // As a card would: IPv4 addresses and ports, or of ARP something as good.
                let hash =
                    frame[26..38].iter().fold(port as u64, |hash, byte| mix(hash << 8 ^ u64::from(*byte)));
                (hash >> 33) as usize % self.workers
            }
            Steering::OneQueue => 0,
            Steering::ByPort => port % self.workers,
        };
        self.wires.arrive(port, queue, frame);
    }

    /// A neighbour says who it is.
    fn hello(
        &mut self,
        port: usize,
        (mac, address): (MacAddress, Ipv4Addr),
        to: MacAddress,
        target: Ipv4Addr,
    ) {
        let link = LinkHeader { destination: to, source: mac, vlan: None };
        let operation = Operation::Reply;
        let arp = Arp { operation, sender_mac: mac, sender: address, target_mac: to, target };
        self.hellos += 1;
        self.arrive(port, testing::arp(link, &arp));
    }

    /// Answers for everybody; a gateway that announces an address asks for its own, which is nobody's here.
    fn see_arp(&mut self, port: usize, arp: &Arp) {
        if arp.operation != Operation::Request || arp.sender == arp.target {
            return;
        }
        let [_, _, third, fourth] = arp.target.octets();
        let neighbour = match port {
            OUTSIDE => NEXT_HOP,
            tenant => {
                let host = (usize::from(third) - 1) * 250 + usize::from(fourth) - 1;
                (Socket { tenant, host, port: 0, external: None }.mac(), arp.target)
            }
        };
        assert_eq!(arp.target, neighbour.1);
        self.hello(port, neighbour, arp.sender_mac, arp.sender);
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ value >> 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (value ^ value >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
