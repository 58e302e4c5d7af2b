use std::path::PathBuf;

use autograd::Var;
use nn::Context;
use tensor::Device;

use super::*;
use crate::models::{ModelConfig, create};

/// Weights by name, all the same.
fn zeros(names: &[(&str, &[usize])]) -> Vec<(String, Tensor)> {
    let zeros = |dims: &[usize]| Tensor::zeros(tensor::Shape::new(dims), DType::F32, Device::Cpu);
    names.iter().map(|(name, dims)| (name.to_string(), zeros(dims))).collect()
}

fn names(state: &[(String, Tensor)]) -> Vec<&str> {
    state.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn prefixes_of_wrapped_models_are_taken_off() {
    let model =
        create("sudoku_3x16", &crate::models::find("sudoku_3x16").unwrap().config()).unwrap();
    let wrapped = zeros(&[("module.model.last_conv.bias", &[9]), ("module.model.x", &[1])]);
    assert_eq!(names(&renamed(&*model, wrapped)), ["last_conv.bias", "x"]);
    let mixed = zeros(&[("module.last_conv.bias", &[9]), ("epoch", &[1])]);
    assert_eq!(names(&renamed(&*model, mixed)), ["module.last_conv.bias", "epoch"]);
}

#[test]
fn official_convnextv2_names_and_shapes_become_timms() {
    let config = ModelConfig { classes: 10, ..ModelConfig::default() };
    let model = create("convnextv2_atto", &config).unwrap();
    let official = zeros(&[
        ("downsample_layers.0.0.weight", &[40, 3, 4, 4]),
        ("downsample_layers.1.1.bias", &[80]),
        ("stages.2.5.dwconv.weight", &[160, 1, 7, 7]),
        ("stages.0.1.norm.bias", &[40]),
        ("stages.0.1.pwconv1.weight", &[160, 40]),
        ("stages.0.1.grn.gamma", &[1, 1, 1, 160]),
        ("stages.0.1.grn.beta", &[1, 1, 1, 160]),
        ("stages.0.1.pwconv2.bias", &[40]),
        ("norm.weight", &[320]),
        ("head.weight", &[10, 320]),
    ]);
    let count = official.len();
    let state = renamed(&*model, official);
    assert_eq!(state[4].0, "stages.0.blocks.1.mlp.fc1.weight");
    let mut model = model;
    model.initialize(0, DType::F32, Device::Cpu);
    let loaded = model.load_state_dict_lenient(state);
    assert_eq!(loaded.count, count);
    assert!(loaded.unexpected.is_empty() && loaded.mismatched.is_empty(), "{loaded:?}");
}

/// The shipped SqueezeNet takes normalized RGB and gives what its own convention gives for BGR.
#[test]
fn the_shipped_squeezenet_loads_completely_and_takes_normalized_rgb() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("weights/squeezenet1_0/weights.npz");
    let mut model = create("squeezenet1_0_caffe", &ModelConfig::default()).unwrap();
    let loaded = load(&mut *model, &path, Mode::Strict).unwrap();
    assert_eq!(loaded.count, 52);
    let [r, g, b] = [200.0, 90.0, 30.0];
    let original = read(&path).unwrap();
    let (weight, bias) = (original[0].1.to_f64_vec(), original[1].1.to_f64_vec());
    let input = [b - CAFFE_MEAN_BGR[0], g - CAFFE_MEAN_BGR[1], r - CAFFE_MEAN_BGR[2]];
    let expected: Vec<f64> = (0..96)
        .map(|o| {
            let sum = |c: usize| weight[(o * 3 + c) * 49..][..49].iter().sum::<f64>() * input[c];
            bias[o] + (0..3).map(sum).sum::<f64>()
        })
        .collect();
    let plane = |value: f64, c: usize| {
        let normal = (value / 255.0 - imagenet::MEAN[c]) / imagenet::STD[c];
        Tensor::full(normal, [1, 1, 21, 21], DType::F32, Device::Cpu)
    };
    let x = Tensor::cat(&[&plane(r, 0), &plane(g, 1), &plane(b, 2)], 1);
    let mut found = Vec::new();
    let mut cx = Context::eval().with_observer(&*model, |event| {
        if event.path == "features.0" {
            found = event.output.value().narrow(2, 0, 1).narrow(3, 0, 1).to_f64_vec();
        }
    });
    model.call(&Var::constant(x), &mut cx);
    drop(cx);
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 2e-3 * b.abs().max(1.0), "{a} {b}");
    }
    assert_eq!(found.len(), 96);
}

#[test]
fn a_strict_load_names_what_does_not_fit_and_a_lenient_one_loads_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("net.safetensors");
    let make = |classes| {
        let config = ModelConfig { classes, ..ModelConfig::default() };
        let mut model = create("squeezenet1_1", &config).unwrap();
        model.initialize(classes as u64, DType::F32, Device::Cpu);
        model
    };
    let (old, mut new) = (make(4), make(3));
    nn::save_model(&path, &*old).unwrap();
    let message = load(&mut *new, &path, Mode::Strict).unwrap_err().to_string();
    let expected = "net.safetensors: state dict does not fit the model: other shape: \
        \"classifier.1.weight\" (expected [3, 512, 1, 1], found [4, 512, 1, 1])";
    assert!(message.contains(expected), "{message}");
    let loaded = load(&mut *new, &path, Mode::Lenient).unwrap();
    let wrong: Vec<&str> = loaded.mismatched.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(wrong, ["classifier.1.weight", "classifier.1.bias"]);
    assert!(!loaded.is_complete() && loaded.missing.is_empty());
    let first = |model: &dyn Module| model.state_dict()[0].1.to_f64_vec();
    assert_eq!(first(&*old), first(&*new));
}

#[test]
fn an_unknown_ending_is_an_error() {
    let message = read("weights.h5").unwrap_err().to_string();
    assert_eq!(
        message,
        "weights.h5: expected a name that ends in .safetensors, .npz, .pth, .pt, .bin or .ckpt"
    );
}
