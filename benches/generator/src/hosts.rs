//! What hosts and next hops say besides the traffic: who they are, and who they are when they are asked.

use packet::arp::{self, Arp, Operation};
use packet::ethernet::{self, LinkHeader};
use packet::{MacAddress, Parsed, Payload, PortIndex, testing};

use crate::scene::Scene;

/// The answer to a question who has an address; `None` where the frame asks for none.
pub(crate) fn answer(scene: Scene, port: PortIndex, frame: &[u8]) -> Option<Vec<u8>> {
    let parsed = Parsed::read(frame).ok()?;
    let question = arp::read(frame, &parsed).filter(|arp| arp.operation == Operation::Request)?;
    // Who announces itself asks for its own address.
    if question.sender == question.target {
        return None;
    }
    let mac = scene.neighbour(port, parsed.vlan);
    let link = LinkHeader { destination: ethernet::source(frame), source: mac, vlan: parsed.vlan };
    let reply = Arp {
        operation: Operation::Reply,
        sender_mac: mac,
        sender: question.target,
        target_mac: question.sender_mac,
        target: question.sender,
    };
    Some(testing::arp(link, &reply))
}

/// The MAC that an answer tells.
pub(crate) fn told(frame: &[u8]) -> Option<MacAddress> {
    let parsed = Parsed::read(frame).ok().filter(|parsed| parsed.payload == Payload::Arp)?;
    let arp = arp::read(frame, &parsed).filter(|arp| arp.operation == Operation::Reply)?;
    Some(arp.sender_mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_says_who_it_is_and_who_announces_itself_is_not_answered() {
        use benches::scene::{NEXT_HOP, OUTSIDE};
        let question = Scene::Cloud.who_has_pool(3);
        let reply = answer(Scene::Cloud, OUTSIDE, &question).unwrap();
        assert_eq!(told(&reply), Some(NEXT_HOP));
        assert_eq!(told(&question), None);
        assert_eq!(answer(Scene::Cloud, OUTSIDE, &reply), None);
        assert_eq!(answer(Scene::Cloud, OUTSIDE, &Scene::Cloud.request(1)), None);
    }
}
