//! The register-blocked inner loop that all dense products share.
//!
//! A tile is `MR` rows by `2 · LANES` columns of `C`, held in registers while `k` runs over a list of [`Run`]s. `B` comes as a
//! packed panel (`k`-major rows of exactly one tile's width), `A` as it lies in memory: either each row of the tile is
//! contiguous in `k` ([`Order::RowMajor`]) or each `k` holds the tile's rows side by side ([`Order::ColumnMajor`]). So neither
//! patches of a convolution nor either transposition of a matrix has to be copied.

use crate::cpu::float::Float;
use crate::cpu::lanes::LaneLoops;
use crate::cpu::simd::{Isa, Lanes, Vector};

/// How the elements of `A` follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// `A(i, k) = a[i · lda + k]`.
    RowMajor,
    /// `A(i, k) = a[k · lda + i]`.
    ColumnMajor,
}

/// A stretch of `len` consecutive `k`: where it begins in `A` and at which row of the panel of `B`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) a: isize,
    pub(crate) b: usize,
    pub(crate) len: usize,
}

/// The operands of one tile.
pub(crate) struct Tile<'a, T> {
    /// First row of the tile in `A`; the runs' offsets are relative to it.
    pub(crate) a: *const T,
    pub(crate) lda: usize,
    /// The packed panel of `B`.
    pub(crate) b: *const T,
    pub(crate) runs: &'a [Run],
    /// The runs are walked this many times, `a_repeat` elements of `A` and `b_repeat` rows of the panel further each time.
    pub(crate) repeats: usize,
    pub(crate) a_repeat: usize,
    pub(crate) b_repeat: usize,
    pub(crate) c: *mut T,
    pub(crate) ldc: usize,
    /// Columns of `C` to touch, at most the tile's width.
    pub(crate) columns: usize,
    /// What the sums begin with: rows of `columns` numbers, `start_step` apart, or null for zeros.
    pub(crate) start: *const T,
    pub(crate) start_step: usize,
    /// In the end add what `C` holds.
    pub(crate) add: bool,
    /// Write whole rows of the tile past the caches; they are then aligned to a register.
    pub(crate) stream: bool,
    /// Elements from what is read of `A` to what is asked for ahead of its use; 0 to ask for nothing.
    pub(crate) ahead: usize,
}

/// A compiled tile.
///
/// # Safety
/// The instruction set is available; all rows, runs and columns named by the tile lie in live memory, `C`'s writable and
/// touched by nobody else.
pub(crate) type TileFn<T> = unsafe fn(&Tile<T>);

/// The tiles of one instruction set and number type; index `r - 1` is the tile of `r` rows.
pub(crate) struct Kernels<T: 'static> {
    /// Columns of a tile, and of a panel.
    pub(crate) columns: usize,
    /// For either order the tiles that compute the first half of the columns, and all of them.
    row_major: [&'static [TileFn<T>]; 2],
    column_major: [&'static [TileFn<T>]; 2],
}

impl<T> Kernels<T> {
    /// The tiles for `columns` of a panel.
    pub(crate) fn tiles(&self, order: Order, columns: usize) -> &'static [TileFn<T>] {
        let whole = usize::from(columns > self.columns / 2);
        match order {
            Order::RowMajor => self.row_major[whole],
            Order::ColumnMajor => self.column_major[whole],
        }
    }

    /// Rows of the tallest tile.
    pub(crate) fn rows(&self) -> usize {
        self.row_major[1].len()
    }
}

/// A number type with compiled kernels.
pub(crate) trait Real: Float {
    /// The registers of each instruction set.
    type Portable: Vector<Elem = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx2: Vector<Elem = Self>;
    #[cfg(target_arch = "x86_64")]
    type Avx512: Vector<Elem = Self>;
    /// The dense tiles for an instruction set.
    fn kernels(isa: Isa) -> &'static Kernels<Self>;
    /// The depthwise loops for an instruction set.
    fn lane_loops(isa: Isa) -> &'static LaneLoops<Self>;
    /// The matrix-vector and copying loops for an instruction set.
    fn loops(isa: Isa) -> &'static crate::cpu::loops::Loops<Self>;
}

/// `N` is the number of registers in a row: two, or one where the panel's second half is empty.
#[inline(always)]
unsafe fn tile<V: Vector, const MR: usize, const N: usize, const ROW_MAJOR: bool>(
    t: &Tile<V::Elem>,
) {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe {
        let mut acc = start::<V, MR, N>(t);
        let (row_step, k_step) = if ROW_MAJOR { (t.lda, 1) } else { (1, t.lda) };
        let (mut a_start, mut b_start) = (t.a, t.b);
        for _ in 0..t.repeats {
            for (i, run) in t.runs.iter().enumerate() {
                if ROW_MAJOR {
                    // The next run lies somewhere else: no hardware guesses that. Wasted in the last round.
                    let next = match t.runs.get(i + 1) {
                        Some(next) => a_start.wrapping_offset(next.a),
                        None => a_start.wrapping_add(t.a_repeat).wrapping_offset(t.runs[0].a),
                    };
                    (0..MR).for_each(|row| prefetch(next.wrapping_add(row * row_step)));
                }
                let mut a = a_start.wrapping_offset(run.a);
                let mut b = b_start.wrapping_add(run.b * 2 * V::LANES);
                let mut left = run.len;
                while left > 0 {
                    let steps = if ROW_MAJOR && t.ahead > 0 { left.min(LINE) } else { left };
                    left -= steps;
                    if ROW_MAJOR && t.ahead > 0 {
                        (0..MR).for_each(|row| prefetch(a.wrapping_add(row * row_step + t.ahead)));
                    }
                    for _ in 0..steps {
                        if !ROW_MAJOR && t.ahead > 0 {
                            prefetch(a.wrapping_add(t.ahead + MR - 1));
                        }
                        let columns: [V; N] = std::array::from_fn(|v| V::load(b.add(v * V::LANES)));
                        for (i, row) in acc.iter_mut().enumerate() {
                            let x = V::splat(*a.add(i * row_step));
                            for (sum, column) in row.iter_mut().zip(columns) {
                                *sum = x.mul_add(column, *sum);
                            }
                        }
                        a = a.wrapping_add(k_step);
                        b = b.wrapping_add(2 * V::LANES);
                    }
                }
            }
            a_start = a_start.wrapping_add(t.a_repeat);
            b_start = b_start.wrapping_add(t.b_repeat * 2 * V::LANES);
        }
        for (i, row) in acc.iter().enumerate() {
            for (v, &sum) in row.iter().enumerate() {
                let c = t.c.wrapping_add(i * t.ldc + v * V::LANES);
                let old = if t.add { load_columns::<V, N>(t, c, v) } else { V::zero() };
                if t.columns == N * V::LANES && t.stream {
                    sum.add(old).stream(c);
                } else if t.columns == N * V::LANES {
                    sum.add(old).store(c);
                } else {
                    sum.add(old).store_part(c, t.columns.saturating_sub(v * V::LANES));
                }
            }
        }
    }
}

