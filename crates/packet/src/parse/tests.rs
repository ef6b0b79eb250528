//! Rows of what is refused and why, and agreement with etherparse on everything else.

use etherparse::{NetSlice, SlicedPacket, TcpHeaderSlice, UdpHeaderSlice};
use proptest::prelude::*;

use super::*;
use crate::arbitrary;
use crate::testing::{self, Endpoint};
use crate::{MacAddress, arp, ethernet, tcp};

const CLIENT: Endpoint = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5), 40_000);
const SERVER: Endpoint = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(198, 51, 100, 7), 443);

fn host((mac, address, _): Endpoint) -> testing::Host {
    (mac, address)
}

fn udp() -> Vec<u8> {
    testing::udp(CLIENT, SERVER, None, b"datagram")
}

fn segment() -> Vec<u8> {
    testing::tcp(CLIENT, SERVER, None, tcp::SYN | tcp::ACK, 1, 2, b"payload")
}

/// The frame with a byte changed and nothing repaired.
fn with_byte(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[at] = value;
    frame
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame.truncate(length);
    frame
}

/// The frame as the fragment at `offset` units of eight bytes.
fn at_offset(frame: Vec<u8>, offset: u16, more: bool) -> Vec<u8> {
    let field = offset | if more { 0x2000 } else { 0 };
    testing::with_header(frame, |header| header[6..8].copy_from_slice(&field.to_be_bytes()))
}

fn of_protocol(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    testing::ipv4(host(CLIENT), host(SERVER), None, protocol, payload)
}

#[test]
fn every_field_of_a_tcp_segment_is_read() {
    let frame = testing::with_dont_fragment(testing::tcp(
        CLIENT,
        SERVER,
        VlanId::new(100),
        tcp::SYN | tcp::ACK,
        1,
        2,
        b"payload",
    ));
    let frame = testing::with_padding(testing::with_options(testing::with_ttl(frame, 9), &[1; 8]), 5);
    assert_eq!(
        Parsed::read(&frame),
        Ok(Parsed {
            payload: Payload::Ipv4,
            vlan: VlanId::new(100),
            network_offset: 18,
            transport_offset: 46,
            total_length: 20 + 8 + 20 + 7,
            source: CLIENT.1,
            destination: SERVER.1,
            protocol: Protocol::TCP,
            ttl: 9,
            fragment: Fragment::Whole,
            dont_fragment: true,
            source_port: CLIENT.2,
            destination_port: SERVER.2,
            tcp_flags: 0x12,
            tcp_header_length: 20,
            tcp_window: 0xfaf0,
            tcp_sequence: 1,
            tcp_acknowledgement: 2,
            icmp_type: 0,
            icmp_code: 0,
        })
    );
    let parsed = Parsed::read(&frame).unwrap();
    assert_eq!(parsed.network_range(), 18..73);
    assert_eq!(parsed.transport_range(), 46..73);
}

#[test]
fn a_query_has_its_identifier_in_both_ports_and_other_icmp_has_none() {
    let icmp = |icmp_type, code| {
        let frame = testing::icmp(host(CLIENT), host(SERVER), None, icmp_type, code, 0x1234_0001, &[0; 28]);
        let parsed = Parsed::read(&frame).unwrap();
        (parsed.icmp_type, parsed.icmp_code, parsed.source_port, parsed.destination_port)
    };
    assert_eq!(icmp(8, 0), (8, 0, 0x1234, 0x1234));
    assert_eq!(icmp(0, 0), (0, 0, 0x1234, 0x1234));
    assert_eq!(icmp(3, 4), (3, 4, 0, 0));
    assert_eq!(icmp(11, 0), (11, 0, 0, 0));
    assert_eq!(icmp(13, 0), (13, 0, 0x1234, 0x1234));
    assert_eq!(icmp(14, 0), (14, 0, 0x1234, 0x1234));
    assert_eq!(icmp(17, 0), (17, 0, 0, 0));
}

