//! Which queue a received packet comes in by: what a device can do about it, and what is asked of it.
//!
//! ```text
//! side    in packets received there   spread by              so that
//! inside  the remote is destination   address and port of    both directions of a session come to one worker,
//! outside the remote is source        the remote alone       though one is translated
//! ```
//!
//! A device is asked for it by rules (`rte_flow`), else by its hash (RSS); it is worth asking for only where the port is on
//! one side and has a queue for each worker. All others spread by both endpoints, or as they do: any worker carries any
//! packet. Toeplitz hashes with a key of one repeated word, so that it does not matter where in the packet the endpoint lies.

use core::fmt;

/// The side of translation that all networks of a port are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Routers' own networks.
    Inside,
    /// External networks.
    Outside,
}

/// How received packets are spread over a port's queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steering {
    /// There is one worker.
    OneWorker,
    /// By the remote endpoint, with rules of `rte_flow`.
    RemoteByRules,
    /// By the remote endpoint, with the device's own hash.
    RemoteByHash,
    /// By both endpoints, with the device's own hash.
    BothEndpoints,
    /// As the device does by itself; or there are fewer queues than workers.
    AnyWorker,
}

impl fmt::Display for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OneWorker => "one worker",
            Self::RemoteByRules => "rte_flow on the remote endpoint (never run on hardware)",
            Self::RemoteByHash => "RSS on the remote endpoint (never run on hardware)",
            Self::BothEndpoints => "any worker, RSS on both endpoints (never run on hardware)",
            Self::AnyWorker => "any worker",
        })
    }
}

/// Hash functions of a device, as bits of DPDK's (`RTE_ETH_RSS_...`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Functions {
    /// By addresses, and by ports where there are any.
    pub(crate) endpoints: u64,
    /// Only the source of either.
    pub(crate) source_only: u64,
    /// Only the destination of either.
    pub(crate) destination_only: u64,
}

/// What a device is configured to hash by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hashing {
    /// 0: nothing.
    pub(crate) functions: u64,
    /// Whether by one endpoint alone, with [`KEY`].
    pub(crate) of_remote: bool,
}

/// A key of one repeated word.
pub(crate) const KEY: [u8; 64] = {
    let mut key = [0x6d; 64];
    let mut index = 1;
    while index < key.len() {
        key[index] = 0x5a;
        index += 2;
    }
    key
};

/// A started port that may take rules. Tests have one that only records.
pub(crate) trait TakesRules {
    /// Spreads by the remote endpoint from now on; false where the device takes no such rules, and then it has none of them.
    fn spread_by_remote(&mut self, functions: u64, queues: u16) -> bool;
}

/// What is asked of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) hashing: Hashing,
    steering: Steering,
    /// The hash functions of rules to be tried.
    rules: Option<u64>,
    queues: u16,
}

impl Plan {
    /// For a port with so many receive queues, whose device offers the hash functions `offered`. `known` are those that may be
    /// asked for.
    pub(crate) fn new(known: Functions, offered: u64, queues: u16, workers: u16, side: Option<Side>) -> Self {
        let both = known.endpoints & offered;
        let only = side.map(|side| match side {
            Side::Inside => known.destination_only,
            Side::Outside => known.source_only,
        });
        let only = only.filter(|_| queues > 1 && queues == workers);
        let (functions, steering) = match only {
            _ if workers == 1 => (0, Steering::OneWorker),
            _ if queues == 1 || both == 0 => (0, Steering::AnyWorker),
            Some(only) if offered & only == only => (both | only, Steering::RemoteByHash),
            _ if queues < workers => (both, Steering::AnyWorker),
            _ => (both, Steering::BothEndpoints),
        };
        let hashing = Hashing { functions, of_remote: steering == Steering::RemoteByHash };
        Self { hashing, steering, rules: only.map(|only| known.endpoints | only), queues }
    }

