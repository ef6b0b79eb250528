//! What addresses are good for, found by counting where they lie close together, as a subnet's do: no hash, one cache line.
//!
//! ```text
//! row      a run of addresses: first, how many; and where its cells are
//! cells    | row 0: first | first + 1 | nothing | ... | row 1: ... |
//! ```
//!
//! Addresses that lie far apart have no row, and are looked for elsewhere. An external network's mostly lie in two places: those
//! of pools, and floating IPs.

use super::Span;

/// A row may have so many cells for each that holds something, and so many more.
const CELLS_EACH: u64 = 8;
const CELLS_MORE: u64 = 64;

/// Where a run's cells are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    span: Span,
    start: u32,
}

/// See the file's page.
#[derive(Debug)]
pub(super) struct Dense<V>(Vec<Option<V>>);

impl<V> Default for Dense<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V: Clone> Dense<V> {
    /// Lays out a row of all of these; `None` where they lie too far apart.
    pub(super) fn lay(&mut self, pairs: impl Iterator<Item = (u32, V)> + Clone) -> Option<Row> {
        let addresses = || pairs.clone().map(|(address, _)| address);
        let span = Span::new(addresses().min()?, addresses().max()?);
        if u64::from(span.count) > CELLS_MORE + CELLS_EACH * addresses().count() as u64 {
            return None;
        }
        let start = self.0.len();
        let row = Row { span, start: u32::try_from(start).ok()? };
        self.0.resize(start + span.count as usize, None);
        for (address, value) in pairs {
            if let Some(cell) = self.0.get_mut(row.cell(address)) {
                *cell = Some(value);
            }
        }
        Some(row)
    }

    /// Lays out two rows of all of these, one of them perhaps empty; `None` where they lie in more places.
    pub(super) fn lay_twice(&mut self, mut pairs: Vec<(u32, V)>) -> Option<[Row; 2]> {
        if let Some(row) = self.lay(pairs.iter().cloned()) {
            return Some([row, Row::EMPTY]);
        }
        pairs.sort_unstable_by_key(|(address, _)| *address);
        let gaps = pairs.windows(2).enumerate().map(|(at, pair)| match pair {
            [(one, _), (other, _)] => (other - one, at + 1),
            _ => (0, 0),
        });
        let (_, widest) = gaps.max()?;
        let (first, second) = pairs.split_at_checked(widest)?;
        Some([self.lay(first.iter().cloned())?, self.lay(second.iter().cloned())?])
    }

    /// What is there for an address.
    #[inline]
    pub(super) fn get(&self, row: Row, address: u32) -> Option<&V> {
        self.cell(row, address)?.as_ref()
    }

    /// Where that is, without a look.
    #[inline]
    pub(super) fn cell(&self, row: Row, address: u32) -> Option<&Option<V>> {
        if row.span.contains(address) { self.0.get(row.cell(address)) } else { None }
    }
}

impl Row {
    /// Nothing.
    const EMPTY: Self = Self { span: Span::NONE, start: 0 };

    #[inline]
    fn cell(self, address: u32) -> usize {
        (self.start as usize).wrapping_add(address.wrapping_sub(self.span.first) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_know_their_own_addresses_and_no_others() {
        let mut dense = Dense::default();
        let first = dense.lay([(10, 'a'), (12, 'b'), (40, 'c')].into_iter()).unwrap();
        let second = dense.lay([(11, 'd'), (u32::MAX - 1, 'e')].into_iter());
        assert!(second.is_none(), "too far apart");
        let second = dense.lay([(11, 'd'), (13, 'e')].into_iter()).unwrap();
        let got = |row| {
            (0..50).filter_map(|address| Some((address, *dense.get(row, address)?))).collect::<Vec<_>>()
        };
        assert_eq!(got(first), [(10, 'a'), (12, 'b'), (40, 'c')]);
        assert_eq!(got(second), [(11, 'd'), (13, 'e')]);
        assert_eq!(dense.get(first, u32::MAX), None);
        assert!(dense.lay(std::iter::empty()).is_none());
    }

    #[test]
    fn what_lies_in_two_places_has_two_rows_and_in_three_none() {
        let mut dense = Dense::default();
        let two = vec![(900_001, 'd'), (10, 'a'), (12, 'b'), (900_000, 'c')];
        let [low, high] = dense.lay_twice(two).unwrap();
        assert_eq!(
            [10, 11, 12, 900_000].map(|address| dense.get(low, address).copied()),
            [Some('a'), None, Some('b'), None]
        );
        assert_eq!(
            [12, 900_000, 900_001].map(|address| dense.get(high, address).copied()),
            [None, Some('c'), Some('d')]
        );
        let [one, none] = dense.lay_twice(vec![(10, 'a'), (12, 'b')]).unwrap();
        assert_eq!((dense.get(one, 12), dense.get(none, 12), dense.get(none, 0)), (Some(&'b'), None, None));
        assert!(dense.lay_twice(vec![(10, 'a'), (900_000, 'b'), (9_000_000, 'c')]).is_none());
        assert!(dense.lay_twice(Vec::new()).is_none());
    }
}
