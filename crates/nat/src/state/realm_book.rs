//! Which realm number belongs to which object, kept beside the flow state that names the numbers.
//!
//! ```text
//!  0                     16        24     32
//!  | digest of kind, id  | state   |      |    one for each number; 0 is nobody's
//!
//!  state    0 free | check << 2 | 1 given | check << 2 | 2 retired          check: of digest and number
//! ```
//!
//! Written by the control thread before rules with the numbers are published: digest first, then state. A record whose
//! check is wrong is not free, because lines may name its number, and not anybody's either: retired.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release};

use flowtable::{Carver, Cells};
use rules::RealmEntry;
use rules::compiled::Realm;
use zerocopy::FromBytes;

use crate::random::checksum;

const FREE: u64 = 0;
const GIVEN: u64 = 1;
const RETIRED: u64 = 2;
const STATE_BITS: u32 = 2;

#[derive(Default, FromBytes)]
#[repr(C)]
struct Record {
    digest: [AtomicU64; 2],
    state: AtomicU64,
}

/// See the file's page.
pub(crate) struct RealmBook {
    records: Cells<Record>,
}

impl RealmBook {
    pub(crate) fn carve(carver: &mut Carver, realms_max: u32) -> Self {
        Self { records: carver.cells(realms_max as usize + 1) }
    }

    /// Whether a number belongs to an object, or did and still is named by flow state.
    pub(crate) fn is_taken(&self, Realm(realm): Realm) -> bool {
        (realm as usize) < self.records.len() && self.records.get(realm as usize).state.load(Relaxed) != FREE
    }

    /// Every number that is not free.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Realm, RealmEntry)> {
        (0..).map(Realm).zip(self.records.iter()).filter_map(|(realm, record)| {
            let digest = record.digest();
            let state = record.state.load(Relaxed);
            let retired = state != word(realm, digest, GIVEN);
            (state != FREE).then_some((realm, RealmEntry { digest, retired }))
        })
    }

    /// Makes the book say what `entries` say, which rise.
    pub(crate) fn store(&self, entries: impl Iterator<Item = (Realm, RealmEntry)>) {
        let mut entries = entries.peekable();
        for (realm, record) in (0..).map(Realm).zip(self.records.iter()) {
            match entries.next_if(|(entry, _)| *entry == realm) {
                Some((_, RealmEntry { digest, retired })) => {
                    record.set(digest, word(realm, digest, if retired { RETIRED } else { GIVEN }));
                }
                None => record.state.store(FREE, Release),
            }
        }
    }
}

impl Record {
    fn digest(&self) -> u128 {
        let [high, low] = &self.digest;
        u128::from(high.load(Relaxed)) << 64 | u128::from(low.load(Relaxed))
    }

    fn set(&self, digest: u128, state: u64) {
        if self.digest() != digest {
            let [high, low] = &self.digest;
            high.store((digest >> 64) as u64, Relaxed);
            low.store(digest as u64, Relaxed);
        }
        self.state.store(state, Release);
    }
}

fn word(Realm(realm): Realm, digest: u128, state: u64) -> u64 {
    let check = checksum(&[u64::from(realm), (digest >> 64) as u64, digest as u64]);
    check << STATE_BITS | state
}

#[cfg(test)]
mod tests {
    use flowtable::Region;

    use super::*;

    fn book() -> RealmBook {
        let mut measuring = Carver::measuring();
        RealmBook::carve(&mut measuring, 9);
        let region = Region::anonymous(measuring.bytes()).unwrap();
        RealmBook::carve(&mut Carver::over(&region), 9)
    }

    fn entry(realm: u32, digest: u128, retired: bool) -> (Realm, RealmEntry) {
        (Realm(realm), RealmEntry { digest: digest << 60, retired })
    }

    #[test]
    fn what_was_stored_last_is_there() {
        let book = book();
        assert_eq!(book.records().count(), 0);
        for entries in [
            vec![entry(1, 11, false), entry(2, 12, false), entry(9, 19, false)],
            vec![entry(2, 12, true), entry(3, 13, false), entry(9, 29, false)],
            vec![],
        ] {
            book.store(entries.iter().copied());
            assert_eq!(book.records().collect::<Vec<_>>(), entries);
            let taken = (0..20).map(Realm).filter(|realm| book.is_taken(*realm)).count();
            assert_eq!(taken, entries.len());
        }
    }

    #[test]
    fn what_is_given_and_what_is_retired_are_told_apart_whoever_has_it() {
        let book = book();
        for (digest, retired) in (0..64).flat_map(|digest| [(digest, false), (digest, true)]) {
            let entry = entry(1, digest, retired);
            book.store([entry].into_iter());
            assert_eq!(book.records().collect::<Vec<_>>(), [entry]);
        }
    }

    #[test]
    fn a_damaged_record_is_nobodys_and_not_free() {
        for (word, bit) in (0..3).flat_map(|word| (0..64).map(move |bit| (word, bit))) {
            let book = book();
            book.store([entry(4, 14, false)].into_iter());
            let record = book.records.get(4);
            [&record.digest[0], &record.digest[1], &record.state][word].fetch_xor(1 << bit, Relaxed);
            let found: Vec<_> = book.records().collect();
            assert!(
                matches!(found[..], [(Realm(4), RealmEntry { retired: true, .. })]),
                "{word} {bit}: {found:?}"
            );
        }
    }
}
