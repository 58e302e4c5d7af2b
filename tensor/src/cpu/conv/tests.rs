use super::*;
use proptest::prelude::*;

/// Numbers a test can draw, run and compare.
pub(super) trait Number: Real {
    const TOLERANCE: f64;
    fn of(x: f64) -> Self;
    fn value(self) -> f64;
}

impl Number for f32 {
    const TOLERANCE: f64 = 2e-6;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn value(self) -> f64 {
        self.into()
    }
}

impl Number for f64 {
    const TOLERANCE: f64 = 1e-14;
    fn of(x: f64) -> Self {
        x
    }
    fn value(self) -> f64 {
        self
    }
}

/// Reproducible numbers in -1..1.
fn numbers<T: Number>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        T::of((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

/// All products of the convolution: `visit(x index, w index, y index)`.
fn each_product(g: &ConvGeometry, mut visit: impl FnMut(usize, usize, usize)) {
    let (inputs, outputs) = (g.group_inputs(), g.group_outputs());
    let inside = |out: usize, k: usize, axis: usize, len: usize| {
        (out * g.stride[axis] + k * g.dilation[axis])
            .checked_sub(g.padding[axis])
            .filter(|&i| i < len)
    };
    for n in 0..g.n {
        for (i, j) in (0..g.oh).flat_map(|i| (0..g.ow).map(move |j| (i, j))) {
            for (r, s) in (0..g.kh).flat_map(|r| (0..g.kw).map(move |s| (r, s))) {
                let (Some(h), Some(w)) = (inside(i, r, 0, g.h), inside(j, s, 1, g.w)) else {
                    continue;
                };
                for o in 0..g.o {
                    for c in 0..inputs {
                        visit(
                            ((n * g.h + h) * g.w + w) * g.c + o / outputs * inputs + c,
                            ((o * inputs + c) * g.kh + r) * g.kw + s,
                            ((n * g.oh + i) * g.ow + j) * g.o + o,
                        );
                    }
                }
            }
        }
    }
}

/// Compares with sums in f64; the tolerance grows with the sum of magnitudes and the length of a sum.
fn assert_near<T: Number>(what: &str, found: &[T], expected: &[f64], magnitude: &[f64]) {
    for (i, x) in found.iter().enumerate() {
        let error = (x.value() - expected[i]).abs();
        let allowed = T::TOLERANCE * (magnitude[i] + 1e-6);
        assert!(error <= allowed, "{what}[{i}] = {x:?}, expected {} ± {allowed}", expected[i]);
    }
}

fn check<T: Number>(g: &ConvGeometry) {
    let x = numbers::<T>(g.n * g.h * g.w * g.c, 1);
    let w = numbers::<T>(g.o * g.group_inputs() * g.taps(), 2);
    let dy = numbers::<T>(g.n * g.oh * g.ow * g.o, 3);
    let bias = numbers::<T>(g.o, 4);
    let sums = |len: usize| (vec![0.0; len], vec![0.0; len]);
    let ((mut y, mut y_abs), (mut dx, mut dx_abs), (mut dw, mut dw_abs)) =
        (sums(dy.len()), sums(x.len()), sums(w.len()));
    for (i, (y, y_abs)) in y.iter_mut().zip(&mut y_abs).enumerate() {
        *y = bias[i % g.o].value();
        *y_abs = y.abs();
    }
    each_product(g, |xi, wi, yi| {
        let add = |sum: &mut f64, magnitude: &mut f64, product: f64| {
            *sum += product;
            *magnitude += product.abs();
        };
        add(&mut y[yi], &mut y_abs[yi], x[xi].value() * w[wi].value());
        add(&mut dx[xi], &mut dx_abs[xi], dy[yi].value() * w[wi].value());
        add(&mut dw[wi], &mut dw_abs[wi], x[xi].value() * dy[yi].value());
    });
    for isa in Isa::available() {
        let mut out = vec![T::of(f64::NAN); dy.len()];
        conv_forward_on(isa, g, &x, &w, Some(&bias), &mut out);
        assert_near(&format!("{isa:?} y of {g:?}"), &out, &y, &y_abs);
        let mut out = vec![T::of(f64::NAN); x.len()];
        conv_input_grad_on(isa, g, &dy, &w, &mut out);
        assert_near(&format!("{isa:?} dx of {g:?}"), &out, &dx, &dx_abs);
        let mut out = vec![T::of(f64::NAN); w.len()];
        conv_weight_grad_on(isa, g, &x, &dy, &mut out);
        assert_near(&format!("{isa:?} dw of {g:?}"), &out, &dw, &dw_abs);
    }
}

/// The largest output of an axis, zero where the kernel does not fit.
fn out_len(len: usize, k: usize, stride: usize, padding: usize, dilation: usize) -> usize {
    (len + 2 * padding).checked_sub(dilation * (k - 1) + 1).map_or(0, |rest| rest / stride + 1)
}

#[allow(clippy::too_many_arguments)]
pub(super) fn geometry(
    n: usize,
    [c, o, groups]: [usize; 3],
    [h, w]: [usize; 2],
    [kh, kw]: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> ConvGeometry {
    let oh = out_len(h, kh, stride[0], padding[0], dilation[0]);
    let ow = out_len(w, kw, stride[1], padding[1], dilation[1]);
    let algorithm = ConvAlgorithm::Direct;
    ConvGeometry { n, c, h, w, o, kh, kw, oh, ow, stride, padding, dilation, groups, algorithm }
}

fn any_geometry() -> impl Strategy<Value = ConvGeometry> {
    let channels = prop_oneof![
        // Dense and grouped, with tails of every kind.
        (1..=3usize, 1..=9usize, 1..=40usize).prop_map(|(g, c, o)| [g * c, g * o, g]),
        // Depthwise with a multiplier.
        (2..=37usize, 1..=3usize).prop_map(|(c, m)| [c, c * m, c]),
    ];
    let batch = prop_oneof![0..=3usize, 7..=18usize];
    let pair = |low: usize, high: usize| [low..=high, low..=high];
    (batch, channels, pair(1, 9), pair(1, 4), pair(1, 3), pair(0, 4), pair(1, 2))
        .prop_map(|(n, c, hw, k, s, p, d)| geometry(n, c, hw, k, s, p, d))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn all_passes_equal_the_sums(g in any_geometry()) {
        check::<f32>(&g);
        check::<f64>(&g);
    }
}

#[test]
fn sizes_of_real_layers() {
    let one = [1, 1];
    // More than one chunk of k, several panels, blocks of several strips.
    check::<f32>(&geometry(9, [130, 70, 1], [5, 5], [5, 5], one, [2, 2], one));
    // A chunk inside a single tap.
    check::<f32>(&geometry(2, [1100, 3, 1], [2, 3], [1, 3], one, [0, 1], one));
    // More images, and more pixels in a row, than a block holds.
    check::<f32>(&geometry(150, [3, 5, 1], [3, 3], [3, 3], one, [1, 1], one));
    check::<f32>(&geometry(1, [3, 5, 1], [2, 300], [3, 3], [1, 2], [1, 1], one));
    // Weights that the tasks pack for themselves, all taps in use and not.
    check::<f32>(&geometry(8, [150, 150, 1], [4, 4], [7, 7], one, [3, 3], one));
    check::<f32>(&geometry(8, [350, 350, 1], [2, 2], [7, 7], one, [3, 3], one));
    // Pointwise, and a first layer.
    check::<f32>(&geometry(3, [20, 33, 1], [6, 7], one, one, [0, 0], one));
    check::<f32>(&geometry(2, [3, 16, 1], [40, 37], [11, 11], [4, 4], [2, 2], one));
    // Few input channels: taps as columns, plain, dilated and in several pieces.
    check::<f32>(&geometry(3, [1, 40, 1], [19, 23], [7, 5], [2, 2], [3, 1], one));
    check::<f32>(&geometry(2, [2, 40, 1], [13, 12], [3, 3], one, [2, 2], [2, 2]));
    check::<f32>(&geometry(1, [2, 9, 1], [90, 90], [13, 13], one, [6, 6], one));
    // Channels whose distance would fall on one set of the cache.
    check::<f32>(&geometry(8, [512, 16, 1], [2, 2], [3, 3], one, [1, 1], one));
}

#[test]
fn kernel_larger_than_the_padded_input_gives_nothing() {
    let g = geometry(2, [3, 4, 1], [3, 3], [7, 2], [1, 1], [1, 1], [1, 1]);
    assert_eq!(g.oh, 0);
    let mut dx = vec![1.0f32; 54];
    conv_input_grad(&g, &[], &numbers(4 * 3 * 14, 1), &mut dx);
    assert_eq!(dx, [0.0; 54]);
    let mut dw = vec![1.0f32; 4 * 3 * 14];
    conv_weight_grad(&g, &numbers(54, 1), &[], &mut dw);
    assert!(dw.iter().all(|&x| x == 0.0));
}

#[test]
fn threads_do_not_change_a_bit() {
    let one = [1, 1];
    let layers = [
        geometry(16, [48, 64, 1], [8, 8], [3, 3], one, one, one),
        geometry(2, [48, 64, 1], [24, 24], [3, 3], [2, 2], one, one),
        geometry(16, [48, 48, 48], [14, 14], [7, 7], one, [3, 3], one),
    ];
    for g in &layers {
        let x = numbers::<f32>(g.n * g.h * g.w * g.c, 1);
        let w = numbers::<f32>(g.o * g.group_inputs() * g.taps(), 2);
        let dy = numbers::<f32>(g.n * g.oh * g.ow * g.o, 3);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
                conv_forward(g, &x, &w, None, &mut y);
                conv_input_grad(g, &dy, &w, &mut dx);
                conv_weight_grad(g, &x, &dy, &mut dw);
                [y, dx, dw].map(|all| all.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            })
        };
        let one = run(1);
        assert!(run(2) == one, "2 threads differ for {g:?}");
        assert!(run(5) == one, "5 threads differ for {g:?}");
    }
}

/// A kernel with a rim of `crop` zeros gives the bits of the kernel without it, in all three passes.
fn check_crop<T: Number + PartialEq>(small: &ConvGeometry, crop: [usize; 2]) {
    let large = ConvGeometry {
        kh: small.kh + 2 * crop[0],
        kw: small.kw + 2 * crop[1],
        padding: [0, 1].map(|i| small.padding[i] + crop[i] * small.dilation[i]),
        ..*small
    };
    let x = numbers::<T>(small.n * small.h * small.w * small.c, 1);
    let w = numbers::<T>(small.o * small.group_inputs() * small.taps(), 2);
    let dy = numbers::<T>(small.n * small.oh * small.ow * small.o, 3);
    let at = |i: usize| {
        let (channel, r, s) =
            (i / small.taps(), i % small.taps() / small.kw + crop[0], i % small.kw + crop[1]);
        (channel * large.kh + r) * large.kw + s
    };
    let mut wide = vec![T::ZERO; w.len() / small.taps().max(1) * large.taps()];
    w.iter().enumerate().for_each(|(i, &w)| wide[at(i)] = w);
    for isa in Isa::available() {
        let passes = |g: &ConvGeometry, w: &[T]| {
            let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.to_vec());
            conv_forward_on(isa, g, &x, w, None, &mut y);
            conv_input_grad_on(isa, g, &dy, w, &mut dx);
            conv_weight_grad_on(isa, g, &x, &dy, &mut dw);
            (y, dx, dw)
        };
        let ((y, dx, dw), (wide_y, wide_dx, wide_dw)) = (passes(small, &w), passes(&large, &wide));
        assert!(y == wide_y, "{isa:?} y of {small:?} and a rim of {crop:?}");
        assert!(dx == wide_dx, "{isa:?} dx of {small:?} and a rim of {crop:?}");
        let inner = (0..dw.len()).all(|i| dw[i] == wide_dw[at(i)]);
        assert!(inner, "{isa:?} dw of {small:?} and a rim of {crop:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_rim_of_zeros_changes_no_bit(g in any_geometry(), crop in [0..=2usize, 0..=2usize]) {
        check_crop::<f32>(&g, crop);
        check_crop::<f64>(&g, crop);
    }
}

#[test]
fn a_rim_of_zeros_changes_no_bit_in_real_layers() {
    let one = [1, 1];
    for (n, channels, size, kernel, stride, padding) in [
        (32, [64, 64, 1], 32, 5, 1, 2),
        (32, [64, 128, 1], 32, 3, 2, 1),
        (32, [64, 128, 1], 32, 1, 2, 0),
        (32, [256, 256, 1], 8, 3, 1, 1),
        (10, [300, 300, 1], 4, 5, 1, 2),
        (10, [256, 64, 1], 9, 1, 1, 0),
        (4, [3, 64, 1], 63, 11, 4, 2),
        (4, [1, 70, 1], 30, 5, 2, 1),
        (3, [2, 20, 1], 17, 1, 1, 0),
        (12, [40, 40, 40], 14, 7, 1, 3),
        (32, [128, 128, 32], 8, 3, 1, 1),
    ] {
        let g = geometry(n, channels, [size; 2], [kernel; 2], [stride; 2], [padding; 2], one);
        check_crop::<f32>(&g, [1, 1]);
    }
}

/// Most taps of most tiles meet padding only.
#[test]
fn depthwise_kernels_larger_than_the_map() {
    let one = [1, 1];
    for (size, kernel, stride, dilation) in
        [([14, 14], 7, 1, 1), ([9, 13], 5, 1, 1), ([15, 30], 9, 2, 1), ([11, 22], 3, 1, 3)]
    {
        let padding = [kernel / 2 * dilation; 2];
        let (stride, dilation) = ([stride; 2], [dilation; 2]);
        let g = geometry(3, [20, 20, 20], size, [kernel; 2], stride, padding, dilation);
        for crop in [[10, 10], [0, 11], [4, 6]] {
            check_crop::<f32>(&g, crop);
            check_crop::<f64>(&g, crop);
        }
        let (kernel, padding) = ([27, 25], [13 * dilation[0], 12 * dilation[1]]);
        check::<f32>(&geometry(3, [20, 40, 20], size, kernel, stride, padding, dilation));
        // More padding than the kernel needs, so that whole outputs meet nothing.
        check::<f32>(&geometry(2, [20, 20, 20], size, [3, 11], stride, [5, 14], one));
    }
}
