//! A packet that is too long for the next link and may be cut leaves in pieces (RFC 791, RFC 1812 section 5.2.7; RFC 4787
//! REQ-13a).
//!
//! The first piece is the frame itself, shortened; the others are frames of the gateway's own, which the books count as
//! originated. Either all of them leave, one behind the other, or none.

use arrayvec::ArrayVec;
use packet::ethernet::{self, LinkHeader};
use packet::fragment::{Cut, PIECES_MAX};
use packet::{Frame, PacketIo, Parsed, PortIndex};

use crate::DropReason;
use crate::gateway::Gateway;
use crate::lane::Lane;

impl<F: Frame> Gateway<F> {
    /// Puts the link header on, and sends in pieces.
    //= rfc4787#REQ-13a
    pub(crate) fn send_in_pieces<I: PacketIo<Frame = F>>(
        &mut self,
        cut: &Cut,
        port: PortIndex,
        mut lane: Lane<F>,
        link: LinkHeader,
        io: &mut I,
    ) {
        let header_length = usize::from(lane.parsed.network_offset);
        if ethernet::replace_header(&mut lane.frame, header_length, link).is_err() {
            return self.discard(&lane.tickets, DropReason::NoHeadroom);
        }
        // The packet has moved by a tag that has come or gone.
        let network_offset = link.length() as u8;
        let transport_offset = lane.parsed.transport_offset - lane.parsed.network_offset + network_offset;
        let parsed = Parsed { network_offset, transport_offset, ..lane.parsed };
        let mut later = ArrayVec::<F, PIECES_MAX>::new();
        for number in 1..cut.pieces() {
            let made = io.allocate().and_then(|mut frame| {
                cut.write(number, &mut frame, link, lane.frame.bytes(), &parsed).is_ok().then_some(frame)
            });
            match made {
                Some(frame) => later.push(frame),
                None => return self.discard(&lane.tickets, DropReason::NoBuffer),
            }
        }
        cut.shorten(&mut lane.frame, &parsed);
        io.send(port, lane.frame);
        self.counters().originated.add(later.len() as u64);
        later.into_iter().for_each(|frame| io.send(port, frame));
        self.outbox.finish(&lane.tickets);
    }
}
