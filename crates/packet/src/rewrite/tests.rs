//! Every row is judged twice: by the fields that were to change, and by a full recomputation of every checksum.

use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::testing::{self, Endpoint, assert_checksums};
use crate::{MacAddress, arbitrary, tcp};

const CLIENT: Endpoint = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5), 40_000);
const SERVER: Endpoint = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(198, 51, 100, 7), 443);
const EXTERNAL: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

fn host((mac, address, _): Endpoint) -> testing::Host {
    (mac, address)
}

fn source(address: Ipv4Addr, port: Option<u16>) -> Rewrite {
    Rewrite { source: Some(Replacement { address, port }), destination: None }
}

fn destination(address: Ipv4Addr, port: Option<u16>) -> Rewrite {
    Rewrite { source: None, destination: Some(Replacement { address, port }) }
}

fn both(from: (Ipv4Addr, Option<u16>), to: (Ipv4Addr, Option<u16>)) -> Rewrite {
    Rewrite { source: source(from.0, from.1).source, destination: destination(to.0, to.1).destination }
}

/// Applies `rewrite` and reads the result again.
fn rewritten(frame: &[u8], rewrite: Rewrite) -> (Vec<u8>, Parsed) {
    let parsed = Parsed::read(frame).unwrap();
    let mut frame = frame.to_vec();
    apply(&mut frame, &parsed, rewrite);
    let parsed = Parsed::read(&frame).unwrap();
    (frame, parsed)
}

/// A header of eight bytes with ports in front and a right checksum at 6: UDP-Lite over everything.
fn udp_lite(payload: &[u8]) -> Vec<u8> {
    let mut frame = testing::udp(CLIENT, SERVER, None, payload);
    let length = 8 + payload.len() as u16;
    // Coverage 0 is "all", and the pseudo-header has another protocol and the same length.
    let checksum = u16::from_be_bytes([frame[40], frame[41]]);
    let changed = Difference::NONE.u16(17, 136).u16(length, 0);
    frame[38..40].copy_from_slice(&[0, 0]);
    frame[40..42].copy_from_slice(&changed.apply(checksum).to_be_bytes());
    testing::with_header(frame, |header| header[9] = 136)
}

/// A DCCP Request without options, all of it covered.
fn dccp() -> Vec<u8> {
    let mut header = [CLIENT.2.to_be_bytes(), SERVER.2.to_be_bytes()].concat();
    header.extend([5, 0, 0, 0, 0x01, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 9]);
    let pseudo_header = checksum::pseudo_header_sum(CLIENT.1, SERVER.1, Protocol::DCCP, header.len() as u16);
    let checksum = !checksum::with_pseudo_header(pseudo_header, &header);
    header[6..8].copy_from_slice(&checksum.to_be_bytes());
    testing::ipv4(host(CLIENT), host(SERVER), None, Protocol::DCCP, &header)
}

#[test]
fn source_and_destination_change_with_all_checksums() {
    let external = Some(50_001);
    let frames = [
        ("TCP", testing::tcp(CLIENT, SERVER, None, tcp::SYN, 7, 0, b"")),
        ("TCP with an odd payload", testing::tcp(CLIENT, SERVER, None, tcp::ACK, 7, 9, b"odd")),
        ("TCP on a VLAN", testing::tcp(CLIENT, SERVER, crate::VlanId::new(100), tcp::ACK, 7, 9, b"tagged")),
        ("UDP", testing::udp(CLIENT, SERVER, None, b"datagram")),
        ("UDP, empty", testing::udp(CLIENT, SERVER, None, b"")),
        ("UDP behind options", testing::with_options(testing::udp(CLIENT, SERVER, None, b"x"), &[1; 40])),
        ("UDP before padding", testing::with_padding(testing::udp(CLIENT, SERVER, None, b"x"), 17)),
        ("UDP-Lite", udp_lite(b"light")),
        ("DCCP", dccp()),
    ];
    for (description, frame) in frames {
        assert_checksums(&frame);
        let before = Parsed::read(&frame).unwrap();
        let has_ports = before.source_port != 0;

        let (after, parsed) = rewritten(&frame, source(EXTERNAL, external));
        assert_checksums(&after);
        assert_eq!((parsed.source, parsed.destination), (EXTERNAL, SERVER.1), "{description}");
        assert_eq!(parsed.ttl, testing::TTL - 1, "{description}");
        let at = usize::from(parsed.transport_offset);
        assert_eq!(after[at..at + 2], 50_001_u16.to_be_bytes(), "{description}");
        assert_eq!(after[at + 2..at + 4], SERVER.2.to_be_bytes(), "{description}");
        if has_ports {
            assert_eq!((parsed.source_port, parsed.destination_port), (50_001, SERVER.2), "{description}");
        }

        let (after, parsed) = rewritten(&frame, destination(EXTERNAL, external));
        assert_checksums(&after);
        assert_eq!((parsed.source, parsed.destination), (CLIENT.1, EXTERNAL), "{description}");
        assert_eq!(after[at..at + 2], CLIENT.2.to_be_bytes(), "{description}");
        assert_eq!(after[at + 2..at + 4], 50_001_u16.to_be_bytes(), "{description}");

        let (after, parsed) = rewritten(&frame, both((EXTERNAL, None), (CLIENT.1, Some(1))));
        assert_checksums(&after);
        assert_eq!((parsed.source, parsed.destination), (EXTERNAL, CLIENT.1), "{description}");
        assert_eq!(after[at..at + 2], CLIENT.2.to_be_bytes(), "{description}");
        assert_eq!(after[at + 2..at + 4], 1_u16.to_be_bytes(), "{description}");
    }
}

