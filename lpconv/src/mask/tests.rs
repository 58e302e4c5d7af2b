//! Tests of masks as ops and in layers.

use super::*;
use autograd::gradcheck::{gradgradcheck, properties, thread_independence};
use nn::{Forward, ModuleExt, layers::Conv2d};
use tensor::{DType, Device};

#[test]
fn ops_have_every_property() {
    for info in OPS {
        for seed in 0..64 {
            let case = (info.case)(&mut Draw::new(info.name, seed));
            properties(&case).unwrap_or_else(|e| panic!("{} (seed {seed}): {e}", info.name));
            let second = gradgradcheck(&case.f, &case.inputs);
            second.unwrap_or_else(|e| panic!("{} (seed {seed}), second: {e}", info.name));
        }
    }
}

#[test]
fn ops_have_the_same_bits_for_any_number_of_threads() {
    for info in OPS {
        for seed in 0..4 {
            let case = (info.case)(&mut Draw::large(info.name, seed));
            thread_independence(&case)
                .unwrap_or_else(|e| panic!("{} (seed {seed}): {e}", info.name));
        }
    }
}

/// At p = 1 the taps on an axis sit on a kink, at p < 1 the derivative diverges there: both are defined as 0.
#[test]
fn at_the_center_tap_the_gradient_is_zero_for_any_p() {
    for p in [0.3f64, 0.7, 1.0, 2.0, 300.0] {
        let c = Var::leaf(Tensor::new(&[0.5, 0.1, -0.2, 0.4], [1, 2, 2]));
        let log2p = Var::leaf(Tensor::new(&[p.log2()], [1]));
        let g = lp_mask(&c, &log2p, [1, 1], [0.0, 0.0]).sum().backward();
        assert_eq!(g.wrt(&c).to_f64_vec(), [0.0; 4]);
        assert_eq!(g.wrt(&log2p).to_f64_vec(), [0.0]);
    }
}

fn layer(config: &MaskConfig, padding: usize) -> Conv2d {
    let options = Conv2dOptions { padding: [padding; 2], ..Default::default() };
    let mut conv = Conv2d::with_options(3, 4, [7, 7], options);
    conv.set_parametrization(Some(Box::new(LpMask::new(4, [3, 3], config))));
    conv.initialize(0, DType::F64, Device::Cpu);
    conv
}

#[test]
fn a_cropped_layer_gives_the_bits_of_the_full_one() {
    let x = Var::constant(Draw::new("x", 0).normal([2, 3, 9, 9]));
    for p in [2.0, 8.0, 16.0, 256.0] {
        // Without padding nothing may be cropped; padding the input by hand then gives the same values.
        let cropped = layer(&MaskConfig::trained(p), 3).call(&x, &mut Context::eval());
        let padded = Var::constant(x.value().pad2d([3; 4]));
        let full = layer(&MaskConfig::trained(p), 0).call(&padded, &mut Context::eval());
        assert_eq!(cropped.value().to_f64_vec(), full.value().to_f64_vec());
    }
}

/// What a 7x7 layer, enlarged from 3x3, gives: output, and gradients of input, weight, log2p and C.
fn results(tap_threshold: f64, p: f64, x: &Tensor) -> [Vec<f64>; 5] {
    let layer = layer(&MaskConfig { tap_threshold, ..MaskConfig::trained(p) }, 3);
    let x = Var::leaf(x.clone());
    let y = layer.call(&x, &mut Context::train(tensor::Stream::new(0)));
    let dy = Draw::new("dy", 0).normal(y.shape());
    let gradients = y.backward_with(&dy);
    let names = ["weight", "log2p", "C"];
    let [w, l, c] = names.map(|name| {
        let params = layer.named_parameters();
        let (_, param) = params.iter().find(|(n, _)| n == name).unwrap();
        gradients.wrt(param.leaf()).to_f64_vec()
    });
    [y.value().to_f64_vec(), gradients.wrt(&x).to_f64_vec(), w, l, c]
}

#[test]
fn a_threshold_of_no_mask_changes_no_bit() {
    let x = Draw::new("x", 0).normal([2, 3, 9, 9]);
    for p in [0.7, 2.0, 8.0, 256.0] {
        let exact = results(0.0, p, &x);
        assert_eq!(exact, results(f64::MIN_POSITIVE, p, &x), "p = {p}");
    }
}

