//! Whatever is damaged is noticed and dropped, alone or as a whole, and never taken for something else.

use std::fs;
use std::path::{Path, PathBuf};

use flowtable::HugePages;
use packet::{Moment, Protocol};
use rules::compiled::{Dependence, Realm};
use zerocopy::IntoBytes;

use super::process::{BOOT, Process, SIZES, TENANTS};
use crate::flow::{Endpoint, Flow};
use crate::state::{FreshReason, Sizes, State};
use crate::takeover::OpenError;

/// A region that a process has left, and one of the sessions in it of each protocol.
struct Left {
    _directory: tempfile::TempDir,
    path: PathBuf,
    sessions: Vec<(Flow, Endpoint)>,
}

fn left() -> Left {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&directory.path().join("region"), 10_000);
    let mut sessions = Vec::new();
    for tenant in TENANTS {
        for number in 0..30 {
            let protocol = if number % 2 == 0 { Protocol::TCP } else { Protocol::UDP };
            let flow = process.flow(tenant, protocol, 256 + number, 1_000 + number);
            sessions.push((flow, process.send(&flow)));
        }
    }
    // One more remote of a mapping, which needs a permission of its own.
    let (flow, _) = sessions[3];
    let elsewhere = Endpoint { address: [198, 51, 100, 2].into(), port: 80 };
    let flow = flow.with_destination(elsewhere, flow.realm());
    sessions.push((flow, process.send(&flow)));
    Left { path: process.kill(), _directory: directory, sessions }
}

impl Left {
    /// The region with a bit of it flipped, taken over.
    fn damaged(&self, offset: usize, bit: u32) -> Process {
        let mut bytes = fs::read(&self.path).unwrap();
        bytes[offset] ^= 1 << bit;
        let path = self.path.with_extension(format!("damaged-{offset}-{bit}"));
        fs::write(&path, bytes).unwrap();
        let process = Process::start(&path, 20_000);
        fs::remove_file(path).unwrap();
        process
    }

    /// Where in the file a key is: its only place.
    fn offset_of(&self, key: &Flow) -> usize {
        let bytes = fs::read(&self.path).unwrap();
        let places: Vec<_> =
            (0..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(key.as_bytes())).collect();
        assert_eq!(places.len(), 1, "{key:?}");
        places[0]
    }

    fn external_key(&self, session: usize) -> Flow {
        let (flow, external) = self.sessions[session];
        flow.with_source(external, self.realm()).reversed()
    }

    /// The external network's.
    fn realm(&self) -> Realm {
        let path = self.path.with_extension("look");
        fs::copy(&self.path, &path).unwrap();
        Process::start(&path, 20_000).rules.pools[0].realm
    }

    /// All sessions but this go on, and in the end nothing is left of any.
    fn check_others(&self, mut process: Process, but: usize, what: &str) {
        for (number, (flow, external)) in self.sessions.iter().enumerate() {
            match number == but {
                false => assert_eq!(process.send(flow), *external, "{what}: {flow:?}"),
                // It may be opened again, at once.
                true => _ = process.send(flow),
            }
        }
        assert!(process.ports_used().values().all(|(used, cells)| *used as usize == *cells), "{what}");
        process.pass(4_000_000);
        let occupancy = process.state.occupancy();
        assert_eq!((occupancy.sessions, occupancy.mappings), (0, 0), "{what}");
        assert_eq!((occupancy.hosts, occupancy.permissions), (0, 0), "{what}");
        assert!(process.ports_used().values().all(|used| *used == (0, 0)), "{what}");
    }
}

#[test]
fn a_damaged_session_is_dropped_alone() {
    let left = left();
    for (session, side) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let key = if side == 0 { left.sessions[session].0 } else { left.external_key(session) };
        let line = left.offset_of(&key);
        for byte in 0..64 {
            let process = left.damaged(line + byte, byte as u32 % 8);
            let what = format!("session {session} side {side} byte {byte}: {}", process.takeover);
            // The key, the translation, its realm, a time to come, and the mapping; no value is wrong of what else was seen.
            let is_checked = matches!(byte, 0..22 | 24..28 | 34..36) || (side == 1 && matches!(byte, 36..40));
            let kept = left.sessions.len() as u32 - u32::from(is_checked);
            assert_eq!(process.takeover.sessions_kept, kept, "{what}");
            assert_eq!(process.takeover.sessions_dropped, u32::from(is_checked), "{what}");
            assert_eq!(process.takeover.shards_recounted, u32::from(is_checked), "{what}");
            if is_checked {
                assert!(process.line(&left.sessions[session].0).is_none(), "{what}");
            }
            left.check_others(process, session, &what);
        }
    }
}