#[test]
fn nothing_but_the_fields_and_checksums_changes() {
    let frame = testing::with_padding(testing::tcp(CLIENT, SERVER, None, tcp::ACK, 1, 2, b"payload"), 9);
    let (after, _) = rewritten(&frame, both((EXTERNAL, Some(1)), (CLIENT.1, Some(2))));
    let changed: Vec<usize> = (0..frame.len()).filter(|&at| frame[at] != after[at]).collect();
    // TTL 22; IPv4 checksum 24; addresses 26 to 33; ports 34 to 37; TCP checksum 50.
    let may_change = |at: &usize| matches!(at, 22 | 24..=37 | 50 | 51);
    assert!(changed.iter().all(may_change), "{changed:?}");
    assert_eq!(frame.len(), after.len());
}

#[test]
fn without_a_rewrite_only_the_ttl_falls() {
    let frame = testing::with_ttl(testing::udp(CLIENT, SERVER, None, b"x"), 2);
    let (after, parsed) = rewritten(&frame, Rewrite::default());
    assert_eq!(after, testing::with_ttl(frame, 1));
    assert_eq!(parsed.ttl, 1);
}

#[test]
fn a_ttl_of_zero_stays_zero() {
    let frame = testing::with_ttl(testing::udp(CLIENT, SERVER, None, b"x"), 0);
    let (after, parsed) = rewritten(&frame, Rewrite::default());
    assert_eq!((after, parsed.ttl), (frame, 0));
}

#[test]
fn an_echo_has_one_identifier() {
    let rows = [
        ("outbound", source(EXTERNAL, Some(7)), 7),
        ("inbound", destination(EXTERNAL, Some(8)), 8),
        ("hairpin: the receiver's counts", both((EXTERNAL, Some(7)), (CLIENT.1, Some(8))), 8),
        ("floating address towards a mapping", both((EXTERNAL, None), (CLIENT.1, Some(8))), 8),
        ("mapping towards a floating address", both((EXTERNAL, Some(7)), (CLIENT.1, None)), 7),
        ("floating address", source(EXTERNAL, None), 0x1234),
    ];
    for kind in [icmp::kind::ECHO_REQUEST, icmp::kind::ECHO_REPLY] {
        for (description, rewrite, expected) in rows {
            let frame = testing::echo(kind, host(CLIENT), host(SERVER), None, 0x1234, 1, b"ping");
            let (after, parsed) = rewritten(&frame, rewrite);
            assert_checksums(&after);
            assert_eq!((parsed.source_port, parsed.destination_port), (expected, expected), "{description}");
        }
    }
}

#[test]
fn icmp_other_than_queries_keeps_its_message() {
    let mask = testing::icmp(host(CLIENT), host(SERVER), None, 17, 0, 0x0102_0304, &[0; 4]);
    let about = testing::udp(SERVER, CLIENT, None, b"x");
    let error = testing::icmp_error(host(CLIENT), host(SERVER), None, (3, 3, 0), &about, 8);
    for frame in [mask, error] {
        let (after, _) = rewritten(&frame, both((EXTERNAL, Some(7)), (CLIENT.1, Some(8))));
        assert_checksums(&after);
        assert_eq!(frame[34..], after[34..]);
    }
}

//= https://www.rfc-editor.org/rfc/rfc768
//# An all zero transmitted checksum value means that the transmitter generated no checksum
#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    for mut frame in [testing::udp(CLIENT, SERVER, None, b"none"), udp_lite(b"none")] {
        frame[40..42].copy_from_slice(&[0, 0]);
        let (after, _) = rewritten(&frame, source(EXTERNAL, Some(9)));
        assert_eq!(after[40..42], [0, 0]);
        assert_eq!(after[34..36], 9_u16.to_be_bytes());
    }
}

