//! Ops that move elements and do not change them: views, joins, reversals.

use tensor::{Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The same elements under another shape. Derivative: `dy` reshaped back. Same as `torch.reshape`.
#[derive(Clone, Debug)]
struct Reshape {
    from: Shape,
    shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].reshape(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.reshape(self.from))]
    }
}

/// Axes in another order. Derivative: `dy` with the axes in the old order. Same as `torch.permute`.
#[derive(Clone, Debug)]
struct Permute {
    axes: Vec<usize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].permute(&self.axes)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let mut back = vec![0; self.axes.len()];
        for (to, &from) in self.axes.iter().enumerate() {
            back[from] = to;
        }
        vec![Some(dy.permute(&back))]
    }
}

/// Every `step`-th element of an axis from `start` before `end`.
#[derive(Clone, Copy, Debug)]
struct Range {
    axis: usize,
    start: usize,
    end: usize,
    step: usize,
}

/// A range of an axis. Derivative: [`Unslice`]. Same as `x[start:end:step]`.
#[derive(Clone, Debug)]
struct Slice {
    from: Shape,
    range: Range,
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let Range { axis, start, end, step } = self.range;
        inputs[0].slice(axis as isize, start, end, step)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(Unslice { shape: self.from, range: self.range }, &[dy]))]
    }
}

/// Zeros of `shape` with the input in a range of an axis. Derivative: [`Slice`].
#[derive(Clone, Debug)]
struct Unslice {
    shape: Shape,
    range: Range,
}

impl Op for Unslice {
    fn name(&self) -> &'static str {
        "unslice"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let (x, Range { axis, start, end, step }) = (inputs[0], self.range);
        let zeros = |n: usize| Tensor::zeros(self.shape.with_axis(axis, n), x.dtype(), x.device());
        let length = self.shape[axis];
        if step == 1 {
            return Tensor::cat(&[&zeros(start), x, &zeros(length - end)], axis as isize);
        }
        let places: Vec<i64> = (start..end).step_by(step).map(|i| i as i64).collect();
        let places = Tensor::new(&places, [places.len()]).to_device(x.device());
        zeros(length).index_add(axis as isize, &places, x)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(Slice { from: self.shape, range: self.range }, &[dy]))]
    }
}

/// Tensors one behind the other along `axis`. Derivative: the parts of `dy`. Same as `torch.cat`.
#[derive(Clone, Debug)]
struct Cat {
    axis: usize,
    lengths: Vec<usize>,
}

impl Op for Cat {
    fn name(&self) -> &'static str {
        "cat"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        Tensor::cat(inputs, self.axis as isize)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let mut start = 0;
        let part = |(&n, &wanted): (&usize, &bool)| {
            start += n;
            wanted.then(|| dy.narrow(self.axis as isize, start - n, n))
        };
        self.lengths.iter().zip(wanted).map(part).collect()
    }
}

/// Elements in reverse order along axes. Derivative: `dy` reversed. Same as `torch.flip`.
#[derive(Clone, Debug)]
struct Flip {
    axes: Vec<isize>,
}

impl Op for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].flip(&self.axes)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.flip(&self.axes))]
    }
}

