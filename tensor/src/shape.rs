//! [`Shape`]: the lengths of a tensor's axes, without an allocation.

use std::{fmt, ops::Deref};

/// The largest number of axes of a tensor.
pub const MAX_RANK: usize = 8;

/// Axis lengths, outermost first; up to [`MAX_RANK`] axes; `[]` is a scalar.
///
/// Derefs to `[usize]`, so it is indexed and iterated like a slice. It is `Copy`: an op on 16 numbers
/// should not allocate for its shape.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// The shape with these axis lengths.
    ///
    /// # Panics
    /// With more than [`MAX_RANK`] axes.
    #[track_caller]
    pub fn new(dims: &[usize]) -> Self {
        assert!(
            dims.len() <= MAX_RANK,
            "shape: {dims:?} has {} axes; at most {MAX_RANK} are supported",
            dims.len()
        );
        let mut all = [0; MAX_RANK];
        all[..dims.len()].copy_from_slice(dims);
        Shape { dims: all, rank: dims.len() as u8 }
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.rank as usize
    }

    /// Number of elements: the product of all axis lengths, 1 for a scalar.
    pub fn numel(&self) -> usize {
        self.iter().product()
    }

    /// Strides of the contiguous (row-major) layout of this shape, in elements.
    pub(crate) fn contiguous_strides(&self) -> [usize; MAX_RANK] {
        let mut strides = [0; MAX_RANK];
        let mut step = 1;
        for axis in (0..self.rank()).rev() {
            strides[axis] = step;
            step *= self.dims[axis].max(1);
        }
        strides
    }

    /// A copy with axis `axis` of length `len`.
    pub fn with_axis(mut self, axis: usize, len: usize) -> Self {
        assert!(axis < self.rank(), "shape: axis {axis} is out of range for {self:?}");
        self.dims[axis] = len;
        self
    }

    /// A copy without axis `axis`.
    pub fn without_axis(self, axis: usize) -> Self {
        let mut dims = self.to_vec();
        dims.remove(axis);
        Shape::new(&dims)
    }

    /// The index of `axis`, counted from the end if negative, for an op of name `op`.
    ///
    /// # Panics
    /// If the axis does not exist, naming `op`.
    #[track_caller]
    pub fn axis(&self, op: &str, axis: isize) -> usize {
        axis_index(op, axis, self)
    }

    /// A copy with `axes` (negative: from the end) of length 1: the shape of a reduction that keeps its axes.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, naming `op`.
    #[track_caller]
    pub fn reduced(&self, op: &str, axes: &[isize]) -> Shape {
        resolve_axes(op, axes, self).into_iter().fold(*self, |shape, axis| shape.with_axis(axis, 1))
    }

    /// A copy without `axes` (negative: from the end): the shape of a reduction that drops its axes.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice, naming `op`.
    #[track_caller]
    pub fn without_axes(&self, op: &str, axes: &[isize]) -> Shape {
        let axes = resolve_axes(op, axes, self);
        let kept: Vec<usize> =
            (0..self.rank()).filter(|a| !axes.contains(a)).map(|a| self[a]).collect();
        Shape::new(&kept)
    }

    /// The shape both operands broadcast to by NumPy's rules, or `None` where they do not fit.
    pub fn broadcast(&self, other: &Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let mut out = Shape { dims: [0; MAX_RANK], rank: rank as u8 };
        for i in 0..rank {
            // Axes are aligned at the last one; missing leading axes count as 1.
            let a = if i < self.rank() { self[self.rank() - 1 - i] } else { 1 };
            let b = if i < other.rank() { other[other.rank() - 1 - i] } else { 1 };
            out.dims[rank - 1 - i] = match (a, b) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(out)
    }
}

impl Deref for Shape {
    type Target = [usize];
    fn deref(&self) -> &[usize] {
        &self.dims[..self.rank as usize]
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl From<&[usize]> for Shape {
    #[track_caller]
    fn from(dims: &[usize]) -> Self {
        Shape::new(dims)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: [usize; N]) -> Self {
        Shape::new(&dims)
    }
}

impl<const N: usize> From<&[usize; N]> for Shape {
    #[track_caller]
    fn from(dims: &[usize; N]) -> Self {
        Shape::new(dims)
    }
}

impl From<&Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: &Vec<usize>) -> Self {
        Shape::new(dims)
    }
}

impl From<Vec<usize>> for Shape {
    #[track_caller]
    fn from(dims: Vec<usize>) -> Self {
        Shape::new(&dims)
    }
}

impl From<&Shape> for Shape {
    fn from(shape: &Shape) -> Self {
        *shape
    }
}

/// Turns a possibly negative axis (counted from the end, as in PyTorch) into an index.
///
/// # Panics
/// If the axis does not exist, naming `op`.
#[track_caller]
pub(crate) fn axis_index(op: &str, axis: isize, shape: &Shape) -> usize {
    let rank = shape.rank() as isize;
    let index = if axis < 0 { axis + rank } else { axis };
    assert!(
        (0..rank).contains(&index),
        "{op}: axis {axis} is out of range for shape {shape}, which has {rank} axes"
    );
    index as usize
}

/// Resolves `axes` and checks that none occurs twice.
#[track_caller]
pub(crate) fn resolve_axes(op: &str, axes: &[isize], shape: &Shape) -> Vec<usize> {
    let resolved: Vec<usize> = axes.iter().map(|&a| axis_index(op, a, shape)).collect();
    for (i, a) in resolved.iter().enumerate() {
        assert!(!resolved[..i].contains(a), "{op}: axes {axes:?} of shape {shape} name one twice");
    }
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_follows_numpy() {
        let b = |a: &[usize], b: &[usize]| Shape::new(a).broadcast(&Shape::new(b));
        assert_eq!(b(&[3, 1], &[4]).as_deref(), Some(&[3, 4][..]));
        assert_eq!(b(&[], &[2, 2]).as_deref(), Some(&[2, 2][..]));
        assert_eq!(b(&[0, 1], &[1, 5]).as_deref(), Some(&[0, 5][..]));
        assert_eq!(b(&[2], &[3]), None);
    }

    #[test]
    #[should_panic(expected = "sum: axis 2 is out of range for shape [2, 3], which has 2 axes")]
    fn wrong_axis_names_op_and_shape() {
        axis_index("sum", 2, &Shape::new(&[2, 3]));
    }
}