//= https://www.rfc-editor.org/rfc/rfc768
//# If the computed checksum is zero, it is transmitted as all ones
#[test]
fn a_udp_checksum_that_becomes_zero_is_sent_as_all_ones() {
    for frame in [testing::udp(CLIENT, SERVER, None, b"ones"), udp_lite(b"ones")] {
        let old = u16::from_be_bytes([frame[40], frame[41]]);
        let port = (0..=u16::MAX).find(|&port| Difference::NONE.u16(CLIENT.2, port).apply(old) == 0).unwrap();
        let (after, _) = rewritten(&frame, source(CLIENT.1, Some(port)));
        assert_eq!(after[40..42], [0xff, 0xff]);
        assert_checksums(&after);
    }
}

#[test]
fn a_tcp_or_dccp_checksum_of_zero_is_a_checksum_like_any_other() {
    let segment = testing::tcp(CLIENT, SERVER, None, tcp::ACK, 1, 2, b"zero");
    for (description, frame, at) in [("TCP", segment, 50), ("DCCP", dccp(), 40)] {
        let old = u16::from_be_bytes([frame[at], frame[at + 1]]);
        let port = (0..=u16::MAX).find(|&port| Difference::NONE.u16(CLIENT.2, port).apply(old) == 0).unwrap();
        let (zero, _) = rewritten(&frame, source(CLIENT.1, Some(port)));
        assert_eq!(zero[at..at + 2], [0, 0], "{description}");
        assert_checksums(&zero);
        let (after, _) = rewritten(&zero, source(EXTERNAL, Some(9)));
        assert_checksums(&after);
    }
}

#[test]
fn a_damaged_packet_stays_damaged() {
    let mut frame = testing::tcp(CLIENT, SERVER, None, tcp::ACK, 1, 2, b"payload");
    frame[55] ^= 0x40;
    let (after, parsed) = rewritten(&frame, source(EXTERNAL, Some(9)));
    assert_eq!(judge_transport_checksum(&after, &parsed), TransportChecksum::Bad);
}

#[test]
fn a_first_fragment_changes_as_a_whole_datagram_would_and_a_later_one_only_in_its_header() {
    let whole = testing::udp(CLIENT, SERVER, None, &[0x5a; 3000]);
    let rewrite = source(EXTERNAL, Some(9));
    let (whole_after, _) = rewritten(&whole, rewrite);
    let expected = testing::fragments(&whole_after, 77, 1480);
    let fragments = testing::fragments(&whole, 77, 1480);
    assert_eq!(fragments.len(), 3);
    for (fragment, expected) in fragments.iter().zip(expected) {
        let (after, _) = rewritten(fragment, rewrite);
        assert_eq!(after, expected);
    }
}

#[test]
fn other_protocols_keep_their_payload() {
    let payload: Vec<u8> = (0..64).collect();
    for protocol in [2, 41, 47, 50, 51, 132] {
        let frame = testing::ipv4(host(CLIENT), host(SERVER), None, Protocol(protocol), &payload);
        let (after, parsed) = rewritten(&frame, both((EXTERNAL, Some(7)), (CLIENT.1, Some(8))));
        assert_checksums(&after);
        assert_eq!(parsed.source, EXTERNAL, "protocol {protocol}");
        assert_eq!(after[34..], payload[..], "protocol {protocol}");
    }
}

#[test]
fn a_transport_header_cut_before_its_checksum_keeps_its_bytes() {
    for protocol in [Protocol::UDP_LITE, Protocol::DCCP] {
        let frame = testing::ipv4(host(CLIENT), host(SERVER), None, protocol, &[1, 2, 3, 4, 5, 6, 7]);
        // Padding follows, so that there are bytes behind the packet to be wrongly taken for it.
        let frame = testing::with_padding(frame, 32);
        let (after, parsed) = rewritten(&frame, source(EXTERNAL, Some(9)));
        assert_eq!(parsed.source, EXTERNAL);
        assert_eq!(after[34..], frame[34..]);
    }
}

