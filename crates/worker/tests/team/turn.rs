//! One worker: its loop and its mailbox, turned by hand, and once on a thread of its own.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use nat::DropReason;
use packet::arp::{Arp, Operation};
use packet::ethernet::{self, LinkHeader};
use packet::{BURST_FRAMES_MAX, MacAddress, Moment, Parsed, testing};
use rules::RuleSet;
use worker::{Busy, Handle, Idle, SESSION_PAGE_MAX, SessionPage, Stage, Worker, clock};

use crate::fleet::{Gateway, wait};
use crate::wires::{Driver, Io, Wires};

pub(crate) const RULES: &str = r#"
segments: [{id: lan, port: in0}, {id: internet, port: out0}]
routers:
  - id: red
    interfaces:
      - {id: lan, segment: lan, mac: "fa:16:3e:00:00:01", addresses: [10.0.0.1/24]}
      - {id: ext, segment: internet, mac: "fa:16:3e:00:00:02", addresses: [203.0.113.2/24], external: true}
    gateways: [{interface: ext, next_hop: 203.0.113.1}]
    floating_ips: [{id: web, external: 203.0.113.50, internal: 10.0.0.50}]
"#;

pub(crate) const LAN: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 0, 1]);
pub(crate) const EXT: MacAddress = MacAddress([0xfa, 0x16, 0x3e, 0, 0, 2]);
pub(crate) const ISP: (MacAddress, Ipv4Addr) =
    (MacAddress([2, 0, 0, 0, 9, 1]), Ipv4Addr::new(203, 0, 113, 1));
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const WEB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 50);

/// The port that leads outside.
pub(crate) const OUT: usize = 2;

/// A worker that is turned by hand, the control thread's end of it, and its wires.
struct Bench {
    gateway: Gateway,
    worker: Worker<Io>,
    handle: Handle,
    wires: Wires,
    driver: Driver,
    now: Moment,
}

impl Bench {
    fn new() -> Self {
        let wires = Wires::new(3);
        let io = wires.io(0);
        let driver = io.driver.clone();
        let mut gateway = Gateway::new(32_768);
        let (worker, handle) = gateway.team(vec![io]).remove(0);
        Self { gateway, worker, handle, wires, driver, now: Moment::from_ms(1) }
    }

    /// With rules adopted, and neighbours known.
    fn running() -> Self {
        let mut bench = Self::new();
        let rules = bench.compile(RULES);
        bench.handle.publish(&rules).unwrap();
        for number in [11, 50, 51] {
            bench.arrive(0, hello(host(number), LAN, Ipv4Addr::new(10, 0, 0, 1)));
        }
        bench.arrive(OUT, hello(ISP, EXT, Ipv4Addr::new(203, 0, 113, 2)));
        bench.turn();
        bench.take_sent(0);
        bench.take_sent(OUT);
        bench
    }

    fn compile(&mut self, text: &str) -> Arc<RuleSet> {
        self.gateway.compile(text)
    }

    fn arrive(&self, port: usize, frame: Vec<u8>) {
        self.wires.arrive(port, 0, frame);
    }

    fn take_sent(&self, port: usize) -> Vec<Vec<u8>> {
        self.wires.take_sent(port)
    }

    fn turn(&mut self) -> bool {
        self.now = self.now + 1;
        let was_empty = self.worker.turn(self.now);
        assert_eq!(self.handle.counters().books().balance(), 0, "the books close after every turn");
        was_empty
    }
}

pub(crate) fn host(number: u8) -> (MacAddress, Ipv4Addr) {
    (MacAddress([2, 0, 0, 0, 0, number]), Ipv4Addr::new(10, 0, 0, number))
}

/// An ARP reply to the gateway: its sender is known from then on.
pub(crate) fn hello((mac, address): (MacAddress, Ipv4Addr), to: MacAddress, target: Ipv4Addr) -> Vec<u8> {
    let link = LinkHeader { destination: to, source: mac, vlan: None };
    let operation = Operation::Reply;
    testing::arp(link, &Arp { operation, sender_mac: mac, sender: address, target_mac: to, target })
}

pub(crate) fn out(port: u16) -> Vec<u8> {
    let (mac, address) = host(11);
    testing::udp((mac, address, port), (LAN, SERVER, 53), None, b"who is it?")
}

pub(crate) fn to_web(port: u16) -> Vec<u8> {
    testing::udp((ISP.0, SERVER, port), (EXT, WEB, 80), None, b"hello")
}

