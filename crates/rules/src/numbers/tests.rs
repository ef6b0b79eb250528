#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn address(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, last)
}

/// One rule set: these routers, and these addresses on the network `ext`. Their numbers, in that order.
fn follow(
    numbers: &mut Numbers,
    routers: &[&str],
    addresses: &[u8],
) -> Result<(Vec<Realm>, Vec<AddressIndex>), NumbersExhausted> {
    let mut next = numbers.clone();
    next.begin(0);
    let network = next.realm(ObjectKind::Segment, "ext");
    let realms = routers.iter().map(|id| next.realm(ObjectKind::Router, id)).collect();
    let indices = addresses.iter().map(|last| next.address(network, address(*last))).collect();
    next.finish()?;
    *numbers = next;
    Ok((realms, indices))
}

fn realms_of(numbers: &mut Numbers, routers: &[&str]) -> Vec<Realm> {
    follow(numbers, routers, &[]).unwrap().0
}

/// What the next process makes of what this one kept.
fn restarted(numbers: &Numbers) -> Numbers {
    Numbers::restore(100, 100, numbers.generation(), numbers.realms(), numbers.addresses())
}

#[test]
fn a_number_stays_with_its_object_in_whatever_order_it_is_fed() {
    let mut numbers = Numbers::new(100, 0);
    let first = realms_of(&mut numbers, &["a", "b", "c"]);
    let second = realms_of(&mut numbers, &["c", "new", "a", "b"]);
    assert_eq!([second[2], second[3], second[0]], first[..]);
    assert!(!first.contains(&second[1]));
}

#[test]
fn a_number_stays_with_its_object_over_a_restart() {
    let mut numbers = Numbers::new(100, 100);
    let (realms, indices) = follow(&mut numbers, &["a", "b"], &[1, 2]).unwrap();
    let mut next = restarted(&numbers);
    let (again, indices_again) = follow(&mut next, &["b", "a"], &[2, 3, 1]).unwrap();
    assert_eq!([again[1], again[0]], realms[..]);
    assert_eq!([indices_again[2], indices_again[0]], indices[..]);
    assert!(!indices.contains(&indices_again[1]));
}

#[test]
fn a_realm_is_not_given_again_while_a_session_names_it() {
    let mut numbers = Numbers::new(3, 0);
    let old = realms_of(&mut numbers, &["a", "b"])[0];
    realms_of(&mut numbers, &["b"]);
    // Neither to another router, nor to one of the same id, nor after a restart.
    for numbers in [&mut numbers.clone(), &mut restarted(&numbers)] {
        for id in ["a", "c"] {
            let realms = follow(numbers, &["b", id], &[]).map(|(realms, _)| realms).unwrap_or_default();
            assert!(!realms.contains(&old), "{id} has the realm of a deleted router");
        }
    }
    assert_eq!(numbers.release_realms(|realm| realm == old), 0);
    assert!(follow(&mut numbers, &["b", "a"], &[]).is_err());
    assert_eq!(numbers.release_realms(|_| false), 1);
    assert_eq!(realms_of(&mut numbers, &["b", "a"])[1], old);
}

#[test]
fn a_number_that_was_released_waits_behind_all_others() {
    let mut numbers = Numbers::new(10, 0);
    let old = realms_of(&mut numbers, &["a"]);
    realms_of(&mut numbers, &[]);
    numbers.release_realms(|_| false);
    for id in ["b", "c", "d", "e", "f", "g", "h", "i"] {
        assert_ne!(realms_of(&mut numbers, &[id]), old);
        numbers.release_realms(|_| false);
    }
}

