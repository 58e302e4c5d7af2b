//! Convolution of images and linear layers.
//!
//! Convolution, its input's gradient and its weight's gradient are three functions of two operands each, and the
//! derivatives of any of them are the other two. So are the three products of a linear layer.

use tensor::{Conv2dOptions, Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// `y[n, o] = bias[o] + sum_c x[n, c] * weight[o, c]`, `*` the cross-correlation of images `[N, C, H, W]` with
/// kernels `[O, C / groups, kh, kw]`.
///
/// Derivatives: [`Conv2dInputGrad`], [`Conv2dWeightGrad`], and for the bias the sum over images and pixels.
/// Same as `torch.nn.functional.conv2d`.
#[derive(Clone, Debug)]
struct Conv2d {
    options: Conv2dOptions,
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].conv2d(inputs[1], inputs.get(2).copied(), &self.options)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, weight) = (saved.var(0), saved.var(1));
        let mut grads = vec![
            wanted[0].then(|| dy.conv2d_input_grad(&weight, x.shape(), &self.options)),
            wanted[1].then(|| x.conv2d_weight_grad(dy, weight.shape(), &self.options)),
        ];
        grads.extend(wanted.get(2).map(|w| w.then(|| dy.channel_sums())));
        grads
    }
    fn macs(&self, inputs: &[Shape], output: &Shape) -> u64 {
        // Every output element is a sum over one kernel of one group.
        (output.numel() * inputs[1][1..].iter().product::<usize>()) as u64
    }
}

/// The gradient of the input of [`Conv2d`] from `dy` and the weight; by itself the transposed convolution.
///
/// Derivatives: [`Conv2d`] of the incoming gradient for `dy`, [`Conv2dWeightGrad`] for the weight.
#[derive(Clone, Debug)]
struct Conv2dInputGrad {
    options: Conv2dOptions,
    input: Shape,
}

impl Op for Conv2dInputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].conv2d_input_grad(inputs[1], self.input, &self.options)
    }
    fn backward(&self, saved: &Saved, g: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (dy, weight) = (saved.var(0), saved.var(1));
        vec![
            wanted[0].then(|| g.conv2d(&weight, None, &self.options)),
            wanted[1].then(|| g.conv2d_weight_grad(&dy, weight.shape(), &self.options)),
        ]
    }
    fn macs(&self, inputs: &[Shape], _output: &Shape) -> u64 {
        (inputs[0].numel() * inputs[1][1..].iter().product::<usize>()) as u64
    }
}

/// The gradient of the weight of [`Conv2d`] from its input and `dy`.
///
/// Derivatives: [`Conv2dInputGrad`] for the input, [`Conv2d`] with the incoming gradient as weight for `dy`.
#[derive(Clone, Debug)]
struct Conv2dWeightGrad {
    options: Conv2dOptions,
    weight: Shape,
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].conv2d_weight_grad(inputs[1], self.weight, &self.options)
    }
    fn backward(&self, saved: &Saved, g: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, dy) = (saved.var(0), saved.var(1));
        vec![
            wanted[0].then(|| dy.conv2d_input_grad(g, x.shape(), &self.options)),
            wanted[1].then(|| x.conv2d(g, None, &self.options)),
        ]
    }
    fn macs(&self, inputs: &[Shape], _output: &Shape) -> u64 {
        (inputs[1].numel() * self.weight[1..].iter().product::<usize>()) as u64
    }
}

/// The sum over all axes but axis 1. Derivative: `dy` repeated, [`SpreadChannels`].
#[derive(Clone, Debug)]
struct ChannelSums {
    from: Shape,
}

impl Op for ChannelSums {
    fn name(&self) -> &'static str {
        "channel_sums"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].channel_sums()
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(SpreadChannels { shape: self.from }, &[dy]))]
    }
}

/// `[C]` repeated to `[N, C, ..]`. Derivative: [`ChannelSums`].
#[derive(Clone, Debug)]
struct SpreadChannels {
    shape: Shape,
}

