//! What runs each operation: one file a family, in it a list of [`Runner`]s.

mod arrays;
mod elementwise;
mod images;
mod layers;
mod lpconv;
mod mmv1;
mod models;
mod optim;
mod recurrent;
mod sample;
mod stats;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use autograd::Var;
use serde::de::DeserializeOwned;
use tensor::{DType, Tensor};

use super::{
    compare::{Difference, Rule, compare_with_slack},
    manifest::{Case, Goldens, Manifest},
};

/// How the cases of one operation are run.
#[derive(Clone, Copy)]
pub(super) struct Runner {
    /// What the names of the cases begin with: a family, or one model of it.
    prefix: &'static str,
    /// The operation.
    op: &'static str,
    run: fn(&Run) -> Result<()>,
}

/// All runners. A case without one is not supported.
const RUNNERS: &[&[Runner]] = &[
    elementwise::RUNNERS,
    arrays::RUNNERS,
    layers::RUNNERS,
    sample::RUNNERS,
    recurrent::RUNNERS,
    lpconv::RUNNERS,
    mmv1::RUNNERS,
    models::RUNNERS,
    optim::RUNNERS,
    images::RUNNERS,
    stats::RUNNERS,
];

/// The runner of a case, if its operation is supported.
pub(super) fn runner(case: &Case) -> Option<Runner> {
    let mut all = RUNNERS.iter().copied().flatten();
    all.find(|r| r.op == case.op && case.name.starts_with(r.prefix)).copied()
}

/// Whether some cases of this operation are supported and some are not, so that its name alone does not say enough.
pub(super) fn partly_supported(op: &str) -> bool {
    RUNNERS.iter().copied().flatten().any(|r| r.op == op)
}

/// A tensor that is not as it should be.
#[derive(Clone, Debug)]
pub(super) struct Wrong {
    pub(super) role: String,
    pub(super) difference: Difference,
}

