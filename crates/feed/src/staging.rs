//! A snapshot on its way in. Nothing of it counts before its end has come and fits all of it.

use std::collections::BTreeMap;

use prost::Message as _;
use rules::{Object, ObjectRef};

use crate::decode;
use crate::digest::Digest;
use crate::reject::{Code, Reject};
use crate::wire;

/// No gateway has so many objects; a snapshot of more is not kept in memory to see where it ends.
const OBJECTS_MAX: usize =
    rules::limits::SEGMENTS_MAX + rules::limits::POOLS_MAX + rules::limits::ROUTERS_MAX;
/// Nor is it of so many bytes.
const BYTES_MAX: usize = 512 << 20;
/// So many faults are kept; a snapshot with more has been understood well enough.
const REJECTS_MAX: usize = 10_000;

/// A snapshot of which not everything has come.
#[derive(Debug)]
pub(crate) struct Staging {
    epoch: u64,
    version: u64,
    confirm_mass_delete: bool,
    chunks: u32,
    bytes: usize,
    names: Vec<(ObjectRef, u64)>,
    objects: Vec<Object>,
    rejects: Vec<Reject>,
}

/// A snapshot of which everything has come.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) epoch: u64,
    pub(crate) version: u64,
    pub(crate) confirm_mass_delete: bool,
    /// Everything that was offered, with its revision.
    pub(crate) offered: BTreeMap<ObjectRef, u64>,
    /// What could be read.
    pub(crate) objects: Vec<Object>,
    /// What could not.
    pub(crate) rejects: Vec<Reject>,
}

impl Staging {
    pub(crate) fn begin(epoch: u64, begin: &wire::SnapshotBegin) -> Self {
        Self {
            epoch,
            version: begin.version,
            confirm_mass_delete: begin.confirm_mass_delete,
            chunks: 0,
            bytes: 0,
            names: Vec::new(),
            objects: Vec::new(),
            rejects: Vec::new(),
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Takes the next part in.
    ///
    /// # Errors
    /// The snapshot is useless and has to be dropped.
    pub(crate) fn add(&mut self, chunk: &wire::SnapshotChunk) -> Result<(), Vec<Reject>> {
        if chunk.seq != self.chunks {
            let message = format!("chunk {} came where chunk {} was due", chunk.seq, self.chunks);
            return Err(vec![Reject::all(Code::ChunkMissing, message)]);
        }
        self.bytes = self.bytes.saturating_add(chunk.encoded_len());
        if self.names.len() + chunk.objects.len() > OBJECTS_MAX || self.bytes > BYTES_MAX {
            let message = format!("the snapshot has more than {OBJECTS_MAX} objects or {BYTES_MAX} bytes");
            return Err(vec![Reject::all(Code::Capacity, message)]);
        }
        self.chunks += 1;
        for object in &chunk.objects {
            let read = decode::object(object);
            let Some(name) = decode::name(object) else {
                // Without a name for every object the digest cannot be checked.
                return read.map(drop);
            };
            self.names.push(name);
            match read {
                Ok(object) => self.objects.push(object),
                Err(rejects) => {
                    let room = REJECTS_MAX.saturating_sub(self.rejects.len());
                    self.rejects.extend(rejects.into_iter().take(room));
                }
            }
        }
        Ok(())
    }

    /// Checks that everything came.
    ///
    /// # Errors
    /// The snapshot is useless; nothing has changed.
    pub(crate) fn end(self, end: &wire::SnapshotEnd) -> Result<Snapshot, Vec<Reject>> {
        let came = (self.version, self.chunks, self.names.len() as u64);
        let sent = (end.version, end.chunks, end.objects);
        if came != sent {
            let message = format!("(version, chunks, objects) were {came:?} and end as {sent:?}");
            return Err(vec![Reject::all(Code::ChunkMissing, message)]);
        }
        let offered = self.names.iter().cloned().collect();
        if Digest::of(self.names).0 != *end.digest {
            let message = "the objects are not those that were sent";
            return Err(vec![Reject::all(Code::DigestMismatch, message)]);
        }
        let Self { epoch, version, confirm_mass_delete, objects, rejects, .. } = self;
        Ok(Snapshot { epoch, version, confirm_mass_delete, offered, objects, rejects })
    }
}
