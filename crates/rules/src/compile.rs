//! From valid rules to what the workers run.
//!
//! Everything that a look-up per packet needs is worked out here, once per change: names become indices, ranges become
//! tables, seconds become milliseconds. The whole set is compiled each time. That costs the control thread
//! milliseconds and saves the workers every question of what happens half-way through a change.
//!
//! A router's `generation` says whether its flows have to be judged again. It rises only when something changed that a
//! flow can depend on: another router's change, a new name or a bare revision leaves it alone.

use std::net::Ipv4Addr;
use std::sync::Arc;

use hashbrown::HashMap;
use ipnet::Ipv4Net;
use packet::{MacAddress, PortIndex, VlanId};

use crate::compiled::{
    AddressRules, FloatingIndex, FloatingRules, ForwardingRun, GatewayRules, InterfaceIndex, InterfaceRules,
    PoolAddress, PoolIndex, PoolRules, Realm, RouterIndex, RouterRules, RuleSet, SegmentIndex, SegmentRules,
    Wires,
};
use crate::legs::Legs;
use crate::model::{Gateway, Pool, Router, Segment};
use crate::numbers::{Numbers, NumbersExhausted};
use crate::object::ObjectKind;
use crate::routes::RouteTable;
use crate::valid::Valid;

mod forwardings;
mod pools;
#[cfg(test)]
mod tests;

use forwardings::Forwardings;
use pools::{PoolAddresses, addresses_of, behaviour_of, behaviour_of_own_addresses, in_place};

/// Compiles `valid`. `previous` is what this process compiled last; generations go on from there, and from `numbers`.
///
/// # Errors
/// [`NumbersExhausted`], after which `previous` and `numbers` are what they were.
pub fn compile(
    valid: &Valid,
    previous: Option<&RuleSet>,
    numbers: &mut Numbers,
) -> Result<RuleSet, NumbersExhausted> {
    let mut compiler = Compiler {
        numbers: numbers.clone(),
        previous,
        segments: HashMap::new(),
        pool_objects: valid.pools().iter().map(|pool| (pool.id.as_str(), pool)).collect(),
        pools: HashMap::new(),
        forwardings: Forwardings::default(),
        set: RuleSet::default(),
    };
    compiler.set.generation = compiler.numbers.begin(previous.map_or(0, |set| set.generation));
    compiler.set.wires.resize_with(valid.ports().len(), Wires::default);
    for segment in valid.segments() {
        compiler.add_segment(segment, valid.ports());
    }
    for router in valid.routers() {
        compiler.add_router(router);
    }
    compiler.forwardings.enter(&mut compiler.set);
    compiler.numbers.finish()?;
    compiler.set.legs = Legs::of(&compiler.set, previous);
    *numbers = compiler.numbers;
    Ok(compiler.set)
}

/// What a router's flows depend on, as it was fed.
#[derive(Debug)]
pub(crate) struct Basis {
    router: Arc<Router>,
    /// Of its interfaces.
    segments: Vec<Arc<Segment>>,
    /// Of its gateways, where they translate to one that was fed.
    pools: Vec<Option<Arc<Pool>>>,
}

impl Basis {
    /// Whether a flow that was right under `other` is right under `self` without a look.
    fn holds_flows_of(&self, other: &Self) -> bool {
        // A field that is not named here is compared.
        let router = |one: &Arc<Router>| Router {
            revision: 0,
            project: String::new(),
            name: String::new(),
            ..Router::clone(one)
        };
        let segment = |one: &Arc<Segment>| Segment { revision: 0, ..Segment::clone(one) };
        let pool = |one: &Arc<Pool>| Pool { revision: 0, ..Pool::clone(one) };

        same(&self.router, &other.router, router)
            && self.segments.len() == other.segments.len()
            && self.segments.iter().zip(&other.segments).all(|(one, two)| same(one, two, segment))
            && self.pools.len() == other.pools.len()
            && self.pools.iter().zip(&other.pools).all(|pair| match pair {
                (None, None) => true,
                (Some(one), Some(two)) => same(one, two, pool),
                _ => false,
            })
    }
}

/// Whether two objects agree in `part`; the same object need not be looked into.
fn same<T, P: PartialEq>(one: &Arc<T>, two: &Arc<T>, part: impl Fn(&Arc<T>) -> P) -> bool {
    Arc::ptr_eq(one, two) || part(one) == part(two)
}

/// A rule set in the making.
struct Compiler<'a> {
    /// As they will be if there are enough.
    numbers: Numbers,
    previous: Option<&'a RuleSet>,
    segments: HashMap<&'a str, (SegmentIndex, &'a Arc<Segment>)>,
    pool_objects: HashMap<&'a str, &'a Arc<Pool>>,
    /// Pools compiled so far.
    pools: HashMap<&'a str, PoolIndex>,
    /// Port forwardings seen so far.
    forwardings: Forwardings,
    set: RuleSet,
}

