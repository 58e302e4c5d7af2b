//! Walks of a kernel over strided operands: axes merged on the host, divisions made multiplications.

use super::launch::{Define, Param, Value};
use crate::{layout::Layout, shape::MAX_RANK};

/// Division of 32-bit numbers by a constant, as a multiplication and shifts (`divide` in `common.cuh`).
///
/// Source: Granlund and Montgomery 1994, "Division by invariant integers using multiplication", figure 4.1.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Divisor {
    value: u32,
    magic: u32,
    first_shift: u32,
    second_shift: u32,
}

impl Divisor {
    pub(crate) fn new(value: usize) -> Self {
        let value = u32::try_from(value).ok().filter(|&v| v > 0).expect("an axis of a walk");
        let log = u32::BITS - (value - 1).leading_zeros();
        let magic =
            ((1u64 << 32) * ((1u64 << log) - u64::from(value)) / u64::from(value) + 1) as u32;
        Divisor { value, magic, first_shift: log.min(1), second_shift: log.saturating_sub(1) }
    }

    /// What the device computes.
    #[cfg(test)]
    fn divide(self, n: u32) -> u32 {
        let t = ((u64::from(self.magic) * u64::from(n)) >> 32) as u32;
        (t + ((n - t) >> self.first_shift)) >> self.second_shift
    }
}

// SAFETY: four numbers of 32 bits, as in `common.cuh`.
unsafe impl Param for Divisor {}

/// Element `i` of a dense output, in memory order, and the elements of `K` strided inputs that belong to it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Walk<const K: usize> {
    /// Lengths, innermost axis first; ones behind the last.
    axes: [Divisor; MAX_RANK],
    strides: [[i64; MAX_RANK]; K],
    /// Elements in all.
    n: u32,
    padding: u32,
}

// SAFETY: numbers in the order of `common.cuh`.
unsafe impl<const K: usize> Param for Walk<K> {}

impl Walk<1> {
    /// Lengths and steps of the axes, outermost first; steps may be negative.
    ///
    /// # Panics
    /// If there are more elements than 32 bits can count.
    pub(crate) fn of(op: &str, axes: &[(usize, i64)]) -> Self {
        let n: usize = axes.iter().map(|a| a.0).product();
        assert!(n <= LIMIT, "{op}: {n} elements are more than a CUDA device counts here");
        let mut walk = Walk {
            axes: [Divisor::new(1); MAX_RANK],
            strides: [[0; MAX_RANK]],
            n: n as u32,
            padding: 0,
        };
        for (i, &(len, step)) in axes.iter().rev().enumerate() {
            walk.axes[i] = Divisor::new(len);
            walk.strides[0][i] = step;
        }
        walk
    }

    /// Length and stride of the three innermost axes, innermost first; `(1, 0)` where there is none.
    pub(crate) fn first_axes(&self) -> [(u32, i64); 3] {
        std::array::from_fn(|i| (self.axes[i].value, self.strides[0][i]))
    }
}

/// Walks of at most this many elements: their indices and those of the threads fit 32 bits.
const LIMIT: usize = 1 << 31;
/// Longer walks are cut. In tests much shorter ones are, so that cutting them is tested.
const MOST: usize = if cfg!(test) { 1 << 12 } else { LIMIT };

/// A walk, or a part of one that is too long for 32-bit indices.
pub(crate) struct Part<const K: usize> {
    pub(crate) walk: Walk<K>,
    /// Where the part begins: elements of the output and of the inputs.
    pub(crate) start: usize,
    pub(crate) inputs: [usize; K],
    pub(crate) n: usize,
    axes: usize,
}

impl<const K: usize> Part<K> {
    /// The number of axes after merging.
    pub(crate) fn axes(&self) -> usize {
        self.axes
    }

    /// The rank that the kernel is compiled for.
    pub(crate) fn rank(&self) -> Define {
        self.rank_as("RANK", &RANKS)
    }

    /// As [`rank`](Self::rank) under another name, where kernels are compiled for the ranks `of` only.
    pub(crate) fn rank_as(&self, name: &'static str, of: &[usize]) -> Define {
        let rank = of.iter().find(|&&r| self.axes <= r).expect("the last is the largest rank");
        (name, Value::Int(*rank as i64))
    }
}

/// The ranks kernels are compiled for; walks have no more axes than these after merging, most have one or two.
pub(crate) const RANKS: [usize; 5] = [1, 2, 3, 4, 8];

