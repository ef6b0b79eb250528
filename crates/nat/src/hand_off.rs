//! Order through the hand-off: no frame overtakes another of its flow, however many gateways the two pass through.
//!
//! A frame may have to be dealt with elsewhere: its session or its neighbour is to be created or killed, which only the
//! owner does. Meanwhile the session may have come to exist, and the gateway that handed the frame on could translate the
//! next one in place: it would leave first. So whoever hands a frame on keeps that in mind until the frame is finished:
//!
//! ```text
//! private to a gateway          by hash of the flow as received, and by how often the frame was handed on
//!   Cell { sent, to } x 6 x 4096  sent: frames handed on;  to: the gateway they went to, all, while any is under way
//! shared
//!   Finished { x 6 x 4096 } x 32  of the frames that a gateway handed on by a cell, how many are finished
//! with a frame
//!   [Ticket; 0..=6]               the cells it was handed on by: (gateway, cell), credited by whoever finishes the frame
//! ```
//!
//! **The rule.** A cell is open while `sent != finished`. A frame whose cell is open goes where the cell's frames went,
//! whatever it is; only a frame whose cell is closed is judged. Between two gateways is a ring that keeps its order.
//!
//! **Why nobody overtakes.** Let A and B be frames of one flow, and A be dealt with before B at some gateway G, both having
//! been handed on equally often. If A is finished there, it leaves with this turn's flush, and B, wherever it goes, not before
//! that: what is handed on goes into its ring after the flush. If A is handed on to H, it has a ticket of the cell in which
//! B looks; until A is finished that cell is open and its `to` is H, for `to` changes only while a cell is closed. So B
//! goes to H, behind A in the same ring, handed on once more as A was, and the same holds at H. Hence B follows A's way,
//! wherever that leads, until A is finished; and a credit comes after the flush that takes what it is for. Where H has to
//! hold A for a neighbour, it keeps B behind it (see `waiting.rs`).
//!
//! That cells are told apart by how often a frame was handed on makes a way that comes back to a gateway a way like any
//! other: such a frame would else find its own ticket open, and follow itself. And it keeps a frame that has come to its
//! owner from being sent on with strangers: while many flows begin, many cells are open of frames as they were received, and
//! next to none of frames that were handed on.
//!
//! **Why it ends.** A frame has room for [`HOPS_MAX`] tickets, and is dropped where it needs one more. The longest way there
//! is a need for has four: of a fragment to where its datagram is known; to the owner of the sender's session, of the
//! receiver's where both are ours, of the next hop. Two more allow for a flow that twice shares its cell with another; beyond that, rules or owners have changed under
//! way.
//!
//! **Where one stops.** A gateway that hangs in a driver finishes nothing, and the cells of what it was handed would stay open
//! for strangers too: they would follow into a ring that is full. So nobody follows to a gateway that has not turned for a
//! second. What it was handed may be overtaken, if it ever goes on.
//!
//! **What it costs.** A gateway that hands nothing on: one comparison for a frame. A closed cell: the flow's hash and 12
//! private bytes. An open one: the cell's count, which others write. A frame that is handed on: one atomic addition for
//! each ticket.
//!
//! Absent on purpose: a position in the ring up to which all is done. It is cheaper for one hop and wrong for two: a
//! position would wait for one in another ring, and that for the first. And an order of ICMP errors, which are translated
//! where they arrive, and of ARP.

use super::WorkerIndex;
use super::sync::{AtomicU32, Ordering};

/// How often a frame may be handed on.
pub(crate) const HOPS_MAX: usize = 6;

/// Cells of a gateway for frames that were handed on equally often: several times what a ring holds, so that few share one
/// with a stranger even while a ring is full. Fewer where a scheduler tries interleavings.
const FLOW_CELLS: usize = if cfg!(any(loom, shuttle)) { 16 } else { 4_096 };

/// Cells of a gateway.
const CELLS: usize = HOPS_MAX * FLOW_CELLS;

const _: () = assert!(FLOW_CELLS.is_power_of_two() && CELLS <= 1 << 16);

/// A frame was handed on by this cell of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    gateway: WorkerIndex,
    cell: u16,
}

/// A cell, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellIndex(u16);

