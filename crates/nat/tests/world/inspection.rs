//! What must hold of every frame that comes out, whatever the test is about; and neighbours' answers to questions.

use packet::arp::{self, Arp, Operation};
use packet::ethernet::LinkHeader;
use packet::{MacAddress, Parsed, Payload, PortIndex, testing};

use super::{Packet, Wire, World};

impl World {
    pub(super) fn inspect(&mut self, port: PortIndex, frame: Vec<u8>, answers: &mut Vec<Packet>) {
        let parsed = Parsed::read(&frame).unwrap();
        let wire = Wire { port: port.0, vlan: parsed.vlan };
        self.check_link(&frame, wire);
        if parsed.payload == Payload::Arp {
            let arp = arp::read(&frame, &parsed).unwrap();
            answers.extend(self.answer(wire, &arp));
            self.heard_arp.push((wire, arp));
            return;
        }
        if !self.lenient {
            testing::assert_checksums(&frame);
        }
        let packet = Packet { wire, bytes: frame };
        self.check_no_private_source(&packet);
        self.collected.push(packet);
    }

    fn answer(&self, wire: Wire, asked: &Arp) -> Option<Packet> {
        let place = (wire, asked.target);
        let mac = *self.neighbours.get(&place).filter(|_| !self.silent.contains(&place))?;
        let is_question = asked.operation == Operation::Request && asked.sender != asked.target;
        is_question.then(|| Packet {
            wire,
            bytes: testing::arp(
                LinkHeader { destination: asked.sender_mac, source: mac, vlan: wire.vlan },
                &Arp {
                    operation: Operation::Reply,
                    sender_mac: mac,
                    sender: asked.target,
                    target_mac: asked.sender_mac,
                    target: asked.sender,
                },
            ),
        })
    }

    /// The frame is from an interface of ours on the network it went to, and to a neighbour there or to all.
    fn check_link(&self, frame: &[u8], wire: Wire) {
        let (destination, source) = (packet::ethernet::destination(frame), packet::ethernet::source(frame));
        let segment = self.rules.segment_of(PortIndex(wire.port), wire.vlan);
        let segment =
            &self.rules.segments[segment.expect("a frame goes to a network of the rules").0 as usize];
        assert!(segment.interfaces.contains_key(&source), "{source} is ours on {}", segment.id);
        let is_there = self.neighbours.iter().any(|((at, _), mac)| *at == wire && *mac == destination);
        assert!(
            self.lenient || destination == MacAddress::BROADCAST || is_there,
            "{destination} is on {}",
            segment.id
        );
    }

    /// From a router that translates, no private address is seen outside but towards destinations that are exempt.
    fn check_no_private_source(&self, packet: &Packet) {
        let segment = self.rules.segment_of(PortIndex(packet.wire.port), packet.wire.vlan).unwrap();
        let interfaces = &self.rules.segments[segment.0 as usize].interfaces;
        let interface = interfaces[&packet::ethernet::source(&packet.bytes)];
        let interface = &self.rules.interfaces[interface.0 as usize];
        let router = &self.rules.routers[interface.router.0 as usize];
        if !interface.external || router.is_no_nat(packet.destination().0) {
            return;
        }
        assert!(!packet.source().0.is_private(), "a private source went out: {packet:?}");
        // What an error of ours quotes came from there; what a tenant's error quotes has been translated.
        if let Some((_, destination)) = packet.quoted() {
            assert!(!destination.is_private(), "a private address went out, quoted: {packet:?}");
        }
    }
}
