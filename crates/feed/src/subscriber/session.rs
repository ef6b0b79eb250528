//! One connection to a feed, from Hello to whatever ends it.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{Programmed, Subscriber};
use crate::address::FeedAddress;
use crate::backoff::Backoff;
use crate::program::Program;
use crate::reject::{Code, Reject};
use crate::replica::{Judged, Verdict};
use crate::staging::Staging;
use crate::wire::ack::Stage;
use crate::wire::feed_client::FeedClient;
use crate::wire::{Ack, FromGateway, Hello, Pong, ToGateway, from_gateway, to_gateway};
use crate::{PROTOCOL, encode};

/// What this gateway does beyond the first version of the .proto: a controller must not send it to one that does not, as
/// unknown fields are ignored. docs/feed.md says which fields belong to each.
const FEATURES: [&str; 7] = [
    "gateways",
    "pool-behaviour",
    "port-forwarding",
    "tcp-rules",
    "timeouts-by-port",
    "unsolicited-syn",
    "idle-reset",
];

/// A feed answers the Hello within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A feed takes leave within this time.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);
/// Twice the largest object, which comes alone in its message.
const TO_GATEWAY_BYTES_MAX: usize = 16 << 20;
/// Answers that wait for the network. A feed that reads none of so many is dead.
const ANSWERS_MAX: usize = 64;
/// Messages that are put aside while rules are programmed; more wait in the network.
const ASIDE_MAX: usize = 16;
/// So many faults are answered one by one: what a feed can take in one message, many times over what a person reads.
const REJECTS_MAX: usize = 10_000;

/// Why a connection ended, or could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum SessionError {
    #[error("cannot connect: {0}")]
    Dial(String),
    #[error("it closed the stream: {0}")]
    Closed(String),
    #[error("it has said nothing for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("its epoch {theirs} is behind {ours}, which this gateway has followed")]
    StaleEpoch { ours: u64, theirs: u64 },
    #[error("it does not read the answers")]
    NotReading,
}

/// One connection.
pub(super) struct Session {
    inbound: Streaming<ToGateway>,
    /// What came while rules were programmed.
    aside: VecDeque<ToGateway>,
    answers: mpsc::Sender<FromGateway>,
    staging: Option<Staging>,
}

/// What an answer is about.
struct Subject {
    version: u64,
    nonce: String,
}

impl Session {
    pub(super) async fn open<P: Program>(
        subscriber: &Subscriber<P>,
        feed: &FeedAddress,
    ) -> Result<Self, SessionError> {
        let channel = timeout(ANSWER_WITHIN, feed.dial())
            .await
            .map_err(|_| SessionError::Dial("no answer".into()))?
            .map_err(|error| SessionError::Dial(chain(&error)))?;
        let mut client = FeedClient::new(channel).max_decoding_message_size(TO_GATEWAY_BYTES_MAX);
        let (answers, outbound) = mpsc::channel(ANSWERS_MAX);
        let hello = Hello {
            node_id: subscriber.config.node_id.clone(),
            boot_id: subscriber.boot_id.clone(),
            version: subscriber.config.version.clone(),
            proto_min: PROTOCOL,
            proto_max: PROTOCOL,
            features: FEATURES.map(str::to_owned).to_vec(),
            applied_epoch: subscriber.replica.epoch(),
            applied_version: subscriber.replica.version(),
            applied_digest: subscriber.digest(),
        };
        // The channel is new and has room.
        let _ = answers.try_send(FromGateway { m: Some(from_gateway::M::Hello(hello)) });
        let inbound = timeout(ANSWER_WITHIN, client.stream(ReceiverStream::new(outbound)))
            .await
            .map_err(|_| SessionError::Dial("no answer to the Hello".into()))?
            .map_err(|status| SessionError::Closed(status.message().to_owned()))?
            .into_inner();
        Ok(Self { inbound, aside: VecDeque::new(), answers, staging: None })
    }

    /// Follows the feed until the connection ends.
    pub(super) async fn follow<P: Program>(
        mut self,
        subscriber: &mut Subscriber<P>,
        feed: &FeedAddress,
        backoff: &mut Backoff,
    ) -> SessionError {
        loop {
            if let Err(error) = self.step(subscriber, feed, backoff).await {
                if matches!(error, SessionError::StaleEpoch { .. }) {
                    self.take_leave().await;
                }
                return error;
            }
        }
    }

