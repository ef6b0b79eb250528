//! Every state, direction and flags, and the roads that lead through them.

use packet::tcp::PSH;

use super::*;

/// Initial sequence numbers: one wraps within the connection, so that every comparison crosses the seam.
const CLIENT: u32 = u32::MAX - 5;
const SERVER: u32 = 7_000;
const WINDOW: u16 = 1_000;

const OUT: usize = 0;
const IN: usize = 1;

/// A session's two sides, and which of them has sent how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Walk {
    sides: [Side; 2],
    next: [u32; 2],
}

impl Walk {
    fn new() -> Self {
        Self { sides: [Side::default(); 2], next: [CLIENT, SERVER] }
    }

    fn phase(&self) -> Phase {
        Phase::of_tcp(self.sides[OUT].seen, self.sides[IN].seen)
    }

    fn hear(&mut self, from: usize, segment: Segment) {
        let to = 1 - from;
        let [sender, receiver] = [from, to].map(|side| self.sides[side]);
        let before = Connection { sender, receiver, is_from_inside: from == OUT };
        let after = before.hear(&segment);
        if before.sender.is_plain(segment.flags) {
            assert_eq!(after.receiver, before.receiver, "a plain segment touches its own line alone");
            let span = before.sender.acknowledge(segment.acknowledgement, segment.window);
            assert_eq!(after.sender, Side { span, ..before.sender }, "and there the span alone");
        }
        self.sides[from] = after.sender;
        self.sides[to] = after.receiver;
    }

    /// What an honest endpoint says next.
    fn segment(&self, from: usize, flags: u8) -> Segment {
        Segment {
            flags,
            sequence: self.next[from],
            length: if flags & PSH != 0 { 10 } else { 0 },
            acknowledgement: self.next[1 - from],
            window: WINDOW,
            window_scale: 0,
        }
    }

    fn say(mut self, from: usize, flags: u8) -> Self {
        let segment = self.segment(from, flags);
        self.hear(from, segment);
        let counted = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0) + u32::from(segment.length);
        self.next[from] = self.next[from].wrapping_add(counted);
        self
    }

    fn says(self, steps: &[(usize, u8)]) -> Self {
        steps.iter().fold(self, |walk, (from, flags)| walk.say(*from, *flags))
    }

    /// The same segment with every number wrong.
    fn forged(&self, from: usize, flags: u8) -> Segment {
        let honest = self.segment(from, flags);
        Segment {
            sequence: honest.sequence.wrapping_add(1 << 30),
            acknowledgement: honest.acknowledgement.wrapping_add(1 << 30),
            ..honest
        }
    }
}

const HANDSHAKE: [(usize, u8); 3] = [(OUT, SYN), (IN, SYN | ACK), (OUT, ACK)];

fn established() -> Walk {
    Walk::new().says(&HANDSHAKE)
}

/// Each state with a way to it.
fn states() -> Vec<(&'static str, Walk)> {
    let closing = |from| established().say(from, FIN | ACK);
    vec![
        ("syn", Walk::new().say(OUT, SYN)),
        ("syn answered", Walk::new().says(&HANDSHAKE[..2])),
        ("syn crossed", Walk::new().says(&[(OUT, SYN), (IN, SYN)])),
        ("established", established()),
        ("closing by inside", closing(OUT)),
        ("closing by outside", closing(IN)),
        ("time-wait", closing(OUT).say(IN, FIN | ACK)),
        ("reset by inside", established().say(OUT, RST)),
        ("reset by outside", established().say(IN, RST)),
        ("reset while opening", Walk::new().says(&[(OUT, SYN), (IN, RST | ACK)])),
    ]
}

