//! Teams of workers with real gateways over one state, on ports of plain memory: turned by hand, and on threads.

#![allow(clippy::unwrap_used, reason = "helpers of tests may stop where a test may")]

mod bare;
mod fleet;
mod order;
mod restart;
mod torture;
mod trouble;
mod turn;
mod wires;
mod world;
