//! Rows of the compliance page that the oracle does not judge, and why. The others are cited where they are judged.

/// Requirement, reason.
pub const NOT_JUDGED: &[(&str, &str)] = &[
    ("rfc4787#REQ-10a", "there are no application-level gateways"),
    ("rfc4787#REQ-14a", "nobody floods here: a few pieces are under way at a time"),
    ("rfc5382#REQ-4a", "no world has it answered: that nothing comes out for a SYN is judged"),
    ("rfc6056#3.2", "how choices are spread is a matter of many: crates/nat/tests/brain/port_choice.rs"),
    ("rfc6056#3.3.1", "whether a choice can be guessed is a matter of many, as rfc6056#3.2"),
    ("rfc6888#REQ-1", "it is the sum of the others"),
    ("rfc6888#REQ-5", "there is no such limit yet"),
    ("rfc6888#REQ-9", "there is no protocol for it"),
    ("rfc6888#REQ-10", "management is not a packet"),
    ("rfc6888#REQ-11C", "counters are not packets"),
    ("rfc6888#REQ-12", "logs are not packets"),
    ("rfc6888#REQ-14", "logs are not packets"),
    ("rfc6888#REQ-15", "as rfc6056#3.3.1"),
    ("rfc7857#9", "a permission; where a pool preserves parity it is judged"),
    ("rfc7857#10", "as rfc6056#3.3.1"),
    ("rfc7857#12", "a permission"),
    ("rfc1812#4.3.2.8", "the clock goes on between packets: the bound is never reached"),
];
