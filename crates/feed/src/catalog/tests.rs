use rules::model::Rules;

use super::*;
use crate::testing;
use crate::wire::to_gateway::M;

const EPOCH: u64 = 1_000;

fn first(rules: Rules) -> Catalog {
    Catalog::new(EPOCH, false).next(rules).unwrap().expect("something to say")
}

fn then(catalog: &Catalog, rules: Rules) -> Catalog {
    catalog.next(rules).unwrap().expect("a change")
}

fn ids(delta: &wire::Delta) -> Vec<(String, u64)> {
    let name = |object| crate::decode::name(object).unwrap();
    delta.upserts.iter().map(name).map(|(name, revision)| (name.id, revision)).collect()
}

#[test]
fn the_same_rules_are_no_change_and_no_rules_at_all_are_a_first_version() {
    let catalog = first(testing::rules(2));
    assert!(catalog.next(testing::rules(2)).unwrap().is_none());
    assert_eq!(first(Rules::default()).version(), 1);
}

#[test]
fn a_changed_object_gets_a_revision_where_it_has_none_and_the_others_keep_theirs() {
    let catalog = first(testing::rules(2));
    let second = then(&catalog, testing::renamed(2, "new"));
    let delta = second.delta_since(1).unwrap();
    assert_eq!(ids(&delta), [("r0".to_owned(), EPOCH + 2)]);
    assert!(delta.deletes.is_empty());
}

#[test]
fn a_delta_has_each_object_once_however_often_it_changed() {
    let mut catalog = first(testing::rules(3));
    for name in ["a", "b", "c"] {
        catalog = then(&catalog, testing::renamed(3, name));
    }
    let mut fewer = testing::renamed(3, "c");
    fewer.routers.pop();
    let catalog = then(&catalog, fewer);
    let delta = catalog.delta_since(1).unwrap();
    assert_eq!(ids(&delta), [("r0".to_owned(), EPOCH + 4)]);
    assert_eq!((delta.deletes.len(), delta.deletes[0].id.as_str()), (1, "r2"));
    assert_eq!((delta.base_version, delta.version), (1, 5));
    // An object that came back is no delete any more.
    let catalog = then(&catalog, testing::renamed(3, "c"));
    let delta = catalog.delta_since(1).unwrap();
    assert_eq!((delta.upserts.len(), delta.deletes.len()), (2, 0));
}

#[test]
fn a_revision_that_does_not_rise_with_a_change_is_refused() {
    let with = |revision, name: &str| {
        let mut rules = testing::renamed(1, name);
        rules.routers[0].revision = revision;
        rules
    };
    let catalog = first(with(7, "a"));
    for stale in [7, 6, 1] {
        let rejects = catalog.next(with(stale, "b")).unwrap_err();
        assert_eq!(rejects.len(), 1, "{rejects:?}");
        assert_eq!((rejects[0].code, rejects[0].kept_revision), (Code::StaleRevision, 7));
    }
    let delta = then(&catalog, with(8, "b")).delta_since(1).unwrap();
    assert_eq!(ids(&delta), [("r0".to_owned(), 8)]);
}

#[test]
fn a_gateway_that_runs_a_known_version_can_resume() {
    let one = first(testing::rules(2));
    let two = then(&one, testing::renamed(2, "a"));
    let digest = |catalog: &Catalog| catalog.digest().to_vec();
    assert!(two.knows(EPOCH, 1, &digest(&one)));
    assert!(two.knows(EPOCH, 2, &digest(&two)));
    assert!(!two.knows(EPOCH, 1, &digest(&two)), "it does not run what it says");
    assert!(!two.knows(EPOCH - 1, 1, &digest(&one)), "another controller's version 1");
    assert!(two.delta_since(9).is_none());
}

#[test]
fn history_is_bounded_and_whoever_is_older_gets_a_snapshot() {
    let mut catalog = first(testing::rules(2));
    let mut fewer = testing::rules(2);
    fewer.routers.pop();
    catalog = then(&catalog, fewer.clone());
    assert_eq!(catalog.deleted.len(), 1);
    for change in 0..HISTORY_VERSIONS_MAX {
        fewer.routers[0].name = format!("{change}");
        catalog = then(&catalog, fewer.clone());
    }
    assert_eq!(catalog.digests.len(), HISTORY_VERSIONS_MAX);
    assert!(catalog.deleted.is_empty(), "nobody can ask for it any more");
    assert!(catalog.delta_since(2).is_none());
    assert!(catalog.delta_since(3).is_some());
}

#[test]
fn a_snapshot_comes_in_chunks_of_a_mebibyte_and_is_what_its_end_says() {
    let mut rules = testing::rules(4);
    // 400 bytes each: some megabytes in all.
    for at in 0..20_000 {
        let mut segment = rules.segments[1].clone();
        segment.id = format!("{at:064}");
        segment.port = "p".repeat(300);
        rules.segments.push(segment);
    }
    let catalog = first(rules);
    assert!(catalog.delta_since(1).is_some(), "nothing changed since, which is a small delta");
    let mut messages: Vec<_> = catalog.snapshot().collect();
    let Some(M::End(end)) = messages.pop() else { panic!("no end") };
    let mut messages = messages.into_iter();
    assert!(matches!(messages.next(), Some(M::Begin(begin)) if begin.version == 1));
    let mut objects = 0;
    let mut chunks = 0;
    for message in messages {
        let M::Chunk(chunk) = message else { panic!("no chunk") };
        assert!(chunk.encoded_len() <= CHUNK_BYTES_MAX, "{} bytes", chunk.encoded_len());
        assert_eq!(chunk.seq, chunks);
        chunks += 1;
        objects += chunk.objects.len();
    }
    assert!(chunks > 5, "{chunks}");
    assert_eq!((end.chunks, end.objects), (chunks, objects as u64));
    assert_eq!(objects, catalog.objects());
    assert_eq!(end.digest, catalog.digest().to_vec());
}

#[test]
fn a_change_too_large_for_a_delta_is_sent_as_a_snapshot() {
    let mut rules = testing::rules(1);
    for at in 0..5_000 {
        let mut segment = rules.segments[1].clone();
        segment.id = format!("s{at}");
        segment.port = "p".repeat(300);
        rules.segments.push(segment);
    }
    let catalog = then(&first(testing::rules(1)), rules);
    assert!(catalog.delta_since(1).is_none());
}

#[test]
fn a_mass_delete_needs_confirmation() {
    let confirmed = Catalog::new(EPOCH, true).next(testing::rules(60)).unwrap().unwrap();
    let guarded = first(testing::rules(60));
    let rejects = guarded.next(testing::rules(9)).unwrap_err();
    assert_eq!(rejects.iter().map(|one| one.code).collect::<Vec<_>>(), [Code::MassDeleteGuard]);
    assert!(guarded.next(testing::rules(10)).is_ok(), "fifty may go");
    let delta = then(&confirmed, testing::rules(9)).delta_since(1).unwrap();
    assert!(delta.confirm_mass_delete, "the gateway has to know that somebody meant it");
}
