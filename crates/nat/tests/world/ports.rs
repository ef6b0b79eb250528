//! Ports of plain memory.

use nat::Counters;
use packet::{Burst, PacketIo, PortIndex, Sent};

/// Keeps what is sent until it is flushed. Nothing is received here: a test hands its frames over itself.
#[derive(Default)]
pub(crate) struct Ports {
    sent: Vec<(PortIndex, Vec<u8>)>,
    /// No buffer is left for frames of the gateway's own.
    pub(crate) out_of_buffers: bool,
}

impl Ports {
    /// Takes what was sent, in order, and counts it as a worker does.
    pub(crate) fn flush_into(&mut self, counters: &Counters) -> Vec<(PortIndex, Vec<u8>)> {
        for (port, frame) in &self.sent {
            counters.sent(*port, 1, frame.len() as u64);
        }
        std::mem::take(&mut self.sent)
    }
}

impl PacketIo for Ports {
    type Frame = Vec<u8>;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Vec<u8>>) {}

    fn send(&mut self, port: PortIndex, frame: Vec<u8>) {
        self.sent.push((port, frame));
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Vec<u8>> {
        (!self.out_of_buffers).then(Vec::new)
    }
}
