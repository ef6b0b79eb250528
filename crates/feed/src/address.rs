//! Where a feed is found: `unix:/run/natgate/feed.sock`, `host:port`, or in this very process.
//!
//! The gateway dials, the controller listens. Without TLS a `host:port` belongs on a network that only operators reach.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

/// Bytes under way between the two ends of one process.
const IN_PROCESS_BYTES: usize = 256 * 1024;

/// Where to dial.
#[derive(Clone, Debug)]
pub enum FeedAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A host's name or address, and a port.
    Tcp(String),
    /// The server of the same process.
    InProcess(InProcess),
}

/// A text that is no address of a feed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no feed address: expected `unix:/path/to/socket` or `host:port`")]
pub struct AddressError(String);

impl FromStr for FeedAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let bad = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.into())) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        if host.is_empty() || host.contains('/') || port == 0 {
            Err(bad())
        } else {
            Ok(Self::Tcp(text.to_owned()))
        }
    }
}

impl std::fmt::Display for FeedAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(authority) => f.write_str(authority),
            Self::InProcess(_) => f.write_str("in-process"),
        }
    }
}

impl FeedAddress {
    /// Dials once.
    pub(crate) async fn dial(&self) -> Result<Channel, tonic::transport::Error> {
        // The connector below decides where to go; HTTP/2 only wants some authority to name.
        let endpoint = Endpoint::from_static("http://feed.natgate")
            .connect_timeout(std::time::Duration::from_secs(5))
            .http2_adaptive_window(true);
        let address = self.clone();
        endpoint
            .connect_with_connector(tower::service_fn(move |_| {
                let address = address.clone();
                async move { address.connect().await.map(TokioIo::new) }
            }))
            .await
    }

    async fn connect(&self) -> io::Result<Connection> {
        Ok(match self {
            Self::Unix(path) => Connection::Unix(UnixStream::connect(path).await?),
            Self::Tcp(authority) => {
                let stream = TcpStream::connect(authority).await?;
                stream.set_nodelay(true)?;
                Connection::Tcp(stream)
            }
            Self::InProcess(server) => Connection::InProcess(server.connect().await?),
        })
    }
}

/// The way to a server of the same process. Cloned freely.
#[derive(Clone, Debug)]
pub struct InProcess(mpsc::Sender<DuplexStream>);

impl InProcess {
    async fn connect(&self) -> io::Result<DuplexStream> {
        let (near, far) = tokio::io::duplex(IN_PROCESS_BYTES);
        self.0.send(far).await.map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(near)
    }
}

/// Where a server takes gateways from.
#[derive(Debug)]
pub enum Listener {
    /// A unix socket; the file is removed when the listener goes.
    Unix(UnixListener, SocketFile),
    /// A TCP port.
    Tcp(TcpListener),
    /// This process.
    InProcess(mpsc::Receiver<DuplexStream>),
}

/// The file of a unix socket, removed on drop.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing to do about a file that someone else removed.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Listens at `unix:/path` or `address:port`. A socket file that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// The socket cannot be made, or another process listens there.
    pub async fn bind(address: &FeedAddress) -> io::Result<Self> {
        match address {
            FeedAddress::Unix(path) => bind_unix(path).await,
            FeedAddress::Tcp(authority) => Ok(Self::Tcp(TcpListener::bind(authority).await?)),
            FeedAddress::InProcess(_) => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    /// A listener of this process, and the address to dial it by.
    pub fn in_process() -> (Self, FeedAddress) {
        let (sender, receiver) = mpsc::channel(1);
        (Self::InProcess(receiver), FeedAddress::InProcess(InProcess(sender)))
    }

    /// Where a TCP listener is, which matters where port 0 let the system choose.
    pub fn local_address(&self) -> Option<std::net::SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) | Self::InProcess(_) => None,
        }
    }
}

async fn bind_unix(path: &Path) -> io::Result<Listener> {
    use std::os::unix::fs::PermissionsExt as _;
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            if UnixStream::connect(path).await.is_ok() {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        other => other?,
    };
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(Listener::Unix(listener, file))
}

impl Listener {
    /// The next gateway; `None` when nobody can come any more.
    pub(crate) async fn accept(&mut self) -> Option<io::Result<Connection>> {
        match self {
            Self::Unix(listener, _) => {
                Some(listener.accept().await.map(|(stream, _)| Connection::Unix(stream)))
            }
            Self::Tcp(listener) => Some(listener.accept().await.and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            })),
            Self::InProcess(receiver) => {
                receiver.recv().await.map(|stream| Ok(Connection::InProcess(stream)))
            }
        }
    }
}

/// One connection between a gateway and a server, of whichever kind.
#[derive(Debug)]
pub enum Connection {
    /// By unix socket.
    Unix(UnixStream),
    /// By TCP.
    Tcp(TcpStream),
    /// Within the process.
    InProcess(DuplexStream),
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Calls a method of whichever stream it is.
macro_rules! delegate {
    ($self:ident.$method:ident($($argument:expr),*)) => {
        match $self.get_mut() {
            Connection::Unix(stream) => Pin::new(stream).$method($($argument),*),
            Connection::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Connection::InProcess(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self.poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_socket_path_or_a_host_with_a_port() {
        for good in ["unix:/run/natgate/feed.sock", "127.0.0.1:7000", "controller.example:7000", "[::1]:7000"]
        {
            assert_eq!(good.parse::<FeedAddress>().expect(good).to_string(), good);
        }
        for bad in
            ["", "unix:", "localhost", "localhost:", ":7000", "http://host:7000", "host:0", "host:70000"]
        {
            assert!(bad.parse::<FeedAddress>().is_err(), "{bad} was taken");
        }
    }

    #[tokio::test]
    async fn a_socket_file_left_behind_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let address = FeedAddress::Unix(directory.path().join("feed.sock"));
        let FeedAddress::Unix(path) = &address else { panic!() };
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        let live = Listener::bind(&address).await.expect("the file is a dead socket's");
        assert!(Listener::bind(&address).await.is_err(), "somebody listens");
        drop(live);
        assert!(!path.exists(), "a listener leaves no file");
    }
}
