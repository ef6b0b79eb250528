//! Tables as operators read them: columns of words to the left, of numbers to the right, no lines between.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// What a terminal surely shows.
pub(super) const WIDTH: u16 = 100;

/// A column's header, and which side its cells are on. A header may have a second line: the unit.
pub(super) enum Column {
    /// Words.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
    /// Sentences: the last column, folded to fit the width.
    Folded(&'static str),
}

use Column::{Folded, Left, Right};

/// A table with a line for each row, and a line end after each.
pub(super) fn grid<const N: usize>(
    columns: [Column; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| match column {
        Left(header) | Right(header) | Folded(header) => *header,
    }));
    table.add_rows(rows);
    if columns.iter().any(|column| matches!(column, Folded(_))) {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    } else {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    for (index, column) in columns.iter().enumerate() {
        let Some(cells) = table.column_mut(index) else { continue };
        cells.set_padding((0, if index + 1 < N { 2 } else { 0 }));
        match column {
            Left(_) => cells.set_cell_alignment(CellAlignment::Left),
            Right(_) => cells.set_cell_alignment(CellAlignment::Right),
            Folded(_) => continue,
        }
        // Only the folded column gives way.
        cells.set_constraint(ColumnConstraint::ContentWidth);
    }
    table.trim_fmt() + "\n"
}

/// How long something has lasted, in its two largest units.
pub(super) fn lasting(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// How much of the whole a part is.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}", part as f64 * 100.0 / whole as f64) }
}

/// `1 router`, `2 routers`.
pub(super) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Column, grid, lasting};

    #[test]
    fn words_stand_left_and_numbers_right_with_their_unit_above() {
        let rows = [["a", "1"], ["longer", "1000000"]].map(|row| row.map(String::from));
        assert_eq!(
            grid([Column::Left("NAME"), Column::Right("RX\nbytes")], rows),
            "NAME         RX\n          bytes\na             1\nlonger  1000000\n"
        );
    }

    #[test]
    fn sentences_fold_within_a_hundred_columns_and_numbers_stay_whole() {
        let rows = [["123456789".to_owned(), "word ".repeat(60).trim_end().to_owned()]];
        let text = grid([Column::Right("FRAMES"), Column::Folded("MEANING")], rows);
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert!(text.lines().count() > 3, "{text}");
        assert!(text.contains("123456789  word"), "{text}");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
    }
}
