//! One window: packets both ways, as many as the device takes or so many a second, and what became of them.

use std::time::{Duration, Instant};

use benches::machine::Window;
use benches::scene::{INSIDE, OUTSIDE};
use hdrhistogram::Histogram;
use packet::{BURST_FRAMES_MAX, Burst, Frame as _, PortIndex};
use serde_json::{Value, json};

use crate::flows::Seen;
use crate::hosts;
use crate::rig::Rig;
use crate::stamp::{self, Clock, FRAME_BYTES};
use crate::watch::Account;

/// Silence after which nothing is under way any more.
const SILENCE: Duration = Duration::from_millis(20);
/// Silence after which frames that hold others back count as lost.
const LOST_AFTER: Duration = Duration::from_millis(20);
/// Latencies are told apart up to here.
const LATENCY_MAX_NS: u64 = 4_000_000_000;

/// What is the same for all windows.
pub(crate) struct Plan {
    pub(crate) seconds: Duration,
    /// Nothing is sent outside.
    pub(crate) one_way: bool,
    /// Frames under way each way, at most, where as many are sent as the device takes: so no ring runs over.
    pub(crate) under_way: u64,
    /// Of so many frames, one is looked at.
    pub(crate) look_at: u64,
}

/// What became of the frames, by the port that they were sent or received on.
struct Tally {
    sent: [u64; 2],
    received: [u64; 2],
    /// Frames that hold no others back any more, because they have not come for too long.
    given_up: [u64; 2],
    /// Frames that are not ours: questions, errors, what the device itself says.
    others: u64,
    looked_at: u64,
    wrong: u64,
    /// Every frame is timed; else those that are looked at.
    is_paced: bool,
    latency: Histogram<u32>,
}

impl Rig {
    /// Plays one window; `rate` is of both ports together, `watched` are threads that forward.
    pub(crate) fn play(&mut self, plan: &Plan, rate: Option<f64>, watched: &[u32]) -> anyhow::Result<Value> {
        // What the device said since the last window.
        self.take_all(plan, &mut Tally::new()?);
        let mut tally = Tally { is_paced: rate.is_some(), ..Tally::new()? };
        let (noise, device) = (Window::begin(), Account::of(watched));
        let start = Instant::now();
        let ways: &[PortIndex] = if plan.one_way { &[INSIDE] } else { &[INSIDE, OUTSIDE] };
        // Time in which nothing held the next burst back: then it is not the device that limits the rate.
        let (mut now, mut unhindered) = (start, Duration::ZERO);
        let mut last_arrival = start;
        while now - start < plan.seconds {
            let clock = Clock::at(self.start, now);
            for port in [INSIDE, OUTSIDE] {
                if self.take(port, clock, plan, &mut tally) {
                    last_arrival = now;
                }
            }
            if now - last_arrival > LOST_AFTER {
                tally.give_up();
                last_arrival = now;
            }
            let due = rate.map(|rate| (rate * (now - start).as_secs_f64() / ways.len() as f64) as u64);
            let mut is_held_back = false;
            for index in ways.iter().map(|port| usize::from(port.0)) {
                let most = match due {
                    Some(due) => due.saturating_sub(tally.sent[index]) as usize,
                    None if tally.under_way(index) + BURST_FRAMES_MAX as u64 <= plan.under_way => {
                        BURST_FRAMES_MAX
                    }
                    None => 0,
                };
                let taken = self.sides[index].send(most, clock);
                tally.sent[index] += taken as u64;
                is_held_back |= taken < BURST_FRAMES_MAX;
            }
            let ended = Instant::now();
            if !is_held_back {
                unhindered += ended - now;
            }
            now = ended;
        }
        let ns = (now - start).as_nanos() as f64;
        let device = device.since(watched, ns);
        let noise = noise.end();
        let in_time = tally.received;
        self.take_all(plan, &mut tally);
        let mut report = tally.report();
        report["seconds"] = json!(ns / 1e9);
        report["rate"] = json!(rate);
        report["received_in_time"] = json!(in_time[0] + in_time[1]);
        report["generator"] = json!({"limits": unhindered.as_nanos() as f64 / ns, "waited": noise.waited});
        report["device"] = device;
        report["stolen"] = json!(noise.stolen);
        Ok(report)
    }

    /// Takes in what is still under way.
    fn take_all(&mut self, plan: &Plan, tally: &mut Tally) {
        let mut last = Instant::now();
        while last.elapsed() < SILENCE {
            for port in [INSIDE, OUTSIDE] {
                if self.take(port, Clock::at(self.start, Instant::now()), plan, tally) {
                    last = Instant::now();
                }
            }
        }
    }

