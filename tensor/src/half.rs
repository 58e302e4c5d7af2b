//! Ops on 16-bit floats, on any device: operands are converted to f32, the device computes, the result is rounded once.
//!
//! Statistics that a backward needs (means, deviations, log-sum-exps) stay f32. What only moves elements runs on the
//! 16-bit values themselves.

use crate::{
    AdamStep, BatchNormGrad, Conv2dOptions, DType, LayerNormGrad, Pool2d, RecurrentCell, Sampling,
    SgdStep, Shape, Taps, Tensor, Unfold,
    kernels::{
        ArgOp, BinaryOp, Classes, CompareOp, Kernels, LpWindow, MaskGradient, PoolWindow, ReduceOp,
        ScanOp, UnaryOp,
    },
    layout::Layout,
};

/// The kernels for tensors of dtype BF16 and F16.
pub(crate) struct Half;

/// `x` in f32 if it is a 16-bit float, else itself.
fn up(x: &Tensor) -> Tensor {
    if x.dtype().is_half() { x.to_dtype(DType::F32) } else { x.clone() }
}

fn up_all<const N: usize>(x: [&Tensor; N]) -> [Tensor; N] {
    x.map(up)
}

fn device(x: &Tensor) -> &'static dyn Kernels {
    x.device().kernels()
}

/// Runs an in-place op on f32 copies and rounds them back.
fn in_place<const N: usize>(tensors: [&mut Tensor; N], run: impl FnOnce([&mut Tensor; N])) {
    let mut wide = tensors.each_ref().map(|t| up(t));
    run(wide.each_mut());
    for (t, wide) in tensors.into_iter().zip(wide) {
        *t = wide.to_dtype(t.dtype());
    }
}

