//! Whole training steps: forward, loss, backward, and one step of AdamW.

use std::hint::black_box;

use autograd::{Var, trace::kernel};
use lpconv::{ConvertConfig, convert};
use neuro::mmv1::{Mmv1, Mmv1Config};
use nn::{
    Context, Forward, ModuleExt,
    layers::{Sequential, set_conv_algorithm},
    loss::{PoissonNll, Reduction, cross_entropy, poisson_nll},
    optim::{AdamOptions, AdamW, Groups, Optimizer},
    summary::summary,
};
use tensor::{ConvAlgorithm, DType, Device, Stream, Tensor};
use vision::models::{
    AlexNet, AlexNetConfig, ConvNeXtBlock, ResNet, Stem, SudokuNet, SudokuNetConfig,
};

use super::{Prepared, Workload, on_request};

/// `base`, or Lp-convolutions that start with an exponent.
const CONDITIONS: [(&str, Option<f64>); 3] =
    [("base", None), ("lp_p2", Some(2.0)), ("lp_p16", Some(16.0))];

pub(super) fn all() -> Vec<Workload> {
    let mut workloads = Vec::new();
    let mut add = |model: &str, about: &str, prepare: fn(Option<f64>, Device) -> Prepared| {
        for (condition, p) in CONDITIONS {
            let about = format!("training step of {about}, {}", what(p));
            let name = format!("{model}_{condition}");
            workloads.push(Workload::new(name, about, move |device| prepare(p, device)));
        }
    };
    add("sudoku", "the Sudoku net, 10 blocks of 256 channels, batch 100", |p, device| {
        classify(SudokuNet::new(&SudokuNetConfig::default()), p, sudoku_batch(), device)
    });
    add("resnet18_cifar", "ResNet-18 at 32 pixels, batch 32", |p, device| {
        classify(ResNet::resnet18(100, Stem::Small), p, cifar_batch(), device)
    });
    add("alexnet_cifar", "AlexNet at 32 pixels, batch 32", |p, device| {
        let config = AlexNetConfig { classes: 100, stem: Stem::Small, ..Default::default() };
        classify(AlexNet::new(&config), p, cifar_batch(), device)
    });
    workloads.push(Workload {
        on_request: on_request(ConvAlgorithm::Fft).map(str::to_owned),
        ..Workload::new("sudoku_lp_p2_fft", "training step of sudoku_lp_p2 by fft", |device| {
            let mut net = SudokuNet::new(&SudokuNetConfig::default());
            set_conv_algorithm(&mut net, ConvAlgorithm::Fft);
            classify(net, Some(2.0), sudoku_batch(), device)
        })
    });
    workloads.push(Workload::new(
        "convnext_t_stage",
        "three blocks of ConvNeXt-T, 96 channels at 56x56, batch 16: forward and backward",
        convnext_t_stage,
    ));
    for frames in [1, 4] {
        workloads.push(Workload::new(
            format!("cnn_gru_t{frames}"),
            format!("training step of the predictor of mouse V1, {frames} frames, batch 256"),
            move |device| cnn_gru(frames, device),
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

/// Noise in the shape of 32 pictures of CIFAR-100.
fn cifar_batch() -> (Tensor, Tensor) {
    let stream = &mut Stream::new(1);
    let images = Tensor::randn([32, 3, 32, 32], DType::F32, Device::Cpu, stream);
    let classes: Vec<i64> = (0..32).map(|_| stream.below(100) as i64).collect();
    (images, Tensor::new(&classes, [32]))
}

/// Forward and backward of the first stage of ConvNeXt-T, the input's gradient included.
fn convnext_t_stage(device: Device) -> Prepared {
    let blocks = (0..3).map(|_| ConvNeXtBlock::new(96, 1e-6, 0.0));
    let mut stage = blocks.fold(Sequential::new(), Sequential::with);
    stage.initialize(0, DType::F32, device);
    let shape = [16, 96, 56, 56];
    let stream = &mut Stream::new(1);
    let mut random = || Tensor::randn(shape, DType::F32, device, stream).channels_last();
    let (x, dy) = (Var::leaf(random()), random());
    let macs = summary(&stage, [1, 96, 56, 56]).macs as f64 * shape[0] as f64;
    let step = move || {
        let y = stage.call(&x, &mut Context::train(Stream::new(0)));
        black_box(y.backward_with(&dy));
    };
    Prepared { step: Box::new(step), flop: Some(2.0 * 3.0 * macs), bytes: None }
}

/// A training step of the predictor of mouse V1 for 68 neurons, with 6 behavioral variables and their 15 products.
fn cnn_gru(frames: usize, device: Device) -> Prepared {
    const BATCH: usize = 256;
    const BEHAVIORS: usize = 21;
    let config = Mmv1Config { behaviors: BEHAVIORS, ..Mmv1Config::default() };
    let mut model = Mmv1::new(&config);
    model.initialize(0, DType::F32, device);
    let stream = &mut Stream::new(1);
    let images = Tensor::rand([BATCH, frames, 1, 60, 80], DType::F32, device, stream);
    let behavior = Tensor::randn([BATCH, frames, BEHAVIORS], DType::F32, device, stream);
    let spikes: Vec<f32> = (0..BATCH * config.neurons).map(|_| stream.below(3) as f32).collect();
    let spikes = Tensor::new(&spikes, [BATCH, config.neurons]).to_device(device);
    let rate = PoissonNll { log_input: false, ..PoissonNll::default() };
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(0.01));
    let mut steps = 0;
    let step = move || {
        steps += 1;
        let mut cx = Context::train(Stream::new(0).derive_index(steps));
        let [images, behavior] = [&images, &behavior].map(|t| Var::constant(t.clone()));
        let rates = model.forward(&images, &behavior, &mut cx);
        let loss = poisson_nll(&rates, &spikes, &rate, Reduction::Mean);
        let gradients = loss.backward();
        kernel("adamw", 0, || optimizer.step(&mut model, &gradients, 1e-4));
        black_box(loss.value());
    };
    Prepared { step: Box::new(step), flop: None, bytes: None }
}

/// A training step with cross entropy and AdamW.
fn classify(
    mut model: impl Forward,
    p: Option<f64>,
    (images, classes): (Tensor, Tensor),
    device: Device,
) -> Prepared {
    let [images, classes] = [images, classes].map(|t| t.to_device(device));
    if let Some(p) = p {
        convert(&mut model, &ConvertConfig::lp(p)).expect("a model is converted once");
    }
    model.initialize(0, DType::F32, device);
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
        let gradients = loss.backward();
        kernel("adamw", 0, || optimizer.step(&mut model, &gradients, 1e-4));
        black_box(loss.value());
    };
    // Forward, input gradient, weight gradient.
    Prepared { step: Box::new(step), flop: Some(2.0 * 3.0 * macs), bytes: None }
}
