//! A host: smoltcp's stack on a link of plain memory, with clients and servers above it.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint};

use super::plan::{self, ECHO, OUTSIDE_CLIENT, SERVERS, TENANTS, WEB};
use super::transfer::{Client, Ended, Server, Transfer};
use super::wire::{Endpoint, Link, TCP};
use crate::random::Random;

/// The local ports of clients; each is used again after all others.
const PORTS: u16 = 1_024;
const FIRST_PORT: u16 = 20_000;

/// How much a socket holds of what it received, and of what it sends: more of the first, so that it never says that its
/// window is closed. A stack that hears so late, while its own last segment is lost, forgets to send that again (smoltcp
/// 0.14).
const BUFFER_BYTES: [usize; 2] = [8_192, 2_048];

/// Within this a SYN is an earlier one once more.
const ASKED_AGAIN_MS: u64 = 120_000;

/// See the file's page.
pub(crate) struct Host {
    /// Whose it is; none: it is outside.
    pub(crate) tenant: Option<usize>,
    pub(crate) address: Ipv4Addr,
    /// Its frames' link header; outside, who they go to depends on the destination.
    pub(crate) link: Link,
    interface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    clients: Vec<(SocketHandle, Client)>,
    servers: Vec<(SocketHandle, Server)>,
    echo: Option<SocketHandle>,
    next_port: u16,
    /// Whom each local port spoke with, the last two times.
    asked: Vec<[Option<Endpoint>; 2]>,
    /// When it has something to do.
    pub(crate) due_ms: u64,
}

/// What a host is made of.
pub(crate) struct Kind {
    pub(crate) tenant: Option<usize>,
    pub(crate) address: Ipv4Addr,
    pub(crate) link: Link,
    pub(crate) mtu: usize,
    pub(crate) clients: usize,
    /// Listening sockets, and on which port.
    pub(crate) servers: (usize, u16),
    /// The port on which it sends datagrams back.
    pub(crate) echo: Option<u16>,
}

/// The link: frames that came, and that go.
struct Wire {
    arrived: VecDeque<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    /// Frames that were read, soon spare.
    read: Vec<Vec<u8>>,
    head: usize,
    mtu: usize,
}

impl Device for Wire {
    type RxToken<'a> = Received<'a>;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received<'_>, Sending<'_>)> {
        let Self { arrived, sent, spare, read, head, .. } = self;
        let frame = arrived.pop_front()?;
        Some((Received { frame, head: *head, read }, Sending { sent, spare, head: *head }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        let Self { sent, spare, head, .. } = self;
        Some(Sending { sent, spare, head: *head })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}

struct Received<'a> {
    frame: Vec<u8>,
    head: usize,
    read: &'a mut Vec<Vec<u8>>,
}

impl RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame[self.head..]);
        self.read.push(self.frame);
        result
    }
}

struct Sending<'a> {
    sent: &'a mut Vec<Vec<u8>>,
    spare: &'a mut Vec<Vec<u8>>,
    head: usize,
}

impl TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.clear();
        frame.resize(self.head + length, 0);
        let result = write(&mut frame[self.head..]);
        self.sent.push(frame);
        result
    }
}

