//! What an attacker from outside, who sees no packet, can do to connections by guessing (ReDAN, NDSS 2025).

use nat::Phase;
use packet::tcp::{ACK, FIN, PSH, RST};
use packet::testing::Segment;

use crate::tcp::connect;
use crate::world::scene::*;
use crate::world::{Endpoint, Packet, Random, Setup};

const WWW: Endpoint = (SERVER.address, 443);
const GUESSES: u32 = 1_000_000;
const CONNECTIONS: u16 = 100;

/// The attacker knows the remote and the pool's address, and guesses ports and sequence numbers.
fn guess(random: &mut Random) -> Packet {
    let external = (RED_POOL, 2_000 + random.below(256) as u16);
    let mut word = || (random.below(1 << 16) << 16 | random.below(1 << 16)) as u32;
    let (sequence, acknowledgement) = (word(), word());
    let flags = random.one_of(&[RST, RST | ACK, FIN | ACK, 0]);
    let segment = Segment { flags, sequence, acknowledgement, ..Segment::default() };
    if flags != 0 {
        return SERVER.segment(443, external, segment);
    }
    let seen = SERVER.peer(external.0).segment(external.1, WWW, Segment { flags: ACK, ..segment });
    OTHER.error(external.0, random.one_of(&[(3, 1, 0), (3, 3, 0), (3, 4, 576), (11, 0, 0)]), &seen, 8)
}

//= rfc4787#REQ-12
//= rfc5382#REQ-10
//= rfc5508#REQ-6
//= rfc7857#2.3
#[test]
fn a_million_guesses_from_outside_lose_no_connection() {
    let pool = ("addresses: [203.0.113.10]", "addresses: [203.0.113.10], ports: 2000-2255");
    let mut world = scene_on(Setup::of_one_worker(), &[pool]);
    let ports = 4_000..4_000 + CONNECTIONS;
    let externals: Vec<_> = ports.clone().map(|port| connect(&mut world, RED_A, port, WWW)).collect();
    let mut random = Random::new(7);
    let (mut sent, mut shaken) = (0, 0);
    while sent < GUESSES {
        for _ in 0..GUESSES / 20 / 32 {
            let burst: Vec<_> =
                (0..16).map(|_| guess(&mut random)).filter(|one| one.wire == INTERNET).collect();
            sent += burst.len() as u32;
            world.burst(burst);
        }
        // Resets that hit a window by chance wait for the reset timer; the connections go on before it has run down.
        shaken += world.sessions().iter().filter(|session| session.phase != Phase::TcpEstablished).count();
        world.pass(9_000);
        for (port, external) in ports.clone().zip(&externals) {
            assert_eq!(world.one(RED_A.tcp(port, WWW, PSH | ACK)).source(), *external);
            assert_eq!(world.one(SERVER.tcp(443, *external, PSH | ACK)).destination(), (RED_A.address, port));
        }
    }
    assert_eq!(world.sessions().len(), usize::from(CONNECTIONS));
    assert_eq!(world.count(|counters| &counters.sessions_closed), 0);
    assert!(world.sessions().iter().all(|session| session.phase != Phase::TcpReset));
    // One window in 2^32, for each guess that finds a port: some 4 of 300,000 resets, and as many FINs, each of which keeps
    // its session among the closing.
    assert!(shaken < 400, "{shaken}");
}
