//! Whether rules hold together: every fault of every object, at once.
//!
//! Two kinds of question. *Alone* ([`segment`], [`pool`], [`router`]): is the object sound in itself. *Together*
//! ([`together`], [`external`], [`forwardings`]): do objects agree about names, MACs, addresses and room. Where two do not go together,
//! one of them is to blame: **the one that comes last in the order in which they are looked at**. A file is looked at as
//! it is written. A change is looked at behind what is in force, so that a newcomer never puts the blame on an object
//! that was there before it; [`Store`](crate::Store) rests on that.

mod address;
mod external;
mod forwardings;
mod gateways;
mod inbound;
mod pool;
mod report;
mod router;
mod segment;
#[cfg(test)]
mod tests;
mod together;

use crate::fault::Fault;
use crate::model::Rules;
use crate::object::Object;
use crate::valid::Valid;
use report::Report;

/// Checks a whole set of rules for a gateway with these ports, which stand in the order of their
/// [`packet::PortIndex`].
///
/// # Errors
/// Every fault: segments', pools', then routers', in the order in which they are written.
pub fn validate(rules: &Rules, ports: &[String]) -> Result<Valid, Vec<Fault>> {
    let objects = objects_of(rules.clone());
    let faults = check(&objects, 0, ports);
    if faults.is_empty() { Ok(Valid::assume(ports.into(), objects)) } else { Err(faults) }
}

/// The objects of a document, in the order of dependence and, within a kind, as written.
pub(crate) fn objects_of(rules: Rules) -> Vec<Object> {
    let segments = rules.segments.into_iter().map(Object::from);
    let pools = rules.pools.into_iter().map(Object::from);
    segments.chain(pools).chain(rules.routers.into_iter().map(Object::from)).collect()
}

/// Every fault of `objects`, by the position of the object to blame. The first `settled` are known to be sound alone.
pub(crate) fn check(objects: &[Object], settled: usize, ports: &[String]) -> Vec<Fault> {
    let mut report = Report::new(objects);
    for (at, object) in objects.iter().enumerate().skip(settled) {
        let mut report = report.of(at);
        match object {
            Object::Segment(one) => segment::check(one, ports, &mut report),
            Object::Pool(one) => pool::check(one, &mut report),
            Object::Router(one) => router::check(one, &mut report),
        }
    }
    together::check(objects, &mut report);
    report.into_faults()
}

/// Whether a run of ports is one.
fn check_ports(ports: crate::model::PortRange, field: &str, report: &mut report::Of<'_, '_>) -> bool {
    let sound = ports.first > 0 && ports.first <= ports.last;
    if !sound {
        let message = format!("{ports} is not a rising run of ports from 1 to 65535");
        report.add(crate::fault::Code::OutOfRange, field, message);
    }
    sound
}

/// Ids are written into logs, metric labels and paths: a narrow alphabet keeps them whole everywhere.
fn check_id(id: &str, field: &str, report: &mut report::Of<'_, '_>) {
    let sound = (1..=64).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
    if !sound {
        let message = format!("`{}` is not 1 to 64 of `A-Za-z0-9._:-`", id.escape_debug());
        report.add(crate::fault::Code::BadId, field, message);
    }
}
