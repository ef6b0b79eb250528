//! How answers look, to the letter.

use control::SessionList;
use control::rows::*;

use super::super::{drops, pools, routers, sessions, status};

/// Compares with what an operator should see; `|` marks where a line begins.
fn assert_shows(text: &str, expected: &str) {
    let expected: String = expected
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('|'))
        .fold(String::new(), |all, line| all + line + "\n");
    assert_eq!(text, expected, "\n{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "wider than 100 columns:\n{text}");
    assert!(text.lines().all(|line| !line.ends_with(' ')), "a line ends in a space:\n{text}");
}

fn books(in_rings: u64) -> BooksRow {
    let way_in = BooksRow { rx: 1000, originated: 10, ..BooksRow::default() };
    BooksRow { tx: 990, consumed: 5, dropped: 7, held: 5, in_rings, ..way_in }.drawn()
}

fn node() -> Status {
    Status {
        node: "gateway-1".into(),
        version: "0.1.0".into(),
        revision: "9e50522".into(),
        uptime_s: 93_784,
        generation: 7,
        feed: FeedRow {
            connected: true,
            source: "192.0.2.10:7600".into(),
            version: 12,
            staleness_ms: 0,
            rejects: vec![],
        },
        region: RegionRow {
            path: "/dev/shm/natgate-gateway-1".into(),
            kib: 1_500_000,
            pages: "pages of 2 MiB".into(),
            taken_over: true,
            message: "123400 sessions were taken over".into(),
            ..RegionRow::default()
        },
        sessions: 123_456,
        sessions_created: 0,
        sessions_closed: 0,
        workers: vec![
            WorkerRow {
                worker: 0,
                core: 2,
                numa_node: Some(1),
                state: WorkerState::Running,
                generation: 7,
                shards: 8,
                heartbeat_age_ms: 0,
                busy_ratio: 0.83,
                rx_frames: 81_234_567_890,
                tx_frames: 81_234_567_001,
                handed_out: 12_345,
                handed_in: 0,
                express: 80_422_222_211,
                translated_for_others: 40_617_271_600,
                sessions_created: 0,
                sessions_closed: 0,
                stages: None,
                stages_recent: None,
            },
            WorkerRow {
                worker: 1,
                core: 3,
                state: WorkerState::Stuck,
                generation: 7,
                shards: 8,
                heartbeat_age_ms: 12_001,
                handed_in: 12_345,
                ..WorkerRow::default()
            },
        ],
        ports: vec![PortRow {
            name: "inside".into(),
            device: "0000:3b:00.0".into(),
            driver: "net_ice".into(),
            mac: "b4:96:91:00:00:01".into(),
            numa_node: Some(0),
            steering: "RSS on the remote endpoint (never run on hardware)".into(),
            receivers: vec![0, 1],
            link_up: true,
            rx_frames: 81_234_567_890,
            rx_bytes: 61_234_567_890_123,
            tx_frames: 81_234_567_001,
            tx_bytes: 61_234_567_890_001,
            rx_missed: 12,
            rx_errors: 0,
            tx_errors: 0,
            rx_no_buffer: 0,
        }],
        books: books(3),
        tables: vec![TableRow { table: "sessions".into(), entries: 123_456, capacity: 4_194_304 }],
        hugepages: Some(HugepagesRow { page_kib: 2048, total: 1024, free: 412 }),
        warnings: vec![],
    }
}

#[test]
fn status_shows_a_node_in_order() {
    assert_shows(
        &status::show(&node()),
        r#"
        |natgate 0.1.0 (9e50522) on gateway-1, up 1 d 2 h
        |Rules      generation 7, version 12
        |Region     /dev/shm/natgate-gateway-1
        |           1465 MiB in pages of 2 MiB
        |           123400 sessions were taken over
        |Feed       connected to 192.0.2.10:7600
        |Books      1000 received + 10 originated
        |         = 990 transmitted + 5 consumed + 7 dropped + 5 held + 3 between workers
        |Hugepages  412 of 1024 free, 2048 KiB each
        |
        |WORKER  CORE  NODE  STATE    GENERATION  HEARTBEAT  BUSY           RX           TX  EXPRESS
        |                                            ms ago     %       frames       frames  % of rx
        |     0     2     1  running           7          0    83  81234567890  81234567001     99.0
        |     1     3     -  stuck             7      12001     0            0            0        -
        |
        |WORKER  SHARDS   FOR OTHERS  HANDED ON  TAKEN OVER  WRONG WORKER
        |                    packets     frames      frames       % of rx
        |     0       8  40617271600      12345           0          50.0
        |     1       8            0          0       12345             -
        |
        |PORT    LINK  QUEUES  MAC                DRIVER   DEVICE
        |inside  up         2  b4:96:91:00:00:01  net_ice  0000:3b:00.0
        |
        |PORT    NODE  STEERING
        |inside     0  RSS on the remote endpoint (never run on hardware)
        |
        |PORT             RX              RX      RX      RX   RX NO           TX              TX      TX
        |             frames           bytes  missed  errors  BUFFER       frames           bytes  errors
        |inside  81234567890  61234567890123      12       0       0  81234567001  61234567890001       0
        |
        |TABLE     ENTRIES  CAPACITY  FULL
        |                                %
        |sessions   123456   4194304   2.9
        "#,
    );
}

