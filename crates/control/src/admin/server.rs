//! The daemon's side of the admin socket: accept, bound, serve.
//!
//! Whoever may connect is trusted with what he sees, not with the daemon's memory and time: everything a client can make
//! the daemon hold is in [`Limits`].

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::connection;
use super::socket::{OwnedSocket, SocketError};
use crate::node::Node;

/// How long accepting rests after the system refused it (no file descriptor is free), so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What a client may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Clients at once; one more is told so and let go.
    pub connections_max: usize,
    /// The longest request, in bytes.
    pub request_bytes_max: usize,
    /// How long a whole request may take to come; a client that is silent for so long is let go.
    pub idle_timeout: Duration,
    /// How long a client may take to accept a piece of an answer.
    pub write_timeout: Duration,
    /// How long the gateway may take over one call.
    pub node_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 32,
            request_bytes_max: 16 * 1024,
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            node_timeout: Duration::from_secs(10),
        }
    }
}

/// The admin socket, open. Dropping it takes the socket's file away.
#[derive(Debug)]
pub struct AdminServer {
    socket: OwnedSocket,
    limits: Limits,
}

impl AdminServer {
    /// Opens the socket at `path`, for owner and group. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`SocketError`]: the daemon should not start; the sentence says what to do.
    pub fn bind(path: &Path, limits: Limits) -> Result<Self, SocketError> {
        Ok(AdminServer { socket: OwnedSocket::bind(path)?, limits })
    }

    /// Serves clients until `stop` is ready, then cuts off those at work.
    pub async fn serve<N: Node>(self, node: Arc<N>, stop: impl Future<Output = ()>) {
        tracing::info!(path = %self.socket.path().display(), "admin socket open");
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        // Dropping the set at the end ends its tasks.
        let mut clients = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(_) = clients.join_next() => {}
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let place = Arc::clone(&places).try_acquire_owned().ok();
                        clients.spawn(client(stream, Arc::clone(&node), self.limits, place));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin socket accepts no client");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
            }
        }
    }
}

async fn client<N: Node>(
    stream: UnixStream,
    node: Arc<N>,
    limits: Limits,
    place: Option<OwnedSemaphorePermit>,
) {
    let ended = match place {
        Some(_place) => connection::serve(stream, node.as_ref(), limits).await,
        None => connection::turn_away(stream, limits).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an admin client went away");
    }
}
