//! What the tests do where nothing is wrong: that they pass, how long each takes, and which switches it looks at.
//!
//! A test that never looks at a mutant's switch does what it does without it, so it is not run; and of the others the quickest
//! are asked first. So a mutant costs seconds, whatever the slowest tests cost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use anyhow::{Result, ensure};

use crate::judge::{self, Learnt};
use crate::patch::{Patch, Test};
use crate::tree::{self, Executables, Key};
use crate::{in_parallel, lock};

pub(crate) struct Known {
    /// Each test's cases: an executable and a name.
    names: BTreeMap<Test, Vec<(Key, String)>>,
    learnt: BTreeMap<(Key, String), Learnt>,
}

impl Known {
    /// Runs all tests that these patches name, once.
    pub(crate) fn learn<'a>(
        patches: impl Iterator<Item = &'a Patch>,
        executables: &Executables,
        directory: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let mut known = Self { names: BTreeMap::new(), learnt: BTreeMap::new() };
        let mut cases = BTreeMap::new();
        for test in patches.flat_map(|patch| patch.tests.iter().flatten()) {
            if known.names.contains_key(test) {
                continue;
            }
            let mut names = Vec::new();
            for (key, executable) in tree::of(test, executables)? {
                let found = judge::names(executable, &test.arguments)?;
                names.extend(found.into_iter().map(|name| (key.clone(), name)));
            }
            ensure!(!names.is_empty(), "no such test: {}", test.line());
            cases.extend(names.iter().map(|(key, name)| ((key.clone(), name.clone()), &executables[key])));
            known.names.insert(test.clone(), names);
        }
        let learnt = Mutex::new(&mut known.learnt);
        in_parallel((0..).zip(cases), |(number, ((key, name), executable)): (u32, _)| {
            let case = judge::learn(executable, &name, &directory.join(number.to_string()))?;
            lock(&learnt)?.insert((key, name), case);
            Ok(())
        })?;
        Ok(known)
    }

    /// A test's cases, the quickest first.
    pub(crate) fn of(&self, test: &Test) -> Vec<(&Key, &str, &Learnt)> {
        let names = self.names.get(test).into_iter().flatten();
        let case = |case: &'_ (Key, String)| self.learnt.get_key_value(case);
        let mut cases: Vec<_> =
            names.filter_map(case).map(|((key, name), learnt)| (key, name.as_str(), learnt)).collect();
        cases.sort_by_key(|(_, _, learnt)| learnt.takes);
        cases
    }
}