#[test]
fn status_of_workers_shows_where_a_packets_clocks_go() {
    let mut node = node();
    let off = "\nStage clocks are off: `stage_clocks: true` in the node's configuration has them read.\n";
    assert!(status::show_workers(&node).ends_with(off), "{}", status::show_workers(&node));
    let recent = StagesRow {
        packets: 1_000,
        receive: 30_400,
        process: 150_000,
        handed: 0,
        tick: 600,
        transmit: 40_000,
    };
    node.workers[0].stages_recent = Some(recent);
    node.workers[1].stages_recent = Some(StagesRow::default());
    let text = status::show_workers(&node);
    let stages = &text[text.rfind("\n\n").unwrap() + 2..];
    assert_shows(
        stages,
        r#"
        |WORKER      PACKETS  RECEIVE  PROCESS  HANDED    TICK  TRANSMIT       ALL
        |        last second   clocks   clocks  clocks  clocks    clocks  a packet
        |     0         1000       30      150       0       1        40       221
        |     1            0        -        -       -       -         -         -
        "#,
    );
    assert!(text.starts_with("WORKER  CORE") && text.contains("WRONG WORKER"), "{text}");
}

#[test]
fn status_shows_what_is_wrong() {
    let mut ill = node();
    ill.generation = 0;
    ill.feed.connected = false;
    ill.feed.staleness_ms = 125_900;
    ill.feed.rejects = vec![RejectRow {
        object: "router router-a".into(),
        revision: 4,
        code: "BAD_ADDRESS".into(),
        path: "gateway.next_hop".into(),
        message: "192.0.2.99 is on none of its subnets".into(),
    }];
    ill.region = RegionRow::default();
    ill.books = books(2);
    ill.workers.clear();
    ill.ports.clear();
    ill.tables.clear();
    ill.hugepages = None;
    ill.warnings = vec!["the machine has no huge pages: packets cost more".into()];
    assert_shows(
        &status::show(&ill),
        r#"
        |natgate 0.1.0 (9e50522) on gateway-1, up 1 d 2 h
        |Rules      none in force yet
        |Feed       not connected to 192.0.2.10:7600, last heard 2 min 5 s ago; refused for 1 fault
        |  refused  router router-a revision 4, gateway.next_hop
        |           BAD_ADDRESS: 192.0.2.99 is on none of its subnets
        |Books      1000 received + 10 originated
        |         = 990 transmitted + 5 consumed + 7 dropped + 5 held + 2 between workers
        |           and 1 unaccounted for: a burst under way or, if it stays, a fault of natgate
        |Hugepages  none; packets lie in ordinary pages
        |
        |No worker runs.
        |
        |There is no port.
        |
        |WARNING: the machine has no huge pages: packets cost more
        "#,
    );
}

#[test]
fn status_says_what_it_can_of_a_feed_it_never_met_and_of_a_message_refused_whole() {
    let mut alone = node();
    let reject = RejectRow { code: "MASS_DELETE".into(), message: "3 of 4".into(), ..RejectRow::default() };
    alone.feed = FeedRow { staleness_ms: 61_000, rejects: vec![reject], ..FeedRow::default() };
    let text = status::show(&alone);
    assert!(
        text.contains("\nFeed       not connected, last heard 1 min 1 s ago; refused for 1 fault\n"),
        "{text}"
    );
    assert!(text.contains("\n  refused  all of it\n           MASS_DELETE: 3 of 4\n"), "{text}");
}