impl Op for SpreadChannels {
    fn name(&self) -> &'static str {
        "spread_channels"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let mut dims = vec![1; self.shape.rank()];
        dims[1] = self.shape[1];
        inputs[0].reshape(dims).broadcast_to(self.shape)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.channel_sums())]
    }
}

/// `y = x weight^T + bias` over the last axis; input `[.., I]`, weight `[O, I]`, bias `[O]`.
///
/// Derivatives: `dy weight`, `dy^T x` summed over the leading axes, and for the bias the sum over them.
/// Same as `torch.nn.functional.linear`.
#[derive(Clone, Debug)]
struct Linear;

impl Op for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].linear(inputs[1], inputs.get(2).copied())
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let mut grads = vec![
            wanted[0].then(|| Var::apply(LinearInputGrad, &[dy, &saved.var(1)])),
            wanted[1].then(|| Var::apply(LinearWeightGrad, &[&saved.var(0), dy])),
        ];
        // The engine sums it over the axes along which the bias was broadcast.
        grads.extend(wanted.get(2).map(|w| w.then(|| dy.clone())));
        grads
    }
    fn macs(&self, inputs: &[Shape], _output: &Shape) -> u64 {
        (inputs[0].numel() * inputs[1][0]) as u64
    }
}

/// `dy weight`: `[.., O]` and `[O, I]` to `[.., I]`. Derivatives: [`Linear`] of the incoming gradient,
/// [`LinearWeightGrad`].
#[derive(Clone, Debug)]
struct LinearInputGrad;

impl Op for LinearInputGrad {
    fn name(&self) -> &'static str {
        "linear_input_grad"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].linear(&inputs[1].transpose(0, 1), None)
    }
    fn backward(&self, saved: &Saved, g: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (dy, weight) = (saved.var(0), saved.var(1));
        vec![
            wanted[0].then(|| g.linear(&weight, None)),
            wanted[1].then(|| Var::apply(LinearWeightGrad, &[g, &dy])),
        ]
    }
    fn macs(&self, inputs: &[Shape], _output: &Shape) -> u64 {
        (inputs[0].numel() * inputs[1][1]) as u64
    }
}

/// `dy^T x` over all leading axes: `[.., I]` and `[.., O]` to `[O, I]`. Derivatives: [`LinearInputGrad`] with the
/// incoming gradient as weight, [`Linear`] with it.
#[derive(Clone, Debug)]
struct LinearWeightGrad;

impl Op for LinearWeightGrad {
    fn name(&self) -> &'static str {
        "linear_weight_grad"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        let columns = |t: &Tensor| {
            let n = t.dim(-1);
            let rows = t.dims()[..t.rank() - 1].iter().product();
            t.reshape([rows, n]).transpose(0, 1)
        };
        columns(inputs[1]).linear(&columns(inputs[0]), None)
    }
    fn backward(&self, saved: &Saved, g: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, dy) = (saved.var(0), saved.var(1));
        vec![
            wanted[0].then(|| Var::apply(LinearInputGrad, &[&dy, g])),
            wanted[1].then(|| x.linear(g, None)),
        ]
    }
    fn macs(&self, inputs: &[Shape], output: &Shape) -> u64 {
        (inputs[0].numel() * output[0]) as u64
    }
}

/// `[first, second]` and `third` if there is one.
fn two_or_three<'a>(first: &'a Var, second: &'a Var, third: Option<&'a Var>) -> Vec<&'a Var> {
    [first, second].into_iter().chain(third).collect()
}

impl Var {
    /// Cross-correlation of images `[N, C, H, W]` with kernels `[O, C / groups, kh, kw]`, plus `bias` `[O]`; output
    /// `[N, O, oh, ow]` in channels-last memory. See [`Tensor::conv2d`].
    ///
    /// # Panics
    /// As [`Tensor::conv2d`].
    #[track_caller]
    pub fn conv2d(&self, weight: &Var, bias: Option<&Var>, options: &Conv2dOptions) -> Var {
        Var::apply(Conv2d { options: *options }, &two_or_three(self, weight, bias))
    }

