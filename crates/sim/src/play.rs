//! Random operations, few endpoints and fewer ports, so that everything happens often: collisions, exhaustion, hairpins,
//! late answers. What comes out is compared with the oracle's, packet by packet.
//!
//! ```text
//! hosts.rs     packets that somebody sends: questions, answers, complaints, forgeries
//! packets.rs   what they are made of; and pieces of them
//! ```

mod hosts;
mod packets;

use std::fmt;

use crate::oracle::{Frame, Oracle};
use crate::random::Random;
use crate::team::{Changes, Team};
use crate::{rules_text, scene, show};

/// The clock starts a minute before its 32 bits of milliseconds wrap.
const START_MS: u64 = u32::MAX as u64 - 60_000;

/// Packets that are remembered, to be answered, repeated or complained about.
const REMEMBERED: usize = 48;

/// Pieces that are under way, at most.
const PIECES: usize = 24;

/// How often the books are looked at, and all sessions and ports.
const STEPS_PER_CHECK: u64 = 64;
const STEPS_PER_COUNT: u64 = 2_048;

/// Of a leap through time, how much a gateway is awake for: a turn.
const TURN_MS: u64 = 250;

/// Turns after a leap.
const TURNS: usize = 6;

/// Longer than any session's timer, and than any port rests.
const SESSIONS_END_MS: u64 = 8_000_000;
const RESTS_END_MS: u64 = 200_000;

/// One play of a seed.
pub struct Play {
    random: Random,
    team: Team,
    oracle: Oracle,
    seed: u64,
    step: u64,
    delivered: Vec<Frame>,
    pieces: Vec<Frame>,
    trace_hash: u64,
    /// How often each reason to drop had been given when a packet was last sent.
    drops: Vec<(&'static str, u64)>,
    /// A disagreement is to be told with all that both remember.
    pub explains: bool,
    /// Every packet is to be shown.
    pub traces: bool,
    /// What has been done.
    pub report: Report,
    world: crate::oracle::World,
}

/// What a play has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Operations.
    pub operations: u64,
    /// Packets that were sent in.
    pub packets: u64,
    /// Verdicts: dropped, sent on, answered by an error.
    pub judged: [u64; 3],
}

impl Report {
    /// The sum of two.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.packets += other.packets;
        for (sum, other) in self.judged.iter_mut().zip(other.judged) {
            *sum += other;
        }
    }
}

