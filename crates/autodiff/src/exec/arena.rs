//! Offsets in the arena: buffers that are never alive together share memory.

/// A buffer's size and the first and last step that touch it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) len: usize,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Elements that every offset is a multiple of: a cache line of `f32`.
const ALIGN: usize = 16;

/// Offsets of the spans and the size of the arena: first fit, in the order of the first step.
pub(super) fn place(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| spans[i].first);
    let (mut offsets, mut size) = (vec![0; spans.len()], 0);
    // Offset and span of what is alive, by offset.
    let mut alive: Vec<(usize, usize)> = Vec::new();
    for i in order {
        alive.retain(|&(_, j)| spans[j].last >= spans[i].first);
        let len = spans[i].len.next_multiple_of(ALIGN);
        let mut at = 0;
        let mut slot = alive.len();
        for (k, &(offset, j)) in alive.iter().enumerate() {
            if offset >= at + len {
                slot = k;
                break;
            }
            at = offset + spans[j].len.next_multiple_of(ALIGN);
        }
        alive.insert(slot, (at, i));
        offsets[i] = at;
        size = size.max(at + len);
    }
    (offsets, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_only_when_apart() {
        let mut state = 1u64;
        let mut next = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            ((state >> 33) % n) as usize
        };
        let spans: Vec<Span> = (0..200).map(|first| Span { len: next(90), first, last: first + next(20) }).collect();
        let (at, size) = place(&spans);
        for (i, x) in spans.iter().enumerate() {
            assert!(at[i] + x.len <= size && at[i] % ALIGN == 0);
            for (j, y) in spans.iter().enumerate().skip(i + 1) {
                let together = x.first <= y.last && y.first <= x.last;
                let apart = at[i] + x.len <= at[j] || at[j] + y.len <= at[i];
                assert!(!together || apart, "{i} and {j}");
            }
        }
        assert!(size < spans.iter().map(|s| s.len).sum::<usize>() / 3);
    }
}
