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

/// Offsets of the spans and the size of the arena: first fit, in the order of the first step or of the size, whichever needs less.
pub(super) fn place(spans: &[Span]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&i| spans[i].first);
    let by_time = first_fit(spans, &order);
    order.sort_by_key(|&i| (core::cmp::Reverse(spans[i].len), spans[i].first));
    let by_size = first_fit(spans, &order);
    if by_size.1 < by_time.1 { by_size } else { by_time }
}

/// Every span at the first place that those before it leave free at its time.
fn first_fit(spans: &[Span], order: &[usize]) -> (Vec<usize>, usize) {
    let (mut offsets, mut size) = (vec![0; spans.len()], 0);
    // What is placed, by offset.
    let mut placed: Vec<(usize, usize)> = Vec::with_capacity(spans.len());
    for &i in order {
        let len = spans[i].len.next_multiple_of(ALIGN);
        let mut at = 0;
        for &(offset, j) in &placed {
            let together = spans[j].first <= spans[i].last && spans[i].first <= spans[j].last;
            if !together {
                continue;
            }
            if offset >= at + len {
                break;
            }
            at = at.max(offset + spans[j].len.next_multiple_of(ALIGN));
        }
        placed.insert(placed.partition_point(|p| p.0 < at), (at, i));
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
