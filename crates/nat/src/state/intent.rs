//! What a shard's owner is at, written down before and cleared after, for the process that comes after a crash.
//!
//! ```text
//!  0       8                      24                     40                    56            64
//!  | set 8 | internal flow 16     | external flow 16     | set at the last     | mappings    |     one cache line a shard
//!  |       |                      |                      | crash: internal 16  | numbered 8  |
//! ```
//!
//! An operation changes several tables and a port, and a process can end between any two of them. Session lines are
//! right at any moment; what is counted for them may not be. The intent names all that an operation may have left
//! miscounted: the host and the mapping by the internal flow, the port and the permission by the external one.
//!
//! The stores of a killed process are all there, in program order. So the owner needs no more than that the compiler
//! keeps the order: the flows before the mark, the mark before the operation, the operation before it is cleared.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::Release, fence};

use rules::compiled::Realm;
use zerocopy::FromBytes;

use crate::flow::{Endpoint, Flow};

/// See the file's page. Written by the shard's owner alone.
#[derive(Default, FromBytes)]
#[repr(C, align(64))]
pub(crate) struct Intent {
    set: AtomicU64,
    internal: [AtomicU64; 2],
    external: [AtomicU64; 2],
    at_last_crash: [AtomicU64; 2],
    numbered: AtomicU64,
}

const _: () = assert!(size_of::<Intent>() == 64);

impl Intent {
    /// An operation begins on what these flows name. One that is set already is replaced: what it named is done.
    pub(crate) fn begin(&self, internal: &Flow, external: &Flow) {
        write(&self.internal, internal);
        write(&self.external, external);
        self.set.store(1, Release);
        fence(Release);
    }

    /// The operation that has begun for `internal` is about to take this external endpoint.
    pub(crate) fn aim_at(&self, internal: &Flow, external: Endpoint, realm: Realm) {
        write(&self.external, &internal.with_source(external, realm).reversed());
        fence(Release);
    }

    /// The operation is done.
    pub(crate) fn clear(&self) {
        self.set.store(0, Release);
    }

    /// A number for a mapping that is to be made: of 2^31 in a row each is another, whatever process made them. Its ones are
    /// even in number, so that it is none with a bit damaged.
    pub(crate) fn number(&self) -> u32 {
        let numbered = self.numbered.load(Relaxed).wrapping_add(1);
        self.numbered.store(numbered, Relaxed);
        let number = (numbered as u32) << 1;
        number | (number.count_ones() & 1)
    }

    /// Whether this may be a mapping's number; 0 stands for no mapping.
    pub(crate) fn is_number(number: u32) -> bool {
        number.count_ones().is_multiple_of(2)
    }

    /// What the process that ended was at: the internal and the external flow.
    pub(crate) fn found(&self) -> Option<[Flow; 2]> {
        (self.set.load(Relaxed) != 0).then(|| [read(&self.internal), read(&self.external)])
    }

    /// Whether the process before the one that ended was at the same.
    pub(crate) fn is_found_again(&self) -> bool {
        self.found().is_some_and(|[internal, _]| internal == read(&self.at_last_crash))
    }

    /// What was found is put in order: remembers it for the next time.
    pub(crate) fn settle(&self) {
        let none = [AtomicU64::new(0), AtomicU64::new(0)];
        let last = if self.found().is_some() { &self.internal } else { &none };
        write(&self.at_last_crash, &read(last));
        self.clear();
    }
}

fn write(words: &[AtomicU64; 2], flow: &Flow) {
    let values: [u64; 2] = zerocopy::transmute!(*flow);
    for (word, value) in words.iter().zip(values) {
        word.store(value, Relaxed);
    }
}

fn read(words: &[AtomicU64; 2]) -> Flow {
    let values = [words[0].load(Relaxed), words[1].load(Relaxed)];
    zerocopy::transmute!(values)
}

#[cfg(test)]
mod tests {
    use packet::Protocol;

    use super::*;

    fn flow(port: u16) -> Flow {
        let endpoint = |port| Endpoint { address: [10, 0, 0, 1].into(), port };
        Flow::new(Realm(7), Protocol::TCP, endpoint(port), endpoint(80))
    }

    #[test]
    fn what_was_begun_and_not_cleared_is_found_with_what_it_aimed_at_last() {
        let intent = Intent::default();
        assert_eq!(intent.found(), None);
        intent.begin(&flow(1), &flow(2));
        assert_eq!(intent.found(), Some([flow(1), flow(2)]));
        let external = Endpoint { address: [192, 0, 2, 1].into(), port: 5_000 };
        intent.aim_at(&flow(1), external, Realm(9));
        let [internal, aim] = intent.found().unwrap();
        assert_eq!((internal, aim.destination(), aim.realm()), (flow(1), external, Realm(9)));
        intent.clear();
        assert_eq!(intent.found(), None);
    }

    #[test]
    fn a_number_comes_once_and_with_a_bit_damaged_never() {
        let intent = Intent::default();
        let numbers: std::collections::HashSet<u32> = (0..100_000).map(|_| intent.number()).collect();
        assert_eq!(numbers.len(), 100_000);
        for number in numbers {
            assert!(number != 0 && Intent::is_number(number));
            assert!((0..u32::BITS).all(|bit| !Intent::is_number(number ^ 1 << bit)));
        }
    }

    #[test]
    fn only_the_same_flow_at_two_crashes_in_a_row_is_found_again() {
        let intent = Intent::default();
        for (port, again) in
            [(Some(1), false), (Some(1), true), (Some(2), false), (None, false), (Some(2), false)]
        {
            if let Some(port) = port {
                intent.begin(&flow(port), &flow(9));
            }
            assert_eq!(intent.is_found_again(), again, "{port:?}");
            intent.settle();
            assert_eq!(intent.found(), None);
        }
    }
}
