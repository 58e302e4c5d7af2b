//! Ops without a CUDA kernel of their own: operands go to the host, the CPU computes, results come back.
//!
//! Right from the first day for every op, and slow; each use is counted by name, so that a training step can be asked what
//! it still does on the host.

use std::{collections::BTreeMap, sync::Mutex};

use super::operand::gpu;
use crate::{
    AdamStep, Conv2dOptions, DType, Device, Pool2d, RecurrentCell, Sampling, SgdStep, Shape, Taps,
    Tensor, Unfold,
    cpu::Cpu,
    kernels::{
        ArgOp, BatchNormGrad, BinaryOp, Classes, CompareOp, Kernels, LayerNormGrad, LpWindow,
        MaskGradient, PoolWindow, ReduceOp, ScanOp, UnaryOp,
    },
    layout::Layout,
};

static RUNS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// How often each op was computed on the host for a CUDA device since the program started, by name.
pub fn host_runs() -> BTreeMap<&'static str, u64> {
    RUNS.lock().expect("no thread panics while it holds the counts").clone()
}

/// The kernels of the CPU for tensors of a CUDA device.
pub(super) struct Host;

/// What comes back to the device.
trait Result {
    fn to(self, device: Device) -> Self;
}

impl Result for Tensor {
    fn to(self, device: Device) -> Self {
        self.to_device(device)
    }
}

impl<A: Result, B: Result> Result for (A, B) {
    fn to(self, device: Device) -> Self {
        (self.0.to(device), self.1.to(device))
    }
}

impl<A: Result> Result for Option<A> {
    fn to(self, device: Device) -> Self {
        self.map(|x| x.to(device))
    }
}

/// Numbers are on the host in any case.
macro_rules! numbers {
    ($($t:ty),*) => {
        $(impl Result for $t {
            fn to(self, _: Device) -> Self {
                self
            }
        })*
    };
}
numbers!(f64, usize, i64);

impl Result for BatchNormGrad {
    fn to(self, device: Device) -> Self {
        let BatchNormGrad { dx, dweight, dbias } = self;
        BatchNormGrad { dx: dx.to(device), dweight: dweight.to(device), dbias: dbias.to(device) }
    }
}

impl Result for LayerNormGrad {
    fn to(self, device: Device) -> Self {
        let LayerNormGrad { dx, dweight, dbias } = self;
        LayerNormGrad { dx: dx.to(device), dweight: dweight.to(device), dbias: dbias.to(device) }
    }
}

fn down(x: &Tensor) -> Tensor {
    // A tensor that is there already is a program's mistake that a kernel would not forgive.
    gpu(x);
    x.to_device(Device::Cpu)
}

fn count(op: &'static str) {
    *RUNS.lock().expect("no thread panics while it holds the counts").entry(op).or_default() += 1;
}

/// Runs an op on the CPU and brings its result to the device of `x`.
fn run<R: Result>(op: &'static str, x: &Tensor, f: impl FnOnce(&Cpu) -> R) -> R {
    count(op);
    f(&Cpu).to(x.device())
}

/// Runs an op that changes tensors on copies of them.
fn in_place<const N: usize>(
    op: &'static str,
    tensors: [&mut Tensor; N],
    f: impl FnOnce(&Cpu, [&mut Tensor; N]),
) {
    count(op);
    let mut host = tensors.each_ref().map(|t| down(t));
    f(&Cpu, host.each_mut());
    for (t, host) in tensors.into_iter().zip(host) {
        *t = host.to_device(t.device());
    }
}

fn with_host_targets<R>(targets: Classes, f: impl FnOnce(Classes) -> R) -> R {
    match targets {
        Classes::Index { index, smoothing } => f(Classes::Index { index: &down(index), smoothing }),
        Classes::Probabilities(p) => f(Classes::Probabilities(&down(p))),
    }
}

