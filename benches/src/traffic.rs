//! Frames of other sizes and kinds than the shortest UDP packets: see [`crate::scene`] for those.

use std::net::Ipv4Addr;

use packet::{MacAddress, testing};

use crate::machine::Random;
use crate::scene::{self, External, endpoints};

/// Of a tagged frame, without its check sequence: the shortest, and those that fill an MTU of 576 and 1,500.
pub const SHORTEST: usize = 64;
/// See [`SHORTEST`].
pub const LONGEST: usize = 1_518;
const MIDDLE: usize = 594;

/// Before UDP's data: link, IPv4, UDP.
const HEADERS: usize = 18 + 20 + 8;
/// Data of a datagram that leaves in two fragments.
const DATA_IN_TWO: usize = 1_600;

/// How long frames are.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// All alike.
    Fixed(usize),
    /// The simple Internet mix: of twelve frames seven are the shortest, four are of 594 bytes, one fills the MTU.
    Mix,
}

impl Size {
    /// The next frame's.
    pub fn draw(self, random: &mut Random) -> usize {
        match (self, random.below(12)) {
            (Self::Fixed(bytes), _) => bytes,
            (Self::Mix, 0..7) => SHORTEST,
            (Self::Mix, 7..11) => MIDDLE,
            (Self::Mix, _) => LONGEST,
        }
    }

    /// On average.
    pub fn mean(self) -> usize {
        match self {
            Self::Fixed(bytes) => bytes,
            Self::Mix => (7 * SHORTEST + 4 * MIDDLE + LONGEST) / 12,
        }
    }
}

/// A frame of a flow from inside, of so many bytes.
pub fn request(flow: usize, bytes: usize) -> Vec<u8> {
    let (from, to, vlan) = endpoints(flow);
    testing::udp(from, to, vlan, &vec![0; bytes - HEADERS])
}

/// A frame of a flow from its remote, of so many bytes.
pub fn answer(flow: usize, mac: MacAddress, external: External, bytes: usize) -> Vec<u8> {
    scene::answer_with(flow, mac, external, &vec![0; bytes - HEADERS])
}

/// The two fragments of a datagram of a flow from inside.
pub fn request_in_two(flow: usize, identification: u16) -> Vec<Vec<u8>> {
    in_two(&request(flow, HEADERS + DATA_IN_TWO), identification)
}

/// The two fragments of a datagram of a flow from its remote.
pub fn answer_in_two(flow: usize, mac: MacAddress, external: External, identification: u16) -> Vec<Vec<u8>> {
    in_two(&answer(flow, mac, external, HEADERS + DATA_IN_TWO), identification)
}

fn in_two(frame: &[u8], identification: u16) -> Vec<Vec<u8>> {
    testing::fragments(frame, identification, 1_480)
}

/// The first packet of a flow, whose remote is the same for all flows.
pub fn towards_one(flow: usize, protocol: Kind) -> Vec<u8> {
    let (from, (mac, _, port), vlan) = endpoints(flow);
    let to = (mac, Ipv4Addr::new(203, 0, 113, 1), port);
    match protocol {
        Kind::Udp => testing::udp(from, to, vlan, &[0; SHORTEST - HEADERS]),
        Kind::Tcp => testing::tcp(from, to, vlan, packet::tcp::SYN, flow as u32, 0, &[]),
    }
}

/// A protocol whose flows begin in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Endpoint-independent mappings: a port each.
    Udp,
    /// Ports that many destinations share.
    Tcp,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}
