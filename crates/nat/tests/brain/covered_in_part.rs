//! UDP-Lite (RFC 3828) and DCCP (RFC 4340): checksums that cover the addresses, and as much of the data as the sender says.
//!
//! To the gateway they are protocols without ports, but the change of an address has to reach their checksums.

use std::net::Ipv4Addr;

use nat::DropReason;
use packet::testing;

use crate::world::scene::*;
use crate::world::{Host, Packet, World};

const UDP_LITE: u8 = 136;
const DCCP: u8 = 33;

/// Of an odd length, as data may be.
const DATA: [u8; 33] = [0xa5; 33];

/// A packet of one of the two, of which so much is covered as the header's field says.
#[derive(Clone, Copy, Debug)]
struct Covered {
    protocol: u8,
    field: u8,
    bytes: usize,
}

/// All; the header alone; some of the data, to an odd byte where that can be said.
const ALL: [Covered; 6] = [
    Covered { protocol: UDP_LITE, field: 0, bytes: 8 + DATA.len() },
    Covered { protocol: UDP_LITE, field: 8, bytes: 8 },
    Covered { protocol: UDP_LITE, field: 19, bytes: 19 },
    Covered { protocol: DCCP, field: 0, bytes: 16 + DATA.len() },
    Covered { protocol: DCCP, field: 1, bytes: 16 },
    Covered { protocol: DCCP, field: 3, bytes: 16 + 8 },
];

impl Covered {
    /// What a host says to another, whose addresses the checksum is for.
    fn says(self, host: Host, to: Ipv4Addr) -> Packet {
        let mut bytes = vec![0x12, 0x34, 0x43, 0x21];
        match self.protocol {
            UDP_LITE => bytes.extend([0, self.field, 0, 0]),
            // A DataAck with short sequence numbers: four words of header.
            _ => bytes.extend([4, self.field, 0, 0, 4 << 1, 0, 0, 9, 0, 0, 0, 8]),
        }
        bytes.extend(DATA);
        let checksum = self.checksum(host.address, to, &bytes);
        bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        host.ipv4(self.protocol, to, &bytes)
    }

    /// Word by word, as the RFCs say it.
    fn checksum(self, from: Ipv4Addr, to: Ipv4Addr, bytes: &[u8]) -> u16 {
        let length = bytes.len() as u16;
        let pseudo_header =
            [&from.octets()[..], &to.octets(), &[0, self.protocol], &length.to_be_bytes()].concat();
        let covered = [&pseudo_header, &bytes[..self.bytes]].concat();
        let words =
            covered.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        let sum = words.sum::<u32>();
        let folded = (sum & 0xffff) + (sum >> 16);
        !((folded & 0xffff) + (folded >> 16)) as u16
    }
}

#[track_caller]
fn passes(world: &mut World, packet: Packet, expected: Packet, covered: Covered) {
    assert_eq!(world.one(packet), expected.hop(), "{covered:?}");
}

#[test]
fn a_floating_ip_carries_them_with_right_checksums() {
    let mut world = scene();
    for covered in ALL {
        let (server, web) = (SERVER.address, RED_WEB.address);
        passes(&mut world, covered.says(SERVER, WEB), covered.says(RED_WEB.peer(server), web), covered);
        passes(&mut world, covered.says(RED_WEB, server), covered.says(SERVER.peer(WEB), server), covered);
        // Two floating IPs of one router: both addresses change.
        let mail = RED_MAIL.address;
        passes(&mut world, covered.says(RED_WEB, MAIL), covered.says(RED_MAIL.peer(WEB), mail), covered);
    }
}

#[test]
fn one_host_for_each_remote_speaks_them_through_snat() {
    for covered in ALL {
        let mut world = scene();
        let (server, a) = (SERVER.address, RED_A.address);
        passes(&mut world, covered.says(RED_A, server), covered.says(SERVER.peer(RED_POOL), server), covered);
        passes(&mut world, covered.says(SERVER, RED_POOL), covered.says(RED_A.peer(server), a), covered);
        world.refuses(covered.says(RED_B, server), DropReason::RemoteTaken);
    }
}

#[test]
fn in_a_fragment_the_checksum_is_the_first_ones() {
    let mut world = scene();
    for covered in ALL {
        let whole = testing::fragments(&covered.says(SERVER, WEB).bytes, 7, 24);
        let expected = covered.says(RED_WEB.peer(SERVER.address), RED_WEB.address);
        for (fragment, expected) in whole.into_iter().zip(testing::fragments(&expected.bytes, 7, 24)) {
            passes(&mut world, SERVER.says(fragment), RED_WEB.says(expected), covered);
        }
    }
}

#[test]
fn an_error_quotes_them_as_they_were_sent() {
    let mut world = scene();
    for covered in ALL {
        let sent = covered.says(RED_WEB, SERVER.address);
        let seen = world.one(sent.clone());
        for quoted in [8, 500] {
            let heard = world.one(OTHER.error(WEB, (3, 2, 0), &seen, quoted));
            let expected =
                RED_WEB.peer(OTHER.address).error(RED_WEB.address, (3, 2, 0), &sent.clone().hop(), quoted);
            assert_eq!(heard, expected.hop(), "{covered:?}");
        }
    }
}
