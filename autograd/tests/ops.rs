//! Elementwise ops, reductions, indexing and products against PyTorch, outputs and gradients, in f64 and f32, from
//! row-major and reversed memory.

mod golden;

use std::collections::BTreeMap;

use autograd::Var;
use golden::{Golden, check_all};
use tensor::Tensor;

/// See `goldens/README.md`.
const GOLDENS: &[u8] = include_bytes!("goldens/ops.safetensors");

/// What the op makes of the inputs.
fn run(golden: &Golden, v: &BTreeMap<&str, Var>) -> Vec<(&'static str, Var)> {
    let attrs = &golden.attrs;
    let number = |key: &str| attrs[key].as_f64().expect("a number");
    let list = |key: &str| -> Vec<isize> {
        let list = attrs[key].as_array().expect("a list").iter();
        list.map(|v| v.as_i64().expect("an integer") as isize).collect()
    };
    let sizes = |key: &str| -> Vec<usize> { list(key).into_iter().map(|v| v as usize).collect() };
    let axis = || number("axis") as isize;
    let keepdim = attrs["keepdim"] == true;
    let index = || v["index"].value();
    let x = || &v["x"];
    let all: Vec<&Var> = v.values().collect();
    let y = match golden.op.as_str() {
        "relu" => x().relu(),
        "sigmoid" => x().sigmoid(),
        "tanh" => x().tanh(),
        "elu" => x().elu(attrs["alpha"].as_f64().unwrap_or(1.0)),
        "softplus" => x().softplus(),
        "gelu_exact" => x().gelu(),
        "gelu_tanh" => x().gelu_tanh(),
        "exp" => x().exp(),
        "log" => x().log(),
        "abs" => x().abs(),
        "neg" => x().neg(),
        "square" => x().square(),
        "sqrt" => x().sqrt(),
        "rsqrt" => x().rsqrt(),
        "reciprocal" => x().reciprocal(),
        "sin" => x().sin(),
        "cos" => x().cos(),
        "erf" => x().erf(),
        "clamp" => x().clamp(number("min"), number("max")),
        "add" => &v["a"] + &v["b"],
        "sub" => &v["a"] - &v["b"],
        "mul" => &v["a"] * &v["b"],
        "div" => &v["a"] / &v["b"],
        "maximum" => v["a"].maximum(&v["b"]),
        "minimum" => v["a"].minimum(&v["b"]),
        "pow" if v.contains_key("x") => {
            let exponents = attrs["exponents"].as_array().expect("a list").iter();
            let powers: Vec<Var> =
                exponents.map(|e| x().pow_scalar(e.as_f64().expect("a number"))).collect();
            Var::stack(&powers.iter().collect::<Vec<_>>(), 0)
        }
        "pow" => v["a"].pow(&v["b"]),
        "sum" => x().sum_axes(&list("axes"), keepdim),
        "mean" => x().mean_axes(&list("axes"), keepdim),
        "amax" => x().amax(&list("axes"), keepdim),
        "amin" => x().amin(&list("axes"), keepdim),
        "logsumexp" => x().logsumexp(&list("axes"), keepdim),
        "var_unbiased" => x().var(&list("axes"), 1, keepdim),
        "var_biased" => x().var(&list("axes"), 0, keepdim),
        "l2_norm" => x().l2_norm(&list("axes"), keepdim),
        "cumsum" => x().cumsum(axis()),
        "argmax" => Var::constant(x().value().argmax(axis(), false)),
        "cat" => Var::cat(&all, axis()),
        "stack" => Var::stack(&all, axis()),
        "permute" => x().permute(&sizes("axes")),
        "slice" => {
            let [start, stop, step] = ["start", "stop", "step"].map(|key| number(key) as usize);
            x().slice(axis(), start, stop, step)
        }
        "flip" => x().flip(&list("axes")),
        "expand" => x().broadcast_to(sizes("shape")),
        "where" => v["input"].where_(v["condition"].value(), &v["other"]),
        "index_select" => x().index_select(axis(), index()),
        "gather" => x().gather(axis(), index()),
        "embedding" => v["weight"].embedding(index()),
        "matmul" => v["a"].matmul(&v["b"]),
        "bmm" => v["a"].bmm(&v["b"]),
        "einsum" => Var::einsum(attrs["equation"].as_str().expect("an equation"), &v["C"], &v["s"]),
        other => panic!("{}: no test for op {other}", golden.name),
    };
    vec![("y", y)]
}

#[test]
fn ops_are_pytorchs() {
    let reversed = |t: &Tensor| {
        let axes: Vec<usize> = (0..t.rank()).rev().collect();
        t.permute(&axes).contiguous().permute(&axes)
    };
    check_all(GOLDENS, &[("row major", Tensor::clone), ("reversed", reversed)], run);
}
