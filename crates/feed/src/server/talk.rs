//! The stream of one gateway: reads, sends, pings, and notices when nobody is there any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{GatewayState, LOGGED_MAX, ServerConfig, Shared};
use crate::catalog::Catalog;
use crate::conversation::{Conversation, Next, Outcome};
use crate::reject::Reject;
use crate::wire::feed_server::Feed;
use crate::wire::{Ack, FromGateway, Hello, Ping, ToGateway, from_gateway, to_gateway};
use crate::{PROTOCOL, decode};

/// Who opens a stream introduces itself within this time.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait for the network; more wait in the catalog, where they cost nothing.
const QUEUE_MESSAGES: usize = 2;

/// The gRPC service.
#[derive(Debug)]
pub(super) struct FeedService {
    config: ServerConfig,
    shared: Arc<Shared>,
    closing: watch::Receiver<bool>,
}

impl FeedService {
    pub(super) fn new(config: ServerConfig, shared: Arc<Shared>, closing: watch::Receiver<bool>) -> Self {
        Self { config, shared, closing }
    }
}

#[tonic::async_trait]
impl Feed for FeedService {
    type StreamStream = ReceiverStream<Result<ToGateway, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<FromGateway>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (outbound, messages) = mpsc::channel(QUEUE_MESSAGES);
        let talk = Talk {
            config: self.config,
            shared: Arc::clone(&self.shared),
            number: self.shared.next_stream(),
            node_id: String::new(),
            outbound: outbound.clone(),
            pings: 0,
        };
        let mut closing = self.closing.clone();
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = talk.run(request.into_inner()) => ended,
                _ = closing.wait_for(|closing| *closing) => Err(Status::unavailable("the feed shuts down")),
            };
            if let Err(status) = ended {
                let _ = outbound.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

struct Talk {
    config: ServerConfig,
    shared: Arc<Shared>,
    number: u64,
    node_id: String,
    outbound: mpsc::Sender<Result<ToGateway, Status>>,
    pings: u64,
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.shared.state.send_if_modified(|state| state.gateways.remove(&self.number).is_some());
    }
}

impl Talk {
    async fn run(mut self, mut inbound: Streaming<FromGateway>) -> Result<(), Status> {
        let hello = self.hello(&mut inbound).await?;
        let mut catalogs = self.shared.catalog.subscribe();
        let mut conversation = Conversation::new(&hello, &catalogs.borrow());
        let gateway = GatewayState {
            node_id: self.node_id.clone(),
            programmed_version: conversation.base().unwrap_or(0),
            rejects: Vec::new(),
        };
        self.shared.state.send_modify(|state| {
            state.gateways.insert(self.number, gateway);
        });
        let mut ticks = tokio::time::interval(self.config.ping_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let catalog = Arc::clone(&catalogs.borrow_and_update());
            match conversation.next(&catalog) {
                None => {}
                Some(Next::Delta(delta)) => self.send(to_gateway::M::Delta(delta)).await?,
                Some(Next::Snapshot) => self.send_snapshot(&catalog).await?,
            }
            tokio::select! {
                message = inbound.message() => {
                    let Some(message) = message? else {
                        tracing::info!(node = self.node_id, "gateway left");
                        return Ok(());
                    };
                    heard = Instant::now();
                    if let Some(from_gateway::M::Ack(ack)) = message.m {
                        let outcome = conversation.answered(&ack);
                        self.note(&ack, outcome);
                    }
                }
                _ = catalogs.changed() => {}
                _ = ticks.tick() => {
                    if heard.elapsed() > self.config.silence {
                        tracing::warn!(node = self.node_id, "gateway is silent, its stream is closed");
                        return Err(Status::deadline_exceeded("the gateway was silent"));
                    }
                    self.pings += 1;
                    self.send(to_gateway::M::Ping(Ping { seq: self.pings })).await?;
                }
            }
        }
    }

    async fn hello(&mut self, inbound: &mut Streaming<FromGateway>) -> Result<Hello, Status> {
        let first = timeout(HELLO_WITHIN, inbound.message())
            .await
            .map_err(|_| Status::deadline_exceeded("no Hello came"))??;
        let Some(FromGateway { m: Some(from_gateway::M::Hello(hello)) }) = first else {
            return Err(Status::failed_precondition("the first message has to be a Hello"));
        };
        if !(hello.proto_min..=hello.proto_max).contains(&PROTOCOL) {
            let (min, max) = (hello.proto_min, hello.proto_max);
            let message = format!("this feed speaks version {PROTOCOL}, the gateway {min} to {max}");
            return Err(Status::failed_precondition(message));
        }
        // The id goes to logs as it is, so it must not be anything.
        self.node_id = hello.node_id.escape_debug().take(64).collect();
        if hello.applied_epoch > self.config.epoch {
            let (ours, theirs) = (self.config.epoch, hello.applied_epoch);
            tracing::error!(
                node = self.node_id,
                ours,
                theirs,
                "the gateway has followed a newer feed than this one"
            );
            let message = format!("epoch {ours} of this feed is behind the gateway's {theirs}");
            return Err(Status::failed_precondition(message));
        }
        let (node, applied) = (&self.node_id, hello.applied_version);
        tracing::info!(
            node,
            version = hello.version.escape_debug().to_string(),
            applied,
            "gateway connected"
        );
        Ok(hello)
    }

    async fn send_snapshot(&self, catalog: &Catalog) -> Result<(), Status> {
        for message in catalog.snapshot() {
            self.send(message).await?;
        }
        Ok(())
    }

    /// A gateway that reads nothing for too long is as good as gone.
    async fn send(&self, message: to_gateway::M) -> Result<(), Status> {
        let message = ToGateway { epoch: self.config.epoch, m: Some(message) };
        match timeout(self.config.silence, self.outbound.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the gateway is gone")),
            Err(_) => Err(Status::deadline_exceeded("the gateway reads nothing")),
        }
    }

    /// Shows what a gateway answered.
    fn note(&self, ack: &Ack, outcome: Outcome) {
        let node = &self.node_id;
        let version = ack.version;
        if outcome == Outcome::Underway && ack.rejects.is_empty() {
            return;
        }
        let rejects: Vec<Reject> = ack.rejects.iter().map(decode::reject).collect();
        if ack.stage() != crate::wire::ack::Stage::Programmed || ack.rejected_all {
            for reject in rejects.iter().take(LOGGED_MAX) {
                tracing::warn!(
                    node,
                    version,
                    kept_revision = reject.kept_revision,
                    "gateway refused: {reject}"
                );
            }
        }
        match outcome {
            Outcome::Programmed => {
                let (validate_us, program_us) = (ack.validate_us, ack.program_us);
                tracing::info!(
                    node,
                    version,
                    rejects = rejects.len(),
                    validate_us,
                    program_us,
                    "gateway programmed"
                );
            }
            Outcome::Refused => tracing::warn!(node, version, "gateway took nothing of it"),
            Outcome::Underway => return,
        }
        self.shared.state.send_modify(|state| {
            if let Some(gateway) = state.gateways.get_mut(&self.number) {
                gateway.rejects = rejects;
                if outcome == Outcome::Programmed {
                    gateway.programmed_version = version;
                }
            }
        });
    }
}