    /// The gradient of the input of [`conv2d`](Self::conv2d), of shape `input`, from the output's (`self`) and the
    /// weight. By itself this is the transposed convolution of `self` with kernels `[C, O / groups, kh, kw]`.
    ///
    /// # Panics
    /// As [`Tensor::conv2d_input_grad`].
    #[track_caller]
    pub fn conv2d_input_grad(
        &self,
        weight: &Var,
        input: impl Into<Shape>,
        options: &Conv2dOptions,
    ) -> Var {
        let op = Conv2dInputGrad { options: *options, input: input.into() };
        Var::apply(op, &[self, weight])
    }

    #[track_caller]
    fn conv2d_weight_grad(&self, dy: &Var, weight: Shape, options: &Conv2dOptions) -> Var {
        Var::apply(Conv2dWeightGrad { options: *options, weight }, &[self, dy])
    }

    /// The sum over all axes but axis 1: `[N, C, ..]` to `[C]`.
    ///
    /// # Panics
    /// With fewer than 2 axes.
    #[track_caller]
    pub fn channel_sums(&self) -> Var {
        Var::apply(ChannelSums { from: self.shape() }, &[self])
    }

    /// `x weight^T + bias` over the last axis: `[.., I]`, `[O, I]` and `[O]` to `[.., O]`. See [`Tensor::linear`].
    ///
    /// # Panics
    /// As [`Tensor::linear`].
    #[track_caller]
    pub fn linear(&self, weight: &Var, bias: Option<&Var>) -> Var {
        Var::apply(Linear, &two_or_three(self, weight, bias))
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "conv2d",
        formula: "bias[o] + sum over c, r, s of x[n, c, i stride + r dilation - padding, ..] weight[o, c, r, s]",
        case: conv2d_case,
    },
    OpInfo {
        name: "conv2d_input_grad",
        formula: "the transpose of conv2d in its input",
        case: input_grad_case,
    },
    OpInfo {
        name: "conv2d_weight_grad",
        formula: "the transpose of conv2d in its weight",
        case: weight_grad_case,
    },
    OpInfo {
        name: "channel_sums",
        formula: "sum over all axes but axis 1",
        case: |d| {
            let shape = d.shape(2..=4);
            Case::new(vec![d.normal(shape)], |v| v[0].channel_sums())
        },
    },
    OpInfo {
        name: "spread_channels",
        formula: "[C] repeated to [N, C, ..]",
        case: |d| {
            let shape = d.shape(2..=4);
            let x = d.normal([shape[1]]);
            Case::new(vec![x], move |v| Var::apply(SpreadChannels { shape }, &[&v[0]]))
        },
    },
    OpInfo { name: "linear", formula: "x weight^T + bias", case: linear_case },
    OpInfo {
        name: "linear_input_grad",
        formula: "dy weight",
        case: |d| {
            let [_, dy, weight] = linear_operands(d);
            Case::new(vec![dy, weight], |v| Var::apply(LinearInputGrad, &[&v[0], &v[1]]))
        },
    },
    OpInfo {
        name: "linear_weight_grad",
        formula: "dy^T x",
        case: |d| {
            let [x, dy, _] = linear_operands(d);
            Case::new(vec![x, dy], |v| Var::apply(LinearWeightGrad, &[&v[0], &v[1]]))
        },
    },
];

/// Input, weight and the shape of the output for a geometry of the whole grid.
fn conv_operands(d: &mut Draw) -> (Tensor, Tensor, Tensor, Conv2dOptions) {
    let case = d.conv();
    let options = Conv2dOptions {
        stride: case.stride,
        padding: case.padding,
        dilation: case.dilation,
        groups: case.groups,
        ..Default::default()
    };
    let (x, weight) = (d.normal(case.input), d.normal(case.weight));
    let dy = d.normal(x.conv2d(&weight, None, &options).shape());
    (x, weight, dy, options)
}

