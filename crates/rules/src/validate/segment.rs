//! A segment alone.

use super::check_id;
use super::report::Of;
use crate::fault::Code;
use crate::limits::{MTU_MAX, MTU_MIN};
use crate::model::Segment;

pub(super) fn check(segment: &Segment, ports: &[String], report: &mut Of<'_, '_>) {
    check_id(&segment.id, "id", report);
    if !ports.contains(&segment.port) {
        let port = segment.port.escape_debug();
        let message = format!("this gateway has no port `{port}`; it has: {}", ports.join(", "));
        report.add(Code::UnknownPort, "port", message);
    }
    if let Some(vlan) = segment.vlan
        && packet::VlanId::new(vlan).is_none()
    {
        report.add(Code::OutOfRange, "vlan", format!("{vlan} is not a VLAN: 1 to 4094, or none if untagged"));
    }
    if !(MTU_MIN..=MTU_MAX).contains(&segment.mtu) {
        report.add(Code::OutOfRange, "mtu", format!("{} is not {MTU_MIN} to {MTU_MAX} bytes", segment.mtu));
    }
}
