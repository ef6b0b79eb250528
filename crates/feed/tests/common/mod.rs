//! A feed and a gateway for tests: rules as text, workers that note what they run, and controllers that misbehave.

#![allow(dead_code, missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use feed::wire::feed_server::{Feed, FeedServer};
use feed::wire::{FromGateway, ToGateway, to_gateway};
use feed::{
    FeedAddress, FeedState, Listener, Program, ProgramError, Publisher, Server, ServerConfig, ServerState,
    Subscriber, SubscriberConfig,
};
use rules::{Rules, Valid};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

pub const EPOCH: u64 = 1_000;
pub const PORT: &str = "p0";

/// Rules with a router per name, each of the same subnet, on VLANs 1 and up. `web` is where floating IPs lead to.
pub fn rules_text(routers: &[&str], web: &str) -> String {
    let mut text = format!("segments:\n- {{id: internet, port: {PORT}}}\n");
    for at in 0..routers.len() {
        text += &format!("- {{id: net{at}, port: {PORT}, vlan: {}}}\n", at + 1);
    }
    text += "routers:\n";
    for (at, id) in routers.iter().enumerate() {
        let (high, low) = (at / 200, at % 200 + 1);
        text += &format!(
            "- id: {id}
  interfaces:
  - {{id: in, segment: net{at}, mac: '02:01:00:00:00:{low:02x}', addresses: [10.0.0.1/24]}}
  - {{id: out, segment: internet, mac: '02:02:00:00:{high:02x}:{low:02x}', addresses: [198.18.{high}.{low}/15], external: true}}
  gateways: [{{interface: out, next_hop: 198.19.255.254}}]
  floating_ips: [{{id: web, external: 198.19.{high}.{low}, internal: {web}}}]
"
        );
    }
    text
}

pub fn rules(routers: &[&str], web: &str) -> Rules {
    rules::read_rules(&rules_text(routers, web)).unwrap()
}

/// What the workers were told: the generation, and the routers with the internal address of their floating IP.
pub type Told = (u64, Vec<(String, String)>);

/// Workers that note what they are told, and adopt it when they are let.
#[derive(Clone)]
pub struct Workers {
    told: Arc<Mutex<Vec<Told>>>,
    let_go: Arc<watch::Sender<bool>>,
    broken: Arc<Mutex<bool>>,
}

impl Workers {
    pub fn new() -> Self {
        Self { told: Arc::default(), let_go: Arc::new(watch::Sender::new(true)), broken: Arc::default() }
    }

    /// Holds the adoption of what comes next, or lets it go on.
    pub fn hold(&self, hold: bool) {
        self.let_go.send_replace(!hold);
    }

    pub fn break_down(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    /// The routers of the newest rules.
    pub fn routers(&self) -> Vec<(String, String)> {
        self.told().pop().map(|(_, routers)| routers).unwrap_or_default()
    }
}

impl Program for Workers {
    async fn program(&mut self, rules: &Valid) -> Result<u64, ProgramError> {
        if *self.broken.lock().unwrap() {
            return Err(ProgramError("worker 3 is on fire".into()));
        }
        let web = |router: &rules::model::Router| router.floating_ips[0].internal.to_string();
        let routers = rules.routers().iter().map(|one| (one.id.clone(), web(one))).collect();
        let generation = {
            let mut told = self.told.lock().unwrap();
            let generation = told.len() as u64 + 1;
            told.push((generation, routers));
            generation
        };
        let mut let_go = self.let_go.subscribe();
        let_go.wait_for(|let_go| *let_go).await.unwrap();
        Ok(generation)
    }
}

/// Waits until something is so. Time is virtual where tests pause it; a minute is for ever either way.
pub async fn until<T: Clone + std::fmt::Debug>(
    state: &mut watch::Receiver<T>,
    what: &str,
    is_so: impl Fn(&T) -> bool,
) -> T {
    let found =
        match tokio::time::timeout(Duration::from_secs(120), state.wait_for(|state| is_so(state))).await {
            Ok(state) => Some(state.expect("the sender lives").clone()),
            Err(_) => None,
        };
    found.unwrap_or_else(|| panic!("never so: {what}; {:#?}", state.borrow()))
}

/// A task that ends with the test.
pub struct Running(pub JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A gateway that follows feeds.
pub struct Gateway {
    pub workers: Workers,
    pub state: watch::Receiver<FeedState>,
    task: Running,
}

impl Gateway {
    pub fn start(feed: &FeedAddress) -> Self {
        Self::configured(feed, |_| {})
    }

    pub fn configured(feed: &FeedAddress, configure: impl FnOnce(&mut SubscriberConfig)) -> Self {
        Self::with_workers(feed, Workers::new(), configure)
    }

    pub fn with_workers(
        feed: &FeedAddress,
        workers: Workers,
        configure: impl FnOnce(&mut SubscriberConfig),
    ) -> Self {
        let mut config = SubscriberConfig::new("gw1", vec![feed.clone()], vec![PORT.to_owned()]);
        configure(&mut config);
        let subscriber = Subscriber::new(config, workers.clone());
        let state = subscriber.state();
        let task = Running(tokio::spawn(async move {
            subscriber.run().await;
        }));
        Self { workers, state, task }
    }

    pub async fn until(&mut self, what: &str, is_so: impl Fn(&FeedState) -> bool) -> FeedState {
        until(&mut self.state, what, is_so).await
    }

    pub async fn runs(&mut self, version: u64) -> FeedState {
        self.until(&format!("version {version} runs"), |state| state.version == version).await
    }
}

/// A feed as shipped.
pub struct Controller {
    pub publisher: Publisher,
    pub state: watch::Receiver<ServerState>,
    server: Arc<Server>,
    serving: Option<(oneshot::Sender<()>, Running)>,
}

impl Controller {
    pub fn new(epoch: u64) -> Self {
        Self::configured(ServerConfig { epoch, ..ServerConfig::default() })
    }

    pub fn configured(config: ServerConfig) -> Self {
        let server = Arc::new(Server::new(config));
        Self { publisher: server.publisher(), state: server.state(), server, serving: None }
    }

    pub fn listen(&mut self, listener: Listener) {
        let (stop, stopped) = oneshot::channel::<()>();
        let server = Arc::clone(&self.server);
        let task = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.serve(listener, stopped).await.unwrap();
        });
        self.serving = Some((stop, Running(task)));
    }

