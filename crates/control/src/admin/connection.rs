//! One client: read a request line, answer it, read the next.
//!
//! The daemon never holds more than one request line and one page of rows for a client, and never waits for it longer
//! than [`Limits`] say.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::server::Limits;
use super::wire::{Done, ErrorCode, Failed, Refusal, Request};
use crate::filter::SessionFilter;
use crate::node::{Node, NodeError};

/// Rows are sent when so many bytes of them have gathered.
const OUTPUT_BYTES: usize = 64 * 1024;

/// Answers requests until the client leaves or is let go.
pub(super) async fn serve<N: Node>(stream: UnixStream, node: &N, limits: Limits) -> io::Result<()> {
    let (reader, writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut output = Output { writer, lines: Vec::new(), write_timeout: limits.write_timeout };
    loop {
        let line =
            match timeout(limits.idle_timeout, read_request(&mut reader, limits.request_bytes_max)).await {
                Err(_) => return Ok(()),
                Ok(line) => line?,
            };
        let request = match line {
            RequestLine::End => return Ok(()),
            RequestLine::TooLong => {
                let message = format!("a request is no longer than {} bytes", limits.request_bytes_max);
                // What follows is the rest of that line, not a request: nothing more to talk about.
                return output.refuse(ErrorCode::BadRequest, message).await;
            }
            RequestLine::Whole(line) => serde_json::from_slice::<Request>(&line),
        };
        let answered = match request {
            Ok(request) => answer(request, node, limits, &mut output).await,
            Err(error) => Err(bad_request(format!("not a request: {error}")).into()),
        };
        match answered {
            Ok(done) => output.last(&done).await?,
            Err(Interrupted::Refused(error)) => output.last(&Failed { error }).await?,
            Err(Interrupted::Gone(error)) => return Err(error),
        }
    }
}

/// Tells a client that there is no place for it.
pub(super) async fn turn_away(stream: UnixStream, limits: Limits) -> io::Result<()> {
    let mut output = Output { writer: stream, lines: Vec::new(), write_timeout: limits.write_timeout };
    let message = format!("{} admin clients are connected; no more are allowed", limits.connections_max);
    output.refuse(ErrorCode::Busy, message).await
}

/// Why an answer ended early.
enum Interrupted {
    /// The request was refused; the client is told.
    Refused(Refusal),
    /// The client is gone or too slow.
    Gone(io::Error),
}

impl From<Refusal> for Interrupted {
    fn from(refusal: Refusal) -> Self {
        Interrupted::Refused(refusal)
    }
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        Interrupted::Gone(error)
    }
}

async fn answer<N: Node, W: AsyncWrite + Unpin>(
    request: Request,
    node: &N,
    limits: Limits,
    output: &mut Output<W>,
) -> Result<Done, Interrupted> {
    match request {
        Request::Status {} => {
            let status = ask(limits, node.status()).await?;
            output.rows(&[status]).await
        }
        Request::Routers {} => {
            let routers = ask(limits, node.routers()).await?;
            output.rows(&routers).await
        }
        Request::Router { id } => match ask(limits, node.router(&id)).await? {
            Some(router) => output.rows(&[router]).await,
            None => {
                let message = format!("no router has the id \"{id}\"");
                Err(Refusal { code: ErrorCode::NotFound, message }.into())
            }
        },
        Request::Sessions { filter, limit } => {
            let filter = SessionFilter::parse(&filter).map_err(|error| bad_request(error.to_string()))?;
            sessions(node, limits, &filter, limit.unwrap_or(u64::MAX), output).await
        }
        Request::Pools {} => {
            let pools = ask(limits, node.pools()).await?;
            output.rows(&pools).await
        }
        Request::Drops {} => {
            let drops = ask(limits, node.drops()).await?;
            output.rows(&drops).await
        }
    }
}

