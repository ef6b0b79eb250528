//! Which worker reads which queue.
//!
//! Every worker has a transmit queue of its own on every port. Receive queues may be fewer: an uplink with a single one still
//! serves several workers. Whoever has it hands on what it may not do itself, and the others only send there.
//!
//! ```text
//!              port 0: as many    port 1: one    port 2: one
//! worker 0     rx 0  tx 0         rx 0  tx 0           tx 0
//! worker 1     rx 1  tx 1               tx 1     rx 0  tx 1
//! worker 2     rx 2  tx 2               tx 2           tx 2
//! ```

use packet::PortIndex;

use crate::{Mempool, RxQueue, TxQueue, WorkerPorts};

/// The workers that read the receive queues of each port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueMap(Vec<Vec<u16>>);

impl QueueMap {
    /// The workers that read receive queue 0, 1 and so on of a port; none for a port that is not there.
    pub fn workers_of(&self, port: PortIndex) -> &[u16] {
        self.0.get(usize::from(port.0)).map_or(&[], Vec::as_slice)
    }

    /// Of ports with so many receive queues each. Those of ports that have fewer than there are workers go round,
    /// so that no worker has all of them.
    fn draw(receive_queues: impl IntoIterator<Item = usize>, workers: usize) -> Self {
        let mut turn = (0..workers as u16).cycle();
        let port = |queues: usize| match queues {
            all if all == workers => (0..workers as u16).collect(),
            few => turn.by_ref().take(few).collect(),
        };
        Self(receive_queues.into_iter().map(port).collect())
    }
}

impl WorkerPorts {
    /// The queues of all ports, shared out to `workers`; what they allocate is taken from `pool`.
    ///
    /// # Panics
    /// If a port has not as many transmit queues as there are workers, or more receive queues.
    pub fn share_out(
        ports: impl IntoIterator<Item = (Vec<RxQueue>, Vec<TxQueue>)>,
        workers: u16,
        pool: &Mempool,
    ) -> (Vec<Self>, QueueMap) {
        Self::share_out_from(ports, &vec![pool.clone(); workers.into()])
    }

    /// The same, with a pool for each worker.
    ///
    /// # Panics
    /// As [`share_out`](Self::share_out).
    pub fn share_out_from(
        ports: impl IntoIterator<Item = (Vec<RxQueue>, Vec<TxQueue>)>,
        pools: &[Mempool],
    ) -> (Vec<Self>, QueueMap) {
        let ports: Vec<_> = ports.into_iter().collect();
        let workers = pools.len();
        let map = QueueMap::draw(ports.iter().map(|(rx, _)| rx.len()), workers);
        let mut shares: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for ((rx, tx), readers) in ports.into_iter().zip(&map.0) {
            assert!(tx.len() == workers && rx.len() <= workers, "queues for {workers} workers");
            shares.iter_mut().zip(tx).for_each(|(share, tx)| share.push((None, tx)));
            for (rx, reader) in rx.into_iter().zip(readers) {
                if let Some((slot, _)) = shares[usize::from(*reader)].last_mut() {
                    *slot = Some(rx);
                }
            }
        }
        let shares = shares.into_iter().zip(pools);
        (shares.map(|(share, pool)| Self::new(share, pool.clone())).collect(), map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_worker_reads_its_own_queue_where_there_is_one_for_each() {
        assert_eq!(QueueMap::draw([3, 3], 3), QueueMap(vec![vec![0, 1, 2], vec![0, 1, 2]]));
    }

    #[test]
    fn queues_that_are_too_few_go_round() {
        assert_eq!(
            QueueMap::draw([1, 3, 1, 2], 3),
            QueueMap(vec![vec![0], vec![0, 1, 2], vec![1], vec![2, 0]])
        );
        assert_eq!(QueueMap::draw([1, 1], 1), QueueMap(vec![vec![0], vec![0]]));
    }
}
