//! Opens every flow: hosts and next hops say who they are, each flow sends a request, each request is answered.
//!
//! Few frames are under way at a time, and what does not come through is sent again: afterwards every flow is known to the
//! device, and its external endpoint to us.

use std::time::{Duration, Instant};

use anyhow::ensure;
use benches::scene::{INSIDE, OUTSIDE};
use packet::{Burst, Frame as _, PortIndex};
use serde_json::{Value, json};

use crate::flows::Seen;
use crate::hosts;
use crate::rig::Rig;
use crate::scene::Scene;

/// Frames under way at once.
const UNDER_WAY: usize = 256;
/// Silence after which what has not come is sent again.
const PATIENCE: Duration = Duration::from_millis(20);
/// Rounds until those that do not come through count as refused.
const ROUNDS: usize = 10;

/// Opens so many flows of a scene, whose hosts the device may have `behind_a_hop`. Returns how long it took.
pub(crate) fn open(rig: &mut Rig, scene: Scene, flows: usize, behind_a_hop: bool) -> anyhow::Result<Value> {
    rig.expect(scene, flows)?;
    let mut announcements = scene.announcements(flows);
    announcements.retain(|(port, _)| *port == OUTSIDE || !behind_a_hop);
    announce(rig, announcements)?;
    for network in 0..scene.networks() {
        ask_for_pool(rig, network)?;
    }
    let start = Instant::now();
    let mut all: Vec<usize> = (0..flows).collect();
    carry(rig, INSIDE, &mut all, |rig, seen| {
        let source = seen.source();
        let Some(flow) = rig.flows.get_mut(seen.flow) else { return false };
        flow.external.replace(source).is_none()
    })?;
    let requested = start.elapsed();
    let mut answered = vec![false; flows];
    let mut all: Vec<usize> = (0..flows).collect();
    carry(rig, OUTSIDE, &mut all, |_, seen| {
        answered.get_mut(seen.flow).is_some_and(|answered| !std::mem::replace(answered, true))
    })?;
    Ok(json!({
        "flows": flows,
        "requests_s": requested.as_secs_f64(),
        "answers_s": (start.elapsed() - requested).as_secs_f64(),
    }))
}

/// Every host and next hop asks for its gateway's MAC, by which the gateway learns theirs.
fn announce(rig: &mut Rig, mut wanted: Vec<(PortIndex, Vec<u8>)>) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let mut unanswered = Vec::new();
        for chunk in wanted.chunks(UNDER_WAY) {
            for (port, frame) in chunk {
                rig.side(*port).send_one(frame);
            }
            // One asks with one MAC on one network: the answer is to that.
            let mut told = 0;
            listen(rig, chunk.len(), |_, _, frame| {
                let is_answer = hosts::told(frame).is_some();
                told += usize::from(is_answer);
                is_answer
            })?;
            if told < chunk.len() {
                unanswered.extend_from_slice(chunk);
            }
        }
        if unanswered.is_empty() {
            return Ok(());
        }
        wanted = unanswered;
    }
    anyhow::bail!("{} hosts get no answer to their ARP requests", wanted.len())
}

/// The next hop asks for an address of the pool, to send answers there.
fn ask_for_pool(rig: &mut Rig, network: usize) -> anyhow::Result<()> {
    let mut answering = None;
    for _ in 0..ROUNDS {
        let question = rig.scene.who_has_pool(network);
        rig.side(OUTSIDE).send_one(&question);
        listen(rig, 1, |_, port, frame| {
            answering = answering.or(hosts::told(frame).filter(|_| port == OUTSIDE));
            answering.is_some()
        })?;
        if let Some(mac) = answering {
            rig.answering[network] = mac;
            return Ok(());
        }
    }
    anyhow::bail!("nobody answers for the pool of external network {network}")
}

/// Sends a frame of each flow on `port` until each has come out at the other; `is_new` says whether one has for the first time.
fn carry(
    rig: &mut Rig,
    port: PortIndex,
    flows: &mut Vec<usize>,
    mut is_new: impl FnMut(&mut Rig, &Seen) -> bool,
) -> anyhow::Result<()> {
    for _ in 0..ROUNDS {
        let mut missing = Vec::new();
        for chunk in flows.chunks(UNDER_WAY) {
            for flow in chunk {
                let Some(frame) = rig.line(port, *flow) else { continue };
                rig.side(port).send_one(&frame);
            }
            let mut come = Vec::with_capacity(chunk.len());
            listen(rig, chunk.len(), |rig, at, frame| {
                let seen = Seen::read(frame).filter(|_| at != port);
                let Some(seen) = seen.filter(|seen| is_new(rig, seen)) else { return false };
                come.push(seen.flow);
                true
            })?;
            if come.len() < chunk.len() {
                missing.extend(chunk.iter().filter(|flow| !come.contains(flow)));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        *flows = missing;
    }
    ensure!(flows.is_empty(), "{} flows were not opened", flows.len());
    Ok(())
}

/// Receives on both ports until `wanted` frames counted, or nothing has come for a while. Answers whoever asks.
fn listen(
    rig: &mut Rig,
    wanted: usize,
    mut counts: impl FnMut(&mut Rig, PortIndex, &[u8]) -> bool,
) -> anyhow::Result<()> {
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
    Ok(())
}
