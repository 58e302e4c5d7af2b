//! Reductions, matrix products, and what rearranges or picks elements.

use anyhow::Result;
use autograd::Var;
use tensor::Tensor;

use super::{Run, Runner};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] = &[
    ops("sum", |run| reduce(run, Var::sum_axes)),
    ops("mean", |run| reduce(run, Var::mean_axes)),
    ops("amax", |run| reduce(run, Var::amax)),
    ops("amin", |run| reduce(run, Var::amin)),
    ops("logsumexp", |run| reduce(run, Var::logsumexp)),
    ops("var_unbiased", |run| reduce(run, |x, axes, keepdim| x.var(axes, 1, keepdim))),
    ops("var_biased", |run| reduce(run, |x, axes, keepdim| x.var(axes, 0, keepdim))),
    ops("l2_norm", |run| reduce(run, Var::l2_norm)),
    ops("cumsum", cumsum),
    ops("argmax", argmax),
    ops("matmul", matmul),
    ops("bmm", matmul),
    ops("einsum", einsum),
    ops("cat", |run| join(run, &["a", "b", "c"], Var::cat)),
    ops("stack", |run| join(run, &["a", "b"], Var::stack)),
    ops("permute", permute),
    ops("slice", slice),
    ops("flip", flip),
    ops("expand", expand),
    ops("index_select", |run| index(run, Var::index_select)),
    ops("gather", |run| index(run, Var::gather)),
    ops("embedding", embedding),
];

fn reduce(run: &Run, f: fn(&Var, &[isize], bool) -> Var) -> Result<()> {
    let axes: Vec<isize> = run.attr("axes")?;
    run.output("y", f(&run.var("x")?, &axes, run.attr("keepdim")?));
    Ok(())
}

fn cumsum(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.cumsum(run.attr("axis")?));
    Ok(())
}

fn argmax(run: &Run) -> Result<()> {
    run.result("out.y", run.tensor("in.x")?.argmax(run.attr("axis")?, false));
    Ok(())
}

fn matmul(run: &Run) -> Result<()> {
    run.output("y", run.var("a")?.matmul(&run.var("b")?));
    Ok(())
}

fn einsum(run: &Run) -> Result<()> {
    let equation: String = run.attr("equation")?;
    run.output("y", Var::einsum(&equation, &run.var("C")?, &run.var("s")?));
    Ok(())
}

fn join(run: &Run, names: &[&str], f: fn(&[&Var], isize) -> Var) -> Result<()> {
    let parts = names.iter().map(|name| run.var(name)).collect::<Result<Vec<_>>>()?;
    run.output("y", f(&parts.iter().collect::<Vec<_>>(), run.attr("axis")?));
    Ok(())
}

fn permute(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.permute(&run.attr::<Vec<usize>>("axes")?));
    Ok(())
}

fn slice(run: &Run) -> Result<()> {
    let (start, stop, step) = (run.attr("start")?, run.attr("stop")?, run.attr("step")?);
    run.output("y", run.var("x")?.slice(run.attr("axis")?, start, stop, step));
    Ok(())
}

fn flip(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.flip(&run.attr::<Vec<isize>>("axes")?));
    Ok(())
}

fn expand(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.broadcast_to(run.attr::<Vec<usize>>("shape")?));
    Ok(())
}

fn index(run: &Run, f: fn(&Var, isize, &Tensor) -> Var) -> Result<()> {
    run.output("y", f(&run.var("x")?, run.attr("axis")?, &run.tensor("in.index")?));
    Ok(())
}

fn embedding(run: &Run) -> Result<()> {
    run.output("y", run.var("weight")?.embedding(&run.tensor("in.index")?));
    Ok(())
}
