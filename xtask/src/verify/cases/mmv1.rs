//! The predictor of mouse V1 with hashed weights: rates, the shifted image, and one step of training.

use anyhow::{Result, ensure};
use autograd::Var;
use lpconv::{ConvertConfig, convert};
use neuro::mmv1::{FRAME, Mmv1, Mmv1Config};
use nn::{
    Context, ModuleExt,
    loss::{PoissonNll, Reduction, poisson_nll},
};
use tensor::{DType, Device, Stream};

use super::{Run, Runner, models::gradient_row};
use crate::verify::hashed::{Gains, Hashed};

pub(super) const RUNNERS: &[Runner] = &[Runner { prefix: "mmv1/", op: "mmv1", run: mmv1 }];

/// In these cases rounding to f32 moves two of the 45,776 samples that lie within a frame (12 frames) into the next pixel's
/// cell, where the slope of the noise is another one, and the gradients that pass through the shifter jump: by 3 % of a row of
/// gradients at most, 34 times the tolerance. In f64 all gradients agree with PyTorch's to 1e-8. In `seq1_all` no sample
/// crosses, and it passes in f32 as it is.
const CROSSING: [&str; 2] = ["seq4", "seq4_lp2"];

/// How much more than the tolerance the f32 gradients of [`CROSSING`] may be off.
const JUMPS: f64 = 50.0;

fn mmv1(run: &Run) -> Result<()> {
    if CROSSING.contains(&run.name()) {
        run.loosen_f32_gradients(JUMPS);
    }
    let config = Mmv1Config {
        neurons: run.attr("neurons")?,
        behaviors: run.attr("behaviour")?,
        hidden: run.attr("hidden")?,
        shifter: run.attr("shifter")?,
        // The vectors are made without dropout.
        dropout: 0.0,
        ..Mmv1Config::default()
    };
    let mut model = Mmv1::new(&config);
    if run.name().ends_with("_lp2") {
        convert(&mut model, &ConvertConfig::lp(2.0))?;
    }
    model.initialize(0, DType::F32, Device::Cpu);
    let state: Vec<(String, Vec<usize>)> = run.attr("state_dict")?;
    let found = model.state_dict().into_iter().map(|(name, t)| (name, t.dims().to_vec()));
    let found: Vec<_> = found.collect();
    ensure!(found == state, "the state dict is {found:?}, not {state:?}");
    ensure!(model.num_parameters() == run.attr::<usize>("parameters")?, "number of parameters");
    let hashed = Hashed::of(run.manifest())?;
    hashed.fill(&mut model, Gains { all: run.attr("gain")?, masked: run.attr("lp_gain")? })?;
    model.to(run.dtype(), Device::Cpu);

    let [n, t]: [usize; 2] = [run.attr("batch")?, run.attr("seq_len")?];
    let input = |name: &str, shape: &[usize], range: [f64; 2]| {
        hashed.tensor(name, shape.into(), range).to_dtype(run.dtype())
    };
    let images = Var::constant(input("images", &[n, t, 1, FRAME[0], FRAME[1]], [0.0, 1.0]));
    let behavior = Var::leaf(input("behaviour", &[n, t, config.behaviors], [-1.5, 1.5]));
    let cx = &mut Context::eval();
    let rates = model.forward(&images, &behavior.detach(), cx);
    run.result("out.eval", rates.value().clone());
    if config.shifter {
        let shift = model.shifter().shift(&behavior.detach(), cx);
        run.result("out.eval_shift", shift.value().clone());
        let shifted = model.shifter().shifted(&images, &behavior.detach(), cx);
        run.result("out.eval_shifted_0_0", shifted.value().select(0, 0).select(0, 0).select(0, 0));
    }
    train(run, &model, &images, &behavior, config.shifter)
}

/// One step of training mode, with the penalty on the weight of behavior.
fn train(run: &Run, model: &Mmv1, images: &Var, behavior: &Var, shifter: bool) -> Result<()> {
    let cx = &mut Context::train(Stream::new(0));
    let rates = model.forward(images, behavior, cx);
    run.result("out.train", rates.value().clone());
    let rate = PoissonNll { log_input: false, ..PoissonNll::default() };
    let nll = poisson_nll(&rates, &run.tensor("in.spikes")?, &rate, Reduction::Mean);
    run.result("out.poisson_nll", nll.value().clone());
    let total = &nll + &cx.var(model.behavior_weight()).abs().mean();
    run.result("out.total_loss", total.value().clone());
    let gradients = total.backward();
    run.result("grad.behaviour", gradients.wrt(behavior).clone());

    let params = model.named_parameters();
    let order: Vec<String> = run.attr("parameter_order")?;
    ensure!(params.iter().map(|(name, _)| name).eq(&order), "the parameters are not {order:?}");
    // Without a shift the shifter has no gradient; PyTorch stores zeros.
    let rows = params.iter().flat_map(|(_, p)| match gradients.get(p.leaf()) {
        Some(g) => gradient_row(g),
        None => [0.0; 5],
    });
    run.numbers("out.grads", &rows.collect::<Vec<_>>())?;
    let encoders = ["bn", "behav_encoder.layers.0", "visual_encoder.layers.1"];
    let state = model.state_dict();
    for norm in encoders.into_iter().chain(shifter.then_some("shifter.layers.0")) {
        for statistic in ["running_mean", "running_var"] {
            let name = format!("{norm}.{statistic}");
            let (_, value) = state.iter().find(|(n, _)| *n == name).expect("a batch norm has it");
            run.result(&format!("out.after.{name}"), value.clone());
        }
    }
    Ok(())
}
