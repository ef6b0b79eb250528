//! The floor: the least that any NAT does to a packet, over as much memory as the gateway's sessions take.
//!
//! ```text
//! read     a plain packet; by its addresses and ports a bucket and a line, any two, both asked for
//! send     the bucket read, the line read and written; source, port, TTL and checksums changed; sent
//! ```
//!
//! No rules, no keys compared, no neighbour, no counters. What the gateway takes more than this is what it could still lose.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrayvec::ArrayVec;
use flowtable::{Carver, Cells, Region};
use packet::{BURST_FRAMES_MAX, Burst, Frame as _, PacketIo as _, Plain};

use crate::memory::{Buffer, Memory};
use crate::scene::OUTSIDE;
use crate::worker::{timed, wall_ns};

/// A cache line.
type Line = [AtomicU64; 8];

/// Lines whose entries a bucket of the gateway's index has.
const LINES_PER_BUCKET: usize = 7;

/// See the file's page.
pub struct Floor {
    buckets: Cells<Line>,
    lines: Cells<Line>,
    io: Memory,
}

impl Floor {
    /// As much memory as `flows` sessions take to be found and read.
    ///
    /// # Errors
    /// Where there is not as much.
    pub fn new(flows: usize) -> anyhow::Result<Self> {
        let carve = |carver: &mut Carver| {
            let lines = 2 * flows.max(1);
            (carver.cells(lines.div_ceil(LINES_PER_BUCKET)), carver.cells(lines))
        };
        let mut measuring = Carver::measuring();
        carve(&mut measuring);
        let region = Region::anonymous(measuring.bytes())?;
        let (buckets, lines) = carve(&mut Carver::over(&region));
        Ok(Self { buckets, lines, io: Memory::default() })
    }

    /// Carries all frames. Returns nanoseconds a packet, of each group of bursts that was timed.
    pub fn carry(&mut self, frames: &[Vec<u8>]) -> Vec<f64> {
        let Self { buckets, lines, io } = self;
        timed(wall_ns, io, frames, |burst, io| process(buckets, lines, burst, io))
    }

    /// Packets sent so far.
    pub fn sent(&self) -> u64 {
        self.io.sent
    }
}

#[inline(never)]
fn process(buckets: &Cells<Line>, lines: &Cells<Line>, burst: &mut Burst<Buffer>, io: &mut Memory) {
    let mut read = ArrayVec::<_, BURST_FRAMES_MAX>::new();
    for frame in burst.iter() {
        let Some((plain, _)) = Plain::read(frame.bytes()) else { continue };
        let hash = (plain.addresses ^ u64::from(plain.ports)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = (hash ^ hash >> 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let (bucket, line) = (reduce(hash, buckets.len()), reduce(hash.rotate_left(32), lines.len()));
        buckets.prefetch(bucket);
        lines.prefetch(line);
        read.push((plain, bucket, line));
    }
    for ((plain, bucket, line), mut frame) in read.into_iter().zip(burst.drain(..)) {
        let line = lines.get(line);
        let seen = line[0].load(Relaxed).wrapping_add(buckets.get(bucket)[0].load(Relaxed));
        line[0].store(seen.wrapping_add(1), Relaxed);
        let new = plain.source_at(Ipv4Addr::new(198, 18, 0, 64));
        plain.replace_source(frame.bytes_mut(), usize::from(plain.network_offset), new, None);
        io.send(OUTSIDE, frame);
    }
}

/// Spreads 32 bits of a hash over `0..count`.
fn reduce(hash: u64, count: usize) -> usize {
    (((hash & 0xffff_ffff) * count as u64) >> 32) as usize
}
