//! What stands on the page between the figures.

pub(super) const TABLE: &str = "\
| what | median (least to most) | goal | all windows, counting or not | beside it |
|---|---|---|---|---|
";

pub(super) const ELSEWHERE: &str = "\
The goals, in clocks, are of another processor, whose figures are on [performance.md](performance.md): what this one takes for the same.

";

pub(super) const HOW: &str = "\
How figures are taken is on the [benches' page](../benches/README.md): one worker, in process, without ports; 1,000 routers, 64
external networks, 4,160 addresses, 63 flows a host, 64-byte frames, unless a row says something else.

A window counts in which the hypervisor stole no time, the threads waited for less than 2 % of it (5 % beside a generator), a
dependent read of 64 MB took 200 ns at most, and (but beside a generator) the core took no more than 5 % longer than at its best for work
without memory. With fewer than ten of them a row says that it was not measured; what all windows gave stands beside it and decides nothing. *Tested*: a test of the repository shows it in every run of `scripts/test`.

";

pub(super) const CLOCKS: &str = "\
## Clocks

The columns of bursts are of all bursts, four by four, whatever else went on: lower quartile / median. They leave out
interruptions, not a slower processor or memory. The floor is the least that any NAT does, over the same packets and as much memory:
it reads a packet, two lines that it asked for, writes one, changes address, port and checksums, sends.

| clocks a packet | both ways: median (least to most) | bursts, out | in | floor | times the floor |
|---|---|---|---|---|---|
";

pub(super) const VPP_NOTE: &str = "\
Natgate's points are those that count, or a quarter of all bursts where too few do. VPP's are of another machine, of the goals' kind
(FD.io VPP, August 2026, AVX-512, 2.6 GHz, one worker, quiet windows): nat44-ei 107, 241 and 599 clocks, nat44-ed 136, 448 and
1,084; a new session 1,776 and 3,385.

";

pub(super) const LADDER: &str = "\
## Ladder

Up the ladder of RFC 9693 and CSIT, 63 sessions a host: sessions established by the first packet of each, one after another; then
packets both ways of all of them in random order; then nobody sends, until all have expired. Of all bursts, lower quartile:

| sessions | established a second | clocks each | packets a second, both ways | clocks each | torn down a second | clocks each |
|---|---|---|---|---|---|---|
";

pub(super) const PORTS: &str = "\
## Ports

New flows towards one destination, until one is refused; then half of all flows end, and new ones begin until one is refused again.
A figure in % is of the ports of the address, or pool, in use at that moment.

";

pub(super) const DEVICE: &str = "\
## Whole gateways

Two ports, one core, a generator on the other. Latencies are median / 99 % / 99.9 %, in microseconds. In italics: of all windows,
because fewer than ten count.

| what | million packets a second | clocks a packet | latency at 1 million a second | CPU, % | latency at half of its rate | CPU, % | windows that count | beside it |
|---|---|---|---|---|---|---|---|---|
";

/// Benches whose rows stand as they are: bench, title, text.
pub(super) const OTHERS: [(&str, &str, &str); 5] = [
    (
        "workers",
        "Two workers",
        "On-CPU clocks a packet of two workers over one state, each on a core of its own, as a multiple of one's alone.",
    ),
    (
        "expiry",
        "Expiry",
        "What time alone costs: all sessions live, nobody sends, a turn each 5 us; and how late ends come.",
    ),
    (
        "change",
        "Changes while packets are forwarded",
        "How long a burst of 32 packets takes, quiet and while something changes, in turns; and a thread that does nothing but read the clock.",
    ),
    (
        "table",
        "The table",
        "Look-ups in bursts of 32 of random keys, beside hashbrown and DPDK's rte_hash in the same run.",
    ),
    ("memory", "Memory", "All of it is taken at start."),
];
