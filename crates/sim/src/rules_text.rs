//! The rules that say the same as a world.

use std::fmt::Write;
use std::net::Ipv4Addr;

use crate::oracle::{Class, Pairing, Pool, Ports, Router, Segment, Timeouts, World};
use crate::scene;

/// A rules file.
pub(crate) fn rules(world: &World) -> String {
    let mut text = String::from("segments:\n");
    for Segment { id, port, vlan, mtu } in &world.segments {
        let vlan = if *vlan == 0 { String::new() } else { format!(", vlan: {vlan}") };
        let port = ["inside", "outside"][usize::from(*port)];
        writeln!(text, "- {{id: {id}, port: {port}{vlan}, mtu: {mtu}}}").unwrap();
    }
    text.push_str("pools:\n");
    let fed = world.pools.iter().filter(|pool| !pool.id.is_empty());
    fed.for_each(|pool| write_pool(&mut text, pool));
    text.push_str("routers:\n");
    world.routers.iter().for_each(|router| write_router(&mut text, world, router));
    text
}

fn write_pool(text: &mut String, pool: &Pool) {
    let addresses: Vec<String> = pool.addresses.iter().map(Ipv4Addr::to_string).collect();
    let excluded: Vec<String> = pool.excluded.iter().map(|run| ports(*run)).collect();
    writeln!(text, "- id: {}\n  addresses: [{}]", pool.id, addresses.join(", ")).unwrap();
    writeln!(text, "  ports: {}\n  exclude_ports: [{}]", ports(pool.ports), excluded.join(", ")).unwrap();
    for (name, (mapping, filtering)) in ["tcp", "udp", "icmp"].into_iter().zip(pool.behaviours) {
        writeln!(text, "  {name}: {{mapping: {}, filtering: {}}}", class(mapping), class(filtering)).unwrap();
    }
    let exceptions = pool.by_port.iter().map(|(protocol, run, mapping)| {
        let (protocol, run) = (protocol_name(*protocol), ports(*run));
        format!("{{protocol: {protocol}, ports: {run}, mapping: {}}}", class(*mapping))
    });
    write_list(text, "  mapping_by_port", exceptions);
    let pairing = match pool.pairing {
        Pairing::Strict => "strict",
        Pairing::Soft => "soft",
        Pairing::None => "none",
    };
    writeln!(text, "  pairing: {pairing}\n  hold_down_s: {}", pool.hold_down_ms / 1_000).unwrap();
    writeln!(text, "  preserve_port: {}", pool.preserve_port).unwrap();
    writeln!(text, "  preserve_parity: {}", pool.preserve_parity).unwrap();
    if let Some((ports, most)) = pool.blocks {
        writeln!(text, "  blocks: {{ports: {ports}, per_host_max: {most}}}").unwrap();
    }
    if let Some(most) = pool.rests_max {
        writeln!(text, "  hold_down_ports_max: {most}").unwrap();
    }
}

