//! One loop compiled for several vector widths.
//!
//! The workspace is built for the baseline of its target, so that a binary starts everywhere. Loops that the
//! compiler vectorizes by itself are compiled a second time here, for wider registers, and the machine chooses.
//! No operation is reordered or fused by this: the results have the same bits at any width.

/// Runs `f`, which must be `#[inline(always)]` or small enough to be inlined, with the widest vectors there are.
#[inline(always)]
pub(crate) fn wide<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
            // SAFETY: the features were just detected.
            return unsafe { with_avx512(f) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was just detected.
            return unsafe { with_avx2(f) };
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
