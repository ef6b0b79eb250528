use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::file::read_rules;
use crate::object::ObjectKind;
use crate::validate::validate;

const BASE: &str = "
segments: [{id: ext, port: outside}, {id: net, port: inside}, {id: net2, port: inside, vlan: 2}]
pools: [{id: p1, addresses: [203.0.113.10]}, {id: p2, addresses: [203.0.113.11]}]
routers:
- id: r1
  interfaces:
  - {id: in, segment: net, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p1}]
  floating_ips: [{id: f, external: 203.0.113.50, internal: 10.0.0.5}]
- id: r2
  interfaces:
  - {id: in, segment: net2, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:03, addresses: [203.0.113.3/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1, pool: p2}]
  floating_ips: [{id: f, external: 203.0.113.51, internal: 10.0.0.5}]
";

fn base() -> Rules {
    read_rules(BASE).unwrap()
}

fn ports() -> Vec<String> {
    arbitrary::ports()
}

fn store() -> Store {
    let mut store = Store::new(&ports());
    let outcome = store.apply(Change::Snapshot(base()));
    assert_eq!(outcome.faults, []);
    store
}

fn delta(upserts: Vec<Object>, deletes: &[(ObjectKind, &str)]) -> Change {
    let deletes = deletes.iter().map(|(kind, id)| ObjectRef::new(*kind, *id)).collect();
    Change::Delta { upserts, deletes }
}

fn names(objects: &[ObjectRef]) -> Vec<String> {
    objects.iter().map(ObjectRef::to_string).collect()
}

fn codes(outcome: &Outcome) -> Vec<(String, Code)> {
    outcome.faults.iter().map(|fault| (fault.object.to_string(), fault.code)).collect()
}

#[test]
fn what_a_snapshot_does_not_hold_is_removed() {
    let mut store = store();
    let mut rules = base();
    rules.routers.remove(1);
    rules.pools.remove(1);
    let outcome = store.apply(Change::Snapshot(rules.clone()));
    assert_eq!(names(&outcome.removed), ["pool p2", "router r2"]);
    assert_eq!((outcome.accepted.len(), outcome.unchanged), (0, 5));
    assert_eq!(store.valid().to_rules(), rules);
}

#[test]
fn the_same_snapshot_again_touches_nothing() {
    let mut store = store();
    let before = store.valid().clone();
    let outcome = store.apply(Change::Snapshot(base()));
    assert!(!outcome.changed());
    assert_eq!(outcome.unchanged, 7);
    let shared = before.routers().iter().zip(store.valid().routers());
    assert!(shared.into_iter().all(|(one, two)| std::sync::Arc::ptr_eq(one, two)));
}

#[test]
fn a_refused_object_stays_what_it_was_and_the_others_are_taken() {
    let mut store = store();
    let mut rules = base();
    rules.segments[1].mtu = 9000;
    rules.routers[0].name = "new".into();
    rules.routers[0].interfaces[0].segment = "nowhere".into();
    rules.routers[1].name = "new".into();
    let outcome = store.apply(Change::Snapshot(rules));
    assert_eq!(codes(&outcome), [("router r1".to_owned(), Code::UnknownSegment)]);
    assert_eq!(names(&outcome.accepted), ["segment net", "router r2"]);
    assert_eq!(store.valid().routers()[0].name, "");
    assert_eq!(store.valid().routers()[0].interfaces[0].segment, "net");
    assert_eq!(store.valid().routers()[1].name, "new");
}

#[test]
fn a_refused_new_object_stays_absent_and_takes_those_with_it_that_need_it() {
    let mut store = Store::new(&ports());
    let mut rules = base();
    rules.pools[0].addresses.clear();
    let outcome = store.apply(Change::Snapshot(rules));
    assert_eq!(
        codes(&outcome),
        [("pool p1".to_owned(), Code::PoolEmpty), ("router r1".to_owned(), Code::UnknownPool)]
    );
    assert_eq!(outcome.faults[1].conflicts_with, Some(ObjectRef::new(ObjectKind::Pool, "p1")));
    assert_eq!(store.valid().routers().len(), 1);
}

