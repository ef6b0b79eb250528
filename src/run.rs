//! `natgate run`: from a configuration to a gateway that forwards, and back to nothing.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use control::{AdminServer, Limits, MetricsServer};
use dpdk::{Eal, Interrupts, WorkerPorts};
use feed::{FeedAddress, Subscriber, SubscriberConfig};
use nat::{Configuration, DropReason, PORTS_MAX, Shard, State};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use worker::{Idle, Sleep, Worker};

use crate::cli::Run;
use crate::config::{IdleConfig, NodeConfig};
use crate::edge;
use crate::embedded::Embedded;
use crate::fleet::{Fleet, Programmer};
use crate::ledger::Ledger;
use crate::node::{FeedView, GatewayNode, SAMPLE_EVERY};
use crate::region::{self, Opened, make_directory};

/// How often the log repeats that frames are dropped for a reason that has a cure.
const CURE_EVERY: Duration = Duration::from_secs(60);

/// How often the numbers of what was deleted are taken back, where nothing names them any more.
const RELEASE_EVERY: Duration = Duration::from_secs(60);

/// Runs the gateway until SIGTERM or SIGINT.
pub(crate) fn run(arguments: &Run) -> anyhow::Result<()> {
    let config = NodeConfig::read(&arguments.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments, config))
}

async fn serve(arguments: &Run, config: NodeConfig) -> anyhow::Result<()> {
    dpdk::log::send_to(|line| tracing::debug!(target: "dpdk", "{line}"));
    // What a living daemon holds is asked for first: a second one must not touch its devices, nor its flow state.
    make_directory(config.admin.parent())?;
    make_directory(Some(&config.state_dir))?;
    let admin = AdminServer::bind(&config.admin, Limits::default())?;
    let metrics = match config.metrics {
        Some(address) => Some(MetricsServer::bind(address).await?),
        None => None,
    };
    let saved = config.state_dir.join("rules.json");
    let (embedded, feeds) = rules_from(arguments, &config, &saved)?;
    let Opened { path, state, shards, takeover, warnings } = region::open(&config)?;
    let (mut edge, io) = edge::start(&config)?;
    edge.warnings.extend(warnings);
    if config.seed.is_some() {
        edge.warnings
            .push("the configuration has a `seed`: anyone can foresee the ports that are chosen".into());
    }
    let (fleet, threads) = start_workers(&config, &edge.eal, io, &state, shards, &mut edge.warnings)?;
    for warning in &edge.warnings {
        tracing::warn!("{warning}");
    }
    let ledger = Arc::new(Ledger::new(Arc::clone(&state)));

    let subscriber = Subscriber::new(
        SubscriberConfig {
            last_good: Some(saved),
            ..SubscriberConfig::new(config.node.clone(), feeds, config.port_names())
        },
        Programmer::new(Arc::clone(&fleet), Arc::clone(&ledger)),
    );
    let feed = FeedView { follower: subscriber.state(), server: embedded.as_ref().map(Embedded::state) };
    let node = Arc::new(GatewayNode::new(
        config.clone(),
        Arc::clone(&fleet),
        state,
        region::row(&path, &takeover),
        edge,
        feed,
    ));
    let (stopping, stopped) = watch::channel(false);
    let until_stop = || {
        let mut stopped = stopped.clone();
        async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }
    };
    tracing::info!(
        node = config.node,
        version = env!("CARGO_PKG_VERSION"),
        dpdk = dpdk::version(),
        "running"
    );
    let serving = async {
        tokio::join!(
            admin.serve(Arc::clone(&node), until_stop()),
            serve_metrics(metrics, Arc::clone(&node), until_stop()),
            serve_file(embedded, until_stop()),
        )
    };
    tokio::pin!(serving);
    tokio::select! {
        _ = &mut serving => anyhow::bail!("all servers ended"),
        never = subscriber.run() => match never {},
        () = watch_over(&node) => {}
        () = release(&ledger, &fleet) => {}
        signal = stop_signal() => tracing::info!(signal = signal?, "stopping"),
    }
    // Nobody follows the feed any more; clients at work get their answers, but not for ever.
    stopping.send_replace(true);
    let _ = tokio::time::timeout(Duration::from_secs(1), serving).await;
    stop_workers(&fleet, threads).await
}

/// The rules' way here: a feed, a file served by this same process, or only what is on disk.
fn rules_from(
    arguments: &Run,
    config: &NodeConfig,
    saved: &Path,
) -> anyhow::Result<(Option<Embedded>, Vec<FeedAddress>)> {
    if let Some(path) = &arguments.rules {
        let (embedded, address) = Embedded::new(path, saved);
        return Ok((Some(embedded), vec![address]));
    }
    match arguments.feed.as_ref().or(config.feed.as_ref()) {
        Some(address) => Ok((None, vec![address.parse::<FeedAddress>()?])),
        None => Ok((None, Vec::new())),
    }
}

