//! The gateway as the admin socket and `/metrics` see it: rows, read from the workers, the ports and the feed.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use control::rows::{
    BooksRow, DropRow, FeedRow, FloatingIpRow, GatewayRow, HugepagesRow, InterfaceRow, PortRow, RejectRow,
    RouterRow, RouterState, SessionCount, SessionProtocol, SessionRow, SessionState, Status, TableRow,
    WorkerRow, WorkerState,
};
use control::{HEARTBEAT_AGE_MAX_MS, NodeError, SessionCursor, SessionPage};
use feed::{FeedState, Reject, ServerState};
use nat::{DropReason, Phase, SessionView};
use packet::Protocol;
use rules::compiled::{Realm, RuleSet};
use rules::model::{Router, Segment};
use tokio::sync::watch;

use crate::config::NodeConfig;
use crate::edge::Edge;
use crate::fleet::{Fleet, Programmed};

/// How often [`GatewayNode::sample`] is to be called.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// See the module's page.
pub(crate) struct GatewayNode {
    config: NodeConfig,
    fleet: Arc<Fleet>,
    edge: Mutex<Edge>,
    feed: FeedView,
    /// The zero of the workers' clocks.
    origin: Instant,
    busy: Mutex<Vec<Busy>>,
}

/// Where the gateway reads what its feed is at.
pub(crate) struct FeedView {
    /// The side that follows.
    pub(crate) follower: watch::Receiver<FeedState>,
    /// The side that serves, where it is this process too.
    pub(crate) server: Option<watch::Receiver<ServerState>>,
}

/// How busy a worker was between the last two samples.
#[derive(Clone, Copy, Default)]
struct Busy {
    at: Duration,
    busy: Duration,
    ratio: f64,
}

impl GatewayNode {
    pub(crate) fn new(
        config: NodeConfig,
        fleet: Arc<Fleet>,
        edge: Edge,
        feed: FeedView,
        origin: Instant,
    ) -> Self {
        let busy = vec![Busy::default(); config.workers.len()];
        Self { config, fleet, edge: Mutex::new(edge), feed, origin, busy: Mutex::new(busy) }
    }

    /// Looks how busy the workers were since the last look.
    pub(crate) async fn sample(&self) {
        let at = self.origin.elapsed();
        let workers = self.fleet.each(|handle| handle.status.busy()).await;
        for (sample, busy) in locked(&self.busy).iter_mut().zip(workers) {
            let ratio = (busy - sample.busy).as_secs_f64() / (at - sample.at).as_secs_f64();
            *sample = Busy { at, busy, ratio: ratio.clamp(0.0, 1.0) };
        }
    }

    /// How often `reason` struck, on all workers.
    pub(crate) async fn dropped(&self, reason: DropReason) -> u64 {
        self.fleet.each(|handle| handle.counters.dropped(reason)).await.iter().sum()
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
        let now_ms = self.origin.elapsed().as_millis() as u64;
        let busy: Vec<f64> = locked(&self.busy).iter().map(|busy| busy.ratio).collect();
        let rows = self.fleet.each(|handle| {
            let books = handle.counters.books();
            let heartbeat_age_ms = now_ms.saturating_sub(handle.status.heartbeat().ms());
            WorkerRow {
                generation: handle.status.generation(),
                heartbeat_age_ms,
                rx_frames: books.received,
                tx_frames: books.sent,
                sessions_created: handle.counters.sessions_created.get(),
                sessions_closed: handle.counters.sessions_closed.get(),
                state: match handle.status.turns() {
                    (0, _) => WorkerState::Starting,
                    _ if heartbeat_age_ms > HEARTBEAT_AGE_MAX_MS => WorkerState::Stopped,
                    _ => WorkerState::Running,
                },
                ..WorkerRow::default()
            }
        });
        let mut rows = rows.await;
        for (worker, (row, core)) in rows.iter_mut().zip(&self.config.workers).enumerate() {
            (row.worker, row.core) = (worker as u16, *core);
            row.busy_ratio = busy.get(worker).copied().unwrap_or_default();
            if row.state == WorkerState::Running && row.busy_ratio == 0.0 {
                row.state = WorkerState::Idle;
            }
        }
        rows
    }

