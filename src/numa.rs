//! Memory and cores of machines with several NUMA nodes: what lies where, and what lies badly.

/// The node of a worker's core or of a port; `None` where the machine does not tell.
pub(crate) type Node = Option<u32>;

/// The nodes that workers run on, each once, in order.
pub(crate) fn nodes(workers: &[Node]) -> Vec<u32> {
    let mut nodes: Vec<u32> = workers.iter().flatten().copied().collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// A warning for each port some workers of which run on another node.
pub(crate) fn warnings(ports: &[(&str, Node)], workers: &[Node]) -> Vec<String> {
    let warning = |&(name, node): &(&str, Node)| {
        let node = node?;
        let away = (0..).zip(workers).filter(|(_, of)| of.is_some_and(|of| of != node));
        let away: Vec<String> = away.map(|(worker, _): (usize, _)| worker.to_string()).collect();
        let (word, run) = if away.len() == 1 { ("worker", "runs") } else { ("workers", "run") };
        (!away.is_empty()).then(|| {
            let away = away.join(", ");
            format!(
                "port {name} is on NUMA node {node}, but {word} {away} {run} on another: all frames between them cross over"
            )
        })
    };
    ports.iter().filter_map(warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: [(&str, Node); 3] = [("inside", Some(0)), ("outside", Some(1)), ("virtual", None)];

    #[test]
    fn a_port_that_is_far_from_a_worker_is_warned_of() {
        assert_eq!(
            warnings(&PORTS, &[Some(0), Some(0)]),
            ["port outside is on NUMA node 1, but workers 0, 1 run on another: all frames between them \
                 cross over"]
        );
        assert_eq!(
            warnings(&PORTS, &[Some(1), Some(0)]),
            [
                "port inside is on NUMA node 0, but worker 0 runs on another: all frames between them cross over",
                "port outside is on NUMA node 1, but worker 1 runs on another: all frames between them cross over"
            ]
        );
    }

    #[test]
    fn where_all_is_on_one_node_or_nothing_is_known_there_is_nothing_to_warn_of() {
        assert_eq!(warnings(&PORTS[..1], &[Some(0); 2]), Vec::<String>::new());
        assert_eq!(warnings(&PORTS, &[None; 2]), Vec::<String>::new());
    }

    #[test]
    fn nodes_are_listed_once() {
        assert_eq!(nodes(&[Some(1), Some(0), None, Some(1)]), [0, 1]);
    }
}
