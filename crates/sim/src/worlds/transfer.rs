//! Transfers over TCP: a client asks a server for some bytes and sends it others; both know every byte that is right.
//!
//! ```text
//! request, 16 bytes   flow, bytes up, bytes down, how it ends, how long it pauses, check     five bits a byte
//! up                  half of them, the pause, the other half
//! down                at once
//! end                 the client's FIN first, the server's first, or a reset
//! ```

use smoltcp::socket::tcp::{Socket, State};

use super::wire::{self, Endpoint, mix};

/// How long the whole may take, its pause aside: through storms in which most segments are lost.
pub(crate) const PATIENCE_MS: u64 = 900_000;

/// A server's until it is asked.
const REQUEST_PATIENCE_MS: u64 = 300_000;

/// The unit of pauses in a request.
pub(crate) const PAUSE_UNIT_MS: u64 = 512_000;

const REQUEST_BYTES: u32 = 16;
const CHECK_BITS: u64 = 0x7fff;

/// How a transfer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    ClientFirst,
    ServerFirst,
    Reset,
}

impl End {
    pub(crate) const ALL: [Self; 3] = [Self::ClientFirst, Self::ServerFirst, Self::Reset];
}

/// A transfer, as its client knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) flow: u32,
    /// Who may see it, one bit each.
    pub(crate) tenants: u8,
    pub(crate) to: Endpoint,
    pub(crate) began_ms: u64,
    /// Bytes up, and down.
    pub(crate) bytes: [u32; 2],
    pub(crate) pause_ms: u64,
    pub(crate) end: End,
    /// Its silence is longer than the gateway has to remember it.
    pub(crate) outlives_its_session: bool,
}

/// What became of one.
#[derive(Clone, Debug)]
pub(crate) enum Ended {
    /// Every byte came, and so did the end.
    Done(Transfer),
    /// It did not, and why.
    Broken(Transfer, Why),
    /// A byte that came is wrong: no fault excuses that.
    Wrong(String),
}

/// Why a transfer did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Nobody answered its first segment.
    Unanswered,
    /// The server answered it, and heard nothing more.
    Unheard,
    Reset,
    /// Not all bytes had come when its time was up.
    Late,
    /// All had, but not the other side's end. smoltcp 0.14 does not send a FIN again that overtook its data.
    Unfinished,
}

/// A client's socket.
#[derive(Default)]
pub(crate) struct Client(Option<Running>);

struct Running {
    transfer: Transfer,
    sent: u32,
    received: u32,
    resumes_ms: Option<u64>,
    deadline_ms: u64,
    is_closing: bool,
}

impl Client {
    pub(crate) fn is_idle(&self, socket: &Socket) -> bool {
        self.0.is_none() && socket.state() == State::Closed
    }

    pub(crate) fn begin(&mut self, transfer: Transfer) {
        let deadline_ms = transfer.began_ms + transfer.pause_ms + PATIENCE_MS;
        let (sent, received, resumes_ms, is_closing) = (0, 0, None, false);
        self.0 = Some(Running { transfer, sent, received, resumes_ms, deadline_ms, is_closing });
    }

    /// When it wants to be asked again, whatever comes.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        let running = self.0.as_ref()?;
        let resumes = running.resumes_ms.filter(|_| running.is_half_way());
        Some(resumes.unwrap_or(u64::MAX).min(running.deadline_ms))
    }

    pub(crate) fn work(&mut self, socket: &mut Socket, now_ms: u64, ended: &mut Vec<Ended>) -> bool {
        let Some(running) = &mut self.0 else { return false };
        let mut has_changed = false;
        let outcome = running.work(socket, now_ms, &mut has_changed);
        if let Some(outcome) = outcome {
            ended.push(outcome);
            self.0 = None;
        }
        has_changed
    }
}

impl Running {
    /// Bytes to send before the pause.
    fn first_part(&self) -> u32 {
        REQUEST_BYTES + self.transfer.bytes[0] / 2
    }

    fn is_half_way(&self) -> bool {
        self.transfer.pause_ms > 0 && self.sent == self.first_part()
    }

