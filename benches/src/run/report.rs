//! The page of figures, docs/performance.md, and its plots, from what the benches have left in a directory; or another
//! processor's, beside it.

mod readme;
mod texts;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use benches::goals::{Figure, GOALS, Goal, Limit};
use benches::measure::ALL;
use benches::plots::{self, Line, Scale};
use benches::results::{Header, Row, Verdict, read, shown};
use clap::Args;
use texts::{CLOCKS, DEVICE, ELSEWHERE, HOW, LADDER, OTHERS, PORTS, TABLE, VPP_NOTE};

/// By its rate a gateway is known among a device's rows.
const RATE: &str = "million packets a second";

/// VPP's NAT, a packet of established flows by their number, measured elsewhere: FD.io VPP of August 2026, a release build with
/// AVX-512, on a cloud machine of 2.6 GHz, one worker, in quiet windows.
const VPP: [(&str, [(f64, f64); 3]); 2] = [
    ("VPP nat44-ei, measured elsewhere", [(1_000.0, 107.0), (64_064.0, 241.0), (1_000_000.0, 599.0)]),
    ("VPP nat44-ed, measured elsewhere", [(1_000.0, 136.0), (64_064.0, 448.0), (1_000_000.0, 1_084.0)]),
];

/// Writes the page.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Where the benches have left their rows, in files that end with .jsonl.
    #[arg(long, default_value = "target/bench")]
    results: PathBuf,
    /// The repository's directory of pages.
    #[arg(long, default_value = "docs")]
    docs: PathBuf,
    /// The page on which the foremost figures stand.
    #[arg(long, default_value = "README.md")]
    readme: PathBuf,
    /// Writes docs/performance-NAME.md instead, of a processor that is not the goals', and leaves README.md as it is.
    #[arg(long, value_name = "NAME")]
    processor: Option<String>,
    /// What the packet path is held to.
    #[arg(long, default_value = "benches/instructions.tsv")]
    instructions: PathBuf,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { results, docs, readme, processor, instructions } = arguments;
    let report = Report::read(&results)?;
    let (page, plots, title) = match &processor {
        None => ("performance.md".to_owned(), "plots".to_owned(), "# Performance\n\n".to_owned()),
        Some(name) => (
            format!("performance-{name}.md"),
            format!("plots/{name}"),
            format!("# Performance, {name}\n\n{ELSEWHERE}"),
        ),
    };
    let plots = Plots { docs: docs.clone(), directory: plots };
    fs::create_dir_all(docs.join(&plots.directory))?;
    fs::write(docs.join(page), title + &report.page(&plots, &fs::read_to_string(&instructions)?)?)?;
    if processor.is_none() {
        fs::write(&readme, report.on_readme(&fs::read_to_string(&readme)?)?)?;
    }
    Ok(())
}

/// Where plots go.
struct Plots {
    docs: PathBuf,
    /// In there.
    directory: String,
}

impl Plots {
    /// The file of a plot, and what shows it on the page.
    fn place(&self, name: &str, title: &str) -> (PathBuf, String) {
        let place = format!("{}/{name}.svg", self.directory);
        (self.docs.join(&place), format!("\n![{title}]({place})\n"))
    }
}

/// All that was measured.
struct Report {
    headers: Vec<Header>,
    rows: Vec<Row>,
}

impl Report {
    fn read(directory: &Path) -> anyhow::Result<Self> {
        let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
        let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
        files.sort();
        anyhow::ensure!(!files.is_empty(), "{} has no results: run scripts/bench", directory.display());
        let (mut headers, mut rows) = (Vec::new(), Vec::new());
        for file in &files {
            let (some, more) = read(file).with_context(|| format!("{}", file.display()))?;
            headers.extend(some);
            rows.extend(more);
        }
        Ok(Self { headers, rows })
    }

