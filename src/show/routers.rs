//! `natgate routers` and `natgate routers ID`.

use std::fmt::Write;

use control::rows::{GatewayRow, RouterRow};

use super::grid::{Column, count, grid};

/// A line for each router.
pub(super) fn show_all(rows: &[RouterRow]) -> String {
    if rows.is_empty() {
        return "There is no router.\n".to_owned();
    }
    // Ids and projects may have 36 characters: one of them begins the line, the other ends it.
    grid(
        [
            Column::Left("ROUTER"),
            Column::Left("STATE"),
            Column::Right("SESSIONS"),
            Column::Right("FLOATING\nIPS"),
            Column::Left("NEXT HOP"),
            Column::Left("PROJECT"),
        ],
        rows.iter().map(|row| {
            [
                row.id.clone(),
                row.state.word().to_owned(),
                row.sessions.to_string(),
                row.floating_ips.len().to_string(),
                default_next_hop(row),
                or_dash(&row.project),
            ]
        }),
    )
}

/// One router in full.
pub(super) fn show_one(row: &RouterRow) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_one(&mut text, row);
    text
}

fn write_one(text: &mut String, row: &RouterRow) -> std::fmt::Result {
    write!(text, "Router {}", row.id)?;
    if !row.name.is_empty() {
        write!(text, " \"{}\"", row.name)?;
    }
    if !row.project.is_empty() {
        write!(text, " of project {}", row.project)?;
    }
    writeln!(text, ": {}, revision {} since generation {}", row.state.word(), row.revision, row.generation)?;
    if row.gateways.is_empty() {
        writeln!(text, "Gateway   none")?;
    }
    for one in &row.gateways {
        writeln!(text, "Gateway   {}", gateway(one))?;
    }
    write!(text, "Sessions  {}", row.sessions)?;
    let kinds = row.sessions_by.iter().filter(|kind| kind.sessions > 0);
    for (number, kind) in kinds.enumerate() {
        let before = if number == 0 { ": " } else { ", " };
        write!(text, "{before}{} {} {}", kind.sessions, kind.protocol, kind.state)?;
    }
    writeln!(text, "\n")?;
    text.push_str(&interfaces(row));
    writeln!(text)?;
    text.push_str(&floating_ips(row));
    if !row.port_forwardings.is_empty() {
        writeln!(text)?;
        text.push_str(&port_forwardings(row));
    }
    Ok(())
}

fn gateway(row: &GatewayRow) -> String {
    let snat = match (row.snat, &row.pool) {
        (true, Some(pool)) => format!("SNAT to pool {pool}"),
        (true, None) => "SNAT to the interface's own addresses".to_owned(),
        (false, _) => "no SNAT".to_owned(),
    };
    match row.next_hop {
        Some(next_hop) => format!("{snat}; next hop {next_hop} on {}", row.interface),
        None => format!("{snat}; no default route on {}", row.interface),
    }
}

fn default_next_hop(row: &RouterRow) -> String {
    let next_hop = row.gateways.iter().find_map(|gateway| gateway.next_hop);
    next_hop.map_or_else(|| "-".to_owned(), |next_hop| next_hop.to_string())
}

fn interfaces(row: &RouterRow) -> String {
    if row.interfaces.is_empty() {
        return "It has no interface.\n".to_owned();
    }
    grid(
        [
            Column::Left("INTERFACE"),
            Column::Left("SIDE"),
            Column::Left("SEGMENT"),
            Column::Left("PORT"),
            Column::Right("VLAN"),
            Column::Left("MAC"),
            Column::Left("ADDRESSES"),
        ],
        row.interfaces.iter().map(|leg| {
            [
                leg.id.clone(),
                if leg.external { "external" } else { "internal" }.to_owned(),
                leg.segment.clone(),
                leg.port.clone(),
                leg.vlan.map_or_else(|| "-".to_owned(), |vlan| vlan.to_string()),
                leg.mac.clone(),
                leg.addresses.join(" "),
            ]
        }),
    )
}

fn floating_ips(row: &RouterRow) -> String {
    if row.floating_ips.is_empty() {
        return "It has no floating IP.\n".to_owned();
    }
    let heading = count(row.floating_ips.len(), "floating IP");
    let table = grid(
        [Column::Left("ID"), Column::Left("EXTERNAL"), Column::Left("INTERNAL")],
        row.floating_ips
            .iter()
            .map(|address| [address.id.clone(), address.external.to_string(), address.internal.to_string()]),
    );
    format!("{heading}\n{table}")
}

fn port_forwardings(row: &RouterRow) -> String {
    let heading = count(row.port_forwardings.len(), "port forwarding");
    let table = grid(
        [Column::Left("ID"), Column::Left("PROTOCOL"), Column::Left("EXTERNAL"), Column::Left("INTERNAL")],
        row.port_forwardings.iter().map(|one| {
            [
                one.id.clone(),
                one.protocol.clone(),
                format!("{}:{}", one.external, one.external_ports),
                format!("{}:{}", one.internal, one.internal_ports),
            ]
        }),
    );
    format!("{heading}\n{table}")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