#[test]
fn a_transport_checksum_is_judged() {
    let right = testing::udp(CLIENT, SERVER, None, b"datagram");
    let pseudo_header = checksum::pseudo_header_sum(CLIENT.1, SERVER.1, Protocol::UDP, 16);
    let with = |checksum: u16| {
        let mut frame = right.clone();
        frame[40..42].copy_from_slice(&checksum.to_be_bytes());
        frame
    };
    let with_length = |length: u16| {
        let mut frame = right.clone();
        frame[38..40].copy_from_slice(&length.to_be_bytes());
        frame
    };
    let with_rest = |datagram: Vec<u8>| {
        let length = datagram.len() as u8 - 14 + 5;
        let frame = [datagram, b"rest!".to_vec()].concat();
        testing::with_header(frame, |header| header[3] = length)
    };
    let segment = testing::tcp(CLIENT, SERVER, None, tcp::ACK, 1, 2, b"payload");
    let tcp_pseudo_header = checksum::pseudo_header_sum(CLIENT.1, SERVER.1, Protocol::TCP, 27);
    let tcp_with = |checksum: u16| {
        let mut frame = segment.clone();
        frame[50..52].copy_from_slice(&checksum.to_be_bytes());
        frame
    };
    let nothing = {
        let others = checksum::pseudo_header_sum(CLIENT.1, Ipv4Addr::UNSPECIFIED, Protocol::UDP, 0);
        let [high, low] = (!others).to_be_bytes();
        let mut frame = testing::udp(CLIENT, (SERVER.0, Ipv4Addr::new(high, low, 0, 0), 1), None, b"");
        frame[38..42].copy_from_slice(&[0, 0, 1, 1]);
        frame
    };
    use TransportChecksum::{Bad, Good, Partial};
    let rows = [
        ("UDP, right", right.clone(), Good),
        ("UDP, none", with(0), Good),
        ("UDP, an offload's half", with(pseudo_header), Partial),
        ("UDP, wrong", with(pseudo_header ^ 1), Bad),
        ("UDP, longer than its packet", with_length(17), Bad),
        ("UDP, shorter than its header", with_length(7), Bad),
        ("UDP, of no length, with a pseudo-header of all ones", nothing, Bad),
        ("UDP shorter than its packet", with_rest(right.clone()), Good),
        ("UDP shorter than its packet, wrong", with_rest(with(1)), Bad),
        ("UDP before padding", testing::with_padding(right.clone(), 9), Good),
        ("UDP in fragments", testing::fragments(&with(1), 1, 8).swap_remove(0), Good),
        ("TCP, right", segment.clone(), Good),
        ("TCP, an offload's half", tcp_with(tcp_pseudo_header), Partial),
        ("TCP, zero", tcp_with(0), Bad),
        ("TCP before padding", testing::with_padding(segment.clone(), 3), Good),
        ("SCTP", testing::ipv4(host(CLIENT), host(SERVER), None, Protocol(132), &[0; 12]), Good),
    ];
    for (description, frame, expected) in rows {
        let parsed = Parsed::read(&frame).unwrap();
        assert_eq!(judge_transport_checksum(&frame, &parsed), expected, "{description}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    //= rfc1624#3
    #[test]
    fn checksums_by_difference_are_those_of_a_full_computation(
        frame in arbitrary::ipv4_frame(),
        rewrite in arbitrary::rewrite(),
    ) {
        let (after, parsed) = rewritten(&frame, rewrite);
        assert_checksums(&after);
        let before = Parsed::read(&frame).unwrap();
        prop_assert_eq!(parsed.source, rewrite.source.map_or(before.source, |new| new.address));
        prop_assert_eq!(parsed.destination, rewrite.destination.map_or(before.destination, |new| new.address));
        prop_assert_eq!(parsed.ttl, before.ttl.saturating_sub(1));
        if matches!(parsed.protocol, Protocol::TCP | Protocol::UDP) && parsed.fragment != Fragment::Later {
            let new_port = |end: Option<Replacement>, old| end.and_then(|new| new.port).unwrap_or(old);
            prop_assert_eq!(parsed.source_port, new_port(rewrite.source, before.source_port));
            prop_assert_eq!(parsed.destination_port, new_port(rewrite.destination, before.destination_port));
        }
    }

    /// The form too: a full recomputation of the rewritten packet gives the very same bytes.
    #[test]
    fn rewriting_there_and_back_restores_every_byte(
        frame in arbitrary::ipv4_frame(),
        address in arbitrary::address(),
        port in any::<u16>(),
    ) {
        let before = Parsed::read(&frame).unwrap();
        prop_assume!(before.ttl > 1);
        let has_port = before.source_port != 0 || before.destination_port != 0;
        let port = has_port.then_some(port);
        let back = source(before.source, has_port.then_some(before.source_port));
        let (there, _) = rewritten(&frame, source(address, port));
        let (restored, _) = rewritten(&there, back);
        prop_assert_eq!(testing::with_ttl(restored, before.ttl), frame);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in arbitrary::hostile_frame(), rewrite in arbitrary::rewrite()) {
        let Ok(parsed) = Parsed::read(&bytes) else { return Ok(()) };
        let length = bytes.len();
        let mut bytes = bytes;
        judge_transport_checksum(&bytes, &parsed);
        apply(&mut bytes, &parsed, rewrite);
        prop_assert_eq!(bytes.len(), length);
        // What was a readable packet still is one.
        let after = Parsed::read(&bytes);
        prop_assert_eq!(after.map(|after| after.payload), Ok(parsed.payload));
        // And it does not matter if the bytes are not those that were read.
        bytes.truncate(length / 2);
        judge_transport_checksum(&bytes, &parsed);
        apply(&mut bytes, &parsed, rewrite);
    }
}
