//! The patches of images as columns of a matrix, and back.

use super::image_dims;
use crate::Tensor;

/// Where the patches of images lie, each `[height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfold {
    /// Height and width of a patch, in taps.
    pub kernel: [usize; 2],
    /// Steps between patches.
    pub stride: [usize; 2],
    /// Zeros on each side of the image.
    pub padding: [usize; 2],
    /// Steps between taps.
    pub dilation: [usize; 2],
}

impl Unfold {
    /// Square patches of `kernel` taps at every pixel: stride and dilation 1, no padding.
    pub fn new(kernel: usize) -> Self {
        Unfold { kernel: [kernel; 2], stride: [1; 2], padding: [0; 2], dilation: [1; 2] }
    }

    /// The rows and columns of patches in an image of height and width `size`.
    #[track_caller]
    fn places(&self, op: &str, size: [usize; 2]) -> [usize; 2] {
        let Unfold { kernel, stride, padding, dilation } = *self;
        let valid = [kernel, stride, dilation].iter().all(|axes| axes.iter().all(|&n| n > 0));
        assert!(
            valid,
            "{op}: kernel {kernel:?}, stride {stride:?} and dilation {dilation:?} must be at least 1"
        );
        [0, 1].map(|i| {
            let extent = dilation[i] * (kernel[i] - 1) + 1;
            match (size[i] + 2 * padding[i]).checked_sub(extent) {
                Some(room) => room / stride[i] + 1,
                None => panic!(
                    "{op}: images of {size:?} pixels padded by {padding:?} are smaller than the kernel {kernel:?} \
                     with dilation {dilation:?}"
                ),
            }
        })
    }
}

impl Tensor {
    /// The patches of images as columns (im2col).
    ///
    /// Input `[N, C, H, W]`, output `[N, C · kh · kw, L]`: row `(c, i, j)` holds what tap `(i, j)` of the kernel sees of channel
    /// `c` at each of the `L` places, row by row. Same as `torch.nn.functional.unfold`.
    ///
    /// ```
    /// use tensor::{Tensor, Unfold};
    ///
    /// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 1, 2, 3]);
    /// let columns = x.unfold(&Unfold::new(2));
    /// assert_eq!(columns.dims(), [1, 4, 2]);
    /// assert_eq!(columns.to_vec::<f32>(), [1.0, 2.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0]);
    /// ```
    ///
    /// # Panics
    /// If the input does not have 4 axes or is smaller than a patch, or kernel, stride or dilation is 0.
    #[track_caller]
    pub fn unfold(&self, windows: &Unfold) -> Tensor {
        let [_, _, h, w] = image_dims("unfold", self.shape());
        let places = windows.places("unfold", [h, w]);
        self.kernels().unfold(&self.contiguous(), windows, places)
    }

    /// The sum of patches where they overlap: the transpose of [`unfold`](Self::unfold).
    ///
    /// Input `[N, C · kh · kw, L]`, output `[N, C, size[0], size[1]]`. Same as `torch.nn.functional.fold`.
    ///
    /// # Panics
    /// If the input is not what images of this size unfold to, or kernel, stride or dilation is 0.
    #[track_caller]
    pub fn fold(&self, size: [usize; 2], windows: &Unfold) -> Tensor {
        let places = windows.places("fold", size);
        let taps: usize = windows.kernel.iter().product();
        let count: usize = places.iter().product();
        let fits =
            matches!(self.dims(), &[_, rows, columns] if rows % taps == 0 && columns == count);
        assert!(
            fits,
            "fold: input {} is not [N, C * {taps}, {count}], what images of {size:?} pixels unfold to",
            self.shape()
        );
        self.kernels().fold(&self.contiguous(), windows, places, size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Conv2dOptions, DType, Device, Stream};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_convolution_is_a_product_with_the_patches(
            kernel in prop::array::uniform2(1usize..4),
            stride in prop::array::uniform2(1usize..4),
            padding in prop::array::uniform2(0usize..3),
            dilation in prop::array::uniform2(1usize..3),
            more in prop::array::uniform2(0usize..4),
            seed: u64,
        ) {
            let size = [0, 1].map(|i| dilation[i] * (kernel[i] - 1) + 1 + more[i]);
            let draw = |shape: &[usize], stream: &mut Stream| {
                Tensor::randn(shape, DType::F64, Device::Cpu, stream)
            };
            let mut stream = Stream::new(seed);
            let x = draw(&[2, 3, size[0], size[1]], &mut stream).channels_last();
            let weight = draw(&[4, 3, kernel[0], kernel[1]], &mut stream);
            let windows = Unfold { kernel, stride, padding, dilation };
            let options = Conv2dOptions { stride, padding, dilation, ..Default::default() };
            let y = x.conv2d(&weight, None, &options);
            let columns = x.unfold(&windows);
            let product = weight.reshape([4, 3 * kernel[0] * kernel[1]]).matmul(&columns);
            let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-11);
            prop_assert!(near(&product.to_f64_vec(), &y.contiguous().to_f64_vec()));
            // <unfold(x), g> = <x, fold(g)>.
            let g = draw(columns.dims(), &mut stream);
            let dot = |a: &Tensor, b: &Tensor| a.mul(b).sum_all().item();
            let (left, right) = (dot(&columns, &g), dot(&x, &g.fold(size, &windows)));
            prop_assert!((left - right).abs() < 1e-10, "{} {}", left, right);
        }
    }

    #[test]
    #[should_panic(
        expected = "fold: input [1, 8, 3] is not [N, C * 4, 2], what images of [2, 3] pixels unfold to"
    )]
    fn columns_that_do_not_fit_are_named() {
        Tensor::zeros([1, 8, 3], DType::F32, Device::Cpu).fold([2, 3], &Unfold::new(2));
    }

    #[test]
    #[should_panic(
        expected = "unfold: images of [2, 3] pixels padded by [0, 0] are smaller than the kernel [3, 3] with dilation [1, 1]"
    )]
    fn too_small_an_image_is_named() {
        Tensor::zeros([1, 1, 2, 3], DType::F32, Device::Cpu).unfold(&Unfold::new(3));
    }
}