/// The walk over a dense `output` and `inputs` of the same shape.
pub(crate) fn walk<const K: usize>(output: &Layout, inputs: [&Layout; K]) -> Vec<Part<K>> {
    let (order, rank) = output.memory_order();
    // Outermost first, each with the strides of the output (at K) and of the inputs.
    let mut axes: Vec<(usize, [usize; K], usize)> = Vec::with_capacity(rank);
    for &axis in &order[..rank] {
        let (len, step) = (output.shape[axis], output.strides()[axis]);
        if len == 1 {
            continue;
        }
        let steps = inputs.map(|l| l.strides()[axis]);
        match axes.last_mut() {
            Some((n, outer, out))
                if (0..K).all(|k| outer[k] == steps[k] * len) && *out == step * len =>
            {
                *n *= len;
                (*outer, *out) = (steps, step);
            }
            _ => axes.push((len, steps, step)),
        }
    }
    let mut parts = Vec::new();
    if output.shape.numel() > 0 {
        split(&axes, 0, [0; K], &mut parts);
    }
    parts
}

/// Cuts the outermost axis where there are too many elements.
fn split<const K: usize>(
    axes: &[(usize, [usize; K], usize)],
    start: usize,
    inputs: [usize; K],
    parts: &mut Vec<Part<K>>,
) {
    let n: usize = axes.iter().map(|a| a.0).product();
    if n <= MOST {
        parts.push(part(axes, n, start, inputs));
        return;
    }
    let (len, steps, step) = axes[0];
    let mut rest = axes.to_vec();
    for (from, len) in [(0, len / 2), (len / 2, len - len / 2)] {
        rest[0].0 = len;
        let inputs = std::array::from_fn(|k| inputs[k] + from * steps[k]);
        let axes = if len == 1 { &rest[1..] } else { &rest[..] };
        split(axes, start + from * step, inputs, parts);
    }
}

fn part<const K: usize>(
    axes: &[(usize, [usize; K], usize)],
    n: usize,
    start: usize,
    inputs: [usize; K],
) -> Part<K> {
    let mut walk = Walk {
        axes: [Divisor::new(1); MAX_RANK],
        strides: [[0; MAX_RANK]; K],
        n: n as u32,
        padding: 0,
    };
    for (i, (len, steps, _)) in axes.iter().rev().enumerate() {
        walk.axes[i] = Divisor::new(*len);
        for (strides, &step) in walk.strides.iter_mut().zip(steps) {
            strides[i] = step as i64;
        }
    }
    Part { walk, start, inputs, n, axes: axes.len() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    #[test]
    fn division_is_exact() {
        let numbers =
            [0u32, 1, 2, 3, 6, 7, 9, 10, 99, 641, 65_535, 65_536, 1 << 30, (1 << 31) - 1, 1 << 31];
        for d in numbers.into_iter().filter(|&d| d > 0) {
            for n in numbers.into_iter().chain([d - 1, d, d + 1, d.wrapping_mul(7), 4_294_967_295])
            {
                assert_eq!(Divisor::new(d as usize).divide(n), n / d, "{n} / {d}");
            }
        }
    }

    #[test]
    fn axes_merge_where_memory_allows() {
        let x = Layout::contiguous(Shape::new(&[4, 5, 6]));
        let part = &walk(&x, [&x])[0];
        assert_eq!((part.axes, part.n), (1, 120));
        let bias = Layout::contiguous(Shape::new(&[6])).broadcast_to(x.shape).unwrap();
        assert_eq!(walk(&x, [&x, &bias])[0].axes, 2);
        // Channels last against contiguous.
        let image = Layout::contiguous(Shape::new(&[2, 3, 4, 5]));
        let last = Layout::channels_last(image.shape);
        let part = &walk(&last, [&image])[0];
        assert_eq!((part.axes, part.walk.strides[0][0]), (3, 20));
        assert!(walk(&Layout::contiguous(Shape::new(&[0, 2])), [&image; 0]).is_empty());
    }

    #[test]
    fn long_walks_are_cut() {
        let x = Layout::contiguous(Shape::new(&[3, MOST / 2]));
        let one = Layout::contiguous(Shape::new(&[MOST / 2])).broadcast_to(x.shape).unwrap();
        let parts = walk(&x, [&x, &one]);
        let n: usize = parts.iter().map(|p| p.n).sum();
        assert_eq!((n, parts.len()), (3 * MOST / 2, 2));
        assert_eq!((parts[1].start, parts[1].inputs), (MOST / 2, [MOST / 2, 0]));
    }
}
