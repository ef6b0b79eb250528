//! What natgate is to reach, goal by goal: which figures show it, and which tests.
//!
//! Rows get their goals from here, so that a limit stands in one place. A figure that has no row in the results was not measured.

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// Or less.
    AtMost(f64),
    /// Or more.
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

/// A figure: its bench, its row, and what it has to be.
pub type Figure = (&'static str, &'static str, Limit);

/// A goal.
pub struct Goal {
    /// What of.
    pub what: &'static str,
    /// What shows it by being measured.
    pub figures: &'static [Figure],
    /// What shows it by passing: what it shows, the file, and the test's name.
    pub tests: &'static [(&'static str, &'static str, &'static str)],
    /// Where it may not be met: what stands in the way, and what was tried. Shown where it is not.
    pub obstacle: &'static str,
}

/// All of them, in the order of importance.
pub const GOALS: &[Goal] = &[
    Goal {
        what: "established flows, random order",
        figures: &[
            ("path", "1000 established flows", AtMost(80.0)),
            ("path", "64064 established flows", AtMost(115.0)),
            ("path", "1000000 established flows", AtMost(190.0)),
            ("path", "10000000 established flows", AtMost(240.0)),
        ],
        tests: &[],
        obstacle: "Where all memory is near, instructions: some 630 a packet. An EPYC at 2.6 GHz does some 9 of them in a clock of its \
                   nominal rate, a Xeon of the Ice Lake family at 2.8 GHz 4.9, and 5 in a cycle at most. Tried without gain: newer instructions \
                   (docs/decisions/0025), stages as functions of their own, a hash map of our own for the rules, one multiplication for a host's \
                   shard.",
    },
    Goal {
        what: "the same as a multiple of the floor",
        figures: &[
            ("path", "1000 established flows, over the floor", AtMost(1.6)),
            ("path", "64064 established flows, over the floor", AtMost(1.6)),
            ("path", "1000000 established flows, over the floor", AtMost(1.6)),
            ("path", "10000000 established flows, over the floor", AtMost(1.6)),
        ],
        tests: &[],
        obstacle: "The floor keeps no tenants, rules, windows, neighbours or counters, and takes a third of the instructions. Where memory is near, the \
              multiple is that of the instructions; at ten million flows it is that of the lines that are read. Nothing was found that \
              halves them: what one packet may skip another has to be asked for.",
    },
    Goal {
        what: "a new session",
        figures: &[
            ("path", "a new flow, of 1000000", AtMost(700.0)),
            ("ports", "UDP, 64 addresses: a new flow, up to half full", AtMost(700.0)),
            ("ports", "UDP, 4160 addresses: a new flow, up to half full", AtMost(700.0)),
        ],
        tests: &[],
        obstacle: "One that makes a mapping too makes four entries in two tables, in buckets that are all far away, and takes a port. \
                   Nearly halved by keys made in registers and ports' cells asked for side by side (docs/decisions/0022), and less by a permission \
                   without an entry of its own (0023), and by what was found out when its memory was asked for (0024). Left: buckets that are \
                   fewer. Bursts of 16, whose memory the first cache holds, are no quicker.",
    },
    Goal {
        what: "a packet from or to a floating IP",
        figures: &[("path", "100000 floating IPs", AtMost(65.0))],
        tests: &[],
        obstacle: "To one of 100,000: whose it is and the neighbour lie far away, one after the other, each asked for a stage ahead; where the neighbour \
              was last found lay a third time as far, and stands beside the address now (docs/decisions/0024). What is left is some 480 instructions.",
    },
    Goal {
        what: "the whole gateway between two memif ports, beyond testpmd's macswap",
        figures: &[
            ("device", "natgate over testpmd macswap, memif, 1000 flows", AtMost(88.0)),
            ("device", "natgate over testpmd macswap, memif, 1000000 flows", AtMost(209.0)),
        ],
        tests: &[],
        obstacle: "",
    },
    Goal {
        what: "against Linux' masquerade",
        figures: &[
            (
                "device",
                "natgate over testpmd macswap on memif, of Linux masquerade over Linux route on veth, 1000 flows",
                AtMost(0.2),
            ),
            (
                "device",
                "natgate over testpmd macswap on memif, of Linux masquerade over Linux route on veth, 1000000 flows",
                AtMost(0.2),
            ),
            ("device", "natgate's rate of Linux masquerade's, af_packet, 1000000 flows", AtLeast(1.0)),
        ],
        tests: &[],
        obstacle: "",
    },
    Goal {
        what: "memory, 63 sessions a host",
        figures: &[
            ("memory", "a session, endpoint-dependent", AtMost(160.0)),
            ("memory", "a session, with a mapping of its own", AtMost(208.0)),
            ("memory", "50000000 sessions, 4096 external addresses", AtMost(24.0)),
        ],
        tests: &[],
        obstacle: "",
    },
    Goal {
        what: "port use before the first refusal, towards one destination",
        figures: &[
            ("ports", "UDP, strict pairing: of the refused host's address", AtLeast(98.0)),
            ("ports", "UDP, strict pairing, after churn: of the refused host's address", AtLeast(98.0)),
            ("ports", "UDP, soft pairing: of the pool", AtLeast(98.0)),
            ("ports", "UDP, soft pairing, after churn: of the pool", AtLeast(98.0)),
            ("ports", "TCP, strict pairing: of the refused host's address", AtLeast(98.0)),
            ("ports", "TCP, strict pairing, after churn: of the refused host's address", AtLeast(98.0)),
            ("ports", "TCP, soft pairing: of the pool", AtLeast(98.0)),
            ("ports", "TCP, soft pairing, after churn: of the pool", AtLeast(98.0)),
        ],
        tests: &[(
            "small pools to the last port, after churn too",
            "crates/nat/tests/brain/port_choice.rs",
            "mappings_have_every_port_before_the_first_refusal_and_after_churn",
        )],
        obstacle: "",
    },
    Goal {
        what: "two workers, half of the returns at the other one, against one",
        figures: &[("workers", "half of the returns at the other of two workers", AtMost(1.05))],
        tests: &[],
        obstacle: "",
    },
    Goal {
        what: "expiry at ten million sessions",
        figures: &[
            ("expiry", "10000000 sessions: share of a core", AtMost(0.5)),
            ("expiry", "10000000 sessions: an end after its time", AtMost(2_000.0)),
        ],
        tests: &[(
            "a table is swept once a second",
            "crates/nat/src/time.rs",
            "the_whole_table_is_looked_at_in_a_second_over_the_clocks_end_too",
        )],
        obstacle: "",
    },
    Goal {
        what: "a change, or a mass expiry, while a million sessions are forwarded",
        figures: &[
            ("change", "one floating IP of 100000: p99.99 of a burst beyond the quiet one's", AtMost(50.0)),
            ("change", "an address of a pool: p99.99 of a burst beyond the quiet one's", AtMost(50.0)),
            ("change", "100000 floating IPs at once: p99.99 of a burst beyond the quiet one's", AtMost(50.0)),
            ("change", "mass expiry: p99.99 of a burst beyond the quiet one's", AtMost(50.0)),
        ],
        tests: &[
            (
                "a turn sweeps a bounded part of a table",
                "crates/nat/src/time.rs",
                "a_turn_looks_at_a_bounded_part_of_the_table_however_long_the_worker_slept",
            ),
            (
                "a turn takes 32 frames from other workers",
                "crates/worker/src/exchange/tests.rs",
                "a_turn_takes_one_burst_however_many_hand_on_and_everybody_has_a_turn",
            ),
            (
                "a turn has 1,024 probes for ports",
                "crates/nat/src/probes.rs",
                "a_turn_has_so_many_probes_and_no_more",
            ),
            (
                "where ports are used up, a turn refuses what there are no probes for",
                "crates/nat/tests/brain/port_choice.rs",
                "a_turn_looks_at_so_many_ports_and_refuses_the_rest",
            ),
            (
                "a turn obeys one command, as that to adopt rules",
                "crates/worker/tests/team/turn.rs",
                "a_command_too_many_is_refused_and_none_is_lost",
            ),
        ],
        obstacle: "A change of many objects sends the next packet of each of their flows the long way, once.",
    },
    Goal {
        what: "per packet: no allocation, lock or system call; one clock read a burst",
        figures: &[],
        tests: &[
            (
                "no allocation",
                "crates/nat/tests/allocation.rs",
                "no_packet_allocates_be_it_the_first_of_its_flow",
            ),
            (
                "no allocation for fragments",
                "crates/nat/tests/allocation.rs",
                "no_fragment_allocates_in_whatever_order_it_comes",
            ),
            (
                "no system call",
                "crates/worker/tests/team/bare.rs",
                "no_packet_makes_a_system_call_be_it_the_first_of_its_flow",
            ),
            (
                "one clock read a turn",
                "crates/worker/tests/team/bare.rs",
                "a_worker_reads_the_clock_once_a_turn",
            ),
            (
                "nothing else reads a clock",
                "tests/tidy/tests/path.rs",
                "clocks_are_read_by_the_workers_loop_alone",
            ),
            ("no lock", "tests/tidy/tests/path.rs", "locks_are_where_no_packet_comes_by"),
            (
                "no read-modify-write for packets of established sessions",
                "tests/tidy/tests/path.rs",
                "read_modify_writes_are_where_sessions_begin_change_and_end",
            ),
        ],
        obstacle: "",
    },
];

/// What a row has to be.
pub fn limit_of(bench: &str, row: &str) -> Option<Limit> {
    let mut figures = GOALS.iter().flat_map(|goal| goal.figures);
    figures.find(|(of, name, _)| (*of, *name) == (bench, row)).map(|(_, _, limit)| *limit)
}
