//! Whole models with hashed weights: names and shapes of the state dict, parameters, multiply-accumulates, logits, and
//! one step of training.

use anyhow::{Context as _, Result, ensure};
use autograd::Var;
use lpconv::{ConvertConfig, convert, for_each_mask};
use nn::{
    Context, Forward, ModuleExt,
    loss::{Reduction, cross_entropy},
    summary::summary,
};
use serde::Deserialize;
use tensor::{DType, Device, Stream};
use vision::models::{SudokuNet, SudokuNetConfig};

use super::{Run, Runner};
use crate::verify::hashed::{Gains, Hashed};

pub(super) const RUNNERS: &[Runner] = &[
    Runner {
        prefix: "models/sudoku_",
        op: "model",
        run: |run| model(run, sudoku_net(run, "sudoku_")?),
    },
    Runner { prefix: "models/lp2_sudoku_", op: "model", run: lp2_sudoku },
];

/// `sudoku_10x256`: blocks and channels.
fn sudoku_net(run: &Run, prefix: &str) -> Result<SudokuNet> {
    let name = run.name();
    let size = name.strip_prefix(prefix).and_then(|size| size.split_once('x'));
    let (blocks, channels) = size.with_context(|| format!("{name} has no size"))?;
    Ok(SudokuNet::new(&SudokuNetConfig { blocks: blocks.parse()?, channels: channels.parse()? }))
}

fn lp2_sudoku(run: &Run) -> Result<()> {
    let mut net = sudoku_net(run, "lp2_sudoku_")?;
    let layers = convert(&mut net, &ConvertConfig::lp(2.0))?;
    let expected: usize = run.attr("lp_layers")?;
    ensure!(layers.len() == expected, "{} layers were converted, not {expected}", layers.len());
    model(run, net)
}

#[derive(Deserialize)]
struct Macs {
    conv_linear_matmul: u64,
}

fn model(run: &Run, mut model: impl Forward) -> Result<()> {
    // The remark on PyTorch's own precision explains the tolerance.
    run.remarks(&["torch_f32_error"]);
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
        let g = g.to_f64_vec();
        let norm = g.iter().map(|v| v * v).sum::<f64>().sqrt();
        rows.extend([norm, g.iter().sum(), g[0], g[g.len() / 2], g[g.len() - 1]]);
    }
    run.numbers("out.train_grads", &rows)
}