#[test]
fn a_router_made_anew_under_an_old_id_gets_another_number() {
    let mut numbers = Numbers::new(100, 0);
    let first = realms_of(&mut numbers, &["a"]);
    realms_of(&mut numbers, &[]);
    let second = realms_of(&mut numbers, &["a"]);
    assert_ne!(first, second);
    assert_eq!(realms_of(&mut numbers, &["a"]), second);
    // A restart in between does not mix the two up.
    assert!(restarted(&numbers).realms().eq(numbers.realms()));
    assert_eq!(realms_of(&mut restarted(&numbers), &["a"]), second);
    // Nor does the end of the first one's last session.
    let mut later = numbers.clone();
    assert_eq!(later.release_realms(|_| false), 1);
    assert_eq!(realms_of(&mut later, &["a"]), second);
    realms_of(&mut numbers, &[]);
    assert_eq!(numbers.retired_realms(), 2);
    assert_eq!(numbers.release_realms(|realm| realm == second[0]), 1);
    assert_eq!(numbers.retired_realms(), 1);
}

#[test]
fn an_address_that_comes_back_has_its_ports_again() {
    let mut numbers = Numbers::new(10, 10);
    let first = follow(&mut numbers, &[], &[7]).unwrap().1;
    assert_eq!(numbers.retired_addresses(), 0);
    follow(&mut numbers, &[], &[]).unwrap();
    assert_eq!(numbers.retired_addresses(), 1);
    assert_eq!(numbers.release_addresses(|index| index == first[0]), 0);
    assert_eq!(follow(&mut numbers, &[], &[8, 7]).unwrap().1[1], first[0]);
    assert_eq!(numbers.release_addresses(|_| false), 0);
    follow(&mut numbers, &[], &[7]).unwrap();
    assert_eq!(numbers.release_addresses(|_| false), 1);
    // Nor is it given away before the first rules of a new process are known.
    let mut next = restarted(&numbers);
    assert_eq!(follow(&mut next, &[], &[9, 7]).unwrap().1[1], first[0]);
}

#[test]
fn the_same_address_on_another_network_is_another_address() {
    let mut numbers = Numbers::new(10, 10);
    numbers.begin(0);
    let [one, other] = ["ext", "other"].map(|id| numbers.realm(ObjectKind::Segment, id));
    assert_ne!(numbers.address(one, address(1)), numbers.address(other, address(1)));
}

#[test]
fn a_network_keeps_its_number_while_its_addresses_have_theirs() {
    let mut numbers = Numbers::new(10, 10);
    follow(&mut numbers, &[], &[1]).unwrap();
    numbers.begin(0);
    numbers.finish().unwrap();
    assert_eq!(numbers.release_realms(|_| false), 0, "the address would be another network's");
    assert_eq!(numbers.release_addresses(|_| false), 1);
    assert_eq!(numbers.release_realms(|_| false), 1);
}

#[test]
fn a_router_and_a_segment_of_one_id_are_two() {
    let mut numbers = Numbers::new(10, 0);
    numbers.begin(0);
    assert_ne!(numbers.realm(ObjectKind::Router, "x"), numbers.realm(ObjectKind::Segment, "x"));
}

#[test]
fn too_many_leave_everything_as_it_was_and_say_what_to_raise() {
    let mut numbers = Numbers::new(3, 2);
    follow(&mut numbers, &["a"], &[1, 2]).unwrap();
    follow(&mut numbers, &["a"], &[2]).unwrap();
    let before: (Vec<_>, Vec<_>) = (numbers.realms().collect(), numbers.addresses().collect());
    let error = follow(&mut numbers, &["a"], &[2, 3, 4, 5]).unwrap_err();
    assert_eq!(error, NumbersExhausted::Addresses { numbers: 2, retired: 1, lacking: 3 });
    assert!(error.to_string().contains("external_addresses_max"));
    let error = follow(&mut numbers, &["b", "c", "d"], &[]).unwrap_err();
    assert_eq!(error, NumbersExhausted::Realms { numbers: 3, retired: 1, lacking: 2 });
    assert_eq!((numbers.realms().collect(), numbers.addresses().collect()), before);
    assert_eq!(numbers.generation(), 2);
}