    fn work(&mut self, socket: &mut Socket, now_ms: u64, has_changed: &mut bool) -> Option<Ended> {
        let transfer = self.transfer;
        if socket.can_recv() {
            let (from, received) = (stream(transfer.flow, 1), self.received);
            let read =
                socket.recv(|bytes| (bytes.len(), (bytes.len(), wrong(bytes, &transfer, from, received))));
            let (length, wrong) = read.unwrap_or_default();
            if let Some(at) = wrong {
                return Some(Ended::Wrong(format!("byte {at} down of {transfer:?}")));
            }
            self.received += length as u32;
            *has_changed = true;
        }
        if now_ms >= self.deadline_ms {
            let (state, queued) = (socket.state(), socket.send_queue());
            socket.abort();
            *has_changed = true;
            let [up, down] = [transfer.bytes[0] + REQUEST_BYTES, transfer.bytes[1]];
            let why = match state {
                State::SynSent => Why::Unanswered,
                _ if self.received == 0 && self.sent > 0 && queued == self.sent as usize => Why::Unheard,
                _ if self.received == down && self.sent == up && queued == 0 => Why::Unfinished,
                _ => Why::Late,
            };
            return Some(Ended::Broken(transfer, why));
        }
        let [up, down] = [transfer.bytes[0] + REQUEST_BYTES, transfer.bytes[1]];
        let is_all = self.sent == up && self.received == down && socket.send_queue() == 0;
        match socket.state() {
            State::Closed | State::TimeWait if self.is_closing && self.received == down => {
                return Some(Ended::Done(transfer));
            }
            State::Closed => return Some(Ended::Broken(transfer, Why::Reset)),
            // The server ends nothing early.
            State::CloseWait if self.received < down && !socket.can_recv() => {
                let what = format!("the end after {} bytes down of {transfer:?}", self.received);
                return Some(Ended::Wrong(what));
            }
            _ => {}
        }
        if self.received > down {
            return Some(Ended::Wrong(format!("{} bytes down of {transfer:?}", self.received)));
        }
        if socket.can_send() && self.sent < up {
            *has_changed |= self.send(socket, now_ms, up);
        }
        if is_all && !self.is_closing {
            match transfer.end {
                End::ClientFirst => socket.close(),
                End::ServerFirst if socket.may_recv() => return None,
                End::ServerFirst => socket.close(),
                End::Reset => {
                    socket.abort();
                    *has_changed = true;
                    return Some(Ended::Done(transfer));
                }
            }
            (self.is_closing, *has_changed) = (true, true);
        }
        None
    }

    fn send(&mut self, socket: &mut Socket, now_ms: u64, up: u32) -> bool {
        let transfer = self.transfer;
        let until = match self.resumes_ms {
            Some(at) if now_ms >= at => up,
            None if transfer.pause_ms == 0 => up,
            _ => self.first_part(),
        };
        let request = request(&transfer);
        let first = self.sent;
        let sent = socket.send(|buffer| {
            let length = buffer.len().min((until - first) as usize);
            let asked = &request[request.len().min(first as usize)..];
            let asked = &asked[..asked.len().min(length)];
            let (head, body) = buffer[..length].split_at_mut(asked.len());
            head.copy_from_slice(asked);
            let done = first.saturating_sub(REQUEST_BYTES);
            let right = wire::stream(transfer.tenants, stream(transfer.flow, 0), done);
            body.iter_mut().zip(right).for_each(|(to, byte)| *to = byte);
            (length, length)
        });
        let sent = sent.unwrap_or(0);
        self.sent += sent as u32;
        if self.is_half_way() && self.resumes_ms.is_none() {
            self.resumes_ms = Some(now_ms + transfer.pause_ms);
        }
        sent > 0
    }
}

/// A server's socket.
pub(crate) struct Server {
    port: u16,
    request: Vec<u8>,
    asked: Option<Transfer>,
    received: u32,
    sent: u32,
    deadline_ms: Option<u64>,
}

