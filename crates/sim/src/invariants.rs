//! What holds at every moment between two turns, whatever happened before: for the random operations and for the worlds.
//!
//! ```text
//! books        received + originated = sent + consumed + dropped + held + in rings
//! endpoints    one session for an external endpoint and a remote
//! mappings     one host for an endpoint that depends on no remote
//! ports        used + resting + free = the pool's; a session's port is used
//! empty        once every timer is over, everything is free again
//! rules        applied one by one they compile to the same as at once
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use nat::{Books, Gateway, Occupancy, SessionView, State};
use packet::{Moment, Protocol};
use rules::compiled::SegmentRules;
use rules::model::Dependence;
use rules::{Numbers, RuleSet, Store, Valid};

/// The books close, and what is under way between workers is what lies in their rings.
pub(crate) fn books(books: &Books, in_rings: u64) -> Result<(), String> {
    if books.balance() != 0 || books.in_rings() != in_rings {
        return Err(format!("the books do not close, {in_rings} in rings: {books:?}"));
    }
    Ok(())
}

/// Every session that its owners show.
pub(crate) fn sessions<'a>(
    gateways: impl Iterator<Item = &'a Gateway<Vec<u8>>>,
    now: Moment,
) -> Vec<SessionView> {
    let mut sessions = Vec::new();
    for gateway in gateways {
        let mut from = Some(0);
        while let Some(slot) = from {
            from = gateway.list_sessions(slot, 1_000, now, |session| sessions.push(session));
        }
    }
    sessions
}

/// No external endpoint is two sessions' towards one remote.
pub(crate) fn endpoints(sessions: &[SessionView]) -> Result<(), String> {
    let mut by_remote = HashMap::new();
    for session in sessions {
        let SessionView { realm, protocol, internal, external, remote, .. } = *session;
        if let Some(other) = by_remote.insert((protocol.0, external, remote), (realm, internal)) {
            return Err(format!("{session:?} and one of {other:?} have one external endpoint and remote"));
        }
    }
    Ok(())
}

/// An endpoint that depends on no remote is one host's: where no rules have ever said otherwise.
pub(crate) fn mappings(rules: &RuleSet, sessions: &[SessionView]) -> Result<(), String> {
    let mut by_endpoint = HashMap::new();
    for session in sessions {
        let SessionView { realm, protocol, internal, external, remote, .. } = *session;
        let pool = rules.pools.iter().find(|pool| {
            pool.has_port(external.port) && pool.addresses.iter().any(|one| one.address == external.address)
        });
        let Some(pool) = pool else { continue };
        if pool.behaviour(protocol, remote.port).mapping != Dependence::EndpointIndependent {
            continue;
        }
        match by_endpoint.entry((protocol.0, external)) {
            Entry::Occupied(other) if *other.get() != (realm, internal) => {
                return Err(format!("{session:?} and {:?} have one mapping", other.get()));
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => _ = entry.insert((realm, internal)),
        }
    }
    Ok(())
}

/// The ports' books agree with the sessions whose ports were chosen.
pub(crate) fn ports(state: &State, rules: &RuleSet, sessions: &[SessionView]) -> Result<(), String> {
    for pool in &rules.pools {
        let ports: u32 = pool.ports.iter().map(|run| run.len()).sum();
        for address in &pool.addresses {
            for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
                let books = state.port_books(address.ports, protocol, &pool.ports);
                let mut held: Vec<u16> = sessions
                    .iter()
                    .filter(|one| one.protocol == protocol && one.external.address == address.address)
                    .map(|one| one.external.port)
                    .filter(|port| pool.has_port(*port))
                    .collect();
                held.sort_unstable();
                held.dedup();
                if books.ports() != ports || books.used < held.len() as u32 {
                    return Err(format!(
                        "{} of {protocol:?}: {books:?} of {ports} ports, of which {} are sessions'",
                        address.address,
                        held.len()
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Nothing is left of what was: every timer is over.
pub(crate) fn empty(state: &State, rules: &RuleSet) -> Result<(), String> {
    let Occupancy { sessions, mappings, hosts, permissions, blocks, .. } = state.occupancy();
    let addresses = rules.pools.iter().flat_map(|pool| &pool.addresses);
    let used: u32 = addresses.map(|address| state.ports_used(address.ports)).sum();
    if [sessions, mappings, hosts, permissions, blocks, used] != [0; 6] {
        return Err(format!("all timers are over, but {:?} and {used} ports are left", state.occupancy()));
    }
    Ok(())
}

/// Rules to which changes were applied one by one compile to the same as those that are fed at once.
pub(crate) fn rules(store: &Store, text: &str, ports: &[&str]) -> Result<(), String> {
    let ports: Vec<String> = ports.iter().map(|port| (*port).to_owned()).collect();
    let fed = rules::read_rules(text).map_err(|error| error.to_string())?;
    let fresh = rules::validate(&fed, &ports).map_err(|faults| format!("{faults:?}"))?;
    let [one, other] = [store.valid(), &fresh].map(compiled);
    match one.iter().zip(&other).find(|(one, other)| one != other) {
        None => Ok(()),
        Some((one, other)) => Err(format!("changed one by one the rules are\n{one}\nat once\n{other}")),
    }
}

/// What a gateway that knows nothing yet would run, in an order that does not depend on how it was fed.
fn compiled(valid: &Valid) -> Vec<String> {
    let mut numbers = Numbers::new(rules::limits::REALMS_MAX, 1_024);
    let Ok(set) = rules::compile(valid, None, &mut numbers) else { return Vec::new() };
    let RuleSet { segments, interfaces, routers, pools, floating_ips, forwardings, .. } = &set;
    let segments = segments.iter().map(|segment| {
        let mut interfaces: Vec<_> = segment.interfaces.iter().map(|one| format!("{one:?}")).collect();
        let mut addresses: Vec<_> = segment.addresses.iter().map(|one| format!("{one:?}")).collect();
        interfaces.sort_unstable();
        addresses.sort_unstable();
        let SegmentRules { id, realm, port, vlan, mtu, .. } = segment;
        format!("{id} {realm:?} {port:?} {vlan:?} {mtu} {interfaces:?} {addresses:?}")
    });
    let rest = [
        format!("{interfaces:?}"),
        format!("{routers:?}"),
        format!("{pools:?}"),
        format!("{floating_ips:?}"),
        format!("{forwardings:?}"),
    ];
    segments.chain(rest).collect()
}