fn conv2d_case(d: &mut Draw) -> Case {
    let (x, weight, dy, options) = conv_operands(d);
    if d.flag() {
        let bias = d.normal([dy.dims()[1]]);
        Case::new(vec![x, weight, bias], move |v| v[0].conv2d(&v[1], Some(&v[2]), &options))
    } else {
        Case::new(vec![x, weight], move |v| v[0].conv2d(&v[1], None, &options))
    }
}

fn input_grad_case(d: &mut Draw) -> Case {
    let (x, weight, dy, options) = conv_operands(d);
    let input = x.shape();
    Case::new(vec![dy, weight], move |v| v[0].conv2d_input_grad(&v[1], input, &options))
}

fn weight_grad_case(d: &mut Draw) -> Case {
    let (x, weight, dy, options) = conv_operands(d);
    let weight = weight.shape();
    Case::new(vec![x, dy], move |v| v[0].conv2d_weight_grad(&v[1], weight, &options))
}

/// Input `[.., I]`, output's gradient `[.., O]` and weight `[O, I]`.
fn linear_operands(d: &mut Draw) -> [Tensor; 3] {
    let x = d.shape(1..=4);
    let (last, outputs) = (x.rank() - 1, d.int(1..=4));
    [d.normal(x), d.normal(x.with_axis(last, outputs)), d.normal([outputs, x[last]])]
}

fn linear_case(d: &mut Draw) -> Case {
    let [x, _, weight] = linear_operands(d);
    if d.flag() {
        let bias = d.normal([weight.dims()[0]]);
        Case::new(vec![x, weight, bias], |v| v[0].linear(&v[1], Some(&v[2])))
    } else {
        Case::new(vec![x, weight], |v| v[0].linear(&v[1], None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::{gradcheck, gradgradcheck};
    use tensor::ConvAlgorithm;

    #[test]
    fn second_derivatives_come_from_the_other_two() {
        for seed in 0..4 {
            let d = &mut Draw::new("second", seed);
            let (x, weight, _, options) = conv_operands(d);
            gradgradcheck(
                |v| {
                    let y = v[0].conv2d(&v[1], None, &options);
                    &y * &y
                },
                &[x, weight],
            )
            .unwrap();
            let [x, _, weight] = linear_operands(d);
            gradgradcheck(
                |v| {
                    let y = v[0].linear(&v[1], None);
                    &y * &y
                },
                &[x, weight],
            )
            .unwrap();
        }
    }

    #[test]
    fn every_algorithm_has_the_derivatives_of_the_sum() {
        for (algorithm, channels, groups, size, kernel) in
            [(ConvAlgorithm::Winograd, 16, 1, 4, 3), (ConvAlgorithm::Fft, 2, 2, 20, 21)]
        {
            let d = &mut Draw::new("algorithm", 0);
            let padding = [kernel / 2; 2];
            let options = Conv2dOptions { padding, groups, algorithm, ..Default::default() };
            let x = d.normal([1, channels, size, size]);
            let weight = d.normal([channels, channels / groups, kernel, kernel]);
            // Were the algorithm not chosen, the bits would be those of the sum.
            let y = x.conv2d(&weight, None, &options);
            let direct = Conv2dOptions { algorithm: ConvAlgorithm::Direct, ..options };
            assert_ne!(y.to_f64_vec(), x.conv2d(&weight, None, &direct).to_f64_vec());
            gradcheck(|v| v[0].conv2d(&v[1], None, &options), &[x, weight]).unwrap();
        }
    }

    #[test]
    fn macs_count_every_tap_once() {
        let options = Conv2dOptions { groups: 2, ..Default::default() };
        let shapes = [Shape::new(&[2, 4, 5, 5]), Shape::new(&[6, 2, 3, 3])];
        let conv = Conv2d { options };
        assert_eq!(conv.macs(&shapes, &Shape::new(&[2, 6, 3, 3])), 2 * 6 * 9 * 2 * 9);
        let shapes = [Shape::new(&[2, 3, 4]), Shape::new(&[5, 4])];
        assert_eq!(Linear.macs(&shapes, &Shape::new(&[2, 3, 5])), 2 * 3 * 4 * 5);
    }
}