/// Where gateways and oracle disagreed.
#[derive(Debug)]
pub struct Disagreement(String);

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Play {
    /// A play that has not begun.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let world = scene::world(&mut random);
        let team = Team::new(&world, 1 + random.below(3), seed, START_MS);
        Self {
            random,
            team,
            oracle: Oracle::new(world.clone(), START_MS),
            seed,
            step: 0,
            delivered: Vec::new(),
            pieces: Vec::new(),
            trace_hash: 0xcbf2_9ce4_8422_2325,
            drops: Vec::new(),
            explains: false,
            traces: false,
            report: Report::default(),
            world,
        }
    }

    /// One operation.
    ///
    /// # Errors
    /// Where gateways and oracle disagree about it.
    pub fn step(&mut self) -> Result<(), Disagreement> {
        self.step += 1;
        self.report.operations += 1;
        let ms = 1 + self.random.below(40) as u64;
        self.pass(ms)?;
        match self.random.below(30_000) {
            0..27_100 => match self.some_packet() {
                Some(frame) => self.send(frame),
                None => Ok(()),
            },
            27_100..28_200 => self.send_piece(),
            28_200..29_895 => self.leap(500, 12_000),
            29_895..29_955 => self.leap(10_000, 200_000),
            29_955..29_961 => self.leap(1_000_000, 8_000_000),
            29_961..29_990 => self.change_rules(),
            29_990..29_998 => self.restart(),
            _ => self.crash(),
        }?;
        if self.step.is_multiple_of(STEPS_PER_CHECK) {
            self.check()?;
        }
        Ok(())
    }

    /// One of the pieces that are under way arrives, or something more is cut.
    fn send_piece(&mut self) -> Result<(), Disagreement> {
        if self.pieces.len() < PIECES
            && self.random.one_in(3)
            && let Some(frame) = self.some_packet()
        {
            let pieces = self.some_pieces(&frame);
            self.pieces.extend(pieces);
        }
        // Soon one after the other, or they are too late.
        for _ in 0..1 + self.random.below(4) {
            if !self.pieces.is_empty() {
                let at = self.random.below(self.pieces.len());
                let piece = self.pieces.swap_remove(at);
                self.send(piece)?;
            }
        }
        Ok(())
    }

    fn leap(&mut self, from_ms: usize, to_ms: usize) -> Result<(), Disagreement> {
        let ms = from_ms + self.random.below(to_ms - from_ms);
        self.pass(ms as u64)?;
        (0..TURNS).try_for_each(|_| self.pass(TURN_MS))
    }

    fn change_rules(&mut self) -> Result<(), Disagreement> {
        let world = scene::variant(&self.world, &mut self.random);
        if self.traces {
            println!("{} at {} ms: {}", self.step, self.team.now_ms, rules_text::rules(&world));
        }
        self.team.adopt(&world);
        self.oracle.change(world);
        self.pass(50)
    }

    fn restart(&mut self) -> Result<(), Disagreement> {
        self.team.restart(1 + self.random.below(3));
        self.oracle.restart();
        Ok(())
    }

    fn crash(&mut self) -> Result<(), Disagreement> {
        if self.traces {
            println!("{} at {} ms: the process is killed", self.step, self.team.now_ms);
        }
        // Three in a minute would start empty.
        self.leap(61_000, 90_000)?;
        let workers = 1 + self.random.below(3);
        self.team.crash(&self.oracle.world, workers);
        self.oracle.restart();
        Ok(())
    }

    fn pass(&mut self, ms: u64) -> Result<(), Disagreement> {
        let out = self.team.pass(&self.oracle.world, ms);
        self.oracle.wait(self.team.now_ms, ms.min(TURN_MS));
        self.judge(None, &out)
    }

    fn send(&mut self, frame: Frame) -> Result<(), Disagreement> {
        self.report.packets += 1;
        self.drops = if self.explains { self.team.drops() } else { Vec::new() };
        let out = self.team.send(&self.oracle.world, &frame);
        if self.traces {
            println!("{} at {} ms: in {}", self.step, self.team.now_ms, show::line(&frame));
            out.iter().for_each(|out| println!("    out {}", show::line(out)));
        }
        self.judge(Some(&frame), &out)?;
        self.report.judged = self.oracle.judged;
        for one in out {
            for byte in &one.packet {
                self.trace_hash = (self.trace_hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
            }
            if self.delivered.len() < REMEMBERED {
                self.delivered.push(one);
            } else {
                let at = self.random.below(REMEMBERED);
                self.delivered[at] = one;
            }
        }
        Ok(())
    }

    fn judge(&mut self, frame: Option<&Frame>, out: &[Frame]) -> Result<(), Disagreement> {
        let Changes { opened, closed } = self.team.changes();
        self.oracle.judge(frame, out, &opened, &closed).map_err(|why| {
            let why = self.explained(format!("{why}\n  opened {opened:?}\n  closed {closed:?}"));
            self.disagreement(&why, frame, out)
        })
    }

    fn check(&mut self) -> Result<(), Disagreement> {
        let mut checked = self.team.check_books().and_then(|()| self.oracle.check());
        if self.step.is_multiple_of(STEPS_PER_COUNT) {
            checked = checked.and_then(|()| self.team.check_sessions(&self.world));
        }
        self.checked(checked)
    }

    /// Waits until every timer is over: then nothing is left of what was.
    ///
    /// # Errors
    /// What is left, or what disagreed meanwhile.
    pub fn finish(&mut self) -> Result<(), Disagreement> {
        for ms in [SESSIONS_END_MS, RESTS_END_MS] {
            self.pass(ms)?;
            (0..2 * TURNS).try_for_each(|_| self.pass(TURN_MS))?;
        }
        self.check()?;
        let checked =
            if self.oracle.is_idle() { self.team.check_empty() } else { Err("it waits for more".to_owned()) };
        self.checked(checked)
    }

    fn checked(&self, checked: Result<(), String>) -> Result<(), Disagreement> {
        checked.map_err(|why| self.disagreement(&self.explained(why), None, &[]))
    }

    fn explained(&self, why: String) -> String {
        if self.explains { format!("{why}, {}", self.memory()) } else { why }
    }

    /// What both remember, and why packets were dropped since the last was sent.
    pub fn memory(&self) -> String {
        let sessions: Vec<_> = self.team.sessions().iter().map(|session| format!("{session:?}")).collect();
        let after = self.team.drops();
        let moved: Vec<_> = after.iter().zip(&self.drops).filter(|(after, before)| after != before).collect();
        let moved: Vec<_> = moved.into_iter().map(|((name, _), _)| *name).collect();
        format!(
            "the oracle remembers {}\nthe gateways {sessions:#?}\ndropped {moved:?}",
            self.oracle.remembered()
        )
    }

    fn disagreement(&self, why: &str, sent: Option<&Frame>, out: &[Frame]) -> Disagreement {
        let list = |frames: &[Frame]| match frames {
            [] => "nothing".to_owned(),
            frames => frames.iter().map(show::frame).collect::<Vec<_>>().join("\n  and "),
        };
        let sent = sent.map_or("nothing".to_owned(), show::frame);
        Disagreement(format!(
            "seed {} operation {} at {} ms with {} workers: {why}\n  in  {sent}\n  out {}\n  again: scripts/simulate --seeds {}-{} --operations {}\n",
            self.seed,
            self.step,
            self.team.now_ms,
            self.team.workers(),
            list(out),
            self.seed,
            self.seed,
            self.step,
        ))
    }

    /// Of every byte that came out: the same for the same seed.
    pub fn trace_hash(&self) -> u64 {
        self.trace_hash
    }
}
