use proptest::prelude::*;

use super::*;
use crate::model::{AddressRange, Mac, PortRange};

/// Text, the place of its error, and words that have to be in the message.
const ERRORS: &[(&str, &str, &str)] = &[
    ("", "", "nothing is written here"),
    ("# only\n\n  # comments\n", "", "nothing is written here"),
    ("---\n", "line 1, column 4: ", "expected mapping"),
    ("~", "line 1, column 1: ", "expected mapping"),
    ("- a\n", "line 1, column 1: ", "expected mapping"),
    (
        "routes: []\n",
        "line 1, column 1: routes: ",
        "unknown field `routes`, expected one of segments, pools, routers",
    ),
    (
        "segments:\n- id: a\n  port: x\n  vlann: 7\n",
        "line 4, column 3: segments[0].vlann: ",
        "unknown field `vlann`",
    ),
    ("segments:\n- id: a\n", "line 2, column 3: segments[0]: ", "missing field `port`"),
    (
        "segments:\n- {id: a, port: x, mtu: lots}\n",
        "line 2, column 25: segments[0].mtu: ",
        "0 to 65535 is expected",
    ),
    (
        "segments:\n- {id: a, port: x, vlan: -1}\n",
        "line 2, column 26: segments[0].vlan: ",
        "0 to 65535 is expected",
    ),
    ("segments: []\nsegments: []\n", "line 2, column 1: ", "duplicate mapping key `segments`"),
    ("segments: []\n---\npools: []\n", "line 3, column 1: ", "only single YAML document"),
    ("segments: [\n", "line 1, column 11: segments: ", "unclosed bracket"),
    ("routers:\n- id: r\n  admin_up: no\n", "line 3, column 13: routers[0].admin_up: ", "`true` or `false`"),
    ("routers: !!set []\n", "line 1, column 16: ", "unsupported tag"),
    (
        "pools:\n- id: p\n  addresses: [203.0.113.1/24]\n",
        "line 3, column 15: pools[0].addresses[0]: ",
        "the prefix is `203.0.113.0/24`",
    ),
    (
        "pools:\n- id: p\n  addresses: [x]\n",
        "line 3, column 15: pools[0].addresses[0]: ",
        "not a run of addresses",
    ),
    (
        "pools:\n- id: p\n  addresses: []\n  ports: 80-\n",
        "line 4, column 10: pools[0].ports: ",
        "not a run of ports",
    ),
    (
        "routers:\n- id: r\n  interfaces:\n  - id: i\n    segment: s\n    mac: 00:11:22\n",
        "line 6, column 10: routers[0].interfaces[0].mac: ",
        "not a MAC address",
    ),
    (
        "routers:\n- id: r\n  interfaces:\n  - id: i\n    segment: s\n    addresses: [10.0.0.1]\n",
        "line 6, column 17: routers[0].interfaces[0].addresses[0]: ",
        "`10.0.0.1` is not an address with a prefix length, as `10.0.0.1/24`",
    ),
    (
        "{\"segments\": [{\"id\": \"a\", \"vlann\": 7}]}",
        "line 1, column 33: segments[0].vlann: ",
        "unknown field `vlann`",
    ),
    ("{\n \"segments\": [7]\n}", "line 2, column 15: segments[0]: ", "invalid type: integer"),
    ("{\"segments\": []} x", "line 1, column 18: ", "trailing characters"),
    ("{\"segments\": [", "line 1, column 14: ", "EOF while parsing"),
];

#[test]
fn an_error_says_line_column_path_and_reason() {
    for (text, place, reason) in ERRORS {
        let error = read_rules(text).expect_err(text).to_string();
        assert!(error.starts_with(place), "{text:?}: {error}");
        assert!(error.contains(reason), "{text:?}: {error}");
    }
}