#[test]
fn fragments_are_told_apart() {
    let whole = testing::udp(CLIENT, SERVER, None, &[7; 100]);
    let pieces = testing::fragments(&whole, 9, 48);
    let seen: Vec<_> = pieces
        .iter()
        .map(|piece| Parsed::read(piece).unwrap())
        .map(|parsed| (parsed.fragment, parsed.source_port, parsed.destination_port))
        .collect();
    assert_eq!(
        seen,
        [
            (Fragment::First, CLIENT.2, SERVER.2),
            (Fragment::Later, 0, 0),
            // The last one has no "more fragments" bit and is a later one by its offset.
            (Fragment::Later, 0, 0),
        ]
    );
}

#[test]
fn a_later_fragment_needs_no_transport_header() {
    for protocol in [Protocol::TCP, Protocol::UDP, Protocol::ICMP] {
        let frame = at_offset(of_protocol(protocol, &[0xff]), 2, false);
        let parsed = Parsed::read(&frame).unwrap();
        assert_eq!(parsed.fragment, Fragment::Later);
        assert_eq!((parsed.source_port, parsed.tcp_flags, parsed.icmp_type), (0, 0, 0));
    }
}

#[test]
fn what_is_not_ipv4_or_arp_is_left_alone() {
    let link = |vlan| ethernet::LinkHeader { destination: SERVER.0, source: CLIENT.0, vlan };
    let untagged = |ether_type| testing::ethernet(link(None), ether_type);
    let tagged = |vid, ether_type| testing::ethernet(link(VlanId::new(vid)), ether_type);
    let raw_tag = |control: u16| {
        let mut frame = tagged(1, 0x0800);
        frame[14..16].copy_from_slice(&control.to_be_bytes());
        frame.extend(&udp()[14..]);
        frame
    };
    let rows = [
        ("ARP", untagged(0x0806), Payload::Arp, None, 14),
        ("ARP on a VLAN", tagged(7, 0x0806), Payload::Arp, VlanId::new(7), 18),
        ("IPv6", untagged(0x86dd), Payload::Other, None, 14),
        ("IPv6 on a VLAN", tagged(7, 0x86dd), Payload::Other, VlanId::new(7), 18),
        ("a service tag", untagged(0x88a8), Payload::Other, None, 14),
        ("two tags", tagged(7, 0x8100), Payload::Other, VlanId::new(7), 18),
        ("LLC", untagged(0x0026), Payload::Other, None, 14),
        ("a priority tag", raw_tag(0xa000), Payload::Ipv4, None, 18),
        ("priority and VLAN", raw_tag(0xf064), Payload::Ipv4, VlanId::new(100), 18),
        ("the last VLAN", raw_tag(4094), Payload::Ipv4, VlanId::new(4094), 18),
        ("the reserved VLAN", raw_tag(4095), Payload::Other, None, 18),
    ];
    for (description, frame, payload, vlan, network_offset) in rows {
        let parsed = Parsed::read(&frame).unwrap();
        assert_eq!(
            (parsed.payload, parsed.vlan, parsed.network_offset),
            (payload, vlan, network_offset),
            "{description}"
        );
        if payload != Payload::Ipv4 {
            assert_eq!(
                (parsed.total_length, parsed.source, parsed.protocol.0),
                (0, Ipv4Addr::UNSPECIFIED, 0)
            );
        }
    }
}

