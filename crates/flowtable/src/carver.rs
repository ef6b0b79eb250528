//! Cutting arrays out of a region, always in the same order: the same code measures, makes and finds them again.

use std::hash::Hasher as _;

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
