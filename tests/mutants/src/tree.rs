//! A copy of the repository in which things are wrong, what cargo makes of it, and where cargo finds fault with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::patch::{Patch, Test};
use crate::switch::{self, Planting};

/// The copy. It is always at the same place, and a file that stays as it is is not written: what did not change need not be
/// built again. Its builds are nobody else's: to cargo, two copies of a package are one, and what it made of a mutant it
/// would take for the real thing.
pub(crate) struct Tree {
    root: PathBuf,
    directory: PathBuf,
    /// The repository's files.
    names: Vec<String>,
    /// Where in which file a patch is planted, by its number.
    planted: BTreeMap<String, Vec<(u32, Range<usize>)>>,
}

/// Tests, built.
pub(crate) struct Executable {
    pub(crate) path: PathBuf,
    /// Where they expect to be run.
    pub(crate) package: PathBuf,
}

/// A kind and package, and a target: `--lib`, or a test's name.
pub(crate) type Key = (String, String);

/// All that were built.
pub(crate) type Executables = BTreeMap<Key, Executable>;

/// What became of a build.
pub(crate) enum Built {
    Executables(Executables),
    /// Patches, by their numbers, on whose account it failed.
    Because(BTreeSet<u32>),
    /// It failed, and not for a planted patch.
    Failed(String),
}

impl Tree {
    pub(crate) fn new(root: &Path, directory: PathBuf) -> Result<Self> {
        let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output()?;
        ensure!(output.status.success(), "git ls-files failed");
        let names: Vec<String> = String::from_utf8(output.stdout)?
            .split_terminator('\0')
            .filter(|name| root.join(name).is_file())
            .map(str::to_owned)
            .collect();
        let tree = Self { root: root.to_owned(), directory, names, planted: BTreeMap::new() };
        tree.remove_strangers(&tree.directory.join("tree"))?;
        Ok(tree)
    }

    /// Takes away what the repository no longer has.
    fn remove_strangers(&self, directory: &Path) -> Result<()> {
        fs::create_dir_all(directory)?;
        let known: BTreeSet<PathBuf> =
            self.names.iter().map(|name| self.directory.join("tree").join(name)).collect();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.remove_strangers(&entry.path())?;
            } else if !known.contains(&entry.path()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The repository with all these behind their switches.
    pub(crate) fn plant(&mut self, plantings: &BTreeMap<String, Vec<Planting>>) -> Result<()> {
        self.planted.clear();
        for name in &self.names {
            let mut bytes = fs::read(self.root.join(name))?;
            if let Some(plantings) = plantings.get(name) {
                let (text, ranges) = switch::plant(std::str::from_utf8(&bytes)?, plantings.clone());
                self.planted.insert(name.clone(), ranges);
                bytes = text.into_bytes();
            }
            if is_shipped_crate(name) {
                bytes.extend_from_slice(switch::SWITCH.as_bytes());
            }
            self.write(name, &bytes)?;
        }
        Ok(())
    }

    /// The repository as one patch would have it, without a switch.
    pub(crate) fn apply(&mut self, patch: &Patch) -> Result<()> {
        self.planted.clear();
        for name in &self.names {
            match patch.files.get(name) {
                Some(text) => self.write(name, text.as_bytes())?,
                None => self.write(name, &fs::read(self.root.join(name))?)?,
            }
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.directory.join("tree").join(name);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        fs::write(&path, bytes).with_context(|| path.display().to_string())
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join("tree")
    }

    /// Builds what these tests are in.
    pub(crate) fn build<'a>(&self, tests: impl Iterator<Item = &'a Test>) -> Result<Built> {
        let mut targets: BTreeMap<(&str, &str), BTreeSet<&[String]>> = BTreeMap::new();
        for test in tests {
            targets.entry((&test.kind, &test.package)).or_default().insert(&test.target);
        }
        let mut executables = BTreeMap::new();
        for ((kind, package), targets) in targets {
            let mut command = Command::new("cargo");
            command
                .args([
                    "test",
                    "--locked",
                    "--quiet",
                    "--no-run",
                    "--message-format=json",
                    "--package",
                    package,
                ])
                .args(targets.into_iter().flatten())
                .current_dir(self.path())
                .env("CARGO_TARGET_DIR", self.directory.join(kind))
                .env("RUSTFLAGS", if kind == "threads" { String::new() } else { format!("--cfg {kind}") });
            if kind != "threads" {
                command.args(["--profile", "interleavings"]);
            }
            let output = command.output()?;
            let messages = String::from_utf8(output.stdout)?;
            let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if output.status.success() {
                executables.extend(messages.filter_map(|message| executable(kind, package, &message)));
                continue;
            }
            let (mut because, mut shown) = (BTreeSet::new(), String::new());
            for message in messages.filter(|message| message["message"]["level"] == "error") {
                because.extend(self.cause(&message["message"]));
                shown.push_str(message["message"]["rendered"].as_str().unwrap_or_default());
            }
            if because.is_empty() {
                return Ok(Built::Failed(shown + &String::from_utf8_lossy(&output.stderr)));
            }
            return Ok(Built::Because(because));
        }
        Ok(Built::Executables(executables))
    }

    /// The patch in which a compiler's error lies: that around what it points at, or the next one to it.
    fn cause(&self, message: &Value) -> Option<u32> {
        let at = |span: &Value| {
            let at = usize::try_from(span["byte_start"].as_u64()?).ok()?;
            Some((self.planted.get(span["file_name"].as_str()?)?, at))
        };
        let distance = |range: &Range<usize>, at: usize| {
            if range.contains(&at) { 0 } else { range.start.abs_diff(at).min(range.end.abs_diff(at)) }
        };
        let spans = message["spans"].as_array()?.iter();
        let places = spans.filter_map(|span| Some((span["is_primary"] != true, at(span)?)));
        let causes = places.flat_map(|(is_secondary, (planted, at))| {
            planted
                .iter()
                .map(move |(number, range)| (distance(range, at), is_secondary, range.len(), *number))
        });
        causes.min().map(|(.., number)| number)
    }
}

/// The file in which a crate begins, of those that hold what ships, or a file of it.
fn is_shipped_crate(name: &str) -> bool {
    let is_crate = name.strip_prefix("crates/").is_some_and(|rest| rest.split('/').count() == 3);
    is_crate && name.ends_with("/src/lib.rs") || name == "tests/interleavings/src/lib.rs"
}

fn executable(kind: &str, package: &str, message: &Value) -> Option<(Key, Executable)> {
    let path = message["executable"].as_str()?;
    let target = &message["target"];
    let name = if target["kind"][0] == "lib" { "--lib" } else { target["name"].as_str()? };
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let executable = Executable { path: PathBuf::from(path), package: directory.to_owned() };
    Some(((format!("{kind} {package}"), name.to_owned()), executable))
}

/// The executables that a test is in.
pub(crate) fn of<'a>(test: &Test, executables: &'a Executables) -> Result<Vec<(&'a Key, &'a Executable)>> {
    let group = format!("{} {}", test.kind, test.package);
    let is_meant = |name: &str| test.target.last().is_none_or(|target| target == name);
    let is_meant = |(of, name): &Key| *of == group && is_meant(name);
    let found: Vec<_> = executables.iter().filter(|(key, _)| is_meant(key)).collect();
    if found.is_empty() {
        bail!("no such test: {}", test.line());
    }
    Ok(found)
}
