//! A pool alone.

use super::address::why_unusable;
use super::check_id;
use super::report::Of;
use crate::fault::Code;
use crate::limits::{POOL_ADDRESSES_MAX, POOL_RUNS_MAX, TIMEOUT_S_MAX};
use crate::model::{AddressRange, Pool};

pub(super) fn check(pool: &Pool, report: &mut Of<'_, '_>) {
    check_id(&pool.id, "id", report);
    check_addresses(pool, report);
    let ports = pool.ports;
    if ports.first == 0 || ports.first > ports.last {
        report.add(
            Code::OutOfRange,
            "ports",
            format!("{ports} is not a rising run of ports from 1 to 65535"),
        );
    }
    if pool.hold_down_s > TIMEOUT_S_MAX {
        let message = format!("{} s is more than a week ({TIMEOUT_S_MAX} s)", pool.hold_down_s);
        report.add(Code::OutOfRange, "hold_down_s", message);
    }
}

fn check_addresses(pool: &Pool, report: &mut Of<'_, '_>) {
    if pool.addresses.is_empty() {
        report.add(Code::PoolEmpty, "addresses", "a pool needs an address");
        return;
    }
    if pool.addresses.len() > POOL_RUNS_MAX {
        let message = format!("{} runs of addresses are more than {POOL_RUNS_MAX}", pool.addresses.len());
        report.add(Code::Capacity, "addresses", message);
        return;
    }
    for (index, run) in pool.addresses.iter().enumerate() {
        let field = format!("addresses[{index}]");
        if run.first > run.last {
            report.add(Code::BadAddress, field, format!("{run} runs backwards"));
        } else if let Some(why) = why_unusable(*run, true) {
            report.add(Code::BadAddress, field, format!("{run} holds an address that is {why}"));
        }
    }
    let count: u64 = pool.addresses.iter().map(AddressRange::count).sum();
    if count > POOL_ADDRESSES_MAX {
        let message = format!("{count} addresses are more than {POOL_ADDRESSES_MAX}");
        report.add(Code::PoolTooLarge, "addresses", message);
    }
    check_repeats(pool, report);
}

/// No address twice in one pool: it would be counted twice and leased twice.
fn check_repeats(pool: &Pool, report: &mut Of<'_, '_>) {
    let mut runs: Vec<(usize, &AddressRange)> = pool.addresses.iter().enumerate().collect();
    runs.sort_by_key(|(_, run)| run.first);
    // The run that reaches farthest so far: whatever begins within it repeats an address of it.
    let mut farthest: Option<(usize, &AddressRange)> = None;
    for (index, run) in runs {
        if let Some((other, before)) = farthest
            && run.first <= before.last
        {
            let (earlier, later) = (index.min(other), index.max(other));
            let message = format!("{} is in addresses[{earlier}] too", run.first);
            report.add(Code::PoolOverlap, format_args!("addresses[{later}]"), message);
        }
        if farthest.is_none_or(|(_, before)| run.last > before.last) {
            farthest = Some((index, run));
        }
    }
}

impl AddressRange {
    /// How many addresses it has; none where it runs backwards.
    pub(crate) fn count(&self) -> u64 {
        (u64::from(u32::from(self.last)) + 1).saturating_sub(u64::from(u32::from(self.first)))
    }

    /// Whether the address is in it.
    pub(crate) fn contains(&self, address: std::net::Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}
