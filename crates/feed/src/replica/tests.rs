use proptest::prelude::*;
use rules::model::Segment;

use super::*;
use crate::catalog::Catalog;
use crate::digest::Digest;
use crate::staging::Staging;
use crate::testing::{self, PORT};
use crate::wire::to_gateway::M;

const EPOCH: u64 = 1_000;

fn gateway() -> Replica {
    Replica::new(&[PORT.to_owned()])
}

fn served(rules: Rules) -> Catalog {
    Catalog::new(EPOCH, false).next(rules).unwrap().unwrap()
}

/// What a gateway makes of a snapshot whose messages `tamper` may change.
fn snapshot_of(catalog: &Catalog, tamper: impl FnOnce(&mut Vec<M>)) -> Result<Snapshot, Vec<Reject>> {
    let mut messages: Vec<M> = catalog.snapshot().collect();
    tamper(&mut messages);
    let mut staging = None;
    for message in messages {
        match message {
            M::Begin(begin) => staging = Some(Staging::begin(EPOCH, &begin)),
            M::Chunk(chunk) => staging.as_mut().unwrap().add(&chunk)?,
            M::End(end) => return staging.unwrap().end(&end),
            M::Delta(_) | M::Ping(_) => panic!("not of a snapshot"),
        }
    }
    panic!("no end")
}

fn taken(verdict: Verdict) -> Judged {
    match verdict {
        Verdict::Taken(judged) => judged,
        Verdict::Refused(rejects) => panic!("refused: {rejects:?}"),
    }
}

fn refused(verdict: Verdict) -> Vec<Code> {
    match verdict {
        Verdict::Refused(rejects) => rejects.iter().map(|one| one.code).collect(),
        Verdict::Taken(_) => panic!("taken"),
    }
}

fn follows(replica: &mut Replica, catalog: &Catalog) -> Judged {
    let judged = taken(replica.judge_snapshot(snapshot_of(catalog, |_| {}).unwrap()));
    replica.adopt(taken(replica.judge_snapshot(snapshot_of(catalog, |_| {}).unwrap())));
    judged
}

fn chunk(messages: &mut [M]) -> &mut wire::SnapshotChunk {
    let chunk =
        messages.iter_mut().find_map(|one| if let M::Chunk(chunk) = one { Some(chunk) } else { None });
    chunk.expect("a chunk")
}

fn router(object: &mut wire::Object) -> &mut wire::Router {
    let Some(wire::object::O::Router(router)) = &mut object.o else { panic!("no router") };
    router
}

fn delta(catalog: &Catalog, base: u64) -> wire::Delta {
    catalog.delta_since(base).expect("a delta")
}

#[test]
fn the_same_snapshot_twice_is_a_change_once() {
    let catalog = served(testing::rules(2));
    let mut replica = gateway();
    assert!(follows(&mut replica, &catalog).changed);
    let again = taken(replica.judge_snapshot(snapshot_of(&catalog, |_| {}).unwrap()));
    assert!(!again.changed);
    assert_eq!(again.accepted, 6);
}

#[test]
fn even_no_rules_at_all_are_news_the_first_time() {
    let mut replica = gateway();
    let catalog = served(Rules::default());
    assert!(follows(&mut replica, &catalog).changed);
    assert!(!follows(&mut replica, &catalog).changed);
}

