//! Numbers for what outlives a rule set.
//!
//! A session names its router and its external network by [`Realm`], never by an index, because it lives on while rule
//! sets come and go. A number therefore belongs to one object for as long as that object exists, and to no other object
//! ever after: a router that is deleted and made again under the same id gets a new number, so that a session of the
//! old one cannot be taken for its own.

use hashbrown::HashMap;

use crate::compiled::Realm;
use crate::object::{ObjectKind, ObjectRef};
use crate::valid::Valid;

/// The highest number that fits the 24 bits a flow key has for it.
const REALM_MAX: u32 = 0x00ff_ffff;

/// Every number was given away. What is in force stays in force; a restart begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "all {REALM_MAX} realm numbers were given to routers and segments since the start: restart the gateway"
)]
pub struct RealmsExhausted;

/// Which numbers were given to which objects, since the process started.
#[derive(Debug, Default)]
pub struct Realms {
    /// The highest number given so far.
    given: u32,
    by_object: HashMap<ObjectRef, Realm>,
}

impl Realms {
    /// Gives a number to every router and segment that has none, and forgets those that are gone.
    ///
    /// # Errors
    /// [`RealmsExhausted`] where the numbers do not suffice; nothing has changed then.
    pub(crate) fn follow(&mut self, valid: &Valid) -> Result<(), RealmsExhausted> {
        let mut by_object = HashMap::with_capacity(valid.segments().len() + valid.routers().len());
        let mut given = self.given;
        let segments =
            valid.segments().iter().map(|one| ObjectRef::new(ObjectKind::Segment, one.id.as_str()));
        let routers = valid.routers().iter().map(|one| ObjectRef::new(ObjectKind::Router, one.id.as_str()));
        for object in segments.chain(routers) {
            let realm = match self.by_object.get(&object) {
                Some(realm) => *realm,
                None if given == REALM_MAX => return Err(RealmsExhausted),
                None => {
                    given += 1;
                    Realm(given)
                }
            };
            by_object.insert(object, realm);
        }
        *self = Self { given, by_object };
        Ok(())
    }

    /// The number of an object, if it exists.
    pub fn get(&self, object: &ObjectRef) -> Option<Realm> {
        self.by_object.get(object).copied()
    }
}
