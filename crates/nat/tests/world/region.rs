//! A world over a region in a file, which outlives it.

use std::path::{Path, PathBuf};

use nat::{Gateway, HugePages, Sizes, State, Takeover};
use packet::Moment;

use super::{Host, Setup, World, index};

impl World {
    /// Gateways over the state in a file, taken over where another world has left one there.
    pub(crate) fn open(
        path: &Path,
        now: Moment,
        setup: Setup,
        rules: &str,
        hosts: &[Host],
    ) -> (Self, Takeover) {
        let workers = setup.team.workers;
        let sizes = setup.sizes();
        let configuration = setup.configuration();
        let mut world = Self::without_rules(Setup { team: Setup::of_one_worker().team, ..setup });
        let (state, shards, takeover) =
            State::open(path, &sizes, [now.ms(), 2, now.ms(), 4], now, HugePages::NotAsked).unwrap();
        state.assign(1);
        world.team.gateways = vec![Gateway::new(&state, index(0), shards, configuration)];
        world.numbers = state.numbers();
        world.team.state = state;
        world.now = now;
        world.restart(workers);
        hosts.iter().for_each(|host| world.add(*host));
        world.adopt(rules);
        world.pass(100);
        world.heard_arp.clear();
        (world, takeover)
    }

    /// Ends all gateways between two instructions: what lies in the region stays as it is, under another name, because the
    /// first one is locked for as long as this test lives.
    pub(crate) fn kill(self, path: &Path) -> PathBuf {
        let copy = path.with_extension(format!("after-{}", self.now.ms()));
        std::fs::copy(path, &copy).unwrap();
        copy
    }
}
