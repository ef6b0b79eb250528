//! The errors a router on the way, or the remote host, sends back: each is translated, and then has to quote exactly
//! what its receiver once sent.

use core::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::rewrite::{Replacement, apply};
use crate::testing::{self, Endpoint, Host, assert_checksums};
use crate::{MacAddress, arbitrary, tcp};

const CLIENT: Endpoint = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5), 40_000);
const EXTERNAL: Endpoint = (MacAddress([2, 0, 0, 0, 0, 3]), Ipv4Addr::new(203, 0, 113, 9), 50_001);
const SERVER: Endpoint = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(198, 51, 100, 7), 443);
const ROUTER: Host = (MacAddress([2, 0, 0, 0, 0, 4]), Ipv4Addr::new(192, 0, 2, 1));

fn host((mac, address, _): Endpoint) -> Host {
    (mac, address)
}

/// What turns the quote of a packet from EXTERNAL back into the packet the client sent.
fn back(port: Option<u16>) -> Rewrite {
    Rewrite { source: Some(Replacement { address: CLIENT.1, port }), destination: None }
}

/// An error that quotes `quoted` bytes behind the header of `about`.
fn error(about: &[u8], quoted: usize) -> Vec<u8> {
    testing::icmp_error(ROUTER, host(EXTERNAL), None, (3, 1, 0), about, quoted)
}

/// Reads and rewrites the quote.
fn translated(frame: &[u8], rewrite: Rewrite) -> Vec<u8> {
    let parsed = Parsed::read(frame).unwrap();
    let quote = read_quote(frame, &parsed).unwrap();
    let mut frame = frame.to_vec();
    apply_to_quote(&mut frame, &parsed, &quote, rewrite);
    frame
}

fn read(frame: &[u8]) -> Result<Quote, BadQuote> {
    read_quote(frame, &Parsed::read(frame).unwrap())
}

/// Description, the packet as it left, and as the client sent it.
fn packets() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let from = |end: Endpoint, identifier: u16| {
        let options = [0x94, 4, 0, 0];
        vec![
            ("TCP", testing::tcp(end, SERVER, None, tcp::ACK, 7, 9, &[0x5a; 600])),
            ("UDP", testing::udp(end, SERVER, None, b"datagram")),
            ("UDP, 600 bytes", testing::udp(end, SERVER, None, &[0xa5; 600])),
            ("an echo request", testing::echo(8, host(end), host(SERVER), None, identifier, 1, &[3; 56])),
            ("an echo reply", testing::echo(0, host(end), host(SERVER), None, identifier, 1, &[3; 56])),
            ("TCP behind options", {
                testing::with_options(testing::tcp(end, SERVER, None, tcp::SYN, 7, 0, b""), &options)
            }),
            ("UDP behind 40 bytes of options", {
                testing::with_options(testing::udp(end, SERVER, None, b"datagram"), &[1; 40])
            }),
            ("a first fragment", {
                testing::fragments(&testing::udp(end, SERVER, None, &[1; 900]), 5, 480).swap_remove(0)
            }),
        ]
    };
    from(EXTERNAL, EXTERNAL.2)
        .into_iter()
        .zip(from(CLIENT, CLIENT.2))
        .map(|((description, left), (_, sent))| (description, left, sent))
        .collect()
}

//= https://www.rfc-editor.org/rfc/rfc5508#section-9
//# Revert the IP and transport headers of the embedded IP packet to their original form
#[test]
fn a_translated_quote_is_the_packet_that_the_receiver_sent() {
    for (description, left, sent) in packets() {
        // From eight bytes to the whole packet. With 17 there is half a TCP checksum, which cannot be carried along
        // and stays as it is.
        for quoted in (8..=16).chain(18..=40).chain([520, 2000]) {
            let frame = error(&left, quoted);
            let after = translated(&frame, back(Some(CLIENT.2)));
            assert_eq!(after, error(&sent, quoted), "{description}, {quoted} bytes quoted");
            assert_checksums(&after);
        }
    }
}

