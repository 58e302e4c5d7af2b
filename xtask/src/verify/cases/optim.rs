//! Optimizers, schedules, averaged weights and gradient clipping.

use anyhow::{Result, bail, ensure};
use autograd::Var;
use nn::{
    Buffer, Ema, Module, ModuleExt, Param,
    module::{Child, ChildMut},
    optim::{Adam, AdamOptions, AdamW, Groups, Optimizer, Sgd, SgdOptions, clip_grad_norm},
    schedule::{Cosine, Lagged, Schedule},
};
use tensor::Tensor;

use super::{
    Run, Runner,
    models::{convert_as_named, named},
};

pub(super) const RUNNERS: &[Runner] = &[
    Runner { prefix: "optim/", op: "sgd", run: steps },
    Runner { prefix: "optim/", op: "adam", run: steps },
    Runner { prefix: "optim/", op: "adamw", run: steps },
    Runner { prefix: "optim/", op: "cosine_schedule", run: cosine },
    Runner { prefix: "optim/", op: "ema", run: ema },
    Runner { prefix: "optim/", op: "clip_grad_norm", run: clip },
    Runner { prefix: "optim/", op: "weight_decay_groups", run: weight_decay_groups },
];

/// A module that is nothing but named tensors.
struct Named {
    params: Vec<(String, Param)>,
    buffers: Vec<(String, Buffer)>,
}

impl Named {
    fn params<const N: usize>(params: [(&str, Tensor); N]) -> Self {
        let params = params.map(|(name, value)| (name.to_owned(), Param::from_tensor(value)));
        Named { params: params.into(), buffers: Vec::new() }
    }
}

impl Module for Named {
    fn type_name(&self) -> &'static str {
        "Named"
    }
    fn children(&self) -> Vec<(String, Child<'_>)> {
        let params = self.params.iter().map(|(name, p)| (name.clone(), Child::Param(p)));
        let buffers = self.buffers.iter().map(|(name, b)| (name.clone(), Child::Buffer(b)));
        params.chain(buffers).collect()
    }
    fn children_mut(&mut self) -> Vec<(String, ChildMut<'_>)> {
        let params = self.params.iter_mut().map(|(name, p)| (name.clone(), ChildMut::Param(p)));
        let buffers = self.buffers.iter_mut().map(|(name, b)| (name.clone(), ChildMut::Buffer(b)));
        params.chain(buffers).collect()
    }
}

fn optimizer(run: &Run) -> Result<Box<dyn Optimizer>> {
    let groups = Groups::uniform(run.optional_attr("weight_decay")?.unwrap_or(0.0));
    if run.op() == "sgd" {
        let options = SgdOptions {
            momentum: run.optional_attr("momentum")?.unwrap_or(0.0),
            nesterov: run.optional_attr("nesterov")?.unwrap_or(false),
            ..Default::default()
        };
        return Ok(Box::new(Sgd::new(options, groups)));
    }
    let options = AdamOptions { betas: run.attr("betas")?, eps: run.attr("eps")? };
    Ok(match run.op() {
        "adam" => Box::new(Adam::new(options, groups)),
        "adamw" => Box::new(AdamW::new(options, groups)),
        other => bail!("no optimizer {other}"),
    })
}

/// Five steps down `sum(curvature / 2 * (x - goal)^2)`; row i of a path is the value after step i.
fn steps(run: &Run) -> Result<()> {
    let mut optimizer = optimizer(run)?;
    let lr = run.attr("lr")?;
    let names = ["w", "b"];
    let tensor = |name: &str, what: &str| run.tensor(&format!("in.{name}.{what}"));
    let mut model = Named::params([("w", tensor("w", "start")?), ("b", tensor("b", "start")?)]);
    let mut paths = names.map(|_| Vec::new());
    for step in 0..6 {
        let mut loss = Var::constant(Tensor::zeros([], run.dtype(), tensor::Device::Cpu));
        for ((name, param), path) in model.params.iter().zip(&mut paths) {
            path.extend(param.value().to_f64_vec());
            let offset = param.leaf() + &Var::constant(tensor(name, "goal")?.mul_scalar(-1.0));
            let half_curvature = Var::constant(tensor(name, "curvature")?.mul_scalar(0.5));
            loss = &loss + &(&(&offset * &offset) * &half_curvature).sum_to([]);
        }
        if step < 5 {
            optimizer.step(&mut model, &loss.backward(), lr);
        }
    }
    for (name, path) in names.iter().zip(&paths) {
        run.numbers(&format!("out.{name}.path"), path)?;
    }
    Ok(())
}

