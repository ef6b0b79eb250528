//! A gateway over a state of its own, flows that it knows, and the time that bursts of their packets take.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nat::{Configuration, Gateway, Sizes, State, WorkerIndex};
use packet::{MacAddress, Moment, PortIndex};
use rules::compiled::SegmentIndex;
use rules::{Numbers, RuleSet, Valid};

use crate::scene::{self, External, INSIDE, OUTSIDE, Pools};
use crate::worker::Worker;

/// Ends of sessions that are timed together.
const SESSIONS_TIMED: u32 = 4_096;
/// When every session that is not refreshed is over.
const LONG_AFTER_MS: u64 = 1_000_000;

/// As many frames are made at a time.
const FLOWS_AT_A_TIME: usize = 1 << 16;

/// See the file's page.
pub struct Bench {
    state: Arc<State>,
    /// The first of them carries what is not said to be another's.
    workers: Vec<Worker>,
    now_ms: u64,
    rules: Rules,
    /// The MAC that ARP says the addresses of each external network's pool have.
    answering: Vec<MacAddress>,
    /// What announces hosts and next hops.
    announced: (usize, usize),
    /// The first flow, and each flow's external endpoint from there on, once it is open.
    first: usize,
    externals: Vec<External>,
}

/// What a bench is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Sessions that there is to be room for.
    pub flows: usize,
    /// The first flow: those before are not this bench's.
    pub first: usize,
    /// Floating IPs.
    pub floating: usize,
    /// The pools.
    pub pools: Pools,
    /// Workers beside the first.
    pub more_workers: u8,
    /// Where keys and orders begin.
    pub seed: u64,
}

/// What of the rules may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Objects {
    /// Floating IPs.
    pub floating: usize,
    /// Whether the first network's pool has an address more than the plan says.
    pub one_more: bool,
}

/// Rules to be adopted, and the addresses to announce then.
pub type Next = (Arc<RuleSet>, Vec<(SegmentIndex, Ipv4Addr)>);

/// The rules that were compiled last, and what the next ones are compiled from.
struct Rules {
    pools: Pools,
    compiled: Arc<RuleSet>,
    numbers: Numbers,
    /// What was validated, by what may change.
    valid: HashMap<Objects, Valid>,
}

impl Rules {
    /// Reads, validates and compiles rules with these objects.
    fn compile(&mut self, objects: Objects) -> anyhow::Result<Arc<RuleSet>> {
        let valid = match self.valid.entry(objects) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let ports = ["inside".to_owned(), "outside".to_owned()];
                let pools = Pools { one_more: objects.one_more, ..self.pools.clone() };
                let fed = rules::read_rules(&scene::rules_of(&pools, objects.floating))?;
                let valid = rules::validate(&fed, &ports);
                entry.insert(valid.map_err(|faults| anyhow::anyhow!("{faults:?}"))?)
            }
        };
        let previous = Some(&*self.compiled).filter(|rules| rules.generation > 0);
        self.compiled = Arc::new(rules::compile(valid, previous, &mut self.numbers)?);
        Ok(Arc::clone(&self.compiled))
    }
}

