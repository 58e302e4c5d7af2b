//! Functions of single elements, and of pairs of them with broadcasting.

use anyhow::Result;
use autograd::Var;

use super::{Run, Runner};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] = &[
    ops("relu", |run| unary(run, Var::relu)),
    ops("sigmoid", |run| unary(run, Var::sigmoid)),
    ops("tanh", |run| unary(run, Var::tanh)),
    ops("elu", elu),
    ops("softplus", |run| unary(run, Var::softplus)),
    ops("exp", |run| unary(run, Var::exp)),
    ops("abs", |run| unary(run, Var::abs)),
    ops("neg", |run| unary(run, Var::neg)),
    ops("square", |run| unary(run, Var::square)),
    ops("sin", |run| unary(run, Var::sin)),
    ops("cos", |run| unary(run, Var::cos)),
    ops("erf", |run| unary(run, Var::erf)),
    ops("gelu_exact", |run| unary(run, Var::gelu)),
    ops("gelu_tanh", |run| unary(run, Var::gelu_tanh)),
    ops("clamp", clamp),
    ops("log", |run| unary(run, Var::log)),
    ops("sqrt", |run| unary(run, Var::sqrt)),
    ops("rsqrt", |run| unary(run, Var::rsqrt)),
    ops("reciprocal", |run| unary(run, Var::reciprocal)),
    ops("add", |run| binary(run, Var::add)),
    ops("sub", |run| binary(run, Var::sub)),
    ops("mul", |run| binary(run, Var::mul)),
    ops("div", |run| binary(run, Var::div)),
    ops("maximum", |run| binary(run, Var::maximum)),
    ops("minimum", |run| binary(run, Var::minimum)),
    ops("pow", pow),
    ops("where", choose),
];

fn unary(run: &Run, f: fn(&Var) -> Var) -> Result<()> {
    run.output("y", f(&run.var("x")?));
    Ok(())
}

fn binary(run: &Run, f: fn(&Var, &Var) -> Var) -> Result<()> {
    run.output("y", f(&run.var("a")?, &run.var("b")?));
    Ok(())
}

fn elu(run: &Run) -> Result<()> {
    // Some cases leave alpha at its default.
    let alpha = run.optional_attr("alpha")?.unwrap_or(1.0);
    run.output("y", run.var("x")?.elu(alpha));
    Ok(())
}

fn clamp(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.clamp(run.attr("min")?, run.attr("max")?));
    Ok(())
}

/// Two tensors, or one raised to each of some constants, which become rows.
fn pow(run: &Run) -> Result<()> {
    let Some(exponents) = run.optional_attr::<Vec<f64>>("exponents")? else {
        return binary(run, Var::pow);
    };
    let x = run.var("x")?;
    let rows: Vec<Var> = exponents.iter().map(|&e| x.pow_scalar(e)).collect();
    run.output("y", Var::stack(&rows.iter().collect::<Vec<_>>(), 0));
    Ok(())
}

fn choose(run: &Run) -> Result<()> {
    let (input, other) = (run.var("input")?, run.var("other")?);
    run.output("y", input.where_(&run.tensor("in.condition")?, &other));
    Ok(())
}