impl CellIndex {
    /// The cell of a flow with this hash, for a frame that was handed on `hops` times.
    pub(crate) fn of(hash: u64, hops: usize) -> Self {
        // Other bits each time: two flows that share a cell here do not go on doing so.
        let hops = hops % HOPS_MAX;
        let cell = (hash >> (hops * u64::BITS as usize / HOPS_MAX)) as usize % FLOW_CELLS;
        Self((hops * FLOW_CELLS + cell) as u16)
    }
}

/// How many of the frames that a gateway handed on are finished: by gateway and cell. Shared by all of them.
///
/// # Concurrency
/// Added to by whoever finishes a frame (release: its transmit queue has taken the frame); read by the gateway whose cell it
/// is (acquire). Additions only, so the last one read brings along all that came before it.
pub(crate) struct Finished(Box<[AtomicU32]>);

impl Finished {
    /// Of `gateways`, none of which has handed anything on.
    pub(crate) fn new(gateways: usize) -> Self {
        Self((0..gateways * CELLS).map(|_| AtomicU32::new(0)).collect())
    }

    /// The frame of this ticket is finished, and the transmit queue has it if it was sent.
    pub(crate) fn credit(&self, ticket: Ticket) {
        self.cell(ticket.gateway, ticket.cell).fetch_add(1, Ordering::Release);
    }

    fn count(&self, gateway: WorkerIndex, cell: u16) -> u32 {
        self.cell(gateway, cell).load(Ordering::Acquire)
    }

    fn cell(&self, gateway: WorkerIndex, cell: u16) -> &AtomicU32 {
        &self.0[usize::from(gateway.0) * CELLS + usize::from(cell)]
    }
}

/// What a gateway remembers of a cell.
#[derive(Clone, Copy)]
struct Cell {
    sent: u32,
    /// As far as it knows; asked for anew only while that is not all.
    finished: u32,
    to: WorkerIndex,
}

const _: () = assert!(size_of::<Cell>() == 12);

/// Which frames a gateway has handed on, and where to. See the module's page.
pub(crate) struct HandedOn {
    me: WorkerIndex,
    cells: Box<[Cell]>,
    /// Cells that were open when they were last looked at.
    open: u32,
    /// A bit for each gateway that has stopped.
    stopped: u32,
}

impl HandedOn {
    /// Of a gateway that has handed on nothing that is still under way.
    pub(crate) fn new(me: WorkerIndex, finished: &Finished) -> Self {
        let cell = |cell| {
            let count = finished.count(me, cell);
            Cell { sent: count, finished: count, to: me }
        };
        Self { me, cells: (0..CELLS as u16).map(cell).collect(), open: 0, stopped: 0 }
    }

    /// Whether every cell is closed, so that none needs to be looked at.
    pub(crate) fn is_quiet(&self) -> bool {
        self.open == 0
    }

    /// Where a frame of this cell has to follow the ones before it, if any of them is still under way.
    pub(crate) fn follows(&mut self, cell: CellIndex, finished: &Finished) -> Option<WorkerIndex> {
        let at = &mut self.cells[usize::from(cell.0)];
        if at.sent == at.finished {
            return None;
        }
        at.finished = finished.count(self.me, cell.0);
        if at.sent == at.finished {
            self.open -= 1;
            return None;
        }
        (self.stopped >> at.to.0 & 1 == 0).then_some(at.to)
    }

    /// Notes which gateways have stopped, a bit for each: nobody follows anybody there.
    pub(crate) fn note_stopped(&mut self, stopped: u32) {
        self.stopped = stopped;
    }

