//! What a controller serves: every object with the version it last changed in.
//!
//! That one number per object answers every question a gateway can ask. What changed since version 7? The objects
//! above 7. Ten changes of one router while a gateway was busy? It is above 7 once: coalescing costs nothing. A log of
//! deltas would have to be merged, and bounded; this is as large as the rules.
//!
//! A catalog is immutable. A change makes the next one, which shares every object that stayed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use prost::Message as _;
use rules::model::Rules;
use rules::{Object, ObjectKind, ObjectRef};

use crate::digest::Digest;
use crate::reject::{Code, Reject};
use crate::{encode, guard, wire};

/// How many versions back a gateway can resume from.
const HISTORY_VERSIONS_MAX: usize = 256;
/// No chunk and no delta is larger, unless a single object is.
pub(crate) const CHUNK_BYTES_MAX: usize = 1 << 20;
/// No object is larger: what a gateway takes in one message, with room for its frame.
pub(crate) const OBJECT_BYTES_MAX: usize = 8 << 20;

/// All objects at one version.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    epoch: u64,
    version: u64,
    confirm_mass_delete: bool,
    objects: BTreeMap<ObjectRef, Arc<Entry>>,
    /// Objects that are gone: the version they went in.
    deleted: BTreeMap<ObjectRef, u64>,
    /// The digests of the last versions, oldest first. A gateway that shows one of them can resume from it.
    digests: VecDeque<(u64, Digest)>,
}

#[derive(Debug)]
struct Entry {
    /// As it was given, with the revision it was given with.
    object: Object,
    /// As it is sent.
    sent: wire::Object,
    sent_bytes: usize,
    revision: u64,
    changed: u64,
}

