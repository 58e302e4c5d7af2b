//! The public operations by family: check shapes and dtypes, then dispatch to the device.

mod elementwise;
mod lp_mask;
mod reduce;

use crate::Tensor;

/// Checks that all operands have one dtype and one device.
#[track_caller]
pub(crate) fn check_same(op: &str, tensors: &[&Tensor]) {
    let first = tensors[0];
    for t in &tensors[1..] {
        assert!(
            t.dtype() == first.dtype(),
            "{op}: operands have dtypes {} and {}; cast one of them",
            first.dtype(),
            t.dtype()
        );
        assert!(
            t.device() == first.device(),
            "{op}: operands are on {} and {}; move one of them",
            first.device(),
            t.device()
        );
    }
}