impl Kernels for Half {
    fn copy(&self, x: &Tensor, layout: Layout) -> Tensor {
        device(x).copy(x, layout)
    }
    fn cast(&self, x: &Tensor, dtype: DType) -> Tensor {
        device(x).cast(x, dtype)
    }
    fn unary(&self, op: UnaryOp, x: &Tensor) -> Tensor {
        device(x).unary(op, &up(x)).to_dtype(x.dtype())
    }
    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        device(a).binary(op, &up(a), &up(b), shape).to_dtype(a.dtype())
    }
    fn bias_act(&self, x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor {
        let bias = bias.map(up);
        device(&x).bias_act(up(&x), bias.as_ref(), activation).to_dtype(x.dtype())
    }
    fn compare(&self, op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        device(a).compare(op, a, b, shape)
    }
    fn reduce(&self, op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
        device(x).reduce(op, &up(x), axes).to_dtype(x.dtype())
    }
    fn arg_reduce(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        device(x).arg_reduce(op, &up(x), axis)
    }
    fn scan(&self, op: ScanOp, x: &Tensor, axis: usize) -> Tensor {
        device(x).scan(op, &up(x), axis).to_dtype(x.dtype())
    }
    fn arg_scan(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        device(x).arg_scan(op, x, axis)
    }
    fn linear_recurrence(&self, decay: &Tensor, x: &Tensor, axis: usize) -> Tensor {
        device(x).linear_recurrence(&up(decay), &up(x), axis).to_dtype(x.dtype())
    }
    fn masked_scale(&self, x: &Tensor, mask: &Tensor, scale: f64) -> Tensor {
        device(x).masked_scale(&up(x), mask, scale).to_dtype(x.dtype())
    }
    fn pad2d(&self, x: &Tensor, corner: [isize; 2], size: [usize; 2], value: f64) -> Tensor {
        device(x).pad2d(x, corner, size, value)
    }
    fn reflection_pad2d(&self, x: &Tensor, padding: [usize; 4]) -> Tensor {
        device(x).reflection_pad2d(x, padding)
    }
    fn reflection_pad2d_grad(&self, dy: &Tensor, padding: [usize; 4]) -> Tensor {
        device(dy).reflection_pad2d_grad(&up(dy), padding).to_dtype(dy.dtype())
    }
    fn max_pool2d(&self, x: &Tensor, pool: &Pool2d, size: [usize; 2]) -> (Tensor, Tensor) {
        let (y, cells) = device(x).max_pool2d(&up(x), pool, size);
        (y.to_dtype(x.dtype()), cells)
    }
    fn max_pool2d_grad(
        &self,
        dy: &Tensor,
        cells: &Tensor,
        pool: &Pool2d,
        dims: [usize; 4],
    ) -> Tensor {
        device(dy).max_pool2d_grad(&up(dy), cells, pool, dims).to_dtype(dy.dtype())
    }
    fn avg_pool2d(&self, x: &Tensor, windows: &[Vec<PoolWindow>; 2]) -> Tensor {
        device(x).avg_pool2d(&up(x), windows).to_dtype(x.dtype())
    }
    fn avg_pool2d_grad(
        &self,
        dy: &Tensor,
        windows: &[Vec<PoolWindow>; 2],
        size: [usize; 2],
    ) -> Tensor {
        device(dy).avg_pool2d_grad(&up(dy), windows, size).to_dtype(dy.dtype())
    }
    fn grid_sample(&self, x: &Tensor, grid: &Tensor, sampling: &Sampling, output: Shape) -> Tensor {
        device(x).grid_sample(&up(x), &up(grid), sampling, output).to_dtype(x.dtype())
    }
    fn grid_sample_transpose(
        &self,
        dy: &Tensor,
        grid: &Tensor,
        sampling: &Sampling,
        image: Shape,
    ) -> Tensor {
        device(dy).grid_sample_transpose(&up(dy), &up(grid), sampling, image).to_dtype(dy.dtype())
    }
    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        output: Shape,
    ) -> Tensor {
        let bias = bias.map(up);
        let y = device(x).conv2d(&up(x), &up(weight), bias.as_ref(), options, output);
        y.to_dtype(x.dtype())
    }
    fn conv2d_input_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        options: &Conv2dOptions,
        input: Shape,
    ) -> Tensor {
        let dx = device(dy).conv2d_input_grad(&up(dy), &up(weight), options, input);
        dx.to_dtype(dy.dtype())
    }
    fn conv2d_weight_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        options: &Conv2dOptions,
        weight: Shape,
    ) -> Tensor {
        device(x).conv2d_weight_grad(&up(x), &up(dy), options, weight).to_dtype(x.dtype())
    }
    fn unfold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2]) -> Tensor {
        device(x).unfold(x, windows, places)
    }
    fn fold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Tensor {
        device(x).fold(&up(x), windows, places, size).to_dtype(x.dtype())
    }
    fn resample(&self, x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
        device(x).resample(&up(x), axis, taps).to_dtype(x.dtype())
    }
    fn recurrent_step(
        &self,
        cell: RecurrentCell,
        from_input: &Tensor,
        from_state: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        let [i, s, old] = up_all([from_input, from_state, state]);
        let step = device(state).recurrent_step(cell, &i, &s, &old, output);
        step.to_dtype(from_input.dtype())
    }
    fn recurrent_step_grad(
        &self,
        cell: RecurrentCell,
        dstate: &Tensor,
        step: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        let [d, step, old] = up_all([dstate, step, state]);
        let gradients = device(dstate).recurrent_step_grad(cell, &d, &step, &old, output);
        gradients.to_dtype(dstate.dtype())
    }
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let bias = bias.map(up);
        device(x).linear(&up(x), &up(weight), bias.as_ref()).to_dtype(x.dtype())
    }
    fn batch_stats(&self, x: &Tensor) -> (Tensor, Tensor) {
        device(x).batch_stats(&up(x))
    }
    fn batch_norm(
        &self,
        x: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Tensor {
        let ([mean, invstd], weight, bias) = (up_all([mean, invstd]), weight.map(up), bias.map(up));
        let y = device(x).batch_norm(&up(x), &mean, &invstd, weight.as_ref(), bias.as_ref());
        y.to_dtype(x.dtype())
    }
    fn batch_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        training: bool,
        wants_dx: bool,
    ) -> BatchNormGrad {
        let ([wide, dy, mean, invstd], weight) = (up_all([x, dy, mean, invstd]), weight.map(up));
        let kernels = device(x);
        let weight = weight.as_ref();
        let g = kernels.batch_norm_grad(&wide, &dy, &mean, &invstd, weight, training, wants_dx);
        BatchNormGrad {
            dx: g.dx.map(|dx| dx.to_dtype(x.dtype())),
            dweight: g.dweight.to_dtype(x.dtype()),
            dbias: g.dbias.to_dtype(x.dtype()),
        }
    }
    fn channel_sums(&self, x: &Tensor) -> Tensor {
        device(x).channel_sums(&up(x)).to_dtype(x.dtype())
    }
    fn layer_norm(
        &self,
        x: &Tensor,
        length: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor) {
        let (weight, bias) = (weight.map(up), bias.map(up));
        let (y, stats) = device(x).layer_norm(&up(x), length, weight.as_ref(), bias.as_ref(), eps);
        (y.to_dtype(x.dtype()), stats)
    }
    fn layer_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        length: usize,
        stats: &Tensor,
        weight: Option<&Tensor>,
    ) -> LayerNormGrad {
        let weight = weight.map(up);
        let g = device(x).layer_norm_grad(&up(x), &up(dy), length, stats, weight.as_ref());
        LayerNormGrad {
            dx: g.dx.to_dtype(x.dtype()),
            dweight: g.dweight.to_dtype(x.dtype()),
            dbias: g.dbias.to_dtype(x.dtype()),
        }
    }
    fn softmax(&self, x: &Tensor, log: bool) -> Tensor {
        device(x).softmax(&up(x), log).to_dtype(x.dtype())
    }
    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, log: bool) -> Tensor {
        device(y).softmax_grad(&up(y), &up(dy), log).to_dtype(y.dtype())
    }
    fn cross_entropy(&self, logits: &Tensor, targets: Classes) -> (Tensor, Tensor) {
        let wide = with_wide_targets(targets, |t| device(logits).cross_entropy(&up(logits), t));
        (wide.0.to_dtype(logits.dtype()), wide.1)
    }
    fn cross_entropy_grad(
        &self,
        logits: &Tensor,
        targets: Classes,
        lse: &Tensor,
        dloss: &Tensor,
    ) -> Tensor {
        let [x, dloss] = up_all([logits, dloss]);
        let run = |t: Classes| device(logits).cross_entropy_grad(&x, t, lse, &dloss);
        with_wide_targets(targets, run).to_dtype(logits.dtype())
    }
    fn sgd_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        buffer: Option<&mut Tensor>,
        step: &SgdStep,
        first: bool,
    ) {
        let (kernels, grad) = (device(grad), up(grad));
        match buffer {
            None => in_place([param], |[p]| kernels.sgd_step(p, &grad, None, step, first)),
            Some(b) => {
                in_place([param, b], |[p, b]| kernels.sgd_step(p, &grad, Some(b), step, first));
            }
        }
    }
    fn adam_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
        step: &AdamStep,
    ) {
        let (kernels, grad) = (device(grad), up(grad));
        in_place([param, m, v], |[p, m, v]| kernels.adam_step(p, &grad, m, v, step));
    }
    fn lerp(&self, x: &mut Tensor, other: &Tensor, weight: f64) {
        in_place([x], |[x]| device(other).lerp(x, &up(other), weight));
    }
    fn sum_of_squares(&self, x: &Tensor) -> f64 {
        device(x).sum_of_squares(&up(x))
    }
    fn lp_mask(&self, c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor {
        device(c).lp_mask(&up(c), &up(log2p), window).to_dtype(c.dtype())
    }
    fn lp_mask_grad(&self, g: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor) {
        let [dmask, mask, c, log2p] = up_all([g.dmask, g.mask, g.c, g.log2p]);
        let wide = MaskGradient { dmask: &dmask, mask: &mask, c: &c, log2p: &log2p };
        let (dc, dp) = device(g.c).lp_mask_grad(wide, window);
        (dc.to_dtype(g.c.dtype()), dp.to_dtype(g.c.dtype()))
    }
    fn masked_weight(&self, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
        device(weight).masked_weight(&up(weight), &up(mask), crop).to_dtype(weight.dtype())
    }
    fn masked_weight_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>) {
        let [wide, w, m] = up_all([dy, weight, mask]);
        let (dw, dm) = device(dy).masked_weight_grad(&wide, &w, &m, crop, mask_wanted);
        (dw.to_dtype(dy.dtype()), dm.map(|dm| dm.to_dtype(dy.dtype())))
    }
    fn matmul(&self, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        device(a).matmul(&up(a), &up(b), shape).to_dtype(a.dtype())
    }
    fn first_outside(&self, index: &Tensor, len: usize) -> Option<(usize, i64)> {
        device(index).first_outside(index, len)
    }
    fn where_(&self, condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        device(a).where_(condition, a, b, shape)
    }
    fn cat(&self, tensors: &[&Tensor], axis: usize, length: usize) -> Tensor {
        device(tensors[0]).cat(tensors, axis, length)
    }
    fn argsort(&self, x: &Tensor, descending: bool) -> Tensor {
        device(x).argsort(x, descending)
    }
    fn flip(&self, x: &Tensor, axes: &[usize]) -> Tensor {
        device(x).flip(x, axes)
    }
    fn index_select(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        device(x).index_select(x, axis, index)
    }
    fn index_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        device(x).index_add(&up(x), axis, index, &up(src)).to_dtype(x.dtype())
    }
    fn gather(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        device(x).gather(x, axis, index)
    }
    fn scatter_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        device(x).scatter_add(&up(x), axis, index, &up(src)).to_dtype(x.dtype())
    }
}