impl Server {
    pub(crate) fn new(port: u16) -> Self {
        let (request, asked, received, sent, deadline_ms) = Default::default();
        Self { port, request, asked, received, sent, deadline_ms }
    }

    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.deadline_ms
    }

    /// Whether it was asked what it serves before a time.
    pub(crate) fn was_asked_before(&self, at_ms: u64) -> bool {
        let asked_ms = self.asked.zip(self.deadline_ms);
        asked_ms.is_some_and(|(asked, deadline_ms)| deadline_ms - asked.pause_ms - PATIENCE_MS < at_ms)
    }

    /// Whether it serves this flow.
    pub(crate) fn serves(&self, flow: u32) -> bool {
        self.asked.is_some_and(|asked| asked.flow == flow)
    }

    pub(crate) fn work(&mut self, socket: &mut Socket, now_ms: u64, ended: &mut Vec<Ended>) -> bool {
        match socket.state() {
            State::Closed => {
                *self = Self::new(self.port);
                return socket.listen(self.port).is_ok();
            }
            // As at first, or after a reset before anything was said.
            State::Listen => {
                self.deadline_ms = None;
                return false;
            }
            _ => {}
        }
        let deadline_ms = *self.deadline_ms.get_or_insert(now_ms + REQUEST_PATIENCE_MS);
        if now_ms >= deadline_ms {
            socket.abort();
            self.deadline_ms = None;
            return true;
        }
        let mut has_changed = false;
        if socket.can_recv() {
            let read = socket.recv(|bytes| (bytes.len(), self.take(bytes, now_ms))).unwrap_or(Ok(()));
            if let Err(what) = read {
                ended.push(Ended::Wrong(what));
            }
            has_changed = true;
        }
        let Some(asked) = self.asked else { return has_changed };
        let [up, down] = asked.bytes;
        if socket.can_send() && self.sent < down {
            let first = self.sent;
            let sent = socket.send(|buffer| {
                let length = buffer.len().min((down - first) as usize);
                let body = wire::stream(asked.tenants, stream(asked.flow, 1), first);
                buffer[..length].iter_mut().zip(body).for_each(|(to, byte)| *to = byte);
                (length, length)
            });
            self.sent += sent.unwrap_or(0) as u32;
            has_changed = true;
        }
        let is_all = self.received == up && self.sent == down;
        let is_over = !socket.may_recv() || asked.end == End::ServerFirst;
        if is_all && is_over && socket.may_send() {
            socket.close();
            has_changed = true;
        }
        has_changed
    }

    fn take(&mut self, bytes: &[u8], now_ms: u64) -> Result<(), String> {
        let mut bytes = bytes;
        if self.asked.is_none() {
            let missing = REQUEST_BYTES as usize - self.request.len();
            let (head, rest) = bytes.split_at(bytes.len().min(missing));
            self.request.extend_from_slice(head);
            if self.request.len() < REQUEST_BYTES as usize {
                return Ok(());
            }
            let asked = asked(&self.request).ok_or_else(|| format!("a request of {:?}", self.request))?;
            self.deadline_ms = Some(now_ms + asked.pause_ms + PATIENCE_MS);
            self.asked = Some(asked);
            bytes = rest;
        }
        let Some(asked) = &self.asked else { return Ok(()) };
        if let Some(at) = wrong(bytes, asked, stream(asked.flow, 0), self.received) {
            return Err(format!("byte {at} up of {asked:?}"));
        }
        self.received += bytes.len() as u32;
        if self.received > asked.bytes[0] {
            return Err(format!("{} bytes up of {asked:?}", self.received));
        }
        Ok(())
    }
}

/// A flow's stream up, 0, or down, 1.
fn stream(flow: u32, direction: u64) -> u64 {
    u64::from(flow) << 1 | direction
}

/// The first byte of these that is not the stream's at this offset.
fn wrong(bytes: &[u8], transfer: &Transfer, stream: u64, first: u32) -> Option<u32> {
    let right = wire::stream(transfer.tenants, stream, first);
    bytes.iter().zip(right).position(|(byte, right)| *byte != right).map(|at| first + at as u32)
}

fn request(transfer: &Transfer) -> [u8; REQUEST_BYTES as usize] {
    let Transfer { flow, tenants, bytes: [up, down], pause_ms, end, .. } = *transfer;
    let pause = pause_ms.div_ceil(PAUSE_UNIT_MS);
    let words = [u64::from(flow) & 0x1ff_ffff, u64::from(up), u64::from(down), pause, end as u64];
    let check = words.iter().fold(u64::from(tenants), |sum, word| mix(sum ^ word)) & CHECK_BITS;
    let bits = words[0] | words[1] << 25 | words[2] << 40;
    let rest = words[3] | words[4] << 5 | check << 10;
    std::array::from_fn(|at| {
        let symbol = if at < 11 { bits >> (at * 5) } else { rest >> ((at - 11) * 5) };
        tenants << 5 | (symbol & 31) as u8
    })
}

fn asked(request: &[u8]) -> Option<Transfer> {
    let tenants = request[0] >> 5;
    let word = |first: usize, symbols: usize| {
        let symbols = request[first..first + symbols].iter().enumerate();
        symbols.fold(0u64, |word, (at, byte)| word | u64::from(byte & 31) << (at * 5))
    };
    let transfer = Transfer {
        flow: word(0, 5) as u32,
        tenants,
        to: (std::net::Ipv4Addr::UNSPECIFIED, 0),
        began_ms: 0,
        bytes: [word(5, 3) as u32, word(8, 3) as u32],
        pause_ms: word(11, 1) * PAUSE_UNIT_MS,
        end: *End::ALL.get(word(12, 1) as usize)?,
        outlives_its_session: false,
    };
    (self::request(&transfer) == request).then_some(transfer)
}
