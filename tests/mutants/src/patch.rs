//! A patch: what is wrong with it, which tests are to notice, and the files as it would have them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// One patch. Its head says, a line each:
///
/// ```text
/// what is wrong with it
/// test: loom|shuttle PACKAGE TEST               under a scheduler, see tests/interleavings
/// test: threads PACKAGE CARGO-TEST-OPTIONS      of several lines each is to notice it
/// else: threads PACKAGE CARGO-TEST-OPTIONS      asked where the one above has noticed nothing
/// requirement: rfc4787#REQ-5                    which it violates, for the compliance page
/// ```
pub(crate) struct Patch {
    pub(crate) name: String,
    /// Of each of these one is to notice it.
    pub(crate) tests: Vec<Vec<Test>>,
    /// What it touches, with the text it would have.
    pub(crate) files: BTreeMap<String, String>,
}

/// Some tests of one package.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Test {
    pub(crate) kind: String,
    pub(crate) package: String,
    /// `--lib`, `--test brain` or neither, for cargo.
    pub(crate) target: Vec<String>,
    /// For the test's own executable.
    pub(crate) arguments: Vec<String>,
}

impl Test {
    pub(crate) fn read(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(kind), Some(package)) = (words.next(), words.next()) else { bail!("no test: {line}") };
        ensure!(["loom", "shuttle", "threads"].contains(&kind.as_str()), "no such kind of test: {kind}");
        let (mut target, mut arguments) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--lib" => target = vec![word],
                "--test" => target = [Some(word), words.next()].into_iter().flatten().collect(),
                "--" => {}
                _ => arguments.push(word),
            }
        }
        if kind != "threads" {
            target = vec!["--lib".to_owned()];
        }
        Ok(Self { kind, package, target, arguments })
    }

    pub(crate) fn line(&self) -> String {
        let words = [&self.kind, &self.package].into_iter().chain(&self.target).chain(&self.arguments);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

impl Patch {
    /// Reads one, and applies it to what `root` has, but not there. `Err` if it does not apply.
    pub(crate) fn read(path: &Path, root: &Path, scratch: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let mut tests: Vec<Vec<Test>> = Vec::new();
        for line in text.lines() {
            if let Some(test) = line.strip_prefix("test: ") {
                tests.push(vec![Test::read(test)?]);
            } else if let Some(test) = line.strip_prefix("else: ") {
                tests.last_mut().context("an else without a test before it")?.push(Test::read(test)?);
            }
        }
        ensure!(!tests.is_empty(), "{name} does not say which test is to notice it");
        let touched: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("+++ b/")).collect();
        let _ = fs::remove_dir_all(scratch);
        for file in &touched {
            let copy = scratch.join(file);
            fs::create_dir_all(copy.parent().unwrap_or(scratch))?;
            fs::copy(root.join(file), copy).with_context(|| (*file).to_owned())?;
        }
        let path = path.canonicalize()?;
        // The copy is no repository, though it may lie in one.
        let output = Command::new("git")
            .args(["apply", "--whitespace=nowarn"])
            .arg(&path)
            .current_dir(scratch)
            .env("GIT_CEILING_DIRECTORIES", scratch.parent().unwrap_or(scratch))
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let read = |file: &&str| Ok(((*file).to_owned(), fs::read_to_string(scratch.join(file))?));
        let files = touched.iter().map(read).collect::<Result<_>>()?;
        Ok(Self { name, tests, files })
    }

    /// The same, with another judge than it names, if there is one.
    pub(crate) fn judged_by(mut self, test: Option<&Test>) -> Self {
        if let Some(test) = test {
            self.tests = vec![vec![test.clone()]];
        }
        self
    }
}
