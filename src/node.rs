//! The gateway as the admin socket and `/metrics` see it: rows, read from the workers, the ports and the feed.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use control::rows::{
    BooksRow, DropRow, FeedRow, HugepagesRow, PoolRow, PortRow, RegionRow, RejectRow, RouterRow,
    SessionCount, SessionProtocol, SessionState, Status, TableRow, WorkerRow, WorkerState,
};
use control::{NodeError, SessionCursor, SessionPage};
use feed::{FeedState, Reject, ServerState};
use nat::{Counters, DropReason, SessionView, State};
use packet::PortIndex;
use rules::compiled::Realm;
use rules::model::Router;
use tokio::sync::watch;
use worker::{Handle, StageTotals, clock};

use self::rows::{pool_rows, protocol, router_row, session_row, stages_row, state};
use crate::config::NodeConfig;
use crate::edge::Edge;
use crate::fleet::Fleet;

mod rows;

/// How often [`GatewayNode::sample`] is to be called.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// See the module's page.
pub(crate) struct GatewayNode {
    config: NodeConfig,
    fleet: Arc<Fleet>,
    state: Arc<State>,
    region: RegionRow,
    edge: Mutex<Edge>,
    feed: FeedView,
    /// When the daemon started, by the workers' clock.
    started: Duration,
    busy: Mutex<Vec<Busy>>,
}

/// Where the gateway reads what its feed is at.
pub(crate) struct FeedView {
    /// The side that follows.
    pub(crate) follower: watch::Receiver<FeedState>,
    /// The side that serves, where it is this process too.
    pub(crate) server: Option<watch::Receiver<ServerState>>,
}

/// How busy a worker was between the last two samples, and with what.
#[derive(Clone, Copy, Default)]
struct Busy {
    at: Duration,
    busy: Duration,
    ratio: f64,
    stages: StageTotals,
    stages_recent: StageTotals,
}

impl GatewayNode {
    pub(crate) fn new(
        config: NodeConfig,
        fleet: Arc<Fleet>,
        state: Arc<State>,
        region: RegionRow,
        edge: Edge,
        feed: FeedView,
    ) -> Self {
        let started = clock::now();
        let busy = vec![Busy { at: started, ..Busy::default() }; config.workers.len()];
        let (edge, busy) = (Mutex::new(edge), Mutex::new(busy));
        Self { config, fleet, state, region, edge, feed, started, busy }
    }

    /// Looks how busy the workers were since the last look.
    pub(crate) async fn sample(&self) {
        let at = clock::now();
        let read = |handle: &Handle| (handle.status.busy(), handle.status.stages().unwrap_or_default());
        let workers = self.fleet.each(read).await;
        for (sample, (busy, stages)) in locked(&self.busy).iter_mut().zip(workers) {
            let ratio = (busy - sample.busy).as_secs_f64() / (at - sample.at).as_secs_f64();
            let stages_recent = stages.since(&sample.stages);
            *sample = Busy { at, busy, ratio: ratio.clamp(0.0, 1.0), stages, stages_recent };
        }
    }

    /// How often `reason` struck, on all workers and in earlier processes.
    pub(crate) async fn dropped(&self, reason: DropReason) -> u64 {
        self.sum(|counters| counters.dropped(reason)).await
    }

    /// The sum of a count over all workers and earlier processes.
    async fn sum(&self, count: impl Fn(&Counters) -> u64) -> u64 {
        let now: u64 = self.fleet.each(|handle| count(handle.counters())).await.iter().sum();
        now + count(self.state.past())
    }

    async fn books(&self) -> BooksRow {
        let workers = self.fleet.each(|handle| handle.counters().books()).await;
        let books: nat::Books = workers.into_iter().chain([self.state.past().books()]).sum();
        BooksRow {
            rx: books.received,
            originated: books.originated,
            tx: books.sent,
            consumed: books.consumed,
            dropped: books.dropped,
            held: books.held,
            in_rings: books.in_rings(),
            balance: 0,
        }
        .drawn()
    }

    fn tables(&self) -> Vec<TableRow> {
        let occupancy = self.state.occupancy();
        let (frames, available) = {
            let edge = locked(&self.edge);
            (edge.frames(), edge.available())
        };
        let row = |(table, entries, capacity): (&str, u32, u32)| TableRow {
            table: table.to_owned(),
            entries: entries.into(),
            capacity: capacity.into(),
        };
        let rows = [
            ("sessions", occupancy.sessions, occupancy.sessions_max),
            ("hosts", occupancy.hosts, occupancy.hosts_max),
            ("mappings", occupancy.mappings, occupancy.mappings_max),
            ("permissions", occupancy.permissions, occupancy.mappings_max),
            ("neighbours", occupancy.neighbours, occupancy.neighbours_max),
            ("frames", frames - available.min(frames), frames),
        ];
        rows.map(row).into()
    }

