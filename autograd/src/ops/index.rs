//! Ops that choose elements by index or by condition. Indices and conditions are tensors: they have no gradient.

use tensor::{DType, Device, Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// How an index chooses: slices of an axis by a vector, or one element per element of the index.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// `index_select` and `index_add`.
    Slices,
    /// `gather` and `scatter_add`.
    Elements,
}

/// An axis and an index along it.
#[derive(Clone, Debug)]
struct Along {
    kind: Kind,
    axis: isize,
    index: Tensor,
}

/// Slices or elements of a tensor of shape `from`. Derivative: [`AddAt`] zeros, so that repeated indices add up. Same as
/// `torch.index_select` and `torch.gather`.
#[derive(Clone, Debug)]
struct TakeFrom {
    from: Shape,
    along: Along,
}

impl Op for TakeFrom {
    fn name(&self) -> &'static str {
        if self.along.kind == Kind::Slices { "index_select" } else { "gather" }
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let Along { kind, axis, index } = &self.along;
        match kind {
            Kind::Slices => inputs[0].index_select(*axis, index),
            Kind::Elements => inputs[0].gather(*axis, index),
        }
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let zeros = Tensor::zeros(self.from, dy.dtype(), dy.value().device());
        let add = AddAt { along: self.along.clone() };
        vec![Some(Var::apply(add, &[&Var::constant(zeros), dy]))]
    }
}

/// The first input with the second added at the index. Derivatives: `dy`, and [`TakeFrom`] it. Same as
/// `torch.index_add` and `torch.scatter_add`.
#[derive(Clone, Debug)]
struct AddAt {
    along: Along,
}

impl Op for AddAt {
    fn name(&self) -> &'static str {
        if self.along.kind == Kind::Slices { "index_add" } else { "scatter_add" }
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let Along { kind, axis, index } = &self.along;
        match kind {
            Kind::Slices => inputs[0].index_add(*axis, index, inputs[1]),
            Kind::Elements => inputs[0].scatter_add(*axis, index, inputs[1]),
        }
    }
    fn backward(&self, _saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let take = || TakeFrom { from: dy.shape(), along: self.along.clone() };
        vec![Some(dy.clone()), wanted[1].then(|| Var::apply(take(), &[dy]))]
    }
}

/// `a` where the condition holds, else `b`, with broadcasting. Derivatives: `dy` where chosen, else 0. Same as
/// `torch.where`.
#[derive(Clone, Debug)]
struct Where {
    condition: Tensor,
}

impl Op for Where {
    fn name(&self) -> &'static str {
        "where"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        self.condition.where_(inputs[0], inputs[1])
    }
    fn backward(&self, _saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let zero = Var::constant(super::scalar_like(dy.value(), 0.0));
        vec![
            wanted[0].then(|| dy.where_(&self.condition, &zero)),
            wanted[1].then(|| zero.where_(&self.condition, dy)),
        ]
    }
}

/// `value` where the mask holds, else `x`. Derivative: 0 where it holds, else `dy`. Same as `torch.masked_fill`.
#[derive(Clone, Debug)]
struct MaskedFill {
    mask: Tensor,
    value: f64,
}

impl Op for MaskedFill {
    fn name(&self) -> &'static str {
        "masked_fill"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].masked_fill(&self.mask, self.value)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.masked_fill(&self.mask, 0.0))]
    }
}

impl Var {
    #[track_caller]
    fn take(&self, kind: Kind, axis: isize, index: &Tensor) -> Var {
        let along = Along { kind, axis, index: index.clone() };
        Var::apply(TakeFrom { from: self.shape(), along }, &[self])
    }

    /// Slices along `axis` in the order of the I64 vector `index`. Same as `torch.index_select`.
    ///
    /// # Panics
    /// As [`Tensor::index_select`].
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Var {
        self.take(Kind::Slices, axis, index)
    }

    /// Rows of this table `[n, features]` for an I64 index of any shape: `[index.., features]`. Same as
    /// `torch.nn.functional.embedding`.
    ///
    /// # Panics
    /// As [`Tensor::embedding`].
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Var {
        assert!(
            self.dims().len() == 2,
            "embedding: table of shape {} is not a matrix",
            self.shape()
        );
        let rows = self.index_select(0, &index.reshape([index.numel()]));
        rows.reshape([index.dims(), &self.dims()[1..]].concat())
    }

    /// `y[.., i, ..] = x[.., index[.., i, ..], ..]` along `axis`. Same as `torch.gather`.
    ///
    /// # Panics
    /// As [`Tensor::gather`].
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Var {
        self.take(Kind::Elements, axis, index)
    }

