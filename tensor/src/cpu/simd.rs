//! The vector types the kernels are written in, and the choice between them.
//!
//! A kernel is one generic function over [`Vector`]; each instruction set instantiates it once inside a function that has the
//! matching `#[target_feature]`. [`Isa::active`] picks the widest set of the running machine; everything below takes an
//! [`Isa`] as an argument, so that a test can run every set the machine has.

use std::sync::OnceLock;

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain Rust; what the target's baseline offers.
    Portable,
    /// 256-bit vectors with fused multiply-add.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 512-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The environment variable that makes the machine act as one with fewer instruction sets: `avx512`, `avx2` or `portable`.
///
/// For tests and for comparisons with other machines; sums may differ in their last bits between instruction sets.
pub const INSTRUCTION_SET_VARIABLE: &str = "TENSOR_INSTRUCTION_SET";

/// The instruction set of the CPU kernels: `"avx512"`, `"avx2"` or `"portable"`; the widest one of the machine unless
/// [`INSTRUCTION_SET_VARIABLE`] asks for another.
///
/// # Errors
/// If the variable asks for a set that does not exist or that this machine lacks. The kernels then use the widest one.
pub fn instruction_set() -> Result<&'static str, InstructionSetError> {
    requested().map(|isa| isa.unwrap_or_else(Isa::widest).name())
}

/// [`INSTRUCTION_SET_VARIABLE`] asks for what cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{INSTRUCTION_SET_VARIABLE}={found}: this machine can act as {}; unset it for the best of them", available.join(", "))]
pub struct InstructionSetError {
    /// The variable's value.
    pub found: String,
    /// The values that would do.
    pub available: Vec<&'static str>,
}

/// The instruction set that the environment asks for.
fn requested() -> Result<Option<Isa>, InstructionSetError> {
    let found = std::env::var_os(INSTRUCTION_SET_VARIABLE).unwrap_or_default();
    // `VARIABLE= program` is how a shell takes a setting away.
    if found.is_empty() {
        return Ok(None);
    }
    let available = Isa::available();
    match available.iter().find(|isa| found == isa.name()) {
        Some(&isa) => Ok(Some(isa)),
        None => Err(InstructionSetError {
            found: found.to_string_lossy().into_owned(),
            available: available.into_iter().map(Isa::name).collect(),
        }),
    }
}

impl Isa {
    /// The instruction set to use; decided once.
    pub(crate) fn active() -> Self {
        static ACTIVE: OnceLock<Isa> = OnceLock::new();
        *ACTIVE.get_or_init(|| requested().ok().flatten().unwrap_or_else(Isa::widest))
    }

    /// Every instruction set this machine runs, narrowest first.
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                all.push(Self::Avx512);
            }
        }
        all
    }

    fn widest() -> Self {
        Self::available().pop().unwrap_or(Self::Portable)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }
}

/// Orders what [`Vector::stream`] wrote before whatever this thread does next.
#[inline(always)]
pub(crate) fn finish_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: part of every x86-64 processor.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// A register of `LANES` numbers.
///
/// All functions are unsafe for one common reason: they may only run where the vector's instruction set is available, and
/// inside a function compiled for it. Loads and stores touch `LANES` elements (`count` in the partial forms, which accept
/// any `count` and clamp it to `LANES`) and need no alignment.
pub(crate) trait Vector: Copy {
    /// The number type.
    type Elem: Copy;
    /// Numbers per register.
    const LANES: usize;

    unsafe fn zero() -> Self;
    unsafe fn splat(x: Self::Elem) -> Self;
    unsafe fn load(from: *const Self::Elem) -> Self;
    unsafe fn load_part(from: *const Self::Elem, count: usize) -> Self;
    unsafe fn store(self, to: *mut Self::Elem);
    unsafe fn store_part(self, to: *mut Self::Elem, count: usize);
    /// Stores past the caches where the instruction set can; `to` is aligned to the register. Other threads see it after
    /// [`finish_streams`].
    #[inline(always)]
    unsafe fn stream(self, to: *mut Self::Elem) {
        // SAFETY: the caller's contract is that of `store` and more.
        unsafe { self.store(to) }
    }
    unsafe fn add(self, other: Self) -> Self;
    /// `self · factor + term`; fused where the instruction set fuses.
    unsafe fn mul_add(self, factor: Self, term: Self) -> Self;

    /// Side of the square that [`Vector::transpose_square`] transposes.
    const SQUARE: usize = 4;

