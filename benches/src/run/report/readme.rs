//! The foremost figures, on the page that everybody reads first.

use anyhow::Context as _;
use benches::results::shown;

use super::Report;

const BEGIN: &str = "<!-- performance -->\n";
const END: &str = "<!-- /performance -->";

/// What is shown: what it is called there, bench, row, and VPP's.
type Shown = (&'static str, &'static str, &'static str, &'static str);

/// Beside what VPP's plugins take, by the same measure on another machine of the same kind.
const SHOWN: [Shown; 9] = [
    ("clocks a packet, of 1,000 flows in random order", "path", "1000 established flows", "107"),
    ("of 64,064", "path", "64064 established flows", "241"),
    ("of 1,000,000", "path", "1000000 established flows", "599"),
    ("of 10,000,000", "path", "10000000 established flows", ""),
    ("clocks to open a flow, of 1,000,000", "path", "a new flow, of 1000000", "1,776"),
    ("clocks a packet, of 1,000 floating IPs", "path", "1000 floating IPs", ""),
    (
        "one core between two memif ports, 1,000 flows: million packets a second",
        "device",
        "natgate, memif, 1000 flows",
        "11.9 (nat44-ed)",
    ),
    ("1,000,000 flows", "device", "natgate, memif, 1000000 flows", "2.2 (nat44-ed)"),
    ("bytes a session", "memory", "a session, endpoint-dependent", "430"),
];

impl Report {
    /// The page with its table written anew.
    pub(super) fn on_readme(&self, readme: &str) -> anyhow::Result<String> {
        let (before, rest) = readme.split_once(BEGIN).context("README.md has no place for figures")?;
        let (_, after) = rest.split_once(END).context("README.md has no end of the figures")?;
        let mut table = String::from("| | natgate | VPP, elsewhere |\n|---|---|---|\n");
        for (what, bench, name, vpp) in SHOWN {
            table += &format!("| {what} | {} | {vpp} |\n", self.foremost(bench, name));
        }
        Ok(format!("{before}{BEGIN}{table}{END}{after}"))
    }

    /// What was measured in windows that count; of a device, its rate.
    fn foremost(&self, bench: &str, name: &str) -> String {
        let is_it = |unit: &str| bench != "device" || unit == "million packets a second";
        let row = self.of(bench).find(|row| row.row == name && is_it(&row.unit));
        row.and_then(|row| row.value).map_or("not measured".to_owned(), shown)
    }
}
