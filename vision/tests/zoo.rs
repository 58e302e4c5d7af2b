//! Every architecture beside torchvision's or timm's: names and shapes of the state dict, and of some the logits with weights
//! that are a function of their names, in both forms. The reference was made by `data/make_zoo.py`, which says how.

use autograd::Var;
use nn::{Context, Forward, ModuleExt};
use serde_json::Value;
use tensor::{DType, Device, Tensor};
use vision::models::{MODELS, create, find, fold};

const REFERENCE: &str = include_str!("data/zoo.json");

/// Not in torchvision and timm: the Caffe release's own padding, the Lp paper's RepLKNet and Sudoku nets, whose logits stand
/// in the larger goldens.
const OWN: [&str; 5] =
    ["squeezenet1_0_caffe", "replknet31t", "replknet31b", "sudoku_10x256", "sudoku_3x16"];

fn fnv1a(bytes: &[u8]) -> u64 {
    let step = |h: u64, byte: &u8| (h ^ u64::from(*byte)).wrapping_mul(0x100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, step)
}

fn bounds(name: &str, dims: &[usize]) -> (f64, f64) {
    let ends = |end: &str| name.ends_with(end);
    if ends("running_mean") || ends("bias") {
        (-0.1, 0.1)
    } else if ends("running_var") {
        (0.5, 1.5)
    } else if ends("layer_scale") {
        (0.2, 0.6)
    } else if dims.len() == 1 {
        (0.5, 1.5)
    } else if ends("class_token") || ends("pos_embedding") {
        (-0.5, 0.5)
    } else {
        let bound = (3.0 / dims[1..].iter().product::<usize>() as f64).sqrt();
        (-bound, bound)
    }
}

fn values(name: &str, dims: &[usize], (low, high): (f64, f64)) -> Tensor {
    let hash = fnv1a(name.as_bytes());
    let value = |i: u64| {
        let z = hash.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let u = (z.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40) as f64 / f64::from(1u32 << 24);
        (low + (high - low) * u) as f32
    };
    let all: Vec<f32> = (0..dims.iter().product::<usize>() as u64).map(value).collect();
    Tensor::new(&all, tensor::Shape::new(dims))
}

#[test]
fn names_shapes_and_logits_are_those_of_torchvision_and_timm() {
    let reference: Value = serde_json::from_str(REFERENCE).unwrap();
    let reference = reference.as_object().unwrap();
    for model in MODELS.iter().filter(|m| !OWN.contains(&m.name)) {
        assert!(reference.contains_key(model.name), "{} has no reference", model.name);
    }
    for (name, expected) in reference {
        check(name, expected);
    }
}

fn check(name: &str, expected: &Value) {
    let info = find(name).unwrap();
    let mut model = create(name, &info.config()).unwrap();
    let image = expected["image"].as_u64().map(|n| n as usize);
    if image.is_none() {
        // Names and shapes need no memory.
        for (_, param) in model.named_parameters_mut() {
            let zero = Tensor::zeros([1], DType::F32, Device::Cpu);
            param.set(zero.broadcast_to(param.shape()));
        }
    } else {
        model.initialize(0, DType::F32, Device::Cpu);
    }
    let state = model.state_dict();
    let lines: String = state.iter().map(|(key, t)| format!("{key} {:?}\n", t.dims())).collect();
    assert_eq!(state.len() as u64, expected["tensors"].as_u64().unwrap(), "{name}: tensors");
    let digest = format!("{:016x}", fnv1a(lines.as_bytes()));
    assert_eq!(digest, expected["digest"].as_str().unwrap(), "{name}: names and shapes\n{lines}");
    let Some(size) = image else { return };
    let filled = state.into_iter().map(|(key, old)| {
        let dims = old.dims().to_vec();
        let value = match old.dtype().is_float() {
            true => values(&key, &dims, bounds(&key, &dims)),
            false => old,
        };
        (key, value)
    });
    model.load_state_dict(filled.collect()).unwrap();
    // In f64: random weights make deep nets amplify the rounding of f32 to a percent.
    model.to(DType::F64, Device::Cpu);
    let input = values("input", &[1, 3, size, size], (-2.0, 2.0)).to_dtype(DType::F64);
    let input = Var::constant(input);
    let scale = expected["mean_abs"].as_f64().unwrap();
    let compare = |model: &dyn Forward, form: &str| {
        let logits = model.call(&input, &mut Context::eval()).value().to_f64_vec();
        let expected = expected["logits"].as_array().unwrap();
        for (i, (a, b)) in logits.iter().zip(expected).enumerate() {
            let b = b.as_f64().unwrap();
            assert!((a - b).abs() <= 1e-8 * scale, "{name} {form}: logit {i} is {a}, not {b}");
        }
        let mean = logits.iter().map(|v| v.abs()).sum::<f64>() / logits.len() as f64;
        assert!((mean - scale).abs() <= 1e-8 * scale, "{name} {form}: mean {mean}, not {scale}");
    };
    compare(&*model, "as published");
    fold(&mut *model);
    compare(&*model, "folded");
}
