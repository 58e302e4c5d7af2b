//! Ops of which the repository's large set of goldens has no or few cases, against PyTorch: outputs and gradients, in f64
//! and f32, from row-major and reversed memory.

mod golden;

use std::collections::BTreeMap;

use autograd::{Attention, Var};
use golden::{Golden, check_all};
use serde::de::DeserializeOwned;
use tensor::{
    GridSample, Interpolate, InterpolateMode, Pool2d, SampleMode, SamplePadding, Tensor, Unfold,
};

/// Written by `goldens/generate_more.py`.
const GOLDENS: &[u8] = include_bytes!("goldens/more.safetensors");

/// Attribute `key`.
fn attr<T: DeserializeOwned>(golden: &Golden, key: &str) -> T {
    serde_json::from_value(golden.attrs[key].clone())
        .unwrap_or_else(|e| panic!("{}: attribute {key}: {e}", golden.name))
}

fn has(golden: &Golden, key: &str) -> bool {
    golden.attrs.get(key).is_some()
}

/// What the op makes of the inputs.
fn run(golden: &Golden, v: &BTreeMap<&str, Var>) -> Vec<(&'static str, Var)> {
    let x = || &v["x"];
    let y = match golden.op.as_str() {
        "grid_sample" => x().grid_sample(&v["grid"], &sampling(golden)),
        "interpolate" if has(golden, "factors") => {
            x().interpolate_by(attr(golden, "factors"), &interpolation(golden))
        }
        "interpolate" => x().interpolate(attr(golden, "size"), &interpolation(golden)),
        "sort" => x().sort(attr(golden, "axis"), attr(golden, "descending")).0,
        "topk" => x().topk(attr(golden, "k"), attr(golden, "axis"), attr(golden, "largest")).0,
        "max_pool2d" => x().max_pool2d(&pool(golden)),
        "avg_pool2d" => x().avg_pool2d(&pool(golden), attr(golden, "count_include_pad")),
        "unfold" => x().unfold(&patches(golden)),
        "fold" => x().fold(attr(golden, "size"), &patches(golden)),
        "constant_pad2d" => x().constant_pad2d(attr(golden, "padding"), attr(golden, "value")),
        "cumprod" => x().cumprod(attr(golden, "axis")),
        "logcumsumexp" => x().logcumsumexp(attr(golden, "axis")),
        "cummax" => x().cummax(attr(golden, "axis")).0,
        "cummin" => x().cummin(attr(golden, "axis")).0,
        "adaptive_max_pool2d" => x().relu().adaptive_max_pool2d(attr(golden, "size")).0,
        "tril" => x().tril(attr(golden, "diagonal")),
        "triu" => x().triu(attr(golden, "diagonal")),
        "roll" => x().roll(attr(golden, "shift"), attr(golden, "axis")),
        "repeat" => x().repeat(&attr::<Vec<usize>>(golden, "times")),
        "scaled_dot_product_attention" => {
            let (mask, causal) = (v.get("mask").map(Var::value), has(golden, "causal"));
            let options = Attention { mask, causal, ..Default::default() };
            v["q"].scaled_dot_product_attention(&v["k"], &v["v"], &options)
        }
        other => panic!("{}: no test for op {other}", golden.name),
    };
    vec![("y", y)]
}

fn pool(golden: &Golden) -> Pool2d {
    let [kernel, stride, padding] = ["kernel", "stride", "padding"].map(|key| attr(golden, key));
    Pool2d { kernel, stride, padding, ceil_mode: true }
}

fn patches(golden: &Golden) -> Unfold {
    let [kernel, stride, padding, dilation] =
        ["kernel", "stride", "padding", "dilation"].map(|key| attr(golden, key));
    Unfold { kernel, stride, padding, dilation }
}

fn sampling(golden: &Golden) -> GridSample {
    let mode = match attr::<String>(golden, "mode").as_str() {
        "bilinear" => SampleMode::Bilinear,
        "nearest" => SampleMode::Nearest,
        _ => SampleMode::Bicubic,
    };
    let padding = match attr::<String>(golden, "padding").as_str() {
        "zeros" => SamplePadding::Zeros,
        "border" => SamplePadding::Border,
        _ => SamplePadding::Reflection,
    };
    GridSample { mode, padding, align_corners: attr(golden, "align_corners") }
}

fn interpolation(golden: &Golden) -> Interpolate {
    let mode = match attr::<String>(golden, "mode").as_str() {
        "nearest" => InterpolateMode::Nearest,
        "nearest-exact" => InterpolateMode::NearestExact,
        "bilinear" => InterpolateMode::Bilinear,
        _ => InterpolateMode::Bicubic,
    };
    let (align_corners, antialias) = (attr(golden, "align_corners"), attr(golden, "antialias"));
    Interpolate { mode, align_corners, antialias }
}

#[test]
fn ops_are_pytorchs() {
    let reversed = |t: &Tensor| {
        let axes: Vec<usize> = (0..t.rank()).rev().collect();
        t.permute(&axes).contiguous().permute(&axes)
    };
    check_all(GOLDENS, &[("row major", Tensor::clone), ("reversed", reversed)], run);
}
