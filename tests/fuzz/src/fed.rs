//! What a feed sends: decode, validate, compile. Whatever the bytes are, the answer is rules or their faults; what is valid
//! compiles, and what compiles carries frames.

use std::sync::Arc;

use feed::wire;
use nat::{Configuration, Gateway, Sizes, State, WorkerIndex};
use packet::{Burst, Moment, PortIndex};
use prost::Message;
use rules::limits::REALMS_MAX;
use rules::{Numbers, Object, Rules};

use crate::bytes::Bytes;
use crate::frames::{self, ICMP, Spec, TCP, UDP};
use crate::outcome::Outcome;
use crate::scene;
use crate::world::{Buffer, Ports};

/// Objects of one input, and bytes of one of them.
const OBJECTS_MAX: usize = 16;

pub(crate) fn play(input: &[u8], outcome: &mut Outcome) {
    let mut bytes = Bytes::new(input);
    let choice = bytes.byte();
    // Objects of the scene, changed in places; or whatever the bytes are.
    let mut objects: Vec<Vec<u8>> = Vec::new();
    if choice & 1 == 0 {
        let number = bytes.below(scene::RULES);
        objects.extend(scene::with_rules(number, |rules| {
            let all = rules.valid().objects();
            all.map(|object| feed::encode::object(&object, 1).encode_to_vec()).collect::<Vec<_>>()
        }));
        for _ in 0..usize::from(choice >> 4) {
            let at = bytes.below(objects.len());
            change(&mut objects[at], &mut bytes);
        }
    }
    while !bytes.is_empty() && objects.len() < OBJECTS_MAX {
        let length = usize::from(bytes.byte());
        objects.push(bytes.take(length).to_vec());
    }
    outcome.packets += objects.len() as u64;
    let rules = decode(&objects, outcome);
    let valid = match scene::validate(&rules) {
        Ok(valid) => valid,
        Err(faults) => {
            for fault in faults {
                outcome.reach(41, fault.code as u32);
            }
            return;
        }
    };
    outcome.forwarded += objects.len() as u64;
    let mut numbers = Numbers::new(REALMS_MAX, 1 << 16);
    let compiled = rules::compile(&valid, None, &mut numbers).expect("what is valid compiles");
    outcome.reach(42, compiled.routers.len() as u32);
    outcome.reach(43, compiled.pools.len() as u32);
    carry(Arc::new(compiled), &numbers, outcome);
}

/// Changes bytes, leaves some out, or puts some in.
fn change(object: &mut Vec<u8>, bytes: &mut Bytes) {
    if object.is_empty() {
        return;
    }
    let choice = bytes.byte();
    let at = usize::from(bytes.u16()) % object.len();
    let length = usize::from(bytes.byte() & 15).min(object.len() - at);
    match choice & 3 {
        0 => object[at] = bytes.byte(),
        1 => object[at] ^= 1 << (choice >> 5),
        2 => _ = object.drain(at..at + length),
        _ => {
            let new = bytes.take(length).to_vec();
            object.splice(at..at, new);
        }
    }
}

fn decode(objects: &[Vec<u8>], outcome: &mut Outcome) -> Rules {
    let mut rules = Rules::default();
    for object in objects {
        let Ok(read) = wire::Object::decode(object.as_slice()) else {
            outcome.reach(44, 0);
            continue;
        };
        outcome.reach(44, 1 + u32::from(feed::decode::name(&read).is_some()));
        match feed::decode::object(&read) {
            Ok(Object::Segment(segment)) => rules.segments.push(Arc::unwrap_or_clone(segment)),
            Ok(Object::Pool(pool)) => rules.pools.push(Arc::unwrap_or_clone(pool)),
            Ok(Object::Router(router)) => rules.routers.push(Arc::unwrap_or_clone(router)),
            Err(rejects) => {
                assert!((1..=256).contains(&rejects.len()), "an object is refused with its first faults");
                rejects.iter().for_each(|reject| outcome.reach(45, reject.code as u32));
            }
        }
    }
    rules
}

/// A few frames by these rules: nothing stumbles, and the books close.
fn carry(rules: Arc<rules::RuleSet>, numbers: &Numbers, outcome: &mut Outcome) {
    let addresses = numbers.addresses().count() as u32;
    if addresses > scene::ADDRESSES_MAX {
        return;
    }
    let sizes = Sizes::new(64, 1, scene::ADDRESSES_MAX);
    let (state, shards) = State::anonymous(&sizes, [1; 4]).unwrap();
    state.assign(1);
    state.store(numbers, rules.generation);
    let mut gateway = Gateway::new(&state, WorkerIndex(0), shards, Configuration::default());
    let mut ports = Ports::default();
    gateway.adopt(rules, Vec::new());
    let mut now = Moment::from_ms(0);
    for (number, protocol) in [UDP, TCP, ICMP, 47, UDP].into_iter().enumerate() {
        for host in scene::neighbours() {
            let mut frame = Vec::new();
            let spec = Spec {
                to_mac: host.via,
                from_mac: host.mac,
                vlan: host.wire.vlan,
                source: host.address,
                destination: [scene::REMOTES[0].0, scene::EXTERNALS[number].0][number & 1],
                protocol,
                source_port: 4_000,
                destination_port: 2_000,
                kind: if protocol == ICMP { 8 } else { 2 },
                sequence: 0,
                acknowledgement: 0,
                segment_max: 1_460,
                ttl: 64,
                dont_fragment: true,
                identification: 0,
                options: 0,
                payload: 64,
                serial: 0,
            };
            frames::build(&spec, &mut frame);
            let mut burst: Burst<Buffer> =
                [Buffer { bytes: frame, has_headroom: true }].into_iter().collect();
            gateway.process_burst(PortIndex(host.wire.port), &mut burst, now, &mut ports);
        }
        now = now + 40_000;
        while gateway.tick(now, &mut ports) {}
        ports.flush_into(state.counters(WorkerIndex(0)), |_, frame| {
            let parsed = packet::Parsed::read(frame).unwrap();
            outcome.reach(46, u32::from(parsed.protocol.0));
        });
        assert!(gateway.outbox().is_empty());
        gateway.end_turn();
        assert_eq!(state.counters(WorkerIndex(0)).books().balance(), 0);
    }
}