#[test]
fn every_fault_of_a_refused_object_is_told() {
    let mut store = store();
    let mut router = base().routers.remove(0);
    router.floating_ips[0].external = [127, 0, 0, 1].into();
    router.interfaces[0].mac.0[0] |= 1;
    router.timeouts.icmp_s = Some(0);
    let outcome = store.apply(delta(vec![router.into()], &[]));
    let fields: Vec<_> = outcome.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["interfaces[0].mac", "floating_ips[0].external", "timeouts.icmp_s"]);
    assert_eq!(outcome.refused().count(), 1);
}

#[test]
fn a_pool_in_use_is_not_deleted() {
    let mut store = store();
    let outcome = store.apply(delta(vec![], &[(ObjectKind::Pool, "p1"), (ObjectKind::Router, "r2")]));
    assert_eq!(codes(&outcome), [("pool p1".to_owned(), Code::InUse)]);
    assert_eq!(outcome.faults[0].conflicts_with, Some(ObjectRef::new(ObjectKind::Router, "r1")));
    assert_eq!(names(&outcome.removed), ["router r2"]);
    assert_eq!(store.valid().pools().len(), 2);
}

#[test]
fn a_pool_goes_together_with_its_last_user() {
    let mut store = store();
    let outcome = store.apply(delta(vec![], &[(ObjectKind::Pool, "p1"), (ObjectKind::Router, "r1")]));
    assert_eq!(outcome.faults, []);
    assert_eq!(names(&outcome.removed), ["pool p1", "router r1"]);
}

#[test]
fn a_snapshot_keeps_the_pool_of_a_router_that_was_refused() {
    let mut store = store();
    let mut rules = base();
    rules.pools.remove(0);
    rules.routers[0].gateways[0].pool = Some("p3".into());
    let outcome = store.apply(Change::Snapshot(rules));
    assert_eq!(
        codes(&outcome),
        [("router r1".to_owned(), Code::UnknownPool), ("pool p1".to_owned(), Code::InUse)]
    );
    assert_eq!(store.valid().to_rules(), base());
}

#[test]
fn a_lower_revision_is_ignored_and_counted() {
    let mut store = store();
    let with = |revision, mtu| {
        let mut segment = base().segments.remove(1);
        (segment.revision, segment.mtu) = (revision, mtu);
        delta(vec![segment.into()], &[])
    };
    assert_eq!(names(&store.apply(with(7, 1400)).accepted), ["segment net"]);
    let outcome = store.apply(with(6, 1300));
    assert_eq!(names(&outcome.stale), ["segment net"]);
    assert!(!outcome.changed() && outcome.faults.is_empty());
    assert_eq!(store.valid().segments()[1].mtu, 1400);
    // The same revision with other contents is a change: files have no revisions.
    assert_eq!(names(&store.apply(with(7, 1300)).accepted), ["segment net"]);
}

#[test]
fn a_stale_object_in_a_snapshot_is_not_removed() {
    let mut store = store();
    let mut segment = base().segments.remove(1);
    segment.revision = 9;
    store.apply(delta(vec![segment.into()], &[]));
    let outcome = store.apply(Change::Snapshot(base()));
    assert_eq!((names(&outcome.stale), outcome.removed), (vec!["segment net".to_owned()], vec![]));
}

#[test]
fn two_routers_swap_their_floating_ips_in_one_change() {
    let mut store = store();
    let mut rules = base();
    let [one, two] = &mut rules.routers[..] else { panic!() };
    std::mem::swap(&mut one.floating_ips[0].external, &mut two.floating_ips[0].external);
    let outcome = store.apply(Change::Snapshot(rules.clone()));
    assert_eq!(outcome.faults, []);
    assert_eq!(store.valid().to_rules(), rules);
}

