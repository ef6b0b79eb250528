//! Runs the targets for long, and keeps the corpus: see `scripts/fuzz`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for tests fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use fuzz::engine::{Engine, corpus_directory, minimise, read_corpus};
use fuzz::{Outcome, Target};

/// The input that is being played, for when it panics.
static PLAYED: Mutex<(&str, Vec<u8>)> = Mutex::new(("", Vec::new()));

/// Files of a target in the corpus.
const KEPT_MAX: usize = 100;

struct Options {
    packets: u64,
    seconds: u64,
    seed: u64,
    targets: Vec<Target>,
    length: usize,
    keeps: bool,
    replayed: Vec<PathBuf>,
}

fn options() -> Options {
    let mut options = Options {
        packets: u64::MAX,
        seconds: 60,
        seed: 1,
        targets: Target::ALL.to_vec(),
        length: 512,
        keeps: false,
        replayed: Vec::new(),
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
        match argument.as_str() {
            "--packets" => options.packets = value().parse().unwrap(),
            "--seconds" => options.seconds = value().parse().unwrap(),
            "--seed" => options.seed = value().parse().unwrap(),
            "--length" => options.length = value().parse().unwrap(),
            "--target" => {
                let name = value();
                options.targets = Target::ALL.into_iter().filter(|target| target.name() == name).collect();
                assert!(!options.targets.is_empty(), "no such target: {name}");
            }
            "--keep" => options.keeps = true,
            path if Path::new(path).exists() => options.replayed.push(path.into()),
            other => panic!("{other}?"),
        }
    }
    options
}

fn note(target: Target, input: &[u8]) {
    let mut played = PLAYED.lock().unwrap();
    played.0 = target.name();
    played.1.clear();
    played.1.extend_from_slice(input);
}

/// Writes down the input that a panic came of.
fn keep_what_panics() {
    let standard = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        standard(info);
        let played = PLAYED.lock().unwrap();
        let path = env::temp_dir().join(format!("fuzz-{}-{}", played.0, std::process::id()));
        fs::write(&path, &played.1).unwrap();
        eprintln!("to play it again: scripts/fuzz --target {} {}", played.0, path.display());
    }));
}

fn main() {
    let options = options();
    keep_what_panics();
    if !options.replayed.is_empty() {
        let mut outcome = Outcome::default();
        for path in &options.replayed {
            let input = fs::read(path).unwrap();
            note(options.targets[0], &input);
            options.targets[0].play(&input, &mut outcome);
        }
        return println!("{} packets, {} forwarded", outcome.packets, outcome.forwarded);
    }
    let begun = Instant::now();
    let mut sum = Outcome::default();
    for (number, target) in options.targets.iter().enumerate() {
        let left = (options.targets.len() - number) as u64;
        let seconds = options.seconds.saturating_sub(begun.elapsed().as_secs()) / left;
        let packets = options.packets.saturating_sub(sum.packets) / left;
        sum.add(&run(*target, &options, seconds, packets));
    }
    let unreached: Vec<_> = sum.unreached().into_iter().map(nat::DropReason::name).collect();
    println!(
        "{} packets in {:.0} s; {:.1} % forwarded; {} of {} drop reasons reached, not {unreached:?}; {} behaviours; seed {}",
        sum.packets,
        begun.elapsed().as_secs_f64(),
        sum.forwarded as f64 * 100.0 / sum.packets.max(1) as f64,
        nat::DropReason::ALL.len() - unreached.len(),
        nat::DropReason::ALL.len(),
        sum.features(),
        options.seed,
    );
}

fn run(target: Target, options: &Options, seconds: u64, packets: u64) -> Outcome {
    let directory = corpus_directory(target);
    let corpus = read_corpus(&directory).unwrap().into_iter().map(|(_, input)| input).collect();
    let mut engine = Engine::new(target, options.seed, options.length, corpus);
    let (begun, mut told) = (Instant::now(), Instant::now());
    while engine.outcome.packets < packets && begun.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..16 {
            engine.step(|input| note(target, input));
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            eprintln!(
                "{}: {} packets, {:.2} million/s, {} behaviours",
                target.name(),
                engine.outcome.packets,
                engine.outcome.packets as f64 / begun.elapsed().as_secs_f64() / 1e6,
                engine.outcome.features()
            );
        }
    }
    let outcome = engine.outcome.clone();
    eprintln!("{}: {} packets, {} behaviours", target.name(), outcome.packets, outcome.features());
    if options.keeps {
        keep(target, &directory, engine.into_inputs());
    }
    outcome
}

/// Makes the corpus anew of what was found.
fn keep(target: Target, directory: &Path, inputs: Vec<Vec<u8>>) {
    let _ = fs::remove_dir_all(directory);
    fs::create_dir_all(directory).unwrap();
    // The richest of them: what people keep is small.
    let mut kept = minimise(target, inputs);
    kept.truncate(KEPT_MAX);
    for (number, input) in kept.iter().enumerate() {
        fs::write(directory.join(format!("{number:03}")), input).unwrap();
    }
    let bytes: usize = kept.iter().map(Vec::len).sum();
    eprintln!("{}: {} inputs kept, {bytes} bytes", target.name(), kept.len());
}
