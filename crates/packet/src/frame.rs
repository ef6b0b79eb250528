//! Who owns a frame's bytes, and how frames enter and leave.
//!
//! The brain is generic over [`Frame`] and [`PacketIo`], so the same code runs over DPDK's mbufs, and over plain
//! vectors in tests and in the simulator.

use arrayvec::ArrayVec;

/// The most frames that one receive returns and that one pass of the stages carries.
pub const BURST_FRAMES_MAX: usize = 32;

/// Frames on their way through the stages together.
pub type Burst<F> = ArrayVec<F, BURST_FRAMES_MAX>;

/// One of the gateway's ports, counted from 0 in the order of the node's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortIndex(pub u8);

/// The frame's buffer has no room for the bytes asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room in the frame's buffer")]
pub struct NoRoom;

/// An owned frame: contiguous bytes from the Ethernet header on, without the frame check sequence.
///
/// Dropping a frame gives its buffer back.
pub trait Frame: Sized {
    /// The frame's bytes.
    fn bytes(&self) -> &[u8];

    /// The frame's bytes, to be changed in place.
    fn bytes_mut(&mut self) -> &mut [u8];

    /// Adds `count` bytes in front, their contents unspecified.
    ///
    /// # Errors
    /// [`NoRoom`] where the headroom is smaller; the frame is unchanged.
    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom>;

    /// Removes `count` bytes in front.
    ///
    /// # Panics
    /// If the frame is shorter than `count`.
    fn shrink_front(&mut self, count: usize);

    /// Makes the frame `length` bytes long, by cutting or adding at the end; added bytes are unspecified.
    ///
    /// # Errors
    /// [`NoRoom`] where the buffer is smaller; the frame is unchanged.
    fn resize(&mut self, length: usize) -> Result<(), NoRoom>;
}

/// What became of the frames that were handed to [`PacketIo::send`] for one port since the last flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames the port took.
    pub frames: u64,
    /// Their bytes, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
    /// Frames the port had no room for; their buffers are given back.
    pub refused: u64,
}

/// One worker's way to its ports: the boundary between the brain and the edge.
pub trait PacketIo {
    /// The frames these ports carry.
    type Frame: Frame;

    /// Appends what has arrived on `port` to `frames`, up to its capacity. Never waits.
    fn receive(&mut self, port: PortIndex, frames: &mut Burst<Self::Frame>);

    /// Hands `frame` to `port`. It may stay queued here until [`flush`](Self::flush), and leaves in order.
    fn send(&mut self, port: PortIndex, frame: Self::Frame);

    /// Pushes out what is queued for `port` and reports what became of everything sent since the last flush.
    fn flush(&mut self, port: PortIndex) -> Sent;

    /// An empty frame to write into, with headroom for a VLAN tag; `None` where no buffer is left.
    fn allocate(&mut self) -> Option<Self::Frame>;
}

/// A frame in plain memory, for tests and the simulator.
impl Frame for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        self
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        self.splice(0..0, core::iter::repeat_n(0, count));
        Ok(())
    }

    fn shrink_front(&mut self, count: usize) {
        self.drain(..count);
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        Vec::resize(self, length, 0);
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests;
