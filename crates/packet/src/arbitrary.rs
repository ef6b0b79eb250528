//! What the property tests draw from: frames as senders make them, and frames as nobody should.
//!
//! The larger strategies are boxed: nested by value they outgrow a test thread's stack.

use core::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::icmp::kind;
use crate::rewrite::{Replacement, Rewrite};
use crate::testing::{self, Endpoint, Host};
use crate::{MacAddress, Protocol, VlanId};

/// Any address, those that are awkward to a ones' complement sum more often than by chance.
pub(crate) fn address() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        4 => any::<u32>(),
        1 => Just(0),
        1 => Just(u32::MAX),
        1 => Just(0xffff_0000),
        1 => Just(0x0000_ffff),
    ]
    .prop_map(Ipv4Addr::from)
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![6 => any::<u16>(), 1 => Just(0), 1 => Just(0xffff)]
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<[u8; 6]>(), address(), port()).prop_map(|(mac, address, port)| (MacAddress(mac), address, port))
}

pub(crate) fn vlan() -> impl Strategy<Value = Option<VlanId>> {
    prop_oneof![Just(None), (1..=4094_u16).prop_map(VlanId::new)]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![8 => vec(any::<u8>(), 0..96), 1 => vec(any::<u8>(), 1400..2000), 1 => Just(vec![0xff; 64])]
}

pub(crate) fn rewrite() -> impl Strategy<Value = Rewrite> {
    let end = || {
        proptest::option::of((address(), proptest::option::of(port())))
            .prop_map(|end| end.map(|(address, port)| Replacement { address, port }))
    };
    (end(), end()).prop_map(|(source, destination)| Rewrite { source, destination })
}

fn host((mac, address, _): Endpoint) -> Host {
    (mac, address)
}

/// A whole packet of some protocol, without options or padding.
pub(crate) fn plain_packet() -> BoxedStrategy<Vec<u8>> {
    let icmp_type = prop_oneof![Just(kind::ECHO_REQUEST), Just(kind::ECHO_REPLY), Just(15), Just(16)];
    let other = prop_oneof![Just(3_u8), Just(47), Just(50), Just(132), Just(255)];
    let kind = prop_oneof![
        (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(flags, a, b)| Kind::Tcp(flags, a, b)),
        Just(Kind::Udp),
        Just(Kind::UdpUnchecked),
        (icmp_type, any::<u32>()).prop_map(|(icmp_type, rest)| Kind::Icmp(icmp_type, rest)),
        other.prop_map(|protocol| Kind::Other(Protocol(protocol))),
    ];
    (endpoint(), endpoint(), vlan(), kind, payload())
        .prop_map(|(from, to, vlan, kind, payload)| match kind {
            Kind::Tcp(flags, sequence, acknowledgement) => {
                testing::tcp(from, to, vlan, flags, sequence, acknowledgement, &payload)
            }
            Kind::Udp => testing::udp(from, to, vlan, &payload),
            Kind::UdpUnchecked => {
                let mut frame = testing::udp(from, to, vlan, &payload);
                let at = if vlan.is_some() { 44 } else { 40 };
                frame[at..at + 2].fill(0);
                frame
            }
            Kind::Icmp(icmp_type, rest) => {
                testing::icmp(host(from), host(to), vlan, icmp_type, 0, rest, &payload)
            }
            Kind::Other(protocol) => testing::ipv4(host(from), host(to), vlan, protocol, &payload),
        })
        .boxed()
}

#[derive(Clone, Debug)]
enum Kind {
    Tcp(u8, u32, u32),
    Udp,
    UdpUnchecked,
    Icmp(u8, u32),
    Other(Protocol),
}