//= https://www.rfc-editor.org/rfc/rfc5508#section-9
//# Leave the ICMP Error type and code unchanged
#[test]
fn type_code_and_mtu_stay() {
    let (_, left, sent) = packets().swap_remove(1);
    for (icmp_type, code, rest) in [(3, 4, 1400), (3, 3, 0), (11, 0, 0), (12, 0, 0x1400_0000)] {
        let frame = |about: &[u8]| {
            testing::icmp_error(ROUTER, host(EXTERNAL), None, (icmp_type, code, rest), about, 8)
        };
        assert_eq!(translated(&frame(&left), back(Some(CLIENT.2))), frame(&sent));
    }
}

#[test]
fn an_outbound_error_has_the_destination_of_its_quote_changed() {
    // The client complains about a datagram that was sent to it by way of EXTERNAL.
    let arrived = testing::udp(SERVER, CLIENT, None, b"datagram");
    let sent = testing::udp(SERVER, EXTERNAL, None, b"datagram");
    let frame = testing::icmp_error(host(CLIENT), host(SERVER), None, (3, 3, 0), &arrived, 20);
    let new = Replacement { address: EXTERNAL.1, port: Some(EXTERNAL.2) };
    let after = translated(&frame, Rewrite { source: None, destination: Some(new) });
    assert_eq!(after, testing::icmp_error(host(CLIENT), host(SERVER), None, (3, 3, 0), &sent, 20));
}

#[test]
fn a_floating_address_changes_in_the_quote_of_any_protocol() {
    for protocol in [47, 50, 132] {
        let payload: Vec<u8> = (0..40).collect();
        let from = |end| testing::ipv4(host(end), host(SERVER), None, Protocol(protocol), &payload);
        for quoted in [0, 8, 100] {
            let after = translated(&error(&from(EXTERNAL), quoted), back(None));
            assert_eq!(after, error(&from(CLIENT), quoted), "protocol {protocol}");
        }
    }
}

#[test]
fn the_outer_packet_and_the_quote_are_translated_one_after_the_other() {
    for (description, left, sent) in packets() {
        let mut frame = error(&left, 100);
        let parsed = Parsed::read(&frame).unwrap();
        let quote = read_quote(&frame, &parsed).unwrap();
        apply_to_quote(&mut frame, &parsed, &quote, back(Some(CLIENT.2)));
        let outer = Replacement { address: CLIENT.1, port: None };
        apply(&mut frame, &parsed, Rewrite { source: None, destination: Some(outer) });
        let expected = testing::icmp_error(ROUTER, (EXTERNAL.0, CLIENT.1), None, (3, 1, 0), &sent, 100);
        assert_eq!(frame, testing::with_ttl(expected, testing::TTL - 1), "{description}");
    }
}

#[test]
fn a_quote_tells_where_it_is_and_what_it_is_about() {
    let about = testing::with_options(testing::tcp(CLIENT, SERVER, None, tcp::SYN, 1, 0, b""), &[1; 8]);
    let frame = testing::icmp_error(ROUTER, host(CLIENT), crate::VlanId::new(7), (11, 0, 0), &about, 8);
    let frame = testing::with_options(frame, &[1; 4]);
    let expected = Quote {
        source: CLIENT.1,
        destination: SERVER.1,
        protocol: Protocol::TCP,
        icmp_type: 0,
        source_port: CLIENT.2,
        destination_port: SERVER.2,
        network_offset: 18 + 24 + 8,
        transport_offset: 18 + 24 + 8 + 28,
        later_fragment: false,
    };
    assert_eq!(read(&frame), Ok(expected));
}

#[test]
fn a_later_fragment_is_quoted_without_ports_and_keeps_its_payload() {
    let datagram = |end| testing::udp(end, SERVER, None, &[0x77; 900]);
    let later = |end| testing::fragments(&datagram(end), 5, 480).swap_remove(1);
    let frame = error(&later(EXTERNAL), 64);
    let quote = read(&frame).unwrap();
    assert!(quote.later_fragment);
    assert_eq!((quote.source_port, quote.destination_port), (0, 0));
    let after = translated(&frame, back(Some(CLIENT.2)));
    assert_checksums(&after);
    assert_eq!(after, error(&later(CLIENT), 64));
}

