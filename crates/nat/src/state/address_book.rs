//! Which external address has which number, by which its ports are found: kept beside the ports.
//!
//! ```text
//!  0        4          8        16
//!  | realm  | address  | state  |             one for each number, in the region; state: 0 free | check << 1 | 1
//!  (realm, address) -> number                 a table made of them in each process: whoever gives a port back has only
//!                                             the address, which may have left the rules
//! ```
//!
//! Written by the control thread before rules with the addresses are published, read by every worker.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};
use std::sync::{Arc, Mutex, PoisonError};

use flowtable::{Carver, Cells, HashKey, Owner, Quiescence, ShardIndex, Table};
use rules::compiled::{AddressIndex, Realm};
use zerocopy::FromBytes;

use crate::random::checksum;

const FREE: u64 = 0;

/// The table has one owner, the control thread.
const SHARD: ShardIndex = ShardIndex(0);

#[derive(Default, FromBytes)]
#[repr(C)]
struct Record {
    realm: AtomicU32,
    /// Its octets in memory are in wire order.
    address: AtomicU32,
    state: AtomicU64,
}

const _: () = assert!(size_of::<Record>() == 16);

/// See the file's page.
pub(crate) struct AddressBook {
    records: Cells<Record>,
    numbers: Arc<Table<u64, AtomicU32, 1>>,
    writer: Mutex<Option<Owner<u64, AtomicU32, 1>>>,
}

impl AddressBook {
    pub(crate) fn carve(carver: &mut Carver, addresses: u32, hash_key: HashKey) -> Self {
        let records = carver.cells(addresses as usize);
        // Twice as many: an address that was taken out holds its slot until every worker has let go of it.
        let numbers = Arc::new(Table::anonymous(1, (records.len() as u32 * 2).max(1), hash_key));
        Self { records, numbers, writer: Mutex::new(None) }
    }

    /// Makes the table of what the records say. Once, before anything else is asked of it.
    pub(crate) fn index(&self, quiescence: &Arc<Quiescence>) {
        let mut owner = self.numbers.owner(SHARD, quiescence);
        for (AddressIndex(number), (realm, address)) in self.records() {
            // Of two records for one address, which damage alone can make, the first one has it.
            _ = owner.insert([key(realm, address)], 0, |[value]| value.store(number, Relaxed));
        }
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
    }

    /// The number of an address, as long as it has one.
    pub(crate) fn find(&self, realm: Realm, address: Ipv4Addr) -> Option<AddressIndex> {
        let line = self.numbers.find(SHARD, &key(realm, address))?;
        Some(AddressIndex(self.numbers.value(line).load(Relaxed)))
    }

    /// Whose number it is, as long as it is an address'.
    #[inline]
    pub(crate) fn at(&self, AddressIndex(number): AddressIndex) -> Option<(Realm, Ipv4Addr)> {
        let number = number as usize;
        let record = (number < self.records.len()).then(|| self.records.get(number))?;
        (record.state.load(Relaxed) != FREE).then(|| record.key())
    }

    /// Every number that is not free.
    pub(crate) fn records(&self) -> impl Iterator<Item = (AddressIndex, (Realm, Ipv4Addr))> {
        let all = (0..).map(AddressIndex).zip(self.records.iter());
        all.filter(|(number, record)| record.state.load(Relaxed) == record.word(*number))
            .map(|(number, record)| (number, record.key()))
    }

    /// Frees records that are damaged: the numbers that were.
    pub(crate) fn free_damaged(&self) -> Vec<AddressIndex> {
        let all = (0..).map(AddressIndex).zip(self.records.iter());
        let is_damaged = |(number, record): &(AddressIndex, &Record)| {
            let state = record.state.load(Relaxed);
            state != FREE && state != record.word(*number)
        };
        all.filter(is_damaged)
            .inspect(|(_, record)| record.state.store(FREE, Relaxed))
            .map(|(number, _)| number)
            .collect()
    }

