//! `natgate drops`.

use control::rows::DropRow;

use super::grid::{Column, grid};

/// Reasons with what they mean, the most frequent first; those that never struck only where `all` is wanted.
pub(super) fn show(rows: &[DropRow], all: bool) -> String {
    let mut shown: Vec<&DropRow> = rows.iter().filter(|row| all || row.count > 0).collect();
    if shown.is_empty() {
        return "No frame was dropped.\n".to_owned();
    }
    shown.sort_by_key(|row| std::cmp::Reverse(row.count));
    grid(
        [Column::Right("FRAMES"), Column::Left("REASON"), Column::Folded("MEANING")],
        shown.iter().map(|row| [row.count.to_string(), row.reason.clone(), row.help.clone()]),
    )
}
