//! Errors and replies, read back with etherparse and with every checksum recomputed.

use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::frame::tests::Buffer;
use crate::testing::{self, Endpoint, assert_checksums};
use crate::{MacAddress, VlanId, arbitrary, tcp};

const CLIENT: Endpoint = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5), 40_000);
const SERVER: Endpoint = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(198, 51, 100, 7), 443);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn host((mac, address, _): Endpoint) -> testing::Host {
    (mac, address)
}

fn link(vlan: Option<VlanId>) -> LinkHeader {
    LinkHeader { destination: CLIENT.0, source: SERVER.0, vlan }
}

fn error_about(original: &[u8], vlan: Option<VlanId>, error: Error) -> Vec<u8> {
    let mut frame = Buffer::holding(&[0xdd; 7]);
    let parsed = Parsed::read(original).unwrap();
    write_error(&mut frame, link(vlan), GATEWAY, error, original, &parsed).unwrap();
    frame.bytes().to_vec()
}

#[test]
fn each_error_has_its_type_code_and_mtu() {
    let original = testing::udp(CLIENT, SERVER, None, b"payload");
    let rows = [
        (Error::TtlExceeded, 11, 0, 0),
        (Error::FragmentationNeeded { mtu: 1400 }, 3, 4, 1400),
        (Error::NetUnreachable, 3, 0, 0),
        (Error::HostUnreachable, 3, 1, 0),
        (Error::PortUnreachable, 3, 3, 0),
        (Error::AdministrativelyProhibited, 3, 13, 0),
    ];
    for (error, icmp_type, code, rest) in rows {
        let frame = error_about(&original, VlanId::new(100), error);
        assert_checksums(&frame);
        // The whole frame, but for what an error sets in the IPv4 header and a builder does not.
        let expected = testing::icmp_error(
            (SERVER.0, GATEWAY),
            host(CLIENT),
            VlanId::new(100),
            (icmp_type, code, rest),
            &original,
            1000,
        );
        let expected = testing::with_header(expected, |header| (header[1], header[6]) = (0xc0, 0x40));
        assert_eq!(frame, expected, "{error:?}");
    }
}

//= https://www.rfc-editor.org/rfc/rfc1812#section-4.3.2.3
#[test]
fn an_error_quotes_as_much_as_fits_in_576_bytes_and_no_padding() {
    let rows = [
        ("small", testing::udp(CLIENT, SERVER, None, b"x"), 29),
        ("padded", testing::with_padding(testing::udp(CLIENT, SERVER, None, b"x"), 17), 29),
        ("one byte below", testing::udp(CLIENT, SERVER, None, &[1; 519]), 547),
        ("just fits", testing::udp(CLIENT, SERVER, None, &[1; 520]), 548),
        ("one byte over", testing::udp(CLIENT, SERVER, None, &[1; 521]), 548),
        ("large", testing::udp(CLIENT, SERVER, VlanId::new(9), &[1; 1472]), 548),
        ("with options", testing::with_options(testing::udp(CLIENT, SERVER, None, &[1; 600]), &[1; 40]), 548),
        ("no payload", testing::ipv4(host(CLIENT), host(SERVER), None, Protocol(59), &[]), 20),
    ];
    for (description, original, quoted) in rows {
        let frame = error_about(&original, None, Error::TtlExceeded);
        assert_checksums(&frame);
        let parsed = Parsed::read(&frame).unwrap();
        assert_eq!(usize::from(parsed.total_length), 28 + quoted, "{description}");
        assert_eq!(frame.len(), 42 + quoted, "{description}");
        let start = usize::from(Parsed::read(&original).unwrap().network_offset);
        assert_eq!(frame[42..], original[start..start + quoted], "{description}: as it was received");
    }
}