fn router() -> RouterRow {
    RouterRow {
        id: "router-a".into(),
        project: "tenant-a".into(),
        name: "blue office".into(),
        revision: 4,
        generation: 6,
        state: RouterState::Up,
        interfaces: vec![
            InterfaceRow {
                id: "inside".into(),
                segment: "tenant-a".into(),
                port: "inside".into(),
                vlan: Some(100),
                mac: "fa:16:3e:00:0a:01".into(),
                addresses: vec!["10.0.0.1/24".into(), "10.0.1.1/24".into()],
                external: false,
            },
            InterfaceRow {
                id: "outside".into(),
                segment: "internet".into(),
                port: "outside".into(),
                vlan: None,
                mac: "fa:16:3e:00:0a:02".into(),
                addresses: vec!["203.0.113.2/24".into()],
                external: true,
            },
        ],
        gateways: vec![GatewayRow {
            interface: "outside".into(),
            next_hop: Some([203, 0, 113, 1].into()),
            snat: true,
            pool: Some("shared".into()),
        }],
        floating_ips: vec![FloatingIpRow {
            id: "web-a".into(),
            external: [203, 0, 113, 50].into(),
            internal: [10, 0, 0, 6].into(),
        }],
        port_forwardings: vec![],
        sessions: 4003,
        sessions_by: vec![
            SessionCount { protocol: SessionProtocol::Tcp, state: SessionState::Established, sessions: 4000 },
            SessionCount { protocol: SessionProtocol::Tcp, state: SessionState::Closing, sessions: 0 },
            SessionCount { protocol: SessionProtocol::Udp, state: SessionState::HalfOpen, sessions: 3 },
        ],
    }
}

fn bare_router() -> RouterRow {
    RouterRow {
        id: "3f1c2a9e-8d7b-4c55-9f60-0a1b2c3d4e5f".into(),
        project: String::new(),
        name: String::new(),
        revision: 0,
        generation: 1,
        state: RouterState::Down,
        interfaces: vec![],
        gateways: vec![],
        floating_ips: vec![],
        port_forwardings: vec![],
        sessions: 0,
        sessions_by: vec![],
    }
}

#[test]
fn routers_are_a_line_each() {
    assert_shows(
        &routers::show_all(&[router(), bare_router()]),
        r#"
        |ROUTER                                STATE  SESSIONS  FLOATING  NEXT HOP     PROJECT
        |                                                            IPS
        |router-a                              up         4003         1  203.0.113.1  tenant-a
        |3f1c2a9e-8d7b-4c55-9f60-0a1b2c3d4e5f  down          0         0  -            -
        "#,
    );
}

#[test]
fn one_router_is_shown_in_full() {
    assert_shows(
        &routers::show_one(&router()),
        r#"
        |Router router-a "blue office" of project tenant-a: up, revision 4 since generation 6
        |Gateway   SNAT to pool shared; next hop 203.0.113.1 on outside
        |Sessions  4003: 4000 tcp established, 3 udp half_open
        |
        |INTERFACE  SIDE      SEGMENT   PORT     VLAN  MAC                ADDRESSES
        |inside     internal  tenant-a  inside    100  fa:16:3e:00:0a:01  10.0.0.1/24 10.0.1.1/24
        |outside    external  internet  outside     -  fa:16:3e:00:0a:02  203.0.113.2/24
        |
        |1 floating IP
        |ID     EXTERNAL      INTERNAL
        |web-a  203.0.113.50  10.0.0.6
        "#,
    );
}

#[test]
fn a_bare_router_says_what_it_lacks() {
    assert_shows(
        &routers::show_one(&bare_router()),
        r#"
        |Router 3f1c2a9e-8d7b-4c55-9f60-0a1b2c3d4e5f: down, revision 0 since generation 1
        |Gateway   none
        |Sessions  0
        |
        |It has no interface.
        |
        |It has no floating IP.
        "#,
    );
}

#[test]
fn each_way_out_is_said_in_words() {
    let mut row = router();
    for (snat, pool, text) in [
        (true, None, "SNAT to the interface's own addresses; next hop"),
        (true, Some("p".to_owned()), "SNAT to pool p; next hop"),
        (false, Some("p".to_owned()), "no SNAT; next hop"),
    ] {
        row.gateways = row
            .gateways
            .into_iter()
            .map(|gateway| GatewayRow { snat, pool: pool.clone(), ..gateway })
            .collect();
        let shown = routers::show_one(&row);
        assert!(shown.contains(text), "{shown}");
        assert!(shown.contains("; next hop 203.0.113.1 on outside"), "{shown}");
    }
}

