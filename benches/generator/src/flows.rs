//! What the generator knows of each flow, and whether a frame that came out is what the gateway must have made of it.

use benches::scene::{External, OUTSIDE};
use packet::rewrite::{TransportChecksum, judge_transport_checksum};
use packet::{Malformed, Parsed, PortIndex, VlanId};

use crate::scene::Scene;
use crate::stamp;

/// A flow's three endpoints.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    internal: External,
    remote: External,
    /// Learnt when the flow is opened.
    pub(crate) external: Option<External>,
    vlan_inside: Option<VlanId>,
}

impl Flow {
    /// As its request says; not open.
    pub(crate) fn of(scene: Scene, number: usize) -> Result<Self, Malformed> {
        let request = Parsed::read(&scene.request(number))?;
        Ok(Self {
            internal: (request.source, request.source_port),
            remote: (request.destination, request.destination_port),
            external: None,
            vlan_inside: request.vlan,
        })
    }

    /// As it is where nobody translates.
    pub(crate) fn untranslated(self) -> Self {
        Self { external: Some(self.internal), ..self }
    }
}

/// A frame that came out, read.
pub(crate) struct Seen {
    /// The flow that it says it is of.
    pub(crate) flow: usize,
    parsed: Parsed,
}

impl Seen {
    /// `None` where it is damaged: headers, checksums, stamp.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let parsed = Parsed::read(bytes).ok()?;
        let flow = stamp::flow(bytes)?;
        (judge_transport_checksum(bytes, &parsed) == TransportChecksum::Good).then_some(Self { flow, parsed })
    }

    /// Where it comes from.
    pub(crate) fn source(&self) -> External {
        (self.parsed.source, self.parsed.source_port)
    }

    /// Whether it is what the gateway makes of a packet of its flow, on that port.
    pub(crate) fn is_right(&self, scene: Scene, port: PortIndex, flow: &Flow) -> bool {
        let destination = (self.parsed.destination, self.parsed.destination_port);
        let (from, to, vlan) = if port == OUTSIDE {
            (flow.external, flow.remote, scene.vlan_outside(scene.network_of(self.flow)))
        } else {
            (Some(flow.remote), flow.internal, flow.vlan_inside)
        };
        // A gateway forwards: the TTL of 64 is one less.
        let ends = Some(self.source()) == from && destination == to;
        ends && self.parsed.vlan == vlan && self.parsed.ttl == packet::testing::TTL - 1
    }
}

#[cfg(test)]
mod tests {
    use benches::scene::INSIDE;
    use packet::testing;

    use super::*;
    use crate::stamp::FRAME_BYTES;

    const FLOW: usize = 64_321;

    /// A frame as the gateway sends it on, after `edit`.
    fn forwarded(frame: Vec<u8>, edit: impl FnOnce(&mut [u8; FRAME_BYTES])) -> [u8; FRAME_BYTES] {
        let mut frame: [u8; FRAME_BYTES] = testing::with_ttl(frame, testing::TTL - 1).try_into().unwrap();
        stamp::set_flow(&mut frame, FLOW);
        edit(&mut frame);
        frame
    }

    /// A frame that has come out inside, and what of it is right.
    fn judged(scene: Scene, frame: &[u8; FRAME_BYTES]) -> Option<bool> {
        let external = Some(([198, 18, 0, 70].into(), 31_337));
        let flow = Flow { external, ..Flow::of(scene, FLOW).unwrap() };
        let seen = Seen::read(frame)?;
        Some(seen.flow == FLOW && seen.is_right(scene, INSIDE, &flow))
    }

    /// What the gateway makes of an answer: from the remote, to the internal endpoint.
    fn inside(scene: Scene) -> Vec<u8> {
        let request = Parsed::read(&scene.request(FLOW)).unwrap();
        let mac = packet::MacAddress([2; 6]);
        let from = (mac, request.destination, request.destination_port);
        let data = vec![0; FRAME_BYTES - usize::from(request.transport_offset) - 8];
        testing::udp(from, (mac, request.source, request.source_port), request.vlan, &data)
    }

    #[test]
    fn a_translated_answer_is_right() {
        for scene in [Scene::Cloud, Scene::Plain] {
            assert_eq!(judged(scene, &forwarded(inside(scene), |_| {})), Some(true));
        }
    }

    #[test]
    fn an_answer_of_another_tenant_or_to_another_host_is_wrong() {
        let of_another_vlan = |frame: &mut [u8; FRAME_BYTES]| frame[15] ^= 1;
        assert_eq!(judged(Scene::Cloud, &forwarded(inside(Scene::Cloud), of_another_vlan)), Some(false));
        // The same port and the same remote.
        let another = Parsed::read(&Scene::Plain.request(FLOW + 12_600)).unwrap();
        let mac = packet::MacAddress([2; 6]);
        let remote = (mac, another.destination, 443);
        let to_another = testing::udp(remote, (mac, another.source, another.source_port), None, &[0; 22]);
        assert_eq!(judged(Scene::Plain, &forwarded(to_another, |_| {})), Some(false));
    }

    #[test]
    fn a_request_must_leave_by_its_external_endpoint() {
        let frame = forwarded(Scene::Plain.request(FLOW), |_| {});
        let flow = Flow::of(Scene::Plain, FLOW).unwrap();
        let seen = Seen::read(&frame).unwrap();
        assert!(!seen.is_right(Scene::Plain, OUTSIDE, &flow), "a flow that is not open");
        assert!(seen.is_right(Scene::Plain, OUTSIDE, &flow.untranslated()));
        let external = Some((seen.source().0, seen.source().1 + 1));
        assert!(!seen.is_right(Scene::Plain, OUTSIDE, &Flow { external, ..flow }));
    }

    #[test]
    fn what_is_damaged_or_was_not_forwarded_is_wrong() {
        let broken = [
            |frame: &mut [u8; FRAME_BYTES]| frame[40] ^= 1,
            |frame: &mut [u8; FRAME_BYTES]| frame[24] ^= 1,
            |frame: &mut [u8; FRAME_BYTES]| frame[63] ^= 1,
        ];
        for edit in broken {
            assert_eq!(judged(Scene::Plain, &forwarded(inside(Scene::Plain), edit)), None);
        }
        let mut not_forwarded: [u8; FRAME_BYTES] = inside(Scene::Plain).try_into().unwrap();
        stamp::set_flow(&mut not_forwarded, FLOW);
        assert_eq!(judged(Scene::Plain, &not_forwarded), Some(false));
    }
}
