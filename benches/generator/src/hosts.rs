//! What hosts and next hops say besides the traffic: who they are, and who they are when they are asked.

use std::net::Ipv4Addr;

use packet::arp::{self, Arp, Operation};
use packet::ethernet::{self, LinkHeader};
use packet::{MacAddress, Parsed, PortIndex, VlanId, testing};

use crate::scene::Scene;

/// The answer to a question who has an address; `None` where the frame asks for none.
pub(crate) fn answer(scene: Scene, port: PortIndex, frame: &[u8]) -> Option<Vec<u8>> {
    let (vlan, question) = read(frame, Operation::Request)?;
    // Who announces itself asks for its own address.
    if question.sender == question.target {
        return None;
    }
    let mac = scene.neighbour(port, vlan);
    let link = LinkHeader { destination: ethernet::source(frame), source: mac, vlan };
    let reply = Arp {
        operation: Operation::Reply,
        sender_mac: mac,
        sender: question.target,
        target_mac: question.sender_mac,
        target: question.sender,
    };
    Some(testing::arp(link, &reply))
}

/// Who is told what by an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) who: Ipv4Addr,
    pub(crate) mac: MacAddress,
    pub(crate) to: Asker,
}

/// Who asks: the same address may be on several VLANs.
pub(crate) type Asker = (Option<VlanId>, Ipv4Addr);

/// Who asks by this frame.
pub(crate) fn asks(frame: &[u8]) -> Option<Asker> {
    let (vlan, arp) = read(frame, Operation::Request)?;
    Some((vlan, arp.sender))
}

/// What an answer tells.
pub(crate) fn told(frame: &[u8]) -> Option<Told> {
    let (vlan, arp) = read(frame, Operation::Reply)?;
    Some(Told { who: arp.sender, mac: arp.sender_mac, to: (vlan, arp.target) })
}

fn read(frame: &[u8], operation: Operation) -> Option<(Option<VlanId>, Arp)> {
    let parsed = Parsed::read(frame).ok()?;
    let arp = arp::read(frame, &parsed).filter(|arp| arp.operation == operation)?;
    Some((parsed.vlan, arp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_says_who_it_is_and_who_announces_itself_is_not_answered() {
        use benches::scene::{NEXT_HOP, OUTSIDE};
        let question = Scene::Cloud.who_has_pool(3);
        let reply = answer(Scene::Cloud, OUTSIDE, &question).unwrap();
        let told_to = (Scene::Cloud.vlan_outside(3), Ipv4Addr::new(198, 18, 3, 1));
        assert_eq!(asks(&question), Some(told_to));
        assert_eq!(told(&reply), Some(Told { who: Scene::Cloud.pool(3), mac: NEXT_HOP, to: told_to }));
        assert_eq!(told(&question), None);
        assert_eq!(answer(Scene::Cloud, OUTSIDE, &reply), None);
        assert_eq!(answer(Scene::Cloud, OUTSIDE, &Scene::Cloud.request(1)), None);
    }
}
