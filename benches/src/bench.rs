//! A gateway over a state of its own, flows that it knows, and the time that bursts of their packets take.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use nat::{Configuration, Gateway, Sizes, State, WorkerIndex};
use packet::{BURST_FRAMES_MAX, Burst, MacAddress, Moment, PortIndex};
use rules::RuleSet;

use crate::memory::{Buffer, Memory};
use crate::scene::{self, External, INSIDE, OUTSIDE};

const NOW: Moment = Moment::from_ms(1);
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
    gateway: Gateway<Buffer>,
    io: Memory,
    /// The MAC that ARP says the addresses of each external network's pool have.
    answering: Vec<MacAddress>,
    /// Each flow's external endpoint, once it is open.
    externals: Vec<External>,
}

impl Bench {
    /// A gateway with room for `flows` sessions and half as many again, because some shards have more than others.
    ///
    /// # Errors
    /// The rules or the memory.
    pub fn new(flows: usize, floating: usize, seed: u64) -> anyhow::Result<Self> {
        let sessions = u32::try_from(flows.max(4_096) * 3 / 2)?;
        let addresses = (scene::NETWORKS * scene::ADDRESSES) as u32;
        let seed = [seed, 1, 2, 3].map(|word| word ^ 0x243f_6a88_85a3_08d3);
        let (state, shards) = State::anonymous(&Sizes::new(sessions, 16, addresses), seed)?;
        let ports = ["inside".to_owned(), "outside".to_owned()];
        let rules = rules::read_rules(&scene::rules(floating))?;
        let rules = rules::validate(&rules, &ports).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
        let mut numbers = state.numbers();
        let rules = Arc::new(rules::compile(&rules, None, &mut numbers)?);
        state.store(&numbers, rules.generation);
        state.assign(1);
        let mut gateway = Gateway::new(&state, WorkerIndex(0), shards, Configuration::default());
        let answering = (0..scene::NETWORKS).map(|network| answering(&rules, network));
        let answering = answering.collect::<Option<_>>().context("each network has a pool")?;
        gateway.adopt(rules, Vec::new());
        let mut bench = Self { state, gateway, io: Memory::default(), answering, externals: Vec::new() };
        for (port, frame) in scene::announcements(flows, floating) {
            bench.carry(port, &[frame]);
        }
        Ok(bench)
    }

    /// Opens flows: the first packet of each. Returns as [`Self::carry`] does.
    ///
    /// # Errors
    /// Where one did not go out.
    pub fn open(&mut self, flows: std::ops::Range<usize>) -> anyhow::Result<Vec<f64>> {
        let mut spent = Vec::new();
        for first in flows.clone().step_by(FLOWS_AT_A_TIME) {
            let requests: Vec<_> =
                (first..flows.end.min(first + FLOWS_AT_A_TIME)).map(scene::request).collect();
            self.io.kept = Some(Vec::with_capacity(requests.len()));
            spent.extend(self.carry(INSIDE, &requests));
            let sent = self.io.kept.take().context("kept")?;
            ensure!(sent.len() == requests.len(), "{} of {} flows opened", sent.len(), requests.len());
            self.externals.extend(sent);
        }
        Ok(spent)
    }

    /// The first answer to each of some open flows, with which it is established.
    pub fn establish(&mut self, flows: std::ops::Range<usize>) {
        for first in flows.clone().step_by(FLOWS_AT_A_TIME) {
            let answers: Vec<_> =
                (first..flows.end.min(first + FLOWS_AT_A_TIME)).map(|flow| self.answer(flow)).collect();
            self.carry(OUTSIDE, &answers);
        }
    }

    /// A frame of an open flow from its remote.
    pub fn answer(&self, flow: usize) -> Vec<u8> {
        let network = scene::network_of(flow % scene::ROUTERS);
        scene::answer(flow, self.answering[network], self.externals[flow])
    }

    /// Sessions open now.
    pub fn sessions(&self) -> u32 {
        self.state.occupancy().sessions
    }

    /// Lets so much time pass that all sessions are over, and turns until they are gone. Returns nanoseconds a session, of each group of
    /// so many.
    pub fn tear_down(&mut self) -> Vec<f64> {
        let (mut spent, mut now_ms) = (Vec::new(), LONG_AFTER_MS);
        while self.sessions() > 0 {
            let (before, start) = (self.sessions(), Instant::now());
            while before - self.sessions() < SESSIONS_TIMED.min(before) {
                now_ms += 1;
                self.gateway.tick(Moment::from_ms(now_ms), &mut self.io);
                self.gateway.end_turn();
            }
            spent.push(start.elapsed().as_nanos() as f64 / f64::from(before - self.sessions()));
        }
        spent
    }

    /// Frames sent so far.
    pub fn sent(&self) -> u64 {
        self.io.sent
    }

    /// Carries all frames through the gateway, which came in on `port`. Returns nanoseconds a packet, without filling the
    /// buffers: of each group of bursts that was timed.
    pub fn carry(&mut self, port: PortIndex, frames: &[Vec<u8>]) -> Vec<f64> {
        let mut spent = Vec::with_capacity(frames.len() / (BURST_FRAMES_MAX * BURSTS_TIMED) + 1);
        for chunk in frames.chunks(BURST_FRAMES_MAX * BURSTS_TIMED) {
            let mut bursts: [Burst<Buffer>; BURSTS_TIMED] = std::array::from_fn(|_| Burst::new());
            for (burst, chunk) in bursts.iter_mut().zip(chunk.chunks(BURST_FRAMES_MAX)) {
                burst.extend(chunk.iter().map(|frame| self.io.filled(frame)));
            }
            let start = Instant::now();
            for burst in &mut bursts {
                process(&mut self.gateway, port, burst, &mut self.io);
                self.gateway.end_turn();
            }
            spent.push(start.elapsed().as_nanos() as f64 / chunk.len() as f64);
        }
        spent
    }
}

/// What `scripts/gate` counts.
#[inline(never)]
fn process(gateway: &mut Gateway<Buffer>, port: PortIndex, burst: &mut Burst<Buffer>, io: &mut Memory) {
    gateway.process_burst(port, burst, NOW, io);
}

fn answering(rules: &RuleSet, network: usize) -> Option<MacAddress> {
    let segment = rules.segment_of(OUTSIDE, scene::vlan_outside(network))?;
    let address = rules.segments[segment.0 as usize].addresses.get(&scene::pool_address(network))?;
    Some(rules.interfaces[address.interface.0 as usize].mac)
}
