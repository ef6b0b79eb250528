use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Prefixes around two edges of the address space and one place within, so that many nest or touch.
fn prefix() -> impl Strategy<Value = Ipv4Net> {
    let base = prop_oneof![Just(0_u32), Just(0x0a00_0000), Just(u32::MAX - 31)];
    let length = prop_oneof![4 => 26..=32_u8, 1 => 0..=32_u8];
    (base, 0..32_u32, length)
        .prop_map(|(base, offset, length)| Ipv4Net::new_assert((base + offset).into(), length))
}

fn naive(routes: &[(Ipv4Net, Target)], destination: Ipv4Addr) -> Option<NextHop> {
    let mut best: Option<&(Ipv4Net, Target)> = None;
    for route in routes.iter().filter(|(prefix, _)| prefix.contains(&destination)) {
        if best.is_none_or(|(held, _)| route.0.prefix_len() > held.prefix_len()) {
            best = Some(route);
        }
    }
    best.map(|(_, target)| match *target {
        Target::Connected(interface) => NextHop { interface, address: destination },
        Target::Via(hop) => hop,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_table_agrees_with_a_look_at_every_prefix(prefixes in vec((prefix(), any::<bool>()), 0..24)) {
        let routes: Vec<(Ipv4Net, Target)> = (0..)
            .zip(prefixes)
            .map(|(n, (prefix, connected))| {
                let interface = InterfaceIndex(n);
                let address = Ipv4Addr::from(n);
                (prefix, if connected { Target::Connected(interface) } else { Target::Via(NextHop { interface, address }) })
            })
            .collect();
        let table = RouteTable::new(routes.clone());
        prop_assert!(table.firsts.len() <= 2 * routes.len() + 1);
        let edges = routes.iter().flat_map(|(prefix, _)| {
            let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
        });
        for destination in edges.chain([0, 0x0a00_0000, u32::MAX]).map(Ipv4Addr::from) {
            prop_assert_eq!(table.find(destination), naive(&routes, destination), "{}", destination);
        }
    }
}

#[test]
fn a_table_without_routes_leads_nowhere() {
    assert_eq!(RouteTable::new(vec![]).find(Ipv4Addr::BROADCAST), None);
    assert_eq!(RouteTable::default().find(Ipv4Addr::UNSPECIFIED), None);
}