    /// Lets the last answer get through: a connection that is dropped takes along what is on its way.
    async fn take_leave(mut self) {
        drop(self.answers);
        let _ = timeout(LEAVE_WITHIN, async { while next(&mut self.inbound).await.is_ok() {} }).await;
    }

    async fn step<P: Program>(
        &mut self,
        subscriber: &mut Subscriber<P>,
        feed: &FeedAddress,
        backoff: &mut Backoff,
    ) -> Result<(), SessionError> {
        let silence = subscriber.config.silence;
        let message = match self.aside.pop_front() {
            Some(message) => message,
            None => timeout(silence, next(&mut self.inbound))
                .await
                .map_err(|_| SessionError::Silent(silence))??,
        };
        self.heard(subscriber, feed, &message)?;
        backoff.reset();
        let epoch = message.epoch;
        match message.m {
            Some(to_gateway::M::Ping(ping)) => self.pong(ping.seq, subscriber.replica.version()),
            Some(to_gateway::M::Begin(begin)) => {
                self.staging = Some(Staging::begin(epoch, &begin));
                Ok(())
            }
            Some(to_gateway::M::Chunk(chunk)) => {
                // Without a beginning: the rest of a snapshot that was refused at an earlier part.
                let Some(staging) = &mut self.staging else { return Ok(()) };
                let Err(rejects) = staging.add(&chunk) else { return Ok(()) };
                let subject = Subject { version: staging.version(), nonce: String::new() };
                self.staging = None;
                self.refuse(subscriber, subject, rejects)
            }
            Some(to_gateway::M::End(end)) => {
                let Some(staging) = self.staging.take() else { return Ok(()) };
                let subject = Subject { version: staging.version(), nonce: String::new() };
                self.answer(Ack::of(&subject, Stage::Received))?;
                let started = Instant::now();
                let verdict = match staging.end(&end) {
                    Ok(snapshot) => subscriber.replica.judge_snapshot(snapshot),
                    Err(rejects) => Verdict::Refused(rejects),
                };
                subscriber.count(|counters| counters.snapshots += 1);
                self.take(subscriber, subject, verdict, started.elapsed()).await
            }
            Some(to_gateway::M::Delta(delta)) => {
                let subject = Subject { version: delta.version, nonce: delta.nonce.clone() };
                self.answer(Ack::of(&subject, Stage::Received))?;
                let started = Instant::now();
                let verdict = subscriber.replica.judge_delta(epoch, &delta);
                subscriber.count(|counters| counters.deltas += 1);
                self.take(subscriber, subject, verdict, started.elapsed()).await
            }
            // A message that a later version of the protocol added: the feed was told that we speak this one.
            None => Ok(()),
        }
    }

    /// Notes the contact, and fences off a feed whose time is over.
    fn heard<P: Program>(
        &mut self,
        subscriber: &mut Subscriber<P>,
        feed: &FeedAddress,
        message: &ToGateway,
    ) -> Result<(), SessionError> {
        let (ours, theirs) = (subscriber.replica.fence(message.epoch), message.epoch);
        if theirs < ours {
            let error = SessionError::StaleEpoch { ours, theirs };
            let reject = Reject::all(Code::StaleEpoch, error.to_string());
            let _ = self.refuse(subscriber, Subject { version: 0, nonce: String::new() }, vec![reject]);
            return Err(error);
        }
        subscriber.state.send_modify(|state| {
            if state.connected.is_none() {
                tracing::info!(%feed, epoch = theirs, "feed connected");
                state.connected = Some(feed.to_string());
                state.last_error = None;
                state.counters.connections += 1;
            }
            state.last_contact = Some(Instant::now());
        });
        Ok(())
    }