#[test]
fn a_buffer_too_small_for_an_error_is_refused() {
    let original = testing::udp(CLIENT, SERVER, None, b"x");
    let parsed = Parsed::read(&original).unwrap();
    let write = |room| {
        let mut frame = Buffer::with_room(room);
        write_error(&mut frame, link(None), GATEWAY, Error::TtlExceeded, &original, &parsed)
    };
    assert_eq!(write(42 + 28), Err(NoRoom));
    assert_eq!(write(42 + 29), Ok(()));
}

//= https://www.rfc-editor.org/rfc/rfc1122#section-3.2.2
#[test]
fn no_error_is_sent_about_what_must_not_be_answered() {
    let datagram = |from: [u8; 4], to: [u8; 4]| {
        testing::udp((CLIENT.0, from.into(), 1), (SERVER.0, to.into(), 2), None, &[0; 64])
    };
    let (client, server) = ([10, 0, 0, 5], [198, 51, 100, 7]);
    let to_mac = |mac: [u8; 6]| testing::udp(CLIENT, (MacAddress(mac), SERVER.1, 2), None, b"");
    let about = datagram(server, client);
    let error =
        |icmp_type| testing::icmp_error(host(CLIENT), host(SERVER), None, (icmp_type, 0, 0), &about, 8);
    let mut arp = testing::ethernet(link(None), 0x0806);
    arp.resize(60, 0);
    let rows = [
        ("UDP", datagram(client, server), true),
        ("TCP", testing::tcp(CLIENT, SERVER, None, tcp::SYN, 0, 0, b""), true),
        ("an echo request", testing::echo(8, host(CLIENT), host(SERVER), None, 1, 1, b""), true),
        ("an unknown protocol", testing::ipv4(host(CLIENT), host(SERVER), None, Protocol(200), &[]), true),
        ("a first fragment", testing::fragments(&datagram(client, server), 1, 32).swap_remove(0), true),
        ("a later fragment", testing::fragments(&datagram(client, server), 1, 32).swap_remove(1), false),
        ("unreachable", error(3), false),
        ("source quench", error(4), false),
        ("redirect", error(5), false),
        ("time exceeded", error(11), false),
        ("parameter problem", error(12), false),
        ("to the broadcast address", datagram(client, [255; 4]), false),
        ("to a multicast address", datagram(client, [224, 0, 0, 1]), false),
        ("to the last multicast address", datagram(client, [239, 255, 255, 255]), false),
        ("to every MAC", to_mac([0xff; 6]), false),
        ("to a multicast MAC", to_mac([1, 0, 0x5e, 0, 0, 1]), false),
        ("from no address", datagram([0; 4], server), false),
        ("from this network", datagram([0, 1, 2, 3], server), false),
        ("from loopback", datagram([127, 0, 0, 1], server), false),
        ("from a multicast address", datagram([224, 0, 0, 1], server), false),
        ("from class E", datagram([240, 0, 0, 1], server), false),
        ("from the broadcast address", datagram([255; 4], server), false),
        ("from the last class C address", datagram([223, 255, 255, 254], server), true),
        ("ARP", arp, false),
    ];
    for (description, frame, expected) in rows {
        let parsed = Parsed::read(&frame).unwrap();
        assert_eq!(may_answer(&frame, &parsed), expected, "{description}");
    }
}

#[test]
fn an_echo_request_becomes_its_reply() {
    for vlan in [None, VlanId::new(100)] {
        let request =
            testing::echo(kind::ECHO_REQUEST, host(CLIENT), host(SERVER), vlan, 0x1234, 7, b"odd data!");
        let request = testing::with_padding(testing::with_ttl(request, 3), 6);
        let mut frame = request.clone();
        assert!(make_echo_reply(&mut frame, &Parsed::read(&request).unwrap()));
        let expected = testing::echo(
            kind::ECHO_REPLY,
            (CLIENT.0, SERVER.1),
            (SERVER.0, CLIENT.1),
            vlan,
            0x1234,
            7,
            b"odd data!",
        );
        // The link header and the padding are not ours to change.
        let mut expected = testing::with_padding(expected, 6);
        let start = if vlan.is_some() { 18 } else { 14 };
        expected[..start].copy_from_slice(&request[..start]);
        assert_eq!(frame, expected);
    }
}

