//! Representational similarity: rank correlation, and all layers of a net against a recording.

use std::hint::black_box;

use neuro::{
    rsa::{Comparison, Rsm, RsmOptions, Similarity, compare_all},
    stats::kendall_tau_b,
};
use tensor::{DType, Device, Stream, Tensor};

use super::{Prepared, Workload};

/// As many as the natural scenes.
const IMAGES: usize = 118;
/// As many RSMs of a brain area as the paper takes.
const BRAINS: usize = 100;

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new(
            "tau_b_6903",
            "Kendall's tau-b of 6,903 pairs of images, with its p-value (always on the CPU)",
            |_| tau_b(),
        ),
        Workload::new(
            "rsm_resnet18_64px",
            "Pearson RSMs of the 20 convolutions of ResNet-18, 118 images of 64 pixels (always on the CPU)",
            |_| rsms(),
        ),
        Workload::new(
            "ssm_resnet18",
            "tau-b of 20 layers' RSMs with 100 RSMs of a brain area, 118 images (always on the CPU)",
            |_| ssm(),
        ),
    ]
}

/// Units of each convolution of ResNet-18 for images of 64 pixels, shortcuts included.
fn units() -> Vec<usize> {
    let stage = |channels: usize, side: usize, convolutions: usize| {
        vec![channels * side * side; convolutions]
    };
    [stage(64, 32, 1), stage(64, 16, 4), stage(128, 8, 5), stage(256, 4, 5), stage(512, 2, 5)]
        .concat()
}

fn randn(images: usize, units: usize, stream: &mut Stream) -> Tensor {
    Tensor::randn([images, units], DType::F32, Device::Cpu, stream)
}

fn tau_b() -> Prepared {
    let mut stream = Stream::new(1);
    let n = IMAGES * (IMAGES - 1) / 2;
    let a: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
    let b: Vec<f64> = a.iter().map(|v| 0.4 * v + stream.normal()).collect();
    let step = move || drop(black_box(kendall_tau_b(&a, &b)));
    Prepared { step: Box::new(step), flop: None, bytes: None }
}

fn rsms() -> Prepared {
    let mut stream = Stream::new(2);
    let layers: Vec<Tensor> = units().iter().map(|&n| randn(IMAGES, n, &mut stream)).collect();
    let macs: usize = units().iter().map(|n| IMAGES * IMAGES * n).sum();
    let options = RsmOptions::plain(Similarity::Pearson);
    let step = move || {
        for layer in &layers {
            drop(black_box(Rsm::new(layer, &options)));
        }
    };
    Prepared { step: Box::new(step), flop: Some(2.0 * macs as f64), bytes: None }
}

fn ssm() -> Prepared {
    let mut stream = Stream::new(3);
    let mut rsm = || {
        let responses = randn(IMAGES, 200, &mut stream);
        Rsm::new(&responses, &RsmOptions::default()).expect("noise has an RSM")
    };
    let layers: Vec<Rsm> = units().iter().map(|_| rsm()).collect();
    let brains: Vec<Rsm> = (0..BRAINS).map(|_| rsm()).collect();
    let step = move || drop(black_box(compare_all(&layers, &brains, Comparison::KendallTauB)));
    Prepared { step: Box::new(step), flop: None, bytes: None }
}
