//! Where faults are gathered.

use std::fmt::Display;

use hashbrown::HashSet;

use crate::fault::{Code, Fault};
use crate::object::{Object, ObjectRef};

/// The faults found so far. One field is faulted once for one reason, so a report is never longer than the rules.
pub(super) struct Report<'a> {
    objects: &'a [Object],
    found: Vec<(usize, Fault)>,
    seen: HashSet<(usize, Code, String)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(objects: &'a [Object]) -> Self {
        Self { objects, found: Vec::new(), seen: HashSet::new() }
    }

    /// The report of the object at this position.
    pub(super) fn of(&mut self, at: usize) -> Of<'_, 'a> {
        Of { report: self, at }
    }

    /// The name of the object at this position.
    pub(super) fn name(&self, at: usize) -> Option<ObjectRef> {
        self.objects.get(at).map(Object::name)
    }

    /// Every fault, by position, and within one object in the order in which it was found.
    pub(super) fn into_faults(mut self) -> Vec<Fault> {
        self.found.sort_by_key(|(at, _)| *at);
        self.found.into_iter().map(|(_, fault)| fault).collect()
    }
}

/// The faults of one object.
pub(super) struct Of<'r, 'a> {
    report: &'r mut Report<'a>,
    at: usize,
}

impl Of<'_, '_> {
    /// A fault of this object alone.
    pub(super) fn add(&mut self, code: Code, field: impl Display, message: impl Into<String>) {
        self.push(code, field, message.into(), None);
    }

    /// A fault towards the object at `other`, or towards itself.
    pub(super) fn add_conflict(
        &mut self,
        code: Code,
        field: impl Display,
        message: impl Into<String>,
        other: usize,
    ) {
        let other = self.report.name(other);
        self.push(code, field, message.into(), other);
    }

    /// A fault for want of an object.
    pub(super) fn add_missing(
        &mut self,
        code: Code,
        field: impl Display,
        message: impl Into<String>,
        missing: ObjectRef,
    ) {
        self.push(code, field, message.into(), Some(missing));
    }

    fn push(&mut self, code: Code, field: impl Display, message: String, conflicts_with: Option<ObjectRef>) {
        let Some(object) = self.report.name(self.at) else { return };
        let field = field.to_string();
        if self.report.seen.insert((self.at, code, field.clone())) {
            self.report.found.push((self.at, Fault { code, object, field, message, conflicts_with }));
        }
    }
}
