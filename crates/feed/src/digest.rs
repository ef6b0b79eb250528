//! The digest of a set of rules: SHA-256 over what is in it, in an order that both ends can make.
//!
//! It covers names and revisions, not contents: the two ends may encode one content differently (a newer one knows more
//! fields), and a revision stands for one content.

use rules::{ObjectRef, Valid};
use sha2::{Digest as _, Sha256};

use crate::encode;

/// SHA-256 as in `SnapshotEnd.digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these objects, each with its revision, in any order.
    pub fn of(objects: impl IntoIterator<Item = (ObjectRef, u64)>) -> Self {
        let mut objects: Vec<_> = objects
            .into_iter()
            .map(|(object, revision)| (encode::kind(object.kind) as u8, object.id, revision))
            .collect();
        objects.sort();
        let mut hash = Sha256::new();
        for (kind, id, revision) in objects {
            hash.update([kind]);
            hash.update(u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(id);
            hash.update(revision.to_be_bytes());
        }
        Self(hash.finalize().into())
    }

    /// The digest of rules in force.
    pub fn of_rules(rules: &Valid) -> Self {
        Self::of(rules.objects().map(|object| (object.name(), object.revision())))
    }

    /// As it is on the wire.
    pub fn to_vec(self) -> Vec<u8> {
        self.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use rules::ObjectKind;

    use super::*;

    /// Any implementation of the other end has to come to this number.
    #[test]
    fn the_digest_is_as_documented() {
        let objects = [
            (ObjectRef::new(ObjectKind::Segment, "s"), 7),
            (ObjectRef::new(ObjectKind::Router, "b"), 2),
            (ObjectRef::new(ObjectKind::Router, "a"), 0x0102_0304_0506_0708),
        ];
        let mut by_hand: Vec<u8> = Vec::new();
        by_hand.extend([0, 0, 0, 0, 1, b'a', 1, 2, 3, 4, 5, 6, 7, 8]);
        by_hand.extend([0, 0, 0, 0, 1, b'b', 0, 0, 0, 0, 0, 0, 0, 2]);
        by_hand.extend([2, 0, 0, 0, 1, b's', 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(Digest::of(objects).0, <[u8; 32]>::from(Sha256::digest(&by_hand)));
    }
}