#[test]
fn a_quoted_address_mask_request_has_no_identifier_we_know() {
    let about = |end: Endpoint| testing::icmp(host(end), host(SERVER), None, 17, 0, 0x1234_0001, &[0; 4]);
    let quote = read(&error(&about(EXTERNAL), 8)).unwrap();
    assert_eq!((quote.source_port, quote.destination_port), (0, 0));
    let after = translated(&error(&about(EXTERNAL), 20), back(Some(CLIENT.2)));
    assert_eq!(after, error(&about(CLIENT), 20));
}

//= rfc5508#REQ-3c
//# The NAT device SHOULD NOT validate the transport checksum of the embedded packet
#[test]
fn a_wrong_quoted_transport_checksum_passes_and_stays_wrong() {
    let damaged = |end| {
        let mut frame = testing::udp(end, SERVER, None, b"datagram");
        *frame.last_mut().unwrap() ^= 0x10;
        frame
    };
    let after = translated(&error(&damaged(EXTERNAL), 100), back(Some(CLIENT.2)));
    assert_eq!(after, error(&damaged(CLIENT), 100));
}

#[test]
fn a_quoted_udp_checksum_of_zero_stays_zero() {
    let unchecked = |end| {
        let mut frame = testing::udp(end, SERVER, None, b"datagram");
        frame[40..42].fill(0);
        frame
    };
    let after = translated(&error(&unchecked(EXTERNAL), 100), back(Some(CLIENT.2)));
    assert_eq!(after, error(&unchecked(CLIENT), 100));
}

//= https://www.rfc-editor.org/rfc/rfc5508#section-9
//# If the ICMP Error payload contains ICMP extensions, the NAT device MUST exclude the optional zero-padding and the
//# ICMP extensions
#[test]
fn padding_and_extensions_behind_the_quote_stay() {
    // RFC 4884: 128 bytes of quote, zero-padded, counted in words in the second half of the unused bytes; then an
    // extension with an MPLS label.
    let extension = [0x20, 0, 0, 0, 0, 8, 1, 1, 0, 0x01, 0x21, 0x40];
    let multipart = |end| {
        let about = testing::udp(end, SERVER, None, b"datagram");
        let mut body = about[14..].to_vec();
        body.resize(128, 0);
        body.extend(extension);
        testing::icmp(ROUTER, host(EXTERNAL), None, 11, 0, 32 << 16, &body)
    };
    let after = translated(&multipart(EXTERNAL), back(Some(CLIENT.2)));
    assert_eq!(after, multipart(CLIENT));
    assert_checksums(&after);
}

#[test]
fn bytes_behind_a_short_quoted_packet_are_not_taken_for_its_checksum() {
    // A quoted TCP packet whose total length ends before the checksum, and more bytes behind it.
    let about = |end| {
        let frame = testing::tcp(end, SERVER, None, tcp::ACK, 1, 2, b"");
        testing::with_header(frame, |header| header[3] = 20 + 12)
    };
    let with_rest = |end| testing::icmp(ROUTER, host(EXTERNAL), None, 3, 1, 0, &about(end)[14..]);
    let after = translated(&with_rest(EXTERNAL), back(Some(CLIENT.2)));
    // The checksum field of the quote, at 14 + 20 + 8 + 20 + 16, is as it was.
    assert_eq!(after[78..80], with_rest(EXTERNAL)[78..80]);
    assert_ne!(after[78..80], with_rest(CLIENT)[78..80]);
    let message = &after[34..];
    assert_eq!(checksum::sum(message), 0xffff);
}

