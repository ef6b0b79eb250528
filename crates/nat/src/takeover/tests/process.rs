//! A process as far as its flow state goes: rules, hosts that send, and an end that nobody announced.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flowtable::{HugePages, LineIndex};
use packet::tcp::SYN;
use packet::{Fragment, Moment, Parsed, Payload, Protocol};
use rules::RuleSet;
use rules::compiled::{AddressIndex, Realm};

use crate::DropReason;
use crate::flow::{Endpoint, Flow};
use crate::idle_reset::Idle;
use crate::mappings::Foresight;
use crate::ports::PortSpace;
use crate::shard::{Shard, Terms};
use crate::state::{Sizes, State, WorkerIndex};
use crate::takeover::Takeover;

pub(super) const SIZES: Sizes = Sizes::new(4_096, 4, 4);
pub(super) const BOOT: [u64; 2] = [11, 22];
/// How many turns of the worker's time is passed in.
const TURNS: u64 = 1_000;
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(super) const TENANTS: [&str; 2] = ["red", "blue"];
const POOLS: [&str; 2] = ["203.0.113.10, 203.0.113.11", "203.0.113.20"];

/// Two tenants with the same subnet, in this order, beside others with subnets of their own.
pub(super) fn rules(tenants: &[&str]) -> String {
    let mut segments = "segments:\n  - {id: internet, port: out0}\n".to_owned();
    let mut pools = "pools:\n".to_owned();
    let mut routers = "routers:\n".to_owned();
    for tenant in tenants {
        let number = TENANTS.iter().position(|one| one == tenant).unwrap();
        let addresses = POOLS[number];
        segments += &format!("  - {{id: {tenant}-lan, port: in0, vlan: {}}}\n", 100 + number);
        pools +=
            &format!("  - {{id: {tenant}, addresses: [{addresses}], ports: 1024-65535, hold_down_s: 60}}\n");
        routers += &format!(
            "  - id: {tenant}
    interfaces:
      - {{id: lan, segment: {tenant}-lan, mac: \"fa:16:3e:00:0{number}:01\", addresses: [10.0.0.1/16]}}
      - {{id: ext, segment: internet, mac: \"fa:16:3e:00:0{number}:03\", addresses: [203.0.113.{}/24], external: true}}
    gateways: [{{interface: ext, next_hop: 203.0.113.1, pool: {tenant}}}]
",
            2 + number
        );
    }
    segments + &pools + &routers
}

/// See the file's page.
pub(super) struct Process {
    pub(super) state: Arc<State>,
    pub(super) shards: Vec<Shard>,
    pub(super) rules: RuleSet,
    pub(super) takeover: Takeover,
    pub(super) now_ms: u64,
    path: PathBuf,
}

impl Process {
    /// Opens the region at a path, with both tenants' rules.
    pub(super) fn start(path: &Path, now_ms: u64) -> Self {
        Self::start_with(path, now_ms, &TENANTS)
    }

    pub(super) fn start_with(path: &Path, now_ms: u64, tenants: &[&str]) -> Self {
        Self::start_sized(path, &SIZES, now_ms, &rules(tenants))
    }

    pub(super) fn start_sized(path: &Path, sizes: &Sizes, now_ms: u64, rules: &str) -> Self {
        // The operating system gives every process another seed.
        let seed = [now_ms, 2, now_ms, 4];
        let (state, shards, takeover) =
            State::open_in(path, sizes, seed, Moment::from_ms(now_ms), HugePages::NotAsked, BOOT).unwrap();
        state.assign(2);
        let mut process =
            Self { state, shards, rules: RuleSet::default(), takeover, now_ms, path: path.to_owned() };
        process.adopt(rules);
        process
    }

    pub(super) fn adopt(&mut self, rules: &str) {
        let fed = rules::read_rules(rules).unwrap_or_else(|error| panic!("{error}\n{rules}"));
        let valid = rules::validate(&fed, &["in0".into(), "out0".into()]).unwrap();
        let mut numbers = self.state.numbers();
        self.rules = rules::compile(&valid, None, &mut numbers).unwrap();
        self.state.store(&numbers, self.rules.generation);
    }

    /// Ends the process between two instructions: what it has written stays as it is, under another name, because the first
    /// is locked for as long as this test lives.
    pub(super) fn kill(self) -> PathBuf {
        let path = self.path.with_extension(format!("after-{}", self.now_ms));
        std::fs::copy(&self.path, &path).unwrap();
        path
    }

    pub(super) fn realm(&self, tenant: &str) -> Realm {
        self.rules.routers.iter().find(|router| router.id == tenant).unwrap().realm
    }

    fn now(&self) -> u32 {
        self.now_ms as u32
    }

    /// The flow of a tenant's host to the server's port 80.
    pub(super) fn flow(&self, tenant: &str, protocol: Protocol, host: u16, port: u16) -> Flow {
        let [high, low] = host.to_be_bytes();
        let source = Endpoint { address: Ipv4Addr::new(10, 0, high, low), port };
        let destination = Endpoint { address: SERVER, port: if protocol == Protocol::ICMP { 0 } else { 80 } };
        Flow::new(self.realm(tenant), protocol, source, destination)
    }

    pub(super) fn shard_of(&mut self, flow: &Flow) -> &mut Shard {
        let shard = self.state.shard_of_host(flow.realm(), flow.source().address);
        &mut self.shards[usize::from(shard.0)]
    }

    pub(super) fn line(&self, flow: &Flow) -> Option<LineIndex> {
        self.state.line(self.state.shard_of_host(flow.realm(), flow.source().address), flow, None)
    }

    /// What a packet out does: finds its session, or opens it. Returns the external endpoint.
    pub(super) fn send(&mut self, flow: &Flow) -> Endpoint {
        let now_ms = self.now();
        let found = self.line(flow).filter(|line| self.state.stands(*line, &self.rules, now_ms));
        let line = found.unwrap_or_else(|| {
            let (state, rules) = (Arc::clone(&self.state), std::mem::take(&mut self.rules));
            let router = rules.router_of(flow.realm()).unwrap();
            let router = &rules.routers[router.0 as usize];
            let counters = state.counters(WorkerIndex(0));
            let shard = self.shard_of(flow);
            // A turn of its own.
            state.probes(shard.index()).refill();
            if let Some(line) = state.line(shard.index(), flow, None) {
                shard.close_line(line, counters, now_ms);
            }
            let terms = Terms { rules: &rules, router, counters, now_ms };
            let pool = router.gateways[0].pool.unwrap();
            let opened = shard.open_outbound(flow, pool, &Foresight::default(), &terms);
            self.rules = rules;
            opened.unwrap()
        });
        self.state.touch(line, &packet(flow), now_ms);
        self.state.translated(line).source()
    }

    /// What a packet in does, from the server's port 80: the internal flow it belongs to.
    pub(super) fn receive(&mut self, protocol: Protocol, external: Endpoint) -> Option<Flow> {
        let realm = self.rules.pools[0].realm;
        let remote = Endpoint { address: SERVER, port: if protocol == Protocol::ICMP { 0 } else { 80 } };
        let flow = Flow::new(realm, protocol, remote, external);
        let shard = self.state.shard_of_port(self.number(external.address)?, &flow)?;
        let line = self.state.line(shard, &flow, None)?;
        if !self.state.stands(line, &self.rules, self.now()) {
            return None;
        }
        self.state.touch(line, &packet(&flow), self.now());
        Some(self.state.translated(line).reversed())
    }

    /// What the first packet of a session from outside does; why it is dropped, if it is.
    pub(super) fn comes_in(
        &mut self,
        protocol: Protocol,
        remote: Endpoint,
        external: Endpoint,
    ) -> Option<DropReason> {
        let flow = Flow::new(self.rules.pools[0].realm, protocol, remote, external);
        let shard =
            self.number(external.address).and_then(|address| self.state.shard_of_port(address, &flow));
        let Some(shard) = shard else { return Some(DropReason::NoMapping) };
        let (now_ms, counters) = (self.now(), self.state.counters(WorkerIndex(0)));
        self.shards[usize::from(shard.0)].open_inbound(&flow, &self.rules, counters, now_ms).err()
    }

    /// The first half of an opening: everything is taken, nothing inserted, and the intent set.
    pub(super) fn acquire(&mut self, tenant: &str, flow: &Flow) {
        let (rules, now_ms) = (std::mem::take(&mut self.rules), self.now());
        let pool = rules.pools.iter().find(|pool| pool.id == tenant).unwrap();
        self.shard_of(flow).mappings.acquire(flow, pool, &Foresight::default(), now_ms).unwrap();
        self.rules = rules;
    }

    pub(super) fn close(&mut self, flow: &Flow) {
        let (line, now_ms, state) = (self.line(flow).unwrap(), self.now(), Arc::clone(&self.state));
        self.shard_of(flow).close_line(line, state.counters(WorkerIndex(0)), now_ms);
    }

    /// Lets time pass, in turns.
    pub(super) fn pass(&mut self, ms: u64) {
        for _ in 0..TURNS {
            self.now_ms += ms / TURNS;
            for shard in &mut self.shards {
                shard.expire(
                    &self.rules,
                    self.state.counters(WorkerIndex(1)),
                    self.now_ms as u32,
                    &mut Idle::new(),
                );
            }
        }
    }

    pub(super) fn number(&self, address: Ipv4Addr) -> Option<AddressIndex> {
        self.state.parts.addresses.find(self.rules.pools[0].realm, address)
    }

    /// Ports in use or held, by address: as counted, and as their cells say.
    pub(super) fn ports_used(&self) -> BTreeMap<Ipv4Addr, (u32, usize)> {
        let records = self.state.parts.addresses.records();
        let used = records.map(|(number, (_, address))| {
            let spaces = self.state.parts.ports.spaces_of(number);
            let used = |space: PortSpace| (0..=u16::MAX).filter(|port| !space.get(*port).is_free()).count();
            (address, (self.state.ports_used(number), spaces.map(used).sum()))
        });
        used.collect()
    }

    /// Everything that must not change when a process ends.
    pub(super) fn holdings(&self) -> (crate::Occupancy, BTreeMap<Ipv4Addr, (u32, usize)>) {
        (self.state.occupancy(), self.ports_used())
    }
}

/// What is left of this where nothing is held: how much there is room for.
pub(super) fn emptied(occupancy: crate::Occupancy) -> crate::Occupancy {
    let crate::Occupancy { sessions_max, hosts_max, mappings_max, neighbours_max, .. } = occupancy;
    crate::Occupancy { sessions_max, hosts_max, mappings_max, neighbours_max, ..Default::default() }
}

/// As much of a packet of the flow as a session looks at.
fn packet(flow: &Flow) -> Parsed {
    Parsed {
        payload: Payload::Ipv4,
        vlan: None,
        network_offset: 14,
        transport_offset: 34,
        total_length: 100,
        source: flow.source().address,
        destination: flow.destination().address,
        protocol: flow.protocol(),
        ttl: 64,
        fragment: Fragment::Whole,
        dont_fragment: false,
        source_port: flow.source().port,
        destination_port: flow.destination().port,
        tcp_flags: if flow.protocol() == Protocol::TCP { SYN } else { 0 },
        tcp_header_length: if flow.protocol() == Protocol::TCP { 20 } else { 0 },
        tcp_window: 0,
        tcp_sequence: 0,
        tcp_acknowledgement: 0,
        icmp_type: 0,
        icmp_code: 0,
    }
}
