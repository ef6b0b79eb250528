//! A stranger outside, who sees what leaves, and tries what strangers try: unasked datagrams and connections, forged
//! resets and errors for flows that are not his; and one inside, who lies about who he is.

use std::net::Ipv4Addr;

use super::plan::{self, ON_THE_WAY, STRANGER, TENANTS};
use super::wire::{self, ICMP, Kind, Link, Packet, TCP, UDP};
use crate::random::Random;

/// Packets that he remembers to have seen.
const SEEN: usize = 32;

/// So far off the right sequence number that nobody's window reaches there.
const FAR: u32 = 0x4000_0000;

const ACK: u8 = 0x10;

#[derive(Default)]
pub(crate) struct Stranger {
    seen: Vec<Vec<u8>>,
    next: usize,
}

impl Stranger {
    /// A frame left for the outside.
    pub(crate) fn see(&mut self, frame: &[u8]) {
        if self.seen.len() < SEEN {
            self.seen.push(frame.to_vec());
        } else {
            self.next = (self.next + 1) % SEEN;
            self.seen[self.next].clear();
            self.seen[self.next].extend_from_slice(frame);
        }
    }

    /// A frame, and the tenant from whose network it comes; none: from outside.
    pub(crate) fn try_something(&self, random: &mut Random, flow: u32) -> (Option<usize>, Vec<u8>) {
        let outside = Link { to: [0; 6], from: plan::mac_of(0, plan::ISP), vlan: 0 };
        let payload = wire::payload(0, Kind::Hostile, flow, 8 + random.below(24));
        let seen = if self.seen.is_empty() { None } else { Some(&self.seen[random.below(self.seen.len())]) };
        let seen = seen.and_then(|frame| Some((frame, wire::read(frame)?)));
        let port = 2_000 + random.below(400) as u16;
        let last = random.one_of(&[10, 11, 12, 30, 50, 51, 52, 2]);
        let to = (Ipv4Addr::new(203, 0, 113, last), if last == 50 { plan::ECHO } else { port });
        match (random.below(6), seen) {
            // Of a SYN he would have to guess the other side's number, and in one world of a thousand guesses right.
            (0 | 1, Some((frame, packet))) if packet.protocol == TCP && !is_first(frame, &packet) => {
                (None, reset(outside, frame, &packet, random))
            }
            (0..=2, Some((frame, packet))) if !packet.is_error() => {
                let (kind, code) = random.one_of(&[(3, 1), (3, 3), (3, 13), (11, 0), (4, 0), (12, 0)]);
                let quote = packet.bytes(frame);
                let quote =
                    &quote[..quote.len().min(packet.at[1] - packet.at[0] + random.one_of(&[8, 28, 200]))];
                let mut quote = quote.to_vec();
                // The port may be another tenant's now, who must not be shown what was this one's: it is the stranger who
                // shows it, not the gateway.
                if let Some(payload) = quote.get_mut(packet.at[2] - packet.at[0]..) {
                    payload.fill(0);
                }
                let error = wire::icmp(kind, code, [0, 0], &quote);
                (None, wire::ipv4(outside, ICMP, ON_THE_WAY, packet.source.0, 60, &error))
            }
            (3, _) => {
                let segment = wire::tcp(4_444, to.1, random.one_of(&[2, 0x12, 0x10, 4]), flow, 7);
                (None, wire::ipv4(outside, TCP, STRANGER, to.0, 60, &segment))
            }
            (4, _) => {
                let tenant = random.below(TENANTS);
                let link = Link {
                    to: plan::router_mac(tenant, false),
                    from: plan::mac_of(plan::vlan(tenant), plan::host(13)),
                    vlan: plan::vlan(tenant),
                };
                let from =
                    random.one_of(&[STRANGER, Ipv4Addr::new(10, 0, 9, 9), plan::host(1), plan::SERVERS[0]]);
                (
                    Some(tenant),
                    wire::ipv4(link, UDP, from, plan::SERVERS[1], 60, &wire::udp(4_000, 9, &payload)),
                )
            }
            _ => (None, wire::ipv4(outside, UDP, STRANGER, to.0, 60, &wire::udp(4_444, to.1, &payload))),
        }
    }
}

/// Whether a segment says nothing of its remote's numbers.
fn is_first(frame: &[u8], packet: &Packet) -> bool {
    frame[packet.at[1] + 13] & ACK == 0
}

/// A reset, or an end, of the connection that a segment belongs to, as its remote would send it, but for the numbers.
fn reset(link: Link, frame: &[u8], packet: &Packet, random: &mut Random) -> Vec<u8> {
    let numbers = &frame[packet.at[1] + 4..packet.at[1] + 12];
    let number = |at: usize| numbers[at..at + 4].iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
    let sequence = number(4).wrapping_add(FAR).wrapping_add(random.below(1 << 20) as u32);
    let flags = random.one_of(&[4, 0x14, 0x11]);
    let segment = wire::tcp(packet.destination.1, packet.source.1, flags, sequence, number(0));
    wire::ipv4(link, TCP, packet.destination.0, packet.source.0, 60, &segment)
}
