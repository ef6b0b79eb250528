//! A gateway over a state of its own, flows that it knows, and the time that bursts of their packets take.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nat::{Configuration, Gateway, Sizes, State, WorkerIndex};
use packet::{BURST_FRAMES_MAX, Burst, MacAddress, Moment, PortIndex};
use rules::{Numbers, RuleSet};

use crate::memory::{Buffer, Memory};
use crate::scene::{self, External, INSIDE, OUTSIDE, Pools};

/// Ends of sessions that are timed together.
const SESSIONS_TIMED: u32 = 4_096;
/// When every session that is not refreshed is over.
const LONG_AFTER_MS: u64 = 1_000_000;
/// Bursts whose headers fit in the first cache together: as many are timed at a time, so that the clock costs little.
const BURSTS_TIMED: usize = 4;

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
    /// Each flow's external endpoint, once it is open.
    externals: Vec<External>,
}

/// What a bench is made of.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Sessions that there is to be room for.
    pub flows: usize,
    /// Floating IPs.
    pub floating: usize,
    /// The pools.
    pub pools: Pools,
    /// Workers beside the first.
    pub more_workers: u8,
    /// Where keys and orders begin.
    pub seed: u64,
}

/// A worker: its gateway, and ports of its own.
pub struct Worker {
    gateway: Gateway<Buffer>,
    io: Memory,
}

/// The rules in force, and what the next ones are compiled from.
struct Rules {
    pools: Pools,
    compiled: Arc<RuleSet>,
    numbers: Numbers,
}

impl Rules {
    /// Reads, validates and compiles rules with so many floating IPs.
    fn compile(&mut self, floating: usize) -> anyhow::Result<Arc<RuleSet>> {
        let ports = ["inside".to_owned(), "outside".to_owned()];
        let fed = rules::read_rules(&scene::rules(&self.pools, floating))?;
        let valid = rules::validate(&fed, &ports).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        let previous = Some(&*self.compiled).filter(|rules| rules.generation > 0);
        Ok(Arc::new(rules::compile(&valid, previous, &mut self.numbers)?))
    }
}