    /// Notes that a frame is handed on which has to go to `owner`. Says where it goes: there, or behind those that are
    /// under way by its cell.
    pub(crate) fn hand_on(
        &mut self,
        cell: CellIndex,
        owner: WorkerIndex,
        finished: &Finished,
    ) -> (WorkerIndex, Ticket) {
        let to = self.follows(cell, finished).unwrap_or(owner);
        let at = &mut self.cells[usize::from(cell.0)];
        if at.sent == at.finished {
            self.open += 1;
        }
        at.sent = at.sent.wrapping_add(1);
        at.to = to;
        (to, Ticket { gateway: self.me, cell: cell.0 })
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    const ME: WorkerIndex = WorkerIndex(3);
    const ONE: WorkerIndex = WorkerIndex(1);
    const TWO: WorkerIndex = WorkerIndex(2);

    fn gateway() -> (Finished, HandedOn) {
        let finished = Finished::new(4);
        let handed_on = HandedOn::new(ME, &finished);
        (finished, handed_on)
    }

    #[test]
    fn a_frame_follows_until_all_before_it_are_finished() {
        let (finished, mut handed_on) = gateway();
        let cell = CellIndex::of(7, 0);
        assert_eq!(handed_on.follows(cell, &finished), None);
        let (to, first) = handed_on.hand_on(cell, ONE, &finished);
        assert_eq!(to, ONE);
        assert_eq!(handed_on.follows(cell, &finished), Some(ONE));
        let (to, second) = handed_on.hand_on(cell, TWO, &finished);
        assert_eq!(to, ONE, "the way changes only while nobody is on it");
        finished.credit(first);
        assert_eq!(handed_on.follows(cell, &finished), Some(ONE));
        assert!(!handed_on.is_quiet());
        finished.credit(second);
        assert_eq!(handed_on.follows(cell, &finished), None);
        assert!(handed_on.is_quiet());
        assert_eq!(handed_on.hand_on(cell, TWO, &finished).0, TWO);
    }

    #[test]
    fn nobody_follows_to_a_gateway_that_has_stopped() {
        let (finished, mut handed_on) = gateway();
        let cell = CellIndex::of(7, 0);
        let (_, first) = handed_on.hand_on(cell, ONE, &finished);
        handed_on.note_stopped(1 << ONE.0);
        assert_eq!(handed_on.follows(cell, &finished), None);
        let (to, second) = handed_on.hand_on(cell, TWO, &finished);
        assert_eq!(to, TWO);
        assert_eq!(handed_on.follows(cell, &finished), Some(TWO), "order goes on elsewhere");
        handed_on.note_stopped(0);
        finished.credit(first);
        finished.credit(second);
        assert_eq!(handed_on.follows(cell, &finished), None);
        assert!(handed_on.is_quiet());
    }

    #[test]
    fn a_cell_closes_unseen_and_opens_again() {
        let (finished, mut handed_on) = gateway();
        let cell = CellIndex::of(7, 0);
        for owner in [ONE, TWO, ONE] {
            let (to, ticket) = handed_on.hand_on(cell, owner, &finished);
            assert_eq!(to, owner);
            finished.credit(ticket);
        }
        assert_eq!(handed_on.follows(cell, &finished), None);
        assert!(handed_on.is_quiet());
    }

    #[test]
    fn a_flow_has_another_cell_each_time_it_is_handed_on() {
        for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
            let cells: Vec<_> = (0..HOPS_MAX).map(|hops| CellIndex::of(hash, hops)).collect();
            for (at, cell) in cells.iter().enumerate() {
                assert!(!cells[..at].contains(cell), "{cells:?}");
            }
        }
    }

    #[test]
    fn two_flows_that_share_a_cell_part_at_the_next() {
        let (one, two) = (0x1111_2222_3333_0444, 0x5555_6666_7777_0444);
        assert_eq!(CellIndex::of(one, 0), CellIndex::of(two, 0));
        assert!((1..HOPS_MAX).all(|hops| CellIndex::of(one, hops) != CellIndex::of(two, hops)));
    }

    #[test]
    fn a_gateway_that_comes_after_another_finds_its_cells_closed() {
        let (finished, mut handed_on) = gateway();
        let cell = CellIndex::of(7, 0);
        let (_, ticket) = handed_on.hand_on(cell, ONE, &finished);
        finished.credit(ticket);
        let mut next = HandedOn::new(ME, &finished);
        assert!(next.is_quiet());
        assert_eq!(next.follows(cell, &finished), None);
    }

    #[test]
    fn counts_wrap() {
        let (finished, mut handed_on) = gateway();
        let cell = CellIndex::of(0, 0);
        finished.cell(ME, cell.0).store(u32::MAX, Ordering::Relaxed);
        handed_on.cells[0] = Cell { sent: u32::MAX, finished: u32::MAX, to: ME };
        let (_, ticket) = handed_on.hand_on(cell, ONE, &finished);
        assert_eq!(handed_on.follows(cell, &finished), Some(ONE));
        finished.credit(ticket);
        assert_eq!(handed_on.follows(cell, &finished), None);
    }
}