impl Var {
    /// The same elements under another shape. Same as `torch.reshape`.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Var {
        let (from, shape) = (self.shape(), shape.into());
        if from == shape { self.clone() } else { Var::apply(Reshape { from, shape }, &[self]) }
    }

    /// All axes from `first` on as one. Same as `torch.flatten`.
    ///
    /// # Panics
    /// If there are fewer than `first` axes.
    #[track_caller]
    pub fn flatten(&self, first: usize) -> Var {
        let dims = self.dims();
        assert!(first <= dims.len(), "flatten: shape {} has no axis {first}", self.shape());
        let (kept, merged) = dims.split_at(first);
        self.reshape([kept, &[merged.iter().product()]].concat())
    }

    /// Axes in another order. Same as `torch.permute`.
    ///
    /// # Panics
    /// If `axes` is not a permutation of all axes.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Var {
        Var::apply(Permute { axes: axes.to_vec() }, &[self])
    }

    /// Two axes exchanged (negative: from the end). Same as `torch.transpose`.
    ///
    /// # Panics
    /// If an axis does not exist.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Var {
        let shape = self.shape();
        let mut axes: Vec<usize> = (0..shape.rank()).collect();
        axes.swap(shape.axis("transpose", a), shape.axis("transpose", b));
        self.permute(&axes)
    }

    /// `len` elements of `axis` from `start`. Same as `torch.narrow`.
    ///
    /// # Panics
    /// If the range does not lie inside the axis.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Var {
        self.slice(axis, start, start + len, 1)
    }

    /// Elements `start, start + step, ..` before `end` of `axis`. Same as `x[start:end:step]`.
    ///
    /// # Panics
    /// If the range does not lie inside the axis or `step` is 0.
    #[track_caller]
    pub fn slice(&self, axis: isize, start: usize, end: usize, step: usize) -> Var {
        let from = self.shape();
        let range = Range { axis: from.axis("slice", axis), start, end, step };
        Var::apply(Slice { from, range }, &[self])
    }

    /// Index `index` of `axis`, with the axis removed. Same as `torch.select`.
    ///
    /// # Panics
    /// If the index does not lie inside the axis.
    #[track_caller]
    pub fn select(&self, axis: isize, index: usize) -> Var {
        self.narrow(axis, index, 1).squeeze(axis)
    }

    /// Without `axis`, which must have length 1. Same as `torch.squeeze`.
    ///
    /// # Panics
    /// If the axis does not exist or has another length.
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Var {
        self.reshape(self.value().squeeze(axis).shape())
    }

    /// With a new axis of length 1 at `axis` (`-1` puts it last). Same as `torch.unsqueeze`.
    ///
    /// # Panics
    /// If there are not that many axes.
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Var {
        self.reshape(self.value().unsqueeze(axis).shape())
    }

    /// Variables one behind the other along `axis`. Same as `torch.cat`.
    ///
    /// # Panics
    /// If there is none, shapes differ in another axis than `axis`, or dtypes or devices differ.
    #[track_caller]
    pub fn cat(vars: &[&Var], axis: isize) -> Var {
        assert!(!vars.is_empty(), "cat: no tensors given");
        let axis = vars[0].shape().axis("cat", axis);
        // Checked here too: the forward checks only after the lengths were read.
        let lengths = vars.iter().map(|v| v.dims().get(axis).copied().unwrap_or(0)).collect();
        Var::apply(Cat { axis, lengths }, vars)
    }

    /// Variables of one shape along a new axis at `axis` (`-1` puts it last). Same as `torch.stack`.
    ///
    /// # Panics
    /// If there is none, or shapes, dtypes or devices differ.
    #[track_caller]
    pub fn stack(vars: &[&Var], axis: isize) -> Var {
        let parts: Vec<Var> = vars.iter().map(|v| v.unsqueeze(axis)).collect();
        Var::cat(&parts.iter().collect::<Vec<_>>(), axis)
    }

    /// Elements in reverse order along `axes`. Same as `torch.flip`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn flip(&self, axes: &[isize]) -> Var {
        Var::apply(Flip { axes: axes.to_vec() }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "reshape",
        formula: "x under another shape",
        case: |d| {
            let shape = d.shape(0..=4);
            let target = match d.int(0..=2) {
                0 => Shape::new(&[shape.numel()]),
                1 => Shape::new(&shape.iter().rev().copied().collect::<Vec<_>>()),
                _ => Shape::new(&[&[1], &shape[..], &[1]].concat()),
            };
            Case::new(vec![d.normal(shape)], move |v| v[0].reshape(target))
        },
    },
    OpInfo {
        name: "permute",
        formula: "x with axes in another order",
        case: |d| {
            let shape = d.shape(0..=4);
            let axes = d.stream().permutation(shape.rank());
            Case::new(vec![d.normal(shape)], move |v| v[0].permute(&axes))
        },
    },
    OpInfo {
        name: "slice",
        formula: "x[start:end:step]",
        case: |d| {
            let (shape, range) = draw_range(d);
            Case::new(vec![d.normal(shape)], move |v| {
                v[0].slice(range.axis as isize, range.start, range.end, range.step)
            })
        },
    },
    OpInfo {
        name: "unslice",
        formula: "zeros with x at [start:end:step]",
        case: |d| {
            let (shape, range) = draw_range(d);
            let part = shape.with_axis(range.axis, (range.end - range.start).div_ceil(range.step));
            Case::new(vec![d.normal(part)], move |v| Var::apply(Unslice { shape, range }, &[&v[0]]))
        },
    },
    OpInfo {
        name: "cat",
        formula: "a, b, .. one behind the other",
        case: |d| {
            let shape = d.shape(1..=4);
            let axis = d.int(0..=shape.rank() - 1);
            let parts = d.int(1..=3);
            let parts = (0..parts).map(|_| d.len(0..=3, 20..=30)).collect::<Vec<_>>();
            let inputs = parts.iter().map(|&n| d.normal(shape.with_axis(axis, n))).collect();
            Case::new(inputs, move |v| Var::cat(&v.iter().collect::<Vec<_>>(), axis as isize))
        },
    },
    OpInfo {
        name: "flip",
        formula: "x reversed along axes",
        case: |d| {
            let (shape, axes, _) = super::reduce::draw_axes(d);
            Case::new(vec![d.normal(shape)], move |v| v[0].flip(&axes))
        },
    },
];

fn draw_range(d: &mut Draw) -> (Shape, Range) {
    let shape = d.shape(1..=4);
    let axis = d.int(0..=shape.rank() - 1);
    let start = d.int(0..=shape[axis]);
    let end = d.int(start..=shape[axis]);
    let step = d.int(1..=3);
    (shape, Range { axis, start, end, step })
}
