//! natgate: a NAT gateway dataplane for clouds, on DPDK.
//!
//! ```text
//! run         config -> edge (ports) -> worker threads; feed -> fleet -> workers; admin socket, metrics   run.rs
//! feed        a rules file -> gateways                                                                   serve.rs
//! validate    the same judgement, offline                                                                check.rs
//! status ...  questions to a running gateway                                                             show/
//! ```

mod check;
mod cli;
mod config;
mod edge;
mod embedded;
mod fleet;
mod ledger;
mod node;
mod numa;
mod region;
mod run;
mod serve;
mod show;

use std::process::ExitCode;

use clap::Parser as _;
use control::Exit;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let exit = match &cli.command {
        Command::Run(run) => with_log(&cli, || run::run(run)),
        Command::Feed(feed) => with_log(&cli, || serve::serve(feed)),
        Command::Validate(validate) => check::check(validate),
        Command::Ask(query) => ask(&cli, query),
    };
    exit.into()
}

/// Runs a daemon: with its log, and its failure in one sentence.
fn with_log(cli: &Cli, run: impl FnOnce() -> anyhow::Result<()>) -> Exit {
    let outcome = control::init_log(cli.log.into()).map_err(anyhow::Error::from).and_then(|()| run());
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("natgate: {error:#}");
            Exit::Failed
        }
    }
}

fn ask(cli: &Cli, query: &cli::Query) -> Exit {
    match show::answer(query, &cli.admin(), cli.output, &mut std::io::stdout().lock()) {
        Ok(()) => Exit::Done,
        Err(error) => {
            eprintln!("natgate: {error}");
            error.exit()
        }
    }
}
