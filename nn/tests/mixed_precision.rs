//! Mixed precision as a user meets it: what is computed in which dtype, and that training works as well.

use autograd::Var;
use nn::{
    Context, Forward, ModuleExt,
    layers::{
        BatchNorm2d, Checkpoint, Conv2d, Flatten, LayerNorm, Linear, MultiheadAttention, ReLU,
        Sequential,
    },
    loss::{Reduction, cross_entropy},
    optim::{Adam, AdamOptions, Groups, Optimizer},
};
use tensor::{DType, Device, Stream, Tensor};

fn net() -> Sequential {
    let block = Sequential::new().with(Conv2d::new(2, 8, 3)).with(BatchNorm2d::new(8)).with(ReLU);
    let mut net = Sequential::new()
        .with(Checkpoint::new(block))
        .with(Conv2d::new(8, 4, 3))
        .with(ReLU)
        .with(Flatten)
        .with(LayerNorm::new([16]))
        .with(Linear::new(16, 3));
    net.initialize(5, DType::F32, Device::Cpu);
    net
}

/// Images whose class is which of three places is brightest.
fn data(seed: u64) -> (Var, Tensor) {
    let x = Tensor::randn([48, 2, 6, 6], DType::F32, Device::Cpu, &mut Stream::new(seed));
    let places = x.select(1, 0).select(1, 2).narrow(1, 1, 3);
    (Var::constant(x), places.argmax(1, false))
}

fn context(autocast: Option<DType>) -> Context<'static> {
    let mut cx = Context::train(Stream::new(0));
    cx.set_autocast(autocast);
    cx
}

/// The loss of every step.
fn train(autocast: Option<DType>) -> Vec<f64> {
    let mut net = net();
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::uniform(0.0));
    let (x, classes) = data(1);
    (0..60)
        .map(|_| {
            let logits = net.call(&x, &mut context(autocast));
            let loss = cross_entropy(&logits, &classes, 0.0, Reduction::Mean);
            let gradients = loss.backward();
            for (name, p) in net.named_parameters() {
                assert_eq!(gradients.wrt(p.leaf()).dtype(), DType::F32, "{name}");
            }
            optimizer.step(&mut net, &gradients, 0.01);
            loss.value().item()
        })
        .collect()
}

#[test]
fn training_follows_the_loss_of_f32() {
    let full = train(None);
    assert!(full[59] < 0.3 * full[0], "f32 learns: {} to {}", full[0], full[59]);
    for dtype in [DType::BF16, DType::F16] {
        let mixed = train(Some(dtype));
        for (step, (f, m)) in full.iter().zip(&mixed).enumerate() {
            assert!((f - m).abs() < 0.03 + 0.1 * f, "{dtype}, step {step}: {m} beside {f}");
        }
        assert_ne!(mixed, full, "{dtype} rounds");
    }
}

#[test]
fn products_are_16_bit_and_normalizations_are_not() {
    let net = net();
    let mut dtypes = Vec::new();
    let mut cx = Context::eval().with_autocast(DType::BF16);
    cx = cx.with_observer(&net, |e| dtypes.push((e.path.to_owned(), e.output.dtype())));
    let y = net.call(&data(2).0, &mut cx);
    drop(cx);
    let dtype = |path: &str| dtypes.iter().find(|(p, _)| p == path).unwrap().1;
    // The block ends in a ReLU behind a normalization; the ReLU at 2 stands behind a convolution.
    let found = ["0", "1", "2", "4", "5"].map(dtype);
    assert_eq!(found, [DType::F32, DType::BF16, DType::BF16, DType::F32, DType::BF16]);
    assert_eq!(y.dtype(), DType::BF16);
    let loss = cross_entropy(&y, &data(2).1, 0.0, Reduction::Mean);
    assert_eq!(loss.dtype(), DType::F32);
}

#[test]
fn a_linear_layer_is_the_product_of_rounded_operands_rounded_once() {
    let mut layer = Linear::new(16, 5);
    layer.initialize(1, DType::F32, Device::Cpu);
    let x = Tensor::randn([7, 16], DType::F32, Device::Cpu, &mut Stream::new(3));
    let round = |t: &Tensor| t.to_dtype(DType::BF16).to_dtype(DType::F32);
    let bias = layer.bias.as_ref().map(|b| round(b.value()));
    let expected = round(&x).linear(&round(layer.weight.value()), bias.as_ref());
    let mut cx = Context::eval().with_autocast(DType::BF16);
    let y = layer.call(&Var::constant(x), &mut cx);
    assert_eq!(y.value().to_f64_vec(), expected.to_dtype(DType::BF16).to_f64_vec());
}

#[test]
fn attention_multiplies_in_16_bits_and_its_gradients_are_f32() {
    let mut layer = MultiheadAttention::new(8, 2);
    layer.initialize(1, DType::F32, Device::Cpu);
    let x = Tensor::randn([2, 5, 8], DType::F32, Device::Cpu, &mut Stream::new(3));
    let run = |autocast| layer.call(&Var::constant(x.clone()), &mut context(autocast));
    let (full, mixed) = (run(None), run(Some(DType::BF16)));
    assert_eq!(mixed.dtype(), DType::BF16);
    for (f, m) in full.value().to_f64_vec().iter().zip(mixed.value().to_f64_vec()) {
        assert!((f - m).abs() < 0.02, "{m} beside {f}");
    }
    let gradients = mixed.to_dtype(DType::F32).square().sum().backward();
    for (name, p) in layer.named_parameters() {
        assert_eq!(gradients.wrt(p.leaf()).dtype(), DType::F32, "{name}");
    }
}

#[test]
fn a_whole_model_in_bf16_trains_too() {
    let mut net = net();
    net.to(DType::BF16, Device::Cpu);
    let (x, classes) = data(1);
    let x = x.to_dtype(DType::BF16);
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::uniform(0.0));
    let mut losses = Vec::new();
    for _ in 0..30 {
        let loss = cross_entropy(&net.call(&x, &mut context(None)), &classes, 0.0, Reduction::Mean);
        optimizer.step(&mut net, &loss.backward(), 0.01);
        losses.push(loss.value().item());
    }
    assert!(losses[29] < 0.7 * losses[0], "{} to {}", losses[0], losses[29]);
}

#[test]
#[should_panic(expected = "autocast: f32 is none of bf16 and f16")]
fn autocast_is_for_16_bit_floats() {
    let _ = Context::eval().with_autocast(DType::F32);
}
