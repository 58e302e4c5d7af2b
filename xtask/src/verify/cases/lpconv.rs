//! Lp-masks, masked convolutions, and the conversion of ordinary ones.

use std::any::Any;

use ::lpconv::{
    ConvertConfig, LpConv2d, LpMask, MaskConfig, Offset, Surround, convert, mask::lp_mask,
};
use anyhow::{Context as _, Result, ensure};
use autograd::Var;
use nn::{
    Context, Forward, ModuleExt,
    layers::{Conv2d, Conv2dOptions},
};
use tensor::{DType, Device, Stream, Tensor};

use super::{Run, Runner};

pub(super) const RUNNERS: &[Runner] = &[
    Runner { prefix: "lpconv/", op: "lp_mask", run: mask },
    Runner { prefix: "lpconv/", op: "lp_conv2d", run: conv },
    Runner { prefix: "lpconv/", op: "lp_convert", run: conversion },
];

/// What PyTorch's autograd makes of the same cases, and other remarks.
const REMARKS: &[&str] =
    &["p_nominal", "offsets", "torch_nonfinite_gradients", "documented_torch_nan"];

/// Masks `[O, kh, kw]` in the layout of the vectors, with an axis for the input channels that share them.
fn with_input_axis(mask: &Var) -> Var {
    mask.unsqueeze(1)
}

fn mask(run: &Run) -> Result<()> {
    run.remarks(REMARKS);
    let (c, log2p) = (run.var("C")?, run.var("log2p")?);
    let kernel: [usize; 2] = run.attr("kernel")?;
    let mask = lp_mask(&c, &log2p, kernel, Offset::Center.center(kernel));
    run.output("mask", with_input_axis(&mask));
    Ok(())
}

fn conv(run: &Run) -> Result<()> {
    run.remarks(REMARKS);
    let (x, weight) = (run.var("x")?, run.tensor("in.weight")?);
    let [out_channels, per_group, kh, kw] = weight.dims_of();
    let options = Conv2dOptions {
        stride: run.attr("stride")?,
        padding: run.attr("padding")?,
        dilation: run.attr("dilation")?,
        groups: run.attr("groups")?,
        bias: run.has("in.bias"),
        ..Default::default()
    };
    let (in_channels, config) = (per_group * options.groups, MaskConfig::default());
    let mut layer =
        LpConv2d::with_options(in_channels, out_channels, [kh, kw], [kh, kw], options, &config);
    let state =
        ["weight", "bias", "log2p", "C"].into_iter().filter(|n| *n != "bias" || options.bias);
    let state = state.map(|name| Ok((name.to_owned(), run.tensor(&format!("in.{name}"))?)));
    layer.load_state_dict(state.collect::<Result<_>>()?)?;
    for (name, param) in layer.named_parameters() {
        run.leaf(&name, param.leaf());
    }
    let mut cx = Context::train(Stream::new(0));
    let mask = layer.conv().parametrization().context("LpConv2d has no parametrization")?;
    let mask = (mask as &dyn Any).downcast_ref::<LpMask>().context("and it is no LpMask")?;
    run.result("out.mask", with_input_axis(&mask.mask([kh, kw], &cx)).value().clone());
    run.output("y", layer.call(&x, &mut cx));
    Ok(())
}

fn conversion(run: &Run) -> Result<()> {
    let (weight, bias) = (run.stored("in.weight")?, run.stored("in.bias")?);
    let x = Var::constant(run.tensor("in.x")?);
    let kernel: [usize; 2] = run.attr("kernel")?;
    let options = Conv2dOptions {
        stride: run.attr("stride")?,
        padding: run.attr("padding")?,
        groups: run.attr("groups")?,
        ..Default::default()
    };
    let [out_channels, per_group, ..] = weight.dims_of::<4>();
    let build = || {
        let mut conv =
            Conv2d::with_options(per_group * options.groups, out_channels, kernel, options);
        let state = [("weight", weight.clone()), ("bias", bias.clone())];
        conv.load_state_dict(state.map(|(name, t)| (name.to_owned(), t)).into())?;
        Ok::<_, anyhow::Error>(conv)
    };
    let output = |mut conv: Conv2d| -> Tensor {
        conv.to(run.dtype(), Device::Cpu);
        conv.call(&x, &mut Context::eval()).value().clone()
    };
    run.result("out.base", output(build()?));
    for log2p in [1, 4, 8] {
        let mut conv = build()?;
        let config =
            ConvertConfig { surround: Surround::Zero, ..ConvertConfig::lp(f64::from(1 << log2p)) };
        convert(&mut conv, &config)?;
        if log2p == 1 {
            let (kernel, padding) = (conv.kernel_size(), conv.options().padding);
            let expected: [[usize; 2]; 2] = [run.attr("new_kernel")?, run.attr("new_padding")?];
            ensure!([kernel, padding] == expected, "kernel {kernel:?} with padding {padding:?}");
            for (name, value) in conv.state_dict().into_iter().filter(|(n, _)| n != "log2p") {
                ensure!(value.dtype() == DType::F32, "{name} became {}", value.dtype());
                run.result(&format!("out.{name}"), value);
            }
        }
        run.result(&format!("out.y_log2p{log2p}"), output(conv));
    }
    Ok(())
}
