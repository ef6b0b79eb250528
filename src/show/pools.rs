//! `natgate pools`.

use control::rows::PoolRow;

use super::grid::{Column, grid, percent};

/// A line for each address.
pub(super) fn show(rows: &[PoolRow]) -> String {
    if rows.is_empty() {
        return "No address is translated to.\n".to_owned();
    }
    grid(
        [
            Column::Left("POOL"),
            Column::Left("SEGMENT"),
            Column::Left("ADDRESS"),
            Column::Right("PORTS\nused"),
            Column::Right("PORTS\nof"),
            Column::Right("FULL\n%"),
        ],
        rows.iter().map(|row| {
            [
                row.pool.clone(),
                row.segment.clone(),
                row.address.to_string(),
                row.ports_used.to_string(),
                row.ports.to_string(),
                percent(row.ports_used, row.ports),
            ]
        }),
    )
}
