//! TCP resets that the gateway says (RFC 9293): written from scratch, without data and options.
//!
//! Like whatever else it originates they are atomic in the sense of RFC 6864, so their identification is 0.

use core::net::Ipv4Addr;

use zerocopy::IntoBytes;

use crate::ethernet::LinkHeader;
use crate::tcp::{ACK, FIN, RST, SYN};
use crate::wire::{self, ether_type};
use crate::{Fragment, Frame, NoRoom, Parsed, Protocol, checksum};

/// The TTL of what the gateway originates.
const TTL: u8 = 64;

/// A reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reset {
    /// Address and port of whom it seems to come from.
    pub source: (Ipv4Addr, u16),
    /// Of whom it goes to.
    pub destination: (Ipv4Addr, u16),
    /// What the receiver expects next, or it does not believe it (RFC 9293 section 3.10.7.4, RFC 5961).
    pub sequence: u32,
    /// What it acknowledges, for a receiver that has not been acknowledged anything yet.
    pub acknowledgement: Option<u32>,
}

impl Reset {
    /// The answer to a segment of a connection that does not exist (RFC 9293 section 3.10.7.1). A reset has none; neither has
    /// a fragment, whose length nobody knows.
    pub fn answering(parsed: &Parsed) -> Option<Self> {
        let flags = parsed.tcp_flags;
        if parsed.protocol != Protocol::TCP || parsed.fragment != Fragment::Whole || flags & RST != 0 {
            return None;
        }
        let acknowledges = flags & ACK != 0;
        let length = u32::from(parsed.tcp_payload_length())
            + u32::from(flags & SYN != 0)
            + u32::from(flags & FIN != 0);
        Some(Self {
            source: (parsed.destination, parsed.destination_port),
            destination: (parsed.source, parsed.source_port),
            sequence: if acknowledges { parsed.tcp_acknowledgement } else { 0 },
            acknowledgement: (!acknowledges).then(|| parsed.tcp_sequence.wrapping_add(length)),
        })
    }

    /// Makes `frame`, whatever it held, into this reset.
    ///
    /// # Errors
    /// [`NoRoom`] where the frame's buffer is too small; the frame is unchanged.
    pub fn write(self, frame: &mut impl Frame, link: LinkHeader) -> Result<(), NoRoom> {
        const LENGTH: usize = wire::Ipv4::LENGTH_MIN + wire::Tcp::LENGTH_MIN;
        let Self { source, destination, sequence, acknowledgement } = self;
        frame.resize(link.length() + LENGTH)?;
        let bytes = frame.bytes_mut();
        link.write(bytes, ether_type::IPV4);

        let mut network = wire::Ipv4 {
            version_and_length: 0x45,
            type_of_service: 0,
            total_length: (LENGTH as u16).into(),
            identification: 0.into(),
            flags_and_offset: wire::Ipv4::DONT_FRAGMENT.into(),
            ttl: TTL,
            protocol: Protocol::TCP.0,
            checksum: 0.into(),
            source: source.0.octets(),
            destination: destination.0.octets(),
        };
        network.checksum.set(checksum::checksum(network.as_bytes()));

        let mut segment = wire::Tcp {
            ports: wire::Ports { source: source.1.into(), destination: destination.1.into() },
            sequence: sequence.to_be_bytes(),
            acknowledgement: acknowledgement.unwrap_or(0).to_be_bytes(),
            data_offset: (wire::Tcp::LENGTH_MIN as u8 / 4) << 4,
            flags: if acknowledgement.is_some() { RST | ACK } else { RST },
            window: 0.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let length = wire::Tcp::LENGTH_MIN as u16;
        let pseudo_header = checksum::pseudo_header_sum(source.0, destination.0, Protocol::TCP, length);
        segment.checksum.set(!checksum::with_pseudo_header(pseudo_header, segment.as_bytes()));

        // The frame was made to fit both.
        let rest = bytes.get_mut(link.length()..).unwrap_or_default();
        let Some((first, second)) = rest.split_at_mut_checked(wire::Ipv4::LENGTH_MIN) else {
            return Err(NoRoom);
        };
        first.copy_from_slice(network.as_bytes());
        second.copy_from_slice(segment.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::Buffer;
    use crate::testing::{self, Endpoint, Segment};
    use crate::{MacAddress, VlanId};

    const HOST: Endpoint = (MacAddress([2, 0, 0, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 5), 40_000);
    const REMOTE: Endpoint = (MacAddress([2, 0, 0, 0, 0, 2]), Ipv4Addr::new(198, 51, 100, 7), 443);

    fn answer(segment: Segment) -> Option<(u8, u32, u32)> {
        let frame = testing::segment(HOST, REMOTE, VlanId::new(7), segment);
        let reset = Reset::answering(&Parsed::read(&frame).unwrap())?;
        let mut answer = Buffer::holding(&[0xdd; 7]);
        let link = LinkHeader { destination: HOST.0, source: REMOTE.0, vlan: VlanId::new(7) };
        reset.write(&mut answer, link).unwrap();
        let parsed = Parsed::read(answer.bytes()).unwrap();
        let said = Segment {
            flags: parsed.tcp_flags,
            sequence: parsed.tcp_sequence,
            acknowledgement: parsed.tcp_acknowledgement,
            window: 0,
            ..Segment::default()
        };
        assert_eq!(answer.bytes(), testing::segment(REMOTE, HOST, VlanId::new(7), said));
        testing::assert_checksums(answer.bytes());
        Some((said.flags, said.sequence, said.acknowledgement))
    }

    #[test]
    fn a_segment_without_a_connection_is_answered_as_rfc9293_says() {
        let said = |flags, payload| Segment {
            flags,
            sequence: u32::MAX,
            acknowledgement: 77,
            payload,
            ..Segment::default()
        };
        assert_eq!(answer(said(ACK, b"data")), Some((RST, 77, 0)));
        assert_eq!(answer(said(SYN | ACK, b"")), Some((RST, 77, 0)));
        assert_eq!(answer(said(FIN | ACK, b"")), Some((RST, 77, 0)));
        // What does not acknowledge is acknowledged, with all that it takes of the sequence.
        assert_eq!(answer(said(0, b"data")), Some((RST | ACK, 0, 3)));
        assert_eq!(answer(said(SYN, b"")), Some((RST | ACK, 0, 0)));
        assert_eq!(answer(said(FIN, b"data")), Some((RST | ACK, 0, 4)));
        assert_eq!(answer(said(SYN | FIN, b"data")), Some((RST | ACK, 0, 5)));
        for flags in [RST, RST | ACK] {
            assert_eq!(answer(said(flags, b"")), None);
        }
    }

    #[test]
    fn fragments_and_other_protocols_have_no_reset() {
        let segment = Segment { flags: ACK, payload: &[0; 64], ..Segment::default() };
        let whole = testing::segment(HOST, REMOTE, None, segment);
        let mut frames = testing::fragments(&whole, 1, 32);
        frames.push(testing::udp(HOST, REMOTE, None, b""));
        for frame in frames {
            assert_eq!(Reset::answering(&Parsed::read(&frame).unwrap()), None);
        }
    }

    #[test]
    fn a_buffer_too_small_for_a_reset_is_refused() {
        let end = (REMOTE.1, 1);
        let reset = Reset { source: end, destination: end, sequence: 0, acknowledgement: None };
        let link = LinkHeader { destination: HOST.0, source: REMOTE.0, vlan: None };
        assert_eq!(reset.write(&mut Buffer::with_room(53), link), Err(NoRoom));
        assert_eq!(reset.write(&mut Buffer::with_room(54), link), Ok(()));
    }
}