//= rfc1858#3
//= rfc1858#4
//= rfc3128#1
#[test]
fn a_frame_that_contradicts_itself_is_refused_with_the_reason() {
    use Malformed::{Header, HeaderChecksum, TinyFragment, Truncated};
    let options = |count| testing::with_options(udp(), &vec![1; count]);
    let rows = [
        ("nothing", vec![], Truncated),
        ("13 bytes", cut(udp(), 13), Truncated),
        ("a tag cut", cut(testing::udp(CLIENT, SERVER, VlanId::new(1), b""), 17), Truncated),
        ("no IPv4 header", cut(udp(), 14), Truncated),
        ("an IPv4 header cut", cut(udp(), 33), Truncated),
        ("options cut", cut(options(40), 73), Truncated),
        ("the last byte missing", cut(udp(), udp().len() - 1), Truncated),
        ("version 6", with_byte(udp(), 14, 0x65), Header),
        ("version 0", with_byte(udp(), 14, 0x05), Header),
        ("header length 4", with_byte(udp(), 14, 0x44), Header),
        ("header length 0", with_byte(udp(), 14, 0x40), Header),
        ("total length 0", testing::with_header(udp(), |header| header[2..4].fill(0)), Header),
        ("total length 19", testing::with_header(udp(), |header| header[3] = 19), Header),
        (
            "total length within the options",
            testing::with_header(options(8), |header| header[3] = 27),
            Header,
        ),
        ("header checksum", with_byte(udp(), 24, udp()[24] ^ 1), HeaderChecksum),
        ("TTL changed without its checksum", with_byte(udp(), 22, 9), HeaderChecksum),
        ("an option changed", with_byte(options(4), 37, 9), HeaderChecksum),
        ("UDP of 7 bytes", of_protocol(Protocol::UDP, &[0; 7]), Truncated),
        (
            "UDP of 7 bytes and padding",
            testing::with_padding(of_protocol(Protocol::UDP, &[0; 7]), 9),
            Truncated,
        ),
        ("ICMP of 7 bytes", of_protocol(Protocol::ICMP, &[0; 7]), Truncated),
        ("TCP of 19 bytes", of_protocol(Protocol::TCP, &segment()[34..53]), Truncated),
        ("TCP data offset 4", with_byte(segment(), 46, 0x40), Header),
        ("TCP data offset behind the packet", with_byte(segment(), 46, 0x70), Truncated),
        (
            "TCP data offset in the padding",
            { testing::with_padding(with_byte(segment(), 46, 0x70), 40) },
            Truncated,
        ),
        (
            "RFC 1858, tiny first fragment",
            at_offset(of_protocol(Protocol::TCP, &[0; 16]), 0, true),
            TinyFragment,
        ),
        ("RFC 1858, a fragment over the TCP flags", at_offset(segment(), 1, false), TinyFragment),
        (
            "the same, with others behind it",
            at_offset(of_protocol(Protocol::TCP, &[0; 24]), 1, true),
            TinyFragment,
        ),
        (
            "a fragment that ends within a unit",
            at_offset(of_protocol(Protocol::UDP, &[0; 12]), 2, true),
            Header,
        ),
        ("a first fragment that does", at_offset(of_protocol(Protocol::UDP, &[0; 12]), 0, true), Header),
        ("a fragment of nothing", at_offset(of_protocol(Protocol::UDP, &[]), 2, false), Header),
        ("a fragment beyond 65,535 bytes", at_offset(udp(), 8189, false), Header),
    ];
    for (description, frame, expected) in rows {
        assert_eq!(Parsed::read(&frame), Err(expected), "{description}");
    }
}

#[test]
fn what_is_just_within_bounds_is_read() {
    let rows = [
        ("no payload of an unknown protocol", of_protocol(Protocol(59), &[])),
        ("UDP of 8 bytes", testing::udp(CLIENT, SERVER, None, b"")),
        ("TCP of 20 bytes", testing::tcp(CLIENT, SERVER, None, 0, 0, 0, b"")),
        (
            "TCP options up to the end",
            with_byte(testing::tcp(CLIENT, SERVER, None, 0, 0, 0, &[1; 4]), 46, 0x60),
        ),
        ("ICMP of 8 bytes", testing::echo(8, host(CLIENT), host(SERVER), None, 1, 1, b"")),
        ("40 bytes of options", testing::with_options(udp(), &[1; 40])),
        ("the longest packet", testing::udp(CLIENT, SERVER, None, &[0; 65_535 - 28])),
        ("a UDP fragment at offset 1", at_offset(udp(), 1, false)),
        ("a fragment that ends at 65,535", at_offset(of_protocol(Protocol::UDP, &[0; 3]), 8189, false)),
    ];
    for (description, frame) in rows {
        assert_eq!(Parsed::read(&frame).map(|parsed| parsed.payload), Ok(Payload::Ipv4), "{description}");
    }
}

