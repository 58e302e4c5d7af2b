//! The list of what a CUDA device does: where in this folder each op is.

use super::{
    columns, conv, copy, elementwise, image, index, lp_mask, matmul, optim, pool, recurrent,
    reduce, resample, rows, sample, scan, sort,
};
use crate::{
    AdamStep, Conv2dOptions, DType, Pool2d, RecurrentCell, Sampling, SgdStep, Shape, Taps, Tensor,
    Unfold,
    kernels::{
        ArgOp, BatchNormGrad, BinaryOp, Classes, CompareOp, Kernels, LayerNormGrad, LpWindow,
        MaskGradient, PoolWindow, ReduceOp, ScanOp, UnaryOp,
    },
    layout::Layout,
};

/// The CUDA devices' implementation of every op; which device is for the operands to say.
pub(crate) struct Cuda;

impl Kernels for Cuda {
    fn copy(&self, x: &Tensor, layout: Layout) -> Tensor {
        copy::copy(x, layout)
    }
    fn cast(&self, x: &Tensor, dtype: DType) -> Tensor {
        copy::convert(x, dtype)
    }
    fn unary(&self, op: UnaryOp, x: &Tensor) -> Tensor {
        elementwise::unary(op, x)
    }
    fn binary(&self, op: BinaryOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        elementwise::binary(op, a, b, shape)
    }
    fn bias_act(&self, x: Tensor, bias: Option<&Tensor>, activation: UnaryOp) -> Tensor {
        elementwise::bias_act(x, bias, activation)
    }
    fn compare(&self, op: CompareOp, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        elementwise::compare(op, a, b, shape)
    }
    fn reduce(&self, op: ReduceOp, x: &Tensor, axes: &[usize]) -> Tensor {
        reduce::reduce(op, x, axes)
    }
    fn arg_reduce(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        reduce::arg_reduce(op, x, axis)
    }
    fn scan(&self, op: ScanOp, x: &Tensor, axis: usize) -> Tensor {
        scan::scan(op, x, axis)
    }
    fn arg_scan(&self, op: ArgOp, x: &Tensor, axis: usize) -> Tensor {
        scan::arg_scan(op, x, axis)
    }
    fn linear_recurrence(&self, decay: &Tensor, x: &Tensor, axis: usize) -> Tensor {
        scan::linear_recurrence(decay, x, axis)
    }
    fn masked_scale(&self, x: &Tensor, mask: &Tensor, scale: f64) -> Tensor {
        elementwise::scale_masked(x, mask, scale)
    }
    fn pad2d(&self, x: &Tensor, corner: [isize; 2], size: [usize; 2], value: f64) -> Tensor {
        image::pad2d(x, corner, size, value)
    }
    fn reflection_pad2d(&self, x: &Tensor, padding: [usize; 4]) -> Tensor {
        image::reflection_pad2d(x, padding)
    }
    fn reflection_pad2d_grad(&self, dy: &Tensor, padding: [usize; 4]) -> Tensor {
        image::reflection_pad2d_grad(dy, padding)
    }
    fn max_pool2d(&self, x: &Tensor, pool: &Pool2d, size: [usize; 2]) -> (Tensor, Tensor) {
        pool::max_pool2d(x, pool, size)
    }
    fn max_pool2d_grad(
        &self,
        dy: &Tensor,
        cells: &Tensor,
        pool: &Pool2d,
        dims: [usize; 4],
    ) -> Tensor {
        pool::max_pool2d_grad(dy, cells, pool, dims)
    }
    fn avg_pool2d(&self, x: &Tensor, windows: &[Vec<PoolWindow>; 2]) -> Tensor {
        pool::avg_pool2d(x, windows)
    }
    fn avg_pool2d_grad(
        &self,
        dy: &Tensor,
        windows: &[Vec<PoolWindow>; 2],
        size: [usize; 2],
    ) -> Tensor {
        pool::avg_pool2d_grad(dy, windows, size)
    }
    fn grid_sample(&self, x: &Tensor, grid: &Tensor, sampling: &Sampling, output: Shape) -> Tensor {
        sample::grid_sample(x, grid, sampling, output)
    }
    fn grid_sample_transpose(
        &self,
        dy: &Tensor,
        grid: &Tensor,
        sampling: &Sampling,
        image: Shape,
    ) -> Tensor {
        sample::grid_sample_transpose(dy, grid, sampling, image)
    }
    fn conv2d(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        output: Shape,
    ) -> Tensor {
        conv::conv2d(x, weight, bias, options, output)
    }
    fn conv2d_input_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        options: &Conv2dOptions,
        input: Shape,
    ) -> Tensor {
        conv::input_grad(dy, weight, options, input)
    }
    fn conv2d_weight_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        options: &Conv2dOptions,
        weight: Shape,
    ) -> Tensor {
        conv::weight_grad(x, dy, options, weight)
    }
    fn unfold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2]) -> Tensor {
        image::unfold(x, windows, places)
    }
    fn fold(&self, x: &Tensor, windows: &Unfold, places: [usize; 2], size: [usize; 2]) -> Tensor {
        image::fold(x, windows, places, size)
    }
    fn resample(&self, x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
        resample::resample(x, axis, taps)
    }
    fn recurrent_step(
        &self,
        cell: RecurrentCell,
        from_input: &Tensor,
        from_state: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        recurrent::step(cell, from_input, from_state, state, output)
    }
    fn recurrent_step_grad(
        &self,
        cell: RecurrentCell,
        dstate: &Tensor,
        step: &Tensor,
        state: &Tensor,
        output: Shape,
    ) -> Tensor {
        recurrent::step_grad(cell, dstate, step, state, output)
    }
    fn linear(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        matmul::linear(x, weight, bias)
    }
    fn batch_stats(&self, x: &Tensor) -> (Tensor, Tensor) {
        columns::batch_stats(x)
    }
    fn batch_norm(
        &self,
        x: &Tensor,
        mean: &Tensor,
        invstd: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
    ) -> Tensor {
        columns::batch_norm(x, mean, invstd, weight, bias)
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
        columns::batch_norm_grad(x, dy, mean, invstd, weight, training, wants_dx)
    }
    fn channel_sums(&self, x: &Tensor) -> Tensor {
        columns::channel_sums(x)
    }
    fn layer_norm(
        &self,
        x: &Tensor,
        length: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> (Tensor, Tensor) {
        rows::layer_norm(x, length, weight, bias, eps)
    }
    fn layer_norm_grad(
        &self,
        x: &Tensor,
        dy: &Tensor,
        length: usize,
        stats: &Tensor,
        weight: Option<&Tensor>,
    ) -> LayerNormGrad {
        rows::layer_norm_grad(x, dy, length, stats, weight)
    }
    fn softmax(&self, x: &Tensor, log: bool) -> Tensor {
        rows::softmax(x, log)
    }
    fn softmax_grad(&self, y: &Tensor, dy: &Tensor, log: bool) -> Tensor {
        rows::softmax_grad(y, dy, log)
    }
    fn cross_entropy(&self, logits: &Tensor, targets: Classes) -> (Tensor, Tensor) {
        rows::cross_entropy(logits, targets)
    }
    fn cross_entropy_grad(
        &self,
        logits: &Tensor,
        targets: Classes,
        lse: &Tensor,
        dloss: &Tensor,
    ) -> Tensor {
        rows::cross_entropy_grad(logits, targets, lse, dloss)
    }
    fn sgd_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        buffer: Option<&mut Tensor>,
        step: &SgdStep,
        first: bool,
    ) {
        optim::sgd_step(param, grad, buffer, step, first)
    }
    fn adam_step(
        &self,
        param: &mut Tensor,
        grad: &Tensor,
        m: &mut Tensor,
        v: &mut Tensor,
        step: &AdamStep,
    ) {
        optim::adam_step(param, grad, m, v, step)
    }
    fn lerp(&self, x: &mut Tensor, other: &Tensor, weight: f64) {
        optim::move_toward(x, other, weight)
    }
    fn sum_of_squares(&self, x: &Tensor) -> f64 {
        optim::sum_of_squares(x)
    }
    fn lp_mask(&self, c: &Tensor, log2p: &Tensor, window: LpWindow) -> Tensor {
        lp_mask::lp_mask(c, log2p, window)
    }
    fn lp_mask_grad(&self, operands: MaskGradient<'_>, window: LpWindow) -> (Tensor, Tensor) {
        lp_mask::lp_mask_grad(operands, window)
    }
    fn masked_weight(&self, weight: &Tensor, mask: &Tensor, crop: [usize; 2]) -> Tensor {
        lp_mask::masked_weight(weight, mask, crop)
    }
    fn masked_weight_grad(
        &self,
        dy: &Tensor,
        weight: &Tensor,
        mask: &Tensor,
        crop: [usize; 2],
        mask_wanted: bool,
    ) -> (Tensor, Option<Tensor>) {
        lp_mask::masked_weight_grad(dy, weight, mask, crop, mask_wanted)
    }
    fn matmul(&self, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        matmul::product(a, b, None, shape)
    }
    fn first_outside(&self, index: &Tensor, len: usize) -> Option<(usize, i64)> {
        index::first_outside(index, len)
    }
    fn where_(&self, condition: &Tensor, a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
        copy::where_(condition, a, b, shape)
    }
    fn cat(&self, tensors: &[&Tensor], axis: usize, length: usize) -> Tensor {
        index::cat(tensors, axis, length)
    }
    fn argsort(&self, x: &Tensor, descending: bool) -> Tensor {
        sort::argsort(x, descending)
    }
    fn flip(&self, x: &Tensor, axes: &[usize]) -> Tensor {
        index::flip(x, axes)
    }
    fn index_select(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        index::index_select(x, axis, index)
    }
    fn index_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        index::index_add(x, axis, index, src)
    }
    fn gather(&self, x: &Tensor, axis: usize, index: &Tensor) -> Tensor {
        index::gather(x, axis, index)
    }
    fn scatter_add(&self, x: &Tensor, axis: usize, index: &Tensor, src: &Tensor) -> Tensor {
        index::scatter_add(x, axis, index, src)
    }
}
