//! Proptest strategies for shapes, tensors and convolution geometries (feature `proptest`).
//!
//! ```
//! # #[cfg(feature = "proptest")] {
//! use autograd::{gradcheck::gradcheck, strategies};
//! use proptest::prelude::*;
//!
//! proptest!(|(x in strategies::tensor(0..=3))| {
//!     gradcheck(|v| &v[0] * &v[0], &[x]).unwrap();
//! });
//! # }
//! ```

use std::ops::RangeInclusive;

use proptest::prelude::*;
use tensor::{Shape, Tensor};

use crate::gradcheck::ConvCase;

/// Shapes of `rank` axes of lengths 1 to 4.
pub fn shape(rank: RangeInclusive<usize>) -> impl Strategy<Value = Shape> {
    prop::collection::vec(1usize..=4, rank).prop_map(|dims| Shape::new(&dims))
}

/// f64 tensors of a given shape with values in -2..2.
pub fn values(shape: Shape) -> impl Strategy<Value = Tensor> {
    prop::collection::vec(-2.0f64..2.0, shape.numel()).prop_map(move |v| Tensor::new(&v, shape))
}

/// f64 tensors of `rank` axes with values in -2..2.
pub fn tensor(rank: RangeInclusive<usize>) -> impl Strategy<Value = Tensor> {
    shape(rank).prop_flat_map(values)
}

/// `conv2d` geometries: stride 1 to 3, padding 0 to 3, dilation 1 or 2, kernels 1 to 4, each per axis; one to three
/// groups including depthwise; inputs never smaller than the kernel.
pub fn conv() -> impl Strategy<Value = ConvCase> {
    let pair = |low: usize, high: usize| (low..=high, low..=high).prop_map(|(a, b)| [a, b]);
    let sizes = (1usize..=3, 1usize..=3, 1usize..=3, 1usize..=3, pair(0, 5));
    (pair(1, 3), pair(0, 3), pair(1, 2), pair(1, 4), sizes).prop_map(
        |(stride, padding, dilation, kernel, (n, groups, c, o, extra))| {
            let side = |i: usize| {
                let span = dilation[i] * (kernel[i] - 1) + 1;
                span.saturating_sub(2 * padding[i]).max(1) + extra[i]
            };
            ConvCase {
                input: [n, groups * c, side(0), side(1)],
                weight: [groups * o, c, kernel[0], kernel[1]],
                stride,
                padding,
                dilation,
                groups,
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::gradcheck;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_product_has_the_right_gradient(x in tensor(0..=3)) {
            prop_assert!(gradcheck(|v| &v[0] * &v[0], &[x]).is_ok());
        }

        #[test]
        fn geometries_have_outputs(c in conv()) {
            for i in 0..2 {
                let span = c.dilation[i] * (c.weight[2 + i] - 1) + 1;
                prop_assert!(c.input[2 + i] + 2 * c.padding[i] >= span);
            }
            prop_assert_eq!(c.input[1], c.weight[1] * c.groups);
        }
    }
}