    /// Takes in a burst; whether there was one. Only a frame's length is looked at, but for some: the rest lies in the other
    /// core's cache.
    #[inline]
    fn take(&mut self, port: PortIndex, clock: Clock, plan: &Plan, tally: &mut Tally) -> bool {
        let mut arrived = Burst::new();
        let index = usize::from(port.0);
        self.sides[index].receive(&mut arrived);
        if arrived.is_empty() {
            return false;
        }
        let before = tally.received[index];
        for frame in &arrived {
            if frame.bytes().len() != FRAME_BYTES {
                tally.others += 1;
                if let Some(answer) = hosts::answer(self.scene, port, frame.bytes()) {
                    self.sides[index].send_one(&answer);
                }
                continue;
            }
            tally.received[index] += 1;
            if tally.is_paced {
                tally.time(frame.bytes(), clock);
            }
        }
        if before / plan.look_at != tally.received[index] / plan.look_at {
            let few = if plan.look_at == 1 { arrived.len() } else { 1 };
            for frame in arrived.iter().take(few).filter(|frame| frame.bytes().len() == FRAME_BYTES) {
                tally.looked_at += 1;
                tally.wrong += u64::from(!self.is_right(port, frame.bytes()));
                if !tally.is_paced {
                    tally.time(frame.bytes(), clock);
                }
            }
        }
        self.sides[index].keep(&mut arrived);
        true
    }

    fn is_right(&self, port: PortIndex, bytes: &[u8]) -> bool {
        let Some(seen) = Seen::read(bytes) else { return false };
        self.flows.get(seen.flow).is_some_and(|flow| seen.is_right(self.scene, port, flow))
    }
}

impl Tally {
    fn new() -> anyhow::Result<Self> {
        let (sent, received, given_up) = ([0; 2], [0; 2], [0; 2]);
        let latency = Histogram::new_with_max(LATENCY_MAX_NS, 3)?;
        Ok(Self { sent, received, given_up, others: 0, looked_at: 0, wrong: 0, is_paced: false, latency })
    }

    /// Frames that were sent on one port and have not come out at the other.
    #[inline]
    fn under_way(&self, index: usize) -> u64 {
        self.sent[index].saturating_sub(self.received[1 - index] + self.given_up[index])
    }

    fn give_up(&mut self) {
        for index in 0..2 {
            self.given_up[index] += self.under_way(index);
        }
    }

    fn report(&self) -> Value {
        let sum = |counts: [u64; 2]| counts[0] + counts[1];
        let us = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1e3;
        json!({
            "sent": sum(self.sent),
            "received": sum(self.received),
            "lost": sum(self.sent) as i64 - sum(self.received) as i64,
            "given_up": sum(self.given_up),
            "others": self.others,
            "looked_at": self.looked_at,
            "wrong": self.wrong,
            "latency_us": {
                "frames": self.latency.len(),
                "p50": us(0.5), "p90": us(0.9), "p99": us(0.99), "p999": us(0.999), "p9999": us(0.9999),
                "most": self.latency.max() as f64 / 1e3,
            },
        })
    }

    #[inline]
    fn time(&mut self, frame: &[u8], now: Clock) {
        if let Some(time) = stamp::under_way(frame, now) {
            self.latency.saturating_record(time.as_nanos() as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_holds_nothing_back_and_is_lost_until_it_comes() {
        let mut tally = Tally { sent: [100, 80], received: [75, 90], ..Tally::new().unwrap() };
        assert_eq!([tally.under_way(0), tally.under_way(1)], [10, 5]);
        tally.give_up();
        assert_eq!([tally.under_way(0), tally.under_way(1)], [0, 0]);
        assert_eq!(
            (tally.report()["lost"].as_i64(), tally.report()["given_up"].as_u64()),
            (Some(15), Some(15))
        );
        tally.received = [80, 100];
        assert_eq!((tally.report()["lost"].as_i64(), tally.under_way(0)), (Some(0), 0));
    }

    #[test]
    fn latencies_are_told_in_microseconds() {
        let mut tally = Tally::new().unwrap();
        let start = Instant::now();
        let mut frame = [0; FRAME_BYTES];
        stamp::set_sent(&mut frame, Clock::at(start, start));
        for us in 1..=1_000 {
            tally.time(&frame, Clock::at(start, start + Duration::from_micros(us)));
        }
        let latency = &tally.report()["latency_us"];
        assert_eq!(latency["frames"].as_u64(), Some(1_000));
        for (key, us) in [("p50", 500.0), ("p99", 990.0), ("most", 1_000.0)] {
            let told = latency[key].as_f64().unwrap();
            assert!((told - us).abs() <= us / 500.0, "{key}: {told}");
        }
    }
}
