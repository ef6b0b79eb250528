//! A small gateway to show, and a thread that serves it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use control::rows::*;
use control::{AdminServer, Limits, MetricsServer, Node, NodeError, SessionCursor, SessionPage};
use tokio::sync::oneshot;

/// Rows in one page of sessions.
pub(crate) const PAGE_ROWS: usize = 512;

/// A gateway made of rows.
#[derive(Default)]
pub(crate) struct FakeNode {
    pub(crate) status: Status,
    pub(crate) routers: Vec<RouterRow>,
    pub(crate) pools: Vec<PoolRow>,
    pub(crate) sessions: Vec<SessionRow>,
    pub(crate) drops: Vec<DropRow>,
    /// Pages of sessions that were asked for.
    pub(crate) pages: AtomicU64,
    /// Every call hangs.
    pub(crate) hangs: AtomicBool,
    /// Every call fails.
    pub(crate) fails: AtomicBool,
}

impl FakeNode {
    async fn mood(&self) -> Result<(), NodeError> {
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        match self.fails.load(Ordering::Relaxed) {
            true => Err(NodeError::WorkerSilent { worker: 1 }),
            false => Ok(()),
        }
    }
}

impl Node for FakeNode {
    async fn status(&self) -> Result<Status, NodeError> {
        self.mood().await?;
        Ok(self.status.clone())
    }

    async fn routers(&self) -> Result<Vec<RouterRow>, NodeError> {
        self.mood().await?;
        Ok(self.routers.clone())
    }

    /// Every other page is empty, as where a table has a hole.
    async fn sessions(&self, from: Option<SessionCursor>) -> Result<SessionPage, NodeError> {
        self.mood().await?;
        self.pages.fetch_add(1, Ordering::Relaxed);
        let turn = from.map_or(0, |cursor| cursor.0);
        if turn % 2 == 1 {
            return Ok(SessionPage { rows: Vec::new(), next: Some(SessionCursor(turn + 1)) });
        }
        let first = usize::try_from(turn / 2).unwrap() * PAGE_ROWS;
        let last = (first + PAGE_ROWS).min(self.sessions.len());
        let next = (last < self.sessions.len()).then_some(SessionCursor(turn + 1));
        Ok(SessionPage { rows: self.sessions[first..last].to_vec(), next })
    }

    async fn pools(&self) -> Result<Vec<PoolRow>, NodeError> {
        self.mood().await?;
        Ok(self.pools.clone())
    }

    async fn drops(&self) -> Result<Vec<DropRow>, NodeError> {
        self.mood().await?;
        Ok(self.drops.clone())
    }
}

/// A gateway with something of everything.
pub(crate) fn node() -> FakeNode {
    FakeNode {
        status: status(),
        routers: vec![router("r1", RouterState::Up), router("r2", RouterState::Down)],
        pools: vec![pool("p1", 10, 7), pool("p1", 11, 5), pool("r2/out", 3, 0)],
        sessions: (0..2000).map(session).collect(),
        drops: vec![
            DropRow { reason: "no_route".into(), help: "No route.".into(), count: 7 },
            DropRow { reason: "ttl_expired".into(), help: "TTL was 1.".into(), count: 0 },
        ],
        ..FakeNode::default()
    }
}

