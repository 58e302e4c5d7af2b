//! The algorithms of [`ConvAlgorithm`] against the direct sums.

use super::tests::{Number, geometry, numbers};
use super::*;
use crate::{DType, Device, Stream, Tensor};
use proptest::prelude::*;

/// Output, input gradient and weight gradient.
fn passes<T: Number>(isa: Isa, g: &ConvGeometry, seed: u64) -> [Vec<T>; 3] {
    let x = normal::<T>(g.n * g.h * g.w * g.c, seed);
    let w = normal::<T>(g.o * g.group_inputs() * g.taps(), seed + 1);
    let dy = normal::<T>(g.n * g.oh * g.ow * g.o, seed + 2);
    let bias = numbers::<T>(g.o, seed + 3);
    let nan = T::of(f64::NAN);
    let mut out = [vec![nan; dy.len()], vec![nan; x.len()], vec![nan; w.len()]];
    conv_forward_on(isa, g, &x, &w, Some(&bias), &mut out[0]);
    conv_input_grad_on(isa, g, &dy, &w, &mut out[1]);
    conv_weight_grad_on(isa, g, &x, &dy, &mut out[2]);
    out
}

fn normal<T: Number>(len: usize, seed: u64) -> Vec<T> {
    let x = Tensor::randn([len], DType::F64, Device::Cpu, &mut Stream::new(seed));
    // All number types get the same numbers, those that f32 has.
    x.to_f64_vec().into_iter().map(|x| T::of(f64::from(x as f32))).collect()
}

/// The largest error over the root mean square of the exact values, for each pass.
fn errors<T: Number>(isa: Isa, g: &ConvGeometry) -> [f64; 3] {
    let exact = passes::<f64>(isa, &ConvGeometry { algorithm: ConvAlgorithm::Direct, ..*g }, 1);
    let found = passes::<T>(isa, g, 1);
    [0, 1, 2].map(|pass| {
        let square: f64 = exact[pass].iter().map(|x| x * x).sum();
        let scale = (square / exact[pass].len().max(1) as f64).sqrt();
        let pairs = exact[pass].iter().zip(&found[pass]);
        pairs.map(|(e, x)| (x.value() - e).abs() / scale).fold(0.0, |a, b| {
            assert!(!b.is_nan(), "{isa:?} pass {pass} of {g:?}");
            f64::max(a, b)
        })
    })
}

fn check(g: &ConvGeometry, bound: f64) {
    for isa in Isa::available() {
        let (double, single) = (errors::<f64>(isa, g), errors::<f32>(isa, g));
        assert!(double.iter().all(|&e| e <= 1e-10), "{isa:?} f64 {double:?} of {g:?}");
        assert!(single.iter().all(|&e| e <= bound), "{isa:?} f32 {single:?} of {g:?}");
    }
}

fn any_winograd() -> impl Strategy<Value = ConvGeometry> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    let channels = (16..=40usize, 16..=70usize).prop_map(|(c, o)| [c, o, 1]);
    (1..=4usize, channels, pair(3, 13), pair(0, 4)).prop_map(|(n, c, hw, p)| ConvGeometry {
        algorithm: ConvAlgorithm::Winograd,
        ..geometry(n, c, hw, [3; 2], [1; 2], p, [1; 2])
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn winograd_is_near_the_sums(g in any_winograd()) {
        check(&g, WINOGRAD_BOUND);
    }
}

/// As [`ConvAlgorithm::Winograd`] says.
const WINOGRAD_BOUND: f64 = 1e-4;

/// All bits of the three passes.
fn bits(g: &ConvGeometry) -> [Vec<u32>; 3] {
    passes::<f32>(Isa::active(), g, 7).map(|all| all.into_iter().map(f32::to_bits).collect())
}

fn with_threads<R: Send>(threads: usize, run: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run)
}

const ONE: [usize; 2] = [1; 2];

#[test]
fn threads_do_not_change_a_bit_of_winograd() {
    for g in [
        // Several batches of tiles; few tiles and many channels; one image.
        geometry(24, [48, 70, 1], [17, 19], [3; 2], ONE, ONE, ONE),
        geometry(8, [200, 130, 1], [8, 8], [3; 2], ONE, ONE, ONE),
        geometry(1, [64, 64, 1], [32, 32], [3; 2], ONE, ONE, ONE),
    ] {
        let g = ConvGeometry { algorithm: ConvAlgorithm::Winograd, ..g };
        assert!(g.winograd([g.oh, g.ow]));
        assert!(with_threads(1, || bits(&g)) == with_threads(2, || bits(&g)), "{g:?}");
    }
}

#[test]
fn winograd_of_many_channels_and_tiles() {
    // Several chunks of k, groups of panels, and batches of a weight gradient.
    for g in [
        geometry(2, [1100, 40, 1], [8, 8], [3; 2], ONE, ONE, ONE),
        geometry(1, [400, 700, 1], [8, 8], [3; 2], ONE, ONE, ONE),
        geometry(4, [64, 64, 1], [64, 64], [3; 2], ONE, ONE, ONE),
    ] {
        let g = ConvGeometry { algorithm: ConvAlgorithm::Winograd, ..g };
        let error = errors::<f32>(Isa::active(), &g);
        assert!(error.iter().all(|&e| e <= 2.0 * WINOGRAD_BOUND), "{error:?} of {g:?}");
    }
}

#[test]
fn what_winograd_is_not_made_for_has_the_bits_of_direct() {
    for g in [
        geometry(2, [32, 32, 1], [9, 9], [5, 5], ONE, [2, 2], ONE),
        geometry(2, [32, 32, 1], [9, 9], [3, 3], [2, 1], ONE, ONE),
        geometry(2, [32, 32, 1], [9, 9], [3, 3], ONE, ONE, [1, 2]),
        geometry(2, [32, 32, 2], [9, 9], [3, 3], ONE, ONE, ONE),
        geometry(2, [32, 32, 32], [9, 9], [3, 3], ONE, ONE, ONE),
        geometry(2, [3, 32, 1], [9, 9], [3, 3], ONE, ONE, ONE),
        geometry(2, [32, 32, 1], [2, 2], [3, 3], ONE, ONE, ONE),
    ] {
        let winograd = ConvGeometry { algorithm: ConvAlgorithm::Winograd, ..g };
        assert!(bits(&winograd) == bits(&g), "{g:?}");
    }
}
