//! Discrete Fourier transforms of tiles of pixels, two vectors of channels at a time.
//!
//! The first vector is the real and the second the imaginary part of one complex transform, from whose symmetric and
//! antisymmetric halves the transforms of both are read. Only half the frequencies are kept, for those of real numbers come in
//! conjugate pairs; a complex product takes three real ones, so a tile of `L · L` pixels has about `1.5 · L · L` planes.

use crate::cpu::conv::transformed::{Compiled, Patch, Transform, run_compiled};
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::{Isa, Vector};

/// Lengths that are products of at least two of the radices 2, 3, 4 and 5.
pub(super) const LENGTHS: [usize; 21] =
    [8, 9, 10, 12, 15, 16, 18, 20, 24, 25, 30, 32, 36, 40, 45, 48, 50, 60, 64, 72, 80];

/// One axis: the stages of the transform, from the first to the last.
struct Plan<T> {
    len: usize,
    stages: Vec<Stage<T>>,
}

/// `radix` numbers at a time, `count` groups of them, `stride` transforms side by side.
struct Stage<T> {
    radix: usize,
    count: usize,
    stride: usize,
    /// `exp(−2πi · j · k / (radix · count))` for `j < count` and `0 < k < radix`, real and imaginary parts.
    twiddles: Vec<[T; 2]>,
}

impl<T: Real> Plan<T> {
    fn new(len: usize) -> Self {
        let (mut rest, mut stride, mut stages) = (len, 1, vec![]);
        while rest > 1 {
            let radix = [5, 4, 3, 2].into_iter().find(|r| rest.is_multiple_of(*r));
            let radix = radix.expect("a length of the table");
            let count = rest / radix;
            let angle = |j: usize, k: usize| {
                let turn = (j * k % rest) as f64 / rest as f64;
                let (sin, cos) = (-std::f64::consts::TAU * turn).sin_cos();
                [T::from_f64(cos), T::from_f64(sin)]
            };
            let twiddles = (0..count).flat_map(|j| (1..radix).map(move |k| angle(j, k))).collect();
            stages.push(Stage { radix, count, stride, twiddles });
            (rest, stride) = (count, stride * radix);
        }
        Self { len, stages }
    }
}

/// The transform of tiles of a size, with steps from tile to tile.
pub(super) struct Fourier<T> {
    axes: [Plan<T>; 2],
    step: [usize; 2],
    /// The places of each frequency that is kept and of its conjugate; the same place if it is real.
    pairs: Vec<[usize; 2]>,
    planes: usize,
}

impl<T: Real> Fourier<T> {
    /// `size` are two of the [`LENGTHS`].
    pub(super) fn new(size: [usize; 2], step: [usize; 2]) -> Self {
        let axes = size.map(Plan::new);
        let (pitch, mut pairs) = (pitch(size[1]), vec![]);
        for (i, j) in (0..size[0]).flat_map(|i| (0..size[1]).map(move |j| (i, j))) {
            let place = i * pitch + j;
            let other = (size[0] - i) % size[0] * pitch + (size[1] - j) % size[1];
            if place <= other {
                pairs.push([place, other]);
            }
        }
        let planes = pairs.iter().map(|[a, b]| if a == b { 1 } else { 3 }).sum();
        Self { axes, step, pairs, planes }
    }

    /// Memory for a tile and for two lines.
    fn scratch(&self, isa: Isa) -> Scratch<T> {
        let [rows, columns] = Transform::size(self);
        Scratch::new((rows * pitch(columns) + 2 * rows.max(columns)) * T::kernels(isa).columns)
    }
}

/// Points from row to row: odd, so that a column does not fall on one set of the cache.
fn pitch(columns: usize) -> usize {
    columns | 1
}

