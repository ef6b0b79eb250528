//! `GET /metrics` and `GET /healthz` over HTTP/1.
//!
//! The address may be open to a network, so a client gets a fixed number of places, a bounded head, and a deadline for
//! each request; a body is never read.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::collector::Sample;
use crate::node::Node;
use crate::rows::{Status, WorkerState};

const CONNECTIONS_MAX: usize = 16;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const NODE_TIMEOUT: Duration = Duration::from_secs(10);
/// However busy, a connection ends after this long: one that never reads its answer would keep its place for ever.
const CONNECTION_MAX: Duration = Duration::from_secs(300);
/// How long accepting rests after the system refused it, so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(100);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// The metrics endpoint, open.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
}

impl MetricsServer {
    /// Opens the endpoint.
    ///
    /// # Errors
    /// The address is taken, or not this machine's: the daemon should not start.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot serve metrics on {address}: {error}"))
        })?;
        Ok(MetricsServer { listener })
    }

    /// Where it listens; tells the port where 0 was asked for.
    ///
    /// # Errors
    /// The system's own.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves scrapes until `stop` is ready.
    pub async fn serve<N: Node>(self, node: Arc<N>, stop: impl Future<Output = ()>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        // Dropping the set at the end ends its tasks.
        let mut clients = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(_) = clients.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // No place: closing is the answer, the scraper comes again.
                        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                        let node = Arc::clone(&node);
                        clients.spawn(async move {
                            let _place = place;
                            let _ = timeout(CONNECTION_MAX, connection(stream, node)).await;
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the metrics endpoint accepts no client");
                        tokio::time::sleep(ACCEPT_REST).await;
                    }
                },
            }
        }
    }
}

async fn connection<N: Node>(stream: TcpStream, node: Arc<N>) {
    let service = service_fn(|request| {
        let node = Arc::clone(&node);
        async move { Ok::<_, Infallible>(respond(request, node.as_ref()).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a metrics client went away");
    }
}

async fn respond<N: Node>(request: Request<Incoming>, node: &N) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".into());
        response.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match within(Sample::take(node)).await {
            Ok(sample) => answer(StatusCode::OK, OPEN_METRICS, sample.into_text()),
            Err(message) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, message),
        },
        "/healthz" => match within(node.status()).await.and_then(|status| healthy(&status)) {
            Ok(()) => answer(StatusCode::OK, TEXT, "ok\n".into()),
            Err(message) => answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, message),
        },
        _ => answer(StatusCode::NOT_FOUND, TEXT, "there are /metrics and /healthz\n".into()),
    }
}

async fn within<T, E: std::fmt::Display>(call: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match timeout(NODE_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| format!("{error}\n")),
        Err(_) => Err(format!("the gateway did not answer within {NODE_TIMEOUT:?}\n")),
    }
}

/// Healthy is: workers run, and all of them run rules. A feed that is gone is not ill: the gateway forwards by its last
/// good rules, and taking it out of service for that would turn the outage of a controller into one of the network.
fn healthy(status: &Status) -> Result<(), String> {
    let mut faults = String::new();
    if status.workers.is_empty() {
        faults.push_str("no worker runs\n");
    }
    if status.generation == 0 {
        faults.push_str("no rules were applied yet\n");
    }
    for row in &status.workers {
        let (worker, core, age) = (row.worker, row.core, row.heartbeat_age_ms);
        match row.state {
            WorkerState::Starting => {
                faults.push_str(&format!("worker {worker} on core {core} has not begun\n"))
            }
            WorkerState::Stuck => {
                faults.push_str(&format!("worker {worker} on core {core} has been stuck for {age} ms\n"));
            }
            WorkerState::Stopped => faults.push_str(&format!("worker {worker} on core {core} has stopped\n")),
            WorkerState::Running | WorkerState::Idle => {}
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::healthy;
    use crate::rows::{Status, WorkerRow, WorkerState};

    fn status(state: WorkerState, heartbeat_age_ms: u64) -> Status {
        let worker = WorkerRow { worker: 1, core: 3, state, heartbeat_age_ms, ..WorkerRow::default() };
        Status { generation: 1, workers: vec![worker], ..Status::default() }
    }

    #[test]
    fn a_node_whose_workers_run_is_healthy_even_without_a_feed() {
        for state in [WorkerState::Running, WorkerState::Idle] {
            let status = status(state, 900);
            assert!(!status.feed.connected);
            assert_eq!(healthy(&status), Ok(()));
        }
    }

    #[test]
    fn each_fault_is_named() {
        let stuck = status(WorkerState::Stuck, 2_500);
        assert_eq!(healthy(&stuck), Err("worker 1 on core 3 has been stuck for 2500 ms\n".into()));
        let stopped = status(WorkerState::Stopped, 0);
        assert_eq!(healthy(&stopped), Err("worker 1 on core 3 has stopped\n".into()));
        let starting = status(WorkerState::Starting, 0);
        assert_eq!(healthy(&starting), Err("worker 1 on core 3 has not begun\n".into()));
        assert_eq!(healthy(&Status::default()), Err("no worker runs\nno rules were applied yet\n".into()));
    }
}
