//! `docs/rules.md` and `docs/rules.schema.json` say what the code does: what they claim is tried out here.

use std::path::PathBuf;

use crate::fault::{Code, Fault};
use crate::file::read_rules;
use crate::limits;
use crate::model::{Rules, TimeoutProfile, Timeouts};
use crate::object::{ObjectKind, ObjectRef};
use crate::store::{Change, Store};
use crate::validate::validate;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn page() -> String {
    std::fs::read_to_string(path("rules.md")).unwrap()
}

fn ports() -> Vec<String> {
    crate::arbitrary::ports()
}

/// The page's part under a heading.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let heading = format!("\n{heading}\n");
    let begin = page.find(&heading).unwrap_or_else(|| panic!("no section {heading:?}")) + heading.len();
    let rest = &page[begin..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

fn yaml(section: &str) -> &str {
    section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap()
}

fn schema() -> serde_json::Value {
    serde_json::to_value(schemars::schema_for!(Rules)).unwrap()
}

#[test]
fn the_schema_on_disk_is_that_of_the_model() {
    let wanted = schema();
    let file = path("rules.schema.json");
    if std::env::var_os("NATGATE_UPDATE_DOCS").is_some() {
        std::fs::write(&file, serde_json::to_string_pretty(&wanted).unwrap() + "\n").unwrap();
    }
    // Compared as values: the order of the keys depends on how serde_json was built.
    let found = std::fs::read_to_string(&file).ok().and_then(|text| serde_json::from_str(&text).ok());
    assert!(found == Some(wanted), "docs/rules.schema.json is old: run this test with NATGATE_UPDATE_DOCS=1");
}

#[test]
fn the_example_is_valid() {
    let rules = read_rules(yaml(section(&page(), "## A complete example"))).unwrap();
    validate(&rules, &ports()).unwrap();
    assert_eq!((rules.segments.len(), rules.pools.len(), rules.routers.len()), (3, 1, 2));
}

#[test]
fn the_example_with_two_gateways_is_valid() {
    let rules = read_rules(yaml(section(&page(), "## Two gateways and forwarded ports"))).unwrap();
    validate(&rules, &ports()).unwrap();
    assert_eq!((rules.routers[0].gateways.len(), rules.routers[0].port_forwardings.len()), (2, 3));
}

#[test]
fn every_field_is_on_the_page_and_has_a_description() {
    fn look(value: &serde_json::Value, page: &str, seen: &mut usize) {
        if let Some(properties) = value.get("properties").and_then(|one| one.as_object()) {
            for (name, property) in properties {
                *seen += 1;
                assert!(page.contains(&format!("| `{name}` |")), "docs/rules.md lacks the field `{name}`");
                assert!(property.get("description").is_some(), "{name} has no description");
            }
        }
        for inner in
            value.get("$defs").and_then(|one| one.as_object()).into_iter().flat_map(|one| one.values())
        {
            look(inner, page, seen);
        }
    }
    let mut seen = 0;
    look(&schema(), &page(), &mut seen);
    assert!(seen > 45, "{seen}");
}

#[test]
fn the_timers_on_the_page_are_those_of_the_profiles() {
    let page = page();
    let table = section(&page, "### Timeouts");
    let of = |profile| Timeouts { profile: Some(profile), ..Timeouts::default() }.complete();
    let (cloud, rfc) = (of(TimeoutProfile::Cloud), of(TimeoutProfile::Rfc));
    let rows = [
        ("tcp_syn_s", cloud.tcp_syn, rfc.tcp_syn),
        ("tcp_established_s", cloud.tcp_established, rfc.tcp_established),
        ("tcp_fin_s", cloud.tcp_fin, rfc.tcp_fin),
        ("tcp_time_wait_s", cloud.tcp_time_wait, rfc.tcp_time_wait),
        ("tcp_rst_s", cloud.tcp_rst, rfc.tcp_rst),
        ("udp_initial_s", cloud.udp_initial, rfc.udp_initial),
        ("udp_stream_s", cloud.udp_stream, rfc.udp_stream),
        ("icmp_s", cloud.icmp, rfc.icmp),
        ("other_s", cloud.other, rfc.other),
    ];
    for (field, cloud, rfc) in rows {
        let row = table.lines().find(|line| line.contains(&format!("`{field}`"))).unwrap();
        assert!(row.ends_with(&format!("| {} | {} |", cloud / 1000, rfc / 1000)), "{row}");
    }
    assert_eq!(Timeouts::default().complete(), cloud);
}

#[test]
fn the_limits_on_the_page_are_those_of_the_code() {
    let page = page();
    let table = section(&page, "## How much fits");
    let rows = [
        ("segments", limits::SEGMENTS_MAX),
        ("pools", limits::POOLS_MAX),
        ("routers", limits::ROUTERS_MAX),
        ("interfaces of all routers", limits::INTERFACES_MAX),
        ("floating IPs of all routers", limits::FLOATING_IPS_MAX),
        ("port forwardings of all routers", limits::PORT_FORWARDINGS_MAX),
        ("routes and `no_nat` prefixes of all routers", limits::ROUTES_MAX),
        ("addresses of all pools", limits::ALL_POOL_ADDRESSES_MAX),
        ("interfaces of one router", limits::ROUTER_INTERFACES_MAX),
        ("addresses of one interface", limits::INTERFACE_ADDRESSES_MAX),
        ("gateways of one router", limits::ROUTER_GATEWAYS_MAX),
        ("routes of one router", limits::ROUTER_ROUTES_MAX),
        ("floating IPs of one router", limits::ROUTER_FLOATING_IPS_MAX),
        ("port forwardings of one router", limits::ROUTER_PORT_FORWARDINGS_MAX),
        ("`no_nat` prefixes of one router", limits::ROUTER_NO_NAT_MAX),
        ("`timeouts.by_port` of one router", limits::TIMEOUTS_BY_PORT_MAX),
        ("runs of addresses of one pool", limits::POOL_RUNS_MAX),
        ("addresses of one pool", limits::POOL_ADDRESSES_MAX as usize),
        ("`exclude_ports` of one pool", limits::POOL_EXCLUDED_PORTS_MAX),
        ("`mapping_by_port` of one pool", limits::MAPPING_BY_PORT_MAX),
    ];
    for (what, limit) in rows {
        assert!(table.contains(&format!("\n| {what} | {limit} |")), "{what}: {limit}");
    }
}

#[test]
fn every_code_is_on_the_page_with_rules_that_have_it() {
    let page = page();
    let (first, last) = (page.find("\n## Faults").unwrap(), page.len());
    let headings = page[first..last].lines().filter_map(|line| line.strip_prefix("### "));
    let codes: Vec<String> = Code::ALL.iter().map(|code| format!("`{code}`")).collect();
    assert_eq!(headings.collect::<Vec<_>>(), codes);

    for code in Code::ALL {
        let section = section(&page, &format!("### `{code}`"));
        // These two are faults of a change and of a crowd; tests of their own make them.
        if matches!(code, Code::InUse | Code::Capacity) {
            continue;
        }
        let claim = section.lines().find_map(|line| line.strip_prefix("Refused: ")).unwrap();
        let [object, field] = [1, 3].map(|at| claim.split('`').nth(at).unwrap());
        let rules = read_rules(yaml(section)).unwrap_or_else(|error| panic!("{code}: {error}"));
        let faults = validate(&rules, &ports()).unwrap_err();
        let lines: Vec<String> = faults.iter().map(Fault::to_string).collect();
        let wanted = format!("{object}: {field}: {code}: ");
        assert!(lines.iter().any(|line| line.starts_with(&wanted)), "{wanted}\n{lines:#?}");
        let alone = if *code == Code::SnatWithoutPool { 3 } else { 1 };
        assert_eq!(faults.len(), alone, "{lines:#?}");
    }
}

#[test]
fn in_use_is_refused_as_the_page_says() {
    let rules = read_rules(yaml(section(&page(), "### `IN_USE`"))).unwrap();
    let mut store = Store::new(&ports());
    assert_eq!(store.apply(Change::Snapshot(rules)).faults, []);
    let deletes = vec![ObjectRef::new(ObjectKind::Segment, "net")];
    let outcome = store.apply(Change::Delta { upserts: vec![], deletes });
    let lines: Vec<String> = outcome.faults.iter().map(Fault::to_string).collect();
    assert_eq!(
        lines,
        ["segment net: IN_USE: it cannot go: router r1 names it in interfaces[0].segment (router r1)"]
    );
}