    /// With slice `i` of `src` added to slice `index[i]` of `axis`. Same as `torch.index_add`.
    ///
    /// # Panics
    /// As [`Tensor::index_add`].
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor, src: &Var) -> Var {
        let along = Along { kind: Kind::Slices, axis, index: index.clone() };
        Var::apply(AddAt { along }, &[self, src])
    }

    /// With `src[.., i, ..]` added at `[.., index[.., i, ..], ..]`. Same as `torch.scatter_add`.
    ///
    /// # Panics
    /// As [`Tensor::scatter_add`].
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, src: &Var) -> Var {
        let along = Along { kind: Kind::Elements, axis, index: index.clone() };
        Var::apply(AddAt { along }, &[self, src])
    }

    /// This where the U8 condition holds, else `other`; all three broadcast. Same as `torch.where(condition, self,
    /// other)`.
    ///
    /// # Panics
    /// As [`Tensor::where_`].
    #[track_caller]
    pub fn where_(&self, condition: &Tensor, other: &Var) -> Var {
        Var::apply(Where { condition: condition.clone() }, &[self, other])
    }

    /// `value` where the U8 mask holds; the mask broadcasts. Same as `torch.masked_fill`.
    ///
    /// # Panics
    /// As [`Tensor::masked_fill`].
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Var {
        Var::apply(MaskedFill { mask: mask.clone(), value }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "index_select",
        formula: "x[index]",
        case: |d| {
            let (shape, axis, index) = draw_slices(d);
            Case::new(vec![d.normal(shape)], move |v| v[0].index_select(axis, &index))
        },
    },
    OpInfo {
        name: "index_add",
        formula: "x[index] += src",
        case: |d| {
            let (shape, axis, index) = draw_slices(d);
            let part = shape.with_axis(axis as usize, index.numel());
            let inputs = vec![d.normal(shape), d.normal(part)];
            Case::new(inputs, move |v| v[0].index_add(axis, &index, &v[1]))
        },
    },
    OpInfo {
        name: "gather",
        formula: "x[index[i]][j]",
        case: |d| {
            let (shape, axis, index) = draw_elements(d);
            Case::new(vec![d.normal(shape)], move |v| v[0].gather(axis, &index))
        },
    },
    OpInfo {
        name: "scatter_add",
        formula: "x[index[i]][j] += src[i][j]",
        case: |d| {
            let (shape, axis, index) = draw_elements(d);
            let inputs = vec![d.normal(shape), d.normal(index.shape())];
            Case::new(inputs, move |v| v[0].scatter_add(axis, &index, &v[1]))
        },
    },
    OpInfo {
        name: "where",
        formula: "a if condition else b",
        case: |d| {
            let (a, b) = d.broadcasting_shapes();
            let shape = if d.flag() { a } else { b };
            let condition = draw_mask(d, shape);
            Case::new(vec![d.normal(a), d.normal(b)], move |v| v[0].where_(&condition, &v[1]))
        },
    },
    OpInfo {
        name: "masked_fill",
        formula: "value if mask else x",
        case: |d| {
            let shape = d.shape(0..=4);
            let skip = d.int(0..=shape.rank());
            let mask = draw_mask(d, Shape::new(&shape[skip..]));
            Case::new(vec![d.normal(shape)], move |v| v[0].masked_fill(&mask, 0.7))
        },
    },
];

fn draw_mask(d: &mut Draw, shape: Shape) -> Tensor {
    Tensor::bernoulli_mask(0.5, shape, DType::U8, Device::Cpu, d.stream())
}

/// Integers below `n`, none if `n` is 0.
fn draw_indices(d: &mut Draw, shape: Shape, n: usize) -> Tensor {
    let values: Vec<i64> = (0..shape.numel()).map(|_| d.int(0..=n - 1) as i64).collect();
    Tensor::new(&values, shape)
}

/// A shape, one of its axes and an index of slices, some of them repeated.
fn draw_slices(d: &mut Draw) -> (Shape, isize, Tensor) {
    let shape = d.shape(1..=4);
    let axis = d.int(0..=shape.rank() - 1);
    let count = if shape[axis] == 0 { 0 } else { d.int(0..=6) };
    let index = draw_indices(d, Shape::new(&[count]), shape[axis]);
    (shape, axis as isize, index)
}

/// A shape, one of its axes and an index of elements that may be shorter along the others.
fn draw_elements(d: &mut Draw) -> (Shape, isize, Tensor) {
    let shape = d.shape(1..=3);
    let axis = d.int(0..=shape.rank() - 1);
    let mut dims: Vec<usize> = shape.iter().map(|&n| d.int(n / 2..=n)).collect();
    dims[axis] = if shape[axis] == 0 { 0 } else { d.int(0..=5) };
    let index = draw_indices(d, Shape::new(&dims), shape[axis]);
    (shape, axis as isize, index)
}
