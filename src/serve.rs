//! `natgate feed`: serves the rules in a file to gateways.

use anyhow::Context as _;
use feed::{FeedAddress, FileSource, Listener, Server, ServerConfig, Source};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Feed;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(arguments: &Feed) -> anyhow::Result<()> {
    let address: FeedAddress = arguments.listen.parse()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = Listener::bind(&address)
            .await
            .with_context(|| format!("cannot listen at {}", arguments.listen))?;
        let server = Server::new(ServerConfig {
            confirm_mass_delete: arguments.confirm_mass_delete,
            ..ServerConfig::default()
        });
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        tracing::info!(listen = arguments.listen, rules = %arguments.rules.display(), "serving rules");
        tokio::select! {
            served = server.serve(listener, stop) => Ok(served?),
            () = FileSource::new(&arguments.rules).run(server.publisher()) => Ok(()),
        }
    })
}
