//! Runs of bits, 64 in a word.

/// Live bits in a word, and deadlines looked at in one step.
pub(crate) const WORD_SLOTS: usize = u64::BITS as usize;

/// Cuts a run of slots at the borders of the words of live bits: where each piece starts and how long it is.
pub(super) fn steps(from: usize, end: usize) -> impl Iterator<Item = (usize, usize)> {
    let mut start = from;
    std::iter::from_fn(move || {
        let count = (end - start).min(WORD_SLOTS - start % WORD_SLOTS);
        let step = (count > 0).then_some((start, count));
        start += count;
        step
    })
}

/// The bits that are set, the lowest first.
pub(crate) fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (bits != 0).then(|| bits.trailing_zeros() as usize);
        bits &= bits.wrapping_sub(1);
        lowest
    })
}
