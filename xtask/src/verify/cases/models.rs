//! Whole models with hashed weights: names and shapes of the state dict, parameters, multiply-accumulates, logits, and
//! one step of training; and what conversion makes of their weights.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use autograd::Var;
use lpconv::{ConvertConfig, Surround, convert, for_each_mask};
use nn::{
    Context, Forward, ModuleExt,
    loss::{Reduction, cross_entropy},
};
use serde::Deserialize;
use tensor::{DType, Device, Stream, Tensor};
use vision::models::{ModelConfig, Stem, create, find, fold};

use super::{Run, Runner};
use crate::{
    flops::count,
    model::paper_conversion,
    verify::hashed::{Gains, Hashed},
};

pub(super) const RUNNERS: &[Runner] = &[
    Runner { prefix: "models/", op: "model", run: |run| model(run, named(run)?) },
    Runner { prefix: "models/transfer_", op: "model_transfer", run: transferred },
];

/// What the names of converted models begin with.
const CONVERTED: &str = "lp2_";

/// The model that a case's name means, without dropout and stochastic depth, as the vectors are made in training mode too:
/// `lp2_resnet18_cifar100`, `sudoku_3x16`.
pub(super) fn named(run: &Run) -> Result<Box<dyn Forward>> {
    let name = run.name().trim_start_matches(CONVERTED).trim_start_matches("transfer_");
    if let Ok(info) = find(name) {
        return Ok(create(name, &info.config())?);
    }
    let (name, data_set) =
        name.rsplit_once('_').with_context(|| format!("{name} has no data set"))?;
    let mut config = match data_set {
        "imnet200" => ModelConfig { classes: 200, ..ModelConfig::default() },
        "cifar100" => ModelConfig::cifar(100),
        other => bail!("{other:?} is no data set"),
    };
    // Only the transformer that was made for small images has them.
    if name.starts_with("vit_b_") {
        config = ModelConfig { image_size: 224, stem: Stem::Large, ..config };
    }
    if ["alexnet", "vgg", "vit"].iter().any(|family| name.starts_with(family)) {
        config.dropout = Some(0.0);
    }
    if ["convnext", "replknet"].iter().any(|family| name.starts_with(family)) {
        config.stochastic_depth = Some(0.0);
    }
    Ok(create(name, &config)?)
}

/// Converts the model if the case's name says so; how many layers that were.
pub(super) fn convert_as_named(run: &Run, model: &mut dyn Forward) -> Result<Option<usize>> {
    let Some(name) = run.name().strip_prefix(CONVERTED) else { return Ok(None) };
    Ok(Some(convert(model, &paper_conversion(name, 2.0))?.len()))
}

/// The weights of a hashed model in the middle of its converted layers, for three exponents.
fn transferred(run: &Run) -> Result<()> {
    let hashed = Hashed::of(run.manifest())?;
    let images = hashed.images(run.attr("input")?).to_dtype(run.dtype());
    for (role, log2p) in
        [("base", None), ("log2p1", Some(1)), ("log2p4", Some(4)), ("log2p8", Some(8))]
    {
        let mut model = named(run)?;
        model.initialize(0, DType::F32, Device::Cpu);
        hashed.fill(&mut *model, Gains { all: 1.0, masked: 1.0 })?;
        if let Some(log2p) = log2p {
            let lp = ConvertConfig::lp(2f64.powi(log2p));
            convert(&mut *model, &ConvertConfig { surround: Surround::Zero, ..lp })?;
        }
        model.to(run.dtype(), Device::Cpu);
        let logits = model.call(&Var::constant(images.clone()), &mut Context::eval());
        run.result(&format!("out.logits_{role}"), logits.value().clone());
    }
    Ok(())
}

#[derive(Deserialize)]
struct Macs {
    by_operator: BTreeMap<String, u64>,
    conv_linear_matmul: u64,
}