    fn port_rows(&self) -> Vec<PortRow> {
        let edge = locked(&self.edge);
        let rows = edge.ports.iter().zip(&self.config.ports).map(|(port, config)| {
            let stats = port.stats().unwrap_or_default();
            PortRow {
                name: config.name.clone(),
                device: port.name().to_owned(),
                driver: port.driver().to_owned(),
                mac: port.mac().to_string(),
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
        let books = self.fleet.each(|handle| handle.counters.books()).await;
        let sum = |part: fn(&nat::Books) -> u64| books.iter().map(part).sum();
        let occupancy = self.fleet.each(|handle| handle.status.occupancy()).await;
        let table = |table: &str, entries: fn(&nat::Occupancy) -> u32, capacity: u64| TableRow {
            table: table.to_owned(),
            entries: occupancy.iter().map(|one| u64::from(entries(one))).sum(),
            capacity,
        };
        let capacity: u64 = occupancy.iter().map(|one| u64::from(one.sessions_max)).sum();
        let (frames, available, hugepages) = {
            let edge = locked(&self.edge);
            (edge.pool.frames(), edge.pool.available(), hugepages(edge.eal.memory()))
        };
        let mut tables = vec![
            table("sessions", |one| one.sessions, capacity),
            table("mappings", |one| one.mappings, capacity),
            table(
                "neighbours",
                |one| one.neighbours,
                u64::from(nat::NEIGHBOURS_MAX) * occupancy.len() as u64,
            ),
        ];
        tables.push(TableRow {
            table: "frames".to_owned(),
            entries: u64::from(frames - available.min(frames)),
            capacity: u64::from(frames),
        });
        let workers = self.worker_rows().await;
        Ok(Status {
            node: self.config.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("NATGATE_REVISION").to_owned(),
            uptime_s: self.origin.elapsed().as_secs(),
            generation: workers.iter().map(|worker| worker.generation).min().unwrap_or_default(),
            feed: self.feed_row(),
            workers,
            ports: self.port_rows(),
            books: BooksRow::draw(
                sum(|books| books.received),
                sum(|books| books.originated),
                sum(|books| books.sent),
                sum(|books| books.consumed),
                sum(|books| books.dropped),
                sum(|books| books.held),
            ),
            tables,
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

fn router_row(router: &Router, programmed: &Programmed) -> RouterRow {
    let segment = |id: &str| -> Option<Arc<Segment>> {
        programmed.valid.segments().iter().find(|segment| segment.id == id).cloned()
    };
    let interface = |interface: &rules::model::Interface| {
        let segment = segment(&interface.segment);
        InterfaceRow {
            id: interface.id.clone(),
            segment: interface.segment.clone(),
            port: segment.as_ref().map(|segment| segment.port.clone()).unwrap_or_default(),
            vlan: segment.and_then(|segment| segment.vlan),
            mac: interface.mac.to_string(),
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            external: interface.external,
        }
    };
    RouterRow {
        id: router.id.clone(),
        project: router.project.clone(),
        name: router.name.clone(),
        revision: router.revision,
        generation: 0,
        state: if router.admin_up { RouterState::Up } else { RouterState::Down },
        interfaces: router.interfaces.iter().map(interface).collect(),
        gateway: router.gateway.as_ref().map(|gateway| GatewayRow {
            interface: gateway.interface.clone(),
            next_hop: gateway.next_hop,
            snat: gateway.snat,
            pool: gateway.pool.clone(),
        }),
        floating_ips: router
            .floating_ips
            .iter()
            .map(|one| FloatingIpRow { id: one.id.clone(), external: one.external, internal: one.internal })
            .collect(),
        sessions: 0,
        sessions_by: Vec::new(),
    }
}

fn session_row(view: &SessionView, worker: u16, rules: &RuleSet) -> SessionRow {
    let router = rules.routers.iter().find(|router| router.realm == view.realm);
    let [packets_out, packets_in] = view.packets;
    let [bytes_out, bytes_in] = view.bytes;
    SessionRow {
        router: router.map(|router| router.id.clone()).unwrap_or_default(),
        protocol: protocol(view.protocol),
        state: state(view.phase),
        source: view.internal.address,
        source_port: view.internal.port,
        external: view.external.address,
        external_port: view.external.port,
        destination: view.remote.address,
        destination_port: view.remote.port,
        packets_out,
        packets_in,
        bytes_out,
        bytes_in,
        age_s: u64::from(view.age_ms / 1_000),
        idle_s: u64::from(view.idle_ms / 1_000),
        expires_in_s: u64::from(view.expires_in_ms / 1_000),
        worker,
    }
}

fn protocol(protocol: Protocol) -> SessionProtocol {
    match protocol {
        Protocol::TCP => SessionProtocol::Tcp,
        Protocol::UDP => SessionProtocol::Udp,
        _ => SessionProtocol::Icmp,
    }
}

fn state(phase: Phase) -> SessionState {
    match phase {
        Phase::TcpOpening | Phase::UdpInitial => SessionState::HalfOpen,
        Phase::TcpEstablished | Phase::UdpStream | Phase::IcmpQuery => SessionState::Established,
        Phase::TcpClosing | Phase::TcpTimeWait | Phase::TcpReset => SessionState::Closing,
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
