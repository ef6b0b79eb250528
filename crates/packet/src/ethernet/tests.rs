//! Headers in and out of every length, and MAC addresses as text.

use proptest::prelude::*;

use super::*;
use crate::frame::tests::{Buffer, HEADROOM};
use crate::testing;
use crate::{Parsed, arbitrary};

const A: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x0a]);
const B: MacAddress = MacAddress([2, 0, 0, 0, 0, 0x0b]);
const NEW: LinkHeader =
    LinkHeader { destination: MacAddress([6; 6]), source: MacAddress([4; 6]), vlan: None };

fn datagram(vlan: Option<VlanId>) -> Vec<u8> {
    testing::udp((A, [10, 0, 0, 1].into(), 1), (B, [10, 0, 0, 2].into(), 2), vlan, b"payload")
}

#[test]
fn a_tag_is_added_removed_and_replaced() {
    let vlans = [None, VlanId::new(1), VlanId::new(4094)];
    for before in vlans {
        for after in vlans {
            let mut frame = datagram(before);
            let parsed = Parsed::read(&frame).unwrap();
            let packet = frame[parsed.network_range()].to_vec();
            let link = LinkHeader { vlan: after, ..NEW };
            replace_header(&mut frame, parsed.network_offset.into(), link).unwrap();
            assert_eq!(frame, [testing::ethernet(link, 0x0800), packet].concat(), "{before:?} to {after:?}");
            assert_eq!((destination(&frame), source(&frame)), (NEW.destination, NEW.source));
            assert_eq!(Parsed::read(&frame).unwrap().vlan, after);
        }
    }
}

#[test]
fn the_priority_of_the_old_tag_does_not_survive() {
    let mut frame = datagram(VlanId::new(7));
    frame[14] |= 0xe0;
    replace_header(&mut frame, 18, LinkHeader { vlan: VlanId::new(8), ..NEW }).unwrap();
    assert_eq!(frame[14..16], [0, 8]);
}

#[test]
fn without_headroom_a_tag_is_refused_and_the_frame_unchanged() {
    let bytes = datagram(None);
    let mut frame = Buffer::holding(&bytes);
    let link = LinkHeader { vlan: VlanId::new(8), ..NEW };
    let room = HEADROOM / 4;
    for _ in 0..room {
        replace_header(&mut frame, 14, link).unwrap();
    }
    let before = frame.bytes().to_vec();
    assert_eq!(replace_header(&mut frame, 14, link), Err(NoRoom));
    assert_eq!(frame.bytes(), before);
}

#[test]
fn bytes_too_short_for_a_header_have_no_addresses() {
    let frame = datagram(None);
    assert_eq!((destination(&frame), source(&frame)), (B, A));
    assert_eq!((destination(&frame[..13]), source(&frame[..13])), Default::default());
}

#[test]
fn group_addresses_are_told_by_their_bit() {
    let rows = [
        ("ff:ff:ff:ff:ff:ff", true),
        ("01:00:5e:00:00:01", true),
        ("33:33:00:00:00:01", true),
        ("02:00:00:00:00:01", false),
        ("00:00:00:00:00:00", false),
        ("fe:ff:ff:ff:ff:ff", false),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse::<MacAddress>().unwrap().is_multicast(), expected, "{text}");
    }
}

#[test]
fn a_text_that_is_no_mac_address_is_refused_with_the_reason() {
    use ParseMacAddressError::{Digits, Groups};
    let rows = [
        ("", Digits { group: 1 }),
        ("02", Groups),
        ("02:00:00:00:00", Groups),
        ("02:00:00:00:00:01:02", Groups),
        ("02:00:00:00:00:01:", Groups),
        ("02-00-00-00-00-01", Digits { group: 1 }),
        ("02:00:0:00:00:01", Digits { group: 3 }),
        ("02:00:+1:00:00:01", Digits { group: 3 }),
        ("02:00:00:00:00:0g", Digits { group: 6 }),
        ("02:00:00:00:00: 1", Digits { group: 6 }),
        ("02:00:00:00:00:é", Digits { group: 6 }),
    ];
    for (text, expected) in rows {
        assert_eq!(text.parse::<MacAddress>(), Err(expected), "{text:?}");
    }
}

#[test]
fn vlan_identifiers_are_1_to_4094() {
    for (vid, valid) in [(0, false), (1, true), (4094, true), (4095, false), (u16::MAX, false)] {
        assert_eq!(VlanId::new(vid).map(VlanId::get), valid.then_some(vid));
    }
}

proptest! {
    #[test]
    fn a_mac_address_reads_as_it_is_written(bytes: [u8; 6]) {
        let address = MacAddress(bytes);
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(address.to_string().to_uppercase().parse(), Ok(address));
        prop_assert_eq!(format!("{address:?}"), address.to_string());
    }

    #[test]
    fn the_packet_behind_the_header_stays(
        frame in arbitrary::ipv4_frame(),
        vlan in arbitrary::vlan(),
    ) {
        let before = Parsed::read(&frame).unwrap();
        let mut buffer = Buffer::holding(&frame);
        replace_header(&mut buffer, before.network_offset.into(), LinkHeader { vlan, ..NEW }).unwrap();
        let after = Parsed::read(buffer.bytes()).unwrap();
        prop_assert_eq!(after.vlan, vlan);
        prop_assert_eq!(&buffer.bytes()[after.network_range()], &frame[before.network_range()]);
    }
}
