//! Compare analytic with numeric gradients, for any function of [`Var`]s, in f64.
//!
//! [`gradcheck`] checks one function at one point. [`properties`] checks everything that every op must fulfil, at a
//! [`Case`] that a [`Draw`] has drawn; with the feature `proptest`, `strategies` has shapes and convolution
//! geometries for tests of your own.

use std::fmt;

use tensor::{DType, Device, Shape, Stream, Tensor};

pub use crate::draw::{ConvCase, Draw};
use crate::{Gradients, Var};

/// Where analytic and numeric gradients disagree most.
#[derive(Clone, Debug, PartialEq)]
pub struct GradcheckError {
    /// Which input.
    pub input: usize,
    /// Which element of it.
    pub index: Vec<usize>,
    /// What `backward` says.
    pub analytic: f64,
    /// What central differences say.
    pub numeric: f64,
    /// The difference that was allowed.
    pub tolerance: f64,
}

impl fmt::Display for GradcheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "gradient of input {} at {:?}: backward gives {:e}, central differences {:e} \
             (difference {:e}, allowed {:e})",
            self.input,
            self.index,
            self.analytic,
            self.numeric,
            (self.analytic - self.numeric).abs(),
            self.tolerance
        )
    }
}

impl std::error::Error for GradcheckError {}

/// Step of the central difference, relative to `1 + |x|`: the error of the difference (~ step²) and of the
/// cancellation (~ 1e-16 / step) are both near 1e-10 there.
const STEP: f64 = 1e-5;
/// Allowed difference, relative to the largest gradient of the input (or 1): a hundred times the above.
const TOLERANCE: f64 = 1e-6;
/// The same for second derivatives, whose differences have a larger error: it grows with the next two derivatives.
const SECOND_TOLERANCE: f64 = 1e-5;

/// Checks `backward` of `f` against central differences for every element of every input.
///
/// `f` may return any shape: its elements are weighted by fixed pseudo-random numbers and summed. Inputs must be f64
/// and lie away from kinks by more than 1e-5.
///
/// # Errors
/// The worst element of the first input whose gradient is wrong.
///
/// # Panics
/// If an input is not f64.
pub fn gradcheck(f: impl Fn(&[Var]) -> Var, inputs: &[Tensor]) -> Result<(), Box<GradcheckError>> {
    check(f, inputs, TOLERANCE)
}

fn check(
    f: impl Fn(&[Var]) -> Var,
    inputs: &[Tensor],
    tolerance: f64,
) -> Result<(), Box<GradcheckError>> {
    let weights = upstream(&f, inputs);
    let analytic = gradients_of(&f, inputs, &weights, &vec![true; inputs.len()]);
    for (i, x) in inputs.iter().enumerate() {
        assert!(x.dtype() == DType::F64, "gradcheck: input {i} is {}, not f64", x.dtype());
        let numeric = numeric_gradient(&f, inputs, i, &weights);
        let analytic = match &analytic[i] {
            Some(g) => g.to_f64_vec(),
            None => vec![0.0; x.numel()],
        };
        compare(i, x.shape(), &analytic, &numeric, tolerance)?;
    }
    Ok(())
}

/// Checks the second derivative of `f`: gradcheck of its gradient, recorded with `create_graph`, as a function of the
/// inputs and of the output's gradient.
///
/// # Errors
/// As [`gradcheck`], for the gradient of the sum of all first gradients, weighted; the input after the last is the
/// output's gradient.
pub fn gradgradcheck(
    f: impl Fn(&[Var]) -> Var,
    inputs: &[Tensor],
) -> Result<(), Box<GradcheckError>> {
    let mut all = inputs.to_vec();
    all.push(upstream(&f, inputs));
    let gradient = |v: &[Var]| {
        let (v, dy) = v.split_at(inputs.len());
        // The graph of gradients needs leaves that f has seen, whether or not the caller's are.
        let leaves: Vec<Var> = v
            .iter()
            .map(|x| if x.requires_grad() { x.clone() } else { Var::leaf(x.value().clone()) })
            .collect();
        let y = f(&leaves);
        let g = (&y * &dy[0]).sum().backward_create_graph();
        let mut total = Var::constant(Tensor::zeros([], DType::F64, Device::Cpu));
        for (i, x) in leaves.iter().enumerate() {
            if g.get(x).is_some() {
                // Different weights, so that errors in two inputs cannot cancel.
                let w = pseudo_random(x.shape(), 100 + i as u64);
                total = &total + &(g.var(x) * &Var::constant(w)).sum();
            }
        }
        total
    };
    check(gradient, &all, SECOND_TOLERANCE)
}