#[test]
fn rules_are_adopted_between_bursts_and_show_their_generation() {
    let mut bench = Bench::running();
    assert_eq!(bench.handle.status.generation(), 1);
    bench.arrive(OUT, to_web(1));
    bench.turn();
    assert_eq!(ethernet::destination(&bench.take_sent(0)[0]), host(50).0);

    // What had arrived before the change is judged by the rules in force when it is taken.
    let moved = bench.compile(&RULES.replace("internal: 10.0.0.50", "internal: 10.0.0.51"));
    bench.arrive(OUT, to_web(2));
    bench.handle.publish(&moved).unwrap();
    assert_eq!(bench.handle.status.generation(), 1, "the worker has not turned yet");
    bench.turn();
    assert_eq!(bench.handle.status.generation(), 2);
    assert_eq!(ethernet::destination(&bench.take_sent(0)[0]), host(51).0);
}

#[test]
fn the_stages_of_turns_that_bring_packets_are_clocked_where_that_is_asked_for() {
    let mut bench = Bench::running();
    bench.arrive(OUT, to_web(1));
    bench.turn();
    assert_eq!(bench.handle.status.stages(), None, "nobody asked");

    bench.worker = bench.worker.with_stage_clocks();
    (1..=3).for_each(|port| bench.arrive(OUT, to_web(port)));
    let begun = clock::ticks();
    bench.turn();
    let took = clock::ticks() - begun;
    let totals = bench.handle.status.stages().unwrap();
    let all = [Stage::Receive, Stage::Process, Stage::Handed, Stage::Tick, Stage::Transmit];
    let clocks = all.map(|stage| totals.clocks(stage));
    assert_eq!(totals.packets, 3);
    assert!(clocks.iter().all(|&clocks| clocks > 0), "{clocks:?}");
    assert!(clocks.iter().sum::<u64>() <= took, "{clocks:?} of {took}");

    bench.turn();
    assert_eq!(bench.handle.status.stages(), Some(totals), "a turn without packets costs none anything");
    bench.arrive(OUT, to_web(4));
    bench.turn();
    let recent = bench.handle.status.stages().unwrap().since(&totals);
    assert!(recent.packets == 1 && all.iter().all(|stage| recent.clocks(*stage) > 0), "{recent:?}");
}

#[test]
fn a_worker_without_rules_drops_and_counts() {
    let mut bench = Bench::new();
    bench.arrive(0, out(1));
    assert!(!bench.turn());
    assert_eq!(bench.handle.status.generation(), 0);
    assert_eq!(bench.handle.counters().dropped(DropReason::NoRules), 1);
}

#[test]
fn retired_rules_are_freed_by_the_control_thread() {
    let mut bench = Bench::running();
    let first = Arc::downgrade(&bench.gateway.rules);
    let second = bench.compile(RULES);
    bench.handle.publish(&second).unwrap();
    bench.turn();
    assert_eq!(bench.handle.status.generation(), 2);
    assert!(first.upgrade().is_some(), "the worker has sent them back, not freed them");
    bench.handle.reclaim();
    assert!(first.upgrade().is_none(), "and here they are freed");
}

#[test]
fn addresses_that_are_new_are_announced_once_adopted() {
    let mut bench = Bench::new();
    let rules = bench.compile(RULES);
    bench.handle.publish(&rules).unwrap();
    bench.turn();
    let announced: Vec<usize> = [0, OUT].map(|port| bench.take_sent(port).len()).into();
    assert_eq!(announced, [1, 2], "a gateway inside; an interface and a floating IP outside");
    let again = bench.compile(&RULES.replace("203.0.113.50", "203.0.113.51"));
    bench.handle.publish(&again).unwrap();
    bench.turn();
    assert_eq!([0, OUT].map(|port| bench.take_sent(port).len()), [0, 1]);
}

#[test]
fn pages_show_every_session_once() {
    let mut bench = Bench::running();
    let ports: HashSet<u16> = (2_000..3_300).collect();
    ports.iter().for_each(|port| bench.arrive(0, out(*port)));
    while !bench.turn() {}
    assert_eq!(bench.gateway.state.occupancy().sessions as usize, ports.len());

    let mut seen = Vec::new();
    let mut from = Some(0);
    while let Some(slot) = from {
        let page = SessionPage::new(slot);
        let memory = (page.sessions.as_ptr(), page.sessions.capacity());
        bench.handle.list(page).unwrap();
        assert!(bench.handle.take_page().is_none(), "the worker has not turned yet");
        bench.turn();
        let page = bench.handle.take_page().unwrap();
        assert!(page.sessions.len() <= SESSION_PAGE_MAX);
        assert_eq!(
            (page.sessions.as_ptr(), page.sessions.capacity()),
            memory,
            "the worker allocates nothing"
        );
        seen.extend(page.sessions.iter().map(|session| session.internal.port));
        from = page.next;
    }
    assert_eq!(seen.len(), ports.len());
    assert_eq!(seen.into_iter().collect::<HashSet<_>>(), ports);
}