    fn feed_row(&self) -> FeedRow {
        let feed = self.feed.follower.borrow();
        let row = |reject: &Reject| RejectRow {
            object: reject.object.as_ref().map(ToString::to_string).unwrap_or_default(),
            revision: reject.offered_revision,
            code: reject.code.as_str_name().to_owned(),
            path: reject.field.clone(),
            message: reject.message.clone(),
        };
        // A file that this process serves itself is refused before it comes to the follower.
        let refused = self.feed.server.as_ref().and_then(|server| server.borrow().last_refusal.clone());
        let refused = refused.iter().flat_map(|refusal| &refusal.rejects);
        FeedRow {
            connected: feed.connected.is_some(),
            source: feed.connected.clone().unwrap_or_default(),
            version: feed.version,
            staleness_ms: if feed.connected.is_some() { 0 } else { feed.staleness().as_millis() as u64 },
            rejects: refused.chain(&feed.rejects).map(row).collect(),
        }
    }

    async fn worker_rows(&self) -> Vec<WorkerRow> {
        let now = clock::moment();
        let samples = locked(&self.busy).clone();
        let rows = self.fleet.each(|handle| {
            let (status, counters) = (&handle.status, handle.counters());
            let books = counters.books();
            WorkerRow {
                worker: handle.index().0.into(),
                shards: handle.shards() as u16,
                generation: status.generation(),
                heartbeat_age_ms: now.ms().saturating_sub(status.heartbeat().ms()),
                rx_frames: books.received,
                tx_frames: books.sent,
                handed_out: books.handed_out,
                handed_in: books.handed_in,
                express: counters.express.get(),
                translated_for_others: counters.translated_for_others.get(),
                sessions_created: counters.sessions_created.get(),
                sessions_closed: counters.sessions_closed.get(),
                stages: status.stages().map(|totals| stages_row(&totals)),
                state: match status.turns() {
                    _ if status.is_stuck(now) => WorkerState::Stuck,
                    (0, _) => WorkerState::Starting,
                    _ => WorkerState::Running,
                },
                ..WorkerRow::default()
            }
        });
        let mut rows = rows.await;
        let nodes = locked(&self.edge).worker_nodes.clone();
        for ((row, core), sample) in rows.iter_mut().zip(&self.config.workers).zip(samples) {
            (row.core, row.busy_ratio) = (*core, sample.ratio);
            row.stages_recent = row.stages.map(|_| stages_row(&sample.stages_recent));
            row.numa_node = nodes.get(usize::from(row.worker)).copied().flatten();
            if row.state == WorkerState::Running && row.busy_ratio == 0.0 {
                row.state = WorkerState::Idle;
            }
        }
        rows
    }

    fn port_rows(&self) -> Vec<PortRow> {
        let edge = locked(&self.edge);
        let rows = (0..).zip(edge.ports.iter().zip(&self.config.ports)).map(|(index, (port, config))| {
            let stats = port.stats().unwrap_or_default();
            PortRow {
                receivers: edge.queues.workers_of(PortIndex(index)).to_vec(),
                name: config.name.clone(),
                device: port.name().to_owned(),
                driver: port.driver().to_owned(),
                mac: port.mac().to_string(),
                numa_node: edge.port_nodes[usize::from(index)],
                steering: port.steering().to_string(),
                link_up: port.link().is_ok_and(|link| link.up),
                rx_frames: stats.rx_frames,
                rx_bytes: stats.rx_bytes,
                tx_frames: stats.tx_frames,
                tx_bytes: stats.tx_bytes,
                rx_missed: stats.rx_missed,
                rx_errors: stats.rx_errors + port.multi_segment_dropped(),
                tx_errors: stats.tx_errors,
                rx_no_buffer: stats.rx_no_mbuf,
            }
        });
        rows.collect()
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = locked(&self.edge).warnings.clone();
        let feed = self.feed.follower.borrow();
        if feed.from_disk {
            warnings
                .push("the rules are the last good ones from disk: no feed has confirmed them".to_owned());
        }
        let unreachable = feed.last_error.iter().filter(|_| feed.connected.is_none());
        warnings.extend(unreachable.map(|error| format!("feed: {error}")));
        warnings.extend(feed.restore_error.clone());
        warnings.extend(
            feed.save_error.iter().map(|error| format!("the rules in force are not on disk: {error}")),
        );
        warnings
    }

