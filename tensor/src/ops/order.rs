//! Sorting along an axis.

use crate::{Tensor, shape::axis_index};

impl Tensor {
    /// The I64 indices along `axis` that sort it. Equal elements keep their order; NaN is larger than any number.
    ///
    /// Same as `torch.argsort(stable=True)`.
    ///
    /// ```
    /// use tensor::Tensor;
    ///
    /// let x = Tensor::new(&[2.0f32, f32::NAN, 1.0, 2.0], [4]);
    /// assert_eq!(x.argsort(0, false).to_vec::<i64>(), [2, 0, 3, 1]);
    /// assert_eq!(x.argsort(0, true).to_vec::<i64>(), [1, 0, 3, 2]);
    /// ```
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn argsort(&self, axis: isize, descending: bool) -> Tensor {
        let axis = axis_index("argsort", axis, &self.shape()) as isize;
        let lines = self.transpose(axis, -1).contiguous();
        self.kernels().argsort(&lines, descending).transpose(axis, -1)
    }

    /// The I64 indices along `axis` of the `k` largest elements (or the smallest), in order; of equal ones the first. NaN is
    /// larger than any number. The indices of `torch.topk`, which does not promise which of equal elements it takes.
    ///
    /// # Panics
    /// If the axis does not exist or is shorter than `k`.
    #[track_caller]
    pub fn argtopk(&self, k: usize, axis: isize, largest: bool) -> Tensor {
        let at = axis_index("topk", axis, &self.shape());
        assert!(
            k <= self.dims()[at],
            "topk: axis {at} of shape {} has fewer than {k} elements",
            self.shape()
        );
        self.argsort(axis, largest).narrow(axis, 0, k)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DType, Device, Stream};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn sorted_elements_are_in_order_and_equal_ones_keep_theirs(
            dims in prop::collection::vec(1usize..7, 1..4),
            axis in 0usize..4,
            descending: bool,
            seed: u64,
        ) {
            let axis = (axis % dims.len()) as isize;
            // Many equal elements.
            let x = Tensor::randn(&dims[..], DType::F32, Device::Cpu, &mut Stream::new(seed));
            let x = x.to_dtype(DType::I64);
            for x in [x.clone(), x.flip(&[axis]).transpose(0, -1).contiguous().transpose(0, -1)] {
                let index = x.argsort(axis, descending);
                let (values, index) = (x.gather(axis, &index), index);
                let n = x.dim(axis);
                for k in 1..n {
                    let pair = |t: &Tensor, k| t.select(axis, k).contiguous().to_vec::<i64>();
                    let before = pair(&values, k - 1).into_iter().zip(pair(&index, k - 1));
                    let after = pair(&values, k).into_iter().zip(pair(&index, k));
                    for ((v, i), (w, j)) in before.zip(after) {
                        let strict = if descending { v > w } else { v < w };
                        prop_assert!(strict || v == w && i < j);
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "topk: axis 1 of shape [2, 3] has fewer than 4 elements")]
    fn more_than_there_are_cannot_be_the_largest() {
        Tensor::zeros([2, 3], DType::F32, Device::Cpu).argtopk(4, -1, true);
    }
}
