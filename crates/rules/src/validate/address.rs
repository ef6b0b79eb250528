//! Addresses that no host has.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::model::AddressRange;

const fn range(first: [u8; 4], last: [u8; 4]) -> AddressRange {
    let ([a, b, c, d], [e, f, g, h]) = (first, last);
    AddressRange { first: Ipv4Addr::new(a, b, c, d), last: Ipv4Addr::new(e, f, g, h) }
}

/// RFC 6890, those blocks that are never the address of a host anywhere.
const NOWHERE: [(AddressRange, &str); 5] = [
    (range([0, 0, 0, 0], [0, 255, 255, 255]), "unspecified (0.0.0.0/8)"),
    (range([127, 0, 0, 0], [127, 255, 255, 255]), "loopback (127.0.0.0/8)"),
    (range([224, 0, 0, 0], [239, 255, 255, 255]), "multicast (224.0.0.0/4)"),
    (range([240, 0, 0, 0], [255, 255, 255, 254]), "class E (240.0.0.0/4)"),
    (range([255, 255, 255, 255], [255, 255, 255, 255]), "the broadcast address"),
];

/// Hosts may have these, but no router forwards them (RFC 3927), so no external address is one.
const LINK_LOCAL: (AddressRange, &str) =
    (range([169, 254, 0, 0], [169, 254, 255, 255]), "link-local (169.254.0.0/16)");

/// Why no host can have some address of the range; `external` where the internet has to reach it.
pub(super) fn why_unusable(addresses: AddressRange, external: bool) -> Option<&'static str> {
    let link_local = external.then_some(&LINK_LOCAL);
    NOWHERE
        .iter()
        .chain(link_local)
        .find(|(block, _)| addresses.first <= block.last && block.first <= addresses.last)
        .map(|(_, why)| *why)
}

/// Why no host can have the address.
pub(super) fn why_not_a_host(address: Ipv4Addr, external: bool) -> Option<&'static str> {
    why_unusable(AddressRange { first: address, last: address }, external)
}

/// Why no host on `subnet` can have the address. A `/31` and a `/32` have hosts only (RFC 3021).
pub(super) fn why_not_on(subnet: &Ipv4Net, address: Ipv4Addr) -> Option<&'static str> {
    if subnet.prefix_len() > 30 {
        None
    } else if address == subnet.network() {
        Some("the subnet's own address")
    } else if address == subnet.broadcast() {
        Some("the subnet's broadcast address")
    } else {
        None
    }
}

/// The prefix as meant, where host bits are set in it.
pub(super) fn host_bits(prefix: &Ipv4Net) -> Option<Ipv4Net> {
    (prefix.addr() != prefix.network()).then(|| prefix.trunc())
}
