//! The numbers of routers, networks and external addresses: given before rules are published, taken back when no flow
//! state names them.
//!
//! ```text
//! compile    numbers for what is new -> the region -> (the workers)
//! release    retired, and every worker runs rules without it, and nothing names it -> free -> the region
//! ```
//!
//! Whether a realm is still named only a look at all flow state tells. That is done now and then, a few realms at a time,
//! on a thread that nobody waits for: there are far more numbers than routers, so none is needed back soon.

use std::sync::Arc;

use nat::State;
use rules::compiled::Realm;
use rules::{Numbers, NumbersExhausted, RuleSet, Valid};
use tokio::sync::Mutex;

/// Realms that are looked for in one round.
const REALMS_PER_ROUND: usize = 8;

/// See the file's page.
pub(crate) struct Ledger {
    state: Arc<State>,
    entries: Mutex<Entries>,
}

struct Entries {
    numbers: Numbers,
    /// Where the last round of looking stopped: long-lived sessions of one router must not hide another.
    looked_at: Realm,
}

impl Ledger {
    /// The numbers that the region has kept.
    pub(crate) fn new(state: Arc<State>) -> Self {
        let entries = Entries { numbers: state.numbers(), looked_at: Realm(0) };
        Self { state, entries: Mutex::new(entries) }
    }

    /// Compiles rules, and keeps the numbers they need.
    ///
    /// # Errors
    /// [`NumbersExhausted`]; nothing has changed then.
    pub(crate) async fn compile(
        &self,
        valid: &Valid,
        previous: &RuleSet,
    ) -> Result<RuleSet, NumbersExhausted> {
        let numbers = &mut self.entries.lock().await.numbers;
        let rules = rules::compile(valid, Some(previous), numbers)?;
        self.state.store(numbers, rules.generation);
        Ok(rules)
    }

    /// Takes back what is retired and named by nothing, where every worker runs generation `adopted` or a later one.
    pub(crate) async fn release(&self, adopted: u64) {
        let Some(retired) = self.realms_to_look_at(adopted).await else { return };
        let state = Arc::clone(&self.state);
        let look = move || -> Vec<Realm> {
            retired.into_iter().filter(|realm| !state.is_realm_in_use(*realm)).collect()
        };
        // Without an answer, as at the end of the process, nothing is taken back.
        let unused = match tokio::task::spawn_blocking(look).await {
            Ok(unused) => unused,
            Err(_) => return,
        };
        let numbers = &mut self.entries.lock().await.numbers;
        // Rules may have changed meanwhile. A retired realm stays retired; an address may have come back, and gone again.
        let mut released = numbers.release_realms(|realm| !unused.contains(&realm));
        if numbers.generation() <= adopted {
            released += numbers.release_addresses(|address| self.state.ports_used(address) > 0);
        }
        if released > 0 {
            tracing::debug!(released, "numbers of deleted routers, networks and addresses are free again");
            self.state.store(numbers, numbers.generation());
        }
    }

    /// The next few retired realms; `None` while a worker may still run rules that have one.
    async fn realms_to_look_at(&self, adopted: u64) -> Option<Vec<Realm>> {
        let entries = &mut *self.entries.lock().await;
        if entries.numbers.generation() > adopted {
            return None;
        }
        let retired = || entries.numbers.realms().filter(|(_, entry)| entry.retired).map(|(realm, _)| realm);
        let behind = retired().filter(|realm| *realm > entries.looked_at);
        let before = retired().filter(|realm| *realm <= entries.looked_at);
        let next: Vec<Realm> = behind.chain(before).take(REALMS_PER_ROUND).collect();
        entries.looked_at = next.last().copied().unwrap_or(Realm(0));
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use nat::Sizes;
    use rules::model::Rules;

    use super::*;

    const RULES: &str = "
segments: [{id: ext, port: outside}, {id: in, port: inside}]
routers:
- id: r1
  interfaces:
  - {id: in, segment: in, mac: fa:16:3e:00:00:01, addresses: [10.0.0.1/24]}
  - {id: out, segment: ext, mac: fa:16:3e:00:00:02, addresses: [203.0.113.2/24], external: true}
  gateways: [{interface: out, next_hop: 203.0.113.1}]
";

    fn valid(rules: &Rules) -> Valid {
        rules::validate(rules, &["inside".to_owned(), "outside".to_owned()]).unwrap()
    }

    #[tokio::test]
    async fn numbers_and_generations_go_on_where_another_process_ended() {
        let sizes = Sizes::new(64, 2, 4);
        let (state, _shards) = State::anonymous(&sizes, [1, 2, 3, 4]).unwrap();
        let first = valid(&rules::read_rules(RULES).unwrap());
        let first = Ledger::new(Arc::clone(&state)).compile(&first, &RuleSet::default()).await.unwrap();
        // What was there before has other neighbours in the rules now, and keeps its number.
        let more = RULES.replace("segments: [", "segments: [{id: a, port: inside, vlan: 9}, ");
        let more = valid(&rules::read_rules(&more).unwrap());
        let next = Ledger::new(state).compile(&more, &RuleSet::default()).await.unwrap();
        assert_eq!(next.generation, first.generation + 1);
        assert_eq!(next.routers[0].realm, first.routers[0].realm);
        assert_eq!(next.pools[0].realm, first.pools[0].realm);
    }

    #[tokio::test]
    async fn numbers_are_taken_back_once_every_worker_runs_rules_without_them() {
        let sizes = Sizes::new(64, 2, 1);
        let (state, _shards) = State::anonymous(&sizes, [1, 2, 3, 4]).unwrap();
        let ledger = Ledger::new(Arc::clone(&state));
        let whole = rules::read_rules(RULES).unwrap();
        let mut moved = whole.clone();
        moved.routers[0].interfaces[1].addresses = vec!["203.0.113.3/24".parse().unwrap()];

        let first = ledger.compile(&valid(&whole), &RuleSet::default()).await.unwrap();
        // The old address has its number until it is known that no port of it is in use.
        let error = ledger.compile(&valid(&moved), &first).await.unwrap_err();
        assert!(error.to_string().contains("external_addresses_max"), "{error}");
        let none = ledger.compile(&valid(&Rules::default()), &first).await.unwrap();
        ledger.release(first.generation).await;
        assert_eq!(state.numbers().addresses().count(), 1, "a worker may still run the first rules");
        assert_eq!(state.numbers().realms().filter(|(_, entry)| entry.retired).count(), 3);
        ledger.release(none.generation).await;
        // An address is named by its network's number.
        assert_eq!(state.numbers().addresses().count(), 0);
        ledger.release(none.generation).await;
        assert_eq!(state.numbers().realms().count(), 0);
        let last = ledger.compile(&valid(&moved), &none).await.unwrap();
        assert_eq!(last.generation, 3, "what failed has no generation");
    }
}
