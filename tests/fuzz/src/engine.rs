//! A small engine: seeded, coverage by behaviour, no instrumentation, so that it runs on stable Rust and in plain tests.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::{Outcome, Target};

/// SplitMix64: good enough to choose, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Choices that this seed decides.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Inputs worth changing further.
pub struct Engine {
    target: Target,
    random: Random,
    length_max: usize,
    /// What its inputs reached and did.
    pub outcome: Outcome,
    inputs: Vec<Vec<u8>>,
}

impl Engine {
    /// An engine whose inputs are at most so long, beginning with these.
    pub fn new(target: Target, seed: u64, length_max: usize, inputs: Vec<Vec<u8>>) -> Self {
        let mut engine = Self {
            target,
            random: Random::new(seed),
            length_max,
            outcome: Outcome::default(),
            inputs: Vec::new(),
        };
        for input in inputs {
            engine.target.play(&input, &mut engine.outcome);
            engine.outcome.take_new();
            engine.inputs.push(input);
        }
        engine
    }

    /// Plays one more input, which is shown before, for whoever wants to know what it was that panicked.
    pub fn step(&mut self, show: impl FnOnce(&[u8])) {
        let input = self.choose();
        show(&input);
        self.target.play(&input, &mut self.outcome);
        if !self.outcome.take_new().is_empty() {
            self.inputs.push(input);
        }
    }

    /// Inputs kept.
    pub fn into_inputs(self) -> Vec<Vec<u8>> {
        self.inputs
    }

    fn choose(&mut self) -> Vec<u8> {
        let random = &mut self.random;
        if self.inputs.is_empty() || random.below(8) == 0 {
            let length = 1 + random.below(self.length_max);
            return (0..length).map(|_| random.next() as u8).collect();
        }
        let mut input = self.inputs[random.below(self.inputs.len())].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(input.len());
            match random.below(7) {
                0 | 1 if !input.is_empty() => input[at] = random.next() as u8,
                2 if !input.is_empty() => input[at] ^= 1 << random.below(8),
                3 => {
                    let length = random.below(8).min(input.len() - at.min(input.len()));
                    input.drain(at..at + length);
                }
                4 => {
                    let new: Vec<u8> = (0..random.below(8)).map(|_| random.next() as u8).collect();
                    input.splice(at..at, new);
                }
                5 => {
                    // A part of another, or of itself.
                    let other = self.inputs[random.below(self.inputs.len())].clone();
                    let from = random.below(other.len());
                    let length = random.below(64).min(other.len() - from);
                    input.splice(at..at, other[from..from + length].iter().copied());
                }
                _ => input.extend((0..random.below(self.length_max / 4)).map(|_| random.next() as u8)),
            }
        }
        input.truncate(self.length_max);
        input
    }
}

/// The few inputs that reach all that `inputs` reach, the richest first.
pub fn minimise(target: Target, mut inputs: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    inputs.sort_by_cached_key(|input| std::cmp::Reverse(features_of(target, input)));
    let mut all = Outcome::default();
    inputs.retain(|input| {
        target.play(input, &mut all);
        !all.take_new().is_empty()
    });
    inputs
}

fn features_of(target: Target, input: &[u8]) -> u32 {
    let mut outcome = Outcome::default();
    target.play(input, &mut outcome);
    outcome.features()
}

/// Where a target's part of the corpus is.
pub fn corpus_directory(target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name())
}

/// The inputs in a directory, in the order of their names; none where it is not there.
///
/// # Errors
/// Where they cannot be read.
pub fn read_corpus(directory: &Path) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut inputs = Vec::new();
    if directory.exists() {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            inputs.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
        }
    }
    inputs.sort();
    Ok(inputs)
}
