//! What dropout needs: a mask that also scales.

use crate::{DType, Tensor};

impl Tensor {
    /// `x * scale` where `mask` is not 0, else 0 (also where `x` is infinite or NaN).
    ///
    /// `mask` is `U8` of the same shape. The derivative is the same function of the output's gradient.
    ///
    /// # Panics
    /// If the mask's shape, dtype or device does not fit, or the dtype is no float.
    #[track_caller]
    pub fn masked_scale(&self, mask: &Tensor, scale: f64) -> Tensor {
        assert!(
            mask.dtype() == DType::U8 && mask.shape() == self.shape(),
            "masked_scale: mask {} of dtype {} does not fit input {}; it must have its shape and dtype u8",
            mask.shape(),
            mask.dtype(),
            self.shape()
        );
        assert!(
            mask.device() == self.device(),
            "masked_scale: input is on {}, the mask on {}; move one of them",
            self.device(),
            mask.device()
        );
        let kernels = self.kernels();
        let x = if self.layout.is_dense() { self.clone() } else { self.contiguous() };
        let mask = if mask.layout.same_order(&x.layout) {
            mask.clone()
        } else {
            kernels.copy(mask, x.layout.dense_like())
        };
        kernels.masked_scale(&x, &mask, scale)
    }
}

#[cfg(test)]
mod tests {
    use crate::Tensor;

    #[test]
    fn memory_orders_may_differ() {
        let x: Vec<f32> = (0..2 * 3 * 2 * 2).map(|i| i as f32).collect();
        let mask: Vec<u8> = (0..x.len()).map(|i| u8::from(i % 3 == 0)).collect();
        let expected: Vec<f32> =
            x.iter().map(|v| if v % 3.0 == 0.0 { v * 0.5 } else { 0.0 }).collect();
        let (x, mask) = (Tensor::new(&x, [2, 3, 2, 2]), Tensor::new(&mask, [2, 3, 2, 2]));
        assert_eq!(x.masked_scale(&mask, 0.5).to_vec::<f32>(), expected);
        let y = x.channels_last().masked_scale(&mask, 0.5);
        assert!(y.is_channels_last());
        assert_eq!(y.to_vec::<f32>(), expected);
    }
}