impl<T: Real> Transform<T> for Fourier<T> {
    fn planes(&self) -> usize {
        self.planes
    }
    fn size(&self) -> [usize; 2] {
        [self.axes[0].len, self.axes[1].len]
    }
    fn step(&self) -> [usize; 2] {
        self.step
    }
    unsafe fn data(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize) {
        let scratch = self.scratch(isa);
        let points = scratch.ptr();
        // SAFETY: the trait's contract; the scratch memory is as large as needed.
        unsafe {
            run_compiled(isa, Forward { fourier: self, from, points, to, plane, kernel: false })
        }
    }
    unsafe fn kernel(&self, isa: Isa, from: &Patch<T>, to: *mut T, plane: usize) {
        let scratch = self.scratch(isa);
        let points = scratch.ptr();
        // SAFETY: as above.
        unsafe {
            run_compiled(isa, Forward { fourier: self, from, points, to, plane, kernel: true })
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
        let scratch = self.scratch(isa);
        let points = scratch.ptr();
        // SAFETY: as above.
        unsafe { run_compiled(isa, Inverse { fourier: self, from, points, plane, bias, to }) }
    }
}

#[inline(always)]
unsafe fn sub<T: Real, V: Vector<Elem = T>>(a: V, b: V) -> V {
    // SAFETY: the caller runs with the vector's instruction set, here and below.
    unsafe { b.mul_add(V::splat(T::from_f64(-1.0)), a) }
}

#[inline(always)]
unsafe fn scale<T: Real, V: Vector<Elem = T>>(x: f64, a: V) -> V {
    // SAFETY: as above.
    unsafe { a.mul_add(V::splat(T::from_f64(x)), V::zero()) }
}

#[inline(always)]
unsafe fn fma<T: Real, V: Vector<Elem = T>>(a: V, x: f64, b: V) -> V {
    // SAFETY: as above.
    unsafe { b.mul_add(V::splat(T::from_f64(x)), a) }
}

/// A complex number in each lane.
#[derive(Clone, Copy)]
struct Complex<V>(V, V);

impl<T: Real, V: Vector<Elem = T>> Complex<V> {
    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller vouches for a point.
        unsafe { Self(V::load(from), V::load(from.add(V::LANES))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: as for `load`.
        unsafe {
            self.0.store(to);
            self.1.store(to.add(V::LANES));
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(self.0.add(other.0), self.1.add(other.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(sub(self.0, other.0), sub(self.1, other.1)) }
    }
    /// `self + x · other`.
    #[inline(always)]
    unsafe fn plus(self, x: f64, other: Self) -> Self {
        // SAFETY: as above.
        unsafe { Self(fma(self.0, x, other.0), fma(self.1, x, other.1)) }
    }
    /// `−i · self`.
    #[inline(always)]
    unsafe fn turned(self) -> Self {
        // SAFETY: as above.
        unsafe { Self(self.1, scale(-1.0, self.0)) }
    }
    #[inline(always)]
    unsafe fn times(self, [re, im]: [T; 2]) -> Self {
        // SAFETY: as above.
        unsafe {
            let (re, im, minus) = (V::splat(re), V::splat(im), V::splat(-im));
            let zero = V::zero();
            Self(
                self.0.mul_add(re, self.1.mul_add(minus, zero)),
                self.1.mul_add(re, self.0.mul_add(im, zero)),
            )
        }
    }
}

/// The transform of 2 to 5 numbers.
#[inline(always)]
unsafe fn butterfly<T: Real, V: Vector<Elem = T>, const R: usize>(x: &mut [Complex<V>; R]) {
    // SAFETY: as for `sub`.
    unsafe {
        match R {
            2 => (x[0], x[1]) = (x[0].add(x[1]), x[0].sub(x[1])),
            3 => {
                let (sum, difference) = (x[1].add(x[2]), x[1].sub(x[2]));
                let (middle, turned) = (x[0].plus(-0.5, sum), difference.turned());
                let sin = 0.75f64.sqrt();
                x[0] = x[0].add(sum);
                (x[1], x[2]) = (middle.plus(sin, turned), middle.plus(-sin, turned));
            }
            4 => {
                let (a, b) = (x[0].add(x[2]), x[0].sub(x[2]));
                let (c, d) = (x[1].add(x[3]), x[1].sub(x[3]).turned());
                (x[0], x[1], x[2], x[3]) = (a.add(c), b.add(d), a.sub(c), b.sub(d));
            }
            _ => {
                const COS: [f64; 2] = [0.309_016_994_374_947_45, -0.809_016_994_374_947_5];
                const SIN: [f64; 2] = [0.951_056_516_295_153_5, 0.587_785_252_292_473_1];
                let (near, far) = (x[1].add(x[4]), x[2].add(x[3]));
                let (near_d, far_d) = (x[1].sub(x[4]).turned(), x[2].sub(x[3]).turned());
                let one = x[0].plus(COS[0], near).plus(COS[1], far);
                let two = x[0].plus(COS[1], near).plus(COS[0], far);
                let zero = Complex(V::zero(), V::zero());
                let one_d = zero.plus(SIN[0], near_d).plus(SIN[1], far_d);
                let two_d = zero.plus(SIN[1], near_d).plus(-SIN[0], far_d);
                x[0] = x[0].add(near).add(far);
                (x[1], x[4]) = (one.add(one_d), one.sub(one_d));
                (x[2], x[3]) = (two.add(two_d), two.sub(two_d));
            }
        }
    }
}

/// One stage, from points `steps[0]` elements apart to points `steps[1]` apart.
#[inline(always)]
unsafe fn stage<T: Real, V: Vector<Elem = T>, const R: usize>(
    stage: &Stage<T>,
    from: *const T,
    to: *mut T,
    steps: [usize; 2],
) {
    let Stage { count, stride, ref twiddles, .. } = *stage;
    for j in 0..count {
        for q in 0..stride {
            // SAFETY: `radix · count · stride` points on either side.
            unsafe {
                let mut x = [Complex(V::zero(), V::zero()); R];
                for (k, x) in x.iter_mut().enumerate() {
                    *x = Complex::load(from.add((q + stride * (j + k * count)) * steps[0]));
                }
                butterfly(&mut x);
                for (k, mut x) in x.into_iter().enumerate() {
                    if j > 0 && k > 0 {
                        x = x.times(*twiddles.get_unchecked(j * (R - 1) + k - 1));
                    }
                    x.store(to.add((q + stride * (R * j + k)) * steps[1]));
                }
            }
        }
    }
}

/// Transforms a line of points in place; `temp` has room for two lines.
#[inline(always)]
unsafe fn line<T: Real, V: Vector<Elem = T>>(
    plan: &Plan<T>,
    at: *mut T,
    step: usize,
    temp: *mut T,
) {
    let point = 2 * V::LANES;
    let temps = [temp, temp.wrapping_add(plan.len * point)];
    let (mut from, mut from_step) = (at, step);
    for (i, s) in plan.stages.iter().enumerate() {
        let last = i + 1 == plan.stages.len();
        let (to, to_step) = if last { (at, step) } else { (temps[i % 2], point) };
        let steps = [from_step, to_step];
        // SAFETY: the caller vouches for the line and the room; no stage writes what it reads.
        unsafe {
            match s.radix {
                2 => stage::<T, V, 2>(s, from, to, steps),
                3 => stage::<T, V, 3>(s, from, to, steps),
                4 => stage::<T, V, 4>(s, from, to, steps),
                _ => stage::<T, V, 5>(s, from, to, steps),
            }
        }
        (from, from_step) = (to, to_step);
    }
}

struct Forward<'a, T> {
    fourier: &'a Fourier<T>,
    from: &'a Patch<T>,
    points: *mut T,
    to: *mut T,
    plane: usize,
    /// The conjugate, scaled, as the other factor of three real products.
    kernel: bool,
}

impl<T: Real> Compiled<T> for Forward<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let Self { fourier, from, points, .. } = self;
        let [rows, columns] = Transform::size(fourier);
        let (pitch, point) = (pitch(columns), 2 * V::LANES);
        // SAFETY: the scratch memory is a tile and two lines; two registers in every plane.
        unsafe {
            let temp = points.add(rows * pitch * point);
            for i in 0..rows {
                let row = points.add(i * pitch * point);
                for j in 0..columns {
                    Complex::<V>(from.load(i, j, 0), from.load(i, j, 1)).store(row.add(j * point));
                }
                if from.rows.contains(&i) {
                    line::<T, V>(&fourier.axes[1], row, point, temp);
                }
            }
            for j in 0..columns {
                line::<T, V>(&fourier.axes[0], points.add(j * point), pitch * point, temp);
            }
            // Twice the halves of two transforms, and the inverse's size.
            let factor = 0.25 / (rows * columns) as f64;
            let mut to = self.to;
            for &[a, b] in &fourier.pairs {
                let (a_point, b_point) = (
                    Complex::<V>::load(points.add(a * point)),
                    Complex::<V>::load(points.add(b * point)),
                );
                let re = [a_point.0.add(b_point.0), a_point.1.add(b_point.1)];
                let im = [sub(a_point.1, b_point.1), sub(b_point.0, a_point.0)];
                for v in 0..2 {
                    let to = to.add(v * V::LANES);
                    let (re, im) = match self.kernel {
                        true => (scale(factor, re[v]), scale(-factor, im[v])),
                        false => (re[v], im[v]),
                    };
                    if a == b {
                        re.store(to);
                    } else if self.kernel {
                        re.store(to);
                        sub(im, re).store(to.add(self.plane));
                        re.add(im).store(to.add(2 * self.plane));
                    } else {
                        re.add(im).store(to);
                        re.store(to.add(self.plane));
                        im.store(to.add(2 * self.plane));
                    }
                }
                to = to.wrapping_add(if a == b { self.plane } else { 3 * self.plane });
            }
        }
    }
}

struct Inverse<'a, T> {
    fourier: &'a Fourier<T>,
    from: *const T,
    points: *mut T,
    plane: usize,
    bias: *const T,
    to: &'a Patch<T>,
}

