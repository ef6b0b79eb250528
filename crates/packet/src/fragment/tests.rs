//! A cut packet is judged by putting it together again, by code of its own.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::ipv4_frame;
use crate::{MacAddress, VlanId, testing};

const LINK: LinkHeader =
    LinkHeader { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), vlan: VlanId::new(7) };

fn read(bytes: &[u8]) -> Parsed {
    Parsed::read(bytes).unwrap()
}

/// The pieces of a frame, the first as it is left in place.
fn cut(frame: &[u8], mtu: u16) -> Option<Vec<Vec<u8>>> {
    let parsed = read(frame);
    let plan = Cut::plan(&parsed, mtu)?;
    let mut first = frame.to_vec();
    let mut later: Vec<_> = (1..plan.pieces())
        .map(|number| {
            let mut piece = vec![0xee; 3];
            plan.write(number, &mut piece, LINK, frame, &parsed).unwrap();
            piece
        })
        .collect();
    plan.shorten(&mut first, &parsed);
    later.insert(0, first);
    Some(later)
}

fn payload(frame: &[u8]) -> &[u8] {
    &frame[read(frame).transport_range()]
}

proptest! {
    /// RFC 791 section 3.2: the pieces fit, lie one behind the other, and are the packet.
    //= rfc791#3.2
    #[test]
    fn the_pieces_of_a_packet_are_the_packet(frame in ipv4_frame(), mtu in 68_u16..200) {
        let (whole, parsed) = (part(&frame, &read(&frame)), read(&frame));
        prop_assume!(parsed.total_length > mtu);
        let Some(pieces) = cut(&frame, mtu) else { return Ok(()) };
        let mut start = whole.start;
        for (number, piece) in pieces.iter().enumerate() {
            testing::assert_checksums(piece);
            // Through a link of this kind a transport header may come in two pieces, which nobody reads.
            let Ok(piece_parsed) = Parsed::read(piece) else {
                prop_assert!(number < 2);
                let header = u16::from(parsed.transport_offset - parsed.network_offset);
                start = (start + ((mtu - header) & !7)).min(whole.end);
                continue;
            };
            let here = part(piece, &piece_parsed);
            prop_assert!(piece_parsed.total_length <= mtu);
            prop_assert_eq!((here.identification, here.start), (whole.identification, start));
            prop_assert_eq!(here.is_last, number + 1 == pieces.len() && whole.is_last);
            let range = usize::from(here.start - whole.start)..usize::from(here.end - whole.start);
            prop_assert_eq!(payload(piece), &payload(&frame)[range]);
            prop_assert_eq!(
                (piece_parsed.ttl, piece_parsed.source, piece_parsed.destination, piece_parsed.protocol),
                (parsed.ttl, parsed.source, parsed.destination, parsed.protocol)
            );
            start = here.end;
        }
        prop_assert_eq!(start, whole.end);
    }

    #[test]
    fn another_identification_changes_nothing_else(frame in ipv4_frame(), identification: u16) {
        let mut changed = frame.clone();
        set_identification(&mut changed, &read(&frame), identification);
        let expected = testing::with_header(frame, |header| {
            header[4..6].copy_from_slice(&identification.to_be_bytes());
        });
        prop_assert_eq!(changed, expected);
    }
}

fn datagram(payload: usize) -> Vec<u8> {
    let (from, to) = (MacAddress([2, 0, 0, 0, 0, 1]), MacAddress([2, 0, 0, 0, 0, 2]));
    let frame = testing::udp(
        (from, [10, 0, 0, 5].into(), 4_000),
        (to, [192, 0, 2, 1].into(), 53),
        None,
        &vec![9; payload],
    );
    testing::with_may_fragment(frame, 99)
}

#[test]
fn the_pieces_are_those_that_a_sender_would_have_made() {
    let frame = datagram(3_000);
    let link = LinkHeader {
        destination: MacAddress([2, 0, 0, 0, 0, 2]),
        source: MacAddress([2, 0, 0, 0, 0, 1]),
        vlan: None,
    };
    let parsed = read(&frame);
    let plan = Cut::plan(&parsed, 1_500).unwrap();
    let expected = testing::fragments(&frame, 99, 1_480);
    assert_eq!(plan.pieces(), expected.len());
    for (number, expected) in expected.iter().enumerate().skip(1) {
        let mut piece = Vec::new();
        plan.write(number, &mut piece, link, &frame, &parsed).unwrap();
        assert_eq!(piece, *expected);
    }
    let mut first = frame;
    plan.shorten(&mut first, &parsed);
    assert_eq!(first, expected[0]);
}

/// RFC 791 section 3.1: security (130) and a source route (131) go into every piece, a record of the route (7) and a
/// timestamp (68) into the first alone.
//= rfc791#3.1
#[test]
fn options_are_copied_that_say_so() {
    let rows: [(&[u8], &[u8]); 8] = [
        (&[1, 1, 1, 1], &[]),
        (&[130, 2, 1, 1], &[130, 2, 0, 0]),
        (&[7, 7, 4, 0, 0, 0, 0, 0], &[]),
        (&[131, 7, 4, 1, 2, 3, 4, 1], &[131, 7, 4, 1, 2, 3, 4, 0]),
        (&[1, 7, 3, 4, 130, 3, 9, 0], &[130, 3, 9, 0]),
        // What is behind the end, too short, or longer than there is room.
        (&[0, 130, 3, 9], &[]),
        (&[130, 1, 130, 3], &[]),
        (&[130, 4, 9, 9, 131, 8, 4, 0], &[130, 4, 9, 9]),
    ];
    for (options, copied) in rows {
        let frame = testing::with_options(datagram(100), options);
        let pieces = cut(&frame, 80).unwrap();
        assert_eq!(pieces[0][34..34 + options.len()], *options);
        for piece in &pieces[1..] {
            let parsed = read(piece);
            let header = usize::from(parsed.network_offset) + 20..usize::from(parsed.transport_offset);
            assert_eq!(piece[header], *copied, "{options:?}");
        }
    }
}

#[test]
fn a_packet_that_would_be_too_many_pieces_is_not_cut() {
    for (payload, mtu, pieces) in
        [(32 * 8 - 8, 28, Some(32)), (32 * 8 - 7, 28, None), (100, 27, None), (100, 19, None)]
    {
        let plan = Cut::plan(&read(&datagram(payload)), mtu);
        assert_eq!(plan.map(|plan| plan.pieces()), pieces, "{payload} {mtu}");
    }
}