fn compare(
    input: usize,
    shape: Shape,
    analytic: &[f64],
    numeric: &[f64],
    tolerance: f64,
) -> Result<(), Box<GradcheckError>> {
    let finite = |g: &&f64| g.is_finite();
    let scale = numeric.iter().chain(analytic).filter(finite).fold(1.0f64, |m, g| m.max(g.abs()));
    let tolerance = tolerance * scale;
    let difference = |k: &usize| {
        let d = (analytic[*k] - numeric[*k]).abs();
        // NaN or infinite on either side: as wrong as can be.
        if d.is_finite() { d } else { f64::INFINITY }
    };
    let worst = (0..numeric.len()).max_by(|a, b| difference(a).total_cmp(&difference(b)));
    match worst.filter(|k| difference(k) > tolerance) {
        None => Ok(()),
        Some(k) => Err(Box::new(GradcheckError {
            input,
            index: unravel(k, &shape),
            analytic: analytic[k],
            numeric: numeric[k],
            tolerance,
        })),
    }
}

fn unravel(mut flat: usize, shape: &Shape) -> Vec<usize> {
    let mut index = vec![0; shape.rank()];
    for axis in (0..shape.rank()).rev() {
        index[axis] = flat % shape[axis];
        flat /= shape[axis];
    }
    index
}

fn pseudo_random(shape: Shape, seed: u64) -> Tensor {
    Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(seed))
}

/// Fixed weights for the outputs of `f`.
fn upstream(f: impl Fn(&[Var]) -> Var, inputs: &[Tensor]) -> Tensor {
    let constants: Vec<Var> = inputs.iter().cloned().map(Var::constant).collect();
    let y = f(&constants);
    pseudo_random(y.shape(), 1).to_device(y.value().device())
}

/// The analytic gradients of `sum(weights * f)`; inputs that are not `wanted` are constants.
fn gradients_of(
    f: impl Fn(&[Var]) -> Var,
    inputs: &[Tensor],
    weights: &Tensor,
    wanted: &[bool],
) -> Vec<Option<Tensor>> {
    let vars: Vec<Var> = inputs
        .iter()
        .zip(wanted)
        .map(|(x, &w)| if w { Var::leaf(x.clone()) } else { Var::constant(x.clone()) })
        .collect();
    let y = f(&vars);
    let gradients = if y.requires_grad() { y.backward_with(weights) } else { Gradients::default() };
    vars.iter().map(|v| gradients.get(v).cloned()).collect()
}

fn numeric_gradient(
    f: impl Fn(&[Var]) -> Var,
    inputs: &[Tensor],
    which: usize,
    weights: &Tensor,
) -> Vec<f64> {
    let x = inputs[which].to_f64_vec();
    let w = weights.to_f64_vec();
    let at = |k: usize, value: f64| -> Vec<f64> {
        let mut moved = x.clone();
        moved[k] = value;
        let vars: Vec<Var> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| {
                Var::constant(match i == which {
                    true => Tensor::new(&moved, t.shape()).to_device(t.device()),
                    false => t.clone(),
                })
            })
            .collect();
        f(&vars).value().to_f64_vec()
    };
    (0..x.len())
        .map(|k| {
            let h = STEP * (1.0 + x[k].abs());
            let (up, down) = (at(k, x[k] + h), at(k, x[k] - h));
            // Differences are summed, not sums subtracted: outputs that do not depend on x[k] cancel exactly.
            up.iter().zip(&down).zip(&w).map(|((u, d), w)| (u - d) * w).sum::<f64>() / (2.0 * h)
        })
        .collect()
}

/// A function of `Var`s and a point at which to check it.
pub struct Case {
    /// The differentiable inputs, f64.
    pub inputs: Vec<Tensor>,
    /// The function.
    pub f: CaseFn,
}

