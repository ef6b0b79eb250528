//! The gateway's books, held against what the ports' drivers counted.

use std::collections::BTreeMap;

use dpdk::{Port, PortStats};
use nat::{Books, Counters, DropReason, PortCounters};
use worker::Handle;

/// The sum of a count over all workers.
pub(crate) fn sum(workers: &[Handle], count: impl Fn(&Counters) -> u64) -> u64 {
    workers.iter().map(|worker| count(worker.counters())).sum()
}

/// Asserts that the books close, each worker's and all together, and that each port's are what its driver has counted
/// since it counted `before`.
#[track_caller]
pub(crate) fn assert_closed(workers: &[Handle], ports: &[Port], before: &[PortStats]) {
    let books: Vec<Books> = workers.iter().map(|worker| worker.counters().books()).collect();
    assert!(books.iter().all(|books| books.balance() == 0), "{books:?}");
    assert_eq!(books.into_iter().sum::<Books>().in_rings(), 0, "nothing is under way between workers");
    assert_eq!(sum(workers, |counters| counters.unmade.get()), 0, "buffers for frames of our own were there");
    for (index, (port, before)) in ports.iter().zip(before).enumerate() {
        let ours = |count: fn(&PortCounters) -> u64| sum(workers, |counters| count(&counters.ports[index]));
        let now = port.stats().unwrap();
        let name = port.name();
        let cut = port.multi_segment_dropped();
        let received = ours(|port| port.received_frames.get()) + cut;
        assert_eq!(received, now.rx_frames - before.rx_frames, "{name}: frames received");
        assert_eq!(
            ours(|port| port.sent_frames.get()),
            now.tx_frames - before.tx_frames,
            "{name}: frames sent"
        );
        assert_eq!(ours(|port| port.sent_bytes.get()), now.tx_bytes - before.tx_bytes, "{name}: bytes sent");
        if cut == 0 {
            let received = ours(|port| port.received_bytes.get());
            assert_eq!(received, now.rx_bytes - before.rx_bytes, "{name}: bytes received");
        }
        let lost = |stats: &PortStats| (stats.rx_missed, stats.rx_errors, stats.rx_no_mbuf, stats.tx_errors);
        assert_eq!(lost(&now), lost(before), "{name}: frames missed or refused, errors, no buffers");
    }
}

/// What the ports' drivers have counted so far.
pub(crate) fn stats(ports: &[Port]) -> Vec<PortStats> {
    ports.iter().map(|port| port.stats().unwrap()).collect()
}

/// Every reason for which a frame was dropped, and how many were.
pub(crate) fn drops(workers: &[Handle]) -> BTreeMap<&'static str, u64> {
    let count = |reason| sum(workers, |counters| counters.dropped(reason));
    let all = DropReason::ALL.into_iter().map(|reason| (reason.name(), count(reason)));
    all.filter(|(_, count)| *count > 0).collect()
}