/// Walks through all sessions page by page; between two pages the worker does its work and the client reads.
async fn sessions<N: Node, W: AsyncWrite + Unpin>(
    node: &N,
    limits: Limits,
    filter: &SessionFilter,
    rows_max: u64,
    output: &mut Output<W>,
) -> Result<Done, Interrupted> {
    let mut rows = 0;
    let mut from = None;
    loop {
        let page = ask(limits, node.sessions(from)).await?;
        for row in page.rows.iter().filter(|row| filter.matches(row)) {
            if rows == rows_max {
                return Ok(Done::new(rows, true));
            }
            output.row(row).await?;
            rows += 1;
        }
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(Done::new(rows, false)),
        }
    }
}

async fn ask<T>(limits: Limits, call: impl Future<Output = Result<T, NodeError>>) -> Result<T, Refusal> {
    let failed = |message| Refusal { code: ErrorCode::Failed, message };
    match timeout(limits.node_timeout, call).await {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed(format!("the gateway did not answer within {:?}", limits.node_timeout))),
    }
}

fn bad_request(message: String) -> Refusal {
    Refusal { code: ErrorCode::BadRequest, message }
}

/// Lines on their way to the client, a bounded number of bytes of them.
struct Output<W> {
    writer: W,
    lines: Vec<u8>,
    write_timeout: Duration,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn rows<R: Serialize>(&mut self, rows: &[R]) -> Result<Done, Interrupted> {
        for row in rows {
            self.row(row).await?;
        }
        Ok(Done::new(rows.len() as u64, false))
    }

    async fn row<R: Serialize>(&mut self, row: &R) -> io::Result<()> {
        serde_json::to_writer(&mut self.lines, row)?;
        self.lines.push(b'\n');
        if self.lines.len() < OUTPUT_BYTES {
            return Ok(());
        }
        self.flush().await
    }

    async fn last<L: Serialize>(&mut self, line: &L) -> io::Result<()> {
        self.row(line).await?;
        self.flush().await
    }

    async fn refuse(&mut self, code: ErrorCode, message: String) -> io::Result<()> {
        self.last(&Failed { error: Refusal { code, message } }).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answer");
        timeout(self.write_timeout, self.writer.write_all(&self.lines)).await.map_err(|_| slow())??;
        self.lines.clear();
        Ok(())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum RequestLine {
    /// A line, without its end.
    Whole(Vec<u8>),
    /// More bytes than a request may have, and no line end among them.
    TooLong,
    /// The client has closed its side; what it began and did not end is dropped.
    End,
}

/// Reads up to the next line end. Of a line that is too long no more than `bytes_max` and one buffer are ever held.
async fn read_request<R: AsyncRead + Unpin>(
    reader: &mut BufReader<R>,
    bytes_max: usize,
) -> io::Result<RequestLine> {
    let mut line = Vec::new();
    loop {
        let bytes = reader.fill_buf().await?;
        if bytes.is_empty() {
            return Ok(RequestLine::End);
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        if line.len() + piece.len() > bytes_max {
            return Ok(RequestLine::TooLong);
        }
        line.extend_from_slice(piece);
        let used = piece.len() + usize::from(end.is_some());
        reader.consume(used);
        if end.is_some() {
            return Ok(RequestLine::Whole(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufReader;

    use super::{RequestLine, read_request};

    async fn lines(input: &str, buffer_bytes: usize, bytes_max: usize) -> Vec<RequestLine> {
        let mut reader = BufReader::with_capacity(buffer_bytes, input.as_bytes());
        let mut lines = Vec::new();
        loop {
            let line = read_request(&mut reader, bytes_max).await.unwrap();
            let last = !matches!(line, RequestLine::Whole(_));
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    #[tokio::test]
    async fn a_request_line_is_found_wherever_reads_cut_it() {
        for buffer_bytes in 1..12 {
            assert_eq!(
                lines("status\n\ndrops\nrest", buffer_bytes, 6).await,
                [
                    RequestLine::Whole(b"status".to_vec()),
                    RequestLine::Whole(b"".to_vec()),
                    RequestLine::Whole(b"drops".to_vec()),
                    RequestLine::End,
                ]
            );
        }
    }

    #[tokio::test]
    async fn a_line_one_byte_too_long_is_refused() {
        for buffer_bytes in 1..12 {
            assert_eq!(lines("statuses\n", buffer_bytes, 7).await, [RequestLine::TooLong]);
        }
    }
}