/// The function of a [`Case`]; `Sync`, since it is run under thread pools of several sizes.
pub type CaseFn = Box<dyn Fn(&[Var]) -> Var + Send + Sync>;

impl Case {
    /// A case from its parts.
    pub fn new(inputs: Vec<Tensor>, f: impl Fn(&[Var]) -> Var + Send + Sync + 'static) -> Self {
        Case { inputs, f: Box::new(f) }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case {{ inputs: {:?} }}", self.inputs)
    }
}

/// Checks what every op must fulfil; the error says which property failed and how.
///
/// 1. analytic = numeric gradient for every input;
/// 2. the gradient of one input does not depend on which others are wanted;
/// 3. the gradient is linear: twice the upstream gradient, twice the result, and used twice it adds;
/// 4. transposed, gapped and channels-last inputs give what contiguous copies give;
/// 5. one thread and several give the same bits, as [`thread_independence`] checks (small cases are not split: for those that
///    are, see there);
/// 6. f32 is near f64;
/// 7. bf16 is near f32 at the same numbers;
/// 8. finite inputs give finite outputs and gradients.
///
/// # Errors
/// A sentence with the property's name.
pub fn properties(case: &Case) -> Result<(), String> {
    let Case { inputs, f } = case;
    gradcheck(f, inputs).map_err(|e| e.to_string())?;
    let weights = upstream(f, inputs);
    let all = vec![true; inputs.len()];
    let reference = gradients_of(f, inputs, &weights, &all);
    let y = f(&constants(inputs)).value().clone();
    let finite = |t: &Tensor| t.to_f64_vec().iter().all(|v| v.is_finite());
    if !finite(&y) || !reference.iter().flatten().all(finite) {
        return Err("an output or gradient is not finite".into());
    }
    wanted_patterns(case, &weights, &reference)?;
    linearity(case, &weights, &reference)?;
    strided_inputs(case, &y, &weights, &reference)?;
    thread_independence(case)?;
    single_precision(case, &y, &weights, &reference)?;
    half_precision(case, &weights)
}

fn constants(inputs: &[Tensor]) -> Vec<Var> {
    inputs.iter().cloned().map(Var::constant).collect()
}

fn wanted_patterns(
    case: &Case,
    weights: &Tensor,
    reference: &[Option<Tensor>],
) -> Result<(), String> {
    let n = case.inputs.len();
    for only in 0..n {
        let wanted: Vec<bool> = (0..n).map(|i| i == only).collect();
        let g = gradients_of(&case.f, &case.inputs, weights, &wanted);
        close("gradient wanted alone", &g[only], &reference[only], 1e-12)?;
    }
    Ok(())
}

fn linearity(case: &Case, weights: &Tensor, reference: &[Option<Tensor>]) -> Result<(), String> {
    let all = vec![true; case.inputs.len()];
    let doubled: Vec<_> = reference.iter().map(|g| g.as_ref().map(|g| g.mul_scalar(2.0))).collect();
    let twice = gradients_of(&case.f, &case.inputs, &weights.mul_scalar(2.0), &all);
    let used_twice = gradients_of(|v| &(case.f)(v) + &(case.f)(v), &case.inputs, weights, &all);
    for i in 0..all.len() {
        close("gradient for twice the upstream gradient", &twice[i], &doubled[i], 1e-12)?;
        close("gradient of a function used twice", &used_twice[i], &doubled[i], 1e-12)?;
    }
    Ok(())
}

fn strided_inputs(
    case: &Case,
    y: &Tensor,
    weights: &Tensor,
    reference: &[Option<Tensor>],
) -> Result<(), String> {
    type Form = fn(&Tensor) -> Tensor;
    let forms: [(&str, Form); 3] =
        [("transposed", transposed), ("gapped", gapped), ("channels-last", channels_last)];
    for (name, form) in forms {
        let inputs: Vec<Tensor> = case.inputs.iter().map(form).collect();
        let strided = (case.f)(&constants(&inputs)).value().clone();
        close(&format!("output of {name} inputs"), &Some(strided), &Some(y.clone()), 1e-12)?;
        let g = gradients_of(&case.f, &inputs, weights, &vec![true; inputs.len()]);
        for (g, r) in g.iter().zip(reference) {
            close(&format!("gradient of {name} inputs"), g, r, 1e-12)?;
        }
    }
    Ok(())
}

