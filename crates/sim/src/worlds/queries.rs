//! Datagrams that want an answer, pings, and packets that are to die on their way: each is remembered until it was
//! answered, or its time is up and nobody knows why it was not.

use std::collections::VecDeque;

use super::wire::{self, Endpoint, ICMP, Kind, Link, UDP};

/// Within this an answer comes: no timer of the gateway is shorter, but those of DNS, which nobody asks here.
pub(crate) const PATIENCE_MS: u64 = 20_000;

/// How many are remembered.
const REMEMBERED: usize = 1 << 13;

/// How it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Datagram,
    Ping,
    /// With a TTL that ends at the gateway, 1, or behind it.
    Trace(u8),
}

/// A question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query {
    pub(crate) flow: u32,
    pub(crate) how: How,
    /// Who may see it.
    pub(crate) tenants: u8,
    /// Whose host asks; none: somebody outside.
    pub(crate) tenant: Option<usize>,
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) asked_ms: u64,
    pub(crate) bytes: usize,
    pub(crate) is_answered: bool,
    /// Somebody knows why it may go unanswered, or be answered wrongly: once more, perhaps, where a link repeats.
    pub(crate) is_lost: bool,
}

/// All of them.
pub(crate) struct Queries {
    by_flow: Vec<Option<Query>>,
    waiting: VecDeque<u32>,
}

impl Queries {
    pub(crate) fn new() -> Self {
        Self { by_flow: vec![None; REMEMBERED], waiting: VecDeque::new() }
    }

    pub(crate) fn add(&mut self, query: Query) {
        self.by_flow[query.flow as usize % REMEMBERED] = Some(query);
        self.waiting.push_back(query.flow);
    }

    pub(crate) fn get(&mut self, flow: u32) -> Option<&mut Query> {
        self.by_flow[flow as usize % REMEMBERED].as_mut().filter(|query| query.flow == flow)
    }

    /// A link lost or damaged this frame: whoever waits for it has an excuse.
    pub(crate) fn excuse(&mut self, frame: &[u8]) {
        let Some(packet) = wire::read(frame) else { return };
        let payload = packet.payload(frame);
        // An error carries the packet it is about.
        let payload = if packet.is_error() { payload.get(28..).unwrap_or_default() } else { payload };
        if packet.protocol != wire::TCP
            && let Some((_, flow)) = wire::flow(payload)
            && let Some(query) = self.get(flow)
        {
            query.is_lost = true;
        }
    }

    /// All that wait now for an answer by way of one of these tenants have an excuse.
    pub(crate) fn excuse_all(&mut self, tenants: u8) {
        for flow in &self.waiting {
            let query = self.by_flow[*flow as usize % REMEMBERED].as_mut();
            if let Some(query) = query.filter(|query| query.tenants & tenants != 0) {
                query.is_lost = true;
            }
        }
    }

    /// The next whose time is up.
    pub(crate) fn pop(&mut self, now_ms: u64) -> Option<Query> {
        let flow = *self.waiting.front()?;
        let query = *self.get(flow)?;
        if query.asked_ms + PATIENCE_MS > now_ms {
            return None;
        }
        self.waiting.pop_front();
        Some(query)
    }
}

impl Query {
    pub(crate) fn new(
        flow: u32,
        how: How,
        tenants: u8,
        [from, to]: [(Option<usize>, Endpoint); 2],
        asked_ms: u64,
        bytes: usize,
    ) -> Self {
        let ((tenant, from), (_, to)) = (from, to);
        Self { flow, how, tenants, tenant, from, to, asked_ms, bytes, is_answered: false, is_lost: false }
    }

    /// The frame that asks.
    pub(crate) fn frame(&self, link: Link) -> Vec<u8> {
        let kind = if matches!(self.how, How::Trace(_)) { Kind::Trace } else { Kind::Query };
        let payload = wire::payload(self.tenants, kind, self.flow, self.bytes);
        let (from, to) = (self.from, self.to);
        match self.how {
            How::Datagram => wire::ipv4(link, UDP, from.0, to.0, 64, &wire::udp(from.1, to.1, &payload)),
            How::Trace(ttl) => wire::ipv4(link, UDP, from.0, to.0, ttl, &wire::udp(from.1, to.1, &payload)),
            How::Ping => {
                let message = wire::icmp(8, 0, [from.1, self.flow as u16], &payload);
                wire::ipv4(link, ICMP, from.0, to.0, 64, &message)
            }
        }
    }

    /// An answer came from `source` to the asker; its packet, or for a trace the one that is quoted. Says what is wrong
    /// with it.
    pub(crate) fn hear(&mut self, source: Endpoint, packet: &[u8]) -> Result<(), String> {
        if self.is_lost {
            // It may have been damaged where no checksum guards it on the way.
            return Ok(());
        }
        self.is_answered = true;
        let link = Link { to: [0; 6], from: [0; 6], vlan: 0 };
        let asked = self.frame(link);
        let asked = &asked[link.bytes()..];
        let [mut asked, mut packet] = [asked, packet].map(<[u8]>::to_vec);
        match self.how {
            How::Trace(_) => {
                // All that is quoted is what was sent, but for the TTL.
                for bytes in [&mut asked, &mut packet] {
                    bytes[8] = 0;
                    bytes[10..12].fill(0);
                }
                asked.truncate(packet.len());
                if packet.len() < 28 || asked != packet {
                    return Err(format!("{self:?} is quoted as {packet:02x?}, not {asked:02x?}"));
                }
            }
            How::Datagram | How::Ping => {
                if source.0 != self.to.0 || self.how == How::Datagram && source != self.to {
                    return Err(format!("{self:?} was answered by {source:?}"));
                }
                if asked[28..] != packet[28..] || packet.len() != asked.len() {
                    return Err(format!("{self:?} was answered with {:02x?}", &packet[28..]));
                }
            }
        }
        Ok(())
    }
}
