//! The layers against PyTorch, outputs and gradients, in f64 and f32, from row-major and channels-last images.

use std::collections::BTreeMap;

use autograd::{BatchStats, Reduction, Var};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tensor::{Conv2dOptions, DType, Pool2d, Tensor};

/// See `goldens/README.md`.
const GOLDENS: &[u8] = include_bytes!("goldens/layers.safetensors");

/// The tensors of a case by role: `in.x`, `out.y`, `up.y`, `grad.x`, ...
type Roles = BTreeMap<String, Tensor>;

struct Golden {
    name: String,
    op: String,
    attrs: Value,
    roles: Roles,
}

fn tensor(view: &safetensors::tensor::TensorView) -> Tensor {
    let bytes = view.data().chunks_exact(8).map(|b| b.try_into().expect("8 bytes"));
    match view.dtype() {
        Dtype::F64 => Tensor::new(&bytes.map(f64::from_le_bytes).collect::<Vec<_>>(), view.shape()),
        Dtype::I64 => Tensor::new(&bytes.map(i64::from_le_bytes).collect::<Vec<_>>(), view.shape()),
        other => panic!("goldens are f64 and i64, not {other:?}"),
    }
}

fn goldens() -> Vec<Golden> {
    let file = SafeTensors::deserialize(GOLDENS).expect("a safetensors file");
    let (_, head) = SafeTensors::read_metadata(GOLDENS).expect("a safetensors file");
    let cases = &head.metadata().as_ref().expect("metadata")["cases"];
    let cases: Vec<Value> = serde_json::from_str(cases).expect("a list of cases");
    let golden = |case: &Value| {
        let name = case["name"].as_str().expect("a name").to_owned();
        let prefix = format!("{name}/");
        let roles = file
            .iter()
            .filter_map(|(key, view)| Some((key.strip_prefix(&prefix)?.to_owned(), tensor(&view))))
            .collect();
        let op = case["op"].as_str().expect("an op").to_owned();
        Golden { name, op, attrs: case["attrs"].clone(), roles }
    };
    cases.iter().map(golden).collect()
}

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
        Pool2d { kernel, stride, padding }
    };
    let y = match golden.op.as_str() {
        "conv2d" => {
            let [stride, padding, dilation] =
                ["stride", "padding", "dilation"].map(|k| integers(&a[k]));
            let groups = a["groups"].as_u64().expect("an integer") as usize;
            v["x"].conv2d(w(), bias, &Conv2dOptions { stride, padding, dilation, groups })
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

/// Compares within `tolerance` times the largest expected magnitude; the error names the worst element.
fn compare(what: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) -> Result<(), String> {
    if actual.shape() != expected.shape() {
        return Err(format!("{what}: shape {} instead of {}", actual.shape(), expected.shape()));
    }
    let (a, e) = (actual.to_f64_vec(), expected.to_f64_vec());
    let scale = e.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let allowed = tolerance * if scale == 0.0 { 1.0 } else { scale };
    let wrong = |i: &usize| (a[*i] - e[*i]).abs() > allowed || a[*i].is_nan();
    let count = (0..a.len()).filter(wrong).count();
    match (0..a.len()).find(wrong) {
        None => Ok(()),
        Some(i) => Err(format!(
            "{what}: {count} of {} differ, first [{i}]: {} instead of {} (allowed {allowed:e})",
            a.len(),
            a[i],
            e[i]
        )),
    }
}

/// Runs a case forward and backward in `dtype`, with images in the memory that `form` gives them.
fn check(golden: &Golden, dtype: DType, form: fn(&Tensor) -> Tensor) -> Result<(), String> {
    let tolerance = if dtype == DType::F64 { 1e-10 } else { 1e-4 };
    let inputs: BTreeMap<&str, Var> = golden
        .roles
        .iter()
        .filter_map(|(role, t)| {
            let name = role.strip_prefix("in.")?;
            let var = if golden.roles.contains_key(&format!("grad.{name}")) {
                Var::leaf(form(&t.to_dtype(dtype)))
            } else if t.dtype().is_float() {
                Var::constant(form(&t.to_dtype(dtype)))
            } else {
                Var::constant(t.clone())
            };
            Some((name, var))
        })
        .collect();
    let outputs = run(golden, &inputs);
    for (name, y) in &outputs {
        compare(name, y.value(), &golden.roles[&format!("out.{name}")], tolerance)?;
    }
    let gradients = outputs[0].1.backward_with(&form(&golden.roles["up.y"].to_dtype(dtype)));
    for (name, x) in inputs.iter().filter(|(_, x)| x.is_leaf()) {
        let what = format!("grad.{name}");
        compare(&what, gradients.wrt(x), &golden.roles[&what], tolerance)?;
    }
    Ok(())
}

#[test]
fn layers_are_pytorchs() {
    let channels_last = |t: &Tensor| if t.rank() == 4 { t.channels_last() } else { t.clone() };
    type Form = fn(&Tensor) -> Tensor;
    let forms: [(&str, Form); 2] = [("row major", Tensor::clone), ("channels last", channels_last)];
    let goldens = goldens();
    let mut failures = Vec::new();
    for golden in &goldens {
        for dtype in [DType::F64, DType::F32] {
            for (form_name, form) in forms {
                if let Err(e) = check(golden, dtype, form) {
                    failures.push(format!("{} in {dtype}, {form_name}: {e}", golden.name));
                }
            }
        }
    }
    assert!(!goldens.is_empty() && failures.is_empty(), "{}", failures.join("\n"));
}
