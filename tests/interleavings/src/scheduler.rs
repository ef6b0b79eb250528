//! The scheduler that this crate is compiled for, under one name.

#[cfg(loom)]
pub(crate) use loom::thread;
#[cfg(shuttle)]
pub(crate) use shuttle::thread;

/// Times a thread is interrupted where it could have gone on: nearly all mistakes show with two, and each more costs
/// ten times the schedules. A thread that has to wait, or ends, is none.
#[cfg(loom)]
const PREEMPTIONS_MAX: usize = 3;

/// Runs a model in all interleavings.
#[cfg(loom)]
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(PREEMPTIONS_MAX));
    builder.max_branches = 100_000;
    let schedules = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&schedules);
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    println!("{} schedules", schedules.load(std::sync::atomic::Ordering::Relaxed));
}

/// Random schedules: half with a switch possible at every step, half with a few switches at chosen moments.
#[cfg(shuttle)]
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let model = std::sync::Arc::new(model);
    let again = std::sync::Arc::clone(&model);
    shuttle::check_random(move || model(), SCHEDULES / 2);
    shuttle::check_pct(move || again(), SCHEDULES / 2, 3);
}

#[cfg(shuttle)]
const SCHEDULES: usize = 4_000;
