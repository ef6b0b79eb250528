//! The compliance page: what the RFCs ask of a NAT, what natgate answers, and the test that shows it.
//!
//! The requirements are in `tests/tidy/compliance/`, a file an RFC. A test cites what it shows by a line above it,
//! `//= rfc4787#REQ-5`, as the code does where it obeys. This test makes `docs/compliance.md` of both, and fails where a
//! requirement has neither a test nor a reason, where something is cited that does not exist, and where the page is an
//! older one: `NATGATE_WRITE_PAGES=1 cargo test -p tidy --test compliance` writes it anew.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helper fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

/// One RFC's requirements.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rfc {
    rfc: u16,
    title: String,
    requirements: Vec<Requirement>,
}

/// One requirement, in our own words.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requirement {
    /// As the RFC names it, or the section it stands in.
    id: String,
    level: String,
    says: String,
    answer: Answer,
    #[serde(default)]
    note: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// By default.
    Met,
    /// By a setting, which the note names.
    Option,
    /// Not, for the reason in the note.
    Deviation,
    /// Nothing here could meet or miss it; the note says why.
    NotApplicable,
}

impl Answer {
    fn text(self) -> &'static str {
        match self {
            Self::Met => "yes",
            Self::Option => "by a setting",
            Self::Deviation => "no",
            Self::NotApplicable => "not applicable",
        }
    }

    fn is_shown(self) -> bool {
        matches!(self, Self::Met | Self::Option)
    }
}