impl Host {
    pub(crate) fn new(kind: Kind, seed: u64) -> Self {
        let Kind { tenant, address, link, mtu, clients, servers, echo } = kind;
        let (arrived, sent, spare, read) = Default::default();
        let mut wire = Wire { arrived, sent, spare, read, head: link.bytes(), mtu };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(IpAddress::Ipv4(address), 24)).unwrap());
        let [a, b, c, _] = address.octets();
        interface.routes_mut().add_default_ipv4_route(Ipv4Addr::new(a, b, c, 254)).unwrap();
        let mut sockets = SocketSet::new(Vec::new());
        let mut socket = || {
            let [received, sent] = BUFFER_BYTES.map(|bytes| tcp::SocketBuffer::new(vec![0; bytes]));
            sockets.add(tcp::Socket::new(received, sent))
        };
        let clients = (0..clients).map(|_| (socket(), Client::default())).collect();
        let servers = (0..servers.0).map(|_| (socket(), Server::new(servers.1))).collect();
        let echo = echo.map(|port| {
            // All that may come at once.
            let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 256], vec![0; 32_768]);
            let mut socket = udp::Socket::new(buffer(), buffer());
            socket.bind(port).unwrap();
            sockets.add(socket)
        });
        let asked = vec![[None; 2]; PORTS.into()];
        let (next_port, due_ms) = (0, 0);
        Self {
            tenant,
            address,
            link,
            interface,
            wire,
            sockets,
            clients,
            servers,
            echo,
            next_port,
            asked,
            due_ms,
        }
    }

    /// A frame comes.
    pub(crate) fn receive(&mut self, frame: Vec<u8>, now_ms: u64) {
        if self.is_asked_again(&frame, now_ms) {
            return;
        }
        self.wire.arrived.push_back(frame);
        self.due_ms = 0;
    }

    /// Whether it is a SYN that came before: several listening sockets of smoltcp would each answer it. One that comes long
    /// after is another connection's, and ends the old one, whose client has been forgotten on the way.
    fn is_asked_again(&mut self, frame: &[u8], now_ms: u64) -> bool {
        let packet = &frame[self.link.bytes()..];
        if packet[9] != TCP || packet[33] & 0x12 != 2 {
            return false;
        }
        let endpoint = |address: usize, port: usize| {
            let address = Ipv4Addr::from(<[u8; 4]>::try_from(&packet[address..address + 4]).unwrap());
            Some(IpEndpoint::from((address, u16::from_be_bytes([packet[port], packet[port + 1]]))))
        };
        // Of both: one external endpoint speaks with several of this host's.
        let asked = (endpoint(12, 20), endpoint(16, 22));
        let Self { servers, sockets, .. } = self;
        let is_one = |(handle, _): &&(SocketHandle, Server)| {
            let socket = sockets.get::<tcp::Socket>(*handle);
            // One that is closing too: its SYN may have been repeated, and be late.
            let is_open = !matches!(socket.state(), tcp::State::Closed | tcp::State::Listen);
            is_open && (socket.remote_endpoint(), socket.local_endpoint()) == asked
        };
        let Some((handle, server)) = servers.iter().find(is_one) else { return false };
        if server.was_asked_before(now_ms.saturating_sub(ASKED_AGAIN_MS)) {
            self.sockets.get_mut::<tcp::Socket>(*handle).abort();
            self.due_ms = 0;
        }
        true
    }

    /// How many more transfers it can begin.
    pub(crate) fn idle_clients(&self) -> usize {
        self.clients.iter().filter(|(handle, client)| client.is_idle(self.sockets.get(*handle))).count()
    }

    /// Whether a frame that it sends refuses a connection, since none of its servers listens: a reset that answers a SYN.
    pub(crate) fn refuses(&self, frame: &[u8]) -> bool {
        let packet = &frame[self.link.bytes()..];
        packet[9] == TCP && packet[33] == 0x14 && packet[24..28] == [0; 4]
    }

    /// Whether a client has spoken lately from this port with this remote.
    pub(crate) fn has_asked(&self, port: u16, remote: Endpoint) -> bool {
        let asked = self.asked.get(usize::from(port.wrapping_sub(FIRST_PORT)));
        asked.is_some_and(|asked| asked.contains(&Some(remote)))
    }

    /// A client begins a transfer.
    pub(crate) fn begin(&mut self, transfer: Transfer) {
        let Some((handle, client)) =
            self.clients.iter_mut().find(|(handle, client)| client.is_idle(self.sockets.get(*handle)))
        else {
            return;
        };
        let slot = usize::from(self.next_port % PORTS);
        self.next_port += 1;
        self.asked[slot] = [Some(transfer.to), self.asked[slot][0]];
        let socket = self.sockets.get_mut::<tcp::Socket>(*handle);
        let local = (self.address, FIRST_PORT + slot as u16);
        socket.connect(self.interface.context(), transfer.to, local).unwrap();
        client.begin(transfer);
        self.due_ms = 0;
    }

    /// The clients of these servers are gone: nothing that they forgot to say keeps one.
    pub(crate) fn end_servers(&mut self, is_one: impl Fn(&Server) -> bool) {
        for (handle, server) in &self.servers {
            if is_one(server) {
                self.sockets.get_mut::<tcp::Socket>(*handle).abort();
                self.due_ms = 0;
            }
        }
    }

    /// Does what is to be done now. Frames to send are in `sent`, and what became of transfers in `ended`.
    pub(crate) fn poll(&mut self, now_ms: u64, sent: &mut Vec<Vec<u8>>, ended: &mut Vec<Ended>) {
        let now = Instant::from_millis(now_ms as i64);
        loop {
            self.interface.poll(now, &mut self.wire, &mut self.sockets);
            if !self.work(now_ms, ended) {
                break;
            }
        }
        let at = self.interface.poll_at(now, &self.sockets);
        self.due_ms = at.map_or(u64::MAX, |at| (at.total_millis() as u64).max(now_ms + 1));
        let patience = self.clients.iter().filter_map(|(_, client)| client.due_ms());
        let patience = patience.chain(self.servers.iter().filter_map(|(_, server)| server.due_ms()));
        self.due_ms = patience.fold(self.due_ms, |due, one| due.min(one.max(now_ms + 1)));
        sent.append(&mut self.wire.sent);
        self.wire.spare.append(&mut self.wire.read);
    }

    /// Clients and servers do their work; whether any of them has changed something.
    fn work(&mut self, now_ms: u64, ended: &mut Vec<Ended>) -> bool {
        let Self { sockets, clients, servers, echo, .. } = self;
        let mut has_changed = false;
        for (handle, client) in clients {
            has_changed |= client.work(sockets.get_mut(*handle), now_ms, ended);
        }
        for (handle, server) in servers {
            has_changed |= server.work(sockets.get_mut(*handle), now_ms, ended);
        }
        let Some(echo) = echo else { return has_changed };
        let socket = sockets.get_mut::<udp::Socket>(*echo);
        let mut datagram = [0; 2_048];
        while socket.can_send()
            && let Ok((length, from)) = socket.recv_slice(&mut datagram)
        {
            has_changed |= socket.send_slice(&datagram[..length], from).is_ok();
        }
        has_changed
    }
}

