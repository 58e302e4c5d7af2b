//! Whole models with hashed weights: names and shapes of the state dict, parameters, multiply-accumulates, logits, and
//! one step of training; and what conversion makes of their weights.

use anyhow::{Context as _, Result, bail, ensure};
use autograd::Var;
use lpconv::{ConvertConfig, Surround, convert, for_each_mask};
use nn::{
    Context, Forward, ModuleExt,
    loss::{Reduction, cross_entropy},
    summary::summary,
};
use serde::Deserialize;
use tensor::{DType, Device, Stream, Tensor};
use vision::models::{
    AlexNet, AlexNetConfig, ConvNeXt, ConvNeXtConfig, ResNet, ResNetConfig, Stem, SudokuNet,
    SudokuNetConfig,
};

use super::{Run, Runner};
use crate::verify::hashed::{Gains, Hashed};

/// One runner a family, for the plain and the converted models of it.
const fn family(prefix: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix, op: "model", run }
}

const fn transfer(prefix: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix, op: "model_transfer", run }
}

pub(super) const RUNNERS: &[Runner] = &[
    family("models/sudoku_", |run| model(run, sudoku_net(run)?)),
    family("models/lp2_sudoku_", |run| model(run, sudoku_net(run)?)),
    family("models/alexnet_", |run| model(run, alexnet(run)?)),
    family("models/lp2_alexnet_", |run| model(run, alexnet(run)?)),
    transfer("models/transfer_alexnet_", |run| transferred(run, || alexnet(run))),
    family("models/resnet18_", |run| model(run, resnet(run, [2, 2, 2, 2])?)),
    family("models/lp2_resnet18_", |run| model(run, resnet(run, [2, 2, 2, 2])?)),
    transfer("models/transfer_resnet18_", |run| transferred(run, || resnet(run, [2, 2, 2, 2]))),
    family("models/resnet34_", |run| model(run, resnet(run, [3, 4, 6, 3])?)),
    family("models/lp2_resnet34_", |run| model(run, resnet(run, [3, 4, 6, 3])?)),
    family("models/convnext_tiny_", |run| model(run, convnext(run)?)),
    family("models/lp2_convnext_tiny_", |run| model(run, convnext(run)?)),
    transfer("models/transfer_convnext_tiny_", |run| transferred(run, || convnext(run))),
];

/// What the names of converted models begin with.
const CONVERTED: &str = "lp2_";

/// `sudoku_10x256`: blocks and channels.
fn sudoku_net(run: &Run) -> Result<SudokuNet> {
    let name = run.name();
    let size = name.rsplit('_').next().and_then(|size| size.split_once('x'));
    let (blocks, channels) = size.with_context(|| format!("{name} has no size"))?;
    Ok(SudokuNet::new(&SudokuNetConfig { blocks: blocks.parse()?, channels: channels.parse()? }))
}

/// Classes and first layer for the data set a model's name ends with.
fn data_set(run: &Run) -> Result<(usize, Stem)> {
    match run.name().rsplit('_').next() {
        Some("imnet200") => Ok((200, Stem::Large)),
        Some("cifar100") => Ok((100, Stem::Small)),
        other => bail!("{other:?} is no data set"),
    }
}

fn alexnet(run: &Run) -> Result<AlexNet> {
    let (classes, stem) = data_set(run)?;
    // The vectors are made without dropout, in training mode too.
    Ok(AlexNet::new(&AlexNetConfig { classes, stem, dropout: 0.0 }))
}

fn resnet(run: &Run, depths: [usize; 4]) -> Result<ResNet> {
    let (classes, stem) = data_set(run)?;
    Ok(ResNet::new(&ResNetConfig { depths, classes, stem }))
}

fn convnext(run: &Run) -> Result<ConvNeXt> {
    let (classes, _) = data_set(run)?;
    let config = ConvNeXtConfig { classes, stochastic_depth: 0.0, ..ConvNeXtConfig::default() };
    Ok(ConvNeXt::new(&config))
}