/// Compares what both say of a packet. `None` where etherparse has no opinion.
fn agrees_with_etherparse(bytes: &[u8], parsed: &Parsed) -> Option<()> {
    let theirs = SlicedPacket::from_ethernet(bytes).ok()?;
    let Some(NetSlice::Ipv4(network)) = &theirs.net else {
        assert_ne!(parsed.payload, Payload::Ipv4);
        return Some(());
    };
    // A second tag is theirs to look behind.
    if theirs.link_exts.len() > 1 || parsed.payload != Payload::Ipv4 {
        return None;
    }
    let header = network.header();
    let vlan = theirs.vlan_ids().first().map(|vid| vid.value());
    assert_eq!(parsed.vlan.map(VlanId::get), vlan.filter(|vid| (1..=4094).contains(vid)));
    assert_eq!(parsed.total_length, header.total_len());
    assert_eq!(parsed.source, header.source_addr());
    assert_eq!(parsed.destination, header.destination_addr());
    assert_eq!(parsed.protocol.0, header.protocol().0);
    assert_eq!(parsed.ttl, header.ttl());
    assert_eq!(parsed.dont_fragment, header.dont_fragment());
    // They do not sum the reserved flag.
    if header.slice()[6] & 0x80 == 0 {
        assert_eq!(header.to_header().calc_header_checksum(), header.header_checksum());
    }
    let fragment = match (header.fragments_offset().value(), header.more_fragments()) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    };
    assert_eq!(parsed.fragment, fragment);
    let payload = &bytes[parsed.transport_range()];
    // They take authentication headers off the payload; we do not.
    if parsed.protocol.0 != 51 {
        assert_eq!(payload, network.payload().payload);
    }
    let (ports, flags) = match parsed.protocol {
        _ if fragment == Fragment::Later => ((0, 0), 0),
        Protocol::TCP => {
            let tcp = TcpHeaderSlice::from_slice(payload).ok()?;
            ((tcp.source_port(), tcp.destination_port()), tcp.slice()[13])
        }
        Protocol::UDP => {
            let udp = UdpHeaderSlice::from_slice(payload).ok()?;
            ((udp.source_port(), udp.destination_port()), 0)
        }
        Protocol::ICMP => {
            let icmp = etherparse::Icmpv4Slice::from_slice(payload).ok()?;
            assert_eq!((parsed.icmp_type, parsed.icmp_code), (icmp.type_u8(), icmp.code_u8()));
            let [high, low, ..] = icmp.bytes5to8();
            let identifier =
                if matches!(icmp.type_u8(), 0 | 8 | 13 | 14) { u16::from_be_bytes([high, low]) } else { 0 };
            ((identifier, identifier), 0)
        }
        _ => ((0, 0), 0),
    };
    assert_eq!((parsed.source_port, parsed.destination_port), ports);
    assert_eq!(parsed.tcp_flags, flags);
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_well_formed_packet_is_read_as_etherparse_reads_it(
        frame in prop_oneof![arbitrary::ipv4_frame(), arbitrary::icmp_error_frame()],
    ) {
        let parsed = Parsed::read(&frame).unwrap();
        prop_assert_eq!(parsed.payload, Payload::Ipv4);
        prop_assert!(agrees_with_etherparse(&frame, &parsed).is_some());
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_is_read_is_within_the_frame(bytes in arbitrary::hostile_frame()) {
        let Ok(parsed) = Parsed::read(&bytes) else { return Ok(()) };
        prop_assert!(usize::from(parsed.network_offset) <= bytes.len());
        if parsed.payload == Payload::Ipv4 {
            prop_assert!(bytes.get(parsed.network_range()).is_some());
            prop_assert!(bytes.get(parsed.transport_range()).is_some());
            agrees_with_etherparse(&bytes, &parsed);
        }
        arp::read(&bytes, &parsed);
    }
}