impl Kernels for Host {
    fn copy(&self, x: &Tensor, layout: Layout) -> Tensor {
        run("copy", x, |cpu| cpu.copy(&down(x), layout))
    }
    fn cast(&self, x: &Tensor, dtype: DType) -> Tensor {
        run("cast", x, |cpu| cpu.cast(&down(x), dtype))
    }
    fn unary(&self, op: UnaryOp, x: &Tensor) -> Tensor {
        run("unary", x, |cpu| cpu.unary(op, &down(x)))
    }
    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        run("binary", a, |cpu| cpu.binary(op, &down(a), &down(b), shape))
    }
    fn bias_act(&self, x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor {
        let bias = bias.map(down);
        run("bias_act", &x, |cpu| cpu.bias_act(down(&x), bias.as_ref(), activation))
    }
    fn compare(&self, op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        run("compare", a, |cpu| cpu.compare(op, &down(a), &down(b), shape))
    }
    fn reduce(&self, op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
        run("reduce", x, |cpu| cpu.reduce(op, &down(x), axes))
    }
    fn arg_reduce(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        run("arg_reduce", x, |cpu| cpu.arg_reduce(op, &down(x), axis))
    }
    fn scan(&self, op: ScanOp, x: &Tensor, axis: usize) -> Tensor {
        run("scan", x, |cpu| cpu.scan(op, &down(x), axis))
    }
    fn arg_scan(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        run("arg_scan", x, |cpu| cpu.arg_scan(op, &down(x), axis))
    }
    fn linear_recurrence(&self, decay: &Tensor, x: &Tensor, axis: usize) -> Tensor {
        run("linear_recurrence", decay, |cpu| cpu.linear_recurrence(&down(decay), &down(x), axis))
    }
    fn masked_scale(&self, x: &Tensor, mask: &Tensor, scale: f64) -> Tensor {
        run("masked_scale", x, |cpu| cpu.masked_scale(&down(x), &down(mask), scale))
    }
    fn pad2d(&self, x: &Tensor, corner: [isize; 2], size: [usize; 2], value: f64) -> Tensor {
        run("pad2d", x, |cpu| cpu.pad2d(&down(x), corner, size, value))
    }
    fn reflection_pad2d(&self, x: &Tensor, padding: [usize; 4]) -> Tensor {
        run("reflection_pad2d", x, |cpu| cpu.reflection_pad2d(&down(x), padding))
    }
    fn reflection_pad2d_grad(&self, dy: &Tensor, padding: [usize; 4]) -> Tensor {
        run("reflection_pad2d_grad", dy, |cpu| cpu.reflection_pad2d_grad(&down(dy), padding))
    }
    fn max_pool2d(&self, x: &Tensor, pool: &Pool2d, size: [usize; 2]) -> (Tensor, Tensor) {
        run("max_pool2d", x, |cpu| cpu.max_pool2d(&down(x), pool, size))
    }
    fn max_pool2d_grad(
        &self,
        dy: &Tensor,
        cells: &Tensor,
        pool: &Pool2d,
        dims: [usize; 4],
    ) -> Tensor {
        run("max_pool2d_grad", dy, |cpu| cpu.max_pool2d_grad(&down(dy), &down(cells), pool, dims))
    }
    fn avg_pool2d(&self, x: &Tensor, windows: &[Vec<PoolWindow>; 2]) -> Tensor {
        run("avg_pool2d", x, |cpu| cpu.avg_pool2d(&down(x), windows))
    }
    fn avg_pool2d_grad(
        &self,
        dy: &Tensor,
        windows: &[Vec<PoolWindow>; 2],
        size: [usize; 2],
    ) -> Tensor {
        run("avg_pool2d_grad", dy, |cpu| cpu.avg_pool2d_grad(&down(dy), windows, size))
    }
    fn grid_sample(&self, x: &Tensor, grid: &Tensor, sampling: &Sampling, output: Shape) -> Tensor {
        run("grid_sample", x, |cpu| cpu.grid_sample(&down(x), &down(grid), sampling, output))
    }
    fn grid_sample_transpose(
        &self,
        dy: &Tensor,
        grid: &Tensor,
        sampling: &Sampling,
        image: Shape,
    ) -> Tensor {
        run("grid_sample_transpose", dy, |cpu| {
            cpu.grid_sample_transpose(&down(dy), &down(grid), sampling, image)
        })
    }
    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        output: Shape,
    ) -> Tensor {
        run("conv2d", x, |cpu| {
            cpu.conv2d(&down(x), &down(weight), bias.map(down).as_ref(), options, output)
        })
    }
    fn conv2d_input_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        options: &Conv2dOptions,
        input: Shape,
    ) -> Tensor {
        run("conv2d_input_grad", dy, |cpu| {
            cpu.conv2d_input_grad(&down(dy), &down(weight), options, input)
        })
    }
    fn conv2d_weight_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        options: &Conv2dOptions,
        weight: Shape,
    ) -> Tensor {
        run("conv2d_weight_grad", x, |cpu| {
            cpu.conv2d_weight_grad(&down(x), &down(dy), options, weight)
        })
    }
    fn unfold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2]) -> Tensor {
        run("unfold", x, |cpu| cpu.unfold(&down(x), windows, places))
    }
    fn fold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Tensor {
        run("fold", x, |cpu| cpu.fold(&down(x), windows, places, size))
    }
    fn resample(&self, x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
        run("resample", x, |cpu| cpu.resample(&down(x), axis, taps))
    }
    fn recurrent_step(
        &self,
        cell: RecurrentCell,
        from_input: &Tensor,
        from_state: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        run("recurrent_step", from_input, |cpu| {
            cpu.recurrent_step(cell, &down(from_input), &down(from_state), &down(state), output)
        })
    }
    fn recurrent_step_grad(
        &self,
        cell: RecurrentCell,
        dstate: &Tensor,
        step: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        run("recurrent_step_grad", dstate, |cpu| {
            cpu.recurrent_step_grad(cell, &down(dstate), &down(step), &down(state), output)
        })
    }
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        run("linear", x, |cpu| cpu.linear(&down(x), &down(weight), bias.map(down).as_ref()))
    }
    fn batch_stats(&self, x: &Tensor) -> (Tensor, Tensor) {
        run("batch_stats", x, |cpu| cpu.batch_stats(&down(x)))
    }
    fn batch_norm(
        &self,
        x: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Tensor {
        run("batch_norm", x, |cpu| {
            cpu.batch_norm(
                &down(x),
                &down(mean),
                &down(invstd),
                weight.map(down).as_ref(),
                bias.map(down).as_ref(),
            )
        })
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
        run("batch_norm_grad", x, |cpu| {
            cpu.batch_norm_grad(
                &down(x),
                &down(dy),
                &down(mean),
                &down(invstd),
                weight.map(down).as_ref(),
                training,
                wants_dx,
            )
        })
    }
    fn channel_sums(&self, x: &Tensor) -> Tensor {
        run("channel_sums", x, |cpu| cpu.channel_sums(&down(x)))
    }
    fn layer_norm(
        &self,
        x: &Tensor,
        length: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor) {
        run("layer_norm", x, |cpu| {
            cpu.layer_norm(
                &down(x),
                length,
                weight.map(down).as_ref(),
                bias.map(down).as_ref(),
                eps,
            )
        })
    }
    fn layer_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        length: usize,
        stats: &Tensor,
        weight: Option<&Tensor>,
    ) -> LayerNormGrad {
        run("layer_norm_grad", x, |cpu| {
            cpu.layer_norm_grad(
                &down(x),
                &down(dy),
                length,
                &down(stats),
                weight.map(down).as_ref(),
            )
        })
    }
    fn softmax(&self, x: &Tensor, log: bool) -> Tensor {
        run("softmax", x, |cpu| cpu.softmax(&down(x), log))
    }
    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, log: bool) -> Tensor {
        run("softmax_grad", y, |cpu| cpu.softmax_grad(&down(y), &down(dy), log))
    }
    fn cross_entropy(&self, logits: &Tensor, targets: Classes) -> (Tensor, Tensor) {
        let [x] = [logits].map(down);
        with_host_targets(targets, |t| run("cross_entropy", logits, |cpu| cpu.cross_entropy(&x, t)))
    }
    fn cross_entropy_grad(
        &self,
        logits: &Tensor,
        targets: Classes,
        lse: &Tensor,
        dloss: &Tensor,
    ) -> Tensor {
        let [x, lse, dloss] = [logits, lse, dloss].map(down);
        with_host_targets(targets, |t| {
            run("cross_entropy_grad", logits, |cpu| cpu.cross_entropy_grad(&x, t, &lse, &dloss))
        })
    }
    fn sgd_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        buffer: Option<&mut Tensor>,
        step: &SgdStep,
        first: bool,
    ) {
        let grad = down(grad);
        match buffer {
            None => {
                in_place("sgd_step", [param], |cpu, [p]| cpu.sgd_step(p, &grad, None, step, first))
            }
            Some(b) => in_place("sgd_step", [param, b], |cpu, [p, b]| {
                cpu.sgd_step(p, &grad, Some(b), step, first);
            }),
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
        let grad = down(grad);
        in_place("adam_step", [param, m, v], |cpu, [p, m, v]| cpu.adam_step(p, &grad, m, v, step));
    }
    fn lerp(&self, x: &mut Tensor, other: &Tensor, weight: f64) {
        let other = down(other);
        in_place("lerp", [x], |cpu, [x]| cpu.lerp(x, &other, weight));
    }
    fn sum_of_squares(&self, x: &Tensor) -> f64 {
        run("sum_of_squares", x, |cpu| cpu.sum_of_squares(&down(x)))
    }
    fn lp_mask(&self, c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor {
        run("lp_mask", c, |cpu| cpu.lp_mask(&down(c), &down(log2p), window))
    }
    fn lp_mask_grad(&self, operands: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor) {
        let [dmask, mask, c, log2p] =
            [operands.dmask, operands.mask, operands.c, operands.log2p].map(down);
        let host = MaskGradient { dmask: &dmask, mask: &mask, c: &c, log2p: &log2p };
        run("lp_mask_grad", operands.c, |cpu| cpu.lp_mask_grad(host, window))
    }
    fn masked_weight(&self, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
        run("masked_weight", weight, |cpu| cpu.masked_weight(&down(weight), &down(mask), crop))
    }
    fn masked_weight_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>) {
        run("masked_weight_grad", dy, |cpu| {
            cpu.masked_weight_grad(&down(dy), &down(weight), &down(mask), crop, mask_wanted)
        })
    }
    fn matmul(&self, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        run("matmul", a, |cpu| cpu.matmul(&down(a), &down(b), shape))
    }
    fn first_outside(&self, index: &Tensor, len: usize) -> Option<(usize, i64)> {
        run("first_outside", index, |cpu| cpu.first_outside(&down(index), len))
    }
    fn where_(&self, condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        run("where_", condition, |cpu| cpu.where_(&down(condition), &down(a), &down(b), shape))
    }
    fn cat(&self, tensors: &[&Tensor], axis: usize, length: usize) -> Tensor {
        let host: Vec<Tensor> = tensors.iter().map(|t| down(t)).collect();
        let host: Vec<&Tensor> = host.iter().collect();
        run("cat", tensors[0], |cpu| cpu.cat(&host, axis, length))
    }
    fn argsort(&self, x: &Tensor, descending: bool) -> Tensor {
        run("argsort", x, |cpu| cpu.argsort(&down(x), descending))
    }
    fn flip(&self, x: &Tensor, axes: &[usize]) -> Tensor {
        run("flip", x, |cpu| cpu.flip(&down(x), axes))
    }
    fn index_select(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        run("index_select", x, |cpu| cpu.index_select(&down(x), axis, &down(index)))
    }
    fn index_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        run("index_add", x, |cpu| cpu.index_add(&down(x), axis, &down(index), &down(src)))
    }
    fn gather(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        run("gather", x, |cpu| cpu.gather(&down(x), axis, &down(index)))
    }
    fn scatter_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        run("scatter_add", x, |cpu| cpu.scatter_add(&down(x), axis, &down(index), &down(src)))
    }
}
