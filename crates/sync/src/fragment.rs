//! Which part of a model a round sends (Streaming DiLoCo, arXiv 2501.18512).
//!
//! A model in n fragments sends one of them a round, the r-th round the fragment r mod n. So the link is
//! never asked for the whole model at once, and a fragment has n rounds between two turns of its own.

use std::ops::Range;

/// Cuts the flat vector of a model's parameters into `n` fragments.
///
/// `tensors` are the sizes of the tensors in their order. A cut never goes through a tensor, the largest
/// fragment is as small as it can be, and none is empty: a model of fewer tensors has fewer fragments.
///
/// ```
/// let ranges = sync::fragments(&[4, 4, 1, 1, 6], 3);
/// assert_eq!(ranges, [0..4, 4..10, 10..16]);
/// let round = 7;
/// assert_eq!(ranges[round % ranges.len()], 4..10);
/// ```
pub fn fragments(tensors: &[usize], n: usize) -> Vec<Range<usize>> {
    let sizes: Vec<usize> = tensors.iter().copied().filter(|size| *size > 0).collect();
    let n = n.clamp(1, sizes.len().max(1));
    let most = smallest_largest(&sizes, n);
    let mut ranges = Vec::with_capacity(n);
    let (mut start, mut end) = (0, 0);
    for (i, size) in sizes.iter().enumerate() {
        // Each fragment that is still to come needs a tensor.
        let to_come = n - ranges.len() - 1;
        let full = end - start + size > most || sizes.len() - i == to_come;
        if end > start && full && to_come > 0 {
            ranges.push(start..end);
            start = end;
        }
        end += size;
    }
    if end > start {
        ranges.push(start..end);
    }
    ranges
}

/// The least size that `n` fragments can all stay within.
fn smallest_largest(sizes: &[usize], n: usize) -> usize {
    let fragments = |most: usize| {
        let (mut count, mut filled) = (1, 0);
        for size in sizes {
            if filled + size > most {
                (count, filled) = (count + 1, 0);
            }
            filled += size;
        }
        count
    };
    let mut low = sizes.iter().copied().max().unwrap_or(0);
    let mut high = sizes.iter().sum();
    while low < high {
        let middle = low + (high - low) / 2;
        if fragments(middle) <= n {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_cover_all_at_tensor_boundaries_and_are_balanced(
            sizes in prop::collection::vec(0usize..50, 0..9),
            n in 0usize..6,
        ) {
            let ranges = fragments(&sizes, n);
            let total: usize = sizes.iter().sum();
            let full = sizes.iter().filter(|size| **size > 0).count();
            prop_assert_eq!(ranges.len(), n.max(1).min(full));
            let mut at = 0;
            let boundaries: Vec<usize> = sizes.iter().scan(0, |sum, size| { *sum += size; Some(*sum) }).collect();
            for range in &ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > at && boundaries.contains(&range.end));
                at = range.end;
            }
            prop_assert_eq!(at, total);
            let largest = ranges.iter().map(|range| range.len()).max().unwrap_or(0);
            prop_assert_eq!(largest, by_trying(&sizes, n.max(1)));
        }
    }

    /// The least largest part over every way to cut.
    fn by_trying(sizes: &[usize], n: usize) -> usize {
        if n == 1 || sizes.is_empty() {
            return sizes.iter().sum();
        }
        let cuts = 0..=sizes.len();
        let best = cuts.map(|i| {
            sizes[..i]
                .iter()
                .sum::<usize>()
                .max(by_trying(&sizes[i..], n - 1))
        });
        best.min().unwrap_or(0)
    }
}