#[test]
fn whoever_wants_what_a_refused_object_keeps_is_refused_too() {
    let mut store = store();
    let mut rules = base();
    // r2 is to get r1's floating IP; r1 is to give it up, but is refused for another reason.
    rules.routers[0].floating_ips[0].external = [203, 0, 113, 60].into();
    rules.routers[0].interfaces[0].addresses.clear();
    rules.routers[1].floating_ips[0].external = [203, 0, 113, 50].into();
    let outcome = store.apply(Change::Snapshot(rules));
    assert_eq!(outcome.refused().map(ObjectRef::to_string).collect::<Vec<_>>(), ["router r1", "router r2"]);
    let conflict = outcome.faults.iter().find(|fault| fault.object.id == "r2").unwrap();
    assert_eq!(
        (conflict.code, conflict.field.as_str()),
        (Code::ExternalIpConflict, "floating_ips[0].external")
    );
    assert_eq!(conflict.conflicts_with, Some(ObjectRef::new(ObjectKind::Router, "r1")));
    assert_eq!(store.valid().to_rules(), base());
}

#[test]
fn a_pool_that_grows_onto_a_floating_ip_in_force_is_refused_not_the_router() {
    let mut store = store();
    let mut pool = base().pools.remove(0);
    pool.addresses.push("203.0.113.51".parse().unwrap());
    let outcome = store.apply(delta(vec![pool.into()], &[]));
    assert_eq!(codes(&outcome), [("pool p1".to_owned(), Code::ExternalIpConflict)]);
    assert_eq!(outcome.faults[0].field, "addresses[1]");
    assert_eq!(outcome.faults[0].conflicts_with, Some(ObjectRef::new(ObjectKind::Router, "r2")));
}

#[test]
fn an_object_given_twice_counts_once() {
    let mut store = store();
    let given = |mtu| {
        let mut segment = base().segments.remove(1);
        segment.mtu = mtu;
        Object::from(segment)
    };
    let outcome = store.apply(delta(vec![given(1400), given(1300)], &[]));
    assert_eq!(codes(&outcome), [("segment net".to_owned(), Code::DuplicateId)]);
    assert_eq!(store.valid().segments()[1].mtu, 1400);
}

#[test]
fn an_object_given_and_deleted_is_deleted() {
    let mut store = store();
    let router = base().routers.remove(0);
    let outcome = store.apply(delta(vec![router.into()], &[(ObjectKind::Router, "r1")]));
    assert_eq!(names(&outcome.removed), ["router r1"]);
    assert_eq!(outcome.accepted, []);
}

#[test]
fn a_chain_of_refusals_longer_than_the_bound_ends_with_all_of_it_refused() {
    // Router n is to take the address of router n + 1; the last is refused, so each in turn has to keep its own. As
    // blame goes to whoever takes what is kept, every round finds one more.
    let links = ROUNDS_MAX + 10;
    let mut rules = base();
    let template = rules.routers.remove(1);
    rules.routers.clear();
    for n in 0..links {
        let mut router = template.clone();
        let n = u8::try_from(n).unwrap();
        router.id = format!("r{n:03}");
        router.interfaces[0].segment = format!("leg{n}");
        router.interfaces[1].mac.0 = [0xfa, 0x16, 0x3e, 1, 0, n];
        router.interfaces[1].addresses = vec![format!("203.0.113.{}/24", 100 + n).parse().unwrap()];
        router.floating_ips[0].external = [198, 51, 100, n].into();
        let segment = format!("{{id: leg{n}, port: inside, vlan: {}}}", 100 + u16::from(n));
        rules.segments.push(serde_saphyr::from_str(&segment).unwrap());
        rules.routers.push(router);
    }
    let mut store = Store::new(&ports());
    assert_eq!(store.apply(Change::Snapshot(rules.clone())).faults, []);
    let before = store.valid().to_rules();

    for router in &mut rules.routers {
        let [a, b, c, d] = router.floating_ips[0].external.octets();
        router.floating_ips[0].external = [a, b, c, d + 1].into();
    }
    rules.routers.last_mut().unwrap().interfaces[0].mac.0 = [0; 6];
    let outcome = store.apply(Change::Snapshot(rules));
    assert_eq!(outcome.refused().count(), links);
    assert_eq!(outcome.faults.last().unwrap().code, Code::Capacity);
    assert_eq!(store.valid().to_rules(), before);
}