#[test]
fn taps_below_the_threshold_have_no_weight_and_no_gradient() {
    let kept = |tap_threshold: f64| {
        let mut mask = LpMask::new(2, [3, 3], &MaskConfig { tap_threshold, ..Default::default() });
        mask.initialize(0, DType::F64, Device::Cpu);
        // The second channel's mask is higher than the first: a tap stays for all channels if one needs it.
        mask.c
            .as_mut()
            .unwrap()
            .set(Tensor::new(&[0.66, 0.0, 0.0, 0.66, 0.4, 0.0, 0.0, 0.66], [2, 2, 2]));
        let layer = Conv2dOptions { padding: [3; 2], ..Default::default() };
        let weight = Var::leaf(Tensor::ones([2, 1, 7, 7], DType::F64, Device::Cpu));
        let cx = &mut Context::train(tensor::Stream::new(0));
        let effective = mask.weight(&weight, &layer, cx);
        let gradient = effective.weight.sum().backward().wrt(&weight).to_f64_vec();
        // A row is in use if any tap of it has a gradient, which is its mask.
        let rows = |o: usize| gradient[49 * o..][..49].chunks(7);
        let count = [0, 1].map(|o| rows(o).filter(|r| r.iter().any(|&g| g != 0.0)).count());
        assert_eq!(gradient[24], 1.0, "the middle stays");
        (effective.crop, count)
    };
    // Down the rows the second mask is 0.852, 0.527 and 0.237 at 1, 2 and 3 pixels; along the columns both are 0.647, 0.175
    // and 0.020.
    assert_eq!(kept(0.0), ([0, 0], [7, 7]));
    assert_eq!(kept(0.1), ([0, 1], [7, 7]));
    assert_eq!(kept(0.2), ([0, 2], [7, 7]));
    assert_eq!(kept(0.5), ([1, 2], [5, 5]));
    assert_eq!(kept(0.9), ([3, 3], [1, 1]));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// |y - exact| <= threshold * max(M) * sum |weight| |x|; the weight's gradient is exact or 0.
    #[test]
    fn a_threshold_changes_results_within_its_bound(
        p in 0.5f64..20.0, exponent in -8.0f64..-0.1, seed in 0u64..1000,
    ) {
        let threshold = 10f64.powf(exponent);
        let x = Draw::new("x", seed).normal([1, 3, 6, 7]);
        let exact = results(0.0, p, &x);
        let dropped = results(threshold, p, &x);
        let plain = layer(&MaskConfig::trained(p), 3);
        let sum = |x: &Tensor| -> Vec<f64> {
            let geometry = tensor::Conv2dOptions { padding: [3; 2], ..Default::default() };
            x.abs().conv2d(&plain.weight.value().abs(), None, &geometry).to_f64_vec()
        };
        for ((a, b), s) in exact[0].iter().zip(&dropped[0]).zip(sum(&x)) {
            proptest::prop_assert!((a - b).abs() <= threshold * s * (1.0 + 1e-9), "{} {} {}", a, b, s);
        }
        // The weight's gradient is the exact one, or 0 where a tap was dropped: then it was small.
        let dy = Draw::new("dy", 0).normal([1, 4, 6, 7]);
        let all = dy.abs().to_f64_vec().iter().sum::<f64>()
            * x.abs().to_f64_vec().into_iter().fold(0.0, f64::max);
        for (a, b) in exact[2].iter().zip(&dropped[2]) {
            let kept = (a - b).abs() <= 1e-12 * (1.0 + a.abs());
            proptest::prop_assert!(kept || (*b == 0.0 && a.abs() <= threshold * all), "{} {}", a, b);
        }
    }

    /// Where no mask is near the threshold the layer is a smooth function, and its derivative the numeric one.
    #[test]
    fn with_a_threshold_gradients_are_those_of_what_is_computed(
        p in 1.2f64..6.0, exponent in -6.0f64..-0.5, seed in 0u64..1000,
    ) {
        let tap_threshold = 10f64.powf(exponent);
        let config = MaskConfig { tap_threshold, ..MaskConfig::trained(p) };
        let mut start = LpMask::new(2, [3, 3], &config);
        start.initialize(0, DType::F64, Device::Cpu);
        let c = start.c.as_ref().unwrap().value()
            + &Draw::new("c", seed).uniform([2, 2, 2], -0.1, 0.1);
        let log2p = start.log2p.value().clone();
        let center = [3.0; 2];
        let largest = Tensor::lp_mask(&c, &log2p, [7, 7], center).amax(&[0], false).to_f64_vec();
        let near = |m: f64| (m / tap_threshold).ln().abs() < 1e-3;
        proptest::prop_assume!(!largest.iter().any(|&m| near(m)));
        let x = Draw::new("x", seed).normal([1, 2, 5, 5]);
        let w = Draw::new("w", seed).normal([2, 2, 7, 7]);
        let layer = Conv2dOptions { padding: [3; 2], ..Default::default() };
        let f = |v: &[Var]| {
            let mask = LpMask::new(2, [3, 3], &config);
            let masks = mask.dropping(lp_mask(&v[2], &v[3], [7, 7], center));
            let Effective { weight, crop } = cropped(&v[1], &masks, &layer);
            let geometry = tensor::Conv2dOptions {
                padding: crop.map(|n| 3 - n),
                ..Default::default()
            };
            v[0].conv2d(&weight, None, &geometry)
        };
        let checked = autograd::gradcheck::gradcheck(f, &[x, w, c, log2p]);
        proptest::prop_assert!(checked.is_ok(), "{:?}", checked);
    }
}

#[test]
fn a_positive_definite_mask_starts_as_the_plain_one_and_stays_definite() {
    let cx = Context::eval();
    let mut plain = LpMask::new(2, [3, 5], &MaskConfig::default());
    let config = MaskConfig { positive_definite: true, ..Default::default() };
    let mut definite = LpMask::new(2, [3, 5], &config);
    plain.initialize(0, DType::F64, Device::Cpu);
    definite.initialize(0, DType::F64, Device::Cpu);
    for (a, b) in
        plain.matrix(&cx).value().to_f64_vec().iter().zip(definite.matrix(&cx).value().to_f64_vec())
    {
        assert!((a - b).abs() < 1e-12);
    }
    let l = definite.l.as_mut().unwrap();
    l.set(Draw::new("l", 0).normal([2, 2, 2]));
    for c in definite.matrix(&cx).value().to_f64_vec().chunks(4) {
        assert!(c[0] > 0.0 && c[0] * c[3] - c[1] * c[2] > 0.0 && (c[1] - c[2]).abs() < 1e-15);
    }
}
