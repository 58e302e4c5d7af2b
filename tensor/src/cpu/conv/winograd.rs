//! Winograd's minimal filtering of dense 3x3 kernels of stride one: `F(4x4, 3x3)` for the output and the input gradient,
//! `F(3x3, 4x4)` for the weight gradient, each with 36 products for a tile where the direct sum has 144.
//!
//! Both are the product of two polynomials, evaluated at 0, ±1, ±2 and infinity (Lavin and Gray, "Fast algorithms for
//! convolutional neural networks", 2016). The image's transform is the same for both; a kernel has 3 taps or (a tile of the
//! output gradient) 4, and the results are the 4 or 3 that are left of 6.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::conv::transformed::{
    Compiled, Patch, Sliding, Transform, run_compiled, weight_grad,
};
use crate::cpu::microkernel::Real;
use crate::cpu::simd::{Isa, Vector};

/// Points of an axis.
const N: usize = 6;

/// With fewer channels on a side the transforms cost more than the products they save.
const MIN_CHANNELS: usize = 16;

/// Whether this is a convolution for the algorithm: dense, 3x3, stride and dilation one, no fewer than 16 channels on either
/// side, and maps not so small that the tiles are mostly rim.
pub(super) fn applies(g: &ConvGeometry, results: [usize; 2]) -> bool {
    let tiles = results.map(|len| len.div_ceil(4));
    let dense = g.groups == 1 && [g.kh, g.kw] == [3; 2];
    // 36 products for a tile instead of 9 for a pixel, with room for the transforms.
    let wins = tiles[0] * tiles[1] * N * N * 2 <= results[0] * results[1] * 9 * 3 / 2;
    dense && g.stride == [1; 2] && g.dilation == [1; 2] && g.c.min(g.o) >= MIN_CHANNELS && wins
}

pub(super) fn forward<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    w: &[T],
    bias: Option<&[T]>,
    y: &mut [T],
) {
    let transform = &Winograd { taps: 3 };
    Sliding { isa, transform, g, weight: w, transposed: false }.run(x, bias, y);
}

pub(super) fn input_grad<T: Real>(isa: Isa, g: &ConvGeometry, dy: &[T], w: &[T], dx: &mut [T]) {
    let transform = &Winograd { taps: 3 };
    Sliding { isa, transform, g, weight: w, transposed: true }.run(dy, None, dx);
}

pub(super) fn weight_gradient<T: Real>(
    isa: Isa,
    g: &ConvGeometry,
    x: &[T],
    dy: &[T],
    dw: &mut [T],
) {
    weight_grad(isa, &Winograd { taps: 4 }, g, x, dy, dw);
}

/// `F(m x m, taps x taps)` with `m + taps = 7`.
struct Winograd {
    taps: usize,
}

impl<T: Real> Transform<T> for Winograd {
    fn planes(&self) -> usize {
        N * N
    }
    fn size(&self) -> [usize; 2] {
        [N; 2]
    }
    fn step(&self) -> [usize; 2] {
        // Of a weight gradient the tiles of the output gradient follow each other.
        [4; 2]
    }
    unsafe fn data(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize) {
        // SAFETY: the trait's contract.
        unsafe { run_compiled(isa, Data { from, to, plane }) }
    }
    unsafe fn kernel(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize) {
        // SAFETY: the trait's contract.
        unsafe {
            match self.taps {
                3 => run_compiled(isa, Kernel::<T, 3> { from, to, plane }),
                _ => run_compiled(isa, Kernel::<T, 4> { from, to, plane }),
            }
        }
    }
    unsafe fn inverse(
        &self,
        isa: Isa,
        from: *const T,
        plane: usize,
        bias: *const T,
        to: &Patch<T>,
    ) {
        // SAFETY: the trait's contract.
        unsafe {
            match self.taps {
                3 => run_compiled(isa, Inverse::<T, 4> { from, plane, bias, to }),
                _ => run_compiled(isa, Inverse::<T, 3> { from, plane, bias, to }),
            }
        }
    }
}

/// `a + x · b` with a constant.
#[inline(always)]
unsafe fn fma<T: Real, V: Vector<Elem = T>>(a: V, x: f64, b: V) -> V {
    // SAFETY: the caller runs with the vector's instruction set.
    unsafe { V::splat(T::from_f64(x)).mul_add(b, a) }
}

/// `x · a`.
#[inline(always)]
unsafe fn scale<T: Real, V: Vector<Elem = T>>(x: f64, a: V) -> V {
    // SAFETY: as for `fma`.
    unsafe { fma(V::zero(), x, a) }
}

/// The image at the points, up to the factors that the kernel's side has.
#[inline(always)]
unsafe fn data<T: Real, V: Vector<Elem = T>>(d: [V; N]) -> [V; N] {
    // SAFETY: as for `fma`.
    unsafe {
        let (one, other) = (fma(d[4], -4.0, d[2]), fma(d[3], -4.0, d[1]));
        let (two, twice) = (fma(d[4], -1.0, d[2]), fma(d[3], -1.0, d[1]));
        [
            fma(fma(d[4], -5.0, d[2]), 4.0, d[0]),
            one.add(other),
            fma(one, -1.0, other),
            fma(two, 2.0, twice),
            fma(two, -2.0, twice),
            fma(fma(d[5], -5.0, d[3]), 4.0, d[1]),
        ]
    }
}

