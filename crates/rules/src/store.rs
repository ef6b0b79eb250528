//! The rules in force, and how a change becomes part of them.
//!
//! Good objects are taken and bad ones refused, one by one: a refused object stays what it was, or absent. But objects
//! hang together, so one refusal can bring the next: the router that keeps its old floating IP is in the way of the
//! router that was to get it. So a change is tried whole, what is to blame is put back, and the rest is tried again,
//! until nothing is wrong:
//!
//! ```text
//! settled (in force, and not to change)   fresh (to change)
//!         ^                                 |
//!         '----- put back with its faults --'     and a delete is put back where something settled names it
//! ```
//!
//! Each round puts something back, so it ends. What is settled was valid before, and validation blames the object that
//! comes last, so the blame falls on what is fresh. The whole set is checked in every round: simple, and some ten
//! milliseconds for a full gateway. An adversary can craft a change that takes many rounds; after [`ROUNDS_MAX`] what
//! is left of it is refused.

use hashbrown::HashSet;

use crate::fault::{Code, Fault};
use crate::model::Rules;
use crate::object::{Object, ObjectRef};
use crate::valid::Valid;
use crate::validate::{check, objects_of};

#[cfg(test)]
mod tests;

/// How often one change is tried. Each round answers for one link of a chain of refusals; in practice there are two.
const ROUNDS_MAX: usize = 64;

/// What a feed sends.
#[derive(Clone, Debug)]
pub enum Change {
    /// All there is: what it does not hold is removed.
    Snapshot(Rules),
    /// Some objects, whole. An object that is both given and deleted is deleted.
    Delta {
        /// Objects to make or to replace.
        upserts: Vec<Object>,
        /// Objects to remove; those that are not there are passed over.
        deletes: Vec<ObjectRef>,
    },
}

/// What became of a change. Objects that it does not name are untouched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Objects made or replaced.
    pub accepted: Vec<ObjectRef>,
    /// Objects removed.
    pub removed: Vec<ObjectRef>,
    /// How many objects were given just as they are in force.
    pub unchanged: usize,
    /// Objects given with a lower revision than is in force, and ignored.
    pub stale: Vec<ObjectRef>,
    /// Every fault of every object that was refused.
    pub faults: Vec<Fault>,
}

impl Outcome {
    /// Whether the rules in force are others than before.
    pub fn changed(&self) -> bool {
        !self.accepted.is_empty() || !self.removed.is_empty()
    }

    /// Every object that was refused, once.
    pub fn refused(&self) -> impl Iterator<Item = &ObjectRef> {
        let mut seen = HashSet::new();
        self.faults.iter().map(|fault| &fault.object).filter(move |object| seen.insert(*object))
    }
}

/// The rules in force. Always valid.
#[derive(Clone, Debug)]
pub struct Store {
    valid: Valid,
}

impl Store {
    /// No rules yet, on a gateway with these ports.
    pub fn new(ports: &[String]) -> Self {
        Self { valid: Valid::empty(ports) }
    }

    /// The rules in force.
    pub fn valid(&self) -> &Valid {
        &self.valid
    }

    /// Takes what is good of a change, and says why the rest was refused.
    pub fn apply(&mut self, change: Change) -> Outcome {
        let mut outcome = Outcome::default();
        let mut attempt = Attempt::new(&self.valid, change, &mut outcome);
        for _ in 0..ROUNDS_MAX {
            let (objects, settled) = attempt.objects(&self.valid);
            let faults = check(&objects, settled, self.valid.ports());
            if faults.is_empty() {
                attempt.report(&mut outcome);
                if outcome.changed() {
                    self.valid = Valid::assume(self.valid.shared_ports(), objects);
                }
                return outcome;
            }
            if !attempt.put_back(faults, &mut outcome) {
                break;
            }
        }
        attempt.give_up(&mut outcome);
        outcome
    }
}