//= rfc7857#2.1
#[test]
fn every_state_direction_and_flags_lead_where_the_rfc_says() {
    for (name, walk) in states() {
        let before = walk.phase();
        for from in [OUT, IN] {
            for flags in 0..0x20 {
                let after = walk.say(from, flags).phase();
                let context = format!("{name}, from {from}, flags {flags:#04x}");
                let has = |flag| flags & flag != 0;
                let first = walk.sides.map(|side| side.seen.contains(Seen::ACKNOWLEDGED));
                let expected = match before {
                    // Nothing but what answers: a reset of the SYN has to acknowledge it, and neither FIN nor data end what
                    // has not begun.
                    Phase::TcpOpening if has(RST) => match name {
                        "syn" if from == IN && has(ACK) => Phase::TcpReset,
                        "syn crossed" if has(ACK) => Phase::TcpReset,
                        "syn answered" if from == OUT => Phase::TcpReset,
                        "syn answered" if has(ACK) => Phase::TcpReset,
                        _ => Phase::TcpOpening,
                    },
                    Phase::TcpOpening if name == "syn answered" && from == OUT && has(ACK) => {
                        match (has(SYN), has(FIN)) {
                            (true, true) => Phase::TcpOpening,
                            (false, true) => Phase::TcpClosing,
                            _ => Phase::TcpEstablished,
                        }
                    }
                    Phase::TcpOpening => Phase::TcpOpening,
                    _ if has(RST) => Phase::TcpReset,
                    // What comes from the living shows that the reset did not convince: back to where it was.
                    Phase::TcpReset if name == "reset while opening" => {
                        let answers = from == IN && has(ACK) && !(has(SYN) && has(FIN));
                        if answers { Phase::TcpOpening } else { Phase::TcpReset }
                    }
                    // Within a connection a SYN changes nothing.
                    phase if has(SYN) => phase,
                    Phase::TcpEstablished if has(FIN) => Phase::TcpClosing,
                    Phase::TcpEstablished => Phase::TcpEstablished,
                    Phase::TcpClosing if has(FIN) => {
                        let other = if name.ends_with("inside") { IN } else { OUT };
                        if from == other { Phase::TcpTimeWait } else { Phase::TcpClosing }
                    }
                    Phase::TcpClosing => Phase::TcpClosing,
                    Phase::TcpTimeWait => Phase::TcpTimeWait,
                    Phase::TcpReset if has(FIN) => Phase::TcpClosing,
                    Phase::TcpReset => Phase::TcpEstablished,
                    phase => unreachable!("{phase:?}"),
                };
                assert_eq!(after, expected, "{context}, acknowledged {first:?}");
            }
        }
    }
}

#[test]
fn what_is_out_of_its_window_changes_no_state_whatever_its_flags() {
    for (name, walk) in states() {
        for from in [OUT, IN] {
            for flags in 0..0x20 {
                let mut forged = walk;
                forged.hear(from, walk.forged(from, flags));
                // A SYN alone has nothing by which to judge it, and is only heard where its side has said nothing.
                assert_eq!(forged.phase(), walk.phase(), "{name}, from {from}, flags {flags:#04x}");
            }
        }
    }
}

//= rfc5382#REQ-2
//= rfc5382#REQ-2a
#[test]
fn every_way_to_open_a_connection_ends_in_an_established_one() {
    let ways: [(&str, &[(usize, u8)]); 6] = [
        ("three-way", &HANDSHAKE),
        ("simultaneous", &[(OUT, SYN), (IN, SYN), (OUT, SYN | ACK), (IN, SYN | ACK)]),
        ("simultaneous, acknowledged alone", &[(OUT, SYN), (IN, SYN), (OUT, SYN | ACK), (IN, ACK)]),
        ("split", &[(OUT, SYN), (IN, ACK), (IN, SYN), (OUT, SYN | ACK), (IN, ACK)]),
        ("split, from inside", &[(OUT, SYN), (IN, SYN), (OUT, ACK), (IN, SYN | ACK)]),
        ("data with the third", &[(OUT, SYN), (IN, SYN | ACK), (OUT, PSH | ACK)]),
    ];
    for (name, steps) in ways {
        let walk = Walk::new().says(steps);
        assert_eq!(walk.phase(), Phase::TcpEstablished, "{name}: {walk:?}");
        let closed = walk.says(&[(IN, PSH | ACK), (OUT, ACK), (IN, FIN | ACK), (OUT, FIN | ACK)]);
        assert_eq!(closed.phase(), Phase::TcpTimeWait, "{name}: {closed:?}");
    }
}

#[test]
fn a_syn_may_come_again_with_its_data_or_without() {
    let syn = Segment { length: 100, ..Walk::new().segment(OUT, SYN) };
    for acknowledged in [1, 101] {
        let mut walk = Walk::new();
        walk.hear(OUT, syn);
        walk.hear(OUT, Segment { length: 0, ..syn });
        let acknowledgement = CLIENT.wrapping_add(acknowledged);
        walk.hear(IN, Segment { acknowledgement, ..walk.segment(IN, SYN | ACK) });
        assert!(walk.sides[IN].seen.contains(Seen::ACKNOWLEDGED), "{acknowledged}");
    }
}

