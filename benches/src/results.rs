//! Results: rows, printed as they come and kept as lines of JSON, from which `report` makes the page.
//!
//! ```text
//! {"machine":"...","clock_ghz":2.6,"commit":"1d1e64e","probe_ns":160.0}               once, first
//! {"bench":"path","row":"1000 established flows","unit":"clocks","goal":80,...}       for each row
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::goals::{Limit, limit_of};
use crate::machine::{Probes, clock_ghz, processor};

/// Where and of what the rows behind it were measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The processor.
    pub machine: String,
    /// What a clock is: see [`clock_ghz`].
    pub clock_ghz: f64,
    /// Of the sources.
    pub commit: String,
    /// Nanoseconds of a dependent read of 64 MB, before anything was measured.
    #[serde(default)]
    pub probe_ns: f64,
}

/// One figure.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Which bench.
    pub bench: String,
    /// What was measured.
    pub row: String,
    /// In what.
    pub unit: String,
    /// What it is to be at most; where [`Self::is_floor`] says so, at least.
    pub goal: Option<f64>,
    /// The median of the windows that count, or a figure that comes out the same on every machine. None: not measured.
    pub value: Option<f64>,
    /// Of the same windows.
    pub least: Option<f64>,
    /// Of the same windows.
    pub most: Option<f64>,
    /// How many were tried; none where the machine's noise does not matter.
    pub windows: usize,
    /// How many of them count.
    pub counted: usize,
    /// The goal is what it has to be at least.
    #[serde(default)]
    pub is_floor: bool,
    /// What else there is to say.
    #[serde(default)]
    pub note: String,
    /// Figures beside it.
    #[serde(default)]
    pub extra: BTreeMap<String, Value>,
}

/// Whether a goal is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Met,
    /// It was measured, and is not.
    NotMet,
    /// Nobody knows.
    NotMeasured,
    /// There is none.
    NoGoal,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::NotMet => "not met",
            Self::NotMeasured => "not measured",
            Self::NoGoal => "-",
        })
    }
}

impl Row {
    /// A figure that does not depend on what else the machine does.
    pub fn exact(bench: &str, row: impl Into<String>, unit: &str, value: f64) -> Self {
        let value = Some(value);
        Self { bench: bench.into(), row: row.into(), unit: unit.into(), value, ..Self::default() }
    }

    /// With a figure beside it.
    pub fn with(mut self, name: &str, figure: f64) -> Self {
        self.extra.insert(name.into(), rounded(figure).into());
        self
    }

    /// A figure that is beside it.
    pub fn beside(&self, name: &str) -> Option<f64> {
        self.extra.get(name).and_then(Value::as_f64)
    }

    /// Whether its goal is met.
    pub fn verdict(&self) -> Verdict {
        match (self.value, self.goal) {
            (None, _) => Verdict::NotMeasured,
            (_, None) => Verdict::NoGoal,
            (Some(value), Some(goal)) if self.is_floor && value < goal => Verdict::NotMet,
            (Some(value), Some(goal)) if !self.is_floor && value > goal => Verdict::NotMet,
            _ => Verdict::Met,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, unit, goal, value, least, most, windows, counted, note, .. } = self;
        write!(f, "{row:<44} ")?;
        match value {
            Some(value) => write!(f, "{:>9}", shown(*value))?,
            None => write!(f, "{:>9}", "-")?,
        }
        write!(f, " {unit}")?;
        if let (Some(least), Some(most)) = (least, most) {
            write!(f, " ({} to {})", shown(*least), shown(*most))?;
        }
        if let Some(goal) = goal {
            let limit = if self.is_floor { "at least" } else { "at most" };
            write!(f, ", {limit} {}: {}", shown(*goal), self.verdict())?;
        }
        if *windows > 0 {
            write!(f, ", {counted} of {windows} windows count")?;
        }
        for (name, figure) in self.extra.iter().filter_map(|(name, figure)| Some((name, figure.as_f64()?))) {
            write!(f, "; {name} {}", shown(figure))?;
        }
        if !note.is_empty() {
            write!(f, "; {note}")?;
        }
        Ok(())
    }
}

/// A figure as it is read: three digits, and all of a large one.
pub fn shown(figure: f64) -> String {
    match figure.abs() {
        large if large >= 100.0 => format!("{figure:.0}"),
        some if some >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// To thousandths: nothing here is known better.
fn rounded(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// Where results go: on the terminal, and into a file if there is one.
pub struct Results(Option<File>);

impl Results {
    /// Begins them with the machine's name.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn begin(file: Option<&Path>) -> anyhow::Result<Self> {
        let probe_ns = rounded(Probes::new().memory_ns());
        let header = Header { machine: processor(), clock_ghz: clock_ghz(), commit: commit(), probe_ns };
        let Header { machine, clock_ghz, commit, .. } = &header;
        println!("{machine} at {clock_ghz:.3} GHz, commit {commit}, memory {probe_ns:.0} ns");
        let mut results = Self(file.map(File::create).transpose()?);
        results.write(&header)?;
        Ok(results)
    }

    /// Gives a row its goal, prints it, and keeps it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn add(&mut self, mut row: Row) -> anyhow::Result<()> {
        (row.goal, row.is_floor) = match limit_of(&row.bench, &row.row) {
            Some(Limit::AtMost(goal)) => (Some(goal), false),
            Some(Limit::AtLeast(goal)) => (Some(goal), true),
            None => (None, false),
        };
        [row.value, row.least, row.most] = [row.value, row.least, row.most].map(|figure| figure.map(rounded));
        println!("{row}");
        self.write(&row)
    }

    fn write(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        match &mut self.0 {
            Some(file) => Ok(writeln!(file, "{}", serde_json::to_string(line)?)?),
            None => Ok(()),
        }
    }
}

/// All headers and rows of a file.
///
/// # Errors
/// Where it cannot be read, or a line is neither.
pub fn read(file: &Path) -> anyhow::Result<(Vec<Header>, Vec<Row>)> {
    let (mut headers, mut rows) = (Vec::new(), Vec::new());
    for line in std::fs::read_to_string(file)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line.get("row").is_some() {
            rows.push(serde_json::from_value(line)?);
        } else {
            headers.push(serde_json::from_value(line)?);
        }
    }
    Ok((headers, rows))
}

fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    let text = described.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