    pub fn listen_in_process(&mut self) -> FeedAddress {
        let (listener, address) = Listener::in_process();
        self.listen(listener);
        address
    }

    /// Stops serving, and waits until it has stopped.
    pub async fn stop(&mut self) {
        let (stop, mut task) = self.serving.take().expect("it serves");
        let _ = stop.send(());
        (&mut task.0).await.unwrap();
    }

    pub async fn until(&mut self, what: &str, is_so: impl Fn(&ServerState) -> bool) -> ServerState {
        until(&mut self.state, what, is_so).await
    }

    pub async fn knows_programmed(&mut self, version: u64) -> ServerState {
        self.until(&format!("a gateway programmed {version}"), |state| {
            state.gateways.values().any(|gateway| gateway.programmed_version == version)
        })
        .await
    }
}

/// A stream as a hand-made controller has it.
pub struct Stream {
    pub from_gateway: Streaming<FromGateway>,
    pub to_gateway: mpsc::Sender<Result<ToGateway, Status>>,
}

impl Stream {
    pub async fn say(&self, epoch: u64, message: to_gateway::M) {
        self.to_gateway.send(Ok(ToGateway { epoch, m: Some(message) })).await.unwrap();
    }

    pub async fn hears(&mut self) -> feed::wire::from_gateway::M {
        let message = tokio::time::timeout(Duration::from_secs(60), self.from_gateway.message()).await;
        message.expect("nothing heard").unwrap().expect("the gateway left").m.unwrap()
    }

    pub async fn hears_hello(&mut self) -> feed::wire::Hello {
        match self.hears().await {
            feed::wire::from_gateway::M::Hello(hello) => hello,
            other => panic!("no Hello: {other:?}"),
        }
    }

    pub async fn hears_ack(&mut self) -> feed::wire::Ack {
        match self.hears().await {
            feed::wire::from_gateway::M::Ack(ack) => ack,
            other => panic!("no Ack: {other:?}"),
        }
    }
}

struct ByHand(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Feed for ByHand {
    type StreamStream = ReceiverStream<Result<ToGateway, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<FromGateway>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (to_gateway, messages) = mpsc::channel(64);
        let stream = Stream { from_gateway: request.into_inner(), to_gateway };
        self.0.send(stream).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// A controller played by the test: the streams that gateways open, one by one.
pub fn by_hand(path: &std::path::Path) -> (FeedAddress, mpsc::Receiver<Stream>, Running) {
    let (sender, streams) = mpsc::channel(16);
    let incoming =
        tokio_stream::wrappers::UnixListenerStream::new(tokio::net::UnixListener::bind(path).unwrap());
    let task = tokio::spawn(async move {
        let server = tonic::transport::Server::builder().add_service(FeedServer::new(ByHand(sender)));
        server.serve_with_incoming(incoming).await.unwrap();
    });
    (FeedAddress::Unix(path.to_owned()), streams, Running(task))
}
