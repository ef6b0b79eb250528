//! Workers over one state: who owns which shard, and rings from each to each.

use std::sync::Arc;

use nat::{Configuration, Gateway, Shard, State, WORKERS_MAX, WorkerIndex};
use packet::PacketIo;

use crate::exchange::Exchange;
use crate::{Handle, Worker};

/// Workers over `state`, one for each of `io`, in order, and the control thread's ends of them. Each has the ports 0 to
/// `ports - 1`.
///
/// The number of workers is fixed for their lives. Another number is another team, made of what
/// [`Worker::run`] gives back when all of the one before have been stopped: shards, and with them every session, are
/// shared out anew.
///
/// # Panics
/// If there are none, or more than [`WORKERS_MAX`].
pub fn team<I: PacketIo>(
    state: &Arc<State>,
    mut shards: Vec<Shard>,
    io: Vec<I>,
    ports: u8,
    configuration: &Configuration,
) -> Vec<(Worker<I>, Handle)>
where
    I::Frame: Send,
{
    assert!((1..=WORKERS_MAX).contains(&io.len()), "{} workers", io.len());
    state.assign(io.len() as u8);
    let exchanges = Exchange::between(io.len());
    let workers = io.into_iter().zip(exchanges).enumerate().map(|(index, (io, exchange))| {
        let me = WorkerIndex(index as u8);
        let own: Vec<_> = shards.extract_if(.., |shard| state.worker_of(shard.index()) == me).collect();
        let handle = Handle::new(Arc::clone(state), me, own.len());
        let gateway = Gateway::new(state, me, own, configuration.clone());
        (Worker::new(io, ports, gateway, exchange, Arc::clone(state), &handle), handle)
    });
    workers.collect()
}