/// A kernel of 3 or 4 taps at the points.
#[inline(always)]
unsafe fn kernel<T: Real, V: Vector<Elem = T>, const TAPS: usize>(g: [V; TAPS]) -> [V; N] {
    // SAFETY: as for `fma`.
    unsafe {
        let last = g[TAPS - 1];
        let (even, mut odd) = (g[0].add(g[2]), g[1]);
        let (even_two, mut odd_two) =
            (fma(scale(1.0 / 24.0, g[0]), 1.0 / 6.0, g[2]), scale(1.0 / 12.0, g[1]));
        if TAPS == 4 {
            odd = odd.add(last);
            odd_two = fma(odd_two, 1.0 / 3.0, last);
        }
        let sixth = scale(-1.0 / 6.0, even);
        [
            scale(0.25, g[0]),
            fma(sixth, -1.0 / 6.0, odd),
            fma(sixth, 1.0 / 6.0, odd),
            even_two.add(odd_two),
            fma(even_two, -1.0, odd_two),
            last,
        ]
    }
}

/// The results from the products at the points.
#[inline(always)]
unsafe fn inverse<T: Real, V: Vector<Elem = T>, const RESULTS: usize>(m: [V; N]) -> [V; RESULTS] {
    // SAFETY: as for `fma`.
    unsafe {
        let (one, other) = (m[1].add(m[2]), fma(m[1], -1.0, m[2]));
        let (two, twice) = (m[3].add(m[4]), fma(m[3], -1.0, m[4]));
        let all = [
            m[0].add(one).add(two),
            fma(other, 2.0, twice),
            fma(one, 4.0, two),
            fma(other, 8.0, twice),
        ];
        let mut results: [V; RESULTS] = std::array::from_fn(|i| all[i]);
        results[RESULTS - 1] = results[RESULTS - 1].add(m[5]);
        results
    }
}

#[inline(always)]
fn column<V: Copy, const A: usize, const B: usize>(rows: &[[V; B]; A], j: usize) -> [V; A] {
    let mut column = [rows[0][j]; A];
    for (x, row) in column.iter_mut().zip(rows) {
        *x = row[j];
    }
    column
}

struct Data<'a, T> {
    from: &'a Patch<T>,
    to: *mut T,
    plane: usize,
}

impl<T: Real> Compiled<T> for Data<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for v in 0..2 {
            // SAFETY: the patch's pixels, and two registers in every plane.
            unsafe {
                let mut rows = [[V::zero(); N]; N];
                for (i, row) in rows.iter_mut().enumerate() {
                    let mut pixels = [V::zero(); N];
                    for (j, pixel) in pixels.iter_mut().enumerate() {
                        *pixel = self.from.load(i, j, v);
                    }
                    *row = data(pixels);
                }
                let to = self.to.add(v * V::LANES);
                for j in 0..N {
                    for (i, x) in data(column(&rows, j)).into_iter().enumerate() {
                        x.store(to.add((i * N + j) * self.plane));
                    }
                }
            }
        }
    }
}

struct Kernel<'a, T, const TAPS: usize> {
    from: &'a Patch<T>,
    to: *mut T,
    plane: usize,
}

impl<T: Real, const TAPS: usize> Compiled<T> for Kernel<'_, T, TAPS> {
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for v in 0..2 {
            // SAFETY: as for `Data`.
            unsafe {
                let mut rows = [[V::zero(); N]; TAPS];
                for (i, row) in rows.iter_mut().enumerate() {
                    let mut taps = [V::zero(); TAPS];
                    for (j, tap) in taps.iter_mut().enumerate() {
                        *tap = self.from.load(i, j, v);
                    }
                    *row = kernel(taps);
                }
                let to = self.to.add(v * V::LANES);
                for j in 0..N {
                    for (i, x) in kernel(column(&rows, j)).into_iter().enumerate() {
                        x.store(to.add((i * N + j) * self.plane));
                    }
                }
            }
        }
    }
}

struct Inverse<'a, T, const RESULTS: usize> {
    from: *const T,
    plane: usize,
    bias: *const T,
    to: &'a Patch<T>,
}

impl<T: Real, const RESULTS: usize> Compiled<T> for Inverse<'_, T, RESULTS> {
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        for v in 0..2 {
            // SAFETY: two registers in every plane; the patch's pixels, and its channels of the bias.
            unsafe {
                let from = self.from.add(v * V::LANES);
                let mut rows = [[V::zero(); RESULTS]; N];
                for (i, row) in rows.iter_mut().enumerate() {
                    let mut products = [V::zero(); N];
                    for (j, x) in products.iter_mut().enumerate() {
                        *x = V::load(from.add((i * N + j) * self.plane));
                    }
                    *row = inverse(products);
                }
                let bias = match self.bias.is_null() {
                    true => V::zero(),
                    false => {
                        let count = self.to.channels.saturating_sub(v * V::LANES);
                        V::load_part(self.bias.wrapping_add(v * V::LANES), count)
                    }
                };
                for j in 0..RESULTS {
                    let results: [V; RESULTS] = inverse(column(&rows, j));
                    for (i, x) in results.into_iter().enumerate() {
                        self.to.store(i, j, v, x.add(bias));
                    }
                }
            }
        }
    }
}
