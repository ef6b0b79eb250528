//! The parsers and rewriters on bytes: what etherparse reads too is read alike, and what is rewritten stays as right, or as
//! wrong, as it was.

use std::net::Ipv4Addr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use packet::rewrite::{Replacement, Rewrite};
use packet::{Fragment, Parsed, Payload, Protocol, arp, icmp, rewrite};

use crate::bytes::Bytes;
use crate::frames::{self, ICMP, Spec, TCP, UDP, network_offset};
use crate::outcome::Outcome;

pub(crate) fn play(input: &[u8], outcome: &mut Outcome) {
    let mut bytes = Bytes::new(input);
    let mut count = 0;
    while !bytes.is_empty() && count < 4_096 {
        count += 1;
        let mut frame = frame(&mut bytes);
        let new = Rewrite { source: replacement(&mut bytes), destination: replacement(&mut bytes) };
        outcome.packets += 1;
        judge(&mut frame, new, outcome);
    }
}

/// A frame that is nearly right, or any bytes.
fn frame(bytes: &mut Bytes) -> Vec<u8> {
    let choice = bytes.byte();
    if choice & 7 == 7 {
        let length = usize::from(bytes.byte());
        return bytes.take(length).to_vec();
    }
    let protocol = [TCP, UDP, ICMP, 136, 33, 47, UDP][usize::from(choice & 7)];
    let spec = Spec {
        to_mac: [2; 6],
        from_mac: [4; 6],
        vlan: if choice & 8 == 0 { 0 } else { 0x6000 | 100 },
        source: Ipv4Addr::from(bytes.u32()),
        destination: Ipv4Addr::from(bytes.u32()),
        protocol,
        source_port: bytes.u16(),
        destination_port: bytes.u16(),
        kind: bytes.byte(),
        sequence: bytes.u32(),
        acknowledgement: 7,
        segment_max: if choice & 16 == 0 { 0 } else { 1_400 },
        ttl: bytes.byte(),
        dont_fragment: choice & 32 != 0,
        identification: 9,
        options: [0, 0, 0, 10][usize::from(choice >> 6)],
        payload: usize::from(bytes.byte()),
        serial: 0,
    };
    let mut frame = Vec::new();
    frames::build(&spec, &mut frame);
    if protocol == ICMP && frames::is_error(spec.kind) {
        let about = frame[network_offset(&frame)..].to_vec();
        let inner = Spec { protocol: if choice & 32 == 0 { TCP } else { UDP }, ..spec };
        let mut quoted = Vec::new();
        frames::build(&inner, &mut quoted);
        let quoted = if choice & 16 == 0 { &about } else { &quoted[network_offset(&quoted)..] };
        frames::build_error(&spec, (spec.kind, 0, 0), quoted, spec.payload, &mut frame);
    }
    let changes = bytes.byte();
    for _ in 0..changes & 3 {
        let place = usize::from(bytes.u16()) % frame.len();
        frame[place] = bytes.byte();
    }
    if changes & 4 != 0 {
        frame.truncate(usize::from(bytes.u16()) % frame.len());
    }
    if changes & 8 == 0 {
        frames::seal_header(&mut frame);
    }
    frame
}

fn replacement(bytes: &mut Bytes) -> Option<Replacement> {
    let choice = bytes.byte();
    let address = Ipv4Addr::from(u32::from(bytes.u16()) << 16 | 0x0102);
    (choice & 3 != 0)
        .then(|| Replacement { address, port: (choice & 2 != 0).then_some(u16::from(choice) << 8) })
}