#[test]
fn a_snapshot_with_anything_missing_or_changed_is_refused() {
    let catalog = served(testing::rules(3));
    type Tamper = fn(&mut Vec<M>);
    let cases: [(&str, Tamper, Code); 6] = [
        ("an object is missing", |all| drop(chunk(all).objects.pop()), Code::ChunkMissing),
        ("a chunk is missing", |all| drop(all.remove(1)), Code::ChunkMissing),
        ("a chunk is out of turn", |all| chunk(all).seq = 1, Code::ChunkMissing),
        (
            "an object is another",
            |all| router(chunk(all).objects.last_mut().unwrap()).meta.as_mut().unwrap().id = "r9".into(),
            Code::DigestMismatch,
        ),
        (
            "a revision is another",
            |all| router(chunk(all).objects.last_mut().unwrap()).meta.as_mut().unwrap().revision += 1,
            Code::DigestMismatch,
        ),
        ("an object has no kind", |all| chunk(all).objects[0].o = None, Code::UnsupportedFeature),
    ];
    for (what, tamper, code) in cases {
        let refused = snapshot_of(&catalog, tamper).expect_err(what);
        assert_eq!(refused.iter().map(|one| one.code).collect::<Vec<_>>(), [code], "{what}");
    }
    assert!(snapshot_of(&catalog, |_| {}).is_ok(), "and whole it is taken");
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_old_revision_and_the_others_are_taken() {
    let one = served(testing::rules(2));
    let two = one.next(testing::renamed(2, "new")).unwrap().unwrap();
    let three = {
        let mut rules = testing::renamed(2, "newer");
        rules.routers[1].name = "newer".into();
        two.next(rules).unwrap().unwrap()
    };
    let spoil = |objects: &mut Vec<wire::Object>| {
        let bad = objects.iter_mut().find(|one| decode::name(one).unwrap().0.id == "r0").unwrap();
        router(bad).interfaces[0].mac.clear();
    };
    let check = |replica: &Replica, judged: &Judged| {
        let [reject] = judged.rejects.as_slice() else { panic!("{:?}", judged.rejects) };
        assert_eq!((reject.code, reject.field.as_str()), (Code::BadAddress, "interfaces[0].mac"));
        assert_eq!((reject.offered_revision, reject.kept_revision), (EPOCH + 3, EPOCH + 1));
        assert_eq!(
            judged.rules().get(ObjectKind::Router, "r0"),
            replica.rules().get(ObjectKind::Router, "r0")
        );
        let Some(Object::Router(other)) = judged.rules().get(ObjectKind::Router, "r1") else { panic!() };
        assert_eq!(other.name, "newer");
    };
    let mut replica = gateway();
    follows(&mut replica, &one);
    let mut by_delta = delta(&three, 1);
    spoil(&mut by_delta.upserts);
    check(&replica, &taken(replica.judge_delta(EPOCH, &by_delta)));
    let by_snapshot = snapshot_of(&three, |messages| spoil(&mut chunk(messages).objects)).unwrap();
    check(&replica, &taken(replica.judge_snapshot(by_snapshot)));

    by_delta.all_or_nothing = true;
    assert_eq!(refused(replica.judge_delta(EPOCH, &by_delta)), [Code::BadAddress]);
}

#[test]
fn an_object_for_a_port_that_is_not_here_is_refused_alone() {
    let mut rules = testing::rules(2);
    rules.segments[1].port = "elsewhere".into();
    let mut replica = gateway();
    let judged = follows(&mut replica, &served(rules));
    let codes: Vec<_> = judged.rejects.iter().map(|one| one.code).collect();
    assert_eq!(codes, [Code::UnknownPort, Code::UnknownSegment], "{:?}", judged.rejects);
    assert!(replica.rules().get(ObjectKind::Router, "r0").is_none());
    assert!(replica.rules().get(ObjectKind::Router, "r1").is_some());
}

#[test]
fn a_delta_on_anything_but_what_is_in_force_is_refused() {
    let one = served(testing::rules(2));
    let two = one.next(testing::renamed(2, "a")).unwrap().unwrap();
    let good = delta(&two, 1);
    let mut replica = gateway();
    assert_eq!(refused(replica.judge_delta(EPOCH, &good)), [Code::BaseMismatch], "nothing is in force");
    follows(&mut replica, &one);
    assert_eq!(
        refused(replica.judge_delta(EPOCH + 1, &good)),
        [Code::BaseMismatch],
        "another controller's 1"
    );
    let backwards = wire::Delta { version: 1, ..good.clone() };
    assert_eq!(refused(replica.judge_delta(EPOCH, &backwards)), [Code::BaseMismatch]);
    replica.adopt(taken(replica.judge_delta(EPOCH, &good)));
    assert_eq!(refused(replica.judge_delta(EPOCH, &good)), [Code::BaseMismatch], "the same again");
}

#[test]
fn a_stale_revision_is_ignored_and_counted() {
    let one = served(testing::rules(1));
    let mut replica = gateway();
    follows(&mut replica, &one);
    let two = one.next(testing::renamed(1, "a")).unwrap().unwrap();
    let mut late = delta(&two, 1);
    router(&mut late.upserts[0]).meta.as_mut().unwrap().revision = EPOCH;
    let judged = taken(replica.judge_delta(EPOCH, &late));
    assert_eq!((judged.stale, judged.changed, judged.rejects.len()), (1, false, 0));
}

#[test]
fn a_mass_delete_is_refused_unless_somebody_meant_it() {
    let confirmed = |rules| Catalog::new(EPOCH + 1, true).next(rules).unwrap().unwrap();
    let mut replica = gateway();
    follows(&mut replica, &served(testing::rules(60)));

    let fewer = served(testing::rules(9));
    assert_eq!(
        refused(replica.judge_snapshot(snapshot_of(&fewer, |_| {}).unwrap())),
        [Code::MassDeleteGuard]
    );
    let none = served(Rules::default());
    assert_eq!(refused(replica.judge_snapshot(snapshot_of(&none, |_| {}).unwrap())), [Code::MassDeleteGuard]);

    let deletes = (0..51).map(|at| wire::Ref { id: format!("r{at}"), ..Default::default() }).collect();
    let mut delta = wire::Delta { base_version: 1, version: 2, deletes, ..Default::default() };
    assert_eq!(refused(replica.judge_delta(EPOCH, &delta)), [Code::MassDeleteGuard]);
    delta.confirm_mass_delete = true;
    assert_eq!(taken(replica.judge_delta(EPOCH, &delta)).rules().routers().len(), 9);

    let meant = snapshot_of(&confirmed(testing::rules(9)), |_| {}).unwrap();
    assert_eq!(taken(replica.judge_snapshot(meant)).rules().routers().len(), 9);
}

/// Three tenants, each there or not, each with one of three names; and a network of nobody that comes and goes.
fn any_rules() -> impl Strategy<Value = Rules> {
    (prop::collection::vec(prop::option::of(0..3_u8), 3), any::<bool>()).prop_map(|(tenants, spare)| {
        let mut rules = testing::rules(3);
        for (router, tenant) in rules.routers.iter_mut().zip(&tenants) {
            router.name = tenant.map(|name| name.to_string()).unwrap_or_default();
        }
        let here = |id: &str| tenants[usize::from(id.as_bytes()[1] - b'0')].is_some();
        rules.routers.retain(|router| here(&router.id));
        if spare {
            let vlan = Some(99);
            rules.segments.push(Segment {
                id: "spare".into(),
                revision: 0,
                port: PORT.into(),
                vlan,
                mtu: 1500,
            });
        }
        rules
    })
}

fn contents(rules: impl Iterator<Item = Object>) -> Vec<String> {
    let mut all: Vec<_> = rules.map(|one| format!("{:?}", encode_without_revision(&one))).collect();
    all.sort();
    all
}

fn encode_without_revision(object: &Object) -> wire::Object {
    crate::encode::object(object, 0)
}

proptest! {
    /// Whatever the path, by deltas over any number of versions or by snapshots, the gateway ends with what is served.
    #[test]
    fn any_path_of_deltas_and_snapshots_ends_with_what_is_served(
        steps in prop::collection::vec((any_rules(), any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut catalog = Catalog::new(EPOCH, true);
        let mut replica = gateway();
        let last = steps.len() - 1;
        for (at, (rules, listens, by_snapshot)) in steps.into_iter().enumerate() {
            if let Some(next) = catalog.next(rules).unwrap() {
                catalog = next;
            }
            if !listens && at != last || replica.version() == catalog.version() {
                continue;
            }
            let judged = match catalog.delta_since(replica.version()) {
                Some(delta) if !by_snapshot => taken(replica.judge_delta(EPOCH, &delta)),
                _ => taken(replica.judge_snapshot(snapshot_of(&catalog, |_| {}).unwrap())),
            };
            prop_assert!(judged.rejects.is_empty(), "{:?}", judged.rejects);
            replica.adopt(judged);
            let digest = Digest::of_rules(replica.rules()).to_vec();
            prop_assert!(catalog.knows(EPOCH, catalog.version(), &digest));
        }
        prop_assert_eq!(replica.version(), catalog.version());
        prop_assert_eq!(contents(replica.rules().objects()), contents(catalog.given()));
    }
}
