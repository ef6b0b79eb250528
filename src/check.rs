//! `natgate validate`: says offline what a gateway would say, and changes nothing.

use std::path::Path;

use control::Exit;

use crate::cli::Validate;
use crate::config::NodeConfig;

/// Checks the files; prints every fault, one a line.
pub(crate) fn check(arguments: &Validate) -> Exit {
    let mut ports = None;
    if let Some(path) = &arguments.config {
        match NodeConfig::read(path) {
            Ok(config) => ports = Some(config.port_names()),
            Err(error) => {
                eprintln!("natgate: {error:#}");
                return Exit::Rejected;
            }
        }
    }
    match &arguments.rules {
        Some(path) => check_rules(path, ports),
        None => Exit::Done,
    }
}

fn check_rules(path: &Path, ports: Option<Vec<String>>) -> Exit {
    let rules = match feed::FileSource::new(path).read() {
        Ok(rules) => rules,
        Err(refusal) => {
            eprintln!("natgate: {refusal}");
            return Exit::Rejected;
        }
    };
    // Without a node's configuration, the ports that the rules name are taken to exist.
    let named = || rules.segments.iter().map(|segment| segment.port.clone()).collect();
    match rules::validate(&rules, &ports.unwrap_or_else(named)) {
        Ok(valid) => {
            let (segments, pools, routers) =
                (valid.segments().len(), valid.pools().len(), valid.routers().len());
            println!("{}: valid: {segments} segments, {pools} pools, {routers} routers", path.display());
            Exit::Done
        }
        Err(faults) => {
            eprintln!("natgate: {}: {} faults", path.display(), faults.len());
            for fault in &faults {
                eprintln!("  {fault}");
            }
            Exit::Rejected
        }
    }
}
