use super::*;

const SIZES: Sizes = Sizes::new(1_000, 4, 2);

fn identity() -> Identity {
    Identity::new(&SIZES, 77, [5, 6], [1, 2, 3, 4])
}

fn header() -> Header {
    let header = Header::default();
    header.begin(&identity(), 1_000_000);
    header
}

/// What this process expects has keys of its own.
fn expected() -> Identity {
    Identity::new(&SIZES, 77, [5, 6], [9, 9, 9, 9])
}

#[test]
fn a_region_keeps_its_own_keys() {
    assert_eq!(header().check(&expected()), Ok(identity()));
    assert_ne!(identity().shard_key, identity().hash_key);
}

#[test]
fn what_does_not_fit_has_a_reason_each() {
    assert_eq!(Header::default().check(&expected()), Err(FreshReason::NotARegion));
    let rows: [(Identity, FreshReason); 5] = [
        (
            Identity { version: LAYOUT_VERSION + 1, ..identity() },
            FreshReason::OtherLayout { found: LAYOUT_VERSION + 1, ours: LAYOUT_VERSION },
        ),
        (
            Identity { layout_hash: 78, ..identity() },
            FreshReason::OtherLayout { found: LAYOUT_VERSION, ours: LAYOUT_VERSION },
        ),
        (
            Identity { sessions: 2_000, ..identity() },
            FreshReason::OtherSizes { found: Sizes { sessions: 2_000, ..SIZES } },
        ),
        (Identity { boot: [5, 7], ..identity() }, FreshReason::OtherBoot),
        (Identity { hash_kind: 3, ..identity() }, FreshReason::HashUnavailable),
    ];
    let mut sentences = std::collections::HashSet::new();
    for (identity, reason) in rows {
        let header = Header::default();
        header.begin(&identity, 0);
        assert_eq!(header.check(&expected()), Err(reason));
        assert!(sentences.insert(reason.to_string()), "{reason} says what it is");
    }
}

#[test]
fn any_wrong_bit_of_what_is_written_once_is_found() {
    for word in 0..WORDS {
        for bit in 0..64 {
            let header = header();
            header.identity[word].fetch_xor(1 << bit, Relaxed);
            assert!(header.check(&expected()).is_err(), "word {word} bit {bit}");
        }
    }
    let header = header();
    header.checksum.fetch_xor(1, Relaxed);
    assert_eq!(header.check(&expected()), Err(FreshReason::BadHeader));
}

/// Opens the region at these times without ever closing it; whether the last was one crash too many.
fn is_loop(opened_ms: &[u64]) -> bool {
    let header = header();
    let (last, before) = opened_ms.split_last().unwrap();
    for now_ms in before {
        assert!(!header.is_crash_loop(1_000_000 + now_ms), "{now_ms}");
        header.open(1_000_000 + now_ms);
    }
    header.is_crash_loop(1_000_000 + last)
}

#[test]
fn three_early_crashes_within_a_minute_are_a_loop() {
    assert!(!is_loop(&[1_000, 2_000]), "two are not");
    assert!(is_loop(&[1_000, 2_000, 3_000]));
    assert!(is_loop(&[4_999, 9_998, 14_997]));
    assert!(!is_loop(&[5_000, 10_000, 15_000]), "they ran for a while");
    assert!(!is_loop(&[1_000, 2_000, 10_000]), "the last ran for a while");
    assert!(!is_loop(&[1_000, 10_000, 11_000, 12_000]), "one that ran for a while ends the row");
    assert!(is_loop(&[1_000, 10_000, 11_000, 12_000, 13_000]));
}

#[test]
fn who_ends_by_itself_does_not_crash() {
    let header = header();
    for now_ms in 1..20 {
        header.close();
        assert!(!header.is_open() && !header.is_crash_loop(1_000_000 + now_ms));
        header.open(1_000_000 + now_ms);
    }
}

#[test]
fn generations_only_rise() {
    let header = header();
    header.raise_generation(7);
    header.raise_generation(3);
    assert_eq!(header.generation(), 7);
}
