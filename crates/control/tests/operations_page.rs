//! `docs/operations.md` and the program say the same.
#![allow(clippy::unwrap_used, reason = "a test's helper fails by panicking")]

use control::{Exit, METRICS};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
    std::fs::read_to_string(path).unwrap()
}

/// The cells of the table whose header begins with `header`.
fn table(page: &str, header: &str) -> Vec<Vec<String>> {
    let mut lines = page.lines().skip_while(|line| !line.starts_with(header));
    assert!(lines.next().is_some(), "no table begins with {header}");
    let rows = lines.skip(1).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

#[test]
fn every_exit_code_is_documented_and_no_other() {
    let documented: Vec<(String, String)> = table(&page(), "| Exit code |")
        .into_iter()
        .map(|cells| (cells[0].clone(), cells[1].clone()))
        .collect();
    let known: Vec<(String, String)> =
        Exit::ALL.iter().map(|exit| (exit.code().to_string(), exit.meaning().to_owned())).collect();
    assert_eq!(documented, known);
}

#[test]
fn exit_codes_are_numbered_from_0_without_a_gap() {
    let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let documented: Vec<Vec<String>> = table(&page(), "| Metric |");
    let known: Vec<Vec<String>> = METRICS
        .iter()
        .map(|metric| {
            vec![
                format!("`{}`", metric.name),
                metric.kind.word().to_owned(),
                metric.labels.join(", "),
                metric.help.to_owned(),
            ]
        })
        .collect();
    // Row by row, so that a failure shows the row to write.
    for row in &known {
        assert!(documented.contains(row), "docs/operations.md lacks | {} |", row.join(" | "));
    }
    assert_eq!(documented, known);
}