    /// One page of a worker's sessions, and where the next one is.
    async fn page(&self, cursor: u64) -> Result<(Vec<SessionView>, u16, Option<u64>), NodeError> {
        let (worker, from) = ((cursor >> 32) as u16, cursor as u32);
        let page = self
            .fleet
            .list(worker, from)
            .await
            .map_err(|silent| NodeError::WorkerSilent { worker: silent.worker })?;
        let next = match page.next {
            Some(slot) => Some(u64::from(worker) << 32 | u64::from(slot)),
            None if usize::from(worker) + 1 < self.config.workers.len() => {
                Some((u64::from(worker) + 1) << 32)
            }
            None => None,
        };
        Ok((page.sessions, worker, next))
    }
}

impl control::Node for GatewayNode {
    async fn status(&self) -> Result<Status, NodeError> {
        let workers = self.worker_rows().await;
        // A guard in the row itself would live until the row is made, and others need the lock for it.
        let hugepages = hugepages(locked(&self.edge).eal.memory());
        Ok(Status {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("NATGATE_REVISION").to_owned(),
            uptime_s: (clock::now() - self.started).as_secs(),
            generation: workers.iter().map(|worker| worker.generation).min().unwrap_or_default(),
            feed: self.feed_row(),
            region: self.region.clone(),
            sessions: self.state.occupancy().sessions.into(),
            sessions_created: self.sum(|counters| counters.sessions_created.get()).await,
            sessions_closed: self.sum(|counters| counters.sessions_closed.get()).await,
            workers,
            ports: self.port_rows(),
            books: self.books().await,
            tables: self.tables(),
            hugepages,
            warnings: self.warnings(),
        })
    }

    async fn routers(&self) -> Result<Vec<RouterRow>, NodeError> {
        let programmed = self.fleet.programmed();
        let mut sessions: HashMap<Realm, BTreeMap<(SessionProtocol, SessionState), u64>> = HashMap::new();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let (views, _, next) = self.page(at).await?;
            for view in views {
                *sessions
                    .entry(view.realm)
                    .or_default()
                    .entry((protocol(view.protocol), state(view.phase)))
                    .or_default() += 1;
            }
            cursor = next;
        }
        let row = |router: &Arc<Router>| {
            let compiled = programmed.rules.routers.iter().find(|one| one.id == router.id);
            let counts = compiled.and_then(|one| sessions.get(&one.realm));
            let mut row = router_row(router, &programmed);
            row.generation = compiled.map_or(0, |one| u64::from(one.generation));
            let by = counts.into_iter().flatten();
            row.sessions_by = by
                .map(|(&(protocol, state), &sessions)| SessionCount { protocol, state, sessions })
                .collect();
            row.sessions = row.sessions_by.iter().map(|count| count.sessions).sum();
            row
        };
        Ok(programmed.valid.routers().iter().map(row).collect())
    }

    async fn pools(&self) -> Result<Vec<PoolRow>, NodeError> {
        Ok(pool_rows(&self.fleet.programmed().rules, |ports| self.state.ports_used(ports)))
    }

    async fn sessions(&self, from: Option<SessionCursor>) -> Result<SessionPage, NodeError> {
        let (views, worker, next) = self.page(from.map_or(0, |cursor| cursor.0)).await?;
        let programmed = self.fleet.programmed();
        let rows = views.iter().map(|view| session_row(view, worker, &programmed.rules)).collect();
        Ok(SessionPage { rows, next: next.map(SessionCursor) })
    }

    async fn drops(&self) -> Result<Vec<DropRow>, NodeError> {
        let mut rows = Vec::new();
        for reason in DropReason::ALL {
            rows.push(DropRow {
                reason: reason.name().to_owned(),
                help: reason.help().to_owned(),
                count: self.dropped(reason).await,
            });
        }
        Ok(rows)
    }
}

/// The 2 MiB pages of the machine, where packet memory lies in huge pages.
fn hugepages(memory: &dpdk::MemoryUse) -> Option<HugepagesRow> {
    let directory = Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB");
    let number = |name: &str| std::fs::read_to_string(directory.join(name)).ok()?.trim().parse().ok();
    (*memory == dpdk::MemoryUse::Hugepages).then(|| HugepagesRow {
        page_kib: 2048,
        total: number("nr_hugepages").unwrap_or_default(),
        free: number("free_hugepages").unwrap_or_default(),
    })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is only ever read or replaced whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