type Threads = Vec<JoinHandle<(WorkerPorts, Vec<Shard>)>>;

fn start_workers(
    config: &NodeConfig,
    eal: &Eal,
    io: Vec<WorkerPorts>,
    state: &Arc<State>,
    shards: Vec<Shard>,
    warnings: &mut Vec<String>,
) -> anyhow::Result<(Arc<Fleet>, Threads)> {
    let mut checks_checksums = [false; PORTS_MAX];
    for (checks, port) in checks_checksums.iter_mut().zip(&config.ports) {
        // The kernel hands a neighbour's unfinished checksums through packet sockets, and the driver does not tell.
        *checks = port.device.starts_with("net_af_packet");
    }
    let idle = match config.idle {
        IdleConfig::Sleep => Idle::Sleep,
        IdleConfig::Spin => Idle::Spin,
        IdleConfig::Interrupt => Idle::Interrupt,
    };
    let configuration = Configuration { checks_checksums };
    let team = worker::team(state, shards, io, config.ports.len() as u8, &configuration);
    let (mut handles, mut threads) = (Vec::new(), Vec::new());
    for (index, ((worker, handle), core)) in team.into_iter().zip(config.workers.iter().copied()).enumerate()
    {
        handles.push(handle);
        let worker = if config.stage_clocks { worker.with_stage_clocks() } else { worker };
        let (eal, (began, begun)) = (eal.clone(), std::sync::mpsc::channel());
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let lcore = eal.register_this_thread(core);
            let sleeper = Sleeper::new(&worker, idle);
            let error = lcore.as_ref().err().map(ToString::to_string);
            let _ = began.send((error, sleeper.as_ref().err().map(ToString::to_string)));
            match sleeper {
                Ok(Some(mut sleeper)) => worker.run_with(idle, &mut sleeper),
                Ok(None) => worker.run(idle),
                Err(_) => worker.run(Idle::Sleep),
            }
        })?;
        threads.push(thread);
        let (error, wakeless) = begun.recv().unwrap_or_default();
        if let Some(error) = error {
            anyhow::bail!("worker {index} cannot run on core {core}: {error}");
        }
        let warning = |error| format!("worker {index} sleeps without being woken by its ports: {error}");
        warnings.extend(wakeless.map(warning));
    }
    Ok((Arc::new(Fleet::new(handles, &config.port_names())), threads))
}

/// Waits for the receive interrupts of a worker's ports.
struct Sleeper(Interrupts);

impl Sleeper {
    /// Where the worker is to be woken by them. On its own thread.
    fn new(worker: &Worker<WorkerPorts>, idle: Idle) -> anyhow::Result<Option<Self>> {
        if idle != Idle::Interrupt {
            return Ok(None);
        }
        let interrupts = worker.io().interrupts()?;
        worker.wake_by(interrupts.alarm()?);
        Ok(Some(Self(interrupts)))
    }
}

impl Sleep for Sleeper {
    fn sleep(&mut self, time: Duration) {
        self.0.sleep(time);
    }
}

async fn stop_workers(fleet: &Fleet, threads: Threads) -> anyhow::Result<()> {
    fleet.stop().await;
    for thread in threads {
        let joined = tokio::task::spawn_blocking(|| thread.join()).await?;
        drop(joined.map_err(|_| anyhow::anyhow!("a worker ended by a panic"))?);
    }
    tracing::info!("stopped");
    Ok(())
}

async fn serve_metrics(
    server: Option<MetricsServer>,
    node: Arc<GatewayNode>,
    stop: impl Future<Output = ()>,
) {
    match server {
        Some(server) => server.serve(node, stop).await,
        None => stop.await,
    }
}

async fn serve_file(embedded: Option<Embedded>, stop: impl Future<Output = ()>) {
    match embedded {
        Some(embedded) => embedded.serve(stop).await,
        None => stop.await,
    }
}

/// Samples what needs sampling, and says what an operator should do something about.
async fn watch_over(node: &GatewayNode) {
    let (mut partial, mut said) = (0, None::<Instant>);
    loop {
        tokio::time::sleep(SAMPLE_EVERY).await;
        node.sample().await;
        let now = node.dropped(DropReason::PartialChecksum).await;
        if now > partial && said.is_none_or(|said| said.elapsed() >= CURE_EVERY) {
            tracing::warn!(drops = now, "{}", DropReason::PartialChecksum.help());
            said = Some(Instant::now());
        }
        partial = now;
    }
}

/// Takes back the numbers of what was deleted, for ever.
async fn release(ledger: &Ledger, fleet: &Fleet) {
    loop {
        tokio::time::sleep(RELEASE_EVERY).await;
        ledger.release(fleet.generation().await).await;
    }
}

async fn stop_signal() -> std::io::Result<&'static str> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok("SIGTERM"),
        _ = interrupt.recv() => Ok("SIGINT"),
    }
}
