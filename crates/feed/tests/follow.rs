//! A gateway and a feed as shipped, over every transport: what the operator sees when all is well, and when it is not.

mod common;

use common::*;
use feed::{Code, FeedAddress, FileSource, Listener, ServerConfig, Source as _};

#[tokio::test(start_paused = true)]
async fn a_snapshot_then_a_delta_then_nothing_new_programs_twice() {
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::start(&feed);
    gateway.until("the feed is connected", |state| state.connected.is_some()).await;
    assert!(gateway.workers.told().is_empty(), "a feed without rules has nothing to say");

    assert_eq!(controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.5")), Ok(1));
    controller.knows_programmed(1).await;
    assert_eq!(controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.6")), Ok(2));
    controller.knows_programmed(2).await;
    assert_eq!(controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.6")), Ok(2));

    let routers = |web: &str| vec![("a".to_owned(), web.to_owned()), ("b".to_owned(), web.to_owned())];
    assert_eq!(gateway.workers.told(), [(1, routers("10.0.0.5")), (2, routers("10.0.0.6"))]);
    let state = gateway.runs(2).await;
    assert_eq!((state.epoch, state.generation, state.objects), (EPOCH, 2, 5));
    assert_eq!((state.counters.snapshots, state.counters.deltas, state.counters.refused), (1, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn programmed_is_said_only_when_every_worker_runs_it_and_pings_are_answered_meanwhile() {
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::start(&feed);
    gateway.workers.hold(true);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.5")).unwrap();
    // Long enough for a feed that hears no Pong to hang up three times.
    tokio::time::sleep(std::time::Duration::from_secs(100)).await;
    assert_eq!(gateway.workers.told().len(), 1, "the workers have been told");
    assert_eq!(gateway.state.borrow().version, 0, "but do not run it");
    let server = controller.state.borrow().clone();
    assert_eq!(server.gateways.len(), 1);
    assert!(server.gateways.values().all(|gateway| gateway.programmed_version == 0), "{server:?}");
    assert_eq!(gateway.state.borrow().counters.failures, 0, "the connection is as it was");
    gateway.workers.hold(false);
    controller.knows_programmed(1).await;
    assert_eq!(gateway.runs(1).await.generation, 1);
}

#[tokio::test(start_paused = true)]
async fn a_bad_file_keeps_the_old_rules_and_names_all_its_faults() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yaml");
    let replace = |text: &str| {
        let new = directory.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &path).unwrap();
    };
    replace(&rules_text(&["a", "b", "c"], "10.0.0.5"));
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::start(&feed);
    let source = FileSource::new(&path);
    let publisher = controller.publisher.clone();
    let _watch = Running(tokio::spawn(async move { source.run(publisher).await }));
    controller.knows_programmed(1).await;

    let bad = rules_text(&["a", "b", "c"], "10.0.0.6")
        .replacen("vlan: 1}", "vlan: 4095}", 1)
        .replacen("segment: net1", "segment: nowhere", 1)
        .replacen("next_hop: 198.19.255.254", "next_hop: 192.0.2.1", 1)
        .replacen("02:01:00:00:00:03", "03:01:00:00:00:03", 1)
        .replacen("external: 198.19.0.3", "external: 198.19.0.2", 1);
    replace(&bad);
    let state = controller.until("the file is refused", |state| state.last_refusal.is_some()).await;
    let refusal = state.last_refusal.unwrap();
    let mut found: Vec<_> = refusal
        .rejects
        .iter()
        .map(|one| format!("{} {} {}", one.object.as_ref().unwrap(), one.field, one.code.as_str_name()))
        .collect();
    found.sort();
    assert_eq!(
        found,
        [
            "router a gateways[0].next_hop NO_ROUTE_TO_NEXTHOP",
            "router b interfaces[0].segment UNKNOWN_SEGMENT",
            "router c floating_ips[0].external EXTERNAL_IP_CONFLICT",
            "router c interfaces[0].mac BAD_ADDRESS",
            "segment net0 vlan OUT_OF_RANGE",
        ],
        "{refusal}"
    );
    assert_eq!(state.version, 1);
    assert_eq!(gateway.runs(1).await.counters.deltas, 0);

    // A file that cannot even be read, and one that is gone, change nothing either.
    replace("segments: [");
    controller
        .until("not readable", |state| state.last_refusal.as_ref().is_some_and(|one| one.rejects.len() == 1))
        .await;
    std::fs::remove_file(&path).unwrap();
    let gone = |state: &feed::ServerState| {
        state.last_refusal.as_ref().is_some_and(|one| one.to_string().contains("cannot be read"))
    };
    controller.until("gone", gone).await;

    replace(&rules_text(&["a", "b", "c"], "10.0.0.7"));
    let state = controller.knows_programmed(2).await;
    assert_eq!(state.last_refusal, None, "the newest rules are served");
    assert_eq!(gateway.workers.routers()[2], ("c".to_owned(), "10.0.0.7".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_being_written_is_not_read_in_the_middle() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rules.yaml");
    std::fs::write(&path, rules_text(&["a", "b", "c"], "10.0.0.5")).unwrap();
    let mut controller = Controller::new(EPOCH);
    let source = FileSource::new(&path);
    let publisher = controller.publisher.clone();
    let _watch = Running(tokio::spawn(async move { source.run(publisher).await }));
    controller.until("the file is served", |state| state.version == 1).await;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;

    // What is there so far is valid each time, and far from what is meant.
    for routers in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
        std::fs::write(&path, rules_text(routers, "10.0.0.6")).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
    }
    let state = controller.until("it is served", |state| state.version > 1).await;
    assert_eq!((state.version, state.objects), (2, 7));
}

#[tokio::test(start_paused = true)]
async fn a_refused_object_keeps_its_old_revision_and_is_shown_at_both_ends() {
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::start(&feed);
    controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.5")).unwrap();
    controller.knows_programmed(1).await;
    // Only the gateway knows that it has no such port.
    let text =
        rules_text(&["a", "b"], "10.0.0.6").replace("{id: net0, port: p0", "{id: net0, port: elsewhere");
    controller.publisher.publish("test", rules::read_rules(&text).unwrap()).unwrap();
    let server = controller.knows_programmed(2).await;
    let state = gateway.runs(2).await;
    let [near] = state.rejects.as_slice() else { panic!("{:?}", state.rejects) };
    let [far] = server.gateways.values().next().unwrap().rejects.as_slice() else { panic!("{server:?}") };
    assert_eq!(
        (near.code, near.kept_revision, near.offered_revision),
        (Code::UnknownPort, EPOCH + 1, EPOCH + 2)
    );
    assert_eq!((far.code, far.kept_revision, &far.object), (near.code, near.kept_revision, &near.object));
    assert_eq!((near.field.as_str(), far.field.as_str()), ("port", "kind.port"), "each in its own words");
    // Both routers are taken: the segment that one of them is on is still there.
    assert!(gateway.workers.routers().iter().all(|(_, web)| web == "10.0.0.6"));
}

#[tokio::test]
async fn a_gateway_resumes_with_a_delta_after_the_feed_was_gone() {
    let directory = tempfile::tempdir().unwrap();
    let address = FeedAddress::Unix(directory.path().join("feed.sock"));
    let mut controller = Controller::new(EPOCH);
    controller.listen(Listener::bind(&address).await.unwrap());
    let mut gateway = Gateway::start(&address);
    controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.5")).unwrap();
    controller.knows_programmed(1).await;

    controller.stop().await;
    let state = gateway.until("it notices", |state| state.connected.is_none()).await;
    assert_eq!((state.version, gateway.workers.told().len()), (1, 1), "forwarding goes on");
    assert!(state.last_error.is_some());
    controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.6")).unwrap();
    controller.publisher.publish("test", rules(&["a"], "10.0.0.7")).unwrap();
    controller.listen(Listener::bind(&address).await.unwrap());
    controller.knows_programmed(3).await;
    assert_eq!(gateway.workers.routers(), [("a".to_owned(), "10.0.0.7".to_owned())]);
    let counters = gateway.runs(3).await.counters;
    assert_eq!((counters.snapshots, counters.deltas), (1, 1), "both changes in one delta");
}

#[tokio::test]
async fn a_restarted_feed_has_a_new_epoch_and_its_snapshot_changes_only_what_changed() {
    let directory = tempfile::tempdir().unwrap();
    let address = FeedAddress::Unix(directory.path().join("feed.sock"));
    let mut old = Controller::new(EPOCH);
    old.listen(Listener::bind(&address).await.unwrap());
    let mut gateway = Gateway::start(&address);
    old.publisher.publish("test", rules(&["a", "b"], "10.0.0.5")).unwrap();
    old.knows_programmed(1).await;
    old.stop().await;

    let mut new = Controller::new(EPOCH + 50);
    new.publisher.publish("test", rules(&["a", "b"], "10.0.0.6")).unwrap();
    new.listen(Listener::bind(&address).await.unwrap());
    new.knows_programmed(1).await;
    let state = gateway.until("the new feed is followed", |state| state.epoch == EPOCH + 50).await;
    assert_eq!((state.counters.snapshots, state.rejects.len(), state.counters.stale_revisions), (2, 0, 0));
    assert_eq!(gateway.workers.routers()[0].1, "10.0.0.6");
    new.stop().await;

    // The old one comes back from the dead, with other rules. Nobody listens.
    old.publisher.publish("test", rules(&["a"], "10.0.0.66")).unwrap();
    old.listen(Listener::bind(&address).await.unwrap());
    let behind =
        |state: &feed::FeedState| state.last_error.as_ref().is_some_and(|one| one.contains("behind"));
    gateway.until("the old feed is fenced off", behind).await;
    assert_eq!(gateway.workers.routers()[0].1, "10.0.0.6");
}

#[tokio::test]
async fn a_gateway_follows_a_feed_over_tcp() {
    let address = FeedAddress::Tcp("127.0.0.1:0".into());
    let listener = Listener::bind(&address).await.unwrap();
    let address = FeedAddress::Tcp(listener.local_address().unwrap().to_string());
    let mut controller = Controller::new(EPOCH);
    controller.listen(listener);
    let mut gateway = Gateway::start(&address);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.5")).unwrap();
    controller.knows_programmed(1).await;
    assert_eq!(gateway.runs(1).await.connected, Some(address.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_restarts_without_a_feed_runs_the_last_rules() {
    let directory = tempfile::tempdir().unwrap();
    let last_good = directory.path().join("last-good");
    let keep = |config: &mut feed::SubscriberConfig| config.last_good = Some(last_good.clone());
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::configured(&feed, keep);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.5")).unwrap();
    controller.knows_programmed(1).await;
    controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.6")).unwrap();
    gateway.until("version 2 is on disk", |state| state.saved_version == 2).await;
    drop(gateway);

    let nobody = FeedAddress::Unix(directory.path().join("nobody"));
    let mut alone = Gateway::configured(&nobody, keep);
    let state = alone.until("it has tried the feed", |state| state.counters.failures > 2).await;
    assert!(state.from_disk);
    assert_eq!((state.version, state.generation), (2, 1));
    assert_eq!(alone.workers.routers().len(), 2);
    drop(alone);

    // With the feed back it resumes where it was, and nothing is programmed again.
    let mut back = Gateway::configured(&feed, keep);
    back.until("it is connected", |state| state.connected.is_some()).await;
    controller.publisher.publish("test", rules(&["a", "b"], "10.0.0.7")).unwrap();
    let state = back.runs(3).await;
    assert_eq!((state.counters.snapshots, state.counters.deltas, state.generation), (0, 1, 2));
    assert!(!state.from_disk);
}

#[tokio::test(start_paused = true)]
async fn torn_rules_on_disk_are_reported_and_the_feed_is_followed() {
    let directory = tempfile::tempdir().unwrap();
    let last_good = directory.path().join("last-good");
    std::fs::write(&last_good, "natgate-last-good 1 sha256 00 bytes 100\n{}").unwrap();
    let mut controller = Controller::new(EPOCH);
    let mut gateway = {
        let nobody = FeedAddress::Unix(directory.path().join("nobody"));
        Gateway::configured(&nobody, |config| config.last_good = Some(last_good.clone()))
    };
    let torn = |state: &feed::FeedState| {
        state.restore_error.as_ref().is_some_and(|one| one.contains("2 bytes of 100"))
    };
    gateway.until("the file is reported", torn).await;
    assert!(gateway.workers.told().is_empty());
    drop(gateway);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::configured(&feed, |config| config.last_good = Some(last_good.clone()));
    controller.publisher.publish("test", rules(&["a"], "10.0.0.5")).unwrap();
    gateway.until("it is replaced", |state| state.saved_version == 1).await;
    assert!(feed::last_good::load(&last_good).unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn rules_that_the_workers_do_not_take_are_refused_and_the_next_ones_are_tried() {
    let mut controller = Controller::new(EPOCH);
    let feed = controller.listen_in_process();
    let mut gateway = Gateway::start(&feed);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.5")).unwrap();
    controller.knows_programmed(1).await;
    gateway.workers.break_down(true);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.6")).unwrap();
    let state = gateway.until("it is refused", |state| state.counters.refused == 1).await;
    assert_eq!((state.version, state.rejects[0].code), (1, Code::Internal));
    gateway.workers.break_down(false);
    controller.publisher.publish("test", rules(&["a"], "10.0.0.7")).unwrap();
    controller.knows_programmed(3).await;
    assert_eq!(gateway.runs(3).await.counters.snapshots, 1, "what failed was not half in force");
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_comes_up_empty_does_not_empty_the_gateway() {
    let names: Vec<String> = (0..60).map(|at| format!("r{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let directory = tempfile::tempdir().unwrap();
    let address = FeedAddress::Unix(directory.path().join("feed.sock"));
    let mut full = Controller::new(EPOCH);
    full.listen(Listener::bind(&address).await.unwrap());
    let mut gateway = Gateway::start(&address);
    full.publisher.publish("test", rules(&names, "10.0.0.5")).unwrap();
    full.knows_programmed(1).await;
    full.stop().await;

    let mut empty = Controller::new(EPOCH + 1);
    empty.publisher.publish("test", rules(&names[..3], "10.0.0.5")).unwrap();
    empty.listen(Listener::bind(&address).await.unwrap());
    let state = gateway.until("it is refused", |state| state.counters.refused == 1).await;
    assert_eq!((state.rejects[0].code, state.version), (Code::MassDeleteGuard, 1));
    assert_eq!(gateway.workers.routers().len(), 60);
    // It is not sent again and again, by the same feed.
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    assert_eq!(gateway.state.borrow().counters.refused, 1);
    empty.stop().await;

    let config = ServerConfig { epoch: EPOCH + 2, confirm_mass_delete: true, ..ServerConfig::default() };
    let mut meant = Controller::configured(config);
    meant.publisher.publish("test", rules(&names[..3], "10.0.0.5")).unwrap();
    meant.listen(Listener::bind(&address).await.unwrap());
    meant.knows_programmed(1).await;
    assert_eq!(gateway.workers.routers().len(), 3);
}
