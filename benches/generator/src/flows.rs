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
