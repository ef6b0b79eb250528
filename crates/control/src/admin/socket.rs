//! A socket's path belongs to one daemon at a time.
//!
//! A lock on the file beside it (`admin.sock.lock`) says who: the kernel gives it back when the daemon ends, however it
//! ends. So a socket file without a locked neighbour is stale and may go, and two daemons that start at once cannot both
//! think so. The lock file stays behind: removing it would let two daemons lock two files of one name.

use std::fs::{self, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixSocket};

/// Owner and group may connect; nobody else.
const SOCKET_MODE: u32 = 0o660;
/// Clients that may wait to be accepted.
const BACKLOG_CLIENTS: u32 = 64;

/// Why the admin socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A living daemon has it.
    #[error("a running natgate has the admin socket {path}; stop it, or set another path in `admin`")]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// Something else lies there, which is not ours to remove.
    #[error("{path} is there and is not a socket; remove it, or set another path in `admin`")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("cannot open the admin socket {path}: {step}: {error}")]
    System {
        /// The path.
        path: PathBuf,
        /// What was tried.
        step: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// A listening socket that takes its file away when dropped.
#[derive(Debug)]
pub(super) struct OwnedSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl OwnedSocket {
    /// Takes `path`, and removes a stale socket that lies there. A missing folder is made.
    pub(super) fn bind(path: &Path) -> Result<Self, SocketError> {
        let system = |step| move |error| SocketError::System { path: path.to_owned(), step, error };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(system("making its folder"))?;
        }
        let lock = lock(path)?;
        remove_stale(path)?;

        let socket = UnixSocket::new_stream().map_err(system("making a socket"))?;
        socket.bind(path).map_err(system("binding"))?;
        // Before the socket listens nobody can connect, so the mode is never too wide for anyone.
        fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE)).map_err(system("setting its mode"))?;
        let listener = socket.listen(BACKLOG_CLIENTS).map_err(system("listening"))?;
        Ok(OwnedSocket { listener, path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnedSocket {
    fn drop(&mut self) {
        // The lock is still ours, so the file is too. If it is gone already, that is what was wanted.
        let _ = fs::remove_file(&self.path);
    }
}

fn lock(path: &Path) -> Result<File, SocketError> {
    let system = |step| move |error| SocketError::System { path: path.to_owned(), step, error };
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(PathBuf::from(name))
        .map_err(system("opening its lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(system("locking")(error)),
    }
}

/// Removes a socket that nobody listens on; refuses everything else.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |step| move |error| SocketError::System { path: path.to_owned(), step, error };
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("looking at what lies there")(error)),
    };
    if !kind.is_socket() {
        return Err(SocketError::NotASocket { path: path.to_owned() });
    }
    // A listener without our lock: another program, or a daemon whose lock file was removed by hand.
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::InUse { path: path.to_owned() });
    }
    fs::remove_file(path).map_err(system("removing the stale one"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{OwnedSocket, SocketError};

    #[tokio::test]
    async fn the_socket_is_for_owner_and_group_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _socket = OwnedSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        // A listener that ends leaves its file behind, as a killed daemon does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        OwnedSocket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_path_in_use_by_a_living_daemon_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = OwnedSocket::bind(&path).unwrap();
        let error = OwnedSocket::bind(&path).unwrap_err();
        assert!(matches!(error, SocketError::InUse { .. }), "{error}");
        assert!(error.to_string().starts_with("a running natgate has the admin socket"), "{error}");
        assert!(path.exists(), "the living one's socket was taken away");
        drop(first);
        assert!(!path.exists());
        OwnedSocket::bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_holds_the_lock_and_does_not_listen_yet_is_respected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _lock = super::lock(&path).unwrap();
        assert!(matches!(OwnedSocket::bind(&path), Err(SocketError::InUse { .. })));
    }

    #[tokio::test]
    async fn a_living_listener_without_the_lock_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let _other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(matches!(OwnedSocket::bind(&path), Err(SocketError::InUse { .. })));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_file_that_is_not_a_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(OwnedSocket::bind(&path), Err(SocketError::NotASocket { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_missing_folder_is_made() {
        let folder = tempfile::tempdir().unwrap();
        OwnedSocket::bind(&folder.path().join("run/natgate/admin.sock")).unwrap();
    }
}
