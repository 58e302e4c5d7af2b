//! What layers are made of: convolution, linear, pooling, padding, normalization, softmax and losses.

use anyhow::{Result, bail, ensure};
use autograd::{BatchStats, Reduction, Var};
use tensor::{Conv2dOptions, Pool2d, Tensor};

use super::{Run, Runner};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] = &[
    ops("conv2d", conv2d),
    ops("linear", linear),
    ops("max_pool2d", |run| pool(run, |x, pool, _| x.max_pool2d(pool))),
    ops("avg_pool2d", |run| pool(run, Var::avg_pool2d)),
    ops("adaptive_avg_pool2d", adaptive_avg_pool2d),
    ops("pad2d", pad2d),
    ops("batch_norm", batch_norm),
    ops("layer_norm", layer_norm),
    ops("softmax", |run| along_axis(run, Var::softmax)),
    ops("log_softmax", |run| along_axis(run, Var::log_softmax)),
    ops("cross_entropy", cross_entropy),
    ops("soft_cross_entropy", soft_cross_entropy),
];

fn conv2d(run: &Run) -> Result<()> {
    let options = Conv2dOptions {
        stride: run.attr("stride")?,
        padding: run.attr("padding")?,
        dilation: run.attr("dilation")?,
        groups: run.attr("groups")?,
    };
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.optional_var("bias")?);
    run.output("y", x.conv2d(&weight, bias.as_ref(), &options));
    Ok(())
}

fn linear(run: &Run) -> Result<()> {
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.optional_var("bias")?);
    run.output("y", x.linear(&weight, bias.as_ref()));
    Ok(())
}

fn pool(run: &Run, f: fn(&Var, &Pool2d, bool) -> Var) -> Result<()> {
    let pool = Pool2d {
        kernel: run.attr("kernel")?,
        stride: run.attr("stride")?,
        padding: run.attr("padding")?,
    };
    let count_include_pad = run.optional_attr("count_include_pad")?.unwrap_or(true);
    run.output("y", f(&run.var("x")?, &pool, count_include_pad));
    Ok(())
}

fn adaptive_avg_pool2d(run: &Run) -> Result<()> {
    run.output("y", run.var("x")?.adaptive_avg_pool2d(run.attr("output")?));
    Ok(())
}

fn pad2d(run: &Run) -> Result<()> {
    let x = run.var("x")?;
    let y = match run.attr::<String>("mode")?.as_str() {
        "zero" => x.pad2d(run.attr("left_right_top_bottom")?),
        "reflect" => x.reflection_pad2d(run.attr("left_right_top_bottom")?),
        mode => bail!("padding mode {mode}"),
    };
    run.output("y", y);
    Ok(())
}

/// The op, and the step of the running statistics as `torch.nn.BatchNorm2d` makes it.
fn batch_norm(run: &Run) -> Result<()> {
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.var("bias")?);
    let (eps, momentum) = (run.attr("eps")?, run.attr::<f64>("momentum")?);
    let before =
        BatchStats { mean: run.tensor("in.running_mean")?, var: run.tensor("in.running_var")? };
    if !run.attr::<bool>("training")? {
        run.output("y", x.batch_norm_eval(&before, Some(&weight), Some(&bias), eps));
        run.result("out.running_mean", before.mean);
        run.result("out.running_var", before.var);
        return Ok(());
    }
    let (y, batch) = x.batch_norm(Some(&weight), Some(&bias), eps);
    run.output("y", y);
    let n = (x.shape().numel() / x.dims()[1]) as f64;
    let step = |before: Tensor, batch: Tensor| {
        &before.mul_scalar(1.0 - momentum) + &batch.mul_scalar(momentum)
    };
    run.result("out.running_mean", step(before.mean, batch.mean));
    run.result("out.running_var", step(before.var, batch.var.mul_scalar(n / (n - 1.0))));
    Ok(())
}

fn layer_norm(run: &Run) -> Result<()> {
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.var("bias")?);
    let (eps, axes) = (run.attr("eps")?, run.attr::<Vec<isize>>("axes")?);
    let y = match axes[..] {
        [-1] => x.layer_norm(1, Some(&weight), Some(&bias), eps),
        [-2, -1] => x.layer_norm(2, Some(&weight), Some(&bias), eps),
        [1] => x.layer_norm2d(Some(&weight), Some(&bias), eps),
        _ => bail!("axes {axes:?}"),
    };
    run.output("y", y);
    Ok(())
}

fn along_axis(run: &Run, f: fn(&Var, isize) -> Var) -> Result<()> {
    run.output("y", f(&run.var("x")?, run.attr("axis")?));
    Ok(())
}

fn reduction(run: &Run) -> Result<Reduction> {
    Ok(match run.attr::<String>("reduction")?.as_str() {
        "mean" => Reduction::Mean,
        "sum" => Reduction::Sum,
        "none" => Reduction::None,
        other => bail!("reduction {other}"),
    })
}

fn cross_entropy(run: &Run) -> Result<()> {
    let target = run.tensor("in.target")?;
    let smoothing = run.attr("label_smoothing")?;
    run.output("y", run.var("logits")?.cross_entropy(&target, smoothing, reduction(run)?));
    Ok(())
}

fn soft_cross_entropy(run: &Run) -> Result<()> {
    let target = run.var("target")?;
    ensure!(!target.requires_grad(), "a gradient of the target is expected");
    run.output("y", run.var("logits")?.soft_cross_entropy(target.value(), Reduction::Mean));
    Ok(())
}
