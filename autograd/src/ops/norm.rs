//! Batch normalization and layer normalization, fused; second derivatives go through the formulas.

use tensor::Tensor;

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// Mean and biased variance of each channel over a batch, `[C]` each; constants.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// The mean.
    pub mean: Tensor,
    /// The variance, the sum of squares divided by the number of elements (not by one less).
    pub var: Tensor,
}

/// Which of the optional inputs of a normalization are there, after the input itself.
#[derive(Clone, Copy, Debug)]
struct Affine {
    weight: bool,
    bias: bool,
}

impl Affine {
    fn of(weight: Option<&Var>, bias: Option<&Var>) -> Self {
        Affine { weight: weight.is_some(), bias: bias.is_some() }
    }

    /// Weight and bias among the inputs.
    fn split<'a>(self, inputs: &[&'a Tensor]) -> [Option<&'a Tensor>; 2] {
        let mut rest = inputs[1..].iter().copied();
        [self.weight, self.bias].map(|there| if there { rest.next() } else { None })
    }

    /// Gradients in the order of the inputs.
    fn gradients(
        self,
        wanted: &[bool],
        dx: Option<Var>,
        dweight: Var,
        dbias: Var,
    ) -> Vec<Option<Var>> {
        let affine = [(self.weight, dweight), (self.bias, dbias)];
        let affine = affine.into_iter().filter(|(there, _)| *there).map(|(_, t)| Some(t));
        let all = std::iter::once(dx).chain(affine);
        all.zip(wanted).map(|(t, &w)| t.filter(|_| w)).collect()
    }
}

/// Input, weight and bias as far as there are.
fn inputs<'a>(x: &'a Var, weight: Option<&'a Var>, bias: Option<&'a Var>) -> Vec<&'a Var> {
    std::iter::once(x).chain(weight).chain(bias).collect()
}

/// `(x - mean) * invstd * weight + bias` per channel, `invstd = 1 / sqrt(var + eps)`.
///
/// With `h = (x - mean) * invstd` and `m` elements per channel: `dweight = sum(dy h)`, `dbias = sum(dy)`,
/// `dx = weight invstd (dy - dbias / m - h dweight / m)`; with given statistics `dx = weight invstd dy`.
/// Same as `torch.nn.functional.batch_norm`. Source: Ioffe & Szegedy 2015.
#[derive(Clone, Debug)]
struct BatchNorm {
    eps: f64,
    affine: Affine,
    /// The statistics of evaluation; `None` takes those of the batch and differentiates them.
    given: Option<BatchStats>,
}

impl BatchNorm {
    /// The gradients by differentiable ops.
    fn composed_backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let x = saved.var(0);
        let per_channel = |v: &Var| {
            let mut dims = vec![1; x.dims().len()];
            dims[1] = x.dims()[1];
            v.reshape(dims)
        };
        let count = (x.value().numel() / x.dims()[1].max(1)) as f64;
        let mean = |v: &Var| per_channel(&(v.channel_sums() * (1.0 / count)));
        let (center, var) = match &self.given {
            Some(given) => {
                let [mean, var] = [&given.mean, &given.var].map(|t| Var::constant(t.clone()));
                (per_channel(&mean), per_channel(&var))
            }
            None => {
                let center = mean(&x);
                let var = mean(&(&x - &center).square());
                (center, var)
            }
        };
        let invstd = var.add_scalar(self.eps).rsqrt();
        let h = (&x - center) * &invstd;
        let dyh = dy * &h;
        let centered = match &self.given {
            Some(_) => dy.clone(),
            None => dy - mean(dy) - h * mean(&dyh),
        };
        let dx = match self.affine.weight {
            true => centered * (per_channel(&saved.var(1)) * invstd),
            false => centered * invstd,
        };
        self.affine.gradients(wanted, Some(dx), dyh.channel_sums(), dy.channel_sums())
    }
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        if self.given.is_some() { "batch_norm_eval" } else { "batch_norm" }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let BatchStats { mean, var } = match &self.given {
            Some(given) => given.clone(),
            None => {
                let (mean, var) = inputs[0].batch_norm_stats();
                BatchStats { mean, var }
            }
        };
        let invstd = var.add_scalar(self.eps).rsqrt();
        let [weight, bias] = self.affine.split(inputs);
        let y = inputs[0].batch_norm(&mean, &invstd, weight, bias);
        saver.input(0);
        if self.affine.weight {
            saver.input(1);
        }
        saver.extra(mean.clone());
        saver.extra(invstd);
        saver.side(mean);
        saver.side(var);
        y
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            return self.composed_backward(saved, dy, wanted);
        }
        let after_weight = 1 + usize::from(self.affine.weight);
        let weight = self.affine.weight.then(|| saved.tensor(1));
        let g = saved.tensor(0).batch_norm_grad(
            dy.value(),
            saved.tensor(after_weight),
            saved.tensor(after_weight + 1),
            weight,
            self.given.is_none(),
            wanted[0],
        );
        let (dweight, dbias) = (Var::constant(g.dweight), Var::constant(g.dbias));
        self.affine.gradients(wanted, g.dx.map(Var::constant), dweight, dbias)
    }
}

