//! `natgate status`: the node on one screen.

use std::fmt::Write;

use control::rows::{FeedRow, PortRow, RegionRow, Status, TableRow, WorkerRow};

use super::grid::{Column, count, grid, lasting, percent};

/// The whole node; what needs a hand comes last, where the eye is.
pub(super) fn show(status: &Status) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_heading(&mut text, status);
    for part in [
        workers(&status.workers),
        hand_offs(&status.workers),
        port_devices(&status.ports),
        port_places(&status.ports),
        port_counters(&status.ports),
        tables(&status.tables),
        warnings(&status.warnings),
    ] {
        if !part.is_empty() {
            text.push('\n');
            text.push_str(&part);
        }
    }
    text
}

/// The workers alone.
pub(super) fn show_workers(status: &Status) -> String {
    let parts = [workers(&status.workers), hand_offs(&status.workers), stages(&status.workers)];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
}

fn write_heading(text: &mut String, status: &Status) -> std::fmt::Result {
    let Status { node, version, revision, .. } = status;
    writeln!(text, "natgate {version} ({revision}) on {node}, up {}", lasting(status.uptime_s))?;
    match status.generation {
        0 => writeln!(text, "Rules      none in force yet")?,
        generation => writeln!(text, "Rules      generation {generation}, version {}", status.feed.version)?,
    }
    if !status.region.path.is_empty() {
        let RegionRow { path, kib, pages, message, .. } = &status.region;
        writeln!(text, "Region     {path}")?;
        if !pages.is_empty() {
            writeln!(text, "           {} MiB in {pages}", kib.div_ceil(1024))?;
        }
        writeln!(text, "           {message}")?;
    }
    writeln!(text, "Feed       {}", feed(&status.feed))?;
    for reject in &status.feed.rejects {
        let place = if reject.path.is_empty() { String::new() } else { format!(", {}", reject.path) };
        match reject.object.as_str() {
            "" => writeln!(text, "  refused  all of it{place}")?,
            object => writeln!(text, "  refused  {object} revision {}{place}", reject.revision)?,
        }
        writeln!(text, "           {}: {}", reject.code, reject.message)?;
    }
    let books = &status.books;
    writeln!(
        text,
        "Books      {} received + {} originated\n         = {} transmitted + {} consumed + {} dropped + {} held{}{}",
        books.rx,
        books.originated,
        books.tx,
        books.consumed,
        books.dropped,
        books.held,
        match books.in_rings {
            0 => String::new(),
            frames => format!(" + {frames} between workers"),
        },
        match books.balance {
            0 => String::new(),
            balance => format!(
                "\n           and {balance} unaccounted for: a burst under way or, if it stays, a fault of natgate"
            ),
        }
    )?;
    match status.hugepages {
        Some(pages) => {
            writeln!(text, "Hugepages  {} of {} free, {} KiB each", pages.free, pages.total, pages.page_kib)
        }
        None => writeln!(text, "Hugepages  none; packets lie in ordinary pages"),
    }
}

fn feed(feed: &FeedRow) -> String {
    let (source, heard) = (feed.source.as_str(), lasting(feed.staleness_ms / 1000));
    let source = match (feed.connected, source) {
        (true, source) => format!("connected to {source}"),
        (false, "") => format!("not connected, last heard {heard} ago"),
        (false, source) => format!("not connected to {source}, last heard {heard} ago"),
    };
    match feed.rejects.len() {
        0 => source,
        faults => format!("{source}; refused for {}", count(faults, "fault")),
    }
}

fn workers(rows: &[WorkerRow]) -> String {
    if rows.is_empty() {
        return "No worker runs.\n".to_owned();
    }
    grid(
        [
            Column::Right("WORKER"),
            Column::Right("CORE"),
            Column::Right("NODE"),
            Column::Left("STATE"),
            Column::Right("GENERATION"),
            Column::Right("HEARTBEAT\nms ago"),
            Column::Right("BUSY\n%"),
            Column::Right("RX\nframes"),
            Column::Right("TX\nframes"),
            Column::Right("EXPRESS\n% of rx"),
        ],
        rows.iter().map(|row| {
            [
                row.worker.to_string(),
                row.core.to_string(),
                node(row.numa_node),
                row.state.word().to_owned(),
                row.generation.to_string(),
                row.heartbeat_age_ms.to_string(),
                format!("{:.0}", row.busy_ratio * 100.0),
                row.rx_frames.to_string(),
                row.tx_frames.to_string(),
                percent(row.express, row.rx_frames),
            ]
        }),
    )
}