#[test]
fn a_damaged_mapping_host_or_permission_is_made_anew_or_given_up() {
    let left = left();
    let (flow, _) = left.sessions[1];
    let outside = left.external_key(1);
    let rows = [
        ("host", flow.host_key(outside.realm()), 16, false),
        // Its external port and its number too.
        ("mapping", flow.mapping_key(Dependence::EndpointIndependent, outside.realm()), 24, true),
        ("permission", left.external_key(left.sessions.len() - 1).permission_key(), 16, false),
    ];
    for (what, key, bytes, is_given_up) in rows {
        let line = left.offset_of(&key);
        for byte in 0..bytes {
            let process = left.damaged(line + byte, byte as u32 % 8);
            let what = format!("{what} byte {byte}: {}", process.takeover);
            assert_eq!(process.takeover.sessions_dropped, 0, "{what}");
            assert_eq!(process.takeover.shards_recounted, 1, "{what}");
            let but = if is_given_up { 1 } else { usize::MAX };
            left.check_others(process, but, &what);
        }
    }
}

/// What a mapping counts proves itself by nothing, nor do its neighbours among those that rest: whatever is there, sessions go on,
/// and it is the only one that may be left.
#[test]
fn a_mapping_that_counts_wrongly_or_rests_without_cause_harms_nobody_else() {
    for rests in [false, true] {
        let mut left = left();
        if rests {
            let mut process = Process::start(&left.path, 20_000);
            let udp = left.sessions.iter().filter(|(flow, _)| flow.protocol() == Protocol::UDP);
            udp.for_each(|(flow, _)| process.close(flow));
            left.path = process.kill();
        }
        let (flow, _) = left.sessions[1];
        let line = left.offset_of(&flow.mapping_key(Dependence::EndpointIndependent, left.realm()));
        for (byte, bit) in (24..32).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let mut process = left.damaged(line + byte, bit);
            let what = format!("rests {rests} byte {byte} bit {bit}: {}", process.takeover);
            assert_eq!(process.takeover.sessions_dropped, 0, "{what}");
            for (flow, external) in &left.sessions {
                assert_eq!(process.send(flow), *external, "{what}: {flow:?}");
            }
            process.pass(4_000_000);
            let occupancy = process.state.occupancy();
            assert_eq!((occupancy.sessions, occupancy.permissions), (0, 0), "{what}");
            assert!(occupancy.mappings <= 1, "{what}: {occupancy:?}");
            assert!(process.ports_used().values().all(|(used, cells)| *used as usize == *cells), "{what}");
        }
    }
}

#[test]
fn an_entry_that_leads_nowhere_is_taken_out_and_told() {
    let left = left();
    let path = left.path.with_extension("look");
    fs::copy(&left.path, &path).unwrap();
    let process = Process::start(&path, 20_000);
    let line_of = |session: usize| process.line(&left.sessions[session].0).unwrap();
    let session = (0..left.sessions.len()).max_by_key(|session| line_of(*session)).unwrap();
    // The index lies before the lines, and its entry is the only word there that is the line's number.
    let first_line = left.offset_of(&left.sessions[0].0) - 64 * line_of(0).0 as usize;
    let line = line_of(session);
    let bytes = fs::read(&left.path).unwrap();
    let is_it = |at: &usize| bytes[*at..].starts_with(&line.0.to_ne_bytes());
    let entries: Vec<_> = (0..first_line).step_by(4).filter(is_it).collect();
    assert_eq!(entries.len(), 1, "{line:?}");
    let entry = entries[0];
    let process = left.damaged(entry + 3, 6);
    assert_eq!(process.takeover.entries_repaired, 1, "{}", process.takeover);
    assert_eq!(process.takeover.sessions_dropped, 1, "{}", process.takeover);
    left.check_others(process, session, "an entry");
}

