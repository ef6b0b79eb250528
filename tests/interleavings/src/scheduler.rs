//! The scheduler that this crate is compiled for, under one name.

use std::sync::Arc;
#[cfg(loom)]
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(shuttle)]
pub(crate) use shuttle::thread;

/// Runs a model in all interleavings.
#[cfg(loom)]
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    explore_within(None, model);
}

/// Runs a model of more steps in all interleavings in which a thread is interrupted, where it could have gone on, no
/// more than three times. Nearly all mistakes show with two, and each more costs ten times the schedules.
#[cfg(loom)]
pub(crate) fn explore_bounded(model: impl Fn() + Sync + Send + 'static) {
    explore_within(Some(3), model);
}

#[cfg(loom)]
fn explore_within(preemptions_max: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(preemptions_max);
    builder.max_branches = 100_000;
    let schedules = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&schedules);
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    println!("{} schedules", schedules.load(Ordering::Relaxed));
}

/// Random schedules: half with a switch possible at every step, half with a few switches at chosen moments.
#[cfg(shuttle)]
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    shuttle::check_random(move || model(), SCHEDULES / 2);
    shuttle::check_pct(move || again(), SCHEDULES / 2, 3);
}

#[cfg(shuttle)]
pub(crate) use explore as explore_bounded;

#[cfg(shuttle)]
const SCHEDULES: usize = 4_000;
