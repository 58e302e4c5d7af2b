//! Cases of golden values in a safetensors file, see `goldens/README.md`: read, run and compared.

use std::collections::BTreeMap;

use autograd::Var;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tensor::{DType, Tensor};

/// The tensors of a case by role: `in.x`, `out.y`, `up.y`, `grad.x`, ...
type Roles = BTreeMap<String, Tensor>;

/// One case.
pub(crate) struct Golden {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) attrs: Value,
    roles: Roles,
}

fn tensor(view: &safetensors::tensor::TensorView) -> Tensor {
    let bytes = view.data().chunks_exact(8).map(|b| b.try_into().expect("8 bytes"));
    match view.dtype() {
        Dtype::F64 => Tensor::new(&bytes.map(f64::from_le_bytes).collect::<Vec<_>>(), view.shape()),
        Dtype::BOOL => Tensor::new(view.data(), view.shape()),
        Dtype::I64 => Tensor::new(&bytes.map(i64::from_le_bytes).collect::<Vec<_>>(), view.shape()),
        other => panic!("goldens are f64, i64 and bool, not {other:?}"),
    }
}

fn goldens(file: &[u8]) -> Vec<Golden> {
    let (_, head) = SafeTensors::read_metadata(file).expect("a safetensors file");
    let file = SafeTensors::deserialize(file).expect("a safetensors file");
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

/// The differentiable outputs of an op by name, from its inputs by name.
pub(crate) type Run = fn(&Golden, &BTreeMap<&str, Var>) -> Vec<(&'static str, Var)>;

/// What is done to every input before it is used: another memory order.
pub(crate) type Form = fn(&Tensor) -> Tensor;

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
fn check(golden: &Golden, dtype: DType, form: Form, run: Run) -> Result<(), String> {
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
    let Some(dy) = golden.roles.get("up.y") else { return Ok(()) };
    let gradients = outputs[0].1.backward_with(&form(&dy.to_dtype(dtype)));
    for (name, x) in inputs.iter().filter(|(_, x)| x.is_leaf()) {
        let what = format!("grad.{name}");
        compare(&what, gradients.wrt(x), &golden.roles[&what], tolerance)?;
    }
    Ok(())
}

/// Runs every case in f64 and f32 and in each of the forms; panics with all that failed.
pub(crate) fn check_all(file: &[u8], forms: &[(&str, Form)], run: Run) {
    let goldens = goldens(file);
    let mut failures = Vec::new();
    for golden in &goldens {
        for dtype in [DType::F64, DType::F32] {
            for &(form_name, form) in forms {
                if let Err(e) = check(golden, dtype, form, run) {
                    failures.push(format!("{} in {dtype}, {form_name}: {e}", golden.name));
                }
            }
        }
    }
    assert!(!goldens.is_empty() && failures.is_empty(), "{}", failures.join("\n"));
}
