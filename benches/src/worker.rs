//! A worker: its gateway, ports of its own, and the time that bursts of packets take there.

use std::hint::black_box;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Instant;

use nat::Gateway;
use packet::{BURST_FRAMES_MAX, Burst, Moment, PortIndex};
use rustix::time::{ClockId, clock_gettime};

use crate::memory::{Buffer, Memory};

/// Bursts whose headers fit in the first cache together: as many are timed at a time, so that the clock costs little.
const BURSTS_TIMED: usize = 4;

/// See the file's page.
pub struct Worker {
    pub(crate) gateway: Gateway<Buffer>,
    pub(crate) io: Memory,
}

impl Worker {
    /// Carries all frames through the gateway, which came in on `port`. Returns nanoseconds a packet, without filling the
    /// buffers: of each group of bursts that was timed.
    pub fn carry(&mut self, port: PortIndex, frames: &[Vec<u8>], now: Moment) -> Vec<f64> {
        self.carry_by(wall_ns, port, frames, now)
    }

    /// The same in nanoseconds for which the thread had a core.
    pub fn carry_on_cpu(&mut self, port: PortIndex, frames: &[Vec<u8>], now: Moment) -> Vec<f64> {
        self.carry_by(on_cpu_ns, port, frames, now)
    }

    fn carry_by(&mut self, clock: fn() -> u64, port: PortIndex, frames: &[Vec<u8>], now: Moment) -> Vec<f64> {
        timed(clock, &mut self.io, frames, |burst, io| {
            process(&mut self.gateway, port, burst, now, io);
            self.gateway.end_turn();
        })
    }

    /// A turn of the loop, with up to a burst of frames and what time asks for; `before` is what comes first. Returns its nanoseconds,
    /// without filling the buffers.
    pub fn turn(
        &mut self,
        port: PortIndex,
        frames: &[Vec<u8>],
        now: Moment,
        before: impl FnOnce(&mut Gateway<Buffer>),
    ) -> u64 {
        let mut burst: Burst<_> = frames.iter().map(|frame| self.io.filled(frame)).collect();
        let start = wall_ns();
        before(&mut self.gateway);
        process(&mut self.gateway, port, &mut burst, now, &mut self.io);
        self.gateway.tick(now, &mut self.io);
        self.gateway.end_turn();
        wall_ns() - start
    }

    /// What time asks for, in as many turns as that takes.
    pub fn tick(&mut self, now: Moment) {
        while self.gateway.tick(now, &mut self.io) {
            self.gateway.end_turn();
        }
        self.gateway.end_turn();
    }
}

static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Time that passes.
pub fn wall_ns() -> u64 {
    BEGAN.elapsed().as_nanos() as u64
}

/// Time for which this thread had a core. Not under a profiler: there the clock is not where it is looked for.
fn on_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Fills buffers with frames and has `work` work on them, a few bursts at a time. Returns nanoseconds a packet, of each such group.
pub(crate) fn timed(
    clock: fn() -> u64,
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
        let start = clock();
        for burst in &mut bursts {
            work(burst, io);
        }
        spent.push((clock() - start) as f64 / chunk.len() as f64);
    }
    spent
}

/// Loops that each burst makes in vain: for `scripts/gate`, which has to notice them.
pub static PLANTED: AtomicU32 = AtomicU32::new(0);

/// What `scripts/gate` counts.
#[inline(never)]
fn process(
    gateway: &mut Gateway<Buffer>,
    port: PortIndex,
    burst: &mut Burst<Buffer>,
    now: Moment,
    io: &mut Memory,
) {
    (0..PLANTED.load(Relaxed)).for_each(|_| black_box(()));
    gateway.process_burst(port, burst, now, io);
}
