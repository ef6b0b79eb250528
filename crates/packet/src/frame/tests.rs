//! A frame that runs out of room, as an mbuf does and a vector does not.

use super::*;

/// Headroom of a fresh [`Buffer`], in bytes.
pub(crate) const HEADROOM: usize = 16;
const SIZE: usize = 4096;

/// A fixed buffer that is dirty from earlier use.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8; SIZE]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// A frame of `bytes`, with [`HEADROOM`] in front.
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        let mut buffer = Self { bytes: Box::new([0xee; SIZE]), start: HEADROOM, end: HEADROOM + bytes.len() };
        buffer.bytes_mut().copy_from_slice(bytes);
        buffer
    }

    /// A frame of no bytes in a buffer that ends `room` bytes on.
    pub(crate) fn with_room(room: usize) -> Self {
        Self { bytes: Box::new([0xee; SIZE]), start: SIZE - room, end: SIZE - room }
    }
}

impl Frame for Buffer {
    fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn grow_front(&mut self, count: usize) -> Result<(), NoRoom> {
        self.start = self.start.checked_sub(count).ok_or(NoRoom)?;
        Ok(())
    }

    fn shrink_front(&mut self, count: usize) {
        assert!(count <= self.end - self.start);
        self.start += count;
    }

    fn resize(&mut self, length: usize) -> Result<(), NoRoom> {
        if self.start + length > SIZE {
            return Err(NoRoom);
        }
        self.end = self.start + length;
        Ok(())
    }
}

#[test]
fn a_vector_grows_and_shrinks_at_both_ends() {
    let mut frame = vec![1, 2, 3];
    frame.grow_front(2).unwrap();
    assert_eq!(frame.bytes().len(), 5);
    assert_eq!(frame.bytes()[2..], [1, 2, 3]);
    frame.shrink_front(3);
    assert_eq!(frame.bytes(), [2, 3]);
    Frame::resize(&mut frame, 4).unwrap();
    assert_eq!(frame.bytes()[..2], [2, 3]);
    Frame::resize(&mut frame, 1).unwrap();
    assert_eq!(frame.bytes(), [2]);
}