    /// Asks the started port for the rest, and tells what came of all.
    pub(crate) fn finish(self, port: &mut impl TakesRules) -> Steering {
        match self.rules {
            Some(functions) if port.spread_by_remote(functions, self.queues) => Steering::RemoteByRules,
            _ => self.steering,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: Functions =
        Functions { endpoints: 0b0111, source_only: 0b01_0000, destination_only: 0b10_0000 };

    /// A port that notes what it is asked for.
    struct Recording {
        takes_rules: bool,
        asked: Vec<(u64, u16)>,
    }

    impl TakesRules for Recording {
        fn spread_by_remote(&mut self, functions: u64, queues: u16) -> bool {
            self.asked.push((functions, queues));
            self.takes_rules
        }
    }

    /// What a port with `queues` for four workers hashes by, which rules it is asked for, and what comes of it.
    fn four(
        offered: u64,
        queues: u16,
        side: Option<Side>,
        takes_rules: bool,
    ) -> (u64, Vec<(u64, u16)>, Steering) {
        let plan = Plan::new(KNOWN, offered, queues, 4, side);
        let mut port = Recording { takes_rules, asked: Vec::new() };
        let steering = plan.finish(&mut port);
        assert_eq!(plan.hashing.of_remote, plan.hashing.functions & 0b11_0000 != 0);
        (plan.hashing.functions, port.asked, steering)
    }

    #[test]
    fn a_port_that_takes_rules_spreads_by_the_remote_endpoint_with_them() {
        let (inside, outside) = (Some(Side::Inside), Some(Side::Outside));
        let by_rules = Steering::RemoteByRules;
        assert_eq!(four(0b0111, 4, inside, true), (0b0111, vec![(0b10_0111, 4)], by_rules));
        assert_eq!(four(0b0111, 4, outside, true), (0b0111, vec![(0b01_0111, 4)], by_rules));
        // Rules bring a hash of their own.
        assert_eq!(four(0, 4, outside, true), (0, vec![(0b01_0111, 4)], by_rules));
    }

    #[test]
    fn without_rules_it_is_hashed_by_the_remote_endpoint_where_the_device_can() {
        let (functions, _, steering) = four(0b11_0011, 4, Some(Side::Inside), false);
        assert_eq!((functions, steering), (0b10_0011, Steering::RemoteByHash));
        let (functions, _, steering) = four(0b11_0011, 4, Some(Side::Outside), false);
        assert_eq!((functions, steering), (0b01_0011, Steering::RemoteByHash));
        let (functions, _, steering) = four(0b10_0011, 4, Some(Side::Outside), false);
        assert_eq!((functions, steering), (0b0011, Steering::BothEndpoints), "it can only the other one");
    }

    #[test]
    fn a_port_on_both_sides_is_asked_for_no_rules() {
        assert_eq!(four(0b11_0111, 4, None, true), (0b0111, vec![], Steering::BothEndpoints));
    }

    #[test]
    fn with_fewer_queues_than_workers_there_is_no_one_worker_to_steer_to() {
        assert_eq!(four(0b11_0111, 2, Some(Side::Inside), true), (0b0111, vec![], Steering::AnyWorker));
        assert_eq!(four(0b11_0111, 1, Some(Side::Inside), true), (0, vec![], Steering::AnyWorker));
        assert_eq!(four(0, 4, None, true), (0, vec![], Steering::AnyWorker));
    }

    #[test]
    fn one_worker_needs_no_steering() {
        let plan = Plan::new(KNOWN, u64::MAX, 1, 1, Some(Side::Inside));
        let mut port = Recording { takes_rules: true, asked: Vec::new() };
        assert_eq!((plan.hashing.functions, plan.finish(&mut port)), (0, Steering::OneWorker));
        assert!(port.asked.is_empty());
    }

    #[test]
    fn what_never_ran_on_hardware_says_so() {
        for steering in [Steering::RemoteByRules, Steering::RemoteByHash, Steering::BothEndpoints] {
            assert!(steering.to_string().ends_with("(never run on hardware)"));
        }
    }

    /// Microsoft's hash, as cards have it: the key's window at each bit that is set.
    fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
        let bit = |bytes: &[u8], at: usize| bytes[at / 8] >> (7 - at % 8) & 1 == 1;
        let window = |at: usize| (0..32).fold(0, |all, next| all << 1 | u32::from(bit(key, at + next)));
        (0..input.len() * 8).filter(|&at| bit(input, at)).fold(0, |hash, at| hash ^ window(at))
    }

    #[test]
    fn with_the_key_an_endpoint_hashes_alike_as_source_and_as_destination() {
        // The verification suite of Microsoft's RSS: 66.9.149.187:2794 to 161.142.100.80:1766.
        let microsofts = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&microsofts, &input), 0x51cc_c178);

        // The fields that are not hashed by are left out, or are zero where they stand.
        let (address, port) = ([198, 51, 100, 10], [0x01, 0xbb]);
        let as_source = [&address[..], &[0; 4], &port, &[0; 2]].concat();
        let as_destination = [&[0; 4], &address[..], &[0; 2], &port].concat();
        let alone = [&address[..], &port].concat();
        let hash = toeplitz(&KEY, &alone);
        assert_eq!([hash; 2], [toeplitz(&KEY, &as_source), toeplitz(&KEY, &as_destination)]);
        assert_ne!(toeplitz(&microsofts, &as_source), toeplitz(&microsofts, &as_destination));
    }
}
