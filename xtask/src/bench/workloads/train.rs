//! Whole training steps: forward, loss, backward, and one step of AdamW.

use std::hint::black_box;

use autograd::Var;
use lpconv::{ConvertConfig, convert};
use nn::{
    Context, Forward, ModuleExt,
    loss::{Reduction, cross_entropy},
    optim::{AdamOptions, AdamW, Groups, Optimizer},
    summary::summary,
};
use tensor::{DType, Device, Stream, Tensor};
use vision::models::{SudokuNet, SudokuNetConfig};

use super::{Prepared, Workload};

/// `base`, or Lp-convolutions that start with an exponent.
const CONDITIONS: [(&str, Option<f64>); 3] =
    [("base", None), ("lp_p2", Some(2.0)), ("lp_p16", Some(16.0))];

pub(super) fn all() -> Vec<Workload> {
    let mut workloads = Vec::new();
    for (condition, p) in CONDITIONS {
        workloads.push(Workload::new(
            format!("sudoku_{condition}"),
            format!(
                "training step of the Sudoku net, 10 blocks of 256 channels, {}, batch 100",
                what(p)
            ),
            move || classify(SudokuNet::new(&SudokuNetConfig::default()), p, sudoku_batch()),
        ));
    }
    workloads
}

fn what(p: Option<f64>) -> String {
    p.map_or("unconverted".to_owned(), |p| format!("Lp-convolutions of p = {p}"))
}

/// Puzzles and solutions, or noise that looks like them.
fn sudoku_batch() -> (Tensor, Tensor) {
    let stream = &mut Stream::new(1);
    let mut digits = |n| (0..100 * 81).map(|_| stream.below(n) as i64).collect::<Vec<_>>();
    let cells: Vec<f32> = digits(10).iter().map(|&d| d as f32 / 9.0 - 0.5).collect();
    (Tensor::new(&cells, [100, 1, 9, 9]), Tensor::new(&digits(9), [100, 9, 9]))
}

/// A training step with cross entropy and AdamW.
fn classify(
    mut model: impl Forward,
    p: Option<f64>,
    (images, classes): (Tensor, Tensor),
) -> Prepared {
    if let Some(p) = p {
        convert(&mut model, &ConvertConfig::lp(p)).expect("a model is converted once");
    }
    model.initialize(0, DType::F32, Device::Cpu);
    let mut one = images.dims().to_vec();
    one[0] = 1;
    let macs = summary(&model, &one[..]).macs as f64 * images.dims()[0] as f64;
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(0.01));
    let mut steps = 0;
    let step = move || {
        steps += 1;
        let mut cx = Context::train(Stream::new(0).derive_index(steps));
        let logits = model.call(&Var::constant(images.clone()), &mut cx);
        let loss = cross_entropy(&logits, &classes, 0.0, Reduction::Mean);
        optimizer.step(&mut model, &loss.backward(), 1e-4);
        black_box(loss.value());
    };
    // Forward, input gradient, weight gradient.
    Prepared { step: Box::new(step), flop: Some(2.0 * 3.0 * macs), bytes: None }
}
