//! The rows an operator sees.
//!
//! They are plain data with units in their names. A field may be added at any time; none changes its meaning. A reader
//! ignores fields it does not know, and a field that an older daemon does not send has its default.

mod pool;
mod router;
mod session;
mod status;

pub use pool::PoolRow;
pub use router::{
    DropRow, FloatingIpRow, GatewayRow, InterfaceRow, PortForwardingRow, RouterRow, RouterState, SessionCount,
};
pub use session::{SessionProtocol, SessionRow, SessionState};
pub use status::{
    BooksRow, FeedRow, HugepagesRow, PortRow, RegionRow, RejectRow, StagesRow, Status, TableRow, WorkerRow,
    WorkerState,
};