/// Where a requirement is cited, by `rfc4787#REQ-5`.
#[derive(Default)]
struct Citations {
    /// File and name of tests.
    tests: BTreeMap<String, BTreeSet<(String, String)>>,
    /// Files of the code.
    code: BTreeMap<String, BTreeSet<String>>,
    /// Patches that break what it asks for.
    mutants: BTreeMap<String, BTreeSet<String>>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of the repository, tracked or about to be, with one of these endings.
fn files(endings: &[&str]) -> Vec<String> {
    let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(arguments).current_dir(root()).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let wanted =
        |name: &&str| endings.iter().any(|ending| name.ends_with(ending)) && root().join(name).exists();
    names.lines().filter(wanted).map(str::to_owned).collect()
}

fn rfcs() -> Vec<Rfc> {
    let mut rfcs: Vec<Rfc> = files(&[".yaml"])
        .iter()
        .filter(|name| name.starts_with("tests/tidy/compliance/"))
        .map(|name| serde_saphyr::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
        .collect();
    // As a reader looks for them: what speaks of NAT first.
    let order = [4787, 5382, 5508, 6888, 7857];
    rfcs.sort_by_key(|one| (order.iter().position(|rfc| *rfc == one.rfc).unwrap_or(order.len()), one.rfc));
    rfcs
}

fn citations() -> Citations {
    let mut citations = Citations::default();
    for name in files(&[".rs", ".py"]) {
        if name.starts_with("tests/tidy/") {
            continue;
        }
        let text = read(&name);
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let Some(cited) = line.strip_prefix("//= ").or_else(|| line.strip_prefix("#= ")) else {
                continue;
            };
            match test_behind(&lines[at + 1..]) {
                Some(test) => {
                    citations.tests.entry(cited.to_owned()).or_default().insert((name.clone(), test));
                }
                None => {
                    citations.code.entry(cited.to_owned()).or_default().insert(name.clone());
                }
            }
        }
    }
    for name in files(&[".patch"]) {
        for cited in read(&name).lines().filter_map(|line| line.strip_prefix("requirement: ")) {
            citations.mutants.entry(cited.to_owned()).or_default().insert(name.clone());
        }
    }
    citations
}

/// The name of the test whose comments and attributes these lines begin with, if it is one.
fn test_behind(lines: &[&str]) -> Option<String> {
    let mut is_test = false;
    for line in lines {
        if let Some(name) = line.strip_prefix("fn ").filter(|_| is_test) {
            return name.split_once('(').map(|(name, _)| name.to_owned());
        }
        if let Some(name) = line.strip_prefix("def ") {
            return name.split_once('(').map(|(name, _)| name.to_owned());
        }
        is_test |= *line == "#[test]";
        let goes_on = line.starts_with("//") || line.starts_with('#') || line.starts_with('@');
        if !goes_on {
            return None;
        }
    }
    None
}

fn key(rfc: &Rfc, requirement: &Requirement) -> String {
    format!("rfc{}#{}", rfc.rfc, requirement.id)
}

fn page(rfcs: &[Rfc], citations: &Citations) -> String {
    let mut page = String::from(
        "# Compliance\n\n\
         What the RFCs ask of a NAT, what natgate answers, and the tests that show it. Made by\n\
         `tests/tidy/tests/compliance.rs` from the tests' own citations; requirements are in our words, the RFCs' count.\n\
         *By a setting* means that the default is another, for the reason given. A row that was broken on purpose, to see its\n\
         test fail, names the patch; where it names none, that has not been recorded yet.\n",
    );
    let all = || rfcs.iter().flat_map(|rfc| &rfc.requirements);
    let count = |answer| all().filter(|one| one.answer == answer).count();
    writeln!(
        page,
        "\n{} requirements: {} met, {} met by a setting, {} not met, {} not applicable.",
        all().count(),
        count(Answer::Met),
        count(Answer::Option),
        count(Answer::Deviation),
        count(Answer::NotApplicable),
    )
    .unwrap();
    for rfc in rfcs {
        let url = format!("https://www.rfc-editor.org/rfc/rfc{}", rfc.rfc);
        writeln!(page, "\n## [RFC {}]({url}): {}\n", rfc.rfc, rfc.title).unwrap();
        page.push_str("| | level | what it asks | met | shown by |\n|---|---|---|---|---|\n");
        for one in &rfc.requirements {
            let key = key(rfc, one);
            let said = [one.answer.text(), &one.note].map(|text| text.trim_end_matches('.'));
            let answer =
                if one.note.is_empty() { said[0].to_owned() } else { format!("{}: {}", said[0], said[1]) };
            let mut shown: Vec<String> = citations.tests.get(&key).into_iter().flatten().map(link).collect();
            if let Some(mutants) = citations.mutants.get(&key) {
                let broken = mutants.iter().map(|name| format!("[{}](../{name})", stem(name)));
                shown.push(format!("broken on purpose: {}", broken.collect::<Vec<_>>().join(", ")));
            }
            let shown = shown.join("; ");
            writeln!(page, "| {} | {} | {} | {answer} | {shown} |", one.id, one.level, one.says).unwrap();
        }
    }
    page
}

fn link((file, test): &(String, String)) -> String {
    format!("[{test}](../{file})")
}

fn stem(name: &str) -> &str {
    Path::new(name).file_stem().and_then(|stem| stem.to_str()).unwrap_or(name)
}

#[test]
fn every_requirement_has_a_test_that_shows_it_or_a_reason_why_it_is_not_met() {
    let citations = citations();
    let mut holes = Vec::new();
    for rfc in rfcs() {
        for one in &rfc.requirements {
            let key = key(&rfc, one);
            if one.answer.is_shown() && !citations.tests.contains_key(&key) {
                holes.push(format!("{key} is said to be met, and no test cites it: {}", one.says));
            }
            if one.answer != Answer::Met && one.note.is_empty() {
                holes.push(format!("{key} is not simply met, and the reason is missing"));
            }
            if !one.answer.is_shown() && citations.tests.contains_key(&key) {
                holes.push(format!("{key} is said not to be met, and a test cites it"));
            }
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}

#[test]
fn what_is_cited_is_a_requirement() {
    let citations = citations();
    let rfcs = rfcs();
    let known: BTreeSet<String> =
        rfcs.iter().flat_map(|rfc| rfc.requirements.iter().map(|one| key(rfc, one))).collect();
    let listed: BTreeSet<String> = rfcs.iter().map(|rfc| format!("rfc{}", rfc.rfc)).collect();
    let cited = citations.tests.keys().chain(citations.code.keys()).chain(citations.mutants.keys());
    // An RFC that is not on the page may be cited as a source.
    let unknown: Vec<_> = cited
        .filter(|cited| !known.contains(*cited))
        .filter(|cited| listed.contains(cited.split('#').next().unwrap_or_default()))
        .collect();
    assert!(unknown.is_empty(), "cited, but not in tests/tidy/compliance/: {unknown:?}");
}

/// The oracle cites what it judges, and names what it does not.
#[test]
fn every_requirement_is_judged_by_the_oracle_or_named_with_a_reason() {
    let citations = citations();
    let text = read("crates/sim/src/not_judged.rs");
    let pairs = text.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", \""));
    let named: BTreeSet<&str> = pairs.filter(|(_, why)| why.len() > 8).map(|(key, _)| key).collect();
    let is_judged = |key: &String| {
        let code = citations.code.get(key).into_iter().flatten();
        code.into_iter().any(|file| file.starts_with("crates/sim/src/oracle/"))
    };
    let rows: BTreeSet<String> =
        rfcs().iter().flat_map(|rfc| rfc.requirements.iter().map(|one| key(rfc, one))).collect();
    let wrong: Vec<_> = rows.iter().filter(|row| is_judged(row) == named.contains(row.as_str())).collect();
    assert!(wrong.is_empty(), "neither judged by the oracle nor named in not_judged.rs, or both: {wrong:?}");
    let unknown: Vec<_> = named.iter().filter(|named| !rows.contains(**named)).collect();
    assert!(unknown.is_empty(), "in not_judged.rs, and no row: {unknown:?}");
}

/// A patch breaks a requirement where a test notices that shows the requirement, and no other.
#[test]
fn a_mutant_of_a_requirement_is_noticed_by_a_test_that_cites_it() {
    let citations = citations();
    let mut wrong = Vec::new();
    for (cited, patches) in &citations.mutants {
        for patch in patches {
            let text = read(patch);
            let asked: Vec<&str> = text
                .lines()
                .filter_map(|line| line.strip_prefix("test: ")?.split(' ').next_back())
                .map(|test| test.rsplit("::").next().unwrap_or(test))
                .collect();
            let shows = citations.tests.get(cited).into_iter().flatten();
            if !shows.into_iter().any(|(_, test)| asked.contains(&test.as_str())) {
                wrong.push(format!("{patch}: of {asked:?} none cites {cited}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_mutant_still_applies() {
    let failed: Vec<String> = files(&[".patch"])
        .into_iter()
        .filter(|name| name.starts_with("tests/mutants/"))
        .filter(|name| {
            let output = Command::new("git").args(["apply", "--check", name]).current_dir(root()).output();
            !output.is_ok_and(|output| output.status.success())
        })
        .collect();
    assert!(failed.is_empty(), "the code that these break is another by now: {failed:#?}");
}

#[test]
fn the_page_is_the_one_that_the_tests_make() {
    let made = page(&rfcs(), &citations());
    if std::env::var_os("NATGATE_WRITE_PAGES").is_some() {
        fs::write(root().join("docs/compliance.md"), &made).unwrap();
    }
    assert!(
        read("docs/compliance.md") == made,
        "docs/compliance.md is not what the citations make: \
         NATGATE_WRITE_PAGES=1 cargo test -p tidy --test compliance"
    );
}
