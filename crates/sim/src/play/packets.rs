//! What packets are made of, and pieces of them.

use super::Play;
use crate::craft;
use crate::oracle::{Endpoint, Frame, read};

/// Protocols without ports: GRE, ESP, SCTP, IP in IP; and IPsec's authentication header, which no translation survives.
const OTHERS: [u8; 5] = [47, 50, 132, 4, 51];

impl Play {
    pub(super) fn datagram(&mut self, from: Endpoint, to: Endpoint) -> Vec<u8> {
        let mut payload = self.payload();
        if self.random.one_in(20) {
            // Its checksum is zero if it is seen under this endpoint: then it is sent as all ones.
            let seen_as = self.some_external();
            payload = craft::summing_to_zero(seen_as, to, payload);
        }
        craft::udp(from, to, &payload, !self.random.one_in(8))
    }

    pub(super) fn segment(
        &mut self,
        from: Endpoint,
        to: Endpoint,
        flags: u8,
        numbers: Option<[u32; 2]>,
    ) -> Vec<u8> {
        let numbers =
            numbers.unwrap_or_else(|| [self.random.below(1 << 30) as u32, self.random.below(1 << 30) as u32]);
        let payload = if flags & 8 == 0 { Vec::new() } else { self.payload() };
        let options: &[u8] = match self.random.below(4) {
            0 if flags & 2 != 0 => &[2, 4, 0x05, 0xb4],
            1 if flags & 2 != 0 => &[1, 2, 4, 0x05, 0x78, 3, 3, 2],
            2 if flags & 2 != 0 => &[1, 3, 3, 7, 2, 4, 0x02, 0x18],
            _ => &[],
        };
        craft::tcp(from, to, flags, numbers, options, &payload)
    }

    pub(super) fn ping(&mut self, from: Endpoint, to: Endpoint, kind: u8) -> Vec<u8> {
        let [high, low] = from.1.max(1).to_be_bytes();
        let payload = self.payload();
        craft::icmp(from, to, kind, 0, [high, low, 0, 7], &payload)
    }

    /// Of a protocol without ports.
    pub(super) fn other(&mut self, from: Endpoint, to: Endpoint) -> Vec<u8> {
        let protocol = self.random.one_of(&OTHERS);
        let payload = self.payload();
        craft::ipv4(protocol, from, to, &[&[7; 16], payload.as_slice()].concat())
    }

    fn payload(&mut self) -> Vec<u8> {
        let length = match self.random.below(30) {
            0 => 1_340 + self.random.below(140),
            1 if self.random.one_in(3) => 1_340 + self.random.below(4_000),
            _ => self.random.below(40),
        };
        let first = self.random.below(256);
        (0..length).map(|at| (first + at * 7) as u8).collect()
    }

    /// TTL, DF, options and the like.
    pub(super) fn vary(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        if self.random.one_in(40) {
            packet[8] = self.random.below(4) as u8;
        }
        if self.random.one_in(2) {
            packet[6] |= 0x40;
        }
        packet[1] = self.random.below(256) as u8;
        packet[4..6].copy_from_slice(&(self.random.below(65_536) as u16).to_be_bytes());
        if self.random.one_in(40) {
            // One that every piece carries (RFC 791), and one that the first does.
            let options = self.random.one_of(&[[1, 7, 7, 4, 0, 0, 0, 0], [1, 0x94, 4, 0, 0, 7, 3, 4]]);
            packet.splice(20..20, options);
            packet[0] = 0x47;
        }
        craft::finish(packet)
    }

    /// The packet in pieces: all of them, or some twice, or one over another.
    pub(super) fn some_pieces(&mut self, frame: &Frame) -> Vec<Frame> {
        let Some(header) = read(&frame.packet).filter(|header| header.is_whole()) else { return Vec::new() };
        let first = self.random.one_of(&[24, 24, 24, 8, 16, 40]);
        let lengths: Vec<usize> = (0..self.random.below(3)).map(|_| 8 * (1 + self.random.below(3))).collect();
        let mut pieces = craft::pieces(&frame.packet, &header, &[&[first], lengths.as_slice()].concat());
        let at = self.random.below(pieces.len());
        match self.random.below(16) {
            0 => pieces.push(pieces[at].clone()),
            1 => {
                // Begins or ends elsewhere than it should.
                let offset = u16::from_be_bytes([pieces[at][6], pieces[at][7]]) ^ 1;
                pieces[at][6..8].copy_from_slice(&offset.to_be_bytes());
                pieces[at] = craft::fix(std::mem::take(&mut pieces[at]));
            }
            2 => _ = pieces.swap_remove(at),
            _ => {}
        }
        pieces.into_iter().map(|packet| Frame { packet, ..frame.clone() }).collect()
    }
}
