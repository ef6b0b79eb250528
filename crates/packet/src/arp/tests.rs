//! What we write is what etherparse reads, and what is not for us is not read.

use proptest::prelude::*;

use super::*;
use crate::frame::tests::Buffer;
use crate::testing;

const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);
const OUR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEIR_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

fn reply() -> (LinkHeader, Arp) {
    let link = LinkHeader { destination: THEM, source: US, vlan: VlanId::new(100) };
    let arp = Arp {
        operation: Operation::Reply,
        sender_mac: US,
        sender: OUR_ADDRESS,
        target_mac: THEM,
        target: THEIR_ADDRESS,
    };
    (link, arp)
}

fn read_frame(bytes: &[u8]) -> Option<Arp> {
    read(bytes, &Parsed::read(bytes).unwrap())
}

#[test]
fn a_reply_is_written_byte_for_byte_and_padded_with_zeros() {
    let (link, arp) = reply();
    for vlan in [None, VlanId::new(100)] {
        let link = LinkHeader { vlan, ..link };
        let mut frame = Buffer::holding(&[0xdd; 300]);
        write(&mut frame, link, &arp).unwrap();
        assert_eq!(frame.bytes(), testing::arp(link, &arp));
        assert_eq!(frame.bytes().len(), 60);
        assert_eq!(read_frame(frame.bytes()), Some(arp));
    }
}

#[test]
fn a_request_is_broadcast_and_asks_for_the_target() {
    let mut frame = Buffer::holding(&[]);
    write_request(&mut frame, None, US, OUR_ADDRESS, THEIR_ADDRESS).unwrap();
    let theirs = etherparse::SlicedPacket::from_ethernet(frame.bytes()).unwrap();
    let Some(etherparse::NetSlice::Arp(arp)) = theirs.net else { panic!("no ARP") };
    assert_eq!(arp.operation(), etherparse::ArpOperation::REQUEST);
    assert_eq!(arp.hw_addr_type(), etherparse::ArpHardwareId::ETHERNET);
    assert_eq!(arp.proto_addr_type(), etherparse::EtherType::IPV4);
    assert_eq!(arp.sender_hw_addr(), US.0);
    assert_eq!(arp.sender_protocol_addr(), OUR_ADDRESS.octets());
    assert_eq!(arp.target_hw_addr(), [0; 6]);
    assert_eq!(arp.target_protocol_addr(), THEIR_ADDRESS.octets());
    assert_eq!(crate::ethernet::destination(frame.bytes()), MacAddress::BROADCAST);
    assert_eq!(crate::ethernet::source(frame.bytes()), US);
}

#[test]
fn a_buffer_too_small_is_refused() {
    let (link, arp) = reply();
    assert_eq!(write(&mut Buffer::with_room(59), link, &arp), Err(NoRoom));
    assert_eq!(write(&mut Buffer::with_room(60), link, &arp), Ok(()));
}

#[test]
fn other_hardware_protocols_and_operations_are_not_read() {
    let (link, arp) = reply();
    let link = LinkHeader { vlan: None, ..link };
    let right = testing::arp(link, &arp);
    assert_eq!(read_frame(&right), Some(arp));
    let with = |at: usize, value: u8| {
        let mut frame = right.clone();
        frame[at] = value;
        frame
    };
    let rows = [
        ("hardware type 6", with(15, 6)),
        ("protocol IPv6", with(17, 0xdd)),
        ("hardware length 8", with(18, 8)),
        ("protocol length 16", with(19, 16)),
        ("operation 0", with(21, 0)),
        ("operation 3, RARP request", with(21, 3)),
        ("operation 0x0101", with(20, 1)),
        ("one byte short", right[..41].to_vec()),
        ("another EtherType", with(13, 0x07)),
        ("no packet at all", right[..14].to_vec()),
        (
            "an IPv4 frame",
            testing::ipv4((US, OUR_ADDRESS), (THEM, THEIR_ADDRESS), None, crate::Protocol(6), &[0x50; 20]),
        ),
    ];
    for (description, frame) in rows {
        assert_eq!(read_frame(&frame), None, "{description}");
    }
    assert_eq!(read_frame(&right[..42]), Some(arp), "without padding");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        sender_mac: [u8; 6],
        sender: u32,
        target_mac: [u8; 6],
        target: u32,
        request: bool,
        vlan in crate::arbitrary::vlan(),
    ) {
        let arp = Arp {
            operation: if request { Operation::Request } else { Operation::Reply },
            sender_mac: MacAddress(sender_mac),
            sender: sender.into(),
            target_mac: MacAddress(target_mac),
            target: target.into(),
        };
        let link = LinkHeader { destination: THEM, source: US, vlan };
        let mut frame = Vec::new();
        write(&mut frame, link, &arp).unwrap();
        prop_assert_eq!(read_frame(&frame), Some(arp));
        prop_assert_eq!(frame, testing::arp(link, &arp));
    }
}
