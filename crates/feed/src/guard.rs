//! Against the controller that comes up with an empty database: a change that removes a large part of the routers needs
//! somebody's word for it.

use crate::reject::{Code, Reject};

/// So many routers may always go at once.
const ROUTERS_MIN: usize = 50;
/// So large a part of them may, too: one in five.
const PART: usize = 5;

/// A fault where `gone` of `routers` routers are too many to lose without confirmation.
pub(crate) fn mass_delete(routers: usize, gone: usize) -> Option<Reject> {
    let limit = ROUTERS_MIN.max(routers / PART);
    (gone > limit).then(|| fault(routers, gone))
}

/// As [`mass_delete`], for a snapshot with `offered` routers: one without any, where there were several, is what a
/// controller with an empty database sends.
pub(crate) fn mass_delete_by_snapshot(routers: usize, gone: usize, offered: usize) -> Option<Reject> {
    if offered == 0 && routers > 1 { Some(fault(routers, gone)) } else { mass_delete(routers, gone) }
}

fn fault(routers: usize, gone: usize) -> Reject {
    let message = format!("{gone} of {routers} routers would go: confirm the mass delete if it is meant");
    Reject::all(Code::MassDeleteGuard, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_fifty_routers_and_more_than_a_fifth_need_confirmation() {
        for (routers, gone, refused) in [
            (0, 0, false),
            (50, 50, false),
            (51, 51, true),
            (200, 50, false),
            (200, 51, true),
            (1000, 200, false),
            (1000, 201, true),
        ] {
            assert_eq!(mass_delete(routers, gone).is_some(), refused, "{gone} of {routers}");
        }
        assert!(mass_delete_by_snapshot(2, 2, 0).is_some(), "an empty snapshot");
        assert!(mass_delete_by_snapshot(1, 1, 0).is_none());
        assert!(mass_delete_by_snapshot(2, 2, 1).is_none(), "a few routers replaced by others");
        assert!(mass_delete_by_snapshot(51, 51, 99).is_some());
    }
}
