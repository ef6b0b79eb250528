//! Opens every flow: hosts and next hops say who they are, each flow sends a request, each request is answered.
//!
//! Few frames are under way at a time, and what does not come through is sent again: afterwards every flow is known to the
//! device, and its external endpoint to us.

use std::collections::HashSet;
use std::mem::replace;
use std::time::{Duration, Instant};

use anyhow::bail;
use benches::scene::{INSIDE, OUTSIDE};
use packet::{Burst, Frame as _, PortIndex};
use serde_json::{Value, json};

use crate::flows::Seen;
use crate::hosts;
use crate::rig::Rig;
use crate::scene::Scene;

/// Silence after which what has not come is sent again.
const PATIENCE: Duration = Duration::from_millis(20);
/// Rounds until those that do not come through count as refused.
const ROUNDS: usize = 10;

/// Opens so many flows of a scene, whose hosts the device may have `behind_a_hop`; so many frames are under way at once. Returns how
/// long it took.
pub(crate) fn open(
    rig: &mut Rig,
    scene: Scene,
    flows: usize,
    behind_a_hop: bool,
    under_way: usize,
) -> anyhow::Result<Value> {
    rig.expect(scene, flows)?;
    let (hosts, next_hops): (Vec<_>, Vec<_>) =
        scene.announcements(flows).into_iter().partition(|(port, _)| *port == INSIDE);
    announce(rig, next_hops)?;
    for network in 0..scene.networks() {
        ask_for_pool(rig, network)?;
    }
    let start = Instant::now();
    let [mut requested, mut answered] = [(); 2].map(|()| vec![false; flows]);
    let mut missing: Vec<usize> = (0..flows).collect();
    for _ in 0..ROUNDS {
        // A host says who it is when its first flow begins, and a flow is answered at once: else the device may have forgotten them
        // before all are open.
        for chunk in missing.chunks(under_way) {
            if !behind_a_hop {
                let firsts = chunk.iter().filter_map(|flow| scene.host_that_begins(*flow));
                announce(rig, firsts.map(|host| hosts[host].clone()).collect())?;
            }
            carry(rig, INSIDE, chunk, &mut requested);
            carry(rig, OUTSIDE, chunk, &mut answered);
        }
        missing.retain(|flow| !answered[*flow]);
        if missing.is_empty() {
            return Ok(json!({"flows": flows, "seconds": start.elapsed().as_secs_f64()}));
        }
    }
    bail!("{} of {flows} flows were not opened", missing.len())
}

/// Hosts or next hops ask for their gateway's MAC, by which the gateway learns theirs.
fn announce(rig: &mut Rig, announcements: Vec<(PortIndex, Vec<u8>)>) -> anyhow::Result<()> {
    let who = |(port, frame): &(PortIndex, Vec<u8>)| Some((*port, hosts::asks(frame)?));
    let mut unanswered: HashSet<_> = announcements.iter().filter_map(who).collect();
    for _ in 0..ROUNDS {
        if unanswered.is_empty() {
            return Ok(());
        }
        for one in announcements.iter().filter(|one| who(one).is_some_and(|who| unanswered.contains(&who))) {
            rig.side(one.0).send_one(&one.1);
        }
        listen(rig, unanswered.len(), |_, port, frame| {
            hosts::told(frame).is_some_and(|told| unanswered.remove(&(port, told.to)))
        });
    }
    bail!("{} hosts get no answer to their ARP requests", unanswered.len())
}

/// The next hop asks for an address of the pool, to send answers there.
fn ask_for_pool(rig: &mut Rig, network: usize) -> anyhow::Result<()> {
    let question = rig.scene.who_has_pool(network);
    for _ in 0..ROUNDS {
        rig.side(OUTSIDE).send_one(&question);
        let mut answering = None;
        listen(rig, 1, |rig, port, frame| {
            let told =
                hosts::told(frame).filter(|told| port == OUTSIDE && told.who == rig.scene.pool(network));
            answering = told.map(|told| told.mac);
            answering.is_some()
        });
        if let Some(mac) = answering {
            rig.answering[network] = mac;
            return Ok(());
        }
    }
    bail!("nobody answers for the pool of external network {network}")
}

/// Sends a frame of each flow on `port`, as far as they have one, and notes which have come out at the other.
fn carry(rig: &mut Rig, port: PortIndex, flows: &[usize], come: &mut [bool]) {
    let mut wanted = 0;
    for flow in flows {
        if let Some(frame) = rig.line(port, *flow) {
            rig.side(port).send_one(&frame);
            wanted += 1;
        }
    }
    listen(rig, wanted, |rig, at, frame| {
        let Some(seen) = Seen::read(frame).filter(|seen| at != port && seen.flow < come.len()) else {
            return false;
        };
        if port == INSIDE {
            rig.flows[seen.flow].external = Some(seen.source());
        }
        !replace(&mut come[seen.flow], true)
    });
}

/// Receives on both ports until `wanted` frames counted, or nothing has come for a while. Answers whoever asks.
fn listen(rig: &mut Rig, wanted: usize, mut counts: impl FnMut(&mut Rig, PortIndex, &[u8]) -> bool) {
    let (mut left, mut since) = (wanted, Instant::now());
    while left > 0 && since.elapsed() < PATIENCE {
        for port in [INSIDE, OUTSIDE] {
            let mut arrived = Burst::new();
            rig.side(port).receive(&mut arrived);
            for frame in &arrived {
                since = Instant::now();
                if let Some(answer) = hosts::answer(rig.scene, port, frame.bytes()) {
                    rig.side(port).send_one(&answer);
                } else if counts(rig, port, frame.bytes()) {
                    left = left.saturating_sub(1);
                }
            }
            rig.side(port).keep(&mut arrived);
        }
    }
}