/// `f32` of a cache line.
const LINE: usize = 16;

/// Asks for the cache line of an address that will be read soon; any address will do.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Register `v` of a row; columns from `t.columns` on are not read.
#[inline(always)]
unsafe fn load_columns<V: Vector, const N: usize>(
    t: &Tile<V::Elem>,
    from: *const V::Elem,
    v: usize,
) -> V {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe {
        if t.columns == N * V::LANES {
            V::load(from)
        } else {
            V::load_part(from, t.columns.saturating_sub(v * V::LANES))
        }
    }
}

/// What the sums begin with.
#[inline(always)]
unsafe fn start<V: Vector, const MR: usize, const N: usize>(t: &Tile<V::Elem>) -> [[V; N]; MR] {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe {
        if t.start.is_null() {
            return [[V::zero(); N]; MR];
        }
        std::array::from_fn(|i| {
            std::array::from_fn(|v| {
                let from = t.start.wrapping_add(i * t.start_step + v * V::LANES);
                load_columns::<V, N>(t, from, v)
            })
        })
    }
}

unsafe fn portable<V: Vector, const MR: usize, const N: usize, const ROW_MAJOR: bool>(
    t: &Tile<V::Elem>,
) {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe { tile::<V, MR, N, ROW_MAJOR>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<V: Vector, const MR: usize, const N: usize, const ROW_MAJOR: bool>(
    t: &Tile<V::Elem>,
) {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe { tile::<V, MR, N, ROW_MAJOR>(t) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512<V: Vector, const MR: usize, const N: usize, const ROW_MAJOR: bool>(
    t: &Tile<V::Elem>,
) {
    // SAFETY: the caller upholds the contract of `TileFn`.
    unsafe { tile::<V, MR, N, ROW_MAJOR>(t) }
}

macro_rules! kernels {
    ($compiled:ident, $vector:ty, [$($rows:literal)*]) => {
        &Kernels {
            columns: 2 * <$vector as Vector>::LANES,
            row_major: [
                &[$($compiled::<$vector, $rows, 1, true>),*],
                &[$($compiled::<$vector, $rows, 2, true>),*],
            ],
            column_major: [
                &[$($compiled::<$vector, $rows, 1, false>),*],
                &[$($compiled::<$vector, $rows, 2, false>),*],
            ],
        }
    };
}

macro_rules! impl_real {
    ($elem:ty, $lanes:literal, $v256:ident, $v512:ident) => {
        impl Real for $elem {
            type Portable = Lanes<$elem, $lanes>;
            #[cfg(target_arch = "x86_64")]
            type Avx2 = std::arch::x86_64::$v256;
            #[cfg(target_arch = "x86_64")]
            type Avx512 = std::arch::x86_64::$v512;

            fn kernels(isa: Isa) -> &'static Kernels<Self> {
                match isa {
                    Isa::Portable => kernels!(portable, Lanes<$elem, $lanes>, [1 2 3 4]),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => kernels!(avx2, std::arch::x86_64::$v256, [1 2 3 4 5 6]),
                    // 14 rows of two registers, two of B and one broadcast: 31 of 32.
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => {
                        kernels!(avx512, std::arch::x86_64::$v512, [1 2 3 4 5 6 7 8 9 10 11 12 13 14])
                    }
                }
            }

            fn lane_loops(isa: Isa) -> &'static LaneLoops<Self> {
                match isa {
                    Isa::Portable => crate::cpu::lanes::portable::loops::<Lanes<$elem, $lanes>>(),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => crate::cpu::lanes::avx2::loops::<std::arch::x86_64::$v256>(),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => crate::cpu::lanes::avx512::loops::<std::arch::x86_64::$v512>(),
                }
            }

            fn loops(isa: Isa) -> &'static crate::cpu::loops::Loops<Self> {
                match isa {
                    Isa::Portable => crate::cpu::loops::portable::<Lanes<$elem, $lanes>>(),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => crate::cpu::loops::avx2::<std::arch::x86_64::$v256>(),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx512 => crate::cpu::loops::avx512::<std::arch::x86_64::$v512>(),
                }
            }
        }
    };
}

impl_real!(f32, 4, __m256, __m512);
impl_real!(f64, 2, __m256d, __m512d);
