//! The controller's side: serves one set of rules to any number of gateways.
//!
//! A [`Source`] says what the rules are, through a [`Publisher`]; every gateway has a task that tells it what changed
//! ([`conversation`](crate::conversation)). Between them stands one immutable catalog, replaced as a whole, so a source
//! never waits for a gateway nor a gateway for another.

mod talk;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rules::model::Rules;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use crate::address::Listener;
use crate::catalog::Catalog;
use crate::reject::Reject;
use crate::wire::feed_server::FeedServer;

/// Acks carry rejects; no gateway has more to say than this.
const FROM_GATEWAY_BYTES_MAX: usize = 16 << 20;
/// How long gateways have to take leave at shutdown.
const LEAVE: Duration = Duration::from_secs(1);
/// Between attempts to accept while the process has no descriptors left.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// So many faults are logged one by one; the rest are counted.
pub(crate) const LOGGED_MAX: usize = 50;

/// Where rules come from: a file, and one day a database.
pub trait Source {
    /// Publishes the rules, then every change of them, until it is dropped.
    fn run(self, publisher: Publisher) -> impl Future<Output = ()> + Send;
}

/// How a server behaves.
#[derive(Clone, Copy, Debug)]
pub struct ServerConfig {
    /// The server's term: gateways refuse a lower one than they have seen.
    pub epoch: u64,
    /// Lets changes through that remove a large part of the routers.
    pub confirm_mass_delete: bool,
    /// How often a gateway is asked whether it is there.
    pub ping_every: Duration,
    /// How long a gateway may say nothing.
    pub silence: Duration,
}

impl Default for ServerConfig {
    /// The epoch is the time of day in milliseconds, so that a restart has a higher one.
    fn default() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            epoch: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            confirm_mass_delete: false,
            ping_every: Duration::from_secs(10),
            silence: Duration::from_secs(30),
        }
    }
}

impl ServerConfig {
    /// The default, with an epoch above `epoch` even where the clock went backwards: for a server whose only gateway is
    /// its own process, and whose last good rules say what it followed before.
    pub fn after(epoch: u64) -> Self {
        let default = Self::default();
        Self { epoch: default.epoch.max(epoch.saturating_add(1)), ..default }
    }
}

/// Rules that were not taken over, with all that is wrong with them. Those served before still are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Where they came from, such as a file's path.
    pub source: String,
    /// Everything that is wrong.
    pub rejects: Vec<Reject>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.rejects.len();
        write!(f, "{}: {count} fault{}", self.source, if count == 1 { "" } else { "s" })?;
        self.rejects.iter().try_for_each(|reject| write!(f, "\n  {reject}"))
    }
}

impl std::error::Error for Refusal {}

/// What a server knows of itself, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerState {
    /// Its term.
    pub epoch: u64,
    /// The version served; 0 before anything was published.
    pub version: u64,
    /// How many objects that is.
    pub objects: usize,
    /// Why the newest rules are not the ones served; `None` where they are.
    pub last_refusal: Option<Refusal>,
    /// The gateways connected now, by the number of their stream.
    pub gateways: BTreeMap<u64, GatewayState>,
}

/// What a server knows of one gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayState {
    /// What it calls itself.
    pub node_id: String,
    /// What every worker of it runs; 0 before it said so.
    pub programmed_version: u64,
    /// What it refused of the last version it answered to.
    pub rejects: Vec<Reject>,
}

#[derive(Debug)]
struct Shared {
    catalog: watch::Sender<Arc<Catalog>>,
    state: watch::Sender<ServerState>,
    streams: AtomicU64,
}

/// A server of rules.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    shared: Arc<Shared>,
}

/// Replaces the rules that a server serves. Cloned freely.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Shared>);

impl Server {
    /// A server with nothing to say yet: gateways that connect wait for the first rules.
    pub fn new(config: ServerConfig) -> Self {
        let state = ServerState { epoch: config.epoch, ..ServerState::default() };
        let catalog = Catalog::new(config.epoch, config.confirm_mass_delete);
        let shared = Shared {
            catalog: watch::Sender::new(Arc::new(catalog)),
            state: watch::Sender::new(state),
            streams: AtomicU64::new(0),
        };
        Self { config, shared: Arc::new(shared) }
    }

    /// For the source of the rules.
    pub fn publisher(&self) -> Publisher {
        Publisher(Arc::clone(&self.shared))
    }

    /// For whoever shows the server's state.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.shared.state.subscribe()
    }

    /// Serves gateways that come by `listener` until `shutdown`, then takes leave of them.
    ///
    /// # Errors
    /// The transport gave up. Single connections never make it do so.
    pub async fn serve(
        &self,
        mut listener: Listener,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let (closing, closed) = watch::channel(false);
        let service = talk::FeedService::new(self.config, Arc::clone(&self.shared), closed.clone());
        let service = FeedServer::new(service).max_decoding_message_size(FROM_GATEWAY_BYTES_MAX);
        let (connections, incoming) = mpsc::channel(1);
        let accept = async {
            while let Some(connection) = listener.accept().await {
                match connection {
                    Ok(connection) => {
                        let _ = connections.send(connection).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot accept a gateway");
                        tokio::time::sleep(ACCEPT_AGAIN).await;
                    }
                }
            }
            // Nobody can come any more, but those who are there stay.
            std::future::pending::<()>().await;
        };
        let mut until = closed;
        let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming_shutdown(
            ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>),
            async move {
                let _ = until.wait_for(|closing| *closing).await;
            },
        );
        let stop = async {
            tokio::select! {
                () = accept => {}
                () = shutdown => {}
            }
            closing.send_replace(true);
            tokio::time::sleep(LEAVE).await;
        };
        tokio::select! {
            served = serving => served,
            () = stop => Ok(()),
        }
    }
}

impl Publisher {
    /// Replaces the rules; gateways are told what changed. Returns the version that is served now, which is the same as
    /// before where nothing changed. `source` is named in logs.
    ///
    /// # Errors
    /// Everything that is wrong with the rules; those served before still are.
    pub fn publish(&self, source: &str, rules: Rules) -> Result<u64, Refusal> {
        let refused = |rejects| {
            let refusal = Refusal { source: source.to_owned(), rejects };
            self.refuse(refusal.clone());
            refusal
        };
        // A controller does not know the gateways' ports; they answer for themselves.
        let mut ports: Vec<String> = rules.segments.iter().map(|segment| segment.port.clone()).collect();
        ports.sort();
        ports.dedup();
        if let Err(faults) = rules::validate(&rules, &ports) {
            return Err(refused(faults.into_iter().map(Reject::from).collect()));
        }
        let served = Arc::clone(&self.0.catalog.borrow());
        let version = match served.next(rules).map_err(refused)? {
            None => served.version(),
            Some(next) => {
                let (version, objects) = (next.version(), next.objects());
                tracing::info!(source, version, objects, "rules published");
                self.0.state.send_modify(|state| (state.version, state.objects) = (version, objects));
                self.0.catalog.send_replace(Arc::new(next));
                version
            }
        };
        self.0.state.send_if_modified(|state| state.last_refusal.take().is_some());
        Ok(version)
    }

    /// Says that there are rules, but that they cannot be served.
    pub fn refuse(&self, refusal: Refusal) {
        tracing::error!(
            source = refusal.source,
            faults = refusal.rejects.len(),
            "rules refused, the old ones stay"
        );
        for reject in refusal.rejects.iter().take(LOGGED_MAX) {
            tracing::error!(source = refusal.source, "{reject}");
        }
        self.0.state.send_modify(|state| state.last_refusal = Some(refusal));
    }
}

impl Shared {
    fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }
}
