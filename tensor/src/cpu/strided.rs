//! Loops over several strided operands of one shape.

use crate::layout::Layout;

/// The axes of `K` operands that share a shape, merged where memory allows, ready to be walked row by row.
///
/// `inner` is the last axis in the first operand's memory order; `outer` the others, outermost first.
pub(crate) struct Rows<const K: usize> {
    outer: Vec<(usize, [usize; K])>,
    /// Length of a row.
    pub(crate) len: usize,
    /// Step between neighbors of a row, per operand.
    pub(crate) steps: [usize; K],
    offsets: [usize; K],
}

impl<const K: usize> Rows<K> {
    /// All layouts must have the same shape; rows follow the memory order of the first.
    pub(crate) fn new(layouts: [&Layout; K]) -> Self {
        let (order, rank) = layouts[0].memory_order();
        let mut axes: Vec<(usize, [usize; K])> = Vec::with_capacity(rank);
        for &axis in &order[..rank] {
            let len = layouts[0].shape[axis];
            if len == 1 {
                continue;
            }
            let steps = layouts.map(|l| l.strides()[axis]);
            match axes.last_mut() {
                // The outer axis continues where the inner one ends: one longer axis.
                Some((n, s)) if (0..K).all(|k| s[k] == steps[k] * len) => {
                    *n *= len;
                    *s = steps;
                }
                _ => axes.push((len, steps)),
            }
        }
        let (len, steps) = axes.pop().unwrap_or((1, [1; K]));
        Rows { outer: axes, len, steps, offsets: layouts.map(|l| l.offset) }
    }

    /// Number of rows.
    pub(crate) fn count(&self) -> usize {
        self.outer.iter().map(|(n, _)| n).product()
    }

    /// Offsets of the first element of row `index`, per operand.
    pub(crate) fn start(&self, mut index: usize) -> [usize; K] {
        let mut at = self.offsets;
        for (n, steps) in self.outer.iter().rev() {
            let i = index % n;
            index /= n;
            for k in 0..K {
                at[k] += i * steps[k];
            }
        }
        at
    }
}
