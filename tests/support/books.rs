//! The gateway's books, held against what the ports' drivers counted.

use std::collections::BTreeMap;

use dpdk::{Port, PortStats};
use nat::{Counters, DropReason};

/// Asserts that the books close, and that each port's are what its driver has counted since it counted `before`.
#[track_caller]
pub(crate) fn assert_closed(counters: &Counters, ports: &[Port], before: &[PortStats]) {
    let books = counters.books();
    assert_eq!(books.balance(), 0, "{books:?}");
    assert_eq!(counters.unmade.get(), 0, "buffers for frames of our own were there");
    for ((port, ours), before) in ports.iter().zip(&counters.ports).zip(before) {
        let now = port.stats().unwrap();
        let name = port.name();
        let cut = port.multi_segment_dropped();
        let received = ours.received_frames.get() + cut;
        assert_eq!(received, now.rx_frames - before.rx_frames, "{name}: frames received");
        assert_eq!(ours.sent_frames.get(), now.tx_frames - before.tx_frames, "{name}: frames sent");
        assert_eq!(ours.sent_bytes.get(), now.tx_bytes - before.tx_bytes, "{name}: bytes sent");
        if cut == 0 {
            let received = ours.received_bytes.get();
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
pub(crate) fn drops(counters: &Counters) -> BTreeMap<&'static str, u64> {
    let all = DropReason::ALL.into_iter().map(|reason| (reason.name(), counters.dropped(reason)));
    all.filter(|(_, count)| *count > 0).collect()
}
