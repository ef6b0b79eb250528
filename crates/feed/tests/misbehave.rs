//! A gateway against controllers that do what they must not, and a feed against gateways that do.

// Helpers of tests may fail as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::*;
use feed::wire::ack::Stage;
use feed::wire::to_gateway::M;
use feed::wire::{Delta, Hello, Ping, SnapshotBegin, SnapshotChunk, SnapshotEnd, from_gateway};
use feed::{Code, Digest, ServerConfig, encode};
use rules::{Object, ObjectRef};

/// The messages of a snapshot of these rules, one object a chunk.
fn snapshot(version: u64, rules: rules::Rules) -> Vec<M> {
    let segments = rules.segments.into_iter().map(Object::from);
    let objects: Vec<Object> = segments.chain(rules.routers.into_iter().map(Object::from)).collect();
    let names: Vec<(ObjectRef, u64)> = objects.iter().map(|one| (one.name(), version)).collect();
    let chunk = |(seq, one): (usize, &Object)| {
        M::Chunk(SnapshotChunk { seq: seq as u32, objects: vec![encode::object(one, version)] })
    };
    let mut messages = vec![M::Begin(SnapshotBegin { version, confirm_mass_delete: false })];
    messages.extend(objects.iter().enumerate().map(chunk));
    let count = objects.len();
    let digest = Digest::of(names).to_vec();
    messages.push(M::End(SnapshotEnd { version, chunks: count as u32, objects: count as u64, digest }));
    messages
}

async fn refused_all(stream: &mut Stream, code: Code) {
    let mut ack = stream.hears_ack().await;
    if ack.stage() == Stage::Received {
        ack = stream.hears_ack().await;
    }
    assert!(ack.rejected_all, "{ack:?}");
    assert_eq!(ack.rejects.iter().map(|one| one.code()).collect::<Vec<_>>(), [code]);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_counts_only_when_all_of_it_came_and_fits() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let gateway = Gateway::start(&feed);
    let mut stream = streams.recv().await.unwrap();
    let hello = stream.hears_hello().await;
    assert_eq!((hello.applied_epoch, hello.applied_version, hello.applied_digest.len()), (0, 0, 0));

    let good = || snapshot(5, rules(&["a"], "10.0.0.5"));
    let mut missing = good();
    missing.remove(2);
    let mut forged = good();
    let Some(M::End(end)) = forged.last_mut() else { panic!() };
    end.digest[0] ^= 1;
    for (messages, code) in [(missing, Code::ChunkMissing), (forged, Code::DigestMismatch)] {
        for message in messages {
            stream.say(EPOCH, message).await;
        }
        refused_all(&mut stream, code).await;
        assert!(gateway.workers.told().is_empty());
    }
    for message in good() {
        stream.say(EPOCH, message).await;
    }
    let mut stages = Vec::new();
    let last = loop {
        let ack = stream.hears_ack().await;
        stages.push(ack.stage());
        if ack.stage() == Stage::Programmed {
            break ack;
        }
    };
    assert_eq!(stages, [Stage::Received, Stage::Validated, Stage::Programmed]);
    assert_eq!((last.version, last.accepted, last.rejected_all), (5, 3, false));
    let Some(M::End(end)) = good().pop() else { panic!() };
    assert_eq!(last.applied_digest, end.digest, "both ends agree on what is in force");

    for message in good() {
        stream.say(EPOCH, message).await;
    }
    while stream.hears_ack().await.stage() != Stage::Programmed {}
    assert_eq!(gateway.workers.told().len(), 1, "the same again is nothing to program");
    assert_eq!(gateway.state.borrow().counters.unchanged, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_anywhere_in_a_snapshot_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let mut gateway = Gateway::start(&feed);
    let messages = snapshot(5, rules(&["a", "b"], "10.0.0.5"));
    for cut in 0..messages.len() {
        let mut stream = streams.recv().await.unwrap();
        assert_eq!(stream.hears_hello().await.applied_version, 0);
        for message in &messages[..cut] {
            stream.say(EPOCH, message.clone()).await;
        }
        let failures = gateway.state.borrow().counters.failures;
        drop(stream);
        gateway.until("it notices", |state| state.counters.failures > failures).await;
        assert!(gateway.workers.told().is_empty(), "cut after {cut} messages");
    }
    let stream = streams.recv().await.unwrap();
    for message in messages {
        stream.say(EPOCH, message).await;
    }
    gateway.runs(5).await;
}

#[tokio::test(start_paused = true)]
async fn a_delta_on_another_base_is_refused_and_the_stream_lives_on() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let _gateway = Gateway::start(&feed);
    let mut stream = streams.recv().await.unwrap();
    stream.hears_hello().await;
    let delta = Delta { base_version: 4, version: 5, nonce: "n1".into(), ..Default::default() };
    stream.say(EPOCH, M::Delta(delta)).await;
    refused_all(&mut stream, Code::BaseMismatch).await;
    stream.say(EPOCH, M::Ping(Ping { seq: 77 })).await;
    assert!(matches!(stream.hears().await, from_gateway::M::Pong(pong) if pong.seq == 77));
}