/// What of a change is still to become part of the rules.
struct Attempt {
    /// Objects to make or to replace, in the order of dependence and then as given.
    fresh: Vec<Object>,
    /// Their names.
    fresh_names: HashSet<ObjectRef>,
    /// Objects to remove.
    gone: HashSet<ObjectRef>,
}

impl Attempt {
    fn new(held: &Valid, change: Change, outcome: &mut Outcome) -> Self {
        let (upserts, mut gone) = match change {
            Change::Snapshot(rules) => {
                let upserts = objects_of(rules);
                let kept: HashSet<ObjectRef> = upserts.iter().map(Object::name).collect();
                let gone = held.objects().map(|object| object.name()).filter(|name| !kept.contains(name));
                (upserts, gone.collect())
            }
            Change::Delta { upserts, deletes } => (upserts, deletes.into_iter().collect::<HashSet<_>>()),
        };
        let mut attempt = Self { fresh: Vec::new(), fresh_names: HashSet::new(), gone: HashSet::new() };
        let mut given = HashSet::new();
        for object in upserts {
            let name = object.name();
            if gone.contains(&name) {
                continue;
            }
            if !given.insert(name.clone()) {
                let message = format!("another {} of this change has this id", name.kind);
                let field = "id".to_owned();
                let code = Code::DuplicateId;
                outcome.faults.push(Fault { code, object: name, field, message, conflicts_with: None });
                continue;
            }
            match held.get(name.kind, &name.id) {
                Some(held) if object.revision() < held.revision() => outcome.stale.push(name),
                Some(held) if object == held => outcome.unchanged += 1,
                _ => {
                    attempt.fresh_names.insert(name);
                    attempt.fresh.push(object);
                }
            }
        }
        attempt.fresh.sort_by_key(Object::kind);
        gone.retain(|name| held.get(name.kind, &name.id).is_some());
        attempt.gone = gone;
        attempt
    }

    /// The set that would be in force, and how many of it are settled; those come first.
    fn objects(&self, held: &Valid) -> (Vec<Object>, usize) {
        let stays = |object: &Object| {
            let name = object.name();
            !self.fresh_names.contains(&name) && !self.gone.contains(&name)
        };
        let mut objects: Vec<Object> = held.objects().filter(stays).collect();
        let settled = objects.len();
        objects.extend(self.fresh.iter().cloned());
        (objects, settled)
    }

    /// Puts back whatever is to blame, and reports why. False where nothing is.
    fn put_back(&mut self, faults: Vec<Fault>, outcome: &mut Outcome) -> bool {
        let before = self.fresh_names.len() + self.gone.len();
        let mut bad = HashSet::new();
        for fault in faults {
            if self.fresh_names.contains(&fault.object) {
                bad.insert(fault.object.clone());
                outcome.faults.push(fault);
            } else if let Some(missing) = fault.conflicts_with
                && self.gone.remove(&missing)
            {
                let message = format!("it cannot go: {} names it in {}", fault.object, fault.field);
                outcome.faults.push(Fault {
                    code: Code::InUse,
                    object: missing,
                    field: String::new(),
                    message,
                    conflicts_with: Some(fault.object),
                });
            }
        }
        self.fresh_names.retain(|name| !bad.contains(name));
        self.fresh.retain(|object| !bad.contains(&object.name()));
        self.fresh_names.len() + self.gone.len() < before
    }

    fn report(&self, outcome: &mut Outcome) {
        outcome.accepted = self.fresh.iter().map(Object::name).collect();
        outcome.removed = self.gone.iter().cloned().collect();
        outcome.removed.sort();
    }

    /// Refuses all that is left.
    fn give_up(self, outcome: &mut Outcome) {
        let mut left: Vec<ObjectRef> = self.fresh_names.into_iter().chain(self.gone).collect();
        left.sort();
        outcome.faults.extend(left.into_iter().map(|object| Fault {
            code: Code::Capacity,
            object,
            field: String::new(),
            message: "too many objects of this change hang together: send it in smaller parts".to_owned(),
            conflicts_with: None,
        }));
    }
}