fn with_wide_targets<T>(targets: Classes, run: impl FnOnce(Classes) -> T) -> T {
    match targets {
        Classes::Index { .. } => run(targets),
        Classes::Probabilities(p) => run(Classes::Probabilities(&up(p))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Activation, Device, Stream};

    type Op = fn(&[Tensor]) -> Vec<Tensor>;

    /// Ops over images `x [2, 4, 6, 6]`, `dy` of the same shape, a square matrix `w [4, 4]`, kernels `k [4, 4, 3, 3]` and a
    /// vector `v [4]`.
    const OPS: &[(&str, Op)] = &[
        ("exp", |t| vec![t[0].exp()]),
        ("add", |t| vec![&t[0] + &t[1]]),
        ("mul", |t| vec![&t[0] * &t[4].reshape([4, 1, 1])]),
        ("relu_grad", |t| vec![t[0].relu_grad(&t[1])]),
        ("gelu_backward", |t| vec![t[0].gelu_backward(&t[1])]),
        ("bias_act", |t| vec![t[0].clone().bias_act(Some(&t[4]), Activation::Gelu)]),
        ("clamp", |t| vec![t[0].clamp(-0.5, 0.5)]),
        ("sum", |t| vec![t[0].sum(&[0, 2], false)]),
        ("var", |t| vec![t[0].var(&[1], 1, true)]),
        ("amax", |t| vec![t[0].amax(&[3], false)]),
        ("cumsum", |t| vec![t[0].cumsum(2)]),
        ("cumprod", |t| vec![t[0].cumprod(2)]),
        ("logcumsumexp", |t| vec![t[0].logcumsumexp(1)]),
        ("linear_recurrence", |t| vec![t[0].linear_recurrence(&t[1], 1)]),
        ("matmul", |t| vec![t[2].matmul(&t[2].transpose(0, 1))]),
        ("linear", |t| vec![t[0].permute(&[0, 2, 3, 1]).linear(&t[2], Some(&t[4]))]),
        ("conv2d", |t| vec![t[0].conv2d(&t[3], Some(&t[4]), &same())]),
        ("conv2d_input_grad", |t| vec![t[1].conv2d_input_grad(&t[3], t[0].shape(), &same())]),
        ("conv2d_weight_grad", |t| vec![t[0].conv2d_weight_grad(&t[1], t[3].shape(), &same())]),
        ("max_pool2d", |t| vec![t[0].max_pool2d(&pool()).0]),
        ("max_pool2d_grad", |t| {
            let (y, cells) = t[0].max_pool2d(&pool());
            vec![y.max_pool2d_grad(&cells, t[0].shape(), &pool())]
        }),
        ("avg_pool2d", |t| vec![t[0].avg_pool2d(&pool(), true)]),
        ("adaptive_avg_pool2d", |t| vec![t[0].adaptive_avg_pool2d([1, 2])]),
        ("pad2d", |t| vec![t[0].pad2d([1, 2, 0, -1]), t[0].constant_pad2d([1; 4], 0.3)]),
        ("unfold", |t| vec![t[0].unfold(&patches())]),
        ("fold", |t| vec![t[0].unfold(&patches()).fold([6, 6], &patches())]),
        ("reflection_pad2d_grad", |t| vec![t[0].reflection_pad2d_grad([1, 1, 1, 0])]),
        ("batch_norm_stats", |t| {
            let (mean, var) = t[0].batch_norm_stats();
            vec![mean, var]
        }),
        ("batch_norm", |t| {
            let (mean, var) = t[0].batch_norm_stats();
            let invstd = var.add_scalar(1e-5).rsqrt();
            let g = t[0].batch_norm_grad(&t[1], &mean, &invstd, Some(&t[4]), true, true);
            let y = t[0].batch_norm(&mean, &invstd, Some(&t[4]), None);
            vec![y, g.dx.unwrap(), g.dweight, g.dbias]
        }),
        ("layer_norm", |t| {
            let (y, stats) = t[0].layer_norm(1, None, None, 1e-5);
            let g = t[0].layer_norm_grad(1, &t[1], &stats, None);
            vec![y, stats, g.dx]
        }),
        ("softmax", |t| vec![t[0].softmax(1), t[0].log_softmax(1)]),
        ("cross_entropy", |t| {
            let classes = Tensor::new(&[0i64, 3, 1, 2], [4]);
            let targets = crate::Targets::Classes { index: &classes, smoothing: 0.1 };
            let (loss, lse) = t[2].cross_entropy(targets);
            let dx = t[2].cross_entropy_grad(targets, &lse, &t[4]);
            vec![loss, lse, dx]
        }),
        ("lp_mask", |t| vec![Tensor::lp_mask(&t[2].reshape([4, 2, 2]), &t[4], [3, 3], [1.0, 1.0])]),
        ("masked_weight", |t| vec![t[3].masked_weight(&t[3].select(0, 1), [1, 0])]),
        ("where", |t| vec![t[0].gt(&t[1]).where_(&t[0], &t[1])]),
        ("index_add", |t| {
            vec![t[2].index_add(0, &Tensor::new(&[1i64, 1], [2]), &t[2].narrow(0, 0, 2))]
        }),
        ("sgd_step", |t| {
            let (mut x, mut velocity) = (t[0].clone(), None);
            let step = SgdStep {
                lr: 0.1,
                momentum: 0.9,
                dampening: 0.0,
                weight_decay: 0.0,
                nesterov: false,
            };
            x.sgd_step_mut(&t[1], &mut velocity, &step);
            vec![x, velocity.unwrap()]
        }),
    ];

    fn same() -> Conv2dOptions {
        Conv2dOptions { padding: [1, 1], ..Default::default() }
    }

    fn pool() -> Pool2d {
        Pool2d { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ceil_mode: false }
    }

    fn patches() -> Unfold {
        Unfold { kernel: [2, 3], stride: [1, 2], padding: [1, 0], dilation: [2, 1] }
    }

    #[test]
    fn ops_give_what_f32_gives_rounded_once() {
        for dtype in [DType::BF16, DType::F16] {
            let stream = &mut Stream::new(3);
            let shapes: [&[usize]; 5] =
                [&[2, 4, 6, 6], &[2, 4, 6, 6], &[4, 4], &[4, 4, 3, 3], &[4]];
            let half = shapes.map(|s| Tensor::randn(s, dtype, Device::Cpu, stream));
            let wide = half.each_ref().map(|t| t.to_dtype(DType::F32));
            for (name, op) in OPS {
                for (h, w) in op(&half).iter().zip(op(&wide)) {
                    // Statistics are f32 in both.
                    assert!([dtype, DType::F32].contains(&h.dtype()), "{name}: {}", h.dtype());
                    let w = w.to_dtype(h.dtype());
                    assert_eq!(h.to_f64_vec(), w.to_f64_vec(), "{name} in {dtype}");
                }
            }
        }
    }
}