/// `(x - mean) / sqrt(var + eps) * weight + bias` with the statistics of the last axes, or of the channels of images.
///
/// With `h` the normalized input and `g = dy weight`: `dx = invstd (g - mean(g) - h mean(g h))`,
/// `dweight = sum(dy h)`, `dbias = sum(dy)`. Source: Ba, Kiros & Hinton 2016.
#[derive(Clone, Debug)]
struct LayerNorm {
    /// How many of the last axes are normalized over.
    axes: usize,
    /// Normalize `[N, C, H, W]` over axis 1 instead.
    channels: bool,
    eps: f64,
    affine: Affine,
}

impl LayerNorm {
    /// `x` with what is normalized over last: channels-last images are not copied by it.
    fn to_rows(&self, x: &Tensor) -> Tensor {
        if self.channels { x.permute(&[0, 2, 3, 1]) } else { x.clone() }
    }

    fn rows_back(&self, x: &Tensor) -> Tensor {
        if self.channels { x.permute(&[0, 3, 1, 2]) } else { x.clone() }
    }

    /// The gradients by differentiable ops.
    fn composed_backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, rank) = (saved.var(0), dy.dims().len());
        // Axes of the statistics, and those that weight and bias have.
        let axes: Vec<isize> = match self.channels {
            true => vec![1],
            false => (rank - self.axes..rank).map(|a| a as isize).collect(),
        };
        let others: Vec<isize> = (0..rank as isize).filter(|a| !axes.contains(a)).collect();
        let vector = |v: Var| if self.channels { v.reshape([1, x.dims()[1], 1, 1]) } else { v };
        let mean = |v: &Var| v.mean_axes(&axes, true);
        let centered = &x - mean(&x);
        let invstd = mean(&centered.square()).add_scalar(self.eps).rsqrt();
        let h = centered * &invstd;
        let g = if self.affine.weight { dy * vector(saved.var(1)) } else { dy.clone() };
        let dx = (&g - mean(&g) - &h * mean(&(&g * &h))) * invstd;
        let sum = |v: &Var| v.sum_axes(&others, false);
        self.affine.gradients(wanted, Some(dx), sum(&(dy * &h)), sum(dy))
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        if self.channels { "layer_norm2d" } else { "layer_norm" }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let [weight, bias] = self.affine.split(inputs);
        let (y, stats) = self.to_rows(inputs[0]).layer_norm(self.axes, weight, bias, self.eps);
        saver.input(0);
        if self.affine.weight {
            saver.input(1);
        }
        saver.extra(stats);
        self.rows_back(&y)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            return self.composed_backward(saved, dy, wanted);
        }
        let weight = self.affine.weight.then(|| saved.tensor(1));
        let stats = saved.tensor(1 + usize::from(self.affine.weight));
        let (x, dy) = (self.to_rows(saved.tensor(0)), self.to_rows(dy.value()));
        let g = x.layer_norm_grad(self.axes, &dy, stats, weight);
        let (dx, dweight, dbias) = (self.rows_back(&g.dx), g.dweight, g.dbias);
        self.affine.gradients(
            wanted,
            Some(Var::constant(dx)),
            Var::constant(dweight),
            Var::constant(dbias),
        )
    }
}