/// The next index of a table, as the number that its index type holds. Validation's limits keep it far below the end.
fn next_index<T>(table: &[T]) -> u32 {
    u32::try_from(table.len()).unwrap_or(u32::MAX)
}

impl<'a> Compiler<'a> {
    fn add_segment(&mut self, segment: &'a Arc<Segment>, ports: &[String]) {
        let index = SegmentIndex(next_index(&self.set.segments));
        let Some(port) = ports.iter().position(|port| *port == segment.port) else { return };
        let vlan = segment.vlan.and_then(VlanId::new);
        if let Some(wires) = self.set.wires.get_mut(port) {
            wires.set(vlan, index);
        }
        self.segments.insert(&segment.id, (index, segment));
        let realm = self.numbers.realm(ObjectKind::Segment, &segment.id);
        self.set.segment_by_realm.insert(realm, index);
        self.set.segments.push(SegmentRules {
            id: segment.id.clone(),
            realm,
            port: PortIndex(u8::try_from(port).unwrap_or(u8::MAX)),
            vlan,
            mtu: segment.mtu,
            interfaces: HashMap::new(),
            subnets: HashMap::new(),
            addresses: HashMap::new(),
        });
    }

    fn add_router(&mut self, router: &'a Arc<Router>) {
        let index = RouterIndex(next_index(&self.set.routers));
        let realm = self.numbers.realm(ObjectKind::Router, &router.id);
        if router.admin_up {
            self.set.router_by_realm.insert(realm, index);
        }
        let interfaces = self.add_interfaces(router, index);
        let mut gateways = Vec::with_capacity(router.gateways.len());
        for gateway in &router.gateways {
            let Some(mut rules) = self.add_gateway(router, gateway, &interfaces) else { continue };
            rules.floating_by_internal = self.add_floating_ips(router, index, gateway, &rules);
            if router.admin_up {
                self.forwardings.add(router, index, gateway, (gateways.len(), &rules));
            }
            gateways.push(rules);
        }
        let pool_of = |gateway: &Gateway| {
            let pool = gateway.pool.as_ref().and_then(|pool| self.pool_objects.get(pool.as_str()));
            pool.map(|pool| Arc::clone(pool))
        };
        let basis = Basis {
            router: Arc::clone(router),
            segments: router
                .interfaces
                .iter()
                .filter_map(|interface| self.segments.get(interface.segment.as_str()))
                .map(|(_, segment)| Arc::clone(segment))
                .collect(),
            pools: router.gateways.iter().map(pool_of).collect(),
        };
        let routes = RouteTable::of_router(router, &interfaces);
        let mut no_nat = Ipv4Net::aggregate(&router.no_nat);
        no_nat.sort();
        self.set.routers.push(RouterRules {
            id: router.id.clone(),
            project: router.project.clone(),
            revision: router.revision,
            realm,
            generation: self.generation(&basis),
            interfaces,
            gateways,
            no_nat,
            timeouts: router.timeouts.complete(),
            timeouts_by_port: router.timeouts.complete_by_port(),
            tcp: router.tcp,
            udp_inbound_refresh: router.udp_inbound_refresh,
            routes,
            basis,
        });
    }

    /// The router's generation: what it was, or this rule set's where its flows have to be judged again.
    ///
    /// A router that the rule set before did not have is judged by: its realm is new then, and has no flows, or this is
    /// the first rule set of the process, and the flows are those of an earlier one.
    fn generation(&self, basis: &Basis) -> u32 {
        let before = self.previous.and_then(|set| {
            let at = set.routers.binary_search_by(|router| router.id.cmp(&basis.router.id)).ok()?;
            set.routers.get(at)
        });
        match before {
            Some(router) if basis.holds_flows_of(&router.basis) => router.generation,
            _ => self.set.generation as u32,
        }
    }

    fn add_interfaces(&mut self, router: &Router, index: RouterIndex) -> Vec<InterfaceIndex> {
        let mut indices = Vec::with_capacity(router.interfaces.len());
        for interface in &router.interfaces {
            let Some(&(segment, _)) = self.segments.get(interface.segment.as_str()) else { continue };
            let interface_index = InterfaceIndex(next_index(&self.set.interfaces));
            let mac = MacAddress(interface.mac.0);
            if router.admin_up
                && let Some(segment) = self.set.segment_mut(segment)
            {
                segment.interfaces.insert(mac, interface_index);
                for address in &interface.addresses {
                    segment.subnets.entry(address.trunc()).or_insert(interface_index);
                    let answer = segment.answer(address.addr(), interface_index);
                    answer.interface = interface_index;
                    answer.local = true;
                }
            }
            indices.push(interface_index);
            self.set.interfaces.push(InterfaceRules {
                id: interface.id.clone(),
                router: index,
                segment,
                mac,
                addresses: interface.addresses.clone(),
                external: interface.external,
                snat: interface.snat,
                icmp_errors: interface.icmp_errors,
            });
        }
        indices
    }

