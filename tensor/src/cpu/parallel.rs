//! Work split over rayon so that results never depend on the number of threads.

use rayon::prelude::*;

/// Elements of cheap work below which waking another thread costs more than it saves (about 10 microseconds).
pub(crate) const GRAIN: usize = 32 * 1024;

/// Calls `f(start, chunk)` for consecutive chunks of `out`, in parallel where there is more than one.
///
/// Each chunk has at most `grain` elements; the split depends on the length alone.
pub(crate) fn for_each_chunk<T: Send>(
    out: &mut [T],
    grain: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    // One dynamic call a chunk costs nothing and keeps rayon's machinery to one copy per element type.
    split(out, grain, &f);
}

fn split<T: Send>(out: &mut [T], grain: usize, f: &(dyn Fn(usize, &mut [T]) + Sync)) {
    if out.len() <= grain {
        f(0, out);
    } else {
        out.par_chunks_mut(grain).enumerate().for_each(|(i, chunk)| f(i * grain, chunk));
    }
}