    fn of<'a>(&'a self, bench: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.bench == bench)
    }

    fn row(&self, bench: &str, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.bench == bench && row.row == name)
    }

    fn page(&self, plots: &Plots, instructions: &str) -> anyhow::Result<String> {
        let mut page = String::new();
        writeln!(
            page,
            "Written by `scripts/bench --render` of what the benches left, in one run where one commit is named, else in several. {}\n",
            self.measured_on()
        )?;
        page.push_str(HOW);
        self.goals(&mut page)?;
        self.clocks(&mut page, plots)?;
        self.ladder(&mut page)?;
        self.ports(&mut page, plots)?;
        for (bench, title, text) in OTHERS {
            let rows: Vec<_> = self.of(bench).collect();
            if !rows.is_empty() {
                write!(page, "## {title}\n\n{text}\n\n{TABLE}")?;
                rows.iter().try_for_each(|row| writeln!(page, "{}", line(row)))?;
                page.push('\n');
            }
        }
        self.device(&mut page, plots)?;
        page.push_str("## Instructions\n\nWhat `scripts/gate` holds in every test run, by callgrind:\n\n");
        page.push_str("| a packet | instructions |\n|---|---|\n");
        for (kind, count) in instructions.lines().filter_map(|line| line.split_once('\t')) {
            writeln!(page, "| {kind} | {count} |")?;
        }
        page.push_str(
            "\n## Not measured yet\n\nNetwork cards: [benchmarking.md](benchmarking.md) says how.\n",
        );
        Ok(page)
    }

    /// Where and of what: all that differ.
    fn measured_on(&self) -> String {
        let mut runs: BTreeMap<_, f64> = BTreeMap::new();
        for Header { machine, clock_ghz, commit, probe_ns } in &self.headers {
            let run = runs.entry(format!("{commit}, on {machine} at {clock_ghz:.3} GHz")).or_default();
            *run = run.max(*probe_ns);
        }
        let runs = runs.iter().map(|(run, probe)| format!("{run} (memory at {probe:.0} ns or less)"));
        format!("Measured at {}.", runs.collect::<Vec<_>>().join("; at "))
    }

    fn goals(&self, page: &mut String) -> anyhow::Result<()> {
        page.push_str("## Goals\n\n| goal | figure | is to be | measured: median (least to most) | verdict | all windows, counting or not |\n");
        page.push_str("|---|---|---|---|---|---|\n");
        for goal in GOALS {
            // The goal's name stands in its first row alone.
            let mut what_of = std::iter::once(goal.what).chain(std::iter::repeat(""));
            let mut what_of = || what_of.next().unwrap_or_default();
            for figure in goal.figures {
                writeln!(page, "| {} | {}", what_of(), self.figure(figure))?;
            }
            for (what, file, test) in goal.tests {
                let source = fs::read_to_string(file).with_context(|| (*file).to_owned())?;
                anyhow::ensure!(source.contains(&format!("fn {test}()")), "{file} has no test {test}");
                writeln!(page, "| {} | {what} | - | test `{test}` | tested | |", what_of())?;
            }
        }
        page.push_str("\nWhat stands in the way of those that are not met, and what was tried:\n\n");
        let is_open = |goal: &&Goal| {
            !goal.obstacle.is_empty() && !goal.figures.iter().all(|figure| self.is_met(figure))
        };
        for Goal { what, obstacle, .. } in GOALS.iter().filter(is_open) {
            writeln!(page, "- *{what}*: {obstacle}")?;
        }
        page.push('\n');
        Ok(())
    }

    fn is_met(&self, (bench, name, _): &Figure) -> bool {
        self.row(bench, name).is_some_and(|row| row.verdict() == Verdict::Met)
    }

    fn figure(&self, &(bench, name, limit): &Figure) -> String {
        let (goal, least_or_most) = match limit {
            Limit::AtMost(goal) => (goal, "at most"),
            Limit::AtLeast(goal) => (goal, "at least"),
        };
        let Some(row) = self.row(bench, name) else {
            return format!(
                "{name} | {goal} {least_or_most} | - | not measured: `{bench}` has no such row | |"
            );
        };
        let limit = format!("{goal} {} {least_or_most}", row.unit);
        let verdict = match row.verdict() {
            Verdict::NotMeasured => format!("not measured: {}", why(row)),
            verdict => verdict.to_string(),
        };
        format!("{name} | {limit} | {} | {verdict} | {} |", measured(row), all(row))
    }

    fn clocks(&self, page: &mut String, plots: &Plots) -> anyhow::Result<()> {
        page.push_str(CLOCKS);
        for row in self.of("path").filter(|row| !row.row.ends_with("over the floor")) {
            let bursts = ["out", "in", "floor"].map(|part| bursts(row, part));
            let over = over_the_floor(row).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
            writeln!(page, "| {} | {} | {} | {over} |", row.row, measured(row), bursts.join(" | "))?;
        }
        let by_flows = |part: fn(&Row) -> Option<f64>| {
            let flows = |row: &Row| row.row.strip_suffix(" established flows")?.parse().ok();
            let point = |row: &Row| Some((flows(row)?, part(row)?));
            self.of("path").filter_map(point).collect::<Vec<(f64, f64)>>()
        };
        let mut drawn = vec![
            Line { name: "natgate".into(), is_elsewhere: false, points: by_flows(best) },
            Line {
                name: "the floor".into(),
                is_elsewhere: false,
                points: by_flows(|row| row.beside("floor, lower quartile")),
            },
        ];
        drawn.extend(VPP.map(|(name, points)| Line {
            name: name.into(),
            is_elsewhere: true,
            points: points.into(),
        }));
        drawn.retain(|line| !line.points.is_empty());
        let title = "Clocks a packet of established flows, in random order";
        let (file, shown) = plots.place("clocks", "Clocks against flows");
        plots::lines(&file, title, ("flows", "clocks"), Scale::Logarithmic, &drawn)?;
        write!(page, "{shown}\n{VPP_NOTE}")?;
        Ok(())
    }

    fn ladder(&self, page: &mut String) -> anyhow::Result<()> {
        let phases = ["established", "carried", "torn down"];
        let rungs: Vec<_> =
            self.of("ladder").filter_map(|row| row.row.strip_suffix(" established")).collect();
        if rungs.is_empty() {
            return Ok(());
        }
        page.push_str(LADDER);
        for rung in rungs {
            let cells = phases.map(|phase| {
                let row = self.row("ladder", &format!("{rung} {phase}"));
                let cell = row.and_then(|row| Some((row.beside("million a second")?, row.value?)));
                cell.map_or("- | -".to_owned(), |(rate, clocks)| format!("{rate:.2} million | {clocks:.0}"))
            });
            writeln!(page, "| {rung} | {} |", cells.join(" | "))?;
        }
        page.push('\n');
        Ok(())
    }

    fn ports(&self, page: &mut String, plots: &Plots) -> anyhow::Result<()> {
        let rows: Vec<_> = self.of("ports").collect();
        if rows.is_empty() {
            return Ok(());
        }
        write!(page, "{PORTS}{TABLE}")?;
        let curves: Vec<_> = rows.iter().filter(|row| row.extra.contains_key("curve")).collect();
        rows.iter().try_for_each(|row| writeln!(page, "{}", line(row)))?;
        let drawn = curves.iter().map(|row| {
            let points = serde_json::from_value(row.extra["curve"].clone())?;
            let name = row.row.split(':').next().unwrap_or_default().to_owned();
            Ok(Line { name, is_elsewhere: false, points })
        });
        let drawn = drawn.collect::<anyhow::Result<Vec<_>>>()?;
        if !drawn.is_empty() {
            let (file, shown) = plots.place("ports", "Clocks of a new flow while a pool fills");
            let title = "Clocks of a new flow, towards one destination";
            plots::lines(&file, title, ("ports in use, %", "clocks"), Scale::Linear, &drawn)?;
            page.push_str(&shown);
        }
        page.push('\n');
        Ok(())
    }

    fn device(&self, page: &mut String, plots: &Plots) -> anyhow::Result<()> {
        let rows: Vec<_> = self.of("device").collect();
        if rows.is_empty() {
            return Ok(());
        }
        page.push_str(DEVICE);
        let gateways: Vec<_> = rows.iter().filter(|row| row.unit == RATE).map(|row| &row.row).collect();
        for gateway in &gateways {
            writeln!(page, "| {gateway} | {} |", self.gateway(gateway).join(" | "))?;
        }
        write!(page, "\n{TABLE}")?;
        let of_one = |row: &Row| gateways.iter().any(|gateway| is_of(row, gateway));
        rows.iter().filter(|row| !of_one(row)).try_for_each(|row| writeln!(page, "{}", line(row)))?;
        let drawn = [
            ("rates", "Whole gateways: rate", RATE, ""),
            ("latency", "Whole gateways: latency, 99.9 %", "us", ", 99.9 %"),
        ];
        for (name, title, unit, ending) in drawn {
            let of = |row: &&&Row| row.unit == unit && row.row.ends_with(ending);
            let drawn: Vec<_> = rows.iter().filter(of).collect();
            // On a machine with other work, something is better than nothing, if it says so.
            let is_all = drawn.iter().any(|row| row.value.is_none());
            let title =
                if is_all { format!("{title} (all windows, counting or not)") } else { title.to_owned() };
            let (file, shown) = plots.place(name, &title);
            let name = |row: &Row| row.row.trim_end_matches(ending).replace(", latency", "");
            let middle = |row: &Row| if is_all { median_of_all(row) } else { row.value };
            let bars: Vec<_> = drawn.iter().filter_map(|row| Some((name(row), middle(row)?))).collect();
            if !bars.is_empty() {
                plots::bars(&file, &title, unit, &bars)?;
                page.push_str(&shown);
            }
        }
        page.push('\n');
        Ok(())
    }

    /// What stands in a line of [`DEVICE`].
    fn gateway(&self, gateway: &str) -> [String; 8] {
        let of = |ending: &str, unit: &str, figure: fn(&Row) -> String| {
            let name = format!("{gateway}{ending}");
            let row = self.of("device").find(|row| row.row == name && row.unit == unit);
            row.map_or("-".to_owned(), figure)
        };
        let latency = |pace: &str| {
            let part = |part| of(&format!(", latency at {pace}, {part}"), "us", middle);
            ["median", "99 %", "99.9 %"].map(part).join(" / ")
        };
        let processor = |pace: &str| of(&format!(", CPU at {pace}"), "% of a core", middle);
        let [slow, half] = ["1 million a second", "half of its rate"];
        [
            of("", RATE, middle_and_spread),
            of("", "clocks a packet", middle_and_spread),
            latency(slow),
            processor(slow),
            latency(half),
            processor(half),
            of("", RATE, |row| format!("{} of {}", row.counted, row.windows)),
            of("", RATE, |row| row.note.clone()),
        ]
    }
}

