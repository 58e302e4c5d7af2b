//! The layers against PyTorch, outputs and gradients, in f64 and f32, from row-major and channels-last images.

mod golden;

use std::collections::BTreeMap;

use autograd::{BatchStats, Reduction, Var};
use golden::{Golden, check_all};
use serde_json::Value;
use tensor::{Conv2dOptions, Pool2d, Tensor};

/// See `goldens/README.md`.
const GOLDENS: &[u8] = include_bytes!("goldens/layers.safetensors");

/// The integers of a list of attributes.
fn integers<T: TryFrom<i64>, const N: usize>(list: &Value) -> [T; N] {
    let list = list.as_array().expect("a list").iter();
    let numbers: Vec<T> =
        list.filter_map(|v| T::try_from(v.as_i64().expect("an integer")).ok()).collect();
    numbers.try_into().ok().expect("a list of this length")
}

/// What the op makes of the inputs: named outputs, the first of them differentiable.
fn run(golden: &Golden, v: &BTreeMap<&str, Var>) -> Vec<(&'static str, Var)> {
    let a = &golden.attrs;
    let number = |key: &str| a[key].as_f64().expect("a number");
    let axes = || a["axes"].as_array().expect("a list");
    let (weight, bias) = (v.get("weight"), v.get("bias"));
    let w = || &v["weight"];
    let pool = || {
        let [kernel, stride, padding] = ["kernel", "stride", "padding"].map(|k| integers(&a[k]));
        Pool2d { kernel, stride, padding, ceil_mode: false }
    };
    let y = match golden.op.as_str() {
        "conv2d" => {
            let [stride, padding, dilation] =
                ["stride", "padding", "dilation"].map(|k| integers(&a[k]));
            let groups = a["groups"].as_u64().expect("an integer") as usize;
            let options = Conv2dOptions { stride, padding, dilation, groups, ..Default::default() };
            v["x"].conv2d(w(), bias, &options)
        }
        "linear" => v["x"].linear(w(), bias),
        "max_pool2d" => v["x"].max_pool2d(&pool()),
        "avg_pool2d" => v["x"].avg_pool2d(&pool(), a["count_include_pad"] == true),
        "adaptive_avg_pool2d" => v["x"].adaptive_avg_pool2d(integers(&a["output"])),
        "pad2d" if a["mode"] == "zero" => v["x"].pad2d(integers(&a["left_right_top_bottom"])),
        "pad2d" => v["x"].reflection_pad2d(integers(&a["left_right_top_bottom"])),
        "batch_norm" => return batch_norm(a, v),
        "layer_norm" if axes()[0] == 1 => v["x"].layer_norm2d(weight, bias, number("eps")),
        "layer_norm" => v["x"].layer_norm(axes().len(), weight, bias, number("eps")),
        "softmax" => v["x"].softmax(number("axis") as isize),
        "log_softmax" => v["x"].log_softmax(number("axis") as isize),
        "cross_entropy" => {
            let reduction = match a["reduction"].as_str() {
                Some("mean") => Reduction::Mean,
                Some("sum") => Reduction::Sum,
                _ => Reduction::None,
            };
            v["logits"].cross_entropy(v["target"].value(), number("label_smoothing"), reduction)
        }
        "soft_cross_entropy" => {
            v["logits"].soft_cross_entropy(v["target"].value(), Reduction::Mean)
        }
        other => panic!("{}: no test for op {other}", golden.name),
    };
    vec![("y", y)]
}

/// Batch normalization, and the running statistics after it.
fn batch_norm(a: &Value, v: &BTreeMap<&str, Var>) -> Vec<(&'static str, Var)> {
    let (momentum, eps) = (a["momentum"].as_f64().unwrap(), a["eps"].as_f64().unwrap());
    let (x, weight, bias) = (&v["x"], v.get("weight"), v.get("bias"));
    let (mut mean, mut var) = (v["running_mean"].value().clone(), v["running_var"].value().clone());
    let y = if a["training"] == true {
        let (y, batch) = x.batch_norm(weight, bias, eps);
        // The variance enters the running value unbiased.
        let n = x.value().numel() as f64 / x.dims()[1] as f64;
        mean.lerp_mut(&batch.mean, momentum);
        var.lerp_mut(&batch.var.mul_scalar(n / (n - 1.0)), momentum);
        y
    } else {
        x.batch_norm_eval(&BatchStats { mean: mean.clone(), var: var.clone() }, weight, bias, eps)
    };
    vec![("y", y), ("running_mean", Var::constant(mean)), ("running_var", Var::constant(var))]
}

#[test]
fn layers_are_pytorchs() {
    let channels_last = |t: &Tensor| if t.rank() == 4 { t.channels_last() } else { t.clone() };
    check_all(GOLDENS, &[("row major", Tensor::clone), ("channels last", channels_last)], run);
}
