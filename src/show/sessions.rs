//! `natgate sessions list`.
//!
//! Sessions stand under their router: tenants' addresses overlap, so without it a row says nothing; and an id of 36
//! characters in every row would leave no room for the endpoints.

use std::fmt::Write;
use std::net::Ipv4Addr;

use control::SessionList;
use control::rows::{SessionProtocol, SessionRow};

use super::grid::{Column, count, grid};

/// All sessions by router, source and destination.
pub(super) fn show(list: &SessionList) -> String {
    if list.rows.is_empty() && !list.more {
        return "No session matches.\n".to_owned();
    }
    let mut rows: Vec<&SessionRow> = list.rows.iter().collect();
    rows.sort_by_key(|row| {
        (&row.router, row.source, row.protocol, row.source_port, row.destination, row.destination_port)
    });
    let mut text = String::new();
    for rows in rows.chunk_by(|a, b| a.router == b.router) {
        let router = rows.first().map_or("", |row| &row.router);
        // Writing into a string does not fail.
        let _ = writeln!(text, "Router {router}: {}", count(rows.len(), "session"));
        text += &one_router(rows);
        text.push('\n');
    }
    match list.more {
        true => text += "There are more; --limit shows them.\n",
        false => drop(text.pop()),
    }
    text
}

fn one_router(rows: &[&SessionRow]) -> String {
    grid(
        [
            Column::Left("PROTO"),
            Column::Left("STATE"),
            Column::Left("SOURCE"),
            Column::Left("EXTERNAL"),
            Column::Left("DESTINATION"),
            Column::Right("OUT\nbytes"),
            Column::Right("IN\nbytes"),
            Column::Right("IDLE\ns"),
        ],
        rows.iter().map(|row| {
            [
                row.protocol.to_string(),
                row.state.to_string(),
                endpoint(row.source, row.source_port),
                endpoint(row.external, row.external_port),
                match row.protocol {
                    // An ICMP query's identifier belongs to who asks; the remote host has none.
                    SessionProtocol::Icmp | SessionProtocol::Other => row.destination.to_string(),
                    SessionProtocol::Tcp | SessionProtocol::Udp => {
                        endpoint(row.destination, row.destination_port)
                    }
                },
                row.bytes_out.to_string(),
                row.bytes_in.to_string(),
                row.idle_s.to_string(),
            ]
        }),
    )
}

fn endpoint(address: Ipv4Addr, port: u16) -> String {
    format!("{address}:{port}")
}