/// The same values with the memory order of the axes reversed.
fn transposed(x: &Tensor) -> Tensor {
    let axes: Vec<usize> = (0..x.rank()).rev().collect();
    x.permute(&axes).contiguous().permute(&axes)
}

/// The same values as a slice of a larger tensor: offset, and gaps along the last axis.
fn gapped(x: &Tensor) -> Tensor {
    if x.rank() == 0 {
        return x.clone();
    }
    let last = x.rank() - 1;
    let n = x.dims()[last];
    let spread = x.unsqueeze(-1).broadcast_to([x.dims(), &[2]].concat()).contiguous();
    let flat = x.shape().with_axis(last, 2 * n);
    spread.reshape(flat).slice(-1, usize::from(n > 0), 2 * n, 2)
}

fn channels_last(x: &Tensor) -> Tensor {
    if x.rank() == 4 { x.channels_last() } else { x.clone() }
}

/// Checks that outputs and gradients have the same bits on one thread, on two and on three.
///
/// It can only fail where the work is worth splitting: draw the case with [`Draw::large`].
///
/// # Errors
/// A sentence that says how many bits differ.
pub fn thread_independence(case: &Case) -> Result<(), String> {
    let weights = upstream(&case.f, &case.inputs);
    let run = |n: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
        let pool = pool.map_err(|e| format!("no thread pool: {e}"))?;
        let all = vec![true; case.inputs.len()];
        Ok::<_, String>(pool.install(|| {
            let mut results = gradients_of(&case.f, &case.inputs, &weights, &all);
            results.push(Some((case.f)(&constants(&case.inputs)).value().clone()));
            results
                .iter()
                .flatten()
                .flat_map(|t| t.to_f64_vec())
                .map(f64::to_bits)
                .collect::<Vec<u64>>()
        }))
    };
    let one = run(1)?;
    for n in [2, 3] {
        let several = run(n)?;
        let differing = one.iter().zip(&several).filter(|(a, b)| a != b).count();
        if differing > 0 || one.len() != several.len() {
            let of = one.len();
            return Err(format!(
                "one and {n} threads give different bits: {differing} of {of} numbers"
            ));
        }
    }
    Ok(())
}

fn single_precision(
    case: &Case,
    y: &Tensor,
    weights: &Tensor,
    reference: &[Option<Tensor>],
) -> Result<(), String> {
    let inputs: Vec<Tensor> = case.inputs.iter().map(|t| t.to_dtype(DType::F32)).collect();
    let y32 = (case.f)(&constants(&inputs)).value().clone();
    close("f32 output", &Some(y32), &Some(y.clone()), 1e-4)?;
    let all = vec![true; inputs.len()];
    let g = gradients_of(&case.f, &inputs, &weights.to_dtype(DType::F32), &all);
    for (g, r) in g.iter().zip(reference) {
        close("f32 gradient", g, r, 1e-3)?;
    }
    Ok(())
}

/// Results in bf16 beside those of f32 at the same rounded inputs. Each op rounds to 8 digits, and a derivative may be made of
/// several.
fn half_precision(case: &Case, weights: &Tensor) -> Result<(), String> {
    let half = |t: &Tensor| t.to_dtype(DType::BF16);
    let inputs: Vec<Tensor> = case.inputs.iter().map(half).collect();
    let wide: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(DType::F32)).collect();
    let (y, y32) = ((case.f)(&constants(&inputs)), (case.f)(&constants(&wide)));
    if y.dtype() != DType::BF16 {
        return Err(format!("bf16 inputs give {}", y.dtype()));
    }
    close("bf16 output", &Some(y.value().clone()), &Some(y32.value().clone()), 0.03)?;
    let (all, weights) = (vec![true; inputs.len()], half(weights));
    let g = gradients_of(&case.f, &inputs, &weights, &all);
    let g32 = gradients_of(&case.f, &wide, &weights.to_dtype(DType::F32), &all);
    for (g, r) in g.iter().zip(&g32) {
        close("bf16 gradient", g, r, 0.06)?;
    }
    Ok(())
}

