//! Breaks the shipped files in the ways they could have been wrong, and expects a test to fail.
//!
//! Each patch is a mutant. One that can stand behind a switch is planted with all the others in one build
//! (`switch.rs`), for a build costs more than a test; the rest are built one after another. Before anything is judged,
//! its tests must pass with nothing wrong: a test that fails anyhow notices nothing (`known.rs`). `tests/mutants/README.md`.

mod judge;
mod known;
mod patch;
mod switch;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use judge::Outcome;
use known::Known;
use patch::{Patch, Test};
use switch::Planting;
use tree::{Built, Executables, Tree};

/// The switch of no mutant.
const NONE: u32 = 0;

/// What became of the mutants.
struct Report {
    /// Kept from one run to the next, so that a long one may be stopped and continued.
    file: Option<File>,
    /// How many were noticed, and how many were not or say nothing.
    counts: [u32; 2],
}

impl Report {
    fn say(&mut self, name: &str, is_well: bool, text: &str) -> Result<()> {
        println!("{name:<48} {text}");
        if let Some(file) = &mut self.file {
            writeln!(file, "{name}\t{text}")?;
        }
        self.counts[usize::from(!is_well)] += 1;
        Ok(())
    }
}

fn main() -> Result<ExitCode> {
    let (mut paths, mut report, mut by) = (Vec::new(), None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--report" => report = arguments.next().map(PathBuf::from),
            "--by" => by = arguments.next().map(|line| Test::read(&line)).transpose()?,
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    let judged = report.as_ref().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let judged: BTreeSet<&str> = judged.lines().filter_map(|line| line.split('\t').next()).collect();
    let file = report.map(|path| File::options().create(true).append(true).open(path)).transpose()?;
    let mut report = Report { file, counts: [0; 2] };

    let root = std::env::current_dir()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let directory = target.join("mutants");
    let mut tree = Tree::new(&root, directory.clone())?;
    let mut patches = BTreeMap::new();
    for (number, path) in (1..).zip(&paths) {
        match Patch::read(path, &root, &directory.join("scratch")) {
            Ok(patch) => _ = patches.insert(number, patch.judged_by(by.as_ref())),
            Err(error) => {
                report.say(&path.display().to_string(), false, &format!("DOES NOT APPLY: {error}"))?
            }
        }
    }
    let (together, executables) = plant(&directory.join("alone"), &mut tree, &root, &patches)?;
    println!("{} of {} in one build", together.len(), patches.len());
    // Not before they are planted: what is planted stays the same, and need not be built again.
    patches.retain(|_, patch| !judged.contains(patch.name.as_str()));
    let known = Known::learn(patches.values(), &executables, &directory.join("asked"))?;
    judge_together(&patches, &together, &executables, &known, &mut report)?;
    let alone = patches.iter().filter(|(number, _)| !together.contains(number));
    judge_alone(&mut tree, alone, &known, &mut report)?;
    let [noticed, others] = report.counts;
    let result = if others == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {noticed} passed; {others} failed; 0 ignored");
    Ok(ExitCode::from(u8::from(others > 0)))
}

/// Plants and builds all that one build can hold, and says which these are. Those that it could not hold are remembered in
/// `alone`: tried again, they would have everything built once more.
fn plant(
    alone: &Path,
    tree: &mut Tree,
    root: &Path,
    patches: &BTreeMap<u32, Patch>,
) -> Result<(BTreeSet<u32>, Executables)> {
    let mut together = BTreeSet::new();
    let remembered = fs::read_to_string(alone).unwrap_or_default();
    let mut places: Vec<(u32, String, Planting)> = Vec::new();
    for (number, patch) in patches {
        let place = |(file, new): (&String, &String)| {
            let planting = switch::place(*number, &fs::read_to_string(root.join(file)).ok()?, new)?;
            Some((*number, file.clone(), planting))
        };
        if remembered.lines().any(|name| name == patch.name) {
            continue;
        }
        if let Some(found) = patch.files.iter().map(place).collect::<Option<Vec<_>>>() {
            together.insert(*number);
            places.extend(found);
        }
    }
    loop {
        let mut plantings: BTreeMap<String, Vec<Planting>> = BTreeMap::new();
        for (_, file, planting) in places.iter().filter(|(number, ..)| together.contains(number)) {
            plantings.entry(file.clone()).or_default().push(planting.clone());
        }
        tree.plant(&plantings)?;
        match tree.build(patches.values().flat_map(|patch| patch.tests.iter().flatten()))? {
            Built::Executables(executables) => return Ok((together, executables)),
            Built::Because(numbers) => {
                together.retain(|number| !numbers.contains(number));
                let mut alone = File::options().create(true).append(true).open(alone)?;
                numbers.iter().try_for_each(|number| writeln!(alone, "{}", patches[number].name))?;
            }
            Built::Failed(error) => bail!("{error}"),
        }
    }
}

/// Judges those that are in one build, as many at once as there are processors.
fn judge_together(
    patches: &BTreeMap<u32, Patch>,
    together: &BTreeSet<u32>,
    executables: &Executables,
    known: &Known,
    report: &mut Report,
) -> Result<()> {
    let report = Mutex::new(report);
    let planted = patches.iter().filter(|(number, _)| together.contains(number));
    in_parallel(planted, |(number, patch)| judge(*number, patch, executables, known, &report))
}

/// Judges others, each in a build of its own.
fn judge_alone<'a>(
    tree: &mut Tree,
    patches: impl Iterator<Item = (&'a u32, &'a Patch)>,
    known: &Known,
    report: &mut Report,
) -> Result<()> {
    for (_, patch) in patches {
        tree.apply(patch)?;
        match tree.build(patch.tests.iter().flatten())? {
            Built::Executables(executables) => {
                judge(NONE, patch, &executables, known, &Mutex::new(&mut *report))?
            }
            Built::Because(_) => bail!("{} was built alone", patch.name),
            Built::Failed(error) => {
                report.say(&patch.name, false, "DOES NOT COMPILE")?;
                eprintln!("{error}");
            }
        }
    }
    Ok(())
}

