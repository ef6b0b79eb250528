//! The machine's own noise, without which a figure says little: how long memory takes, how fast the core is, and how long others had
//! the processor.

use std::cell::Cell;
use std::fs;
use std::hint::black_box;
use std::time::Instant;

/// What a neighbour may take without being seen otherwise: the memory's time, and the core's, which on most servers two threads
/// share.
pub struct Probes {
    memory: Vec<u32>,
    /// The least that the core took.
    best_ns: Cell<f64>,
}

impl Probes {
    /// What memory takes at most while nobody else is at it, in nanoseconds.
    pub const CALM_NS: f64 = 200.0;
    /// What the core takes at most while nobody else is on it, as a multiple of its best.
    pub const ALONE: f64 = 1.05;

    const CELLS: u32 = 1 << 24;
    const READS: u32 = 1 << 16;
    /// Some 25 us each.
    const PIECES: usize = 64;
    const PIECES_FIRST: usize = 4_096;

    /// One cycle through all cells (Sattolo), so that no read is repeated; and what the core can do.
    pub fn new() -> Self {
        let mut next: Vec<u32> = (0..Self::CELLS).collect();
        let mut random = Random::new(1);
        for index in (1..next.len()).rev() {
            next.swap(index, random.below(index));
        }
        let probes = Self { memory: next, best_ns: Cell::new(f64::INFINITY) };
        probes.core_of(Self::PIECES_FIRST);
        probes
    }

    /// Nanoseconds for a read that depends on the one before, over 64 MB.
    pub fn memory_ns(&self) -> f64 {
        let mut at = 0;
        let start = Instant::now();
        for _ in 0..Self::READS {
            at = self.memory[at as usize];
        }
        black_box(at);
        start.elapsed().as_nanos() as f64 / f64::from(Self::READS)
    }

    /// How long the core takes for instructions that do not wait for each other, as a multiple of the least it ever took: another
    /// thread on the same core takes its share of those.
    pub fn core(&self) -> f64 {
        self.core_of(Self::PIECES)
    }

    /// The median of so many pieces.
    fn core_of(&self, pieces: usize) -> f64 {
        let mut all: Vec<_> = (0..pieces).map(|_| piece_ns()).collect();
        all.sort_by(f64::total_cmp);
        self.best_ns.set(self.best_ns.get().min(all[0]));
        all[pieces / 2] / self.best_ns.get()
    }
}

#[cfg(test)]
impl Probes {
    /// Of a core that was once that fast, and of hardly any memory.
    pub(crate) fn of_core(best_ns: f64) -> Self {
        Self { memory: vec![0], best_ns: Cell::new(best_ns) }
    }
}

impl Default for Probes {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds for a piece of work without memory, of more instructions side by side than a core can do.
#[inline(never)]
fn piece_ns() -> f64 {
    let mut words: [u64; 6] = black_box([1, 2, 3, 4, 5, 6]);
    let start = Instant::now();
    for round in 0..20_000_u64 {
        let [a, b, c, d, e, f] = words;
        words = [
            a.rotate_left(3) ^ round,
            b.wrapping_add(round) ^ 0x55,
            c.rotate_left(7).wrapping_sub(round),
            d.wrapping_add(round).rotate_left(11),
            (e ^ round).wrapping_add(0x1234),
            f.wrapping_sub(round).rotate_left(17),
        ];
    }
    black_box(words);
    start.elapsed().as_nanos() as f64
}

/// Since when, and how long this thread had to wait and the machine was stolen until then.
pub struct Window {
    start: Instant,
    waited_ns: u64,
    stolen: u64,
}

/// How a window went.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    /// Of the window's time, how much this thread was ready to run and did not.
    pub waited: f64,
    /// The hypervisor took the processors away meanwhile, in clock ticks.
    pub stolen: u64,
}

impl Noise {
    /// What a figure that counts may have.
    pub fn is_quiet(&self) -> bool {
        self.stolen == 0 && self.waited < 0.02
    }
}

impl Window {
    /// Begins one.
    pub fn begin() -> Self {
        Self { waited_ns: waited_ns(), stolen: stolen(), start: Instant::now() }
    }

    /// Ends it.
    pub fn end(self) -> Noise {
        let ns = self.start.elapsed().as_nanos() as f64;
        Noise {
            waited: waited_ns().saturating_sub(self.waited_ns) as f64 / ns,
            stolen: stolen().saturating_sub(self.stolen),
        }
    }
}

/// The clock that figures in clocks are in: the processor's nominal rate, in GHz, which its time stamp counter has on
/// machines whose counter does not follow the frequency.
pub fn clock_ghz() -> f64 {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mhz = cpuinfo.lines().find_map(|line| line.strip_prefix("cpu MHz")?.split(": ").nth(1)?.parse().ok());
    mhz.map_or(1.0, |mhz: f64| mhz / 1_000.0)
}

/// The processor's name.
pub fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or("unknown").to_owned()
}

/// The second number of schedstat: ns spent ready and waiting.
fn waited_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

/// The eighth number of the first line of /proc/stat.
fn stolen() -> u64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    line.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Numbers without a pattern, from a seed: SplitMix64.
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next one, below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((u128::from(mixed ^ (mixed >> 31)) * end as u128) >> 64) as usize
    }
}
