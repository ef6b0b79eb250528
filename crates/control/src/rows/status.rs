//! The node as a whole: what `natgate status` shows.

use serde::{Deserialize, Serialize};

/// The whole node at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The node's name, from its configuration.
    pub node: String,
    /// The version of the running program.
    pub version: String,
    /// The source revision it was built from.
    pub revision: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The generation of rules that every worker runs; 0 before the first.
    pub generation: u64,
    /// Where the rules come from.
    pub feed: FeedRow,
    /// Where flow state lies, and what was found there at the start.
    pub region: RegionRow,
    /// Sessions there are.
    pub sessions: u64,
    /// Sessions ever created: here and by the processes before whose state was taken over.
    pub sessions_created: u64,
    /// Sessions ever closed, for whatever reason; as for those created.
    pub sessions_closed: u64,
    /// One row per worker.
    pub workers: Vec<WorkerRow>,
    /// One row per port.
    pub ports: Vec<PortRow>,
    /// The packet books of the whole node.
    pub books: BooksRow,
    /// One row per table of flow state.
    pub tables: Vec<TableRow>,
    /// The huge pages that packet memory lies in; absent where it lies in ordinary pages.
    pub hugepages: Option<HugepagesRow>,
    /// What an operator should know and do something about, a sentence each.
    pub warnings: Vec<String>,
}

/// The memory that flow state lies in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegionRow {
    /// Its file.
    pub path: String,
    /// KiB of it; 0 where the kernel does not tell.
    pub kib: u64,
    /// KiB of it in huge pages.
    pub huge_kib: u64,
    /// KiB of a huge page, or of an ordinary one where there are no others.
    pub page_kib: u64,
    /// The same in words: `pages of 2 MiB`; empty where the kernel does not tell.
    pub pages: String,
    /// Whether it held what an earlier process left behind, and that was taken over.
    pub taken_over: bool,
    /// Sessions that were taken over.
    pub sessions_kept: u64,
    /// Sessions that were found broken, and dropped.
    pub sessions_dropped: u64,
    /// What was found and done, in a sentence.
    pub message: String,
}

/// Where the rules come from, and how fresh they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FeedRow {
    /// Whether the stream to the source stands.
    pub connected: bool,
    /// The feed server's address; empty where that is not known, as before the first connection.
    pub source: String,
    /// The version of the source's rules that was applied last.
    pub version: u64,
    /// Milliseconds since the source was last heard of; 0 while it is heard.
    pub staleness_ms: u64,
    /// Faults of objects that were refused and whose previous revision, if any, is still in force. Those of one object
    /// stand together.
    pub rejects: Vec<RejectRow>,
}

/// One fault of one refused object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RejectRow {
    /// The object: its kind and id, as `router r1`; empty where a message was refused whole.
    pub object: String,
    /// The refused revision.
    pub revision: u64,
    /// Which rule it broke, as `BAD_ADDRESS`.
    pub code: String,
    /// The field, as `interfaces[0].addresses[1]`.
    pub path: String,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRow {
    /// Its number, from 0.
    pub worker: u16,
    /// The core it is pinned to.
    pub core: u16,
    /// The NUMA node of that core; absent where the machine does not tell.
    pub numa_node: Option<u32>,
    /// What it is doing.
    pub state: WorkerState,
    /// The generation of rules it runs.
    pub generation: u64,
    /// The shards it owns: only it begins and ends sessions in these.
    pub shards: u16,
    /// Milliseconds since it last began a turn of its loop.
    pub heartbeat_age_ms: u64,
    /// The part of its time that went into packets, 0 to 1, over the last second.
    pub busy_ratio: f64,
    /// Frames it received.
    pub rx_frames: u64,
    /// Frames it transmitted.
    pub tx_frames: u64,
    /// Frames it handed on to another worker, because that one had to create or close something.
    pub handed_out: u64,
    /// Frames that others handed on to it.
    pub handed_in: u64,
    /// Packets that took its express way.
    pub express: u64,
    /// Packets it translated although another worker owns their shard.
    pub translated_for_others: u64,
    /// Sessions it created.
    pub sessions_created: u64,
    /// Sessions it closed, for whatever reason.
    pub sessions_closed: u64,
    /// What the stages of its loop cost since the start; absent unless `stage_clocks` is on.
    pub stages: Option<StagesRow>,
    /// The same, over the last second.
    pub stages_recent: Option<StagesRow>,
}

/// What the stages of a worker's loop cost, in ticks of the processor's time-stamp counter, in turns that brought a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StagesRow {
    /// Packets that came, by ports and from other workers.
    pub packets: u64,
    /// The drivers brought frames.
    pub receive: u64,
    /// The brain dealt with them.
    pub process: u64,
    /// It dealt with what other workers handed on.
    pub handed: u64,
    /// What time asks for was done.
    pub tick: u64,
    /// The drivers took frames, the rings what is handed on.
    pub transmit: u64,
}

