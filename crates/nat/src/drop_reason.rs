//! Why a frame was dropped: one enum that is the counter, the metric's label and a line of `docs/counters.md`.

/// Declares [`DropReason`] with each variant's name and help, so that neither can be forgotten.
macro_rules! drop_reasons {
    ($($(#[doc = $help:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was dropped. Every dropped frame has exactly one reason.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum DropReason {
            $($(#[doc = $help])+ $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of the packet's walk.
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$variant),+];

            /// The name in counters, metrics and documentation.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happened, in a sentence or two.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => concat!($($help),+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// The gateway has no rules yet.
    NoRules = "no_rules",
    /// Shorter than its headers say, a header that cannot be, or a wrong IPv4 header checksum.
    Malformed = "malformed",
    /// Neither IPv4 nor ARP (IPv6 and link-layer chatter among it).
    UnknownEthertype = "unknown_ethertype",
    /// No network is configured for this port and VLAN.
    UnknownVlan = "unknown_vlan",
    /// The destination MAC is not one of ours on this network.
    WrongMac = "wrong_mac",
    /// IPv4 multicast or broadcast: it is not routed.
    Multicast = "multicast",
    /// ARP for an address that is not ours, or not readable.
    ArpNotForUs = "arp_not_for_us",
    /// The source address cannot have entered by this interface (strict reverse path), is our own, or is no host's.
    SpoofedSource = "spoofed_source",
    /// To 169.254.0.0/16 or from it: link-local never leaves its link.
    LinkLocal = "link_local",
    /// To one of our own addresses, and nothing here answers it.
    LocalUnhandled = "local_unhandled",
    /// The time to live ran out here; time exceeded was sent where one may be.
    TtlExpired = "ttl_expired",
    /// No route to the destination.
    NoRoute = "no_route",
    /// From the external network, to an address that is not ours.
    NotForUs = "not_for_us",
    /// To the external network, but its source has neither a floating IP nor SNAT: it never leaves untranslated.
    NoTranslation = "no_translation",
    /// A fragment made to hide a transport header: a first one that ends before it does, or one of TCP that starts 8 bytes
    /// in (RFC 1858, RFC 3128).
    FragmentTiny = "fragment_tiny",
    /// A fragment that lies over part of another, or behind the end: it is dropped with all that comes of its datagram. Or
    /// one that has come before: it is dropped alone.
    FragmentOverlap = "fragment_overlap",
    /// A fragment that waited for the first one of its datagram until its time was up.
    FragmentOrphan = "fragment_orphan",
    /// A fragment for which there is no room: too many incomplete datagrams, or fragments that wait, of its router or
    /// external address, or of all; or too many gaps in its datagram.
    FragmentLimit = "fragment_limit",
    /// A protocol that no translation can carry: an IPsec authentication header covers the addresses.
    UnknownProtocol = "unknown_protocol",
    /// The transport checksum is only the pseudo-header's sum: a neighbour on a virtual link left it to a transmit
    /// offload. Switch that off: `ethtool -K DEVICE tx off` on the sending host.
    PartialChecksum = "partial_checksum",
    /// From the external network to a pool address, and no mapping has this port; or an echo reply nobody asked for.
    NoMapping = "no_mapping",
    /// The mapping exists, but its host has not spoken to this remote, as far as the pool's filtering depends on it; or it
    /// speaks with it by another mapping, of rules before.
    Filtered = "filtered",
    /// To one of N external ports that are forwarded to one internal port, and its sender already speaks with that through
    /// another of them: the answers could not be told apart.
    ForwardingTaken = "forwarding_taken",
    /// TCP without a session that does not start with SYN.
    NotSyn = "not_syn",
    /// No external port is left for this flow.
    PortExhausted = "port_exhausted",
    /// The turn had looked at so many ports for all the flows that began that no more were for this one: there may be one. Many
    /// flows begin at once where ports are used up.
    PortSearchCut = "port_search_cut",
    /// The host has all the port blocks that its pool gives to one, and every port of them is used.
    HostPortQuota = "host_port_quota",
    /// A protocol without ports, and another host behind the same external address speaks it with the same remote: answers
    /// could not be told apart.
    RemoteTaken = "remote_taken",
    /// The session table is full.
    TableFull = "table_full",
    /// The part of the session table that this host belongs to is full, the table is not.
    ShardFull = "shard_full",
    /// The host's part of the table of hosts, or of their blocks of ports, is full.
    HostTableFull = "host_table_full",
    /// The host's part of the table of mappings, or of who may come in by them, is full. Or the mapping has as many sessions
    /// as one can have: 262,143, and 8,191 that came from outside and its host has not answered.
    MappingTableFull = "mapping_table_full",
    /// An ICMP error with a wrong checksum or an unusable quote (RFC 5508 REQ-3).
    BadIcmpError = "bad_icmp_error",
    /// An ICMP error about a flow we do not know.
    IcmpNoSession = "icmp_no_session",
    /// An ICMP type that is neither echo, timestamp nor a forwarded error; or an error in fragments.
    IcmpUnsupported = "icmp_unsupported",
    /// Larger than the next link takes, and not to be cut: fragmentation needed was sent. Or it would be more than 32
    /// pieces.
    MtuExceeded = "mtu_exceeded",
    /// The next hop did not answer ARP.
    NeighbourUnresolved = "neighbour_unresolved",
    /// Too many frames already wait for this next hop's MAC, or for all together.
    NeighbourQueueFull = "neighbour_queue_full",
    /// The neighbour table is full.
    NeighbourTableFull = "neighbour_table_full",
    /// The ring to the worker that has to deal with it had no room.
    HandOffRingFull = "hand_off_ring_full",
    /// Handed from worker to worker too often: the rules changed under way, or it shared its way with another flow.
    HandOffAstray = "hand_off_astray",
    /// No buffer was left for the pieces of a packet that is larger than the next link takes.
    NoBuffer = "no_buffer",
    /// The frame's buffer had no room for the new header.
    NoHeadroom = "no_headroom",
    /// The port's transmit ring had no room.
    TransmitRingFull = "transmit_ring_full",
    /// Held, between two workers or in one's hands when the workers, or their process, ended.
    GatewayEnded = "gateway_ended",
}

#[cfg(test)]
mod tests {
    use super::DropReason;

    #[test]
    fn every_reason_has_a_name_of_its_own_and_a_help() {
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i, "ALL is in order");
            assert!(reason.help().ends_with('.'), "{} has a help", reason.name());
            assert!(DropReason::ALL[..i].iter().all(|earlier| earlier.name() != reason.name()));
        }
    }
}