#[test]
fn a_syn_with_another_number_is_a_new_attempt() {
    let mut walk = Walk::new().say(OUT, SYN);
    let late = walk.segment(IN, SYN | ACK);
    walk.hear(OUT, Segment { sequence: 99, ..walk.segment(OUT, SYN) });
    walk.hear(IN, late);
    assert_eq!(walk.sides[IN].seen, Seen::empty(), "the answer to the first attempt is none to the second");
    walk.hear(IN, Segment { acknowledgement: 100, ..late });
    assert_eq!(walk.sides[IN].seen, Seen::SYN | Seen::ACKNOWLEDGED);
}

#[test]
fn a_window_is_scaled_by_its_own_side_and_never_on_a_syn() {
    let mut walk = Walk::new();
    walk.hear(OUT, Segment { window_scale: 7, ..walk.segment(OUT, SYN) });
    walk.next[OUT] = walk.next[OUT].wrapping_add(1);
    walk.hear(IN, Segment { window_scale: 2, ..walk.segment(IN, SYN | ACK) });
    walk.next[IN] += 1;
    assert_eq!(walk.sides[IN].span.length(), u32::from(WINDOW));
    let walk = walk.says(&[(OUT, ACK), (IN, ACK)]);
    assert_eq!(walk.sides[OUT].span.length(), u32::from(WINDOW) << 7);
    assert_eq!(walk.sides[IN].span.length(), u32::from(WINDOW) << 2);
}

#[test]
fn a_span_moves_only_forward_and_no_further_than_a_window_at_a_time() {
    let walk = established();
    let side = walk.sides[OUT];
    let Span { first, last } = side.span;
    assert_eq!(side.acknowledge(first - 1, WINDOW), side.span, "an old acknowledgement");
    assert_eq!(side.acknowledge(first + 5, 0), Span { first: first + 5, last }, "a window that closes");
    assert_eq!(side.acknowledge(first + 5, WINDOW), Span { first: first + 5, last: last + 5 });
    let furthest = last + u32::from(u16::MAX);
    assert_eq!(side.acknowledge(furthest + 1, WINDOW), side.span, "of what was never allowed");
    assert_eq!(side.acknowledge(furthest, WINDOW).first, furthest);
}

#[test]
fn resets_and_fins_count_up_to_the_edge_of_the_window_and_not_beyond() {
    let walk = established();
    let Span { first, last } = walk.sides[OUT].span;
    let counts = |flags, sequence| {
        let mut walk = walk;
        walk.hear(IN, Segment { sequence, ..walk.segment(IN, flags) });
        walk.phase() != Phase::TcpEstablished
    };
    for flags in [RST, RST | ACK, FIN | ACK] {
        assert!(counts(flags, first) && counts(flags, last), "{flags:#04x}");
        assert!(!counts(flags, first - 1) && !counts(flags, last + 1), "{flags:#04x}");
    }
}

/// Whoever forges from outside writes the inbound line alone, and what comes from outside is held against the other.
#[test]
fn forged_acknowledgements_do_not_move_the_window_that_protects_the_session() {
    let mut walk = established();
    let protects = walk.sides[OUT];
    let mut acknowledgement = walk.next[OUT];
    for _ in 0..1_000 {
        acknowledgement = acknowledgement.wrapping_add(60_000);
        walk.hear(IN, Segment { acknowledgement, ..walk.segment(IN, ACK) });
    }
    assert_eq!(walk.sides[OUT], protects);
}

#[test]
fn a_connection_picked_up_in_its_middle_is_established_when_both_have_spoken() {
    let mut walk = Walk { next: [1_000_000, 2_000_000], ..Walk::new() };
    walk = walk.say(OUT, PSH | ACK);
    assert_eq!(walk.phase(), Phase::TcpOpening);
    walk = walk.say(IN, ACK);
    assert_eq!(walk.phase(), Phase::TcpEstablished);
    assert_eq!(walk.say(IN, RST).phase(), Phase::TcpReset);
    assert_eq!(walk.says(&[(OUT, FIN | ACK), (IN, FIN | ACK)]).phase(), Phase::TcpTimeWait);
}

/// The session is there before a segment has been sent on by it, where that waits for a neighbour.
#[test]
fn nobody_outside_picks_a_connection_up() {
    for flags in (0..0x20).filter(|flags| flags & (SYN | ACK) != SYN) {
        let walk = Walk::new();
        let mut forged = walk;
        forged.hear(IN, walk.forged(IN, flags));
        assert_eq!(forged, walk, "flags {flags:#04x}");
    }
}