fn judge(frame: &mut Vec<u8>, new: Rewrite, outcome: &mut Outcome) {
    let parsed = match Parsed::read(frame) {
        Ok(parsed) => parsed,
        Err(error) => return outcome.reach(20, error as u32),
    };
    if parsed.payload == Payload::Arp {
        outcome.reach(21, u32::from(arp::read(frame, &parsed).is_some()));
        return;
    }
    compare(frame, &parsed, outcome);
    if parsed.payload != Payload::Ipv4 {
        return;
    }
    outcome.forwarded += 1;
    outcome.reach(22, u32::from(parsed.protocol.0) << 8 | parsed.fragment as u32);
    judge_checksum(frame, &parsed, outcome);
    let answers = icmp::may_answer(frame, &parsed);
    outcome.reach(23, u32::from(answers));
    // What is right stays so, and what is wrong: whoever receives it is to find out.
    let before = is_right(frame, &parsed);
    let mut quote = None;
    if frames::is_error(parsed.icmp_type) && parsed.protocol == Protocol::ICMP {
        match rewrite::read_quote(frame, &parsed) {
            Ok(one) => {
                rewrite::apply_to_quote(frame, &parsed, &one, new);
                quote = Some(one);
            }
            Err(error) => outcome.reach(24, error as u32),
        }
        outcome.reach(25, u32::from(quote.is_some()));
    }
    rewrite::apply(frame, &parsed, new);
    let after = Parsed::read(frame).expect("it can be read as before");
    assert_eq!(after.ttl, parsed.ttl.saturating_sub(1));
    assert_eq!(after.source, new.source.map_or(parsed.source, |new| new.address));
    assert_eq!(after.destination, new.destination.map_or(parsed.destination, |new| new.address));
    assert_eq!(is_right(frame, &after), before, "{frame:02x?}");
    let mut reply = frame.clone();
    outcome.reach(26, u32::from(icmp::make_echo_reply(&mut reply, &after)));
}

/// Whether the checksum of a whole packet's transport is right; `None` where there is none to judge.
fn is_right(frame: &[u8], parsed: &Parsed) -> Option<bool> {
    let packet = &frame[parsed.network_range()];
    let segment = &frame[parsed.transport_range()];
    let protocol = parsed.protocol.0;
    let field = frames::checksum_field(protocol)?;
    if parsed.fragment != Fragment::Whole {
        return None;
    }
    // A datagram that does not fill its packet has another checksum; ours is then carried all the same.
    let is_plain = protocol != UDP
        || usize::from(frames::get(segment, 4)) == segment.len() && frames::get(segment, field) != 0;
    is_plain.then(|| frames::is_transport_right(packet, segment))
}

fn judge_checksum(frame: &[u8], parsed: &Parsed, outcome: &mut Outcome) {
    let judged = rewrite::judge_transport_checksum(frame, parsed);
    outcome.reach(27, judged as u32);
    if let Some(is_right) = is_right(frame, parsed).filter(|_| parsed.protocol != Protocol::ICMP) {
        assert_eq!(judged == rewrite::TransportChecksum::Good, is_right, "{frame:02x?}");
    }
}

/// What both accept means the same to both.
fn compare(frame: &[u8], parsed: &Parsed, outcome: &mut Outcome) {
    let Ok(theirs) = SlicedPacket::from_ethernet(frame) else { return outcome.reach(28, 0) };
    let Some(NetSlice::Ipv4(network)) = &theirs.net else {
        assert_ne!(parsed.payload, Payload::Ipv4);
        return outcome.reach(28, 1);
    };
    // A second tag is theirs to look behind.
    if theirs.link_exts.len() > 1 || parsed.payload != Payload::Ipv4 {
        return outcome.reach(28, 2);
    }
    let header = network.header();
    assert_eq!((parsed.source, parsed.destination), (header.source_addr(), header.destination_addr()));
    assert_eq!((parsed.protocol.0, parsed.ttl), (header.protocol().0, header.ttl()));
    assert_eq!(parsed.total_length, header.total_len());
    assert_eq!(parsed.dont_fragment, header.dont_fragment());
    let is_whole = header.fragments_offset().value() == 0 && !header.more_fragments();
    assert_eq!(parsed.fragment == Fragment::Whole, is_whole);
    outcome.reach(28, 3);
    let (ports, flags) = match &theirs.transport {
        Some(TransportSlice::Tcp(tcp)) => ((tcp.source_port(), tcp.destination_port()), tcp.slice()[13]),
        Some(TransportSlice::Udp(udp)) => ((udp.source_port(), udp.destination_port()), 0),
        _ => return,
    };
    assert_eq!((parsed.source_port, parsed.destination_port), ports);
    assert_eq!(parsed.tcp_flags, flags);
    outcome.reach(29, u32::from(parsed.protocol.0));
}
