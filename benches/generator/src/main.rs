//! Sends a NAT gateway's traffic through a device under test, from one core by two ports, and counts what comes out.
//!
//! ```text
//!  requests, in random order ──> inside ──┐                 ┌── inside
//!                                         │ device under test
//!  answers, in random order ──> outside ──┘                 └── outside
//! ```
//!
//! First every flow is opened: a request, by which the external endpoint is learnt, then an answer to that. Then each line on
//! stdin asks for one window: a number of frames a second, or 0 for as many as the device takes; behind it, threads that forward,
//! whose time is told. Each window is one JSON object on stdout.

mod flows;
mod hosts;
mod opening;
mod rig;
mod scene;
mod side;
mod stamp;
mod watch;
mod window;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use benches::machine::{Probes, clock_ghz};
use clap::{Args, Parser, Subcommand};
use dpdk::DeviceSpec;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::scene::Scene;
use crate::window::Plan;

/// See the file's page.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the rules that a gateway of this scene needs
    Rules {
        /// Which gateway
        scene: Scene,
    },
    /// Open the flows, then play the windows that stdin asks for
    Play(Play),
}

#[derive(Args)]
struct Play {
    /// Which gateway the traffic is for
    #[arg(long)]
    scene: Scene,
    /// How many flows
    #[arg(long, default_value_t = 1_000)]
    flows: usize,
    /// The port on the device's inside, as DPDK names it
    #[arg(long)]
    inside: DeviceSpec,
    /// The port on the device's outside
    #[arg(long)]
    outside: DeviceSpec,
    /// The core to run on
    #[arg(long, default_value_t = 0)]
    core: u16,
    /// The device translates nothing: no flow is opened, and what comes out is only counted
    #[arg(long)]
    untranslated: bool,
    /// Inside, hosts are behind a hop that the device knows: none says who it is
    #[arg(long)]
    behind_a_hop: bool,
    /// Requests alone, once the flows are open
    #[arg(long)]
    one_way: bool,
    /// Frames under way each way, at most, where no rate is asked for
    #[arg(long, default_value_t = 512)]
    under_way: u16,
    /// Of so many frames that come out, one is looked at: endpoints, checksums
    #[arg(long, default_value_t = 256)]
    look_at: u64,
    /// Seconds of a window
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Of the order of packets
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Rules { scene } => Ok(std::io::stdout().write_all(scene.rules().as_bytes())?),
        Command::Play(play) => self::play(&play),
    }
}

fn play(play: &Play) -> anyhow::Result<()> {
    let mut rig = Rig::start([&play.inside, &play.outside], play.core)?;
    let probes = Probes::new();
    let opened = if play.untranslated {
        rig.expect_untranslated(play.scene, play.flows)?;
        json!({"flows": play.flows})
    } else {
        opening::open(&mut rig, play.scene, play.flows, play.behind_a_hop, play.under_way.into())?
    };
    rig.draw(play.seed)?;
    say(&json!({"opened": opened, "clock_ghz": clock_ghz()}))?;
    let plan = Plan {
        seconds: Duration::from_secs_f64(play.seconds),
        one_way: play.one_way,
        under_way: play.under_way.into(),
        look_at: if play.untranslated { u64::MAX } else { play.look_at.max(1) },
    };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (rate, watched) = asked(&line).with_context(|| format!("`{line}` asks for no window"))?;
        let memory_ns = probes.memory_ns();
        let mut window = rig.play(&plan, rate, &watched)?;
        window["memory_ns"] = json!(memory_ns);
        say(&window)?;
    }
    Ok(())
}

/// A line of stdin: the rate, `None` for as many as possible, and threads.
fn asked(line: &str) -> Option<(Option<f64>, Vec<u32>)> {
    let (rate, threads) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rate: f64 = rate.parse().ok()?;
    let threads = threads.split(' ').filter(|word| !word.is_empty()).map(|thread| thread.parse().ok());
    Some(((rate > 0.0).then_some(rate), threads.collect::<Option<_>>()?))
}

fn say(value: &Value) -> anyhow::Result<()> {
    println!("{value}");
    Ok(std::io::stdout().flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_asks_for_a_rate_and_names_threads() {
        assert_eq!(asked("0"), Some((None, vec![])));
        assert_eq!(asked("1e6 17 4711\n"), Some((Some(1e6), vec![17, 4711])));
        for line in ["", "fast", "0 x", "17 -1"] {
            assert_eq!(asked(line), None, "{line}");
        }
    }
}
