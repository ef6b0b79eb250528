//! The rules in force on a gateway, and what would become of them. No sockets, no clock, no threads.
//!
//! Judging changes nothing: it makes a candidate, which is adopted once every worker runs it. So there is nothing to
//! undo when the workers do not take it, and nothing half-way to be seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rules::model::Rules;
use rules::{Change, Outcome, Store};
use rules::{Object, ObjectKind, ObjectRef, Valid};

use crate::reject::{Code, Reject};
use crate::staging::Snapshot;
use crate::{decode, guard, wire};

/// What is in force, and where it came from.
#[derive(Debug)]
pub(crate) struct Replica {
    store: Store,
    epoch: u64,
    version: u64,
    /// The highest epoch seen, which may not have had anything to say yet.
    fence: u64,
    /// Whether anything was ever adopted: until then even no rules at all are news to the workers.
    adopted: bool,
}

/// What becomes of a snapshot or a delta.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Nothing of it is taken.
    Refused(Vec<Reject>),
    /// It is taken, perhaps without some of its objects.
    Taken(Judged),
}

/// Rules that may come into force.
#[derive(Debug)]
pub(crate) struct Judged {
    store: Store,
    epoch: u64,
    version: u64,
    /// Why some objects were refused.
    pub(crate) rejects: Vec<Reject>,
    /// How many objects were taken or removed, or are in force just as they came.
    pub(crate) accepted: u32,
    /// How many objects were ignored because a later revision is in force.
    pub(crate) stale: u64,
    /// Whether the workers have to hear of it.
    pub(crate) changed: bool,
}

impl Judged {
    pub(crate) fn rules(&self) -> &Valid {
        self.store.valid()
    }
}

impl Replica {
    pub(crate) fn new(ports: &[String]) -> Self {
        Self { store: Store::new(ports), epoch: 0, version: 0, fence: 0, adopted: false }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    pub(crate) fn rules(&self) -> &Valid {
        self.store.valid()
    }

    pub(crate) fn objects(&self) -> usize {
        let rules = self.rules();
        rules.segments().len() + rules.pools().len() + rules.routers().len()
    }

    /// Notes that a feed of this epoch spoke; returns the highest seen.
    pub(crate) fn fence(&mut self, epoch: u64) -> u64 {
        self.fence = self.fence.max(epoch);
        self.fence
    }

    /// Makes what was judged the rules in force.
    pub(crate) fn adopt(&mut self, judged: Judged) {
        (self.store, self.epoch, self.version) = (judged.store, judged.epoch, judged.version);
        self.fence(self.epoch);
        self.adopted = true;
    }

    /// What becomes of rules from disk. They were good once, on the ports there were then, so each is judged again.
    pub(crate) fn judge_restored(&self, epoch: u64, version: u64, rules: Rules) -> Judged {
        self.judge(epoch, version, Change::Snapshot(rules), &BTreeMap::new(), Vec::new())
    }

    pub(crate) fn judge_snapshot(&self, snapshot: Snapshot) -> Verdict {
        let Snapshot { epoch, version, confirm_mass_delete, offered, mut objects, rejects } = snapshot;
        if !confirm_mass_delete {
            let routers = self.rules().routers();
            let stay = |id: &str| offered.contains_key(&ObjectRef::new(ObjectKind::Router, id));
            let gone = routers.iter().filter(|router| !stay(&router.id)).count();
            let routers_offered = offered.keys().filter(|name| name.kind == ObjectKind::Router).count();
            if let Some(reject) = guard::mass_delete_by_snapshot(routers.len(), gone, routers_offered) {
                return Verdict::Refused(vec![reject]);
            }
        }
        // An object that cannot be read is not an object that is gone: what is in force for it stays.
        let read: BTreeSet<ObjectRef> = objects.iter().map(Object::name).collect();
        let unread = offered.keys().filter(|name| !read.contains(name));
        objects.extend(unread.filter_map(|name| self.rules().get(name.kind, &name.id)));
        let change = Change::Snapshot(collect(objects));
        Verdict::Taken(self.judge(epoch, version, change, &offered, rejects))
    }

    pub(crate) fn judge_delta(&self, epoch: u64, delta: &wire::Delta) -> Verdict {
        let ours = (self.epoch, self.version);
        if (epoch, delta.base_version) != ours || delta.version <= delta.base_version {
            let theirs = (epoch, delta.base_version);
            let message =
                format!("the delta builds on (epoch, version) {theirs:?}, and {ours:?} is in force");
            return Verdict::Refused(vec![Reject::all(Code::BaseMismatch, message)]);
        }
        let mut offered = BTreeMap::new();
        let mut rejects = Vec::new();
        let mut upserts = Vec::new();
        for sent in &delta.upserts {
            offered.extend(decode::name(sent));
            match decode::object(sent) {
                Ok(object) => upserts.push(object),
                Err(faults) => rejects.extend(faults),
            }
        }
        let mut deletes = Vec::new();
        for sent in &delta.deletes {
            match decode::reference(sent) {
                Some(name) => deletes.push(name),
                None => {
                    let message =
                        format!("{} is no kind of object: `{}` cannot be deleted", sent.kind, sent.id);
                    rejects.push(Reject::all(Code::UnknownEnum, message));
                }
            }
        }
        let routers = self.rules().routers().len();
        let deleted: BTreeSet<&ObjectRef> =
            deletes.iter().filter(|name| name.kind == ObjectKind::Router).collect();
        let gone = deleted.iter().filter(|name| self.rules().get(name.kind, &name.id).is_some()).count();
        if let Some(reject) = guard::mass_delete(routers, gone).filter(|_| !delta.confirm_mass_delete) {
            return Verdict::Refused(vec![reject]);
        }
        let change = Change::Delta { upserts, deletes };
        let judged = self.judge(epoch, delta.version, change, &offered, rejects);
        if delta.all_or_nothing && !judged.rejects.is_empty() {
            return Verdict::Refused(judged.rejects);
        }
        Verdict::Taken(judged)
    }

    fn judge(
        &self,
        epoch: u64,
        version: u64,
        change: Change,
        offered: &BTreeMap<ObjectRef, u64>,
        mut rejects: Vec<Reject>,
    ) -> Judged {
        let mut store = self.store.clone();
        let outcome = store.apply(change);
        let changed = outcome.changed() || !self.adopted;
        let Outcome { accepted, removed, unchanged, stale, faults } = outcome;
        rejects.extend(faults.into_iter().map(Reject::from));
        for reject in &mut rejects {
            let Some(object) = &reject.object else { continue };
            reject.offered_revision = offered.get(object).copied().unwrap_or(0);
            reject.kept_revision =
                self.rules().get(object.kind, &object.id).map_or(0, |kept| kept.revision());
        }
        Judged {
            store,
            epoch,
            version,
            rejects,
            accepted: u32::try_from(accepted.len() + removed.len() + unchanged).unwrap_or(u32::MAX),
            stale: stale.len() as u64,
            changed,
        }
    }
}

fn collect(objects: Vec<Object>) -> Rules {
    let mut rules = Rules::default();
    for object in objects {
        match object {
            Object::Segment(one) => rules.segments.push(Arc::unwrap_or_clone(one)),
            Object::Pool(one) => rules.pools.push(Arc::unwrap_or_clone(one)),
            Object::Router(one) => rules.routers.push(Arc::unwrap_or_clone(one)),
        }
    }
    rules
}

#[cfg(test)]
mod tests;
