//! Receptive fields of convolutions: which taps of a kernel are ever driven strongly.

use lpconv::Histogram;
use rayon::prelude::*;
use tensor::{DType, Tensor};

use crate::error::Error;

/// How often the weighted input at each tap of a first layer's kernels was strong (paper, appendix A.2).
#[derive(Clone, Debug, PartialEq)]
pub struct FunctionalSynapses {
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Strong weighted inputs by tap, row by row: all positions, output channels and colors together.
    pub counts: Vec<u64>,
    /// Weighted inputs in all.
    pub products: u64,
    /// The magnitude above which one is strong: the standard deviation of all magnitudes.
    pub threshold: f64,
}

/// Counts the functional synapses of a convolution `weight` `[O, C, kh, kw]` on an image `[C, H, W]`.
///
/// The weighted input is `Z = X[c, m + h, n + w] W[o, c, h, w]` at every position `(m, n)`, `stride` apart, without
/// padding, sum or bias. A tap counts whenever `|Z|` exceeds the standard deviation of `|Z|` over everything (specification
/// E1, with D19). The paper takes a stride of 1 for simplicity.
///
/// The standard deviation needs no products, since sums over positions and over channels factor; the count goes through all of
/// them.
///
/// # Errors
/// If the shapes do not fit, the image is smaller than the kernel, a value is not finite, or all weighted inputs are equal.
///
/// # Panics
/// If `stride` is 0.
#[track_caller]
pub fn functional_synapses(
    weight: &Tensor,
    image: &Tensor,
    stride: usize,
) -> Result<FunctionalSynapses, Error> {
    assert!(stride > 0, "functional_synapses: a stride of 0 goes nowhere");
    let wrong = |what: &str, expected, found: &Tensor| Error::Shape {
        what: what.into(),
        expected,
        found: found.dims().to_vec(),
    };
    let &[outputs, channels, kh, kw] = weight.dims() else {
        return Err(wrong("the weight", "[outputs, channels, height, width]", weight));
    };
    let &[of_image, height, width] = image.dims() else {
        return Err(wrong("the image", "[channels, height, width]", image));
    };
    if of_image != channels || height < kh || width < kw || weight.numel() == 0 {
        return Err(wrong(
            "the image",
            "the kernel's number of channels and at least its height and width",
            image,
        ));
    }
    for (what, t) in [("the weight", weight), ("the image", image)] {
        if !t.all_finite() {
            let values = t.to_f64_vec();
            let at = values.iter().position(|v| !v.is_finite()).unwrap_or(0);
            let (what, index) = (what.to_owned(), vec![at]);
            return Err(Error::NonFinite { what, index, value: values[at] });
        }
    }
    let magnitudes = |t: &Tensor| -> Vec<f32> {
        t.to_dtype(DType::F32).to_vec::<f32>().into_iter().map(f32::abs).collect()
    };
    let (weight, image) = (magnitudes(weight), magnitudes(image));
    let positions = [(height - kh) / stride + 1, (width - kw) / stride + 1];
    let at = |channel: usize, tap: usize| Seen {
        image: &image[channel * height * width..][..height * width],
        width,
        corner: [tap / kw, tap % kw],
        positions,
        stride,
    };
    let weights = |channel: usize, tap: usize| {
        (0..outputs).map(|o| weight[(o * channels + channel) * kh * kw + tap]).collect::<Vec<_>>()
    };
    let taps = kh * kw;
    let moments = |tap: usize| {
        let mut sums = [0.0; 2];
        for channel in 0..channels {
            let seen = at(channel, tap).moments();
            let of_weights = weights(channel, tap).iter().fold([0.0; 2], |[s, q], &w| {
                let w = f64::from(w);
                [s + w, q + w * w]
            });
            for i in 0..2 {
                sums[i] += seen[i] * of_weights[i];
            }
        }
        sums
    };
    let by_tap: Vec<[f64; 2]> = (0..taps).into_par_iter().map(moments).collect();
    let products = (outputs * channels * taps * positions[0] * positions[1]) as u64;
    let [sum, squares] = by_tap.iter().fold([0.0; 2], |[a, b], [s, q]| [a + s, b + q]);
    let mean = sum / products as f64;
    let variance = squares / products as f64 - mean * mean;
    // Of equal magnitudes the two terms differ by their rounding.
    if variance <= 1e-12 * mean * mean {
        let consequence = "none is stronger than the others";
        return Err(Error::Constant {
            what: "the magnitude of weighted inputs".into(),
            consequence,
        });
    }
    let threshold = variance.sqrt();
    let count = |tap: usize| {
        (0..channels).map(|c| at(c, tap).above(&weights(c, tap), threshold as f32)).sum::<u64>()
    };
    let counts = (0..taps).into_par_iter().map(count).collect();
    Ok(FunctionalSynapses { kernel: [kh, kw], counts, products, threshold })
}

/// What one tap sees of one channel: the magnitudes below it, wherever the kernel stands.
struct Seen<'a> {
    image: &'a [f32],
    width: usize,
    corner: [usize; 2],
    positions: [usize; 2],
    stride: usize,
}

