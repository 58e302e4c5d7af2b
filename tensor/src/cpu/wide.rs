//! One loop compiled for several vector widths.
//!
//! The workspace is built for the baseline of its target, so that a binary starts everywhere. Loops that the
//! compiler vectorizes by itself are compiled a second time here, for wider registers, and the machine chooses.
//! No operation is reordered or fused by this: the results have the same bits at any width.

#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::Isa;

/// Runs `f`, which must be `#[inline(always)]` or small enough to be inlined, with the widest vectors there are.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        match Isa::active() {
            // SAFETY: an instruction set is active only where it was detected.
            Isa::Avx512 => return unsafe { with_avx512(f) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { with_avx2(f) },
            Isa::Portable => {}
        }
    }
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
