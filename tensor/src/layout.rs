//! [`Layout`]: where the elements of a tensor lie in its storage.

use crate::shape::{MAX_RANK, Shape};

/// Shape, strides (in elements) and offset of a view into a storage.
///
/// Strides are never negative; a stride of 0 repeats one element along a broadcast axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) shape: Shape,
    strides: [usize; MAX_RANK],
    pub(crate) offset: usize,
}

impl Layout {
    pub(crate) fn contiguous(shape: Shape) -> Self {
        Layout { shape, strides: shape.contiguous_strides(), offset: 0 }
    }

    /// The layout of a dense tensor of `shape` whose axes lie in memory in the order of `order` (outermost first).
    pub(crate) fn dense(shape: Shape, order: &[usize]) -> Self {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for &axis in order.iter().rev() {
            strides[axis] = step;
            step *= shape[axis].max(1);
        }
        Layout { shape, strides, offset: 0 }
    }

    /// Dense memory in the order N, H, W, C for a logical shape `[N, C, H, W]`.
    pub(crate) fn channels_last(shape: Shape) -> Self {
        Layout::dense(shape, &[0, 2, 3, 1])
    }

    /// Dense memory with axis 1 innermost, the others in logical order: channels last for any number of axes.
    pub(crate) fn channels_innermost(shape: Shape) -> Self {
        let mut order = [0; MAX_RANK];
        for (o, axis) in order[1..].iter_mut().zip(2..shape.rank()) {
            *o = axis;
        }
        order[shape.rank() - 1] = 1;
        Layout::dense(shape, &order[..shape.rank()])
    }

    /// Whether memory is as [`channels_innermost`](Self::channels_innermost) makes it.
    pub(crate) fn has_channels_innermost(&self) -> bool {
        self.shape.rank() >= 2
            && self.is_dense_in([1].into_iter().chain((2..self.shape.rank()).rev()).chain([0]))
    }

