//! Which bytes of a datagram have come.

use arrayvec::ArrayVec;
use packet::fragment::Part;

/// Runs of bytes with gaps between them. A datagram that comes in order has one; as many as this only one that is made so.
const RUNS_MAX: usize = 16;

/// What a fragment is to those that came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    /// New.
    New,
    /// All of it has come before.
    Again,
    /// It lies over part of another, or behind the end.
    Overlaps,
    /// There are too many gaps.
    Scattered,
}

/// See the file's page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// From the first to the last, apart from each other.
    runs: ArrayVec<(u16, u16), RUNS_MAX>,
    /// Known from the last fragment.
    end: Option<u16>,
}

impl Ranges {
    /// Adds a part, if it is new.
    pub(crate) fn add(&mut self, part: Part) -> Added {
        let Part { start, end, is_last, .. } = part;
        if self.runs.iter().any(|(from, to)| *from <= start && end <= *to) {
            return Added::Again;
        }
        let last_end = self.runs.last().map_or(0, |(_, to)| *to);
        let contradicts = match self.end {
            Some(known) => is_last || end > known,
            None => is_last && end < last_end,
        };
        if contradicts || self.runs.iter().any(|(from, to)| start < *to && *from < end) {
            return Added::Overlaps;
        }
        let at = self.runs.partition_point(|(from, _)| *from < start);
        let joins_before = at.checked_sub(1).filter(|before| self.runs[*before].1 == start);
        let joins_behind = self.runs.get(at).is_some_and(|(from, _)| *from == end);
        match (joins_before, joins_behind) {
            (Some(before), true) => {
                self.runs[before].1 = self.runs[at].1;
                self.runs.remove(at);
            }
            (Some(before), false) => self.runs[before].1 = end,
            (None, true) => self.runs[at].0 = start,
            (None, false) if self.runs.is_full() => return Added::Scattered,
            (None, false) => self.runs.insert(at, (start, end)),
        }
        if is_last {
            self.end = Some(end);
        }
        Added::New
    }

    /// Whether every byte has come.
    pub(crate) fn is_complete(&self) -> bool {
        matches!((self.runs.as_slice(), self.end), ([(0, to)], Some(end)) if *to == end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u16, end: u16, is_last: bool) -> Part {
        Part { identification: 1, start, end, is_last }
    }

    const FIRST: Part = Part { identification: 1, start: 0, end: 16, is_last: false };
    const SECOND: Part = Part { identification: 1, start: 16, end: 32, is_last: false };
    const LAST: Part = Part { identification: 1, start: 32, end: 37, is_last: true };

    #[test]
    fn a_datagram_is_complete_when_all_have_come_in_any_order() {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut ranges = Ranges::default();
            for (count, at) in order.into_iter().enumerate() {
                assert!(!ranges.is_complete());
                assert_eq!(ranges.add([FIRST, SECOND, LAST][at]), Added::New, "{order:?} {count}");
                assert_eq!(ranges.add([FIRST, SECOND, LAST][at]), Added::Again, "{order:?} {count}");
            }
            assert!(ranges.is_complete(), "{order:?}");
        }
    }

    #[test]
    fn what_lies_over_another_or_contradicts_it_is_told() {
        let rows = [
            ("over its end", part(8, 24, false)),
            ("over its beginning", part(40, 56, false)),
            ("over all of it", part(40, 72, false)),
            ("a second end", part(72, 80, true)),
            ("the end before what has come", part(24, 32, true)),
            ("into the gap and over both", part(8, 56, false)),
        ];
        for (name, wrong) in rows {
            let mut ranges = Ranges::default();
            assert_eq!(ranges.add(FIRST), Added::New);
            assert_eq!(ranges.add(part(48, 64, name == "a second end")), Added::New);
            assert_eq!(ranges.add(wrong), Added::Overlaps, "{name}");
            assert_eq!(ranges.add(part(16, 48, false)), Added::New, "{name}: it has left no trace");
        }
        let mut ranges = Ranges::default();
        assert_eq!(ranges.add(LAST), Added::New);
        assert_eq!(ranges.add(part(40, 48, false)), Added::Overlaps, "behind the end");
    }

    #[test]
    fn there_are_so_many_gaps_and_no_more() {
        let mut ranges = Ranges::default();
        for run in 0..RUNS_MAX as u16 {
            assert_eq!(ranges.add(part(run * 16, run * 16 + 8, false)), Added::New);
        }
        let next = RUNS_MAX as u16 * 16;
        assert_eq!(ranges.add(part(next, next + 8, false)), Added::Scattered);
        assert_eq!(ranges.add(part(8, 16, false)), Added::New, "what closes one finds room");
        assert_eq!(ranges.add(part(next, next + 8, false)), Added::New);
    }
}