impl Bench {
    /// A gateway with room for the plan's sessions and half as many again, because some shards have more than others.
    ///
    /// # Errors
    /// The rules or the memory.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let Plan { flows, first, floating, pools, more_workers, seed } = plan;
        let sessions = u32::try_from((*flows).max(4_096) * 3 / 2)?;
        let addresses = (scene::NETWORKS * pools.addresses + 1) as u32;
        let usual = Sizes::new(sessions, 16, addresses);
        // Each floating IP's host is a neighbour, whether it has sessions or not.
        let neighbours = u32::try_from(scene::hosts(first + flows, *floating) * 3 / 2)?;
        let sizes = Sizes { hosts: usual.hosts.max(neighbours), ..usual };
        let seed = [*seed, 1, 2, 3].map(|word| word ^ 0x243f_6a88_85a3_08d3);
        let (state, shards) = State::anonymous(&sizes, seed)?;
        let mut rules = Rules {
            pools: pools.clone(),
            compiled: Arc::default(),
            numbers: state.numbers(),
            valid: HashMap::new(),
        };
        let compiled = rules.compile(Objects { floating: *floating, one_more: false })?;
        state.store(&rules.numbers, compiled.generation);
        state.assign(1 + more_workers);
        let mut shards_of: Vec<_> = (0..=*more_workers).map(|_| Vec::new()).collect();
        for shard in shards {
            shards_of[usize::from(state.worker_of(shard.index()).0)].push(shard);
        }
        let gateways = (0..)
            .zip(shards_of)
            .map(|(me, shards)| Gateway::new(&state, WorkerIndex(me), shards, Configuration::default()));
        let workers = gateways.map(|gateway| Worker { gateway, io: Default::default() }).collect();
        let answering = (0..scene::NETWORKS).map(|network| answering(&compiled, network));
        let answering = answering.collect::<Option<_>>().context("each network has a pool")?;
        let announced = (first + flows, *floating);
        let externals = Vec::new();
        let mut bench =
            Self { state, workers, now_ms: 1, rules, answering, announced, first: *first, externals };
        for worker in &mut bench.workers {
            worker.gateway.adopt(Arc::clone(&bench.rules.compiled), Vec::new());
        }
        bench.announce();
        Ok(bench)
    }

    /// Every host and next hop says where it is. Each has to from time to time.
    pub fn announce(&mut self) {
        let (flows, floating) = self.announced;
        for (port, frame) in scene::announcements(flows, floating) {
            self.carry(port, &[frame]);
            self.hand_on();
        }
    }

    /// Opens the next flows: the first packet of each. Returns as [`Self::carry`] does.
    ///
    /// # Errors
    /// Where one did not go out.
    pub fn open(&mut self, flows: std::ops::Range<usize>) -> anyhow::Result<Vec<f64>> {
        self.open_by(flows, scene::request)
    }

    /// Opens flows by such frames.
    ///
    /// # Errors
    /// Where one did not go out.
    pub fn open_by(
        &mut self,
        flows: std::ops::Range<usize>,
        frame: impl Fn(usize) -> Vec<u8>,
    ) -> anyhow::Result<Vec<f64>> {
        let mut spent = Vec::new();
        for first in flows.clone().step_by(FLOWS_AT_A_TIME) {
            let requests: Vec<_> = (first..flows.end.min(first + FLOWS_AT_A_TIME)).map(&frame).collect();
            let (some, sent) = self.carry_kept(INSIDE, &requests);
            spent.extend(some);
            ensure!(sent.len() == requests.len(), "{} of {} flows opened", sent.len(), requests.len());
            self.externals.extend(sent);
        }
        Ok(spent)
    }

    /// The same with several workers: each flow's first packet by itself, because they leave in no order.
    ///
    /// # Errors
    /// Where one did not go out.
    pub fn open_unordered(&mut self, flows: std::ops::Range<usize>) -> anyhow::Result<()> {
        for flow in flows {
            let (_, sent) = self.carry_kept(INSIDE, &[scene::request(flow)]);
            ensure!(sent.len() == 1, "flow {flow} was not opened");
            self.externals.extend(sent);
        }
        Ok(())
    }

    /// Carries frames, and returns the external endpoints they left by too, in order where there is one worker.
    pub fn carry_kept(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> (Vec<f64>, Vec<External>) {
        for worker in &mut self.workers {
            worker.io.kept = Some(Vec::with_capacity(frames.len()));
        }
        let spent = self.carry(port, frames);
        self.hand_on();
        let kept = self.workers.iter_mut().filter_map(|worker| worker.io.kept.take()).flatten();
        (spent, kept.collect())
    }

    /// The first answer to each of some open flows, with which it is established.
    pub fn establish(&mut self, flows: std::ops::Range<usize>) {
        for first in flows.clone().step_by(FLOWS_AT_A_TIME) {
            let answers: Vec<_> =
                (first..flows.end.min(first + FLOWS_AT_A_TIME)).map(|flow| self.answer(flow)).collect();
            self.carry(OUTSIDE, &answers);
            self.hand_on();
        }
    }

    /// A frame of an open flow from its remote.
    pub fn answer(&self, flow: usize) -> Vec<u8> {
        scene::answer(flow, self.answers_to(flow), self.external(flow))
    }

    /// The MAC to which a flow's answers are sent.
    pub fn answers_to(&self, flow: usize) -> MacAddress {
        self.answering[scene::network_of(flow % scene::ROUTERS)]
    }

    /// The external endpoint of an open flow.
    pub fn external(&self, flow: usize) -> External {
        self.externals[flow - self.first]
    }

    /// Sessions open now.
    pub fn sessions(&self) -> u32 {
        self.state.occupancy().sessions
    }

    /// Compiles rules with these objects, to be adopted after those that were compiled before.
    ///
    /// # Errors
    /// The rules.
    pub fn compile(&mut self, objects: Objects) -> anyhow::Result<Next> {
        let before = Arc::clone(&self.rules.compiled);
        let compiled = self.rules.compile(objects)?;
        self.state.store(&self.rules.numbers, compiled.generation);
        let announcements = nat::new_addresses(&before, &compiled);
        Ok((compiled, announcements))
    }

    /// Lets time pass; what is to happen meanwhile happens in [`Self::tick`].
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
    }

    /// Now, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// What time asks for, in one turn of the first worker.
    pub fn tick(&mut self) {
        let now = Moment::from_ms(self.now_ms);
        self.workers[0].tick(now);
    }

    /// Turns of the first worker, one a millisecond, until no more than so many sessions are left.
    ///
    /// # Errors
    /// Where they are not gone after so long.
    pub fn tick_until(&mut self, sessions: u32, ms_max: u64) -> anyhow::Result<()> {
        for _ in 0..ms_max {
            if self.sessions() <= sessions {
                return Ok(());
            }
            self.pass(1);
            self.tick();
        }
        anyhow::bail!("{} sessions are left after {ms_max} ms, not {sessions}", self.sessions())
    }

    /// Lets so much time pass that all sessions are over, and turns until they are gone. Returns nanoseconds a session, of each group of
    /// so many.
    pub fn tear_down(&mut self) -> Vec<f64> {
        let mut spent = Vec::new();
        self.pass(LONG_AFTER_MS);
        while self.sessions() > 0 {
            let (before, start) = (self.sessions(), Instant::now());
            while before - self.sessions() < SESSIONS_TIMED.min(before) {
                self.pass(1);
                self.tick();
            }
            spent.push(start.elapsed().as_nanos() as f64 / f64::from(before - self.sessions()));
        }
        spent
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.workers.iter().map(|worker| worker.io.sent).sum()
    }

    /// Carries all frames through the first worker's gateway, which came in on `port`. Returns as [`Worker::carry`] does.
    pub fn carry(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> Vec<f64> {
        let now = Moment::from_ms(self.now_ms);
        self.workers[0].carry(port, frames, now)
    }

    /// The workers, each for a thread of its own, and now.
    pub fn workers(&mut self) -> (&mut [Worker], Moment) {
        (&mut self.workers, Moment::from_ms(self.now_ms))
    }

    /// Frames that the first worker has for others are carried by those.
    fn hand_on(&mut self) {
        let now = Moment::from_ms(self.now_ms);
        let mut under_way: Vec<_> = self.workers[0].gateway.outbox().drain(..).collect();
        self.workers[0].gateway.end_turn();
        for (to, handed) in under_way.drain(..) {
            let Worker { gateway, io } = &mut self.workers[usize::from(to.0)];
            gateway.process_handed(&mut std::iter::once(handed).collect(), now, io);
            gateway.end_turn();
        }
    }
}

fn answering(rules: &RuleSet, network: usize) -> Option<MacAddress> {
    let segment = rules.segment_of(OUTSIDE, scene::vlan_outside(network))?;
    let address = rules.segments[segment.0 as usize].addresses.get(&scene::pool_address(network))?;
    Some(rules.interfaces[address.interface.0 as usize].mac)
}