impl Var {
    /// Batch normalization in training: `(x - mean) / sqrt(var + eps) * weight + bias` per channel with the mean and
    /// the biased variance of the batch, which are returned for running averages.
    ///
    /// Input `[N, C]` or `[N, C, ..]`, `weight` and `bias` `[C]` (or none: 1 and 0).
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn batch_norm(
        &self,
        weight: Option<&Var>,
        bias: Option<&Var>,
        eps: f64,
    ) -> (Var, BatchStats) {
        let op = BatchNorm { eps, affine: Affine::of(weight, bias), given: None };
        let (y, side) = Var::apply_with_side(op, &inputs(self, weight, bias));
        let [mean, var] = side.try_into().expect("batch_norm hands out mean and variance");
        (y, BatchStats { mean, var })
    }

    /// Batch normalization in evaluation, with given statistics, which are constants.
    ///
    /// # Panics
    /// As [`batch_norm`](Self::batch_norm).
    #[track_caller]
    pub fn batch_norm_eval(
        &self,
        stats: &BatchStats,
        weight: Option<&Var>,
        bias: Option<&Var>,
        eps: f64,
    ) -> Var {
        let op = BatchNorm { eps, affine: Affine::of(weight, bias), given: Some(stats.clone()) };
        Var::apply(op, &inputs(self, weight, bias))
    }

    /// Layer normalization over the last `axes` axes; `weight` and `bias` have their shape. See
    /// [`Tensor::layer_norm`].
    ///
    /// # Panics
    /// As [`Tensor::layer_norm`].
    #[track_caller]
    pub fn layer_norm(
        &self,
        axes: usize,
        weight: Option<&Var>,
        bias: Option<&Var>,
        eps: f64,
    ) -> Var {
        let op = LayerNorm { axes, channels: false, eps, affine: Affine::of(weight, bias) };
        Var::apply(op, &inputs(self, weight, bias))
    }

    /// Layer normalization of images `[N, C, H, W]` over their channels, at each pixel; `weight` and `bias` `[C]`.
    /// torchvision's `LayerNorm2d`.
    ///
    /// # Panics
    /// If the input does not have 4 axes, or as [`Tensor::layer_norm`].
    #[track_caller]
    pub fn layer_norm2d(&self, weight: Option<&Var>, bias: Option<&Var>, eps: f64) -> Var {
        assert!(
            self.dims().len() == 4,
            "layer_norm2d: input {} has {} axes, not the 4 of [N, C, H, W]",
            self.shape(),
            self.dims().len()
        );
        let op = LayerNorm { axes: 1, channels: true, eps, affine: Affine::of(weight, bias) };
        Var::apply(op, &inputs(self, weight, bias))
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "batch_norm",
        formula: "(x - mean) / sqrt(var + eps) weight + bias, per channel",
        case: batch_norm_case,
    },
    OpInfo {
        name: "batch_norm_eval",
        formula: "(x - given mean) / sqrt(given var + eps) weight + bias, per channel",
        case: batch_norm_eval_case,
    },
    OpInfo {
        name: "layer_norm",
        formula: "(x - mean) / sqrt(var + eps) weight + bias, per row",
        case: layer_norm_case,
    },
    OpInfo {
        name: "layer_norm2d",
        formula: "(x - mean) / sqrt(var + eps) weight + bias, per pixel",
        case: layer_norm2d_case,
    },
];