impl Seen<'_> {
    fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let [top, left] = self.corner;
        let reach = (self.positions[1] - 1) * self.stride + 1;
        (0..self.positions[0]).map(move |m| {
            let start = (top + m * self.stride) * self.width + left;
            &self.image[start..start + reach]
        })
    }

    /// Sums of the magnitudes and of their squares.
    fn moments(&self) -> [f64; 2] {
        let values = self.rows().flat_map(|row| row.iter().step_by(self.stride));
        values.fold([0.0; 2], |[s, q], &x| {
            let x = f64::from(x);
            [s + x, q + x * x]
        })
    }

    /// How many products with any of `weights` exceed the threshold.
    fn above(&self, weights: &[f32], threshold: f32) -> u64 {
        let mut count = 0;
        for row in self.rows() {
            for &w in weights {
                // A row at a time fits the nearest cache, and u32 counts of it are added without a branch.
                let strong: u32 = match self.stride {
                    1 => row.iter().map(|x| u32::from(x * w > threshold)).sum(),
                    s => row.iter().step_by(s).map(|x| u32::from(x * w > threshold)).sum(),
                };
                count += u64::from(strong);
            }
        }
        count
    }
}

impl FunctionalSynapses {
    /// The share of all weighted inputs that are strong.
    pub fn share(&self) -> f64 {
        self.counts.iter().sum::<u64>() as f64 / self.products as f64
    }

    /// The receptive field: the share of functional synapses at each tap, on offsets in pixels from the kernel's middle,
    /// rows first.
    ///
    /// # Errors
    /// If the kernel is less than 2 by 2, or there is no functional synapse.
    pub fn histogram(&self) -> Result<Histogram<2>, Error> {
        let centers = self
            .kernel
            .map(|k| (0..k).map(|i| i as f64 - (k as f64 - 1.0) / 2.0).collect::<Vec<_>>());
        let total = self.counts.iter().sum::<u64>().max(1) as f64;
        let mass = self.counts.iter().map(|&n| n as f64 / total).collect();
        let what = "the receptive field of a convolution".to_owned();
        Histogram::new(centers, mass).map_err(|source| Error::Fit { what, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::{Device, Shape, Stream};

    fn randn(shape: &[usize], seed: u64) -> Tensor {
        Tensor::randn(Shape::new(shape), DType::F32, Device::Cpu, &mut Stream::new(seed))
    }

    /// Every product, one after the other.
    fn slow(weight: &Tensor, image: &Tensor, stride: usize) -> (Vec<u64>, f64) {
        let [outputs, channels, kh, kw] = weight.dims_of::<4>();
        let [_, height, width] = image.dims_of::<3>();
        let (w, x) = (weight.to_f64_vec(), image.to_f64_vec());
        let mut all = vec![Vec::new(); kh * kw];
        for o in 0..outputs {
            for c in 0..channels {
                for (tap, list) in all.iter_mut().enumerate() {
                    for m in (0..=height - kh).step_by(stride) {
                        for n in (0..=width - kw).step_by(stride) {
                            let pixel = (c * height + m + tap / kw) * width + n + tap % kw;
                            list.push((x[pixel] * w[(o * channels + c) * kh * kw + tap]).abs());
                        }
                    }
                }
            }
        }
        let flat: Vec<f64> = all.iter().flatten().copied().collect();
        let mean = flat.iter().sum::<f64>() / flat.len() as f64;
        let variance = flat.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / flat.len() as f64;
        let count = |list: &Vec<f64>| list.iter().filter(|z| **z > variance.sqrt()).count() as u64;
        (all.iter().map(count).collect(), variance.sqrt())
    }

    #[test]
    fn counts_are_those_of_every_product() {
        let (weight, image) = (randn(&[4, 3, 3, 5], 1), randn(&[3, 12, 17], 2));
        for stride in [1, 2] {
            let found = functional_synapses(&weight, &image, stride).unwrap();
            let (counts, threshold) = slow(&weight, &image, stride);
            assert!((found.threshold / threshold - 1.0).abs() < 1e-6);
            // A product within rounding of the threshold may fall to either side.
            let differences = found.counts.iter().zip(&counts).map(|(a, b)| a.abs_diff(*b));
            assert!(differences.sum::<u64>() <= 1, "{:?} {counts:?}", found.counts);
        }
    }

    #[test]
    fn a_kernel_with_one_tap_has_its_field_there() {
        let mut w = vec![0.0f32; 9];
        w[5] = -2.0;
        let weight = Tensor::new(&w, [1, 1, 3, 3]);
        let found = functional_synapses(&weight, &randn(&[1, 20, 20], 3), 1).unwrap();
        let field = found.histogram().unwrap();
        assert_eq!(field.mass()[5], 1.0);
        assert_eq!(field.samples().points()[5], [0.0, 1.0]);
        assert!(found.share() > 0.0 && found.products == 9 * 18 * 18);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let weight = randn(&[2, 3, 5, 5], 4);
        assert!(functional_synapses(&weight, &randn(&[1, 9, 9], 5), 1).is_err());
        assert!(functional_synapses(&weight, &randn(&[3, 4, 9], 5), 1).is_err());
        assert!(functional_synapses(&randn(&[5, 5], 4), &randn(&[3, 9, 9], 5), 1).is_err());
        let nan = Tensor::full(f64::NAN, [3, 9, 9], DType::F32, Device::Cpu);
        let error = functional_synapses(&weight, &nan, 1).unwrap_err().to_string();
        assert!(error.starts_with("the image[0] is NaN"), "{error}");
        let flat = Tensor::ones([3, 9, 9], DType::F32, Device::Cpu);
        let ones = Tensor::ones([2, 3, 5, 5], DType::F32, Device::Cpu);
        assert!(matches!(functional_synapses(&ones, &flat, 1), Err(Error::Constant { .. })));
    }
}
