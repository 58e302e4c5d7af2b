//! Recurrent layers, with their last states.

use anyhow::{Result, ensure};
use nn::{
    Context,
    layers::{Gru, GruCell, Lstm, RecurrentOptions},
};
use tensor::Stream;

use super::{Run, Runner, layers::load};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] =
    &[ops("gru", gru), ops("lstm", lstm), ops("gru_cell", gru_cell)];

/// The options of a layer, and its input and hidden size.
fn options(run: &Run) -> Result<(RecurrentOptions, [usize; 2])> {
    let options = RecurrentOptions {
        num_layers: run.attr("layers")?,
        batch_first: run.attr("batch_first")?,
        ..Default::default()
    };
    Ok((options, [run.tensor("in.x")?.dim(-1), run.attr("hidden")?]))
}

/// PyTorch's names of the parameters of all layers.
fn names(options: &RecurrentOptions) -> Vec<String> {
    let layer = |l: usize| {
        ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_l{l}"))
    };
    (0..options.num_layers).flat_map(layer).collect()
}

fn context() -> Context<'static> {
    Context::train(Stream::new(0))
}

fn gru(run: &Run) -> Result<()> {
    let (options, [input, hidden]) = options(run)?;
    let mut layer = Gru::with_options(input, hidden, options);
    load(run, &mut layer, &names(&options))?;
    let (y, h) = layer.run(&run.var("x")?, Some(&run.var("h0")?), &mut context());
    run.output("y", y);
    run.output("hn", h);
    Ok(())
}

fn lstm(run: &Run) -> Result<()> {
    let (options, [input, hidden]) = options(run)?;
    let mut layer = Lstm::with_options(input, hidden, options);
    load(run, &mut layer, &names(&options))?;
    let first = (&run.var("h0")?, &run.var("c0")?);
    let (y, (h, c)) = layer.run(&run.var("x")?, Some(first), &mut context());
    run.output("y", y);
    run.output("hn", h);
    run.output("cn", c);
    Ok(())
}

fn gru_cell(run: &Run) -> Result<()> {
    let (x, h) = (run.var("x")?, run.var("h")?);
    ensure!(x.dims().len() == 2, "input {}", x.shape());
    let mut cell = GruCell::new(x.dims()[1], h.dims()[1]);
    load(run, &mut cell, &["weight_ih", "weight_hh", "bias_ih", "bias_hh"])?;
    run.output("y", cell.step(&x, &h, &context()));
    Ok(())
}
