//! A pool alone.

use super::address::why_unusable;
use super::report::Of;
use super::{check_id, check_ports};
use crate::compiled::PortRun;
use crate::fault::Code;
use crate::limits::{
    BLOCK_PORTS_MAX, BLOCK_PORTS_MIN, BLOCKS_PER_HOST_MAX, MAPPING_BY_PORT_MAX, POOL_ADDRESSES_MAX,
    POOL_EXCLUDED_PORTS_MAX, POOL_RUNS_MAX, TIMEOUT_S_MAX,
};
use crate::model::{AddressRange, Pool, PortProtocol};

pub(super) fn check(pool: &Pool, report: &mut Of<'_, '_>) {
    check_id(&pool.id, "id", report);
    check_addresses(pool, report);
    check_pool_ports(pool, report);
    check_exceptions(pool, report);
    if pool.hold_down_s > TIMEOUT_S_MAX {
        let message = format!("{} s is more than a week ({TIMEOUT_S_MAX} s)", pool.hold_down_s);
        report.add(Code::OutOfRange, "hold_down_s", message);
    }
}

fn check_pool_ports(pool: &Pool, report: &mut Of<'_, '_>) {
    let mut sound = check_ports(pool.ports, "ports", report);
    if pool.exclude_ports.len() > POOL_EXCLUDED_PORTS_MAX {
        let message = format!("{} runs are more than {POOL_EXCLUDED_PORTS_MAX}", pool.exclude_ports.len());
        report.add(Code::Capacity, "exclude_ports", message);
        return;
    }
    for (index, ports) in pool.exclude_ports.iter().enumerate() {
        sound &= check_ports(*ports, &format!("exclude_ports[{index}]"), report);
    }
    let left = pool.ports_left();
    if sound && left.is_empty() {
        report.add(Code::PoolEmpty, "exclude_ports", "no port is left");
    }
    let Some(blocks) = pool.blocks else { return };
    if !(1..=BLOCKS_PER_HOST_MAX).contains(&blocks.per_host_max) {
        let message = format!("{} is not from 1 to {BLOCKS_PER_HOST_MAX}", blocks.per_host_max);
        report.add(Code::OutOfRange, "blocks.per_host_max", message);
    }
    let sizes = BLOCK_PORTS_MIN..=BLOCK_PORTS_MAX;
    if !blocks.ports.is_power_of_two() || !sizes.contains(&blocks.ports) {
        let message =
            format!("{} is not a power of two from {BLOCK_PORTS_MIN} to {BLOCK_PORTS_MAX}", blocks.ports);
        report.add(Code::BlockSize, "blocks.ports", message);
    } else if sound && !left.is_empty() && !left.iter().any(|run| has_block(*run, blocks.ports)) {
        let message = format!("no block of {} ports is among the pool's ports", blocks.ports);
        report.add(Code::BlockSize, "blocks.ports", message);
    }
}

/// Whether a whole block is in the run; a block begins at a multiple of its size.
fn has_block(run: PortRun, ports: u16) -> bool {
    let (first, size) = (u32::from(run.first), u32::from(ports));
    first.next_multiple_of(size) + size - 1 <= u32::from(run.last)
}

fn check_exceptions(pool: &Pool, report: &mut Of<'_, '_>) {
    if pool.mapping_by_port.len() > MAPPING_BY_PORT_MAX {
        let message = format!("{} are more than {MAPPING_BY_PORT_MAX}", pool.mapping_by_port.len());
        report.add(Code::Capacity, "mapping_by_port", message);
        return;
    }
    for (index, one) in pool.mapping_by_port.iter().enumerate() {
        let path = format!("mapping_by_port[{index}]");
        if one.protocol == PortProtocol::Sctp {
            let message = "SCTP ports are not mapped";
            report.add(Code::UnsupportedFeature, format_args!("{path}.protocol"), message);
        }
        check_ports(one.ports, &format!("{path}.ports"), report);
    }
}

fn check_addresses(pool: &Pool, report: &mut Of<'_, '_>) {
    if pool.addresses.is_empty() {
        report.add(Code::PoolEmpty, "addresses", "a pool needs an address");
        return;
    }
    for (field, runs) in [("addresses", &pool.addresses), ("exclude_addresses", &pool.exclude_addresses)] {
        if runs.len() > POOL_RUNS_MAX {
            let message = format!("{} runs of addresses are more than {POOL_RUNS_MAX}", runs.len());
            report.add(Code::Capacity, field, message);
            return;
        }
    }
    for (index, run) in pool.exclude_addresses.iter().enumerate() {
        if run.first > run.last {
            let field = format!("exclude_addresses[{index}]");
            report.add(Code::BadAddress, field, format!("{run} runs backwards"));
        }
    }
    for (index, run) in pool.addresses.iter().enumerate() {
        let field = format!("addresses[{index}]");
        if run.first > run.last {
            report.add(Code::BadAddress, field, format!("{run} runs backwards"));
        } else if let Some(why) = why_unusable(*run, true) {
            report.add(Code::BadAddress, field, format!("{run} holds an address that is {why}"));
        }
    }
    // Those excluded count too: a pool is not to be a list of exceptions.
    let count: u64 = pool.addresses.iter().map(AddressRange::count).sum();
    if count > POOL_ADDRESSES_MAX {
        let message = format!("{count} addresses are more than {POOL_ADDRESSES_MAX}");
        report.add(Code::PoolTooLarge, "addresses", message);
    } else if count > 0 && pool.runs_left().next().is_none() {
        report.add(Code::PoolEmpty, "exclude_addresses", "no address is left");
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