impl<T: Real> Compiled<T> for Inverse<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector<Elem = T>>(self) {
        let Self { fourier, points, to, plane, .. } = self;
        let [rows, columns] = Transform::size(fourier);
        let (pitch, point) = (pitch(columns), 2 * V::LANES);
        // SAFETY: as for `Forward`; the bias has as many numbers as the patch has channels.
        unsafe {
            let temp = points.add(rows * pitch * point);
            let mut from = self.from;
            for &[a, b] in &fourier.pairs {
                let product = |p: usize, v: usize| V::load(from.add(p * plane + v * V::LANES));
                // The inverse is the transform with real and imaginary parts exchanged, before and after.
                if a == b {
                    Complex(product(0, 1), product(0, 0)).store(points.add(a * point));
                    from = from.wrapping_add(plane);
                    continue;
                }
                let re = [sub(product(0, 0), product(2, 0)), sub(product(0, 1), product(2, 1))];
                let im = [product(0, 0).add(product(1, 0)), product(0, 1).add(product(1, 1))];
                Complex(im[0].add(re[1]), sub(re[0], im[1])).store(points.add(a * point));
                Complex(sub(re[1], im[0]), re[0].add(im[1])).store(points.add(b * point));
                from = from.wrapping_add(3 * plane);
            }
            for j in 0..columns {
                line::<T, V>(&fourier.axes[0], points.add(j * point), pitch * point, temp);
            }
            let mut bias = [V::zero(); 2];
            if !self.bias.is_null() {
                for (v, bias) in bias.iter_mut().enumerate() {
                    let count = to.channels.saturating_sub(v * V::LANES);
                    *bias = V::load_part(self.bias.wrapping_add(v * V::LANES), count);
                }
            }
            for i in to.rows.clone() {
                let row = points.add(i * pitch * point);
                line::<T, V>(&fourier.axes[1], row, point, temp);
                for j in to.columns.clone() {
                    let x = Complex::<V>::load(row.add(j * point));
                    to.store(i, j, 0, x.1.add(bias[0]));
                    to.store(i, j, 1, x.0.add(bias[1]));
                }
            }
        }
    }
}