/// A well-formed IPv4 frame with right checksums: any protocol, whole or a fragment, with or without options, padding
/// and DF. No ICMP error.
pub(crate) fn ipv4_frame() -> BoxedStrategy<Vec<u8>> {
    let options = (0..=10_usize).prop_map(|words| vec![1; words * 4]);
    let cut = proptest::option::weighted(0.3, (any::<u16>(), any::<Index>(), any::<Index>()));
    (plain_packet(), any::<u8>(), any::<bool>(), options, cut, 0..48_usize)
        .prop_map(|(frame, ttl, dont_fragment, options, cut, padding)| {
            let mut frame = testing::with_options(testing::with_ttl(frame, ttl), &options);
            if let Some((identification, size, index)) = cut {
                // At least three units, so that a TCP header is never cut.
                let pieces = testing::fragments(&frame, identification, 24 + size.index(20) * 8);
                if !pieces.is_empty() {
                    frame = index.get(&pieces).clone();
                }
            } else if !dont_fragment {
                frame = testing::with_may_fragment(frame, 0);
            }
            testing::with_padding(frame, padding)
        })
        .boxed()
}

/// A well-formed ICMP error about a well-formed packet or fragment, quoting eight bytes of it or more.
pub(crate) fn icmp_error_frame() -> BoxedStrategy<Vec<u8>> {
    let error = (
        prop_oneof![Just(kind::UNREACHABLE), Just(kind::TIME_EXCEEDED), Just(kind::PARAMETER_PROBLEM)],
        0..16_u8,
        any::<u16>().prop_map(u32::from),
    );
    let quoted = prop_oneof![Just(8_usize), 8..64_usize, Just(usize::MAX / 2)];
    (endpoint(), endpoint(), vlan(), error, ipv4_frame(), quoted, 0..48_usize)
        .prop_map(|(from, to, vlan, error, about, quoted, padding)| {
            let frame = testing::icmp_error(host(from), host(to), vlan, error, &about, quoted);
            testing::with_padding(frame, padding)
        })
        .boxed()
}

/// Bytes that a receiver may be sent: noise, and well-formed frames cut short, with bytes changed, and with the header
/// checksums made right again so that they get past the first checks.
pub(crate) fn hostile_frame() -> BoxedStrategy<Vec<u8>> {
    let changes = || vec((any::<Index>(), any::<u8>()), 0..6);
    let well_formed = prop_oneof![ipv4_frame(), icmp_error_frame()];
    let spoilt = (well_formed, changes(), proptest::option::of(any::<Index>()), any::<bool>()).prop_map(
        |(mut frame, changes, cut, repair)| {
            // The link header stays, or else most cases would not be IPv4.
            for (at, value) in changes {
                let at = 14 + at.index(frame.len() - 14);
                frame[at] = value;
            }
            if let Some(cut) = cut {
                frame.truncate(cut.index(frame.len()));
            }
            if repair {
                repair_checksums(&mut frame);
            }
            frame
        },
    );
    prop_oneof![1 => vec(any::<u8>(), 0..128), 9 => spoilt].boxed()
}

/// Makes the outer and a quoted IPv4 header checksum, and the ICMP checksum around it, right, as far as the bytes go.
fn repair_checksums(frame: &mut [u8]) {
    let start = if frame.get(12..14) == Some(&[0x81, 0x00]) { 18 } else { 14 };
    let Some(packet) = frame.get_mut(start..) else { return };
    let header_length = |packet: &[u8]| packet.first().map_or(0, |first| usize::from(first & 15) * 4);
    let message = header_length(packet);
    if let Some(quoted) = packet.get_mut(message + 8..) {
        let length = header_length(quoted);
        repair(quoted.get_mut(..length), 10);
    }
    let total_length =
        packet.get(2..4).map_or(0, |field| usize::from(u16::from_be_bytes([field[0], field[1]])));
    if packet.get(9) == Some(&1) {
        repair(packet.get_mut(message..total_length), 2);
    }
    repair(packet.get_mut(..message), 10);
}

fn repair(bytes: Option<&mut [u8]>, at: usize) {
    let Some(bytes) = bytes.filter(|bytes| bytes.len() >= at + 2) else { return };
    bytes[at..at + 2].fill(0);
    let checksum = crate::checksum::checksum(bytes);
    bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