#[test]
fn an_address_that_is_translated_to_is_a_line_with_its_ports() {
    let row = |pool: &str, last, ports_used| PoolRow {
        pool: pool.into(),
        segment: "internet".into(),
        address: [203, 0, 113, last].into(),
        ports_used,
        ports: 193_536,
    };
    assert_shows(
        &pools::show(&[row("shared", 10, 96_768), row("shared", 11, 7), row("router-b/outside", 3, 0)]),
        r#"
        |POOL              SEGMENT   ADDRESS       PORTS   PORTS  FULL
        |                                           used      of     %
        |shared            internet  203.0.113.10  96768  193536  50.0
        |shared            internet  203.0.113.11      7  193536   0.0
        |router-b/outside  internet  203.0.113.3       0  193536   0.0
        "#,
    );
}

fn session(router: &str, protocol: SessionProtocol, host: u8) -> SessionRow {
    SessionRow {
        router: router.into(),
        protocol,
        state: SessionState::Established,
        source: [10, 0, 0, host].into(),
        source_port: 43_210,
        external: [203, 0, 113, 10].into(),
        external_port: 50_123,
        destination: [198, 51, 100, 7].into(),
        destination_port: 443,
        packets_out: 12,
        packets_in: 10,
        bytes_out: 81_234,
        bytes_in: 71_234_567,
        age_s: 100,
        idle_s: 3,
        expires_in_s: 7200,
        worker: 0,
    }
}

#[test]
fn sessions_stand_in_order_under_their_router() {
    let rows = vec![
        session("router-b", SessionProtocol::Tcp, 12),
        session("router-a", SessionProtocol::Icmp, 12),
        SessionRow {
            state: SessionState::HalfOpen,
            bytes_in: 0,
            ..session("router-a", SessionProtocol::Udp, 5)
        },
    ];
    assert_shows(
        &sessions::show(&SessionList { rows, more: true }),
        r#"
        |Router router-a: 2 sessions
        |PROTO  STATE        SOURCE           EXTERNAL            DESTINATION         OUT        IN  IDLE
        |                                                                           bytes     bytes     s
        |udp    half_open    10.0.0.5:43210   203.0.113.10:50123  198.51.100.7:443  81234         0     3
        |icmp   established  10.0.0.12:43210  203.0.113.10:50123  198.51.100.7      81234  71234567     3
        |
        |Router router-b: 1 session
        |PROTO  STATE        SOURCE           EXTERNAL            DESTINATION         OUT        IN  IDLE
        |                                                                           bytes     bytes     s
        |tcp    established  10.0.0.12:43210  203.0.113.10:50123  198.51.100.7:443  81234  71234567     3
        |
        |There are more; --limit shows them.
        "#,
    );
}

#[test]
fn drops_are_sorted_by_count_and_explained() {
    let row = |reason: &str, count, help: &str| DropRow { reason: reason.into(), help: help.into(), count };
    let rows = [
        row("malformed", 0, "A header that cannot be."),
        row("no_route", 3, "No route to the destination."),
        row(
            "partial_checksum",
            1_234_567,
            "The transport checksum of a flow's first packet is only the pseudo-header's sum: a neighbour on a \
             virtual link left it to a transmit offload. Switch that off: `ethtool -K DEVICE tx off` on the sending \
             host.",
        ),
    ];
    assert_shows(
        &drops::show(&rows, false),
        r#"
        | FRAMES  REASON            MEANING
        |1234567  partial_checksum  The transport checksum of a flow's first packet is only the
        |                           pseudo-header's sum: a neighbour on a virtual link left it to a transmit
        |                           offload. Switch that off: `ethtool -K DEVICE tx off` on the sending host.
        |      3  no_route          No route to the destination.
        "#,
    );
    let all = drops::show(&rows, true);
    assert!(all.lines().last().is_some_and(|line| line.trim_start().starts_with("0  malformed")), "{all}");
}

#[test]
fn what_is_empty_says_so_in_a_sentence() {
    assert_eq!(drops::show(&[], true), "No frame was dropped.\n");
    assert_eq!(routers::show_all(&[]), "There is no router.\n");
    assert_eq!(pools::show(&[]), "No address is translated to.\n");
    assert_eq!(sessions::show(&SessionList::default()), "No session matches.\n");
    assert_eq!(
        sessions::show(&SessionList { rows: vec![], more: true }),
        "There are more; --limit shows them.\n"
    );
}