/// Whether a row is one of a gateway's own, not of how it compares with others.
fn is_of(row: &Row, gateway: &str) -> bool {
    let rest = row.row.strip_prefix(gateway);
    rest.is_some_and(|rest| {
        rest.is_empty() || rest.starts_with(", latency at") || rest.starts_with(", CPU at")
    })
}

/// The middle of what counts; in italics, of all windows.
fn middle(row: &Row) -> String {
    let of_all = || median_of_all(row).map_or("-".to_owned(), |median| format!("*{}*", shown(median)));
    row.value.map_or_else(of_all, shown)
}

fn middle_and_spread(row: &Row) -> String {
    if row.value.is_some() { measured(row) } else { format!("*{}*", all(row)) }
}

/// A row as a line of [`TABLE`].
fn line(row: &Row) -> String {
    let verdict = match row.verdict() {
        Verdict::NotMeasured => format!("not measured: {}", why(row)),
        verdict => verdict.to_string(),
    };
    format!("| {} | {} {} | {verdict} | {} | {} |", row.row, measured(row), row.unit, all(row), beside(row))
}

/// What is beside a figure: its parts and others, in the windows that count, or in all.
fn beside(row: &Row) -> String {
    let parts = row.extra.iter().filter_map(|(name, figure)| {
        let part = name.strip_suffix(", all median");
        let is_known_better = part.is_some_and(|part| row.extra.contains_key(part));
        let is_shown = !is_known_better && !name.ends_with(", lower quartile");
        is_shown.then_some((part.unwrap_or(name), figure.as_f64()?))
    });
    parts.map(|(name, figure)| format!("{name} {}", shown(figure))).collect::<Vec<_>>().join("; ")
}

