//! What layers are made of: convolution, linear, pooling, padding, normalization, softmax and losses.

use anyhow::{Result, bail, ensure};
use autograd::{Reduction, Var};
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{BatchNorm2d, BatchNormOptions, Grn, MultiheadAttention},
    loss::{PoissonNll, mse, poisson_nll},
};
use tensor::{Conv2dOptions, Device, Pool2d, Stream, Tensor};

use super::{Run, Runner};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] = &[
    ops("conv2d", conv2d),
    ops("conv_transpose2d", conv_transpose2d),
    ops("linear", linear),
    ops("max_pool2d", |run| pool(run, |x, pool, _| x.max_pool2d(pool))),
    ops("avg_pool2d", |run| pool(run, Var::avg_pool2d)),
    ops("adaptive_avg_pool2d", adaptive_avg_pool2d),
    ops("pad2d", pad2d),
    ops("batch_norm", batch_norm),
    ops("layer_norm", layer_norm),
    ops("grn", grn),
    ops("multi_head_attention", multi_head_attention),
    ops("softmax", |run| along_axis(run, Var::softmax)),
    ops("log_softmax", |run| along_axis(run, Var::log_softmax)),
    ops("cross_entropy", cross_entropy),
    ops("soft_cross_entropy", soft_cross_entropy),
    ops("mse", mean_squared_error),
    ops("poisson_nll", poisson),
];

fn conv2d(run: &Run) -> Result<()> {
    let options = Conv2dOptions {
        stride: run.attr("stride")?,
        padding: run.attr("padding")?,
        dilation: run.attr("dilation")?,
        groups: run.attr("groups")?,
        ..Default::default()
    };
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.optional_var("bias")?);
    run.output("y", x.conv2d(&weight, bias.as_ref(), &options));
    Ok(())
}

/// The gradient of a convolution's input, for the smallest input that `output_padding` allows.
fn conv_transpose2d(run: &Run) -> Result<()> {
    let (x, weight, bias) = (run.var("x")?, run.var("weight")?, run.var("bias")?);
    let (stride, padding): ([usize; 2], [usize; 2]) = (run.attr("stride")?, run.attr("padding")?);
    let (groups, extra) = (run.attr("groups")?, run.attr::<[usize; 2]>("output_padding")?);
    let options = Conv2dOptions { stride, padding, groups, ..Default::default() };
    let [n, _, h, w] = x.value().dims_of();
    let [_, per_group, kh, kw] = weight.value().dims_of();
    let size =
        |i: usize, len: usize, k: usize| (len - 1) * stride[i] + k + extra[i] - 2 * padding[i];
    let shape = [n, per_group * groups, size(0, h, kh), size(1, w, kw)];
    let y = x.conv2d_input_grad(&weight, shape, &options);
    run.output("y", &y + &bias.reshape([shape[1], 1, 1]));
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
        ceil_mode: run.optional_attr("ceil_mode")?.unwrap_or(false),
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

/// The layer, with its running statistics.
fn batch_norm(run: &Run) -> Result<()> {
    let x = run.var("x")?;
    let options = BatchNormOptions {
        eps: run.attr("eps")?,
        momentum: run.attr("momentum")?,
        ..Default::default()
    };
    let mut layer = BatchNorm2d::with_options(x.dims()[1], options);
    layer.initialize(0, run.dtype(), Device::Cpu);
    let mut state = vec![("num_batches_tracked".to_owned(), Tensor::scalar(0i64))];
    for name in ["weight", "bias", "running_mean", "running_var"] {
        state.push((name.to_owned(), run.tensor(&format!("in.{name}"))?));
    }
    layer.load_state_dict(state)?;
    for (name, param) in layer.named_parameters() {
        run.leaf(&name, param.leaf());
    }
    let mut cx = match run.attr("training")? {
        true => Context::train(Stream::new(0)),
        false => Context::eval().with_recording(true),
    };
    run.output("y", layer.call(&x, &mut cx));
    for (name, value) in layer.state_dict().into_iter().filter(|(n, _)| n.starts_with("running")) {
        run.result(&format!("out.{name}"), value);
    }
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

/// The layer, whose images have their channels last.
fn grn(run: &Run) -> Result<()> {
    let layout: String = run.attr("layout")?;
    ensure!(layout == "NHWC", "layout {layout}");
    let x = run.var("x")?;
    let mut layer = Grn::with_eps(x.dims()[3], run.attr("eps")?);
    load(run, &mut layer, &["weight", "bias"])?;
    run.output("y", layer.call(&x, &mut Context::train(Stream::new(0))));
    Ok(())
}

/// Gives the layer's parameters the values of the inputs of the same names, and counts them as these inputs.
pub(super) fn load(run: &Run, layer: &mut dyn Module, names: &[impl AsRef<str>]) -> Result<()> {
    let state = names.iter().map(AsRef::as_ref);
    let state = state.map(|name| Ok((name.to_owned(), run.tensor(&format!("in.{name}"))?)));
    layer.load_state_dict(state.collect::<Result<_>>()?)?;
    for (name, param) in layer.named_parameters() {
        run.leaf(&name, param.leaf());
    }
    Ok(())
}

fn multi_head_attention(run: &Run) -> Result<()> {
    let x = run.var("x")?;
    let mut layer = MultiheadAttention::new(run.attr("embed")?, run.attr("heads")?);
    // The vectors' names have no dots.
    let stored = |name: &str| name.replace('.', "_");
    let names = ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"];
    let state = names.map(|n| Ok((n.to_owned(), run.tensor(&format!("in.{}", stored(n)))?)));
    layer.load_state_dict(state.into_iter().collect::<Result<_>>()?)?;
    for (name, param) in layer.named_parameters() {
        run.leaf(&stored(&name), param.leaf());
    }
    run.output("y", layer.call(&x, &mut Context::train(Stream::new(0))));
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

/// The target is a constant to the loss, but the loss is symmetric: the other way round it has the target's gradient.
fn mean_squared_error(run: &Run) -> Result<()> {
    let (reduction, input) = (reduction(run)?, run.var("input")?);
    let target = Var::leaf(run.tensor("in.target")?);
    let swapped = mse(&target, input.value(), reduction);
    let gradients = swapped.backward_with(&run.tensor("up.y")?);
    run.result("grad.target", gradients.wrt(&target).clone());
    run.output("y", mse(&input, target.value(), reduction));
    Ok(())
}

fn poisson(run: &Run) -> Result<()> {
    let options = PoissonNll {
        log_input: run.attr("log_input")?,
        full: run.attr("full")?,
        eps: run.attr("eps")?,
    };
    let target = run.tensor("in.target")?;
    run.output("y", poisson_nll(&run.var("input")?, &target, &options, reduction(run)?));
    Ok(())
}