/// The weights of a hashed model in the middle of its converted layers, for three exponents.
fn transferred<M: Forward>(run: &Run, make: impl Fn() -> Result<M>) -> Result<()> {
    let hashed = Hashed::of(run.manifest())?;
    let images = hashed.images(run.attr("input")?).to_dtype(run.dtype());
    for (role, log2p) in
        [("base", None), ("log2p1", Some(1)), ("log2p4", Some(4)), ("log2p8", Some(8))]
    {
        let mut model = make()?;
        model.initialize(0, DType::F32, Device::Cpu);
        hashed.fill(&mut model, Gains { all: 1.0, masked: 1.0 })?;
        if let Some(log2p) = log2p {
            let lp = ConvertConfig::lp(2f64.powi(log2p));
            convert(&mut model, &ConvertConfig { surround: Surround::Zero, ..lp })?;
        }
        model.to(run.dtype(), Device::Cpu);
        let logits = model.call(&Var::constant(images.clone()), &mut Context::eval());
        run.result(&format!("out.logits_{role}"), logits.value().clone());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Macs {
    conv_linear_matmul: u64,
}

fn model(run: &Run, mut model: impl Forward) -> Result<()> {
    // The remark on PyTorch's own precision explains the tolerance.
    run.remarks(&["torch_f32_error"]);
    if run.name().starts_with(CONVERTED) {
        let layers = convert(&mut model, &ConvertConfig::lp(2.0))?;
        let expected: usize = run.attr("lp_layers")?;
        ensure!(layers.len() == expected, "{} layers were converted, not {expected}", layers.len());
    }
    model.initialize(0, DType::F32, Device::Cpu);
    structure(run, &model)?;
    if run.has("out.initial_C_diagonal") {
        run.numbers("out.initial_C_diagonal", &mask_diagonals(&model))?;
    }
    let hashed = Hashed::of(run.manifest())?;
    let masked = run.optional_attr("lp_gain")?.unwrap_or(1.0);
    let gains = Gains { all: run.optional_attr("gain")?.unwrap_or(1.0), masked };
    hashed.fill(&mut model, gains)?;
    model.to(run.dtype(), Device::Cpu);
    let images = |shape: [usize; 4]| Var::constant(hashed.images(shape).to_dtype(run.dtype()));
    let inputs: Vec<[usize; 4]> = run.attr("logits_inputs")?;
    for &shape in &inputs {
        let logits = model.call(&images(shape), &mut Context::eval());
        run.result(&format!("out.logits_{}x{}", shape[2], shape[3]), logits.value().clone());
    }
    if run.has("in.train_target") {
        train(run, &model, &images(*inputs.first().context("no input to train on")?))?;
    }
    Ok(())
}

/// The state dict's names and shapes, in order; the number of parameters; the multiply-accumulates of one image.
fn structure(run: &Run, model: &impl Forward) -> Result<()> {
    let expected: Vec<(String, Vec<usize>)> = run.attr("state_dict")?;
    let found: Vec<(String, Vec<usize>)> =
        model.state_dict().into_iter().map(|(name, t)| (name, t.dims().to_vec())).collect();
    let differs = expected.iter().zip(&found).find(|(e, f)| e != f);
    if let Some((expected, found)) = differs {
        anyhow::bail!("the state dict has {found:?} where {expected:?} is expected");
    }
    let (n, m) = (found.len(), expected.len());
    ensure!(n == m, "the state dict has {n} tensors instead of {m}");
    let (found, expected) = (model.num_parameters(), run.attr::<usize>("parameters")?);
    ensure!(found == expected, "{found} parameters instead of {expected}");
    let input: Vec<usize> = run.attr("mac_input")?;
    let (found, expected) =
        (summary(model, input).macs, run.attr::<Macs>("macs")?.conv_linear_matmul);
    ensure!(found == expected, "{found} multiply-accumulates instead of {expected}");
    Ok(())
}

/// The diagonal of the first channel's C of every masked layer.
fn mask_diagonals(model: &dyn nn::Module) -> Vec<f64> {
    let mut diagonals = Vec::new();
    for_each_mask(model, &mut |_, mask| {
        if let Some(c) = &mask.c {
            let c = c.value().to_f64_vec();
            diagonals.extend([c[0], c[3]]);
        }
    });
    diagonals
}

/// One step of training mode: logits, loss, and of each parameter's gradient its L2 norm, sum, first, middle and last
/// element.
fn train(run: &Run, model: &impl Forward, x: &Var) -> Result<()> {
    let logits = model.call(x, &mut Context::train(Stream::new(0)));
    run.result("out.train_logits", logits.value().clone());
    let loss = cross_entropy(&logits, &run.tensor("in.train_target")?, 0.0, Reduction::Mean);
    run.result("out.train_loss", loss.value().clone());
    let gradients = loss.backward();
    let order: Vec<String> = run.attr("parameter_order")?;
    let params = model.named_parameters();
    let names: Vec<&String> = params.iter().map(|(name, _)| name).collect();
    ensure!(order.iter().eq(names.iter().copied()), "the parameters are {names:?}");
    let mut rows = Vec::new();
    for (name, param) in &params {
        let g = gradients.get(param.leaf()).with_context(|| format!("{name} has no gradient"))?;
        rows.extend(gradient_row(g));
    }
    run.numbers("out.train_grads", &rows)
}

/// L2 norm, sum, first, middle and last element.
pub(super) fn gradient_row(g: &Tensor) -> [f64; 5] {
    let g = g.to_f64_vec();
    let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
    [norm, g.iter().sum(), g[0], g[g.len() / 2], g[g.len() - 1]]
}
