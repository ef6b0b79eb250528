//! Rules for tests: any number of tenants with the same subnet, each on a VLAN of its own.

use std::net::Ipv4Addr;

use rules::model::{
    AddressRange, FloatingIp, Gateway, Interface, Mac, Pool, Router, Rules, Segment, TcpRules, Timeouts,
};

/// The only port.
pub(crate) const PORT: &str = "p0";

/// Valid rules with so many routers, `r0` and up, of one pool and one external network. No object has a revision.
pub(crate) fn rules(routers: u16) -> Rules {
    let external = Segment { id: "internet".into(), revision: 0, port: PORT.into(), vlan: None, mtu: 1500 };
    let inside = (0..routers).map(|at| Segment {
        id: format!("net{at}"),
        revision: 0,
        port: PORT.into(),
        vlan: Some(at + 1),
        mtu: 1500,
    });
    let first = Ipv4Addr::new(203, 0, 113, 10);
    Rules {
        segments: std::iter::once(external).chain(inside).collect(),
        pools: vec![Pool::new("pool", vec![AddressRange { first, last: first }])],
        routers: (0..routers).map(router).collect(),
    }
}

/// As [`rules`], with another name for the first router.
pub(crate) fn renamed(routers: u16, name: &str) -> Rules {
    let mut rules = rules(routers);
    rules.routers[0].name = name.into();
    rules
}

fn router(at: u16) -> Router {
    let [high, low] = at.to_be_bytes();
    let interface = |id: &str, segment: String, mac: u8, address: String, external| Interface {
        id: id.into(),
        segment,
        mac: Mac([2, mac, 0, 0, high, low]),
        addresses: vec![address.parse().unwrap()],
        external,
        snat: true,
        icmp_errors: true,
    };
    Router {
        id: format!("r{at}"),
        revision: 0,
        project: format!("tenant{at}"),
        name: String::new(),
        admin_up: true,
        interfaces: vec![
            interface("in", format!("net{at}"), 1, "10.0.0.1/24".into(), false),
            interface("out", "internet".into(), 2, format!("198.18.{high}.{}/15", low + 1), true),
        ],
        gateways: vec![Gateway {
            interface: "out".into(),
            next_hop: Some(Ipv4Addr::new(198, 19, 255, 254)),
            snat: true,
            pool: Some("pool".into()),
        }],
        routes: Vec::new(),
        floating_ips: vec![FloatingIp {
            id: "web".into(),
            external: Ipv4Addr::new(198, 19, high, low + 1),
            internal: Ipv4Addr::new(10, 0, 0, 5),
            gateway: None,
        }],
        port_forwardings: Vec::new(),
        no_nat: Vec::new(),
        timeouts: Timeouts::default(),
        tcp: TcpRules::default(),
        udp_inbound_refresh: true,
    }
}
