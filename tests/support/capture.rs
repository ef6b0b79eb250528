//! Capture files of the classic form (pcap), in the machine's own byte order.

use std::fs;
use std::path::Path;

/// Magic, version 2.4, time zone, accuracy, longest frame, Ethernet.
const FILE_HEADER: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1];

/// Writes frames to a file.
pub(crate) fn write<'a>(path: &Path, frames: impl IntoIterator<Item = &'a [u8]>) {
    let mut file: Vec<u8> = FILE_HEADER.into_iter().flat_map(u32::to_ne_bytes).collect();
    for frame in frames {
        let length = frame.len() as u32;
        // Seconds, microseconds, bytes here, bytes on the wire.
        file.extend([0, 0, length, length].into_iter().flat_map(u32::to_ne_bytes));
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

/// Reads the frames of a file, in order.
pub(crate) fn read(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let mut rest = file.get(size_of_val(&FILE_HEADER)..).expect("the file has its header");
    let mut frames = Vec::new();
    while let Some((header, data)) = rest.split_at_checked(16) {
        let length = u32::from_ne_bytes(header[8..12].try_into().unwrap()) as usize;
        let (frame, behind) = data.split_at(length);
        frames.push(frame.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty(), "the file ends with a whole frame");
    frames
}