fn status() -> Status {
    Status {
        node: "gw\"1\"".into(),
        version: "0.1.0".into(),
        revision: "abc".into(),
        uptime_s: 3661,
        generation: 7,
        feed: FeedRow {
            connected: true,
            source: "127.0.0.1:7600".into(),
            version: 12,
            staleness_ms: 1500,
            rejects: ["router r9", "router r9", "pool p9"]
                .map(|object| RejectRow { object: object.into(), ..RejectRow::default() })
                .into(),
        },
        region: RegionRow { taken_over: true, sessions_kept: 1900, ..RegionRow::default() },
        sessions: 2000,
        sessions_created: 2060,
        sessions_closed: 60,
        workers: vec![WorkerRow {
            numa_node: None,
            worker: 0,
            core: 1,
            state: WorkerState::Running,
            generation: 7,
            shards: 16,
            heartbeat_age_ms: 20,
            busy_ratio: 0.25,
            rx_frames: 1000,
            tx_frames: 990,
            handed_out: 30,
            handed_in: 20,
            express: 900,
            translated_for_others: 10,
            sessions_created: 60,
            sessions_closed: 40,
            stages: Some(StagesRow {
                packets: 1020,
                receive: 1,
                process: 2,
                handed: 3,
                tick: 4,
                transmit: 5,
            }),
            stages_recent: None,
        }],
        ports: vec![PortRow {
            name: "in".into(),
            device: "net_af_packet0".into(),
            link_up: true,
            rx_frames: 600,
            rx_bytes: 60_000,
            tx_frames: 490,
            tx_bytes: 49_000,
            rx_missed: 1,
            rx_errors: 2,
            tx_errors: 3,
            rx_no_buffer: 4,
            ..PortRow::default()
        }],
        books: books(),
        tables: vec![TableRow { table: "sessions".into(), entries: 2000, capacity: 65536 }],
        hugepages: None,
        warnings: vec!["no hugepages".into()],
    }
}

fn books() -> BooksRow {
    let way_in = BooksRow { rx: 1000, originated: 10, ..BooksRow::default() };
    BooksRow { tx: 980, consumed: 5, dropped: 7, held: 8, in_rings: 10, ..way_in }.drawn()
}

fn pool(id: &str, last: u8, ports_used: u64) -> PoolRow {
    let address = [203, 0, 113, last].into();
    PoolRow { pool: id.into(), segment: "ext".into(), address, ports_used, ports: 193_536 }
}

fn router(id: &str, state: RouterState) -> RouterRow {
    let count =
        SessionCount { protocol: SessionProtocol::Tcp, state: SessionState::Established, sessions: 3 };
    RouterRow {
        id: id.into(),
        project: "blue".into(),
        name: String::new(),
        revision: 2,
        generation: 5,
        state,
        interfaces: vec![],
        gateways: vec![],
        floating_ips: vec![],
        port_forwardings: vec![],
        sessions: 3,
        sessions_by: vec![count],
    }
}

pub(crate) fn session(number: u16) -> SessionRow {
    SessionRow {
        router: if number.is_multiple_of(2) { "r1".into() } else { "r2".into() },
        protocol: SessionProtocol::Udp,
        state: SessionState::HalfOpen,
        source: [10, 0, 0, 5].into(),
        source_port: number,
        external: [203, 0, 113, 10].into(),
        external_port: number,
        destination: [198, 51, 100, 7].into(),
        destination_port: 53,
        packets_out: 1,
        packets_in: 0,
        bytes_out: 60,
        bytes_in: 0,
        age_s: 1,
        idle_s: 1,
        expires_in_s: 29,
        worker: 0,
    }
}

/// Both servers in a thread of their own; dropping it stops them.
pub(crate) struct Daemon {
    pub(crate) socket: PathBuf,
    pub(crate) metrics: SocketAddr,
    pub(crate) node: Arc<FakeNode>,
    _folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn start(node: FakeNode, limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("admin.sock");
        let node = Arc::new(node);
        let (stop, stopped) = oneshot::channel();
        let (ready, readied) = mpsc::channel();
        let thread = std::thread::spawn({
            let (socket, node) = (socket.clone(), Arc::clone(&node));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(run(&socket, node, limits, ready, stopped));
            }
        });
        let metrics = readied.recv().unwrap();
        Daemon { socket, metrics, node, _folder: folder, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn run(
    socket: &Path,
    node: Arc<FakeNode>,
    limits: Limits,
    ready: mpsc::Sender<SocketAddr>,
    stopped: oneshot::Receiver<()>,
) {
    let admin = AdminServer::bind(socket, limits).unwrap();
    let metrics = MetricsServer::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    ready.send(metrics.address().unwrap()).unwrap();
    let metrics = tokio::spawn(metrics.serve(Arc::clone(&node), std::future::pending()));
    admin
        .serve(node, async {
            let _ = stopped.await;
        })
        .await;
    metrics.abort();
}
