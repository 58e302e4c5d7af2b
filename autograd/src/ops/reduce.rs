//! Sums over axes.

use tensor::{Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// Sum over broadcast axes down to `shape`: the adjoint of broadcasting. Derivative: `dy` broadcast back.
#[derive(Clone, Debug)]
struct SumTo {
    from: Shape,
    shape: Shape,
}

impl Op for SumTo {
    fn name(&self) -> &'static str {
        "sum_to"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].sum_to(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.broadcast_to(self.from))]
    }
}

/// Repeats axes of length 1. Derivative: the sum over them. Same as `torch.broadcast_to`.
#[derive(Clone, Debug)]
struct BroadcastTo {
    from: Shape,
    shape: Shape,
}

impl Op for BroadcastTo {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].broadcast_to(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.sum_to(self.from))]
    }
}

impl Var {
    /// The sum over the axes along which `shape` was broadcast to this variable's shape; itself if equal.
    ///
    /// # Panics
    /// If `shape` does not broadcast to this shape.
    #[track_caller]
    pub fn sum_to(&self, shape: impl Into<Shape>) -> Var {
        let (from, shape) = (self.shape(), shape.into());
        if from == shape { self.clone() } else { Var::apply(SumTo { from, shape }, &[self]) }
    }

    /// The sum of all elements, a scalar.
    pub fn sum(&self) -> Var {
        self.sum_to([])
    }

    /// Repeated along axes of length 1 and new leading axes.
    ///
    /// # Panics
    /// If this shape does not broadcast to `shape`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Var {
        let (from, shape) = (self.shape(), shape.into());
        if from == shape { self.clone() } else { Var::apply(BroadcastTo { from, shape }, &[self]) }
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "sum_to", formula: "sum over broadcast axes", case: sum_to_case },
    OpInfo { name: "broadcast_to", formula: "x repeated", case: broadcast_case },
];

/// A shape and one that broadcasts to it.
fn full_and_part(d: &mut Draw) -> (Shape, Shape) {
    let full = d.shape(0..=4);
    let part: Vec<usize> = full.iter().map(|&n| if d.flag() { 1 } else { n }).collect();
    let skip = d.int(0..=part.len());
    let part = if part[..skip].iter().all(|&n| n == 1) { &part[skip..] } else { &part[..] };
    (full, Shape::new(part))
}

fn sum_to_case(d: &mut Draw) -> Case {
    let (full, part) = full_and_part(d);
    Case::new(vec![d.normal(full)], move |v| v[0].sum_to(part))
}

fn broadcast_case(d: &mut Draw) -> Case {
    let (full, part) = full_and_part(d);
    Case::new(vec![d.normal(part)], move |v| v[0].broadcast_to(full))
}
