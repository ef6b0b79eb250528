mod damage;
mod endings;
mod kinds;
mod process;
mod speed;

use std::time::Duration;

use super::Takeover;

#[test]
fn an_operator_is_told_what_was_found_in_all_shards_together() {
    let found = |shards_recounted| Takeover {
        sessions_kept: 20,
        sessions_dropped: 3,
        mappings_kept: 10,
        entries_repaired: 4,
        shards_recounted,
        ..Takeover::default()
    };
    let mut sum = Takeover { crashed: true, elapsed: Duration::from_millis(7), ..Takeover::default() };
    sum.add(&found(1));
    sum.add(&found(0));
    assert_eq!(
        sum.to_string(),
        "took over 40 sessions and 20 mappings after a crash, in 0.007 s; dropped 6 damaged sessions; \
         repaired 8 index entries; counted again in 1 shards"
    );
}
