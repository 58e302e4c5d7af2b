//! Attention with masks, beyond the goldens of `cargo xtask verify`.

use autograd::{Attention, Var};
use nn::{Context, Forward, ModuleExt, layers::MultiheadAttention};
use tensor::{DType, Device, Stream, Tensor};

fn layer() -> MultiheadAttention {
    let mut layer = MultiheadAttention::new(6, 3);
    layer.initialize(1, DType::F64, Device::Cpu);
    layer
}

fn normal(shape: &[usize]) -> Var {
    Var::leaf(Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(5)))
}

#[track_caller]
fn assert_close(a: &Tensor, b: &Tensor) {
    assert_eq!(a.dims(), b.dims());
    for (a, b) in a.to_f64_vec().iter().zip(b.to_f64_vec()) {
        assert!((a - b).abs() < 1e-12, "{a} instead of {b}");
    }
}

#[test]
fn three_inputs_that_are_one_give_self_attention() {
    let (layer, x, cx) = (layer(), normal(&[2, 4, 6]), &mut Context::train(Stream::new(0)));
    let y = layer.call(&x, cx);
    let (a, b) = (x.clone(), x.clone());
    let z = layer.attend([&x, &a, &b], &Attention::default(), cx);
    assert_close(y.value(), z.value());
    assert_close(y.sum().backward().wrt(&x), z.sum().backward().wrt(&x));
    let names: Vec<String> = layer.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"]);
}

#[test]
fn a_causal_mask_is_the_lower_triangle_and_hides_what_comes_later() {
    let (layer, x, cx) = (layer(), normal(&[2, 4, 6]), &mut Context::eval());
    let causal = Attention { causal: true, ..Default::default() };
    let y = layer.attend([&x, &x, &x], &causal, cx);
    let triangle: Vec<u8> = (0..16).map(|k| u8::from(k % 4 <= k / 4)).collect();
    let mask = Tensor::new(&triangle, [4, 4]);
    let masked = Attention { mask: Some(&mask), ..Default::default() };
    assert_close(layer.attend([&x, &x, &x], &masked, cx).value(), y.value());
    let start = x.narrow(1, 0, 2);
    let first = layer.attend([&start, &start, &start], &causal, cx);
    assert_close(first.value(), y.narrow(1, 0, 2).value());
}

#[test]
fn dropout_of_weights_is_for_training() {
    let (layer, x) = (layer().with_dropout(0.5), normal(&[2, 4, 6]));
    let train = |seed| layer.call(&x, &mut Context::train(Stream::new(seed))).value().to_f64_vec();
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
    let plain = self::layer().call(&x, &mut Context::eval());
    assert_close(layer.call(&x, &mut Context::eval()).value(), plain.value());
}

#[test]
#[should_panic(expected = "MultiheadAttention: embed_dim 6 is not divisible by 4 heads")]
fn heads_share_the_width() {
    MultiheadAttention::new(6, 4);
}