#[test]
fn an_echo_reply_carries_no_options() {
    let request = testing::echo(kind::ECHO_REQUEST, host(CLIENT), host(SERVER), None, 1, 7, b"ping");
    // A loose source route by way of 10.0.0.9.
    let mut frame = testing::with_options(request, &[0x83, 7, 4, 10, 0, 0, 9, 0]);
    let parsed = Parsed::read(&frame).unwrap();
    assert!(make_echo_reply(&mut frame, &parsed));
    assert_checksums(&frame);
    assert_eq!(frame[34..42], [0; 8]);
    assert_eq!(Parsed::read(&frame).unwrap().icmp_type, kind::ECHO_REPLY);
}

#[test]
fn what_is_no_right_echo_request_is_unchanged() {
    let request = testing::echo(kind::ECHO_REQUEST, host(CLIENT), host(SERVER), None, 1, 7, &[9; 64]);
    let mut damaged = request.clone();
    damaged[50] ^= 1;
    let mut other_protocol = testing::with_header(request.clone(), |header| header[9] = 2);
    other_protocol[34] = kind::ECHO_REQUEST;
    let rows = [
        ("a wrong ICMP checksum", damaged),
        ("a first fragment", testing::fragments(&request, 1, 32).swap_remove(0)),
        ("a first fragment that sums up by itself", {
            testing::with_header(request.clone(), |header| header[6] |= 0x20)
        }),
        ("a later fragment", testing::fragments(&request, 1, 32).swap_remove(1)),
        ("a reply", testing::echo(kind::ECHO_REPLY, host(CLIENT), host(SERVER), None, 1, 7, b"")),
        ("another protocol", other_protocol),
    ];
    for (description, before) in rows {
        let mut frame = before.clone();
        let parsed = Parsed::read(&frame).unwrap();
        assert!(!make_echo_reply(&mut frame, &parsed), "{description}");
        assert_eq!(frame, before, "{description}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn an_error_about_any_packet_is_well_formed(
        original in arbitrary::ipv4_frame(),
        vlan in arbitrary::vlan(),
        mtu: u16,
    ) {
        let frame = error_about(&original, vlan, Error::FragmentationNeeded { mtu });
        assert_checksums(&frame);
        let parsed = Parsed::read(&frame).unwrap();
        prop_assert_eq!((parsed.icmp_type, parsed.icmp_code, parsed.ttl), (3, 4, 64));
        prop_assert!(parsed.dont_fragment);
        prop_assert!(usize::from(parsed.total_length) <= ERROR_LENGTH_MAX);
        let about = Parsed::read(&original).unwrap();
        prop_assert_eq!((parsed.source, parsed.destination), (GATEWAY, about.source));
        // The host it is for finds its own packet in it.
        let quote = crate::rewrite::read_quote(&frame, &parsed).unwrap();
        prop_assert_eq!((quote.source, quote.destination), (about.source, about.destination));
        prop_assert_eq!(quote.source_port, about.source_port);
        prop_assert_eq!(quote.destination_port, about.destination_port);
        prop_assert!(!may_answer(&frame, &parsed));
    }

    #[test]
    fn no_bytes_make_an_answer_panic(bytes in arbitrary::hostile_frame(), room in 0..700_usize) {
        let Ok(parsed) = Parsed::read(&bytes) else { return Ok(()) };
        may_answer(&bytes, &parsed);
        let mut frame = Buffer::with_room(room);
        let _ = write_error(&mut frame, link(None), GATEWAY, Error::TtlExceeded, &bytes, &parsed);
        let mut bytes = bytes;
        if make_echo_reply(&mut bytes, &parsed) {
            assert_checksums(&bytes);
        }
    }
}