/// How well frames come to the worker that owns their shard; of one worker alone there is nothing to say.
fn hand_offs(rows: &[WorkerRow]) -> String {
    if rows.len() < 2 {
        return String::new();
    }
    grid(
        [
            Column::Right("WORKER"),
            Column::Right("SHARDS"),
            Column::Right("FOR OTHERS\npackets"),
            Column::Right("HANDED ON\nframes"),
            Column::Right("TAKEN OVER\nframes"),
            Column::Right("WRONG WORKER\n% of rx"),
        ],
        rows.iter().map(|row| {
            [
                row.worker.to_string(),
                row.shards.to_string(),
                row.translated_for_others.to_string(),
                row.handed_out.to_string(),
                row.handed_in.to_string(),
                percent(row.translated_for_others + row.handed_out, row.rx_frames),
            ]
        }),
    )
}

/// Where a packet's clocks go, over the last second.
fn stages(rows: &[WorkerRow]) -> String {
    let recent = || rows.iter().filter_map(|row| Some((row.worker, row.stages_recent?)));
    if recent().next().is_none() {
        return "Stage clocks are off: `stage_clocks: true` in the node's configuration has them read.\n"
            .to_owned();
    }
    let columns = [
        Column::Right("WORKER"),
        Column::Right("PACKETS\nlast second"),
        Column::Right("RECEIVE\nclocks"),
        Column::Right("PROCESS\nclocks"),
        Column::Right("HANDED\nclocks"),
        Column::Right("TICK\nclocks"),
        Column::Right("TRANSMIT\nclocks"),
        Column::Right("ALL\na packet"),
    ];
    grid(
        columns,
        recent().map(|(worker, row)| {
            let each = |clocks: u64| match row.packets {
                0 => "-".to_owned(),
                packets => format!("{:.0}", clocks as f64 / packets as f64),
            };
            let stages = row.by_name();
            let all = each(stages.iter().map(|(_, clocks)| clocks).sum());
            let [receive, process, handed, tick, transmit] = stages.map(|(_, clocks)| each(clocks));
            [worker.to_string(), row.packets.to_string(), receive, process, handed, tick, transmit, all]
        }),
    )
}

fn port_devices(rows: &[PortRow]) -> String {
    if rows.is_empty() {
        return "There is no port.\n".to_owned();
    }
    grid(
        [
            Column::Left("PORT"),
            Column::Left("LINK"),
            Column::Right("QUEUES"),
            Column::Left("MAC"),
            Column::Left("DRIVER"),
            Column::Left("DEVICE"),
        ],
        rows.iter().map(|row| {
            let link = if row.link_up { "up" } else { "down" };
            let queues = row.receivers.len().to_string();
            [
                row.name.clone(),
                link.to_owned(),
                queues,
                row.mac.clone(),
                row.driver.clone(),
                row.device.clone(),
            ]
        }),
    )
}

/// Which worker a port's frames come to, and how far they have to go.
fn port_places(rows: &[PortRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    grid(
        [Column::Left("PORT"), Column::Right("NODE"), Column::Left("STEERING")],
        rows.iter().map(|row| [row.name.clone(), node(row.numa_node), row.steering.clone()]),
    )
}

/// A NUMA node, where it is known.
fn node(node: Option<u32>) -> String {
    node.map_or_else(|| "-".to_owned(), |node| node.to_string())
}

fn port_counters(rows: &[PortRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    grid(
        [
            Column::Left("PORT"),
            Column::Right("RX\nframes"),
            Column::Right("RX\nbytes"),
            Column::Right("RX\nmissed"),
            Column::Right("RX\nerrors"),
            Column::Right("RX NO\nBUFFER"),
            Column::Right("TX\nframes"),
            Column::Right("TX\nbytes"),
            Column::Right("TX\nerrors"),
        ],
        rows.iter().map(|row| {
            let numbers = [
                row.rx_frames,
                row.rx_bytes,
                row.rx_missed,
                row.rx_errors,
                row.rx_no_buffer,
                row.tx_frames,
                row.tx_bytes,
                row.tx_errors,
            ];
            let [a, b, c, d, e, f, g, h] = numbers.map(|number| number.to_string());
            [row.name.clone(), a, b, c, d, e, f, g, h]
        }),
    )
}

fn tables(rows: &[TableRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    grid(
        [
            Column::Left("TABLE"),
            Column::Right("ENTRIES"),
            Column::Right("CAPACITY"),
            Column::Right("FULL\n%"),
        ],
        rows.iter().map(|row| {
            let full = percent(row.entries, row.capacity);
            [row.table.clone(), row.entries.to_string(), row.capacity.to_string(), full]
        }),
    )
}

fn warnings(warnings: &[String]) -> String {
    warnings.iter().map(|warning| format!("WARNING: {warning}\n")).collect()
}
