//! What an input did: how many packets, how many of them forwarded, and which behaviours it reached.

use nat::DropReason;

/// Behaviours are numbered by a hash of what they are, so that a new counter needs no list here.
const FEATURES: usize = 1 << 16;

/// What inputs have reached together.
#[derive(Clone)]
pub struct Outcome {
    /// Frames that came in.
    pub packets: u64,
    /// Frames that went on to where they were sent.
    pub forwarded: u64,
    /// By reason.
    pub drops: [u64; DropReason::ALL.len()],
    reached: Box<[u64]>,
    new: Vec<u16>,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            packets: 0,
            forwarded: 0,
            drops: [0; DropReason::ALL.len()],
            reached: vec![0; FEATURES / 64].into(),
            new: Vec::new(),
        }
    }
}

impl Outcome {
    /// Notes a behaviour: of a kind, and what sets it apart within that.
    pub(crate) fn reach(&mut self, kind: u32, what: u32) {
        let mixed = (u64::from(kind) << 32 | u64::from(what)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let feature = (mixed >> 48) as u16;
        let (word, bit) = (usize::from(feature) / 64, feature % 64);
        if self.reached[word] >> bit & 1 == 0 {
            self.reached[word] |= 1 << bit;
            self.new.push(feature);
        }
    }

    /// The behaviours that were first reached since this was last asked.
    pub fn take_new(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.new)
    }

    /// How many behaviours were reached.
    pub fn features(&self) -> u32 {
        self.reached.iter().map(|word| word.count_ones()).sum()
    }

    /// The reasons no frame was dropped for.
    pub fn unreached(&self) -> Vec<DropReason> {
        DropReason::ALL.into_iter().filter(|reason| self.drops[*reason as usize] == 0).collect()
    }

    /// Adds what another input did, whose behaviours are counted as reached.
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.forwarded += other.forwarded;
        for (sum, one) in self.drops.iter_mut().zip(other.drops) {
            *sum += one;
        }
        for (sum, one) in self.reached.iter_mut().zip(&other.reached) {
            *sum |= one;
        }
    }
}