    /// Makes the book say what `entries` say, which rise.
    pub(crate) fn store(&self, entries: impl Iterator<Item = (AddressIndex, (Realm, Ipv4Addr))>) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(owner) = writer.as_mut() else { return };
        owner.reclaim();
        let mut entries = entries.peekable();
        let mut new = Vec::new();
        for (number, record) in (0..).map(AddressIndex).zip(self.records.iter()) {
            let entry = entries.next_if(|(entry, _)| *entry == number).map(|(_, entry)| entry);
            let is_taken = record.state.load(Relaxed) != FREE;
            if is_taken && entry != Some(record.key()) {
                record.state.store(FREE, Release);
                let (realm, address) = record.key();
                if let Some(line) = self.numbers.find(SHARD, &key(realm, address)) {
                    owner.remove(self.numbers.slot_of(line));
                }
            }
            if let Some((realm, address)) = entry {
                record.set(number, realm, address);
                new.push((key(realm, address), number));
            }
        }
        // After everything that is gone: an address may have got another number.
        for (key, AddressIndex(number)) in new {
            _ = owner.insert([key], 0, |[value]| value.store(number, Relaxed));
        }
    }
}

impl Record {
    fn key(&self) -> (Realm, Ipv4Addr) {
        (Realm(self.realm.load(Relaxed)), self.address.load(Relaxed).to_ne_bytes().into())
    }

    fn set(&self, number: AddressIndex, realm: Realm, address: Ipv4Addr) {
        if self.key() != (realm, address) {
            self.realm.store(realm.0, Relaxed);
            self.address.store(u32::from_ne_bytes(address.octets()), Relaxed);
        }
        self.state.store(self.word(number), Release);
    }

    /// Its state where it is this number's and whole.
    fn word(&self, AddressIndex(number): AddressIndex) -> u64 {
        let (Realm(realm), address) = self.key();
        checksum(&[number.into(), realm.into(), u32::from(address).into()]) << 1 | 1
    }
}

fn key(realm: Realm, address: Ipv4Addr) -> u64 {
    u64::from(realm.0) << 32 | u64::from(u32::from(address))
}

#[cfg(test)]
mod tests {
    use flowtable::Region;

    use super::*;

    fn book() -> AddressBook {
        let mut measuring = Carver::measuring();
        AddressBook::carve(&mut measuring, 4, HashKey([1, 2]));
        let region = Region::anonymous(measuring.bytes()).unwrap();
        let book = AddressBook::carve(&mut Carver::over(&region), 4, HashKey([1, 2]));
        book.index(&Quiescence::new());
        book
    }

    fn entry(number: u32, realm: u32, last: u8) -> (AddressIndex, (Realm, Ipv4Addr)) {
        (AddressIndex(number), (Realm(realm), Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn what_was_stored_last_is_found_and_nothing_else() {
        let book = book();
        for entries in [
            vec![entry(0, 1, 1), entry(1, 1, 2), entry(3, 2, 1)],
            // Numbers and addresses change places.
            vec![entry(0, 1, 2), entry(1, 1, 1), entry(2, 2, 9)],
            vec![entry(2, 2, 9)],
            vec![],
            vec![entry(0, 1, 1), entry(1, 1, 2), entry(2, 2, 1), entry(3, 2, 2)],
        ] {
            book.store(entries.iter().copied());
            assert_eq!(book.records().collect::<Vec<_>>(), entries);
            for (realm, last) in (0..3).flat_map(|realm| (0..10).map(move |last| (realm, last))) {
                let (_, (realm, address)) = entry(0, realm, last);
                let expected =
                    entries.iter().find(|(_, one)| *one == (realm, address)).map(|(number, _)| *number);
                assert_eq!(book.find(realm, address), expected);
            }
            for number in (0..6).map(AddressIndex) {
                let expected = entries.iter().find(|(one, _)| *one == number).map(|(_, key)| *key);
                assert_eq!(book.at(number), expected);
            }
        }
        assert!(book.free_damaged().is_empty());
    }

    #[test]
    fn a_damaged_record_is_found_and_freed() {
        for bit in 0..128 {
            let book = book();
            book.store([entry(1, 1, 1), entry(2, 1, 2)].into_iter());
            let record = book.records.get(2);
            match bit {
                0..32 => _ = record.realm.fetch_xor(1 << bit, Relaxed),
                32..64 => _ = record.address.fetch_xor(1 << (bit - 32), Relaxed),
                _ => _ = record.state.fetch_xor(1 << (bit - 64), Relaxed),
            }
            assert_eq!(book.records().collect::<Vec<_>>(), [entry(1, 1, 1)], "{bit}");
            assert_eq!(book.free_damaged(), [AddressIndex(2)], "{bit}");
            assert!(book.free_damaged().is_empty());
        }
    }
}