    fn add_gateway(
        &mut self,
        router: &'a Router,
        gateway: &'a Gateway,
        interfaces: &[InterfaceIndex],
    ) -> Option<GatewayRules> {
        let at = router.interfaces.iter().position(|interface| interface.id == gateway.interface)?;
        let interface = *interfaces.get(at)?;
        let addresses = &router.interfaces.get(at)?.addresses;
        let (segment, object) = *self.segments.get(router.interfaces.get(at)?.segment.as_str())?;
        let realm = self.numbers.realm(ObjectKind::Segment, &object.id);
        let pool = match &gateway.pool {
            _ if !gateway.snat => None,
            Some(id) => self.add_pool(id, realm),
            None => {
                // No id has a slash in it, so this name is never that of a pool that was fed.
                let id = format!("{}/{}", router.id, gateway.interface);
                let addresses =
                    self.number_all(realm, in_place(addresses.iter().map(Ipv4Net::addr).collect()));
                Some(self.push_pool(behaviour_of_own_addresses(id, realm, addresses, router, gateway)))
            }
        };
        if router.admin_up
            && let Some(pool) = pool
        {
            self.answer_for_pool(segment, interface, pool);
        }
        Some(GatewayRules {
            interface,
            segment,
            realm,
            pool,
            floating_by_internal: HashMap::new(),
            forwardings_by_internal: Vec::new(),
        })
    }

    /// The pool's index; the first router that uses it brings it in.
    fn add_pool(&mut self, id: &'a str, realm: Realm) -> Option<PoolIndex> {
        if let Some(index) = self.pools.get(id) {
            return Some(*index);
        }
        let pool = *self.pool_objects.get(id)?;
        let addresses = self.number_all(realm, addresses_of(pool));
        let index = self.push_pool(behaviour_of(pool, realm, addresses));
        self.pools.insert(id, index);
        Some(index)
    }

    /// The addresses of a pool on the external network `realm`, each with its ports.
    fn number_all(&mut self, realm: Realm, addresses: PoolAddresses) -> Vec<PoolAddress> {
        let with_ports = |address| PoolAddress { address, ports: self.numbers.address(realm, address) };
        addresses.0.into_iter().map(with_ports).collect()
    }

    fn push_pool(&mut self, pool: PoolRules) -> PoolIndex {
        let index = PoolIndex(next_index(&self.set.pools));
        self.set.pools.push(pool);
        index
    }

    /// Makes the network answer for the pool's addresses: with `interface`, where no router before did.
    fn answer_for_pool(&mut self, segment: SegmentIndex, interface: InterfaceIndex, pool: PoolIndex) {
        let RuleSet { segments, pools, .. } = &mut self.set;
        let Some(segment) = usize::try_from(segment.0).ok().and_then(|at| segments.get_mut(at)) else {
            return;
        };
        let Some(rules) = usize::try_from(pool.0).ok().and_then(|at| pools.get(at)) else { return };
        // A pool that many routers share is entered once.
        let entered = |one: &PoolAddress| {
            segment.addresses.get(&one.address).is_some_and(|answer| answer.pool == Some(pool))
        };
        if rules.addresses.first().is_some_and(entered) {
            return;
        }
        for one in &rules.addresses {
            let answer = segment.answer(one.address, interface);
            (answer.pool, answer.ports) = (Some(pool), Some(one.ports));
        }
    }

    fn add_floating_ips(
        &mut self,
        router: &Router,
        index: RouterIndex,
        gateway: &Gateway,
        rules: &GatewayRules,
    ) -> HashMap<Ipv4Addr, FloatingIndex> {
        let mut by_internal = HashMap::with_capacity(router.floating_ips.len());
        for floating in &router.floating_ips {
            if !router.is_by(gateway, floating.gateway.as_ref()) {
                continue;
            }
            let floating_index = FloatingIndex(next_index(&self.set.floating_ips));
            by_internal.insert(floating.internal, floating_index);
            if router.admin_up
                && let Some(segment) = self.set.segment_mut(rules.segment)
            {
                segment.answer(floating.external, rules.interface).floating = Some(floating_index);
            }
            self.set.floating_ips.push(FloatingRules {
                id: floating.id.clone(),
                router: index,
                external: floating.external,
                internal: floating.internal,
            });
        }
        by_internal
    }
}

impl RuleSet {
    fn segment_mut(&mut self, index: SegmentIndex) -> Option<&mut SegmentRules> {
        usize::try_from(index.0).ok().and_then(|at| self.segments.get_mut(at))
    }
}

impl SegmentRules {
    /// The entry for an address we answer for, made with this interface where there is none.
    fn answer(&mut self, address: Ipv4Addr, interface: InterfaceIndex) -> &mut AddressRules {
        self.addresses.entry(address).or_insert(AddressRules {
            interface,
            local: false,
            floating: None,
            pool: None,
            ports: None,
            forwardings: ForwardingRun::default(),
        })
    }
}
