//! One axis times a banded matrix, which is how images are resized.

use super::{
    elementwise::float,
    index::Blocks,
    launch::{Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, output},
};
use crate::{DType, Taps, Tensor};

static RESAMPLE: Source =
    Source { name: "resample", text: include_str!("kernels/resample.cu"), options: &[] };

kernels! { RESAMPLE;
    any fn resample_of(
        x: In, bands: In, weights: In, y: Out, inputs: u64, outputs: u64, inner: u64, n: u64,
    );
}

/// `axis` of `x` times the matrix.
pub(super) fn resample(x: &Tensor, axis: usize, taps: &Taps) -> Tensor {
    let (gpu, t) = (gpu(x), float("resample", x.dtype()));
    let blocks = Blocks::like(x, axis, taps.outputs());
    let x = blocks.source(x);
    let (y, out) = output(gpu, blocks.layout, x.dtype());
    let n = y.numel();
    if n == 0 {
        return y;
    }
    let (mut bands, mut weights) = (Vec::<u32>::new(), Vec::<f64>::new());
    for (start, row) in taps.rows() {
        bands.extend([*start, weights.len(), row.len()].map(|n| n as u32));
        weights.extend(row);
    }
    // A matrix of zeros has no weights, but the table needs an address.
    weights.push(0.0);
    let (bands, weights) = (gpu.table(&bands), gpu.table(&weights));
    let [inputs, outputs, inner] = [taps.inputs(), taps.outputs(), blocks.inner].map(|n| n as u64);
    let (from, grid) = (input(gpu, &x), Grid::over(n, 1));
    // SAFETY: sizes are those of the tensors; a band stays inside its inputs.
    unsafe {
        let (bands, weights, n) = (bands.start(), weights.start(), n as u64);
        resample_of(
            gpu,
            &[t],
            grid,
            "resample",
            from,
            bands,
            weights,
            out,
            inputs,
            outputs,
            inner,
            n,
        );
    }
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&RESAMPLE, &[("T", Value::Type(t))])).into()
}
