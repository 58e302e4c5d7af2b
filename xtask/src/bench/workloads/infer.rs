//! Inference of whole models in their form for evaluation: pictures to logits, nothing recorded.

use std::hint::black_box;

use autograd::Var;
use nn::{Context, ModuleExt, summary};
use tensor::{DType, Device, Stream, Tensor};
use vision::models::{ModelConfig, create, fold};

use super::{Prepared, Workload};

/// Pictures of a batch.
const BATCH: usize = 8;

pub(super) fn all() -> Vec<Workload> {
    let models = ["resnet18", "convnext_tiny", "replknet31b"];
    let workload = |model: &'static str| {
        let about = format!("inference of {model} at 224x224, batch {BATCH}");
        Workload::new(format!("infer_{model}"), about, move |device| infer(model, device))
    };
    models.into_iter().map(workload).collect()
}

fn infer(name: &str, device: Device) -> Prepared {
    let mut model = create(name, &ModelConfig::default()).expect("a name of the list");
    model.initialize(0, DType::F32, device);
    // As published nets are counted: before anything is folded.
    let macs = summary(&*model, [1, 3, 224, 224]).macs as f64 * BATCH as f64;
    fold(&mut *model);
    let stream = &mut Stream::new(1);
    let images = Tensor::randn([BATCH, 3, 224, 224], DType::F32, device, stream);
    let images = Var::constant(images.channels_last());
    let step = move || {
        black_box(model.call(&images, &mut Context::eval()).value());
    };
    Prepared { step: Box::new(step), flop: Some(2.0 * macs), bytes: None }
}