/// Median and spread of what counts.
fn measured(row: &Row) -> String {
    match (row.value, row.least, row.most) {
        (Some(value), Some(least), Some(most)) => {
            format!("{} ({} to {})", shown(value), shown(least), shown(most))
        }
        (Some(value), ..) => shown(value),
        _ => "-".to_owned(),
    }
}

/// Why a row says nothing.
fn why(row: &Row) -> String {
    let note = row.note.trim_start_matches("not measured: ");
    match row.bench.as_str() {
        "device" => note.to_owned(),
        _ => format!("{} of {} windows count; {note}", row.counted, row.windows),
    }
}

/// What all windows gave: least, median, most.
fn all(row: &Row) -> String {
    let of = |name| row.extra.get(ALL)?.get(name)?.as_f64();
    match (of("least"), of("median"), of("most")) {
        (Some(least), Some(median), Some(most)) => {
            format!("{} ({} to {})", shown(median), shown(least), shown(most))
        }
        _ => String::new(),
    }
}

/// Lower quartile and median of all bursts of a part.
fn bursts(row: &Row, part: &str) -> String {
    match (row.beside(&format!("{part}, lower quartile")), row.beside(&format!("{part}, all median"))) {
        (Some(quartile), Some(median)) => format!("{quartile:.0} / {median:.0}"),
        _ => "-".to_owned(),
    }
}

/// The best that is known of a packet both ways: what counts, or a quarter of all bursts.
fn best(row: &Row) -> Option<f64> {
    let quartile = |part| row.beside(&format!("{part}, lower quartile"));
    row.value.or_else(|| Some((quartile("out")? + quartile("in")?) / 2.0))
}

/// By the lower quartiles of all bursts.
fn over_the_floor(row: &Row) -> Option<f64> {
    let quartile = |part| row.beside(&format!("{part}, lower quartile"));
    Some((quartile("out")? + quartile("in")?) / 2.0 / quartile("floor")?)
}

/// The median of all windows.
fn median_of_all(row: &Row) -> Option<f64> {
    row.extra.get(ALL)?.get("median")?.as_f64()
}