impl StagesRow {
    /// The stages by name, in their order.
    pub fn by_name(&self) -> [(&'static str, u64); 5] {
        [
            ("receive", self.receive),
            ("process", self.process),
            ("handed", self.handed),
            ("tick", self.tick),
            ("transmit", self.transmit),
        ]
    }
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerState {
    /// Not in its loop yet.
    #[default]
    Starting,
    /// In its loop, with packets coming.
    Running,
    /// In its loop, backed off because no packets come.
    Idle,
    /// In a turn of its loop that does not end: in a driver, or without its core.
    Stuck,
    /// Out of its loop.
    Stopped,
}

impl WorkerState {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            WorkerState::Starting => "starting",
            WorkerState::Running => "running",
            WorkerState::Idle => "idle",
            WorkerState::Stuck => "stuck",
            WorkerState::Stopped => "stopped",
        }
    }
}

/// One port and what its driver counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRow {
    /// Its name in the node's configuration.
    pub name: String,
    /// The device, as DPDK names it.
    pub device: String,
    /// The driver that runs it.
    pub driver: String,
    /// Its MAC address.
    pub mac: String,
    /// The NUMA node it is attached to; absent for virtual devices.
    pub numa_node: Option<u32>,
    /// How frames are spread over its receive queues, in words.
    pub steering: String,
    /// The workers that receive from it, one for each of its receive queues, in the order of these.
    pub receivers: Vec<u16>,
    /// Whether the link is up.
    pub link_up: bool,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames transmitted.
    pub tx_frames: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Frames the device dropped because no worker fetched them in time.
    pub rx_missed: u64,
    /// Frames received broken.
    pub rx_errors: u64,
    /// Frames the device failed to transmit.
    pub tx_errors: u64,
    /// Frames the driver dropped because no packet buffer was free.
    pub rx_no_buffer: u64,
}

/// The packet books: every frame that came in or was made here is accounted for by exactly one way out.
///
/// `rx + originated = tx + consumed + dropped + held + in_rings`, always, over restarts too. Drops below the driver are
/// not in the books; the ports count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BooksRow {
    /// Frames received.
    pub rx: u64,
    /// Frames the gateway made itself: ARP, ICMP errors, echo replies.
    pub originated: u64,
    /// Frames handed to the driver.
    pub tx: u64,
    /// Frames that were meant for the gateway and ended in it.
    pub consumed: u64,
    /// Frames dropped, for all reasons.
    pub dropped: u64,
    /// Frames waiting now: for a neighbour's address, for their fragments.
    pub held: u64,
    /// Frames on their way from one worker to another now.
    pub in_rings: u64,
    /// What came in less what went out: 0, but for a burst under way; if it stays otherwise, a fault of the program.
    pub balance: i64,
}

impl BooksRow {
    /// The books with their balance drawn.
    ///
    /// `balance` is the difference modulo 2^64, so that it is right even after a counter wrapped.
    pub fn drawn(self) -> Self {
        let debit = self.rx.wrapping_add(self.originated);
        let credit = [self.consumed, self.dropped, self.held, self.in_rings];
        let credit = credit.into_iter().fold(self.tx, u64::wrapping_add);
        BooksRow { balance: debit.wrapping_sub(credit).cast_signed(), ..self }
    }
}

/// One table of flow state and how full it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TableRow {
    /// What it holds: `sessions`, `mappings`, `neighbours`, ...
    pub table: String,
    /// Entries in it.
    pub entries: u64,
    /// Entries it can hold.
    pub capacity: u64,
}

/// The huge pages that packet memory lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HugepagesRow {
    /// The size of one, in kibibytes.
    pub page_kib: u64,
    /// How many the machine has.
    pub total: u64,
    /// How many of them are free.
    pub free: u64,
}

#[cfg(test)]
mod tests {
    use super::BooksRow;

    fn balance(rx: u64, originated: u64, [tx, consumed, dropped, held, in_rings]: [u64; 5]) -> i64 {
        BooksRow { rx, originated, tx, consumed, dropped, held, in_rings, balance: 0 }.drawn().balance
    }

    #[test]
    fn books_that_close_have_balance_zero() {
        assert_eq!(balance(10, 2, [5, 1, 3, 1, 2]), 0);
    }

    #[test]
    fn a_lost_frame_is_a_positive_balance_and_a_doubled_one_negative() {
        assert_eq!(balance(10, 0, [9, 0, 0, 0, 0]), 1);
        assert_eq!(balance(10, 0, [11, 0, 0, 0, 0]), -1);
    }

    #[test]
    fn a_wrapped_counter_does_not_spoil_the_balance() {
        assert_eq!(balance(u64::MAX, 5, [4, 0, 0, 0, 0]), 0);
    }
}
