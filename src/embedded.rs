//! A rules file served by the gateway's own process: the same way as from another machine, without the network.

use std::path::Path;

use feed::{FeedAddress, FileSource, Listener, Server, ServerConfig, ServerState, Source, last_good};
use tokio::sync::watch;

/// A server for the gateway of this process.
pub(crate) struct Embedded {
    source: FileSource,
    listener: Listener,
    server: Server,
}

impl Embedded {
    /// Of the rules in a file, and the address to follow it by. `saved` is where the gateway keeps its last good rules:
    /// a later term than theirs is taken, even if the clock went backwards.
    pub(crate) fn new(rules: &Path, saved: &Path) -> (Self, FeedAddress) {
        let epoch = last_good::load(saved).ok().flatten().map_or(0, |last_good| last_good.epoch);
        let (listener, address) = Listener::in_process();
        let server = Server::new(ServerConfig::after(epoch));
        (Self { source: FileSource::new(rules), listener, server }, address)
    }

    /// What the server knows of itself: why the newest file is not the one served, if it is not.
    pub(crate) fn state(&self) -> watch::Receiver<ServerState> {
        self.server.state()
    }

    /// Follows the file until `stop`.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()>) {
        tokio::select! {
            served = self.server.serve(self.listener, stop) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the rules file is no longer served");
                }
            }
            () = self.source.run(self.server.publisher()) => {}
        }
    }
}
