//! Fuzz targets: each a plain function of bytes, so that any engine can drive it, and any input is replayed exactly.
//!
//! ```text
//! translate   traffic.rs   a sequence of frames through a real gateway, under rules that use every feature
//! icmp                     the same, mostly ICMP and errors about what was sent
//! fragments                the same, mostly in pieces
//!               scene.rs   who is where, and the variants of the rules
//!               world.rs   the gateway's workers, the wires, and what must hold of every frame that comes out
//!               frames.rs  building and judging frames; shares no code with what it judges
//! parse       parse.rs     parsers and rewriters, with etherparse as a second opinion
//! feed        fed.rs       decode, validate, compile, carry
//! ```
//!
//! [`engine`] drives them: it keeps inputs that reach a behaviour none has reached before (a drop reason after a certain
//! act, a kind of packet on a certain wire, how full a table got), and changes those further. What it found worth keeping is
//! in `corpus/`, and replayed by `cargo test`; `scripts/fuzz` runs it for as long as one likes.
//!
//! There is a state for each input, small and fresh, or an input would mean something else the next time. Frames carry their
//! serial number in their payload, so that whatever comes out is known to be whose.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fuzz target fails by panicking"
)]

mod bytes;
pub mod engine;
mod fed;
mod frames;
mod outcome;
mod parse;
mod scene;
mod traffic;
mod world;

pub use outcome::Outcome;

/// What bytes are played on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Frames of all kinds through a gateway.
    Translate,
    /// ICMP errors and queries, mostly.
    Icmp,
    /// Fragments, mostly.
    Fragments,
    /// Parsers and rewriters.
    Parse,
    /// Decoding, validation and compilation of rules.
    Feed,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Translate, Self::Icmp, Self::Fragments, Self::Parse, Self::Feed];

    /// Its name, which is that of its part of the corpus.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Translate => "translate",
            Self::Icmp => "icmp",
            Self::Fragments => "fragments",
            Self::Parse => "parse",
            Self::Feed => "feed",
        }
    }

    /// Plays an input, and adds what it did to `outcome`.
    ///
    /// # Panics
    /// Where something does not hold that must.
    pub fn play(self, input: &[u8], outcome: &mut Outcome) {
        match self {
            Self::Translate => traffic::play(input, traffic::Accent::None, outcome),
            Self::Icmp => traffic::play(input, traffic::Accent::Icmp, outcome),
            Self::Fragments => traffic::play(input, traffic::Accent::Fragments, outcome),
            Self::Parse => parse::play(input, outcome),
            Self::Feed => fed::play(input, outcome),
        }
    }
}