#[test]
fn deep_nesting_and_growing_aliases_are_refused() {
    assert!(read_rules(&"[".repeat(1_000_000)).is_err());
    assert!(read_rules(&"{\"a\":".repeat(1_000_000)).is_err());
    assert!(read_rules(&"- ".repeat(100_000)).is_err());
    let mut bomb = "segments:\n- &a0 {id: a, port: b}\n".to_owned();
    for level in 1..30 {
        let one = format!("*a{}", level - 1);
        bomb += &format!("- &a{level} [{one}, {one}, {one}, {one}, {one}, {one}, {one}, {one}]\n");
    }
    assert!(read_rules(&bomb).is_err());
    assert!(read_rules(&" ".repeat(FILE_BYTES_MAX + 1)).is_err());
}

#[test]
fn yaml_and_json_say_the_same() {
    let yaml = "# A comment.\nsegments:\n- id: net\n  port: inside\n  vlan: 7\n";
    let json = r#" {"segments": [{"id": "net", "port": "inside", "vlan": 7}]}"#;
    assert_eq!(read_rules(yaml), read_rules(json));
    assert_eq!(read_rules(&format!("\u{feff}{yaml}")), read_rules(yaml));
    assert_eq!(read_rules("{}").unwrap(), Rules::default());
    assert_eq!(read_rules("segments: []").unwrap(), Rules::default());
}

#[test]
fn a_long_page_of_comments_is_no_fault() {
    let text = format!("segments:\n{}- {{id: a, port: b}}\n", "# why\n".repeat(5_000));
    assert_eq!(read_rules(&text).unwrap().segments.len(), 1);
}

#[test]
fn a_mac_of_digits_alone_is_not_taken_for_a_number() {
    let mac: Mac = serde_saphyr::from_str("12:34:56:12:34:56").unwrap();
    assert_eq!(mac.0, [0x12, 0x34, 0x56, 0x12, 0x34, 0x56]);
}

#[test]
fn values_in_text_are_read_strictly() {
    for text in
        ["1:2:3:4:5:6", "fa:16:3e:00:00", "fa:16:3e:00:00:01:02", "+a:16:3e:00:00:01", "fa-16-3e-00-00-01"]
    {
        assert!(text.parse::<Mac>().is_err(), "{text}");
    }
    for text in
        ["", "-", "10.0.0.1-", "10.0.0.1-10.0.0.2-10.0.0.3", "10.0.0.1/33", "10.0.0.1/24", "10.0.0/24"]
    {
        assert!(text.parse::<AddressRange>().is_err(), "{text}");
    }
    for text in ["", "http", "80-", "-80", "1-65536", "1-2-3"] {
        assert!(text.parse::<PortRange>().is_err(), "{text}");
    }
    let run: AddressRange = "203.0.113.0/30".parse().unwrap();
    assert_eq!(run.to_string(), "203.0.113.0-203.0.113.3");
    assert_eq!(PortRange::default().to_string(), "1024-65535");
}

proptest! {
    #[test]
    fn values_are_read_as_they_were_written(mac: [u8; 6], run: (u32, u32), ports: (u16, u16)) {
        let mac = Mac(mac);
        prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        let run = AddressRange { first: run.0.into(), last: run.1.into() };
        prop_assert_eq!(run.to_string().parse(), Ok(run));
        let ports = PortRange { first: ports.0, last: ports.1 };
        prop_assert_eq!(ports.to_string().parse(), Ok(ports));
    }

    #[test]
    fn rules_are_read_as_they_were_written(rules in crate::arbitrary::rules()) {
        let read = read_rules(&serde_json::to_string(&rules).unwrap());
        prop_assert_eq!(read.as_ref(), Ok(&rules));
        let read = read_rules(&serde_saphyr::to_string(&rules).unwrap());
        prop_assert_eq!(read.as_ref(), Ok(&rules));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,80}") {
        let _ = read_rules(&text);
        let _ = read_rules(&format!("{{{text}"));
    }
}
