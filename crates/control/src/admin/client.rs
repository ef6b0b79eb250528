//! The command line's side of the admin socket.
//!
//! It blocks, and needs no runtime: a command asks one thing, prints the answer and ends.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::wire::{Done, Line, Refusal, Request, read_line};
use crate::exit::Exit;
use crate::filter::SessionFilter;
use crate::rows::{DropRow, PoolRow, RouterRow, SessionRow, Status};

/// How long the daemon may be silent. Longer than the daemon lets its gateway take, so that its own word comes first.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A connection to a running daemon.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<UnixStream>,
    path: PathBuf,
}

/// Sessions as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionList {
    /// The sessions.
    pub rows: Vec<SessionRow>,
    /// Whether there are more than the limit let through.
    pub more: bool,
}

/// Why a command got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error("no natgate answers on {path}: is it running? `--admin` names another socket")]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// This user may not connect.
    #[error("this user may not connect to {path}: its owner and group may")]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The connection failed.
    #[error("natgate on {path} broke off: {error}")]
    BrokenOff {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// An answer that is not one: the daemon is of another version, or something else listens there.
    #[error("what answers on {path} does not speak this natgate's language: {error}")]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What the parser says.
        error: String,
    },
    /// The daemon refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The answer came and could not be written where it should go.
    #[error("cannot write the answer: {0}")]
    Output(io::Error),
}

impl ClientError {
    /// What a command that met it ends with.
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::NotRunning { .. } | ClientError::BrokenOff { .. } => Exit::Unreachable,
            ClientError::Refused(refusal) => refusal.code.exit(),
            ClientError::Forbidden { .. } | ClientError::Garbled { .. } | ClientError::Output(_) => {
                Exit::Failed
            }
        }
    }
}

impl Client {
    /// Connects to the daemon that listens at `path`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Forbidden`] or [`ClientError::BrokenOff`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connected = UnixStream::connect(path).and_then(|stream| {
            stream.set_read_timeout(Some(SILENCE_MAX))?;
            stream.set_write_timeout(Some(SILENCE_MAX))?;
            Ok(stream)
        });
        let path = path.to_owned();
        match connected {
            Ok(stream) => Ok(Client { stream: BufReader::new(stream), path }),
            Err(error) => Err(match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => ClientError::NotRunning { path },
                ErrorKind::PermissionDenied => ClientError::Forbidden { path },
                _ => ClientError::BrokenOff { path, error },
            }),
        }
    }

    /// The node as a whole.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&mut self) -> Result<Status, ClientError> {
        self.one(&Request::Status {})
    }

    /// All routers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn routers(&mut self) -> Result<Vec<RouterRow>, ClientError> {
        Ok(self.all(&Request::Routers {})?.0)
    }

    /// One router.
    ///
    /// # Errors
    /// [`ClientError::Refused`] where no router has that id.
    pub fn router(&mut self, id: &str) -> Result<RouterRow, ClientError> {
        self.one(&Request::Router { id: id.to_owned() })
    }

    /// The sessions that `filter` lets through, `rows_max` of them at most.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn sessions(
        &mut self,
        filter: &SessionFilter,
        rows_max: Option<u64>,
    ) -> Result<SessionList, ClientError> {
        let (rows, done) = self.all(&Request::Sessions { filter: filter.words(), limit: rows_max })?;
        Ok(SessionList { rows, more: done.more })
    }

    /// Addresses that are translated to, and how much of them is in use.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn pools(&mut self) -> Result<Vec<PoolRow>, ClientError> {
        Ok(self.all(&Request::Pools {})?.0)
    }

    /// Drops by reason.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn drops(&mut self) -> Result<Vec<DropRow>, ClientError> {
        Ok(self.all(&Request::Drops {})?.0)
    }

    /// Asks, and hands every row to `each` as the line that came, for whoever wants the wire form.
    ///
    /// # Errors
    /// [`ClientError`]; `each`'s own become [`ClientError::Output`]. The connection is of no more use then.
    pub fn lines(
        &mut self,
        request: &Request,
        mut each: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<Done, ClientError> {
        let mut line = serde_json::to_string(request).map_err(|error| self.garbled(&error))?;
        line.push('\n');
        // A daemon with no place for us answers and closes without reading: its word counts more than the failed write.
        let sent = self.stream.get_mut().write_all(line.as_bytes());
        loop {
            line.clear();
            match self.stream.read_line(&mut line) {
                Ok(0) => {
                    let early = io::Error::new(ErrorKind::UnexpectedEof, "the answer has no end");
                    return Err(self.broken_off(sent.err().unwrap_or(early)));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    let silent = io::Error::new(ErrorKind::TimedOut, format!("silent for {SILENCE_MAX:?}"));
                    return Err(self.broken_off(silent));
                }
                Err(error) => return Err(self.broken_off(error)),
            }
            match read_line(line.trim_end()) {
                Line::Row(row) => each(row).map_err(ClientError::Output)?,
                Line::Done(done) => return Ok(done),
                Line::Failed(refusal) => return Err(refusal.into()),
            }
        }
    }

    fn all<R: DeserializeOwned>(&mut self, request: &Request) -> Result<(Vec<R>, Done), ClientError> {
        let mut rows = Vec::new();
        let mut bad = None;
        let done = self.lines(request, |line| {
            match serde_json::from_str(line) {
                Ok(row) => rows.push(row),
                Err(error) => bad = bad.take().or(Some(error)),
            }
            Ok(())
        })?;
        match bad {
            None => Ok((rows, done)),
            Some(error) => Err(self.garbled(&error)),
        }
    }

    fn one<R: DeserializeOwned>(&mut self, request: &Request) -> Result<R, ClientError> {
        let (rows, _) = self.all(request)?;
        rows.into_iter().next().ok_or_else(|| self.garbled(&"an answer without a row"))
    }

    fn garbled(&self, error: &dyn std::fmt::Display) -> ClientError {
        ClientError::Garbled { path: self.path.clone(), error: error.to_string() }
    }

    fn broken_off(&self, error: io::Error) -> ClientError {
        ClientError::BrokenOff { path: self.path.clone(), error }
    }
}
