//! The gateway's books, held against what the ports' drivers counted.

use std::collections::BTreeMap;

use dpdk::Port;
use nat::{Counters, DropReason};

/// Asserts that the books close, that each port's are what its driver counted, and that nothing waits any more.
#[track_caller]
pub(crate) fn assert_closed(counters: &Counters, ports: &[Port]) {
    let books = counters.books();
    assert_eq!(books.balance(), 0, "{books:?}");
    assert_eq!(counters.unmade.get(), 0, "buffers for frames of our own were there");
    for (port, ours) in ports.iter().zip(&counters.ports) {
        let driver = port.stats().unwrap();
        let name = port.name();
        let received = ours.received_frames.get() + port.multi_segment_dropped();
        assert_eq!(received, driver.rx_frames, "{name}: frames received: {driver:?}");
        assert_eq!(ours.sent_frames.get(), driver.tx_frames, "{name}: frames sent: {driver:?}");
        assert_eq!(ours.sent_bytes.get(), driver.tx_bytes, "{name}: bytes sent: {driver:?}");
        if port.multi_segment_dropped() == 0 {
            assert_eq!(ours.received_bytes.get(), driver.rx_bytes, "{name}: bytes received: {driver:?}");
        }
        let lost = (driver.rx_missed, driver.rx_errors, driver.rx_no_mbuf, driver.tx_errors);
        assert_eq!(lost, (0, 0, 0, 0), "{name}: {driver:?}");
    }
}

/// Every reason for which a frame was dropped, and how many were.
pub(crate) fn drops(counters: &Counters) -> BTreeMap<&'static str, u64> {
    let all = DropReason::ALL.into_iter().map(|reason| (reason.name(), counters.dropped(reason)));
    all.filter(|(_, count)| *count > 0).collect()
}