#[test]
fn a_command_too_many_is_refused_and_none_is_lost() {
    let mut bench = Bench::running();
    bench.handle.reclaim();
    let mut accepted = 0;
    while bench.handle.list(SessionPage::new(accepted)).is_ok() {
        accepted += 1;
        assert!(accepted < 1_000, "commands have a bound");
    }
    assert!(accepted >= 8, "a few may wait");
    let rules = bench.compile(&RULES.replace("203.0.113.50", "203.0.113.51"));
    assert_eq!(bench.handle.publish(&rules), Err(Busy));

    // Each turn obeys one; forwarding goes on meanwhile. What is done frees its place once it was taken back.
    let mut came_back = Vec::new();
    for turn in 0..accepted {
        bench.arrive(0, out(turn as u16));
        bench.turn();
        assert_eq!(bench.take_sent(OUT).len(), 1);
        came_back.extend(std::iter::from_fn(|| bench.handle.take_page()).map(|page| page.from));
    }
    assert_eq!(came_back, (0..accepted).collect::<Vec<_>>());
    assert_eq!(bench.handle.status.generation(), 1);

    // The rules that were refused announce what they bring when they are published after all.
    bench.handle.publish(&rules).unwrap();
    bench.turn();
    assert_eq!(bench.handle.status.generation(), 2);
    assert_eq!(bench.take_sent(OUT).len(), 1, "the new floating IP");
}

#[test]
fn frames_a_port_refuses_are_counted_and_the_books_close() {
    let mut bench = Bench::running();
    bench.driver.set_room(4);
    (0..10).for_each(|port| bench.arrive(0, out(port)));
    bench.turn();
    assert_eq!(bench.handle.counters().dropped(DropReason::TransmitRingFull), 6);
    let sent = bench.take_sent(OUT);
    assert_eq!(sent.len(), 4, "the first ones, in order");
    assert!(sent.iter().all(|frame| Parsed::read(frame).unwrap().destination == SERVER));
    let books = bench.handle.counters().books();
    assert_eq!((books.dropped, books.received), (6, 10 + 4));
}

#[test]
fn what_a_port_carried_is_counted_by_port() {
    let mut bench = Bench::running();
    let [inside, outside] = [0, OUT].map(|port| {
        let port = &bench.handle.counters().ports[port];
        (port.received_frames.get(), port.received_bytes.get(), port.sent_frames.get(), port.sent_bytes.get())
    });
    let length = out(1).len() as u64;
    (0..3).for_each(|_| bench.arrive(0, out(1)));
    bench.turn();
    let port = &bench.handle.counters().ports[0];
    assert_eq!(
        (port.received_frames.get(), port.received_bytes.get()),
        (inside.0 + 3, inside.1 + 3 * length)
    );
    let port = &bench.handle.counters().ports[OUT];
    assert_eq!((port.sent_frames.get(), port.sent_bytes.get()), (outside.2 + 3, outside.3 + 3 * length));
}

#[test]
fn a_turn_takes_a_burst_of_every_port_and_says_whether_there_was_one() {
    let mut bench = Bench::running();
    let (turns, busy) = bench.handle.status.turns();
    (0..2 * BURST_FRAMES_MAX as u16).for_each(|port| bench.arrive(0, out(port)));
    bench.arrive(OUT, to_web(1));
    assert!(!bench.turn());
    assert_eq!(bench.take_sent(OUT).len(), BURST_FRAMES_MAX);
    assert_eq!(bench.take_sent(0).len(), 1, "a full port keeps no other waiting");
    assert!(!bench.turn());
    assert!(bench.turn());
    assert_eq!(bench.handle.status.turns(), (turns + 3, busy + 2));
    assert_eq!(bench.handle.status.heartbeat(), bench.now);
}

#[test]
fn a_worker_runs_on_its_own_thread_until_it_is_stopped() {
    let Bench { mut gateway, worker, mut handle, wires, .. } = Bench::running();
    let thread = std::thread::spawn(move || worker.run(Idle::Sleep));
    wires.arrive(0, 0, out(1));
    wait("a frame is carried", || !wires.take_sent(OUT).is_empty());
    wait("it says that it works", || handle.status.busy() > Duration::ZERO);
    let next = gateway.compile(RULES);
    handle.publish(&next).unwrap();
    wait("rules are adopted", || handle.status.generation() == next.generation);

    // An idle worker still turns, and its heart beats.
    let (before, _) = handle.status.turns();
    wait("it turns", || handle.status.turns().0 > before + 100);
    assert!(clock::moment().since(handle.status.heartbeat()) < 60_000, "it beats by the machine's clock");
    handle.stop();
    let (_, shards) = thread.join().unwrap();
    assert_eq!(shards.len(), 16, "it gives back what it owned");
    let (after, _) = handle.status.turns();
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(handle.status.turns().0, after);
    assert_eq!(handle.counters().books().balance(), 0);
}