#[tokio::test(start_paused = true)]
async fn a_controller_of_an_earlier_epoch_is_fenced_off() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let mut gateway = Gateway::start(&feed);
    let stream = streams.recv().await.unwrap();
    for message in snapshot(5, rules(&["a"], "10.0.0.5")) {
        stream.say(EPOCH, message).await;
    }
    gateway.runs(5).await;
    drop(stream);

    let mut stale = streams.recv().await.unwrap();
    assert_eq!(stale.hears_hello().await.applied_epoch, EPOCH);
    stale.say(EPOCH - 1, M::Ping(Ping { seq: 1 })).await;
    refused_all(&mut stale, Code::StaleEpoch).await;
    let again = stale.from_gateway.message().await;
    assert!(!matches!(again, Ok(Some(_))), "the gateway hangs up: {again:?}");
    assert_eq!(gateway.workers.told().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_falls_silent_is_left_and_dialled_again() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let mut gateway = Gateway::start(&feed);
    let silent = streams.recv().await.unwrap();
    silent.say(EPOCH, M::Ping(Ping { seq: 1 })).await;
    let state = gateway.until("it hangs up", |state| state.counters.failures == 1).await;
    assert!(state.staleness() >= Duration::from_secs(30), "{:?}", state.staleness());
    assert!(state.last_error.unwrap().contains("said nothing for 30 s"));
    streams.recv().await.expect("it comes back");
}

#[tokio::test(start_paused = true)]
async fn rules_that_were_on_their_way_to_the_workers_are_in_force_though_the_feed_died() {
    let directory = tempfile::tempdir().unwrap();
    let (feed, mut streams, _server) = by_hand(&directory.path().join("feed.sock"));
    let mut gateway = Gateway::start(&feed);
    gateway.workers.hold(true);
    let mut stream = streams.recv().await.unwrap();
    stream.hears_hello().await;
    for message in snapshot(5, rules(&["a"], "10.0.0.5")) {
        stream.say(EPOCH, message).await;
    }
    while stream.hears_ack().await.stage() != Stage::Validated {}
    drop(stream);
    tokio::time::sleep(Duration::from_secs(5)).await;
    gateway.workers.hold(false);
    gateway.runs(5).await;
    let mut next = streams.recv().await.unwrap();
    let hello = next.hears_hello().await;
    assert_eq!((hello.applied_epoch, hello.applied_version), (EPOCH, 5));
    assert_eq!(gateway.workers.told().len(), 1);
}

/// A gateway played by the test.
async fn dial(
    path: &std::path::Path,
    hello: Hello,
) -> Result<tonic::Streaming<feed::wire::ToGateway>, tonic::Status> {
    let path = path.to_owned();
    let connect = tower::service_fn(move |_| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel =
        tonic::transport::Endpoint::from_static("http://test").connect_with_connector(connect).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let hello = feed::wire::FromGateway { m: Some(from_gateway::M::Hello(hello)) };
    sender.send(hello).await.unwrap();
    // The stream stays open, and nothing more is said on it.
    std::mem::forget(sender);
    let mut client = feed::wire::feed_client::FeedClient::new(channel);
    let stream = client.stream(tokio_stream::wrappers::ReceiverStream::new(receiver)).await?;
    Ok(stream.into_inner())
}

async fn end_of(mut stream: tonic::Streaming<feed::wire::ToGateway>) -> tonic::Status {
    let end = async {
        loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the stream ended without a word"),
                Err(status) => return status,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), end).await.expect("the stream never ended")
}

#[tokio::test]
async fn a_gateway_that_is_silent_or_of_another_protocol_is_sent_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("feed.sock");
    let mut controller = Controller::configured(ServerConfig {
        epoch: EPOCH,
        ping_every: Duration::from_millis(50),
        silence: Duration::from_millis(300),
        ..ServerConfig::default()
    });
    controller.listen(feed::Listener::bind(&feed::FeedAddress::Unix(path.clone())).await.unwrap());
    let hello = Hello { node_id: "gw9".into(), proto_min: 1, proto_max: 1, ..Default::default() };

    let silent = dial(&path, hello.clone()).await.unwrap();
    controller.until("it is there", |state| state.gateways.len() == 1).await;
    assert_eq!(end_of(silent).await.message(), "the gateway was silent");
    controller.until("it is gone", |state| state.gateways.is_empty()).await;

    let newer = dial(&path, Hello { proto_min: 2, proto_max: 3, ..hello.clone() }).await.unwrap();
    assert_eq!(end_of(newer).await.code(), tonic::Code::FailedPrecondition);
    let ahead = dial(&path, Hello { applied_epoch: EPOCH + 1, ..hello }).await.unwrap();
    let status = end_of(ahead).await;
    assert!(status.message().contains("behind"), "{status:?}");
}