/// Rules as a store holds them: sorted by id.
fn sorted(mut rules: Rules) -> Rules {
    rules.segments.sort_by(|a, b| a.id.cmp(&b.id));
    rules.pools.sort_by(|a, b| a.id.cmp(&b.id));
    rules.routers.sort_by(|a, b| a.id.cmp(&b.id));
    rules
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is fed, what is in force is valid, and each object given is accounted for.
    #[test]
    fn any_change_ends_and_leaves_a_valid_set(changes in vec(arbitrary::change(), 1..8)) {
        let mut store = Store::new(&ports());
        for change in changes {
            let before = store.valid().clone();
            let given: Vec<Object> = match &change {
                Change::Snapshot(rules) => objects_of(rules.clone()),
                Change::Delta { upserts, .. } => upserts.clone(),
            };
            let outcome = store.apply(change);
            let again = validate(&store.valid().to_rules(), &ports());
            prop_assert_eq!(again.as_ref(), Ok(store.valid()));
            prop_assert_eq!(outcome.changed(), before != *store.valid());

            let refused: HashSet<_> = outcome.refused().cloned().collect();
            for object in &given {
                let name = object.name();
                let held = store.valid().get(name.kind, &name.id);
                if outcome.accepted.contains(&name) {
                    prop_assert!(held.is_some_and(|held| given.contains(&held)));
                } else if refused.contains(&name) {
                    prop_assert_eq!(held, before.get(name.kind, &name.id));
                }
            }
            // Objects that were not given are what they were, or were removed.
            for object in before.objects().filter(|one| !given.iter().any(|given| given.name() == one.name())) {
                let name = object.name();
                let held = store.valid().get(name.kind, &name.id);
                prop_assert!(held == Some(object) || outcome.removed.contains(&name));
            }
        }
    }

    /// Valid rules are taken whole, whatever was in force before.
    #[test]
    fn a_valid_snapshot_is_taken_whole(first in arbitrary::rules(), second in arbitrary::rules()) {
        let valid = |rules| {
            let mut store = Store::new(&ports());
            store.apply(Change::Snapshot(rules));
            store
        };
        let wanted = valid(second).valid().to_rules();
        let mut store = valid(first);
        let outcome = store.apply(Change::Snapshot(wanted.clone()));
        prop_assert_eq!(outcome.faults, vec![]);
        prop_assert_eq!(store.valid().to_rules(), sorted(wanted));
    }

    /// Deltas that are taken whole lead where the final snapshot leads.
    #[test]
    fn deltas_and_the_final_snapshot_agree(changes in vec(arbitrary::change(), 1..8)) {
        let mut by_deltas = Store::new(&ports());
        for change in changes {
            // Only what is good of each change, as a delta of its own.
            let mut tried = by_deltas.clone();
            let outcome = tried.apply(change);
            let upserts = outcome.accepted.iter().filter_map(|one| tried.valid().get(one.kind, &one.id)).collect();
            let again = by_deltas.apply(Change::Delta { upserts, deletes: outcome.removed });
            prop_assert_eq!(again.faults, vec![]);
            prop_assert_eq!(by_deltas.valid(), tried.valid());
        }
        let mut by_snapshot = Store::new(&ports());
        by_snapshot.apply(Change::Snapshot(by_deltas.valid().to_rules()));
        prop_assert_eq!(by_snapshot.valid(), by_deltas.valid());
    }
}