/// Large for a normalization, so that no drawn variance makes the problem ill-conditioned.
const EPS: f64 = 0.1;

/// An input for which `affine` says which of weight and bias follow.
fn with_affine(d: &mut Draw, x: Tensor, vector: &[usize]) -> (Vec<Tensor>, Affine) {
    let affine = Affine { weight: d.flag(), bias: d.flag() };
    let mut inputs = vec![x];
    for _ in 0..usize::from(affine.weight) + usize::from(affine.bias) {
        inputs.push(d.normal(vector));
    }
    (inputs, affine)
}

/// Weight and bias among the variables of a case.
fn split(v: &[Var], affine: Affine) -> [Option<&Var>; 2] {
    let mut rest = v[1..].iter();
    [affine.weight, affine.bias].map(|there| if there { rest.next() } else { None })
}

/// `[N, C]`, `[N, C, L]` or `[N, C, H, W]` with at least two elements per channel.
fn batch(d: &mut Draw) -> Tensor {
    let rank = d.int(2..=4);
    // Some 50,000 elements where shapes are large.
    let large = [220, 36, 15][rank - 2];
    let mut shape: Vec<usize> =
        (0..rank).map(|_| d.len(1..=4, large..=large + large / 4)).collect();
    shape[0] += 1;
    d.normal(shape)
}

fn batch_norm_case(d: &mut Draw) -> Case {
    let x = batch(d);
    let channels = x.dims()[1];
    let (inputs, affine) = with_affine(d, x, &[channels]);
    Case::new(inputs, move |v| {
        let [weight, bias] = split(v, affine);
        v[0].batch_norm(weight, bias, EPS).0
    })
}

fn batch_norm_eval_case(d: &mut Draw) -> Case {
    let x = batch(d);
    let channels = x.dims()[1];
    let stats = BatchStats { mean: d.normal([channels]), var: d.uniform([channels], 0.5, 2.0) };
    let (inputs, affine) = with_affine(d, x, &[channels]);
    Case::new(inputs, move |v| {
        let [weight, bias] = split(v, affine);
        let dtype = v[0].dtype();
        let stats = BatchStats { mean: stats.mean.to_dtype(dtype), var: stats.var.to_dtype(dtype) };
        v[0].batch_norm_eval(&stats, weight, bias, EPS)
    })
}

fn layer_norm_case(d: &mut Draw) -> Case {
    let shape = d.shape(1..=4);
    let axes = d.int(1..=shape.rank());
    let x = d.normal(shape);
    let (inputs, affine) = with_affine(d, x, &shape[shape.rank() - axes..]);
    Case::new(inputs, move |v| {
        let [weight, bias] = split(v, affine);
        v[0].layer_norm(axes, weight, bias, EPS)
    })
}

fn layer_norm2d_case(d: &mut Draw) -> Case {
    let shape = d.shape(4..=4);
    let x = d.normal(shape);
    let (inputs, affine) = with_affine(d, x, &[shape[1]]);
    Case::new(inputs, move |v| {
        let [weight, bias] = split(v, affine);
        v[0].layer_norm2d(weight, bias, EPS)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::{DType, Device};

    #[test]
    fn batch_statistics_come_out() {
        let x = Var::constant(Tensor::new(&[1.0, 10.0, 3.0, 10.0], [2, 2]));
        let (_, stats) = x.batch_norm(None, None, 1e-5);
        assert_eq!(stats.mean.to_f64_vec(), [2.0, 10.0]);
        assert_eq!(stats.var.to_f64_vec(), [1.0, 0.0]);
        let zeros = Tensor::zeros([2], DType::F64, Device::Cpu);
        let given = BatchStats { mean: zeros.clone(), var: zeros.full_like(4.0) };
        let y = x.batch_norm_eval(&given, None, None, 0.0);
        assert_eq!(y.value().to_f64_vec(), [0.5, 5.0, 1.5, 5.0]);
    }
}
