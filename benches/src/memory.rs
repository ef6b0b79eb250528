//! Packet buffers that go round in plain memory: what a port is to the gateway, at the least cost.

use crate::scene::{External, external_of};
use packet::{Burst, Frame, NoRoom, PacketIo, PortIndex, Sent};

/// Bytes in front of a frame: with the two words before them, a cache line.
const HEADROOM: u8 = 60;
/// Room for the longest frame, of an MTU of 1,500, under a tag; cache lines in an odd number, so that the frames of a burst do not
/// compete for the same places of a cache.
const ROOM: usize = HEADROOM as usize + 1_536;

/// A buffer with a frame: as wide as a pointer, as a driver's are.
pub struct Buffer(Box<Room>);

/// What says where the frame is lies in front of it, as a driver's does.
#[repr(C, align(64))]
struct Room {
    start: u8,
    length: u16,
    bytes: [u8; ROOM],
}

const _: () = assert!(size_of::<Room>() / 64 % 2 == 1);

/// Ports that send nowhere: a sent buffer is free again. Received is what is [`filled`](Memory::filled).
#[derive(Default)]
pub struct Memory {
    free: Vec<Buffer>,
    /// Frames sent.
    pub sent: u64,
    /// The external endpoint by which each frame has left, where they are to be known.
    pub kept: Option<Vec<External>>,
}

impl Memory {
    /// A buffer with this frame, as a network card would have written it.
    pub fn filled(&mut self, frame: &[u8]) -> Buffer {
        let mut buffer = self
            .free
            .pop()
            .unwrap_or_else(|| Buffer(Box::new(Room { start: 0, length: 0, bytes: [0; ROOM] })));
        (buffer.0.start, buffer.0.length) = (HEADROOM, frame.len() as u16);
        buffer.bytes_mut().copy_from_slice(frame);
        buffer
    }
}

impl PacketIo for Memory {
    type Frame = Buffer;

    fn receive(&mut self, _: PortIndex, _: &mut Burst<Buffer>) {}

    #[inline(always)]
    fn send(&mut self, _: PortIndex, frame: Buffer) {
        self.sent += 1;
        if let Some(kept) = &mut self.kept {
            kept.push(external_of(frame.bytes()));
        }
        self.free.push(frame);
    }

    fn flush(&mut self, _: PortIndex) -> Sent {
        Sent::default()
    }

    fn allocate(&mut self) -> Option<Buffer> {
        Some(self.filled(&[]))
    }
}

impl Frame for Buffer {
    #[inline]
    fn bytes(&self) -> &[u8] {
        &self.0.bytes[usize::from(self.0.start)..][..usize::from(self.0.length)]
    }

    #[inline]
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0.bytes[usize::from(self.0.start)..][..usize::from(self.0.length)]
    }

    #[inline]
    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        let grown = u8::try_from(count).ok().and_then(|count| self.0.start.checked_sub(count));
        self.0.start = grown.ok_or(NoRoom)?;
        self.0.length += count as u16;
        Ok(())
    }

    #[inline]
    fn shrink_front(&mut self, count: usize) {
        assert!(count <= usize::from(u8::MAX - self.0.start) && count <= usize::from(self.0.length));
        self.0.start += count as u8;
        self.0.length -= count as u16;
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        if usize::from(self.0.start) + length > self.0.bytes.len() {
            return Err(NoRoom);
        }
        self.0.length = length as u16;
        Ok(())
    }
}