/// Equal within `tolerance` times the largest expected magnitude (at least 1).
fn close(
    what: &str,
    actual: &Option<Tensor>,
    expected: &Option<Tensor>,
    tolerance: f64,
) -> Result<(), String> {
    let (Some(a), Some(e)) = (actual, expected) else {
        return if actual.is_none() && expected.is_none() {
            Ok(())
        } else {
            Err(format!("{what}: present in one of two runs only"))
        };
    };
    if a.shape() != e.shape() {
        return Err(format!("{what}: shape {} instead of {}", a.shape(), e.shape()));
    }
    let (a, e) = (a.to_f64_vec(), e.to_f64_vec());
    let scale = e.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    match a.iter().zip(&e).position(|(a, e)| (a - e).abs() > tolerance * scale || a.is_nan()) {
        None => Ok(()),
        Some(k) => Err(format!("{what}: element {k} is {:e} instead of {:e}", a[k], e[k])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Op, Saved, Saver};

    /// x², whose derivative says 3x at the second element.
    #[derive(Debug)]
    struct Wrong;
    impl Op for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn forward(&self, x: &[&Tensor], saver: &mut Saver) -> Tensor {
            saver.input(0);
            x[0] * x[0]
        }
        fn backward(&self, saved: &Saved, dy: &Var, _: &[bool]) -> Vec<Option<Var>> {
            let factor = Var::constant(Tensor::new(&[2.0, 3.0], [2]));
            vec![Some(&(dy * &saved.var(0)) * &factor)]
        }
    }

    #[test]
    fn a_wrong_derivative_is_found_and_named() {
        let x = Tensor::new(&[1.0, 1.5], [2]);
        let e = gradcheck(|v| Var::apply(Wrong, &[&v[0]]), std::slice::from_ref(&x)).unwrap_err();
        assert_eq!((e.input, e.index.clone()), (0, vec![1]));
        let case = Case::new(vec![x], |v| Var::apply(Wrong, &[&v[0]]));
        assert!(properties(&case).unwrap_err().starts_with("gradient of input 0 at [1]"));
    }

    /// The sum of x, in as many parts as there are threads.
    #[derive(Debug)]
    struct Hasty;
    impl Op for Hasty {
        fn name(&self) -> &'static str {
            "hasty"
        }
        fn forward(&self, x: &[&Tensor], saver: &mut Saver) -> Tensor {
            saver.input(0);
            let values = x[0].to_f64_vec();
            let part = values.len().div_ceil(rayon::current_num_threads()).max(1);
            let sum: f64 = values.chunks(part).map(|part| part.iter().sum::<f64>()).sum();
            Tensor::full(sum, [], x[0].dtype(), x[0].device())
        }
        fn backward(&self, saved: &Saved, dy: &Var, _: &[bool]) -> Vec<Option<Var>> {
            vec![Some(dy.broadcast_to(saved.var(0).shape()))]
        }
    }

    #[test]
    fn a_sum_in_the_order_of_threads_is_found() {
        let x = Draw::large("hasty", 0).normal([1000]);
        let case = Case::new(vec![x], |v| Var::apply(Hasty, &[&v[0]]));
        let error = thread_independence(&case).unwrap_err();
        assert!(error.contains("threads give different bits: 1 of 1001 numbers"), "{error}");
    }

    #[test]
    fn an_infinite_gradient_is_wrong() {
        let x = Tensor::new(&[0.0], [1]);
        let error = gradcheck(|v| v[0].sqrt(), &[x]).unwrap_err();
        assert!(error.input == 0 && error.analytic.is_infinite());
    }

    #[test]
    fn second_derivatives_are_checked_through_the_graph_of_the_first() {
        let x = Tensor::new(&[0.7, -1.2], [2]);
        gradgradcheck(|v| &(&v[0] * &v[0]) * &v[0], &[x]).unwrap();
    }

    #[test]
    fn forms_keep_values() {
        let x = Draw::new("forms", 0).normal([2, 3, 4, 5]);
        for form in [transposed, gapped, channels_last] {
            let y = form(&x);
            assert_eq!(y.to_vec::<f64>(), x.to_vec::<f64>());
            assert!(!y.is_contiguous());
        }
    }
}