fn model(run: &Run, mut model: Box<dyn Forward>) -> Result<()> {
    // The remark on PyTorch's own precision explains the tolerance.
    run.remarks(&["torch_f32_error"]);
    if let Some(layers) = convert_as_named(run, &mut *model)? {
        let expected: usize = run.attr("lp_layers")?;
        ensure!(layers == expected, "{layers} layers were converted, not {expected}");
    }
    model.initialize(0, DType::F32, Device::Cpu);
    structure(run, &*model)?;
    if run.has("out.initial_C_diagonal") {
        run.numbers("out.initial_C_diagonal", &mask_diagonals(&*model))?;
    }
    let hashed = Hashed::of(run.manifest())?;
    let masked = run.optional_attr("lp_gain")?.unwrap_or(1.0);
    let gains = Gains { all: run.optional_attr("gain")?.unwrap_or(1.0), masked };
    hashed.fill(&mut *model, gains)?;
    model.to(run.dtype(), Device::Cpu);
    let images = |shape: [usize; 4]| Var::constant(hashed.images(shape).to_dtype(run.dtype()));
    let inputs: Vec<[usize; 4]> = run.attr("logits_inputs")?;
    // Training moves running statistics.
    let state = model.state_dict();
    let mut all_logits = Vec::new();
    for &shape in &inputs {
        let logits = model.call(&images(shape), &mut Context::eval()).value().clone();
        run.result(&format!("out.logits_{}x{}", shape[2], shape[3]), logits.clone());
        all_logits.push(logits);
    }
    if run.has("in.train_target") {
        // A value next to 0 before a ReLU that rounding moves to the other side changes whole gradients. DenseNet's batch norms
        // of 8 values do so most: in PyTorch and f64, factors 1 + 1e-7 on the weights change some by a third of their norm. In
        // this ResNet one such value moves the first layers' by 1e-3, with factors of 1 + 1e-6 in f64 as in f32 without FMA.
        if run.name().starts_with("densenet") {
            run.loosen_f32_gradients(500.0);
        } else if run.name().ends_with("lp2_resnet18_cifar100") {
            run.loosen_f32_gradients(10.0);
        }
        train(run, &*model, &images(*inputs.first().context("no input to train on")?))?;
    }
    // Once is enough, in the precision in which a difference is no rounding.
    if run.dtype() == DType::F64 {
        model.load_state_dict(state)?;
        fold(&mut *model);
        for (&shape, logits) in inputs.iter().zip(&all_logits) {
            let folded = model.call(&images(shape), &mut Context::eval());
            let largest = |t: &Tensor| t.to_f64_vec().iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let difference = largest(&(folded.value() - logits));
            ensure!(
                difference <= 1e-9 * largest(logits),
                "folded for evaluation, the logits of {shape:?} differ by {difference:e}"
            );
        }
    }
    Ok(())
}

/// The state dict's names and shapes, in order; the number of parameters; the multiply-accumulates of one image.
fn structure(run: &Run, model: &dyn Forward) -> Result<()> {
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
    let (found, expected) = (count(model, run.attr("mac_input")?), run.attr::<Macs>("macs")?);
    let operators = [
        ("conv", found.conv),
        ("linear", found.linear),
        ("batch_norm", 2 * found.batch_norm),
        ("layer_norm", 5 * found.layer_norm),
    ];
    for (operator, found) in operators {
        let expected = expected.by_operator.get(operator).copied().unwrap_or(0);
        ensure!(found == expected, "{operator}: {found} operations instead of {expected}");
    }
    // The counter reads the cost of a mask's product from a text of three digits.
    let masks = expected.by_operator.get("einsum").copied().unwrap_or(0);
    ensure!(
        found.masks.abs_diff(masks) <= masks / 1000,
        "masks: {} operations instead of {masks}",
        found.masks
    );
    let (found, expected) = (found.macs(), expected.conv_linear_matmul);
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
fn train(run: &Run, model: &dyn Forward, x: &Var) -> Result<()> {
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