fn cosine(run: &Run) -> Result<()> {
    let schedule = Cosine {
        lr: run.attr("lr")?,
        min_lr: run.attr("min_lr")?,
        epochs: run.attr("epochs")?,
        warmup_epochs: run.attr("warmup_epochs")?,
        warmup_lr: run.attr("warmup_lr")?,
    };
    let total = run.attr("total_epochs")?;
    let cooldown: usize = run.attr("cooldown_epochs")?;
    ensure!(
        schedule.epochs + cooldown == total,
        "{total} epochs are not the cosine and {cooldown}"
    );
    let rates = |s: &dyn Schedule| (0..total).map(|t| s.lr(t)).collect::<Vec<f64>>();
    run.numbers("out.lr", &rates(&schedule))?;
    run.numbers("out.lr_used_when_stepping_after_the_epoch", &rates(&Lagged(schedule)))
}

fn ema(run: &Run) -> Result<()> {
    let names: Vec<String> =
        run.roles("in.start.").map(|role| role["in.start.".len()..].to_owned()).collect();
    let state = |when: &str| {
        let values = names.iter().map(|n| Ok((n.clone(), run.tensor(&format!("in.{when}.{n}"))?)));
        values.collect::<Result<Vec<_>>>()
    };
    let buffers = state("start")?.into_iter().map(|(name, t)| (name, Buffer::new(t))).collect();
    let mut model = Named { params: Vec::new(), buffers };
    let mut average = Ema::new(&model, run.attr("decay")?);
    for step in 0..3 {
        model.load_state_dict(state(&format!("step{step}"))?)?;
        average.update(&model);
        for (name, value) in average.state_dict() {
            run.result(&format!("out.step{step}.{name}"), value);
        }
    }
    Ok(())
}

fn clip(run: &Run) -> Result<()> {
    let names = ["g0", "g1", "g2"];
    let wanted = names.map(|name| run.tensor(&format!("in.{name}")));
    let wanted = wanted.into_iter().collect::<Result<Vec<_>>>()?;
    let params = names.iter().zip(&wanted).map(|(name, g)| (*name, g.zeros_like()));
    let model = Named::params::<3>(params.collect::<Vec<_>>().try_into().expect("three"));
    // The gradient of sum(p * g) is g.
    let mut loss = Var::constant(Tensor::zeros([], run.dtype(), tensor::Device::Cpu));
    for ((_, param), g) in model.params.iter().zip(wanted) {
        loss = &loss + &(param.leaf() * &Var::constant(g)).sum_to([]);
    }
    let mut gradients = loss.backward();
    let norm = clip_grad_norm(&mut gradients, &model, run.attr("max_norm")?);
    run.numbers("out.norm", &[norm])?;
    for (name, param) in &model.params {
        run.result(&format!("out.{name}"), gradients.wrt(param.leaf()).clone());
    }
    Ok(())
}

/// Which parameters of a whole model decay, by name and in the model's order.
fn weight_decay_groups(run: &Run) -> Result<()> {
    let mut model = named(run)?;
    convert_as_named(run, &mut *model)?;
    let groups = Groups::timm(0.05);
    let (decay, no_decay): (Vec<_>, Vec<_>) = model
        .named_parameters()
        .into_iter()
        .partition(|(name, param)| groups.options(name, param).weight_decay == 0.05);
    for (group, found) in [("decay", &decay), ("no_decay", &no_decay)] {
        let expected: Vec<String> = run.attr(group)?;
        let found: Vec<&String> = found.iter().map(|(name, _)| name).collect();
        ensure!(expected.iter().eq(found.iter().copied()), "{group}: {found:?}, not {expected:?}");
    }
    run.numbers("out.counts", &[decay.len() as f64, no_decay.len() as f64])
}
