//! Pooling over windows of images.

use tensor::{Pool2d, Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The largest element of each window. Derivative: `dy` at that element, at the first in row-major order of several,
/// [`MaxPool2dGrad`]. Same as `torch.nn.functional.max_pool2d`.
#[derive(Clone, Debug)]
struct MaxPool2d {
    pool: Pool2d,
    input: Shape,
}

impl Op for MaxPool2d {
    fn name(&self) -> &'static str {
        "max_pool2d"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let (y, cells) = inputs[0].max_pool2d(&self.pool);
        saver.extra(cells);
        y
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let cells = saved.tensor(0).clone();
        let op = MaxPool2dGrad { pool: self.pool, input: self.input, cells };
        vec![Some(Var::apply(op, &[dy]))]
    }
}

/// `dy` of each window added at the element that was its largest. Derivative: the elements there.
#[derive(Clone, Debug)]
struct MaxPool2dGrad {
    pool: Pool2d,
    input: Shape,
    /// Which cell of each window was the largest, row by row (`U8`).
    cells: Tensor,
}

impl MaxPool2dGrad {
    /// For each window the pixel that was the largest, counted row by row: `[N, C, oh * ow]`, `I64`.
    fn pixels(&self) -> Tensor {
        let [n, c, oh, ow] = self.cells.dims_of();
        let Pool2d { kernel, stride, padding, .. } = self.pool;
        let width = self.input[3];
        let pixel = |(k, &cell): (usize, &u8)| {
            let (i, j) = (k / ow % oh, k % ow);
            let (r, s) = (usize::from(cell) / kernel[1], usize::from(cell) % kernel[1]);
            let row = i * stride[0] + r - padding[0];
            (row * width + j * stride[1] + s - padding[1]) as i64
        };
        let pixels: Vec<i64> = self.cells.to_vec::<u8>().iter().enumerate().map(pixel).collect();
        Tensor::new(&pixels, [n, c, oh * ow]).to_device(self.cells.device())
    }
}

impl Op for MaxPool2dGrad {
    fn name(&self) -> &'static str {
        "max_pool2d_grad"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].max_pool2d_grad(&self.cells, self.input, &self.pool)
    }
    fn backward(&self, _saved: &Saved, g: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let [n, c, h, w] = [0, 1, 2, 3].map(|axis| self.input[axis]);
        let chosen = g.reshape([n, c, h * w]).gather(2, &self.pixels());
        vec![Some(chosen.reshape(self.cells.shape()))]
    }
}

/// How the windows of an average pooling lie.
#[derive(Clone, Copy, Debug)]
enum Windows {
    Regular { pool: Pool2d, count_include_pad: bool },
    Adaptive { size: [usize; 2] },
}

/// The mean of each window. Derivative: `dy` spread evenly over it, [`AvgPool2dGrad`].
/// Same as `torch.nn.functional.avg_pool2d` and `adaptive_avg_pool2d`.
#[derive(Clone, Debug)]
struct AvgPool2d {
    windows: Windows,
    input: Shape,
}

impl Op for AvgPool2d {
    fn name(&self) -> &'static str {
        match self.windows {
            Windows::Regular { .. } => "avg_pool2d",
            Windows::Adaptive { .. } => "adaptive_avg_pool2d",
        }
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        match self.windows {
            Windows::Regular { pool, count_include_pad } => {
                inputs[0].avg_pool2d(&pool, count_include_pad)
            }
            Windows::Adaptive { size } => inputs[0].adaptive_avg_pool2d(size),
        }
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(AvgPool2dGrad(self.clone()), &[dy]))]
    }
}

/// Each element spread evenly over its window: the transpose of [`AvgPool2d`], which is its derivative.
#[derive(Clone, Debug)]
struct AvgPool2dGrad(AvgPool2d);

impl Op for AvgPool2dGrad {
    fn name(&self) -> &'static str {
        match self.0.windows {
            Windows::Regular { .. } => "avg_pool2d_grad",
            Windows::Adaptive { .. } => "adaptive_avg_pool2d_grad",
        }
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        match self.0.windows {
            Windows::Regular { pool, count_include_pad } => {
                inputs[0].avg_pool2d_grad(self.0.input, &pool, count_include_pad)
            }
            Windows::Adaptive { .. } => inputs[0].adaptive_avg_pool2d_grad(self.0.input),
        }
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(self.0.clone(), &[dy]))]
    }
}