/// Everybody.
pub(crate) fn everybody(random: &mut Random) -> Vec<Host> {
    let mut hosts = Vec::new();
    for tenant in 0..TENANTS {
        for last in [11, 12, 50, 60] {
            let (address, vlan) = (plan::host(last), plan::vlan(tenant));
            let link = Link { to: plan::router_mac(tenant, false), from: plan::mac_of(vlan, address), vlan };
            let is_server = last >= 50;
            hosts.push(Kind {
                tenant: Some(tenant),
                address,
                link,
                mtu: random.one_of(&[576, 1_000, 1_500]),
                clients: if is_server { 0 } else { 4 },
                servers: (if is_server { 8 } else { 0 }, WEB),
                echo: is_server.then_some(ECHO),
            });
        }
    }
    let link = Link { to: [0; 6], from: plan::mac_of(0, plan::ISP), vlan: 0 };
    let outside = |address, clients, servers, echo| Kind {
        tenant: None,
        address,
        link,
        mtu: 1_500,
        clients,
        servers: (servers, WEB),
        echo,
    };
    SERVERS.iter().for_each(|server| hosts.push(outside(*server, 0, 10, Some(ECHO))));
    hosts.push(outside(OUTSIDE_CLIENT, 4, 0, None));
    hosts.into_iter().map(|kind| Host::new(kind, random.below(1 << 30) as u64)).collect()
}
