//! IPv4 identifications of what leaves under an address that several hosts share (RFC 6864, RFC 7857 section 11).

use std::collections::HashSet;

use packet::{fragment, testing};

use crate::world::scene::*;
use crate::world::{Host, Packet, Setup, World};

const TO: (std::net::Ipv4Addr, u16) = (SERVER.address, 53);

fn identification(packet: &Packet) -> u16 {
    fragment::part(&packet.bytes, &packet.parsed()).identification
}

/// The identification with which a packet leaves, the rest being as it should.
fn leaves_with(world: &mut World, packet: Packet) -> u16 {
    identification(&world.one(packet))
}

//= rfc7857#11
//= rfc6864#5.3.1
#[test]
fn rfc7857_11_hosts_behind_one_address_do_not_share_identifications() {
    let hosts = [RED_A, RED_B, RED_DB];
    let mut world = scene();
    let mut seen = HashSet::new();
    for number in 0..3_000 {
        for host in hosts {
            let packet = host.udp(4_000, TO, b"may be cut").may_fragment(number);
            assert!(seen.insert(leaves_with(&mut world, packet)), "{number} of {:?}", host.address);
        }
    }
    assert_eq!(seen.len(), 9_000);
}

//= rfc7857#11
#[test]
fn all_fragments_of_a_datagram_have_one_identification_that_no_other_has() {
    let mut world = scene();
    let mut seen = HashSet::new();
    for number in 0..500 {
        for host in [RED_A, RED_B] {
            let fragments = testing::fragments(&host.udp(4_000, TO, &[7; 90]).bytes, number, 40);
            let heard: HashSet<_> =
                fragments.into_iter().map(|fragment| leaves_with(&mut world, host.says(fragment))).collect();
            assert_eq!(heard.len(), 1);
            assert!(seen.is_disjoint(&heard), "{number} of {:?}", host.address);
            seen.extend(heard);
        }
        assert!(seen.insert(leaves_with(&mut world, RED_A.udp(4_000, TO, b"").may_fragment(number))));
    }
}

//= rfc6864#4.1
#[test]
fn what_means_nothing_or_is_its_senders_alone_is_left() {
    let mut world = scene();
    let renumbered = |packet: Packet| {
        packet
            .change(|bytes| testing::with_header(bytes, |header| header[4..6].copy_from_slice(&[0x12, 0x34])))
    };
    // An atomic datagram, whatever its identification.
    let heard = world.one(renumbered(RED_A.udp(4_000, TO, b"")));
    assert_eq!(identification(&heard), 0x1234);
    let external = heard.source();
    let rows: [(&str, Host, Packet); 4] = [
        ("in by SNAT", SERVER, SERVER.udp(53, external, b"")),
        ("out by a floating IP", RED_WEB, RED_WEB.udp(1, TO, b"")),
        ("in by a floating IP", SERVER, SERVER.udp(1, (WEB, 80), b"")),
        ("untranslated", RED_A, RED_A.udp(1, (OFFICE.address, 80), b"")),
    ];
    for (name, _, packet) in rows {
        assert_eq!(leaves_with(&mut world, packet.may_fragment(0x1234)), 0x1234, "{name}");
    }
    for fragment in testing::fragments(&SERVER.udp(53, external, &[7; 90]).bytes, 0x1234, 40) {
        assert_eq!(leaves_with(&mut world, SERVER.says(fragment)), 0x1234);
    }
}

//= rfc6864#4.3
//= rfc7857#11
#[test]
fn workers_do_not_share_identifications_either() {
    let mut world = scene_on(Setup::of_workers(4), &[]);
    let mut seen = HashSet::new();
    for number in 0..4_000 {
        for host in [RED_A, RED_B] {
            let packet = host.udp(4_000, TO, b"").may_fragment(number);
            assert!(seen.insert(leaves_with(&mut world, packet)), "{number}");
        }
    }
}

//= rfc7857#11
#[test]
fn a_hairpinned_packet_has_one_of_ours_too() {
    let mut world = scene();
    let mut seen = HashSet::new();
    for number in 0..200 {
        for host in [RED_A, RED_B] {
            assert!(seen.insert(leaves_with(&mut world, host.udp(9, (WEB, 80), b"").may_fragment(number))));
        }
    }
}