/// One case in one precision, as its runner sees it: inputs and attributes to take, results to hand in.
///
/// What a runner does not take is an error afterwards, so that no input or attribute can be overlooked.
pub(super) struct Run<'a> {
    goldens: &'a Goldens,
    case: &'a Case,
    dtype: DType,
    /// The precision to which inputs are rounded before.
    inputs: DType,
    taken: RefCell<BTreeSet<String>>,
    leaves: RefCell<Vec<(String, Var)>>,
    outputs: RefCell<Vec<(String, Var)>>,
    results: RefCell<Vec<(String, Tensor)>>,
    /// What the tolerance of gradients in f32 is multiplied with.
    gradient_factor: Cell<f64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(goldens: &'a Goldens, case: &'a Case, dtype: DType) -> Self {
        let (taken, leaves) = Default::default();
        let (outputs, results) = Default::default();
        let gradient_factor = Cell::new(1.0);
        Run {
            goldens,
            case,
            dtype,
            inputs: dtype,
            taken,
            leaves,
            outputs,
            results,
            gradient_factor,
        }
    }

    /// Runs the case and compares everything that was expected.
    ///
    /// # Errors
    /// If the runner could not run it, left something out or handed in something that nobody expects.
    pub(super) fn execute(self, runner: Runner) -> Result<Vec<Wrong>> {
        self.compute(runner)?;
        let wrong = self.compare(|_, expected| vec![0.0; expected.numel()])?;
        if wrong.is_empty() || self.dtype != DType::F32 {
            return Ok(wrong);
        }
        // Rounding the inputs to f32 alone may move an ill-conditioned result by more than the tolerance: ln z where z
        // is nearly 1. How far it does, f64 can tell. And what underflows in f32 is no error.
        let (f64, dtype) = (DType::F64, self.dtype);
        let rounded = Run { dtype: f64, inputs: dtype, ..Run::new(self.goldens, self.case, f64) };
        rounded.compute(runner)?;
        let rounded = rounded.results.into_inner();
        self.compare(|role, expected| {
            let find = |(r, _): &&(String, Tensor)| r == role;
            let (_, moved) = rounded.iter().find(find).expect("both runs have the same results");
            let pairs = moved.to_f64_vec().into_iter().zip(expected.to_f64_vec());
            pairs.map(|(a, b)| (a - b).abs() + f64::from(f32::MIN_POSITIVE)).collect()
        })
    }

    /// Everything a case hands in, gradients included, and that it is everything.
    fn compute(&self, runner: Runner) -> Result<()> {
        (runner.run)(self)?;
        self.differentiate();
        self.nothing_left_out()
    }

    /// The precision to compute in.
    fn dtype(&self) -> DType {
        self.dtype
    }

    /// The operation, for runners of several.
    fn op(&self) -> &str {
        &self.case.op
    }

    /// The last part of the case's name.
    fn name(&self) -> &'a str {
        self.case.name.rsplit('/').next().unwrap_or_default()
    }

    /// The head of the manifest.
    fn manifest(&self) -> &'a Manifest {
        self.goldens.manifest()
    }

    /// The roles that begin with `prefix`.
    fn roles(&self, prefix: &str) -> impl Iterator<Item = &'a str> {
        let roles = self.case.tensors.keys().map(String::as_str);
        roles.filter(move |role| role.starts_with(prefix))
    }

    /// Whether the case has a tensor of this role.
    fn has(&self, role: &str) -> bool {
        self.case.tensors.contains_key(role)
    }

    /// The tensor of a role; floats are rounded to the precision to compute in.
    fn tensor(&self, role: &str) -> Result<Tensor> {
        let t = self.stored(role)?;
        Ok(match t.dtype().is_float() {
            true => t.to_dtype(self.inputs).to_dtype(self.dtype),
            false => t,
        })
    }

    /// The tensor of a role as it is stored.
    fn stored(&self, role: &str) -> Result<Tensor> {
        let entry = self.case.tensors.get(role).with_context(|| format!("there is no {role}"))?;
        self.taken.borrow_mut().insert(role.to_owned());
        Ok(self.goldens.tensor(self.case, entry))
    }

    /// Counts `leaf`, a layer's parameter that has taken the value of `in.<name>`, as that input.
    fn leaf(&self, name: &str, leaf: &Var) {
        self.leaves.borrow_mut().push((name.to_owned(), leaf.clone()));
    }

    /// Input `in.<name>`: a leaf if the case has `grad.<name>`, else a constant.
    fn var(&self, name: &str) -> Result<Var> {
        let value = self.tensor(&format!("in.{name}"))?;
        if !self.has(&format!("grad.{name}")) {
            return Ok(Var::constant(value));
        }
        let leaf = Var::leaf(value);
        self.leaf(name, &leaf);
        Ok(leaf)
    }

    /// Input `in.<name>`, if the case has one.
    fn optional_var(&self, name: &str) -> Result<Option<Var>> {
        if self.has(&format!("in.{name}")) { self.var(name).map(Some) } else { Ok(None) }
    }

    /// Attribute `name`.
    fn attr<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        self.optional_attr(name)?.with_context(|| format!("there is no attribute {name}"))
    }

    /// Attribute `name`, if the case has it.
    fn optional_attr<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.case.attrs.get(name) else { return Ok(None) };
        self.taken.borrow_mut().insert(name.to_owned());
        let parsed = serde_json::from_value(value.clone());
        parsed.map(Some).with_context(|| format!("attribute {name} is {value}"))
    }

    /// Attributes that only describe the case.
    fn remarks(&self, names: &[&str]) {
        self.taken.borrow_mut().extend(names.iter().map(|&n| n.to_owned()));
    }

    /// Hands in `out.<name>`, of which the gradients are taken if the case has `up.<name>`.
    fn output(&self, name: &str, y: Var) {
        self.result(&format!("out.{name}"), y.value().clone());
        self.outputs.borrow_mut().push((name.to_owned(), y));
    }

    /// Hands in the result of a role.
    fn result(&self, role: &str, value: Tensor) {
        self.results.borrow_mut().push((role.to_owned(), value));
    }

    /// Allows gradients in f32 to be off by `factor` times the tolerance, for a reason that the runner gives.
    fn loosen_f32_gradients(&self, factor: f64) {
        self.gradient_factor.set(factor);
    }

    /// Hands in numbers in the expected shape.
    fn numbers(&self, role: &str, values: &[f64]) -> Result<()> {
        let entry = self.case.tensors.get(role).with_context(|| format!("there is no {role}"))?;
        let expected: usize = entry.shape.iter().product();
        ensure!(values.len() == expected, "{role}: {} values instead of {expected}", values.len());
        self.result(role, Tensor::new(values, &entry.shape));
        Ok(())
    }

    /// The gradients of `sum_k <up.k, out.k>` with respect to every leaf.
    fn differentiate(&self) {
        let leaves = self.leaves.borrow();
        if leaves.is_empty() {
            return;
        }
        let mut total: Option<Var> = None;
        for (name, y) in self.outputs.borrow().iter() {
            let Ok(up) = self.tensor(&format!("up.{name}")) else { continue };
            let part = (y * &Var::constant(up)).sum_to([]);
            total = Some(match total {
                Some(sum) => &sum + &part,
                None => part,
            });
        }
        // A case with grad.* and without up.* is caught below: its gradients are missing.
        let Some(total) = total else { return };
        let gradients = total.backward();
        for (name, leaf) in leaves.iter() {
            // A result that does not depend on an input has no gradient for it; PyTorch stores zeros.
            let g = gradients.get(leaf).cloned().unwrap_or_else(|| leaf.value().zeros_like());
            self.result(&format!("grad.{name}"), g);
        }
    }

    fn nothing_left_out(&self) -> Result<()> {
        let taken = self.taken.borrow();
        let inputs =
            self.case.tensors.keys().filter(|r| r.starts_with("in.") || r.starts_with("up."));
        for name in inputs.chain(self.case.attrs.keys()) {
            ensure!(taken.contains(name), "{name} was not used");
        }
        let results = self.results.borrow();
        for role in
            self.case.tensors.keys().filter(|r| r.starts_with("out.") || r.starts_with("grad."))
        {
            let n = results.iter().filter(|(r, _)| r == role).count();
            ensure!(n == 1, "{role} was computed {n} times");
        }
        match results.iter().find(|(r, _)| !self.has(r)) {
            Some((role, _)) => Err(anyhow!("{role} was computed, but nothing is expected")),
            None => Ok(()),
        }
    }

    fn compare(&self, slack: impl Fn(&str, &Tensor) -> Vec<f64>) -> Result<Vec<Wrong>> {
        let mut wrong = Vec::new();
        for (role, found) in self.results.borrow().iter() {
            let expected = self.goldens.tensor(self.case, &self.case.tensors[role]);
            let rule = Rule::of(&self.case.tol, role, expected.dtype(), self.dtype)
                .with_context(|| format!("{role}: no tolerance for {}", self.dtype))?;
            let gradient = role.starts_with("grad.") || role.ends_with("grads");
            let rule = match gradient && self.dtype == DType::F32 {
                true => rule.loosened(self.gradient_factor.get()),
                false => rule,
            };
            let slack = slack(role, &expected);
            if let Err(difference) = compare_with_slack(rule, found, &expected, &slack) {
                wrong.push(Wrong { role: role.clone(), difference });
            }
        }
        Ok(wrong)
    }
}
