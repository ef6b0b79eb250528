//! Whatever the frame, a plain packet is what the general reader and the general rewriter make of it.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{address, hostile_frame, icmp_error_frame, ipv4_frame};
use crate::rewrite::{self, Replacement, Rewrite};
use crate::{Fragment, Parsed, Payload, ethernet, fragment};

fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => ipv4_frame(), 1 => icmp_error_frame(), 3 => hostile_frame()]
}

/// What is plain, in the general reader's words.
fn is_plain(parsed: &Parsed) -> bool {
    parsed.payload == Payload::Ipv4
        && parsed.transport_offset - parsed.network_offset == 20
        && parsed.fragment == Fragment::Whole
        && parsed.ttl > 1
        && matches!(parsed.protocol, Protocol::TCP | Protocol::UDP)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_plain_packet_is_read_as_by_the_general_reader(frame in frame()) {
        let parsed = Parsed::read(&frame).ok().filter(is_plain);
        let plain = Plain::read(&frame);
        prop_assert_eq!(plain.is_some(), parsed.is_some());
        if let (Some((plain, arrival)), Some(parsed)) = (plain, parsed) {
            prop_assert_eq!((arrival.mac, arrival.vlan), (ethernet::destination(&frame), parsed.vlan));
            prop_assert_eq!((plain.source(), plain.destination()), (parsed.source, parsed.destination));
            let [a, b, c, d] = plain.ports.to_ne_bytes();
            let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            prop_assert_eq!(ports, (parsed.source_port, parsed.destination_port));
            prop_assert_eq!(plain.protocol, parsed.protocol);
            prop_assert_eq!(plain.network_offset, parsed.network_offset);
            prop_assert_eq!(plain.total_length, parsed.total_length);
            prop_assert_eq!(plain.dont_fragment, parsed.dont_fragment);
            prop_assert_eq!(plain.tcp_flags, parsed.tcp_flags);
            prop_assert_eq!(plain.tcp_window, parsed.tcp_window);
            prop_assert_eq!(plain.tcp_acknowledgement, parsed.tcp_acknowledgement);
            prop_assert_eq!(addresses(&frame), Some(plain.addresses));
        }
    }

    #[test]
    fn a_plain_packet_is_changed_as_by_the_general_rewriter(
        frame in frame(),
        address in address(),
        port in any::<u16>(),
        identification in proptest::option::of(any::<u16>()),
        is_source in any::<bool>(),
    ) {
        let (Some((plain, _)), Ok(parsed)) = (Plain::read(&frame), Parsed::read(&frame)) else { return Ok(()) };
        let (mut one, mut other) = (frame.clone(), frame);
        let new = NewEndpoint { address: u32::from_ne_bytes(address.octets()), port: port.to_be() };
        let replacement = Some(Replacement { address, port: Some(port) });
        let offset = usize::from(plain.network_offset);
        if is_source {
            plain.replace_source(&mut one, offset, new, identification);
            if let Some(identification) = identification {
                fragment::set_identification(&mut other, &parsed, identification);
            }
            rewrite::apply(&mut other, &parsed, Rewrite { source: replacement, destination: None });
        } else {
            plain.replace_destination(&mut one, offset, new);
            rewrite::apply(&mut other, &parsed, Rewrite { source: None, destination: replacement });
        }
        prop_assert_eq!(one, other);
    }
}