impl Var {
    /// The largest element of each window of images `[N, C, H, W]`. See [`Tensor::max_pool2d`].
    ///
    /// # Panics
    /// As [`Tensor::max_pool2d`].
    #[track_caller]
    pub fn max_pool2d(&self, pool: &Pool2d) -> Var {
        Var::apply(MaxPool2d { pool: *pool, input: self.shape() }, &[self])
    }

    /// The mean of each window of images `[N, C, H, W]`. See [`Tensor::avg_pool2d`].
    ///
    /// # Panics
    /// As [`Tensor::avg_pool2d`].
    #[track_caller]
    pub fn avg_pool2d(&self, pool: &Pool2d, count_include_pad: bool) -> Var {
        let windows = Windows::Regular { pool: *pool, count_include_pad };
        Var::apply(AvgPool2d { windows, input: self.shape() }, &[self])
    }

    /// The mean of `size[0] x size[1]` windows that share images `[N, C, H, W]` evenly. See
    /// [`Tensor::adaptive_avg_pool2d`].
    ///
    /// # Panics
    /// As [`Tensor::adaptive_avg_pool2d`].
    #[track_caller]
    pub fn adaptive_avg_pool2d(&self, size: [usize; 2]) -> Var {
        let windows = Windows::Adaptive { size };
        Var::apply(AvgPool2d { windows, input: self.shape() }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "max_pool2d",
        formula: "max over windows",
        case: |d| {
            let (pool, shape) = regular(d);
            Case::new(vec![d.distinct(shape)], move |v| v[0].max_pool2d(&pool))
        },
    },
    OpInfo {
        name: "max_pool2d_grad",
        formula: "dy at the largest of each window",
        case: |d| {
            let (pool, shape) = regular(d);
            let (y, cells) = d.distinct(shape).max_pool2d(&pool);
            let op = MaxPool2dGrad { pool, input: shape.into(), cells };
            Case::new(vec![d.normal(y.shape())], move |v| Var::apply(op.clone(), &[&v[0]]))
        },
    },
    OpInfo {
        name: "avg_pool2d",
        formula: "mean over windows",
        case: |d| {
            let ((pool, shape), pad) = (regular(d), d.flag());
            Case::new(vec![d.normal(shape)], move |v| v[0].avg_pool2d(&pool, pad))
        },
    },
    OpInfo {
        name: "avg_pool2d_grad",
        formula: "dy spread over windows",
        case: |d| {
            let ((pool, shape), count_include_pad) = (regular(d), d.flag());
            spread_case(d, shape, Windows::Regular { pool, count_include_pad })
        },
    },
    OpInfo {
        name: "adaptive_avg_pool2d",
        formula: "mean over even shares",
        case: |d| {
            let (size, shape) = adaptive(d);
            Case::new(vec![d.normal(shape)], move |v| v[0].adaptive_avg_pool2d(size))
        },
    },
    OpInfo {
        name: "adaptive_avg_pool2d_grad",
        formula: "dy spread over even shares",
        case: |d| {
            let (size, shape) = adaptive(d);
            spread_case(d, shape, Windows::Adaptive { size })
        },
    },
];

fn regular(d: &mut Draw) -> (Pool2d, [usize; 4]) {
    let kernel = [d.int(1..=4), d.int(1..=4)];
    let stride = [d.int(1..=3), d.int(1..=3)];
    let padding = kernel.map(|k| d.int(0..=k / 2));
    let mut axis = |i: usize| (kernel[i] - 2 * padding[i]).max(1) + d.len(0..=4, 30..=40);
    let (h, w) = (axis(0), axis(1));
    (
        Pool2d { kernel, stride, padding, ceil_mode: d.flag() },
        [d.len(0..=2, 6..=8), d.len(1..=4, 12..=20), h, w],
    )
}

fn adaptive(d: &mut Draw) -> ([usize; 2], [usize; 4]) {
    let size = [d.int(1..=4), d.int(1..=4)];
    (size, adaptive_input(d))
}

/// Images larger or smaller than what [`adaptive`] makes of them.
pub(super) fn adaptive_input(d: &mut Draw) -> [usize; 4] {
    let [n, c] = [d.len(0..=2, 6..=8), d.len(1..=4, 12..=20)];
    [n, c, d.len(1..=6, 30..=40), d.len(1..=6, 30..=40)]
}

fn spread_case(d: &mut Draw, input: [usize; 4], windows: Windows) -> Case {
    let op = AvgPool2d { windows, input: input.into() };
    let y = Var::apply(op.clone(), &[&Var::constant(d.normal(input))]);
    Case::new(vec![d.normal(y.shape())], move |v| Var::apply(AvgPool2dGrad(op.clone()), &[&v[0]]))
}
