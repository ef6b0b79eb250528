//! Both ports, the flows that are known, and the order of their packets.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::machine::Random;
use benches::plain;
use benches::scene::{INSIDE, OUTSIDE};
use dpdk::{DeviceSpec, Eal, EalConfig, Lcore, MemoryUse, MempoolConfig};
use packet::{MacAddress, PortIndex};

use crate::flows::Flow;
use crate::scene::Scene;
use crate::side::{Line, Side};
use crate::stamp::{self, FRAME_BYTES};

/// Packets of a trace at least: several times a second-level cache.
const TRACE_MIN: usize = 131_072;
/// How long the device may take until the links are up.
const LINK_WAIT: Duration = Duration::from_secs(10);

/// See the file's page.
pub(crate) struct Rig {
    pub(crate) sides: [Side; 2],
    pub(crate) scene: Scene,
    pub(crate) flows: Vec<Flow>,
    /// The MAC that answers for the pool of each external network.
    pub(crate) answering: Vec<MacAddress>,
    /// When stamps begin.
    pub(crate) start: Instant,
    _lcore: Lcore,
}

impl Rig {
    /// Starts DPDK with the inside and the outside port, on this core, and waits for the links.
    pub(crate) fn start(devices: [&DeviceSpec; 2], core: u16) -> anyhow::Result<Self> {
        let eal = Eal::init(&EalConfig {
            main_core: Some(core),
            ..EalConfig::new(devices.map(Clone::clone).to_vec())
        })?;
        if let MemoryUse::PlainFor(reason) = eal.memory() {
            eprintln!("generator: without huge pages: {reason}");
        }
        let pool = eal.mempool(&MempoolConfig::default())?;
        let side = |device| -> anyhow::Result<Side> {
            Side::new(eal.port(device)?.start(&pool)?, &pool).context("a port has queues")
        };
        let sides = [side(devices[0])?, side(devices[1])?];
        let start = Instant::now();
        while !(sides[0].port.link()?.up && sides[1].port.link()?.up) {
            ensure!(start.elapsed() < LINK_WAIT, "no link: is the device under test there?");
            thread::sleep(Duration::from_millis(10));
        }
        let lcore = eal.register_this_thread(core)?;
        Ok(Self {
            sides,
            scene: Scene::Plain,
            flows: Vec::new(),
            answering: Vec::new(),
            start,
            _lcore: lcore,
        })
    }

    pub(crate) fn side(&mut self, port: PortIndex) -> &mut Side {
        &mut self.sides[usize::from(port.0)]
    }

    /// Knows flows of a scene, none of them open.
    pub(crate) fn expect(&mut self, scene: Scene, flows: usize) -> anyhow::Result<()> {
        self.scene = scene;
        self.answering = vec![MacAddress::default(); scene.networks()];
        self.flows = (0..flows).map(|flow| Flow::of(scene, flow)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Knows flows of a scene through a device that translates nothing: a forwarder that reads no MAC, or a router between both
    /// networks.
    pub(crate) fn expect_untranslated(&mut self, scene: Scene, flows: usize) -> anyhow::Result<()> {
        self.expect(scene, flows)?;
        self.answering.fill(plain::outside_mac());
        self.flows.iter_mut().for_each(|flow| *flow = flow.untranslated());
        Ok(())
    }

    /// Draws the order of packets on both ports: every flow once, or more often where they are few. Both orders are random, and
    /// neither is the other's, so that no packet finds in a cache what its counterpart has just brought there.
    pub(crate) fn draw(&mut self, seed: u64) -> anyhow::Result<()> {
        for port in [INSIDE, OUTSIDE] {
            let mut random = Random::new(seed ^ u64::from(port.0) << 32);
            let mut order: Vec<usize> = (0..self.flows.len()).collect();
            for index in (1..order.len()).rev() {
                order.swap(index, random.below(index + 1));
            }
            while order.len() < TRACE_MIN {
                order.push(random.below(self.flows.len()));
            }
            let trace = order.into_iter().map(|flow| self.line(port, flow).map(Line));
            let trace = trace.collect::<Option<_>>().context("a flow is not open")?;
            self.side(port).set_trace(trace);
        }
        Ok(())
    }

    /// A frame of a flow, to be sent on that port; `None` where it is not open.
    pub(crate) fn line(&self, port: PortIndex, flow: usize) -> Option<[u8; FRAME_BYTES]> {
        let frame = if port == INSIDE {
            self.scene.request(flow)
        } else {
            let mac = self.answering[self.scene.network_of(flow)];
            self.scene.answer(flow, mac, self.flows[flow].external?)
        };
        let mut frame: [u8; FRAME_BYTES] = frame.try_into().ok()?;
        stamp::set_flow(&mut frame, flow);
        Some(frame)
    }
}