#[test]
fn an_address_whose_record_is_damaged_is_lost_with_its_sessions() {
    let left = left();
    let blue = [203, 0, 113, 20];
    let bytes = fs::read(&left.path).unwrap();
    let record = (0..bytes.len()).step_by(16).find(|at| bytes[at + 4..].starts_with(&blue)).unwrap();
    let mut process = left.damaged(record + 7, 3);
    let tcp = left
        .sessions
        .iter()
        .filter(|(flow, at)| flow.protocol() == Protocol::TCP && at.address.octets() == blue);
    assert_eq!(process.takeover.sessions_dropped as usize, tcp.count());
    for (flow, external) in &left.sessions {
        let now = process.send(flow);
        assert!(now == *external || external.address.octets() == blue);
    }
    assert!(process.ports_used().values().all(|(used, cells)| *used as usize == *cells));
    process.pass(4_000_000);
    assert!(process.ports_used().values().all(|used| *used == (0, 0)));
}

/// Changes a file, opens it, and expects it to be begun afresh for this reason.
#[track_caller]
fn is_refused(left: &Left, reason: FreshReason, sentence: &str, damage: impl FnOnce(&Path)) {
    let path = left.path.with_extension("refused");
    fs::copy(&left.path, &path).unwrap();
    damage(&path);
    let mut process = Process::start(&path, 20_000);
    assert_eq!(process.takeover.fresh, Some(reason));
    assert_eq!(process.takeover.to_string(), format!("{sentence}: starting without sessions"));
    let (occupancy, ports) = process.holdings();
    assert_eq!(
        (occupancy.sessions, occupancy.mappings, occupancy.hosts, occupancy.permissions),
        (0, 0, 0, 0)
    );
    assert!(ports.values().all(|used| *used == (0, 0)));
    // And it is a good region from now on.
    let flow = process.flow("red", Protocol::TCP, 300, 5_000);
    let external = process.send(&flow);
    let mut process = Process::start(&process.kill(), 30_000);
    assert_eq!((process.takeover.fresh, process.send(&flow)), (None, external));
    assert_eq!(process.state.occupancy().sessions, 1);
    fs::remove_file(path).unwrap();
}

fn flip(path: &Path, offset: usize, bit: u32) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 1 << bit;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_region_that_does_not_fit_is_emptied_and_says_why() {
    let left = left();
    let bytes = fs::metadata(&left.path).unwrap().len();
    let not_a_region = "the file holds something else than flow state";
    is_refused(&left, FreshReason::NotARegion, not_a_region, |path| flip(path, 3, 0));
    is_refused(&left, FreshReason::NotARegion, not_a_region, |path| fs::write(path, "ssh-rsa").unwrap());
    is_refused(&left, FreshReason::NotARegion, not_a_region, |path| fs::write(path, [0; 9_000]).unwrap());
    is_refused(
        &left,
        FreshReason::OtherLayout { found: 8, ours: 9 },
        "the flow state has layout version 8, this natgate has 9",
        |path| flip(path, 8, 0),
    );
    is_refused(
        &left,
        FreshReason::OtherLength { found: bytes - 4_096, expected: bytes },
        &format!(
            "the flow state is {} bytes long, not {bytes}: it was cut off, or made for other sizes",
            bytes - 4_096
        ),
        |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(bytes - 4_096).unwrap(),
    );
    is_refused(&left, FreshReason::New, "there was no flow state", |path| fs::remove_file(path).unwrap());
    for offset in 12..96 {
        is_refused(&left, FreshReason::BadHeader, "the header of the flow state is damaged", |path| {
            flip(path, offset, offset as u32 % 8);
        });
    }
}

#[test]
fn other_sizes_and_another_boot_are_refused() {
    let left = left();
    let open = |sizes: &Sizes, boot| -> Result<String, OpenError> {
        let path = left.path.with_extension("other");
        fs::copy(&left.path, &path).unwrap();
        State::open_in(&path, sizes, [1; 4], Moment::from_ms(20_000), HugePages::NotAsked, boot)
            .map(|(_, _, takeover)| takeover.to_string())
    };
    assert!(open(&SIZES, BOOT).unwrap().starts_with("took over 61 sessions and 30 mappings after a crash"));
    let sizes = "the flow state was made for other sizes: 4096 sessions, 4 shards, 4 external addresses, \
                 4096 hosts, 4096 mappings";
    for other in [
        Sizes { sessions: 8_192, ..SIZES },
        Sizes { shards: 8, ..SIZES },
        Sizes { addresses: 5, ..SIZES },
        Sizes { hosts: 4_095, ..SIZES },
        Sizes { mappings: 4_095, ..SIZES },
    ] {
        assert_eq!(open(&other, BOOT).unwrap(), format!("{sizes}: starting without sessions"));
    }
    assert_eq!(
        open(&SIZES, [11, 23]).unwrap(),
        "the flow state is of another boot of the machine: starting without sessions"
    );
}
