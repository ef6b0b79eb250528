//! What of `nat` the gateways share beside the table.
#![allow(dead_code, reason = "what a gateway asks for beside the order of frames")]

#[path = "../../../crates/nat/src/hand_off.rs"]
pub(crate) mod hand_off;
#[path = "../../../crates/nat/src/sync.rs"]
pub(crate) mod sync;

/// As in `nat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerIndex(pub u8);
