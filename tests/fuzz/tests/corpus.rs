//! The corpus is played again, and a bounded run beside it: every drop reason is reached, and enough is forwarded.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use fuzz::engine::{Engine, corpus_directory, read_corpus};
use fuzz::{Outcome, Target};
use nat::DropReason;

/// Reasons that no short input reaches, and why.
const OUT_OF_REACH: &[(DropReason, &str)] = &[
    (
        DropReason::NeighbourTableFull,
        "65,536 neighbours: drop_reasons.rs of the brain's tests scans a subnet of so many",
    ),
    (
        DropReason::PortSearchCut,
        "a burst for full pools with more ports than a run opens: port_choice.rs of the brain's tests fills them",
    ),
];

/// What a corpus that is read by people may be.
const FILES_MAX: usize = 300;
const BYTES_MAX: usize = 300 * 1024;

fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    read_corpus(&corpus_directory(target)).unwrap()
}

#[test]
fn the_corpus_and_a_bounded_run_reach_every_drop_reason_and_forward_enough() {
    let mut sum = Outcome::default();
    for target in [Target::Translate, Target::Icmp, Target::Fragments] {
        let inputs = corpus(target).into_iter().map(|(_, input)| input).collect();
        let mut engine = Engine::new(target, 1, 512, inputs);
        for _ in 0..200 {
            engine.step(|_| {});
        }
        sum.add(&engine.outcome);
    }
    let share = sum.forwarded as f64 / sum.packets as f64;
    println!("{} packets, {:.1} % forwarded", sum.packets, share * 100.0);
    for reason in DropReason::ALL {
        println!("{:>10}  {}", sum.drops[reason as usize], reason.name());
    }
    let is_listed = |reason: &DropReason| OUT_OF_REACH.iter().any(|(listed, _)| listed == reason);
    let missing: Vec<_> = sum.unreached().into_iter().filter(|reason| !is_listed(reason)).collect();
    assert_eq!(missing, []);
    assert!(share >= 0.3, "{:.1} % forwarded: what is dropped early tests little", share * 100.0);
}

#[test]
fn parsers_and_feed_play_their_corpus_and_a_bounded_run() {
    for target in [Target::Parse, Target::Feed] {
        let inputs = corpus(target).into_iter().map(|(_, input)| input).collect();
        let mut engine = Engine::new(target, 1, 512, inputs);
        for _ in 0..200 {
            engine.step(|_| {});
        }
        assert!(engine.outcome.forwarded > 0, "{}: something is good", target.name());
    }
}

/// The same input does the same, whatever was played before.
#[test]
fn an_input_is_replayed_exactly() {
    for target in Target::ALL {
        for (name, input) in corpus(target).into_iter().take(10) {
            let play = || {
                let mut outcome = Outcome::default();
                target.play(&input, &mut outcome);
                (outcome.packets, outcome.forwarded, outcome.drops, outcome.take_new())
            };
            assert_eq!(play(), play(), "{} {name}", target.name());
        }
    }
}

#[test]
fn the_corpus_is_small() {
    let inputs: Vec<_> = Target::ALL.into_iter().flat_map(corpus).collect();
    let bytes: usize = inputs.iter().map(|(_, input)| input.len()).sum();
    assert!(!inputs.is_empty() && inputs.len() <= FILES_MAX, "{} files", inputs.len());
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}