impl Bench {
    /// A gateway with room for the plan's sessions and half as many again, because some shards have more than others.
    ///
    /// # Errors
    /// The rules or the memory.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let Plan { flows, floating, pools, more_workers, seed } = plan;
        // There is room for a neighbour for each 32 sessions, and each floating IP's host is one.
        let sessions = u32::try_from((*flows).max(4_096).max(*floating * 32) * 3 / 2)?;
        let addresses = (scene::NETWORKS * pools.addresses) as u32;
        let seed = [*seed, 1, 2, 3].map(|word| word ^ 0x243f_6a88_85a3_08d3);
        let (state, shards) = State::anonymous(&Sizes::new(sessions, 16, addresses), seed)?;
        let mut rules = Rules { pools: pools.clone(), compiled: Arc::default(), numbers: state.numbers() };
        let compiled = rules.compile(*floating)?;
        state.store(&rules.numbers, compiled.generation);
        state.assign(1 + more_workers);
        let mut shards_of: Vec<_> = (0..=*more_workers).map(|_| Vec::new()).collect();
        for shard in shards {
            shards_of[usize::from(state.worker_of(shard.index()).0)].push(shard);
        }
        let gateways = (0..)
            .zip(shards_of)
            .map(|(me, shards)| Gateway::new(&state, WorkerIndex(me), shards, Configuration::default()));
        let workers = gateways.map(|gateway| Worker { gateway, io: Memory::default() }).collect();
        let answering = (0..scene::NETWORKS).map(|network| answering(&compiled, network));
        let answering = answering.collect::<Option<_>>().context("each network has a pool")?;
        let mut bench = Self { state, workers, now_ms: 1, rules, answering, externals: Vec::new() };
        bench.adopt(compiled);
        for (port, frame) in scene::announcements(*flows, *floating) {
            bench.carry(port, &[frame]);
            bench.hand_on();
        }
        Ok(bench)
    }

    /// Opens flows: the first packet of each. Returns as [`Self::carry`] does.
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
        scene::answer(flow, self.answers_to(flow), self.externals[flow])
    }

    /// The MAC to which a flow's answers are sent.
    pub fn answers_to(&self, flow: usize) -> MacAddress {
        self.answering[scene::network_of(flow % scene::ROUTERS)]
    }

    /// The external endpoint of an open flow.
    pub fn external(&self, flow: usize) -> External {
        self.externals[flow]
    }

    /// Sessions open now.
    pub fn sessions(&self) -> u32 {
        self.state.occupancy().sessions
    }

    /// Compiles rules with so many floating IPs, to be [adopted](Self::adopt).
    ///
    /// # Errors
    /// The rules.
    pub fn compile(&mut self, floating: usize) -> anyhow::Result<Arc<RuleSet>> {
        let compiled = self.rules.compile(floating)?;
        self.state.store(&self.rules.numbers, compiled.generation);
        Ok(compiled)
    }

    /// Has all workers run with other rules; returns the old ones, to be freed where that is not timed.
    pub fn adopt(&mut self, rules: Arc<RuleSet>) -> Vec<Arc<RuleSet>> {
        let old =
            self.workers.iter_mut().map(|worker| worker.gateway.adopt(Arc::clone(&rules), Vec::new()).0);
        let old = old.collect();
        self.rules.compiled = rules;
        old
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
        let Worker { gateway, io } = &mut self.workers[0];
        gateway.tick(Moment::from_ms(self.now_ms), io);
        gateway.end_turn();
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

impl Worker {
    /// Carries all frames through the gateway, which came in on `port`. Returns nanoseconds a packet, without filling the
    /// buffers: of each group of bursts that was timed.
    pub fn carry(&mut self, port: PortIndex, frames: &[Vec<u8>], now: Moment) -> Vec<f64> {
        timed(&mut self.io, frames, |burst, io| {
            process(&mut self.gateway, port, burst, now, io);
            self.gateway.end_turn();
        })
    }
}

/// Fills buffers with frames and has `work` work on them, a few bursts at a time. Returns nanoseconds a packet, of each such group.
pub(crate) fn timed(
    io: &mut Memory,
    frames: &[Vec<u8>],
    mut work: impl FnMut(&mut Burst<Buffer>, &mut Memory),
) -> Vec<f64> {
    let mut spent = Vec::with_capacity(frames.len() / (BURST_FRAMES_MAX * BURSTS_TIMED) + 1);
    for chunk in frames.chunks(BURST_FRAMES_MAX * BURSTS_TIMED) {
        let mut bursts: [Burst<Buffer>; BURSTS_TIMED] = std::array::from_fn(|_| Burst::new());
        for (burst, chunk) in bursts.iter_mut().zip(chunk.chunks(BURST_FRAMES_MAX)) {
            burst.extend(chunk.iter().map(|frame| io.filled(frame)));
        }
        let start = Instant::now();
        for burst in &mut bursts {
            work(burst, io);
        }
        spent.push(start.elapsed().as_nanos() as f64 / chunk.len() as f64);
    }
    spent
}

/// What `scripts/gate` counts.
#[inline(never)]
fn process(
    gateway: &mut Gateway<Buffer>,
    port: PortIndex,
    burst: &mut Burst<Buffer>,
    now: Moment,
    io: &mut Memory,
) {
    gateway.process_burst(port, burst, now, io);
}

fn answering(rules: &RuleSet, network: usize) -> Option<MacAddress> {
    let segment = rules.segment_of(OUTSIDE, scene::vlan_outside(network))?;
    let address = rules.segments[segment.0 as usize].addresses.get(&scene::pool_address(network))?;
    Some(rules.interfaces[address.interface.0 as usize].mac)
}
