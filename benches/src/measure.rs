//! Windows: what was measured in one go, and whether it counts; and what many of them come to.
//!
//! A window counts where nobody else was at work: see [`Noise::is_quiet`] and [`Probes`]. Windows go on until ten count, or
//! until there were as many as were asked for. Which of them count does not depend on what was measured.

use std::io::{IsTerminal as _, Write as _};

use crate::machine::{Noise, Probes, Window, clock_ghz};
use crate::results::Row;

/// So many windows have to count, or a figure is none.
pub const WINDOWS_MIN: usize = 10;

/// Beside a row: what all windows gave, whether they count or not.
pub const ALL: &str = "all_windows";

/// What was measured in one go.
pub struct Measured {
    /// The figure.
    pub value: f64,
    /// Its parts, by name: many values each, as of packets out and packets in.
    pub parts: Vec<(&'static str, Vec<f64>)>,
    noise: Noise,
    memory_ns: f64,
    /// See [`Probes::core`].
    core: f64,
}

impl Measured {
    /// Measures: `work` returns the parts.
    ///
    /// # Errors
    /// Its.
    pub fn of(
        probes: &Probes,
        work: impl FnOnce() -> anyhow::Result<Vec<(&'static str, Vec<f64>)>>,
    ) -> anyhow::Result<Self> {
        let (memory_ns, before) = (probes.memory_ns(), probes.core());
        let window = Window::begin();
        let parts = work()?;
        let noise = window.end();
        let (value, core) = (mean_of_means(&parts), before.max(probes.core()));
        Ok(Self { value, parts, noise, memory_ns, core })
    }

    /// The same window with another figure.
    pub fn valued(mut self, value: f64) -> Self {
        self.value = value;
        self
    }

    /// The mean of a part.
    pub fn part(&self, name: &str) -> Option<f64> {
        self.parts.iter().find(|(of, _)| *of == name).map(|(_, values)| mean(values))
    }

    /// Other threads that were measured with it waited so long at most.
    pub fn also(mut self, noise: Noise) -> Self {
        self.noise = Noise { waited: self.noise.waited.max(noise.waited), ..self.noise };
        self
    }

    /// It counts only if another window does.
    pub fn beside(self, other: &Self) -> Self {
        let (memory_ns, core) = (self.memory_ns.max(other.memory_ns), self.core.max(other.core));
        let stolen = self.noise.stolen + other.noise.stolen;
        let waited = self.noise.waited.max(other.noise.waited);
        Self { noise: Noise { waited, stolen }, memory_ns, core, ..self }
    }

    /// Nobody else was at work.
    pub fn counts(&self) -> bool {
        self.noise.is_quiet() && self.memory_ns <= Probes::CALM_NS && self.core <= Probes::ALONE
    }
}

/// Windows until ten count, `most` of them at most, with a line on the terminal that says so.
///
/// # Errors
/// Those of a window.
pub fn windows(
    what: &str,
    most: usize,
    mut window: impl FnMut() -> anyhow::Result<Measured>,
) -> anyhow::Result<Vec<Measured>> {
    let mut all: Vec<Measured> = Vec::new();
    let counted = |all: &[Measured]| all.iter().filter(|one| one.counts()).count();
    while all.len() < most && counted(&all) < WINDOWS_MIN {
        progress(&format!("{what}: window {} of {most} at most, {} count", all.len() + 1, counted(&all)));
        all.push(window()?);
    }
    progress("");
    Ok(all)
}

/// Says what is under way, on a terminal, in place of what was said before.
pub fn progress(what: &str) {
    let mut terminal = std::io::stderr();
    if terminal.is_terminal() {
        _ = write!(terminal, "\r\x1b[K{what}").and_then(|()| terminal.flush());
    }
}

/// What windows come to.
pub fn summed_up<'a>(
    bench: &str,
    row: impl Into<String>,
    unit: &str,
    windows: impl IntoIterator<Item = &'a Measured>,
) -> Row {
    let windows: Vec<_> = windows.into_iter().collect();
    let counting: Vec<_> = windows.iter().filter(|one| one.counts()).collect();
    let counted = counting.len();
    let values = sorted(counting.iter().map(|one| one.value));
    let is_measured = counted >= WINDOWS_MIN;
    let mut row = Row {
        value: at(&values, 2).filter(|_| is_measured),
        least: values.first().copied().filter(|_| is_measured),
        most: values.last().copied().filter(|_| is_measured),
        windows: windows.len(),
        counted,
        note: if is_measured { String::new() } else { noise(&windows) },
        ..Row::exact(bench, row, unit, 0.0)
    };
    let all = sorted(windows.iter().map(|one| one.value));
    if let (Some(least), Some(median), Some(most)) = (all.first(), at(&all, 2), all.last()) {
        row.extra.insert(ALL.into(), serde_json::json!({"least": least, "median": median, "most": most}));
    }
    for name in windows.first().iter().flat_map(|window| window.parts.iter().map(|(name, _)| *name)) {
        let medians = sorted(counting.iter().filter_map(|one| one.part(name)));
        if let Some(median) = at(&medians, 2).filter(|_| is_measured) {
            row = row.with(name, median);
        }
        let of =
            |one: &Measured| one.parts.iter().find(|(of, _)| *of == name).map(|(_, values)| values.clone());
        let all = sorted(windows.iter().filter_map(|one| of(one)).flatten());
        for (suffix, one_of) in [("lower quartile", 4), ("all median", 2)] {
            row = row.with(&format!("{name}, {suffix}"), at(&all, one_of).unwrap_or(f64::NAN));
        }
    }
    row
}

/// Why windows do not count.
fn noise(windows: &[&Measured]) -> String {
    let median =
        |of: fn(&Measured) -> f64| at(&sorted(windows.iter().map(|one| of(one))), 2).unwrap_or(f64::NAN);
    let stolen = windows.iter().filter(|one| one.noise.stolen > 0).count();
    let shared = windows.iter().filter(|one| one.core > Probes::ALONE).count();
    format!(
        "stolen from in {stolen} windows, the core shared in {shared}, waited {:.1} % of the median one, its memory took {:.0} ns",
        median(|one| one.noise.waited) * 100.0,
        median(|one| one.memory_ns)
    )
}

/// From nanoseconds.
pub fn clocks(nanoseconds: Vec<f64>) -> Vec<f64> {
    nanoseconds.into_iter().map(|one| one * clock_ghz()).collect()
}

/// The value below which one of so many is: of two, the median.
pub fn at(sorted: &[f64], one_of: usize) -> Option<f64> {
    sorted.get(sorted.len() / one_of).copied()
}

/// In order.
pub fn sorted(values: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Their mean.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Each part weighs the same, however many values it has.
fn mean_of_means(parts: &[(&'static str, Vec<f64>)]) -> f64 {
    let means: Vec<_> = parts.iter().map(|(_, values)| mean(values)).collect();
    mean(&means)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Verdict;

    fn window(value: f64, waited: f64, stolen: u64, memory_ns: f64, core: f64) -> Measured {
        Measured { value, parts: Vec::new(), noise: Noise { waited, stolen }, memory_ns, core }
    }

    fn quiet(count: usize) -> Vec<Measured> {
        (0..count).map(|at| window(100.0 + at as f64, 0.0, 0, 160.0, 1.01)).collect()
    }

    #[test]
    fn nine_windows_that_count_are_no_figure_and_ten_are_one() {
        for (count, value, verdict) in [
            (9, None, Verdict::NotMeasured),
            (10, Some(105.0), Verdict::NotMet),
            (11, Some(105.0), Verdict::NotMet),
        ] {
            let row = Row { goal: Some(80.0), ..summed_up("path", "a row", "clocks", &quiet(count)) };
            assert_eq!((row.value, row.counted, row.verdict()), (value, count, verdict));
        }
    }

    #[test]
    fn a_window_with_any_noise_does_not_count_whatever_it_gave() {
        let noisy =
            [(0.02, 0, 160.0, 1.0), (0.0, 1, 160.0, 1.0), (0.0, 0, 201.0, 1.0), (0.0, 0, 160.0, 1.06)];
        let mut windows = quiet(10);
        windows.extend(
            noisy.map(|(waited, stolen, memory_ns, core)| window(1.0, waited, stolen, memory_ns, core)),
        );
        let row = summed_up("path", "a row", "clocks", &windows);
        assert_eq!((row.value, row.least, row.most), (Some(105.0), Some(100.0), Some(109.0)));
        assert_eq!((row.windows, row.counted), (14, 10));
    }

    #[test]
    fn a_window_does_not_count_where_the_core_is_slower_than_it_was() {
        let of = |best_ns| Measured::of(&Probes::of_core(best_ns), || Ok(vec![("out", vec![1.0])])).unwrap();
        assert!(of(f64::INFINITY).core >= 1.0, "nothing is quicker than the best");
        let slower = of(1.0);
        assert!(slower.core > Probes::ALONE && !slower.counts());
    }

    #[test]
    fn a_window_counts_where_all_that_it_counts_with_do() {
        let [alone, shared] = [1.0, 1.2].map(|core| window(1.0, 0.0, 0, 160.0, core));
        let [calm, slow] = [160.0, 300.0].map(|memory_ns| window(1.0, 0.0, 0, memory_ns, 1.0));
        assert!(window(2.0, 0.0, 0, 160.0, 1.0).beside(&alone).beside(&calm).counts());
        assert!(!window(2.0, 0.0, 0, 160.0, 1.0).beside(&shared).counts());
        assert!(!window(2.0, 0.0, 0, 160.0, 1.0).beside(&slow).counts());
    }

    #[test]
    fn a_goal_is_met_where_it_is_reached() {
        let verdict = |value, is_floor| {
            Row { goal: Some(80.0), is_floor, ..Row::exact("path", "a row", "clocks", value) }.verdict()
        };
        assert_eq!(
            [79.0, 80.0, 81.0].map(|value| verdict(value, false)),
            [Verdict::Met, Verdict::Met, Verdict::NotMet]
        );
        assert_eq!(
            [79.0, 80.0, 81.0].map(|value| verdict(value, true)),
            [Verdict::NotMet, Verdict::Met, Verdict::Met]
        );
    }
}
