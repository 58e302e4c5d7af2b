//! The algorithms of [`ConvAlgorithm`] against the direct sums.

use super::tests::{Number, geometry};
use super::*;
use crate::{DType, Device, Stream, Tensor};
use proptest::prelude::*;

/// Output, input gradient and weight gradient.
fn passes<T: Number>(isa: Isa, g: &ConvGeometry, seed: u64) -> [Vec<T>; 3] {
    let [x, w, dy, bias] = operands::<T>(g, seed);
    let mut out = [&dy, &x, &w].map(|like| vec![T::of(f64::NAN); like.len()]);
    conv_forward_on(isa, g, &x, &w, Some(&bias), &mut out[0]);
    conv_input_grad_on(isa, g, &dy, &w, &mut out[1]);
    conv_weight_grad_on(isa, g, &x, &dy, &mut out[2]);
    out
}

/// Input, weight, output gradient and bias.
fn operands<T: Number>(g: &ConvGeometry, seed: u64) -> [Vec<T>; 4] {
    let [x, w] = [g.n * g.h * g.w * g.c, g.o * g.group_inputs() * g.taps()];
    let dy = g.n * g.oh * g.ow * g.o;
    [normal(x, seed), normal(w, seed + 1), normal(dy, seed + 2), normal(g.o, seed + 3)]
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

/// For any tiles and sizes, also those where another algorithm would be taken.
const FFT_BOUND: f64 = 2e-5;

fn any_fft() -> impl Strategy<Value = ConvGeometry> {
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    let channels = prop_oneof![
        (1..=40usize, 1..=40usize).prop_map(|(c, o)| [c, o, 1]),
        (2..=40usize).prop_map(|c| [c, c, c]),
    ];
    (1..=3usize, channels, pair(3, 24), pair(1, 9), pair(0, 9))
        .prop_map(|(n, c, hw, k, p)| ConvGeometry {
            algorithm: ConvAlgorithm::Fft,
            ..geometry(n, c, hw, k, ONE, p, ONE)
        })
        .prop_filter("no output", |g| g.oh > 0 && g.ow > 0)
}

/// The passes by Fourier transforms, with one of the ways to cut each axis into tiles, whether it would be faster or not.
fn fft_passes<T: Number>(isa: Isa, g: &ConvGeometry, way: [usize; 2]) -> [Vec<T>; 3] {
    let tiles = |pass: Pass| {
        let axes = [0, 1].map(|i| {
            let mut all = fft::AxisTiles::all(g, pass, i);
            all.swap_remove(way[i] % all.len())
        });
        [[axes[0].len, axes[1].len], [axes[0].step, axes[1].step]]
    };
    let [x, w, dy, bias] = operands::<T>(g, 1);
    let mut out = [&dy, &x, &w].map(|like| vec![T::of(f64::NAN); like.len()]);
    fft::forward(isa, g, tiles(Pass::Forward), &x, &w, Some(&bias), &mut out[0]);
    fft::input_grad(isa, g, tiles(Pass::InputGrad), &dy, &w, &mut out[1]);
    fft::weight_gradient(isa, g, tiles(Pass::WeightGrad), &x, &dy, &mut out[2]);
    out
}

/// Against the direct sums in f64, over the root of the number of products in a sum.
fn check_fft<T: Number>(g: &ConvGeometry, way: [usize; 2], bound: f64) {
    for isa in Isa::available() {
        let exact = passes::<f64>(isa, &ConvGeometry { algorithm: ConvAlgorithm::Direct, ..*g }, 1);
        let found = fft_passes::<T>(isa, g, way);
        let terms = [g.group_inputs() * g.taps(), g.group_outputs() * g.taps(), g.n * g.oh * g.ow];
        for pass in 0..3 {
            let allowed = bound * (terms[pass] as f64).sqrt();
            for (i, (e, x)) in exact[pass].iter().zip(&found[pass]).enumerate() {
                let near = (x.value() - e).abs() <= allowed;
                assert!(near, "{isa:?} pass {pass} [{i}] {x:?}, not {e} of {g:?}, tiles {way:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fourier_transforms_give_the_sums(g in any_fft(), way in [0..20usize, 0..20usize]) {
        check_fft::<f64>(&g, way, 1e-10);
        check_fft::<f32>(&g, way, FFT_BOUND);
    }
}

fn by_fft(g: ConvGeometry) -> ConvGeometry {
    ConvGeometry { algorithm: ConvAlgorithm::Fft, ..g }
}

#[test]
fn threads_do_not_change_a_bit_of_fft() {
    for g in [
        geometry(12, [40, 70, 1], [16; 2], [7; 2], ONE, [3; 2], ONE),
        geometry(3, [64, 48, 1], [40; 2], [9; 2], ONE, [4; 2], ONE),
        geometry(4, [40, 40, 40], [56; 2], [31; 2], ONE, [15; 2], ONE),
    ] {
        let g = by_fft(g);
        let all = [Pass::Forward, Pass::InputGrad, Pass::WeightGrad];
        assert!(all.iter().all(|&pass| g.fft(pass).is_some()), "{g:?}");
        assert!(with_threads(1, || bits(&g)) == with_threads(2, || bits(&g)), "{g:?}");
    }
}

#[test]
fn fft_of_many_channels() {
    // Several groups of panels.
    let g = by_fft(geometry(8, [300, 310, 1], [8; 2], [7; 2], ONE, [3; 2], ONE));
    let errors = errors::<f32>(Isa::active(), &g);
    assert!(errors.iter().all(|&e| e <= FFT_BOUND), "{errors:?}");
}

#[test]
fn what_fft_is_not_made_for_has_the_bits_of_direct() {
    for g in [
        geometry(2, [32, 32, 1], [16; 2], [7; 2], [2, 1], [3; 2], ONE),
        geometry(2, [32, 32, 1], [16; 2], [7; 2], ONE, [3; 2], [1, 2]),
        geometry(2, [32, 32, 2], [16; 2], [7; 2], ONE, [3; 2], ONE),
        geometry(2, [16, 32, 16], [16; 2], [7; 2], ONE, [3; 2], ONE),
        geometry(2, [32, 32, 1], [16; 2], [1; 2], ONE, [0; 2], ONE),
        geometry(1, [4, 4, 1], [90; 2], [81; 2], ONE, [0; 2], ONE),
    ] {
        assert!(bits(&by_fft(g)) == bits(&g), "{g:?}");
    }
}

/// On standard normal numbers, beside the direct sums: Winograd's error is larger, that of the transforms is not where sums
/// are long. The figures are those of [`ConvAlgorithm`].
#[test]
fn errors_are_as_documented() {
    for (channels, kernel) in [(16, 7), (256, 7), (64, 3), (256, 3)] {
        let mut all = vec![];
        let g =
            geometry(8, [channels, channels, 1], [16; 2], [kernel; 2], ONE, [kernel / 2; 2], ONE);
        for (algorithm, bound) in [
            (ConvAlgorithm::Direct, 4e-5),
            (ConvAlgorithm::Winograd, WINOGRAD_BOUND),
            (ConvAlgorithm::Fft, FFT_BOUND),
        ] {
            let errors = errors::<f32>(Isa::active(), &ConvGeometry { algorithm, ..g });
            let worst = errors.iter().copied().fold(0.0, f64::max);
            assert!(worst <= bound, "{algorithm:?} {kernel}x{kernel} {channels}: {errors:?}");
            all.push(worst);
        }
        if (channels, kernel) == (256, 7) {
            assert!(all[2] <= 3e-6 && all[2] < all[0], "{all:?}");
        }
    }
}
