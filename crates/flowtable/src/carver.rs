//! Cutting arrays out of a region, always in the same order: the same code measures, makes and finds them again.

use std::hash::Hasher as _;
use std::io;

use siphasher::sip::SipHasher13;

use crate::region::{Cells, Region, Shared};
use crate::sync::Arc;

/// Cuts one array after another, and remembers what it cut.
pub struct Carver {
    /// None while measuring.
    region: Option<Arc<Region>>,
    bytes: u64,
    layout: SipHasher13,
}

impl Carver {
    /// Cuts nothing: every array is empty. Ask [`Self::bytes`] afterwards.
    pub fn measuring() -> Self {
        Self { region: None, bytes: 0, layout: SipHasher13::new() }
    }

    /// Cuts a region.
    ///
    /// # Panics
    /// If something was cut out of it before: each of its bytes has one owner and one type.
    pub fn over(region: &Arc<Region>) -> Self {
        assert!(region.is_whole(), "a region is cut once");
        Self { region: Some(Arc::clone(region)), ..Self::measuring() }
    }

    /// The next `count` cells.
    ///
    /// # Panics
    /// If the region has no room for them.
    pub fn cells<T: Shared>(&mut self, count: usize) -> Cells<T> {
        for word in [size_of::<T>(), align_of::<T>(), count] {
            self.layout.write_u64(word as u64);
        }
        self.bytes = self.bytes.saturating_add(Cells::<T>::bytes(count));
        match &self.region {
            Some(region) => Cells::cut_from(region, count),
            None => Cells::none(),
        }
    }

    /// The bytes of all arrays so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A hash of the sizes, alignments and counts of all arrays so far: where it is another, what lies in a region
    /// cannot be understood.
    pub fn layout_hash(&self) -> u64 {
        self.layout.finish()
    }
}

/// What `carve` cuts, in anonymous memory of its own and of the right size.
///
/// # Errors
/// If there is not as much memory.
pub(crate) fn in_own_region<T>(carve: impl Fn(&mut Carver) -> T) -> io::Result<T> {
    let mut measuring = Carver::measuring();
    carve(&mut measuring);
    Ok(carve(&mut Carver::over(&Region::anonymous(measuring.bytes())?)))
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use crate::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

    type Cut = (Cells<AtomicU8>, Cells<AtomicU64>, Cells<[AtomicU32; 3]>);

    fn carve(carver: &mut Carver) -> Cut {
        (carver.cells(3), carver.cells(10), carver.cells(5))
    }

    #[test]
    fn what_is_measured_is_what_is_cut() {
        let mut measuring = Carver::measuring();
        let (bytes, words, odd) = carve(&mut measuring);
        assert!(bytes.is_empty() && words.is_empty() && odd.is_empty());
        assert_eq!(measuring.bytes(), 64 + 128 + 128);
        let region = Region::anonymous(measuring.bytes()).unwrap();
        let mut carver = Carver::over(&region);
        let (bytes, words, odd) = carve(&mut carver);
        assert_eq!((bytes.len(), words.len(), odd.len()), (3, 10, 5));
        assert_eq!((carver.bytes(), carver.layout_hash()), (measuring.bytes(), measuring.layout_hash()));
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0), "a new region is zeros");
    }

    #[test]
    fn no_two_cells_share_a_byte() {
        let (bytes, words, odd) = in_own_region(carve).unwrap();
        bytes.iter().for_each(|byte| byte.store(0xaa, Ordering::Relaxed));
        words.iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
        odd.iter().flatten().for_each(|word| word.store(7, Ordering::Relaxed));
        assert!(bytes.iter().all(|byte| byte.load(Ordering::Relaxed) == 0xaa));
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == u64::MAX));
        assert!(odd.iter().flatten().all(|word| word.load(Ordering::Relaxed) == 7));
    }

    #[test]
    fn another_layout_has_another_hash() {
        let hash = |carve: &dyn Fn(&mut Carver)| {
            let mut carver = Carver::measuring();
            carve(&mut carver);
            carver.layout_hash()
        };
        let cuts: [&dyn Fn(&mut Carver); 5] = [
            &|_| (),
            &|carver| _ = carver.cells::<AtomicU32>(4),
            &|carver| _ = carver.cells::<AtomicU32>(5),
            &|carver| _ = carver.cells::<AtomicU64>(4),
            &|carver| _ = (carver.cells::<AtomicU32>(2), carver.cells::<AtomicU32>(2)),
        ];
        for (i, one) in cuts.iter().enumerate() {
            assert_eq!(hash(one), hash(one));
            assert!(cuts[..i].iter().all(|other| hash(one) != hash(other)));
        }
    }

    #[test]
    #[should_panic(expected = "a region is cut once")]
    fn a_region_is_not_cut_twice() {
        let region = Region::anonymous(1 << 16).unwrap();
        Carver::over(&region).cells::<AtomicU64>(1);
        Carver::over(&region);
    }

    #[test]
    #[should_panic(expected = "smaller than what is cut")]
    fn a_region_gives_no_more_than_it_has() {
        let region = Region::anonymous(64).unwrap();
        Carver::over(&region).cells::<AtomicU64>(9);
    }
}