    pub(crate) fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.rank()]
    }

    fn is_dense_in(&self, order: impl Iterator<Item = usize>) -> bool {
        let mut step = 1;
        for axis in order {
            // The stride of an axis of length 1 is never used.
            if self.shape[axis] != 1 && self.strides[axis] != step {
                return self.shape.numel() == 0;
            }
            step *= self.shape[axis];
        }
        true
    }

    pub(crate) fn is_contiguous(&self) -> bool {
        self.is_dense_in((0..self.shape.rank()).rev())
    }

    pub(crate) fn is_channels_last(&self) -> bool {
        self.shape.rank() == 4 && self.is_dense_in([1, 3, 2, 0].into_iter())
    }

    /// The axes from outermost to innermost in memory (larger stride first, ties in logical order).
    pub(crate) fn memory_order(&self) -> ([usize; MAX_RANK], usize) {
        let rank = self.shape.rank();
        let mut order = [0; MAX_RANK];
        for (i, o) in order.iter_mut().enumerate().take(rank) {
            *o = i;
        }
        // An axis of length 1 says nothing about order: it stays beside its logical neighbor.
        order[..rank].sort_by(|&a, &b| self.strides[b].cmp(&self.strides[a]));
        (order, rank)
    }

    /// Whether every element of one gap-free block of storage occurs exactly once (in any axis order).
    pub(crate) fn is_dense(&self) -> bool {
        if self.is_contiguous() || self.is_channels_last() {
            return true;
        }
        let (order, rank) = self.memory_order();
        self.is_dense_in(order[..rank].iter().rev().copied())
    }

    /// A dense layout for a new tensor of the same shape, in the same memory order where this one is dense,
    /// else contiguous. Elementwise results keep the memory format of their input this way.
    pub(crate) fn dense_like(&self) -> Self {
        if self.is_contiguous() || !self.is_dense() {
            return Layout::contiguous(self.shape);
        }
        let (order, rank) = self.memory_order();
        Layout::dense(self.shape, &order[..rank])
    }

    /// Whether both layouts visit their storage in the same relative order (offset aside).
    pub(crate) fn same_order(&self, other: &Layout) -> bool {
        self.shape == other.shape
            && (0..self.shape.rank())
                .all(|i| self.shape[i] <= 1 || self.strides[i] == other.strides[i])
    }

    pub(crate) fn permute(&self, axes: &[usize]) -> Self {
        let mut out = *self;
        let mut dims = [0; MAX_RANK];
        for (i, &axis) in axes.iter().enumerate() {
            dims[i] = self.shape[axis];
            out.strides[i] = self.strides[axis];
        }
        out.shape = Shape::new(&dims[..axes.len()]);
        out
    }

    /// Elements `start..end` of `axis` in steps of `step`.
    pub(crate) fn slice(&self, axis: usize, start: usize, end: usize, step: usize) -> Self {
        let mut out = *self;
        out.shape = self.shape.with_axis(axis, (end - start).div_ceil(step));
        out.offset += start * self.strides[axis];
        out.strides[axis] *= step;
        if out.shape.numel() == 0 {
            // A view of nothing may begin behind the end of its storage.
            out.offset = 0;
        }
        out
    }

    /// Broadcast to `shape`, or `None` where NumPy's rules forbid it.
    pub(crate) fn broadcast_to(&self, shape: Shape) -> Option<Self> {
        if self.shape.broadcast(&shape)? != shape {
            return None;
        }
        let lead = shape.rank() - self.shape.rank();
        let mut out = Layout { shape, strides: [0; MAX_RANK], offset: self.offset };
        for i in 0..self.shape.rank() {
            out.strides[lead + i] =
                if self.shape[i] == shape[lead + i] { self.strides[i] } else { 0 };
        }
        Some(out)
    }

    /// The same elements under another shape without a copy, or `None` where the strides do not allow it.
    pub(crate) fn reshape(&self, shape: Shape) -> Option<Self> {
        if self.is_contiguous() || shape.numel() == 0 {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(shape) });
        }
        // Walk both shapes in groups of axes with equal products; inside a group of old axes
        // memory must be contiguous.
        let mut out = Layout { shape, strides: [0; MAX_RANK], offset: self.offset };
        let old: Vec<(usize, usize)> = (0..self.shape.rank())
            .filter(|&i| self.shape[i] != 1)
            .map(|i| (self.shape[i], self.strides[i]))
            .collect();
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (i0, j0) = (i, j);
            let (mut a, mut b) = (old[i].0, 1);
            i += 1;
            while a != b {
                if b < a {
                    b *= shape[j];
                    j += 1;
                } else {
                    a *= old[i].0;
                    i += 1;
                }
            }
            if old[i0..i].windows(2).any(|w| w[0].1 != w[1].0 * w[1].1) {
                return None;
            }
            let mut stride = old[i - 1].1;
            for axis in (j0..j).rev() {
                out.strides[axis] = stride;
                stride *= shape[axis];
            }
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(shape: &[usize]) -> Layout {
        Layout::contiguous(Shape::new(shape))
    }

    #[test]
    fn reshape_of_a_transposed_view_splits_but_does_not_merge() {
        let t = layout(&[4, 6]).permute(&[1, 0]);
        let split = t.reshape(Shape::new(&[2, 3, 4])).expect("splitting an axis needs no copy");
        assert_eq!(split.strides(), &[3, 1, 6]);
        assert!(t.reshape(Shape::new(&[24])).is_none());
    }

    #[test]
    fn channels_last_is_dense_and_kept() {
        let l = Layout::channels_last(Shape::new(&[2, 3, 4, 5]));
        assert_eq!(l.strides(), &[60, 1, 15, 3]);
        assert!(l.is_dense() && !l.is_contiguous());
        assert_eq!(l.dense_like().strides(), l.strides());
        assert!(!l.slice(2, 0, 2, 1).is_dense());
    }

    #[test]
    fn broadcast_strides_are_zero() {
        let l = layout(&[3, 1]).broadcast_to(Shape::new(&[2, 3, 4])).unwrap();
        assert_eq!(l.strides(), &[0, 1, 0]);
        assert!(layout(&[3]).broadcast_to(Shape::new(&[4])).is_none());
    }
}