impl Catalog {
    /// Version 0: nothing was published yet, so there is nothing to say.
    pub(crate) fn new(epoch: u64, confirm_mass_delete: bool) -> Self {
        Self {
            epoch,
            version: 0,
            confirm_mass_delete,
            objects: BTreeMap::new(),
            deleted: BTreeMap::new(),
            digests: VecDeque::new(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// The catalog after a change to `rules`, or `None` where they are what is served already.
    ///
    /// An object without a revision of its own gets one: epoch + version, which rises with every change and, epochs being
    /// times, also over a restart.
    ///
    /// # Errors
    /// All rejects; what is served stays.
    pub(crate) fn next(&self, rules: Rules) -> Result<Option<Self>, Vec<Reject>> {
        let version = self.version + 1;
        let mut next = Self { version, objects: BTreeMap::new(), ..self.clone() };
        let mut rejects = Vec::new();
        let mut changed = self.version == 0;
        for object in into_objects(rules) {
            let name = object.name();
            let entry = match self.objects.get(&name) {
                Some(old) if old.object == object => Arc::clone(old),
                old => {
                    changed = true;
                    let given = object.revision();
                    let revision = if given == 0 { self.epoch.saturating_add(version) } else { given };
                    if let Some(old) = old.filter(|old| revision <= old.revision) {
                        rejects.push(stale(&name, revision, old.revision));
                    }
                    let sent = encode::object(&object, revision);
                    let sent_bytes = sent.encoded_len();
                    if sent_bytes > OBJECT_BYTES_MAX {
                        rejects.push(too_large(&name, sent_bytes));
                    }
                    Arc::new(Entry { object, sent, sent_bytes, revision, changed: version })
                }
            };
            next.deleted.remove(&name);
            next.objects.insert(name, entry);
        }
        let gone: Vec<_> =
            self.objects.keys().filter(|name| !next.objects.contains_key(name)).cloned().collect();
        changed |= !gone.is_empty();
        let routers_gone = gone.iter().filter(|name| name.kind == ObjectKind::Router).count();
        if !self.confirm_mass_delete {
            rejects.extend(guard::mass_delete(self.routers(), routers_gone));
        }
        if !rejects.is_empty() {
            return Err(rejects);
        }
        if !changed {
            return Ok(None);
        }
        next.deleted.extend(gone.into_iter().map(|name| (name, version)));
        next.remember();
        Ok(Some(next))
    }

    fn remember(&mut self) {
        self.digests.push_back((self.version, self.digest()));
        while self.digests.len() > HISTORY_VERSIONS_MAX {
            self.digests.pop_front();
        }
        // Nobody resumes from before the oldest version, so nobody has to hear of what went before it.
        let oldest = self.digests.front().map_or(0, |(version, _)| *version);
        self.deleted.retain(|_, version| *version > oldest);
    }

    fn routers(&self) -> usize {
        self.objects.keys().filter(|name| name.kind == ObjectKind::Router).count()
    }

    fn digest(&self) -> Digest {
        Digest::of(self.objects.iter().map(|(name, entry)| (name.clone(), entry.revision)))
    }

    /// Every object as it was given.
    #[cfg(test)]
    pub(crate) fn given(&self) -> impl Iterator<Item = Object> {
        self.objects.values().map(|entry| entry.object.clone())
    }

    /// Whether a gateway that says it runs this can get a delta.
    pub(crate) fn knows(&self, epoch: u64, version: u64, digest: &[u8]) -> bool {
        epoch == self.epoch && self.digests.iter().any(|(known, of)| *known == version && of.0 == digest)
    }

    /// What changed since `base`, or `None` where that is unknown or so much that a snapshot is better.
    pub(crate) fn delta_since(&self, base: u64) -> Option<wire::Delta> {
        if !self.digests.iter().any(|(version, _)| *version == base) {
            return None;
        }
        let changed = || self.objects.values().filter(|entry| entry.changed > base);
        if changed().map(|entry| entry.sent_bytes).sum::<usize>() > CHUNK_BYTES_MAX {
            return None;
        }
        let deletes = self.deleted.iter().filter(|(_, version)| **version > base);
        Some(wire::Delta {
            base_version: base,
            version: self.version,
            nonce: format!("{}-{}", base, self.version),
            upserts: changed().map(|entry| entry.sent.clone()).collect(),
            deletes: deletes.map(|(name, _)| encode::reference(name, 0)).collect(),
            all_or_nothing: false,
            confirm_mass_delete: self.confirm_mass_delete,
        })
    }

    /// Everything, as the messages of a snapshot.
    pub(crate) fn snapshot(&self) -> impl Iterator<Item = wire::to_gateway::M> + Send + use<> {
        let begin =
            wire::SnapshotBegin { version: self.version, confirm_mass_delete: self.confirm_mass_delete };
        let mut entries = self.objects.values().cloned().collect::<VecDeque<_>>();
        let (version, objects, digest) = (self.version, self.objects.len() as u64, self.digest());
        let mut chunks = 0;
        let mut ended = false;
        let rest = std::iter::from_fn(move || {
            if let Some(first) = entries.pop_front() {
                // Each object costs its tag and length beside its bytes.
                let cost = |entry: &Entry| entry.sent_bytes + 8;
                let mut bytes = cost(&first);
                let mut objects = vec![first.sent.clone()];
                while let Some(entry) =
                    entries.pop_front_if(|entry| bytes + cost(entry) <= CHUNK_BYTES_MAX - 16)
                {
                    bytes += cost(&entry);
                    objects.push(entry.sent.clone());
                }
                let chunk = wire::SnapshotChunk { seq: chunks, objects };
                chunks += 1;
                return Some(wire::to_gateway::M::Chunk(chunk));
            }
            let end = wire::SnapshotEnd { version, chunks, objects, digest: digest.to_vec() };
            (!std::mem::replace(&mut ended, true)).then_some(wire::to_gateway::M::End(end))
        });
        std::iter::once(wire::to_gateway::M::Begin(begin)).chain(rest)
    }
}

fn into_objects(rules: Rules) -> impl Iterator<Item = Object> {
    let segments = rules.segments.into_iter().map(Object::from);
    segments
        .chain(rules.pools.into_iter().map(Object::from))
        .chain(rules.routers.into_iter().map(Object::from))
}

fn stale(name: &ObjectRef, given: u64, served: u64) -> Reject {
    let message = format!(
        "the object changed, but its revision {given} is not above {served}, which gateways have: raise it, or give none"
    );
    let reject = Reject::object(name.clone(), Code::StaleRevision, "revision", message);
    Reject { offered_revision: given, kept_revision: served, ..reject }
}

fn too_large(name: &ObjectRef, bytes: usize) -> Reject {
    let message = format!("the object takes {bytes} bytes on the wire, and {OBJECT_BYTES_MAX} is the most");
    Reject::object(name.clone(), Code::OutOfRange, "", message)
}

#[cfg(test)]
mod tests;
