//! What each frame carries in its data: which flow it is of, and when it was sent.
//!
//! Behind each number stands its complement, so that whatever they are, their sum is that of the zeros which were there when
//! the UDP checksum was computed: it stays right, and nobody computes it again.
//!
//! ```text
//! frame   | headers and data | flow | !flow | sent, ns | !sent |    |
//!         0                  46     50      54         58      62   64
//! ```

use std::time::{Duration, Instant};

/// Bytes of every frame, tagged or not.
pub(crate) const FRAME_BYTES: usize = 64;

const FLOW: usize = 46;
const SENT: usize = 54;

/// Writes which flow a frame is of.
pub(crate) fn set_flow(frame: &mut [u8; FRAME_BYTES], flow: usize) {
    write(frame, FLOW, flow as u32);
}

/// Which flow a frame is of; `None` where it carries no stamp.
pub(crate) fn flow(frame: &[u8]) -> Option<usize> {
    read(frame, FLOW).map(|flow| flow as usize)
}

/// Writes when a frame is sent.
#[inline]
pub(crate) fn set_sent(frame: &mut [u8; FRAME_BYTES], clock: Clock) {
    write(frame, SENT, clock.0);
}

/// How long a frame was under way; `None` where it carries no stamp.
#[inline]
pub(crate) fn under_way(frame: &[u8], now: Clock) -> Option<Duration> {
    let sent = read(frame, SENT)?;
    Some(Duration::from_nanos(now.0.wrapping_sub(sent).into()))
}

/// A time that frames carry: nanoseconds, beginning again after four seconds.
#[derive(Clone, Copy)]
pub(crate) struct Clock(u32);

impl Clock {
    /// As it stands so long after the start.
    pub(crate) fn at(start: Instant, now: Instant) -> Self {
        Self((now - start).as_nanos() as u32)
    }
}

#[inline]
fn write(frame: &mut [u8; FRAME_BYTES], at: usize, value: u32) {
    let pair = u64::from(value) << 32 | u64::from(!value);
    frame[at..at + 8].copy_from_slice(&pair.to_be_bytes());
}

#[inline]
fn read(frame: &[u8], at: usize) -> Option<u32> {
    let pair = u64::from_be_bytes(*frame.get(at..)?.first_chunk()?);
    let value = (pair >> 32) as u32;
    (pair as u32 == !value).then_some(value)
}

#[cfg(test)]
mod tests {
    use packet::testing;

    use super::*;
    use crate::scene::Scene;

    #[test]
    fn a_stamp_leaves_every_checksum_right() {
        for scene in [Scene::Cloud, Scene::Plain] {
            for flow in [0, 1, 62_999, 0x0102_0304, 0xffff_ffff] {
                let mut frame: [u8; FRAME_BYTES] = scene.request(flow % 1_000_000).try_into().unwrap();
                set_flow(&mut frame, flow);
                set_sent(&mut frame, Clock(flow as u32 ^ 0x55aa_1234));
                testing::assert_checksums(&frame);
                assert_eq!(super::flow(&frame), Some(flow));
                let later = Clock((flow as u32 ^ 0x55aa_1234).wrapping_add(1_500));
                assert_eq!(under_way(&frame, later), Some(Duration::from_nanos(1_500)));
            }
        }
    }

    #[test]
    fn a_frame_without_a_stamp_is_nobodys() {
        let frame = Scene::Plain.request(7);
        assert_eq!(flow(&frame), None);
        assert_eq!(flow(&frame[..40]), None);
    }
}