/// Does the same with each, on every processor, until one fails.
fn in_parallel<T>(items: impl Iterator<Item = T> + Send, act: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let items = Mutex::new(items);
    let work = || {
        while let Some(item) = { lock(&items)?.next() } {
            act(item)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..std::thread::available_parallelism()?.get()).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))
    })
}

/// Runs a mutant's tests, until of each group one has noticed it.
fn judge(
    number: u32,
    patch: &Patch,
    executables: &Executables,
    known: &Known,
    report: &Mutex<&mut Report>,
) -> Result<()> {
    let mut noticed = Vec::new();
    for tests in &patch.tests {
        match first_to_notice(number, tests, executables, known)? {
            Ok(by) => noticed.push(by),
            Err(asked) => {
                let tests: Vec<_> = tests.iter().map(Test::line).collect();
                let text = format!("SURVIVED {asked} tests of {}", tests.join(", then "));
                return lock(report)?.say(&patch.name, false, &text);
            }
        }
    }
    lock(report)?.say(&patch.name, true, &format!("killed by {}", noticed.join("; ")))
}

/// What failed, or how many could have.
fn first_to_notice(
    number: u32,
    tests: &[Test],
    executables: &Executables,
    known: &Known,
) -> Result<Result<String, usize>> {
    let mut asked = 0;
    for test in tests {
        for (key, name, learnt) in known.of(test) {
            if number != NONE && !learnt.asks.contains(&number) {
                continue;
            }
            asked += 1;
            let executable = executables.get(key).context("an executable less than before")?;
            match judge::run(executable, name, number, learnt.takes)? {
                Outcome::Passed => {}
                Outcome::Failed => return Ok(Ok(format!("{}: {name}", key.0))),
                Outcome::DidNotEnd => return Ok(Ok(format!("{}: {name}, which did not end", key.0))),
            }
        }
    }
    Ok(Err(asked))
}

fn lock<T>(mutex: &Mutex<T>) -> Result<std::sync::MutexGuard<'_, T>> {
    mutex.lock().ok().context("a worker panicked")
}