    /// Programs what was judged good, and answers.
    async fn take<P: Program>(
        &mut self,
        subscriber: &mut Subscriber<P>,
        subject: Subject,
        verdict: Verdict,
        validated_in: Duration,
    ) -> Result<(), SessionError> {
        let judged = match verdict {
            Verdict::Refused(rejects) => return self.refuse(subscriber, subject, rejects),
            Verdict::Taken(judged) => judged,
        };
        let mut ack = Ack::of(&subject, Stage::Validated);
        ack.rejects = judged.rejects.iter().take(REJECTS_MAX).map(encode::reject).collect();
        ack.accepted = judged.accepted;
        ack.validate_us = micros(validated_in);
        subscriber.note(&judged.rejects, judged.stale);
        self.answer(ack.clone())?;

        let mut generation = None;
        let mut broken = None;
        if judged.changed {
            let started = Instant::now();
            let programmed;
            (programmed, broken) = self.program(subscriber, &judged).await;
            ack.program_us = micros(started.elapsed());
            match programmed {
                Ok(number) => generation = Some(number),
                Err(error) => {
                    let reject = Reject::all(Code::Internal, error.to_string());
                    return broken.map_or_else(|| self.refuse(subscriber, subject, vec![reject]), Err);
                }
            }
        } else {
            subscriber.count(|counters| counters.unchanged += 1);
        }

        subscriber.adopt(judged, generation);
        subscriber.state.send_modify(|state| state.from_disk = false);
        let (epoch, version) = (subscriber.replica.epoch(), subscriber.replica.version());
        tracing::info!(epoch, version, generation, rejects = ack.rejects.len(), "rules programmed");
        subscriber.to_save.send_replace(Some((epoch, version, subscriber.replica.rules().clone())));
        if let Some(error) = broken {
            return Err(error);
        }
        ack.stage = Stage::Programmed.into();
        ack.applied_digest = subscriber.digest();
        self.answer(ack)
    }

    /// Waits for the workers. Pings are answered meanwhile; a connection that breaks meanwhile does not stop it, because
    /// workers that run the new rules cannot be told otherwise.
    async fn program<P: Program>(
        &mut self,
        subscriber: &mut Subscriber<P>,
        judged: &Judged,
    ) -> (Programmed, Option<SessionError>) {
        let version = subscriber.replica.version();
        let mut programming = pin!(subscriber.program.program(judged.rules()));
        let mut broken = None;
        loop {
            tokio::select! {
                programmed = &mut programming => return (programmed, broken),
                message = next(&mut self.inbound), if broken.is_none() && self.aside.len() < ASIDE_MAX => {
                    match message {
                        Ok(ToGateway { m: Some(to_gateway::M::Ping(ping)), .. }) => {
                            broken = self.pong(ping.seq, version).err();
                        }
                        Ok(message) => self.aside.push_back(message),
                        Err(error) => broken = Some(error),
                    }
                }
            }
        }
    }

    fn refuse<P: Program>(
        &mut self,
        subscriber: &mut Subscriber<P>,
        subject: Subject,
        rejects: Vec<Reject>,
    ) -> Result<(), SessionError> {
        subscriber.note(&rejects, 0);
        subscriber.count(|counters| counters.refused += 1);
        let mut ack = Ack::of(&subject, Stage::Validated);
        ack.rejects = rejects.iter().take(REJECTS_MAX).map(encode::reject).collect();
        ack.rejected_all = true;
        ack.applied_digest = subscriber.digest();
        self.answer(ack)
    }

    fn pong(&self, seq: u64, applied_version: u64) -> Result<(), SessionError> {
        self.say(from_gateway::M::Pong(Pong { seq, applied_version }))
    }

    fn answer(&self, ack: Ack) -> Result<(), SessionError> {
        self.say(from_gateway::M::Ack(ack))
    }

    fn say(&self, message: from_gateway::M) -> Result<(), SessionError> {
        self.answers.try_send(FromGateway { m: Some(message) }).map_err(|_| SessionError::NotReading)
    }
}

async fn next(inbound: &mut Streaming<ToGateway>) -> Result<ToGateway, SessionError> {
    match inbound.message().await {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(SessionError::Closed("it is done".into())),
        Err(status) => Err(SessionError::Closed(status.message().to_owned())),
    }
}

impl Ack {
    fn of(subject: &Subject, stage: Stage) -> Self {
        Self {
            version: subject.version,
            nonce: subject.nonce.clone(),
            stage: stage.into(),
            ..Self::default()
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// An error with what caused it: transport errors say nothing alone.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // Some errors repeat their cause.
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