fn write_router(text: &mut String, world: &World, router: &Router) {
    writeln!(text, "- id: {}\n  admin_up: {}\n  interfaces:", router.id, router.up).unwrap();
    for leg in &router.interfaces {
        let mac = leg.mac.map(|byte| format!("{byte:02x}")).join(":");
        let (address, length) = leg.address;
        let kind = if leg.external { "external: true".to_owned() } else { format!("snat: {}", leg.snat) };
        let (id, segment) = (leg.id, world.segments[leg.segment].id);
        write!(text, "  - {{id: {id}, segment: {segment}, mac: \"{mac}\", addresses: [{address}/{length}], ")
            .unwrap();
        writeln!(text, "{kind}, icmp_errors: {}}}", leg.errors).unwrap();
    }
    let by = |gateway: usize| router.interfaces[router.gateways[gateway].interface].id;
    text.push_str("  gateways:\n");
    for (at, gateway) in router.gateways.iter().enumerate() {
        let next_hop = gateway.next_hop.map_or(String::new(), |next_hop| format!(", next_hop: {next_hop}"));
        let pool = Some(world.pools[gateway.pool].id).filter(|id| gateway.snat && !id.is_empty());
        let pool = pool.map_or(String::new(), |id| format!(", pool: {id}"));
        writeln!(text, "  - {{interface: {}{next_hop}, snat: {}{pool}}}", by(at), gateway.snat).unwrap();
    }
    let routes = router.routes.iter();
    let routes = routes
        .map(|((prefix, length), next_hop)| format!("{{prefix: {prefix}/{length}, next_hop: {next_hop}}}"));
    write_list(text, "  routes", routes);
    let floating = router.floating.iter().enumerate().map(|(at, (gateway, external, internal))| {
        let ends = format!("external: {external}, internal: {internal}");
        format!("{{id: f{at}, {ends}, gateway: {}}}", by(*gateway))
    });
    write_list(text, "  floating_ips", floating);
    let forwardings = router.forwardings.iter().enumerate().map(|(at, one)| {
        let (gateway, protocol) = (by(one.gateway), protocol_name(one.protocol));
        let ((external, outer), (internal, inner)) = (one.external, one.internal);
        let (outer, inner) = (ports(outer), ports(inner));
        let ends = format!(
            "external: {external}, external_ports: {outer}, internal: {internal}, internal_ports: {inner}"
        );
        format!("{{id: p{at}, protocol: {protocol}, gateway: {gateway}, {ends}}}")
    });
    write_list(text, "  port_forwardings", forwardings);
    let no_nat: Vec<String> =
        router.no_nat.iter().map(|(prefix, length)| format!("{prefix}/{length}")).collect();
    writeln!(text, "  no_nat: [{}]", no_nat.join(", ")).unwrap();
    writeln!(text, "  udp_inbound_refresh: {}", router.inbound_refresh).unwrap();
    writeln!(text, "  tcp: {{loose: {}, clamp_mss: {}}}", router.loose, router.clamp_mss).unwrap();
    write_timeouts(text, router);
}

fn write_timeouts(text: &mut String, router: &Router) {
    let Timeouts {
        tcp_syn,
        tcp_established,
        tcp_fin,
        tcp_time_wait,
        tcp_rst,
        udp_initial,
        udp_stream,
        icmp,
        other,
    } = router.timeouts;
    let seconds = [
        ("tcp_syn_s", tcp_syn),
        ("tcp_established_s", tcp_established),
        ("tcp_fin_s", tcp_fin),
        ("tcp_time_wait_s", tcp_time_wait),
        ("tcp_rst_s", tcp_rst),
        ("udp_initial_s", udp_initial),
        ("udp_stream_s", udp_stream),
        ("icmp_s", icmp),
        ("other_s", other),
    ];
    text.push_str("  timeouts:\n");
    // The first router's are its profile's; the others say each, against another profile.
    let is_said = router.id != "red";
    let is_rfc = (router.timeouts == scene::RFC) != is_said;
    writeln!(text, "    profile: {}", if is_rfc { "rfc" } else { "cloud" }).unwrap();
    for (name, ms) in seconds.iter().filter(|_| is_said) {
        writeln!(text, "    {name}: {}", ms / 1_000).unwrap();
    }
    let by_port = router.by_port.iter().map(|(protocol, run, initial, established)| {
        let (protocol, run) = (protocol_name(*protocol), ports(*run));
        let [initial, established] = [initial, established].map(|ms| ms / 1_000);
        let seconds = format!("initial_s: {initial}, established_s: {established}");
        format!("{{protocol: {protocol}, ports: {run}, {seconds}}}")
    });
    write_list(text, "    by_port", by_port);
}

fn write_list(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    writeln!(text, "{name}: [{}]", items.collect::<Vec<_>>().join(", ")).unwrap();
}

fn ports((first, last): Ports) -> String {
    format!("{first}-{last}")
}

fn protocol_name(protocol: u8) -> &'static str {
    if protocol == 6 { "tcp" } else { "udp" }
}

fn class(class: Class) -> &'static str {
    match class {
        Class::Independent => "endpoint_independent",
        Class::Address => "address_dependent",
        Class::AddressAndPort => "address_and_port_dependent",
    }
}
