//! What is not arithmetic: the optimizer, which memory limits, and the cost of an op beside its work.

use std::hint::black_box;

use autograd::{Gradients, Var, trace::kernel};
use nn::{
    Init, Module, ModuleExt, Param,
    optim::{AdamOptions, AdamW, Groups, Optimizer},
};
use tensor::{DType, Device, Stream, Tensor};

use super::{Prepared, Workload};

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new("adamw_57m", "AdamW on 14 tensors of 2016x2016, 56.9 M parameters", adamw),
        Workload::new("op_overhead", "add of 16 numbers, forward and backward", op_overhead),
    ]
}

/// Parameters of a model without layers.
#[derive(Module)]
struct Tensors {
    weights: Vec<Param>,
}

fn adamw(device: Device) -> Prepared {
    const SIDE: usize = 2016;
    const COUNT: usize = 14;
    let mut model = Tensors {
        weights: (0..COUNT).map(|_| Param::new([SIDE, SIDE], Init::Constant(0.1))).collect(),
    };
    model.initialize(0, DType::F32, device);
    let mut gradients = Gradients::default();
    let stream = &mut Stream::new(0);
    for weight in &model.weights {
        let gradient = Tensor::randn([SIDE, SIDE], DType::F32, device, stream);
        gradients.accumulate(weight.leaf().backward_with(&gradient));
    }
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(0.01));
    let step = move || kernel("adamw", 0, || optimizer.step(&mut model, &gradients, 1e-4));
    // Parameter and two moments are read and written, the gradient is read: 7 numbers.
    let bytes = (COUNT * SIDE * SIDE * 7 * size_of::<f32>()) as f64;
    Prepared { step: Box::new(step), flop: None, bytes: Some(bytes) }
}

fn op_overhead(device: Device) -> Prepared {
    let values = Tensor::new(&[1.0f32; 16], [16]).to_device(device);
    let (x, y) = (Var::leaf(values.clone()), Var::leaf(values.mul_scalar(2.0)));
    let step = move || drop(black_box((&x + &y).backward_with(&values)));
    Prepared { step: Box::new(step), flop: None, bytes: None }
}