    /// `to[to_rows[j] + i] = from[from_rows[i] + j]` for `i` and `j` below `SQUARE`.
    #[inline(always)]
    unsafe fn transpose_square(
        from: *const Self::Elem,
        from_rows: &[usize],
        to: *mut Self::Elem,
        to_rows: &[usize],
    ) {
        for (j, &to_row) in to_rows.iter().enumerate().take(Self::SQUARE) {
            for (i, &from_row) in from_rows.iter().enumerate().take(Self::SQUARE) {
                // SAFETY: the caller vouches for all rows.
                unsafe { *to.add(to_row + i) = *from.add(from_row + j) };
            }
        }
    }
}

/// A register made of plain numbers, which the compiler maps on whatever vectors the baseline target has.
#[derive(Clone, Copy)]
pub(crate) struct Lanes<T, const N: usize>([T; N]);

macro_rules! impl_lanes {
    ($elem:ty, $lanes:literal) => {
        impl Vector for Lanes<$elem, $lanes> {
            type Elem = $elem;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> Self {
                Self([0.0; $lanes])
            }
            #[inline(always)]
            unsafe fn splat(x: $elem) -> Self {
                Self([x; $lanes])
            }
            #[inline(always)]
            unsafe fn load(from: *const $elem) -> Self {
                // SAFETY: the caller vouches for LANES readable elements.
                Self(unsafe { from.cast::<[$elem; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_part(from: *const $elem, count: usize) -> Self {
                let mut out = [0.0; $lanes];
                for (i, lane) in out.iter_mut().enumerate().take(count) {
                    // SAFETY: i < count, and the caller vouches for `count` readable elements.
                    *lane = unsafe { *from.add(i) };
                }
                Self(out)
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut $elem) {
                // SAFETY: the caller vouches for LANES writable elements.
                unsafe { to.cast::<[$elem; $lanes]>().write_unaligned(self.0) }
            }
            #[inline(always)]
            unsafe fn store_part(self, to: *mut $elem, count: usize) {
                for (i, &lane) in self.0.iter().enumerate().take(count) {
                    // SAFETY: i < count, and the caller vouches for `count` writable elements.
                    unsafe { *to.add(i) = lane };
                }
            }
            #[inline(always)]
            unsafe fn add(self, other: Self) -> Self {
                Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
            }
            #[inline(always)]
            unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                // Not `f32::mul_add`: without hardware support that is a library call.
                Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + term.0[i]))
            }
        }
    };
}

impl_lanes!(f32, 4);
impl_lanes!(f64, 2);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Vector;
    use std::arch::x86_64::*;

    macro_rules! square {
        (f32) => {
            const SQUARE: usize = 8;

            #[inline(always)]
            unsafe fn transpose_square(
                from: *const f32,
                from_rows: &[usize],
                to: *mut f32,
                to_rows: &[usize],
            ) {
                // SAFETY: the trait's contract.
                unsafe { transpose_8x8(from, from_rows, to, to_rows) }
            }
        };
        (f64) => {};
    }

    macro_rules! impl_avx512 {
        ($vector:ty, $elem:tt, $lanes:literal, $mask:ty, $zero:ident, $splat:ident, $load:ident, $load_part:ident,
         $store:ident, $stream:ident, $store_part:ident, $add:ident, $fma:ident) => {
            impl Vector for $vector {
                type Elem = $elem;
                const LANES: usize = $lanes;

                square!($elem);

                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: AVX-512F is available by the trait's contract.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(x: $elem) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $elem) -> Self {
                    // SAFETY: as for `zero`; the caller vouches for the memory.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_part(from: *const $elem, count: usize) -> Self {
                    let mask = ((1u32 << count.min($lanes)) - 1) as $mask;
                    // SAFETY: as for `load`; masked lanes are not touched.
                    unsafe { $load_part(mask, from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $elem) {
                    // SAFETY: as for `load`.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, to: *mut $elem) {
                    // SAFETY: as for `load`; the caller vouches for the alignment.
                    unsafe { $stream(to, self) }
                }
                #[inline(always)]
                unsafe fn store_part(self, to: *mut $elem, count: usize) {
                    let mask = ((1u32 << count.min($lanes)) - 1) as $mask;
                    // SAFETY: as for `load_part`.
                    unsafe { $store_part(to, mask, self) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $fma(self, factor, term) }
                }
            }
        };
    }

    impl_avx512!(
        __m512,
        f32,
        16,
        __mmask16,
        _mm512_setzero_ps,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_maskz_loadu_ps,
        _mm512_storeu_ps,
        _mm512_stream_ps,
        _mm512_mask_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    impl_avx512!(
        __m512d,
        f64,
        8,
        __mmask8,
        _mm512_setzero_pd,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        _mm512_maskz_loadu_pd,
        _mm512_storeu_pd,
        _mm512_stream_pd,
        _mm512_mask_storeu_pd,
        _mm512_add_pd,
        _mm512_fmadd_pd
    );

    /// An 8 by 8 square of `f32` in 256-bit registers, which AVX-512 machines have as well.
    #[inline(always)]
    unsafe fn transpose_8x8(
        from: *const f32,
        from_rows: &[usize],
        to: *mut f32,
        to_rows: &[usize],
    ) {
        let (from_rows, to_rows) = (&from_rows[..8], &to_rows[..8]);
        // SAFETY: AVX is available by the trait's contract, and the caller vouches for eight elements of all rows.
        unsafe {
            let row = |i: usize| _mm256_loadu_ps(from.add(from_rows[i]));
            // Pairs of rows 0 1, 2 3, 4 5, 6 7 interleaved; then quadruples; then the halves are exchanged.
            let pair = |i: usize| {
                let (a, b) = (row(i), row(i + 1));
                (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
            };
            let quad = |i: usize| {
                let ((a_lo, a_hi), (b_lo, b_hi)) = (pair(i), pair(i + 2));
                (
                    _mm256_shuffle_ps::<0b01_00_01_00>(a_lo, b_lo),
                    _mm256_shuffle_ps::<0b11_10_11_10>(a_lo, b_lo),
                    _mm256_shuffle_ps::<0b01_00_01_00>(a_hi, b_hi),
                    _mm256_shuffle_ps::<0b11_10_11_10>(a_hi, b_hi),
                )
            };
            let (top, bottom) = (quad(0), quad(4));
            let store = |j: usize, a: __m256, b: __m256| {
                _mm256_storeu_ps(to.add(to_rows[j]), _mm256_permute2f128_ps::<0x20>(a, b));
                _mm256_storeu_ps(to.add(to_rows[j + 4]), _mm256_permute2f128_ps::<0x31>(a, b));
            };
            store(0, top.0, bottom.0);
            store(1, top.1, bottom.1);
            store(2, top.2, bottom.2);
            store(3, top.3, bottom.3);
        }
    }

    /// `MASK_32[8 - count..]` is the lane mask of the first `count` of eight lanes.
    const MASK_32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    /// The same for four 64-bit lanes.
    const MASK_64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

    macro_rules! impl_avx2 {
        ($vector:ty, $elem:tt, $lanes:literal, $masks:ident, $zero:ident, $splat:ident, $load:ident, $load_part:ident,
         $store:ident, $stream:ident, $store_part:ident, $add:ident, $fma:ident) => {
            impl Vector for $vector {
                type Elem = $elem;
                const LANES: usize = $lanes;

                square!($elem);

                #[inline(always)]
                unsafe fn zero() -> Self {
                    // SAFETY: AVX2 and FMA are available by the trait's contract.
                    unsafe { $zero() }
                }
                #[inline(always)]
                unsafe fn splat(x: $elem) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $splat(x) }
                }
                #[inline(always)]
                unsafe fn load(from: *const $elem) -> Self {
                    // SAFETY: as for `zero`; the caller vouches for the memory.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn load_part(from: *const $elem, count: usize) -> Self {
                    // SAFETY: as for `load`; masked lanes are not touched; the mask table has 2·LANES entries.
                    unsafe {
                        let mask = $masks.as_ptr().add($lanes - count.min($lanes));
                        $load_part(from, _mm256_loadu_si256(mask.cast()))
                    }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut $elem) {
                    // SAFETY: as for `load`.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn stream(self, to: *mut $elem) {
                    // SAFETY: as for `load`; the caller vouches for the alignment.
                    unsafe { $stream(to, self) }
                }
                #[inline(always)]
                unsafe fn store_part(self, to: *mut $elem, count: usize) {
                    // SAFETY: as for `load_part`.
                    unsafe {
                        let mask = $masks.as_ptr().add($lanes - count.min($lanes));
                        $store_part(to, _mm256_loadu_si256(mask.cast()), self)
                    }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, factor: Self, term: Self) -> Self {
                    // SAFETY: as for `zero`.
                    unsafe { $fma(self, factor, term) }
                }
            }
        };
    }

    impl_avx2!(
        __m256,
        f32,
        8,
        MASK_32,
        _mm256_setzero_ps,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_maskload_ps,
        _mm256_storeu_ps,
        _mm256_stream_ps,
        _mm256_maskstore_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
    impl_avx2!(
        __m256d,
        f64,
        4,
        MASK_64,
        _mm256_setzero_pd,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        _mm256_maskload_pd,
        _mm256_storeu_pd,
        _mm256_stream_pd,
        _mm256_maskstore_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd
    );
}
