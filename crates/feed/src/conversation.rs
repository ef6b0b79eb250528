//! What a server says next to one gateway, and what it makes of the answers. No sockets, no clock.
//!
//! ```text
//!              Hello                  send                     PROGRAMMED
//!   (nobody) --------> idle at base --------> in flight ------------------> idle at version
//!                        ^   ^                    |  |
//!                        |   |  refused: waits    |  | BASE, DIGEST, CHUNK: base unknown,
//!                        |   '--for a newer one---'  | a snapshot is next
//!                        '---------------------------'
//! ```
//!
//! One thing is in flight at a time. What changes meanwhile is sent together when the answer has come.

use crate::catalog::Catalog;
use crate::reject::Code;
use crate::wire;

/// So many snapshots in a row are tried with a gateway that finds none of them sound; then it waits for a newer version.
const SNAPSHOTS_IN_A_ROW_MAX: u32 = 3;

/// What to send.
#[derive(Debug)]
pub(crate) enum Next {
    /// What changed.
    Delta(wire::Delta),
    /// Everything.
    Snapshot,
}

/// What an answer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// On its way, or of something that is over.
    Underway,
    /// Every worker of the gateway runs it.
    Programmed,
    /// The gateway took none of it and keeps what it has.
    Refused,
}

/// Where the talk with one gateway stands.
#[derive(Debug)]
pub(crate) struct Conversation {
    /// The version the gateway runs; `None` where only a snapshot helps.
    base: Option<u64>,
    in_flight: Option<u64>,
    /// The version the gateway refused. It gets another chance with a newer one, not before.
    refused: Option<u64>,
    snapshots_in_a_row: u32,
}

impl Conversation {
    pub(crate) fn new(hello: &wire::Hello, catalog: &Catalog) -> Self {
        let known = catalog.knows(hello.applied_epoch, hello.applied_version, &hello.applied_digest);
        let base = known.then_some(hello.applied_version);
        Self { base, in_flight: None, refused: None, snapshots_in_a_row: 0 }
    }

    /// The version the gateway runs, where that is known.
    pub(crate) fn base(&self) -> Option<u64> {
        self.base
    }

    /// What to send now; `None` where the gateway is up to date, or has yet to answer.
    pub(crate) fn next(&mut self, catalog: &Catalog) -> Option<Next> {
        let version = catalog.version();
        let news = version > 0 && self.base != Some(version) && self.refused != Some(version);
        if !news || self.in_flight.is_some() {
            return None;
        }
        self.in_flight = Some(version);
        Some(self.base.and_then(|base| catalog.delta_since(base)).map_or(Next::Snapshot, Next::Delta))
    }

    /// Takes an answer in.
    pub(crate) fn answered(&mut self, ack: &wire::Ack) -> Outcome {
        if self.in_flight != Some(ack.version) {
            return Outcome::Underway;
        }
        if ack.rejected_all {
            self.in_flight = None;
            self.refuse(ack);
            return Outcome::Refused;
        }
        if ack.stage() != wire::ack::Stage::Programmed {
            return Outcome::Underway;
        }
        *self = Self { base: Some(ack.version), in_flight: None, refused: None, snapshots_in_a_row: 0 };
        Outcome::Programmed
    }

    fn refuse(&mut self, ack: &wire::Ack) {
        let resync = ack.rejects.iter().any(|reject| {
            matches!(reject.code(), Code::BaseMismatch | Code::DigestMismatch | Code::ChunkMissing)
        });
        if resync && self.snapshots_in_a_row < SNAPSHOTS_IN_A_ROW_MAX {
            self.base = None;
            self.snapshots_in_a_row += 1;
        } else {
            self.refused = Some(ack.version);
        }
    }
}

#[cfg(test)]
mod tests {
    use rules::model::Rules;

    use super::*;
    use crate::testing;

    fn ack(version: u64, stage: wire::ack::Stage) -> wire::Ack {
        wire::Ack { version, stage: stage.into(), ..Default::default() }
    }

    fn refusal(version: u64, code: Code) -> wire::Ack {
        let reject = wire::Reject { code: code.into(), ..Default::default() };
        wire::Ack { version, rejected_all: true, rejects: vec![reject], ..Default::default() }
    }

    fn change(catalog: &Catalog, rules: Rules) -> Catalog {
        catalog.next(rules).unwrap().expect("a change")
    }

    /// A gateway that took a snapshot of version 1.
    fn settled() -> (Catalog, Conversation) {
        let catalog = change(&Catalog::new(9, false), testing::rules(3));
        let mut conversation = Conversation::new(&wire::Hello::default(), &catalog);
        assert!(matches!(conversation.next(&catalog), Some(Next::Snapshot)));
        assert_eq!(conversation.answered(&ack(1, wire::ack::Stage::Programmed)), Outcome::Programmed);
        assert!(conversation.next(&catalog).is_none(), "nothing new");
        (catalog, conversation)
    }

    #[test]
    fn one_delta_is_in_flight_and_what_changes_meanwhile_comes_together() {
        let (catalog, mut conversation) = settled();
        let two = change(&catalog, testing::renamed(3, "a"));
        assert!(matches!(conversation.next(&two), Some(Next::Delta(delta)) if delta.base_version == 1));
        let four = change(&change(&two, testing::renamed(3, "b")), testing::renamed(3, "c"));
        for stage in [wire::ack::Stage::Received, wire::ack::Stage::Validated] {
            assert!(conversation.next(&four).is_none(), "one is in flight");
            assert_eq!(conversation.answered(&ack(2, stage)), Outcome::Underway);
        }
        conversation.answered(&ack(2, wire::ack::Stage::Programmed));
        let Some(Next::Delta(delta)) = conversation.next(&four) else { panic!("a delta is due") };
        assert_eq!((delta.base_version, delta.version, delta.upserts.len()), (2, 4, 1));
    }

    #[test]
    fn what_was_refused_is_not_sent_again_until_it_changed() {
        let (catalog, mut conversation) = settled();
        let two = change(&catalog, testing::renamed(3, "a"));
        conversation.next(&two);
        assert_eq!(conversation.answered(&refusal(2, Code::MassDeleteGuard)), Outcome::Refused);
        assert!(conversation.next(&two).is_none());
        let three = change(&two, testing::renamed(3, "b"));
        assert!(matches!(conversation.next(&three), Some(Next::Delta(delta)) if delta.base_version == 1));
    }

    #[test]
    fn a_base_mismatch_brings_a_snapshot_but_not_for_ever() {
        let (catalog, mut conversation) = settled();
        let two = change(&catalog, testing::renamed(3, "a"));
        assert!(matches!(conversation.next(&two), Some(Next::Delta(_))));
        for _ in 0..SNAPSHOTS_IN_A_ROW_MAX {
            conversation.answered(&refusal(2, Code::BaseMismatch));
            assert!(matches!(conversation.next(&two), Some(Next::Snapshot)));
        }
        conversation.answered(&refusal(2, Code::DigestMismatch));
        assert!(conversation.next(&two).is_none(), "no storm");
    }

    #[test]
    fn an_answer_to_something_else_changes_nothing() {
        let (catalog, mut conversation) = settled();
        let two = change(&catalog, testing::renamed(3, "a"));
        conversation.next(&two);
        assert_eq!(conversation.answered(&ack(7, wire::ack::Stage::Programmed)), Outcome::Underway);
        assert!(conversation.next(&two).is_none(), "version 2 is still in flight");
    }
}
