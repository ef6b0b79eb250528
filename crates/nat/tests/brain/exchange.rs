//! A question and its answer, of each protocol that ports can translate.

use packet::tcp::{ACK, SYN};

use crate::world::{Endpoint, Host, Packet, World};

/// A question and its answer, of one protocol: each given who says it, from which port, to which endpoint.
pub(crate) struct Exchange {
    pub(crate) name: &'static str,
    pub(crate) remote_port: u16,
    pub(crate) ask: fn(Host, u16, Endpoint) -> Packet,
    pub(crate) answer: fn(Host, u16, Endpoint) -> Packet,
}

pub(crate) const EXCHANGES: [Exchange; 3] = [
    Exchange {
        name: "udp",
        remote_port: 53,
        ask: |host, port, to| host.udp(port, to, b"who is it?"),
        answer: |host, port, to| host.udp(port, to, b"it is me"),
    },
    Exchange {
        name: "tcp",
        remote_port: 443,
        ask: |host, port, to| host.tcp(port, to, SYN),
        answer: |host, port, to| host.tcp(port, to, SYN | ACK),
    },
    // A query's identifier is the port of the host that asked; the other side has none.
    Exchange {
        name: "ping",
        remote_port: 0,
        ask: |host, port, (to, _)| host.ping(port, to),
        answer: |host, _, (to, port)| host.pong(port, to),
    },
];

/// Plays one exchange of `host`'s with `server`; both packets are checked byte for byte. Returns the external endpoint.
pub(crate) fn play(world: &mut World, exchange: &Exchange, host: Host, server: Host, port: u16) -> Endpoint {
    let remote = (server.address, exchange.remote_port);
    let question = world.one((exchange.ask)(host, port, remote));
    let external = question.source();
    assert_eq!(
        question,
        (exchange.ask)(server.peer(external.0), external.1, remote).hop(),
        "{}",
        exchange.name
    );
    let answer = world.one((exchange.answer)(server, exchange.remote_port, external));
    let expected = (exchange.answer)(host.peer(server.address), exchange.remote_port, (host.address, port));
    assert_eq!(answer, expected.hop(), "{}", exchange.name);
    external
}
