//! Frames for a reader.

use crate::oracle::{Frame, read};

/// A frame on one line.
pub(crate) fn line(frame: &Frame) -> String {
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    let head = format!("network {} {} > {}", frame.segment, mac(frame.from), mac(frame.to));
    let what = read(&frame.packet).map_or("unreadable".to_owned(), |header| {
        let kind = match header.protocol {
            6 => {
                let [sequence, acknowledged, window] = header.numbers;
                format!("TCP {} {sequence} acknowledges {acknowledged} window {window}", flags(header.flags))
            }
            17 => "UDP".to_owned(),
            1 => format!("ICMP type {}", header.icmp),
            other => format!("protocol {other}"),
        };
        let part = match (header.offset, header.more) {
            (0, false) => String::new(),
            (offset, more) => format!(" fragment at {}{}", offset * 8, if more { "+" } else { "" }),
        };
        let ((source, from), (destination, to)) = (header.source, header.destination);
        format!(
            "{source}:{from} > {destination}:{to} {kind}{part} ttl {} length {}",
            header.ttl, header.total
        )
    });
    format!("{head}: {what}")
}

/// How many lines of sixteen bytes are shown.
const LINES: usize = 6;

/// A frame on one line, and its first bytes on others.
pub(crate) fn frame(frame: &Frame) -> String {
    let bytes: Vec<String> = frame
        .packet
        .chunks(16)
        .take(LINES)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "))
        .collect();
    format!("{}\n      {}", line(frame), bytes.join("\n      "))
}

fn flags(flags: u8) -> String {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK"];
    let set = names.iter().enumerate().filter(|(bit, _)| flags & 1 << bit != 0);
    set.map(|(_, name)| *name).collect::<Vec<_>>().join("+")
}