#[test]
fn a_quote_that_cannot_be_used_is_refused_with_the_reason() {
    use BadQuote::{IcmpChecksum, QuotedChecksum, Truncated};
    let about = testing::udp(EXTERNAL, SERVER, None, b"datagram");
    let right = error(&about, 8);
    let body = |bytes: &[u8]| testing::icmp(ROUTER, host(EXTERNAL), None, 3, 1, 0, bytes);
    let changed = |at: usize, value: u8| {
        let mut quoted = about[14..].to_vec();
        quoted[at] = value;
        body(&quoted)
    };
    let damaged = |at: usize| {
        let mut frame = right.clone();
        frame[at] ^= 0x01;
        frame
    };
    let short = |protocol: Protocol, length: usize| {
        body(&testing::ipv4(host(EXTERNAL), host(SERVER), None, protocol, &[0; 8])[14..34 + length])
    };
    let fragments = testing::fragments(&error(&testing::udp(EXTERNAL, SERVER, None, &[0; 99]), 99), 1, 64);
    let rows = [
        ("the ICMP checksum", damaged(37), IcmpChecksum),
        ("a byte of the message", damaged(69), IcmpChecksum),
        ("the quoted header checksum", changed(10, about[24] ^ 1), QuotedChecksum),
        ("a quoted address", changed(13, about[27] ^ 1), QuotedChecksum),
        ("no quote", body(&[]), Truncated),
        ("19 bytes", body(&about[14..33]), Truncated),
        ("IPv6", changed(0, 0x65), Truncated),
        ("header length 4", changed(0, 0x44), Truncated),
        ("options cut", body(&testing::with_options(about.clone(), &[1; 40])[14..72]), Truncated),
        ("7 bytes of UDP", short(Protocol::UDP, 7), Truncated),
        ("7 bytes of TCP", short(Protocol::TCP, 7), Truncated),
        ("7 bytes of ICMP", short(Protocol::ICMP, 7), Truncated),
        (
            "a total length below the header's",
            body(&testing::with_header(about.clone(), |header| header[2..4].copy_from_slice(&[0, 19]))[14..]),
            Truncated,
        ),
        ("the error's first fragment", fragments[0].clone(), Truncated),
        (
            "a first fragment that sums up by itself",
            { testing::with_header(error(&about, 12), |header| header[6] |= 0x20) },
            Truncated,
        ),
        ("the error's later fragment", fragments[1].clone(), Truncated),
        ("no error", testing::echo(8, ROUTER, host(EXTERNAL), None, 1, 1, &about[14..]), Truncated),
        ("no ICMP", testing::ipv4(ROUTER, host(EXTERNAL), None, Protocol(47), &right[34..]), Truncated),
    ];
    assert!(read(&right).is_ok());
    for (description, frame, expected) in rows {
        assert_eq!(read(&frame), Err(expected), "{description}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_quote_translated_has_right_checksums_and_back_again_every_byte(
        frame in arbitrary::icmp_error_frame(),
        address in arbitrary::address(),
        port: u16,
    ) {
        let parsed = Parsed::read(&frame).unwrap();
        let quote = read_quote(&frame, &parsed).unwrap();
        let source = |address, port| Rewrite { source: Some(Replacement { address, port }), destination: None };
        let has_port = quote.source_port != 0 || quote.destination_port != 0;
        let there = translated(&frame, source(address, has_port.then_some(port)));
        assert_checksums(&there);
        let seen = read(&there).unwrap();
        prop_assert_eq!((seen.source, seen.destination), (address, quote.destination));
        if has_port {
            prop_assert_eq!(seen.source_port, port);
        }
        let restored = translated(&there, source(quote.source, has_port.then_some(quote.source_port)));
        prop_assert_eq!(restored, frame);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in arbitrary::hostile_frame(), rewrite in arbitrary::rewrite()) {
        let Ok(parsed) = Parsed::read(&bytes) else { return Ok(()) };
        let Ok(quote) = read_quote(&bytes, &parsed) else { return Ok(()) };
        prop_assert!(usize::from(quote.transport_offset) <= parsed.network_range().end);
        let mut after = bytes.clone();
        apply_to_quote(&mut after, &parsed, &quote, rewrite);
        // Whatever was quoted, the message around it is still right, and nothing outside it changed.
        prop_assert_eq!(checksum::sum(&after[parsed.transport_range()]), 0xffff);
        let start = usize::from(parsed.transport_offset);
        prop_assert_eq!(&after[..start], &bytes[..start]);
        let end = parsed.network_range().end;
        prop_assert_eq!(&after[end..], &bytes[end..]);
        // And it does not matter if the bytes are not those that were read.
        after.truncate(bytes.len() / 2);
        apply_to_quote(&mut after, &parsed, &quote, rewrite);
    }
}