#[test]
fn zero_is_nobodys_realm_and_the_first_address() {
    let mut numbers = Numbers::new(10, 10);
    let (realms, indices) = follow(&mut numbers, &["a"], &[1]).unwrap();
    assert!(realms[0].0 > 0);
    assert_eq!(indices, [AddressIndex(0)]);
    let entry = RealmEntry { digest: 1, retired: false };
    let kept = [(Realm(0), entry), (Realm(11), entry), (Realm(4), entry), (Realm(4), entry)];
    let kept_addresses = [(AddressIndex(10), (Realm(1), address(1)))];
    let numbers = Numbers::restore(10, 10, 5, kept.into_iter(), kept_addresses.into_iter());
    assert_eq!(numbers.realms().collect::<Vec<_>>(), [(Realm(4), entry)]);
    assert_eq!(numbers.addresses().count(), 0);
}

#[test]
fn of_two_numbers_kept_for_one_id_one_goes_on() {
    let entry = RealmEntry { digest: digest(ObjectKind::Router, "a"), retired: false };
    let kept = [(Realm(4), entry), (Realm(5), entry)];
    let mut numbers = Numbers::restore(10, 0, 5, kept.into_iter(), std::iter::empty());
    assert_eq!(realms_of(&mut numbers, &["a"]), [Realm(4)]);
    assert_eq!(numbers.retired_realms(), 1);
}

#[test]
fn a_digest_is_the_same_in_every_process() {
    // Half of what `printf 'router\0r1' | sha256sum` says. A release that computes another takes no session over.
    assert_eq!(digest(ObjectKind::Router, "r1"), 0x6e269757_5223fc54_ac25269b_73cb31e3);
}

#[test]
fn generations_go_on_over_a_restart() {
    let mut numbers = Numbers::new(10, 10);
    assert_eq!(numbers.begin(0), 1);
    assert_eq!(numbers.begin(1), 2);
    assert_eq!(restarted(&numbers).begin(0), 3);
    assert_eq!(numbers.begin(9), 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Sessions that outlive their routers, routers that come and go, restarts: no session's number is ever another's.
    #[test]
    fn no_number_means_two_things(steps in proptest::collection::vec((any::<u8>(), any::<u8>(), 0..4_u8), 1..60)) {
        let ids = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut numbers = Numbers::new(12, 12);
        // Who made the sessions of a realm: an id and its how manieth life.
        let mut sessions: BTreeMap<Realm, (usize, u32)> = BTreeMap::new();
        let mut ports: BTreeMap<AddressIndex, usize> = BTreeMap::new();
        let mut lives = [(0_u32, false); 8];
        for (present, ended, step) in steps {
            let there: Vec<usize> = (0..8).filter(|one| present >> one & 1 == 1).collect();
            let names: Vec<&str> = there.iter().map(|one| ids[*one]).collect();
            let lasts: Vec<u8> = there.iter().map(|one| *one as u8).collect();
            if let Ok((realms, indices)) = follow(&mut numbers, &names, &lasts) {
                for (one, life) in lives.iter_mut().enumerate() {
                    let is_there = there.contains(&one);
                    life.0 += u32::from(is_there && !life.1);
                    life.1 = is_there;
                }
                prop_assert_eq!(realms.iter().collect::<BTreeSet<_>>().len(), realms.len());
                for ((one, realm), index) in there.iter().zip(realms).zip(indices) {
                    let life = (*one, lives[*one].0);
                    prop_assert_eq!(*sessions.entry(realm).or_insert(life), life);
                    prop_assert_eq!(*ports.entry(index).or_insert(*one), *one);
                }
            }
            // Some sessions end, and what is retired is looked at.
            if step & 1 == 1 {
                sessions.retain(|_, (one, _)| ended >> *one & 1 == 0);
                ports.retain(|_, one| ended >> *one & 1 == 0);
                numbers.release_realms(|realm| sessions.contains_key(&realm));
                numbers.release_addresses(|index| ports.contains_key(&index));
            }
            if step & 2 == 2 {
                numbers = Numbers::restore(12, 12, numbers.generation(), numbers.realms(), numbers.addresses());
            }
        }
    }
}
