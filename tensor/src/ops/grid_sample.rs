//! Images sampled at given places.

use super::{check_same, image_dims};
use crate::{Shape, Tensor};

/// How a value between pixels is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleMode {
    /// Straight lines between the four neighbors: PyTorch's default.
    #[default]
    Bilinear,
    /// The nearest pixel; of two the even one.
    Nearest,
    /// Keys' cubic kernel with a = -0.75 over sixteen neighbors.
    Bicubic,
}

/// What lies outside an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SamplePadding {
    /// Zeros: PyTorch's default.
    #[default]
    Zeros,
    /// The pixels of the border.
    Border,
    /// The image's mirror images.
    Reflection,
}

/// How images are sampled. The default is PyTorch's: bilinear, zeros outside, `align_corners` false.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GridSample {
    /// How a value between pixels is found.
    pub mode: SampleMode,
    /// What lies outside.
    pub padding: SamplePadding,
    /// Whether -1 and 1 are the centers of the corner pixels, instead of the corners of the image.
    pub align_corners: bool,
}

/// Which samples: the options, and how often the weights are differentiated with respect to the coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampling {
    /// The options.
    pub options: GridSample,
    /// How often with respect to `y` and to `x`; `[0, 0]` for the samples themselves.
    pub order: [usize; 2],
}

/// Weights of an axis' pixels for one coordinate.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AxisTaps {
    /// Index of a pixel and its weight.
    taps: [(usize, f64); 4],
    count: usize,
}

impl AxisTaps {
    /// The pixels that count, and their weights.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, f64)> {
        self.taps[..self.count].iter().copied()
    }
}

/// The weight of each tap as a polynomial of the position `t` in `0..1` between two pixels, lowest power first.
type Polynomials = &'static [[f64; 4]];

const CONSTANT: Polynomials = &[[1.0, 0.0, 0.0, 0.0]];
const LINEAR: Polynomials = &[[1.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]];
/// Keys' kernel at `t + 1`, `t`, `1 - t` and `2 - t`.
const CUBIC: Polynomials = {
    const A: f64 = -0.75;
    &[
        [0.0, A, -2.0 * A, A],
        [1.0, 0.0, -A - 3.0, A + 2.0],
        [0.0, -A, 2.0 * A + 3.0, -A - 2.0],
        [0.0, 0.0, A, -A],
    ]
};

/// The derivative of order `order` of a polynomial at `t`.
fn derivative(polynomial: &[f64; 4], order: usize, t: f64) -> f64 {
    let factor = |power: usize| (power + 1 - order..=power).product::<usize>() as f64;
    (order..4).rev().fold(0.0, |sum, power| sum * t + polynomial[power] * factor(power))
}

impl Sampling {
    /// The samples themselves.
    pub fn new(options: &GridSample) -> Self {
        Sampling { options: *options, order: [0, 0] }
    }

    /// Differentiated once more with respect to `y` (axis 0) or `x` (axis 1).
    pub fn differentiated(mut self, axis: usize) -> Self {
        self.order[axis] += 1;
        self
    }

    /// The weights of the pixels of axis 0 (rows) or 1 (columns), of length `len`, at the grid's coordinate `g`.
    #[inline(always)]
    pub(crate) fn taps(&self, axis: usize, len: usize, g: f64) -> AxisTaps {
        let GridSample { mode, padding, align_corners } = self.options;
        let scale = if align_corners { (len as f64 - 1.0) / 2.0 } else { len as f64 / 2.0 };
        let position = if align_corners { (g + 1.0) * scale } else { (g + 1.0) * scale - 0.5 };
        if mode == SampleMode::Bilinear && padding == SamplePadding::Zeros && self.order[axis] <= 1
        {
            return linear_taps(position, len, (self.order[axis] == 1).then_some(scale));
        }
        let bounds = if align_corners { (0.0, len as f64 - 1.0) } else { (-0.5, len as f64 - 0.5) };
        let pad = |position: f64| match padding {
            SamplePadding::Zeros => (position, 1.0),
            SamplePadding::Border => clip(position, len),
            SamplePadding::Reflection => {
                let (position, sign) = reflect(position, bounds);
                let (position, slope) = clip(position, len);
                (position, sign * slope)
            }
        };
        // Of the cubic kernel the taps are moved inside, not the position, as in PyTorch.
        let cubic = mode == SampleMode::Bicubic;
        let (position, slope) = if cubic { (position, 1.0) } else { pad(position) };
        let (polynomials, first) = match mode {
            SampleMode::Nearest => (CONSTANT, position.round_ties_even()),
            SampleMode::Bilinear => (LINEAR, position.floor()),
            SampleMode::Bicubic => (CUBIC, position.floor() - 1.0),
        };
        let t = position - position.floor();
        // The chain rule for the steps from the grid's coordinate to the position.
        let chain = (scale * slope).powi(self.order[axis] as i32);
        let mut taps = AxisTaps::default();
        for (k, polynomial) in polynomials.iter().enumerate() {
            let pixel = first + k as f64;
            let pixel = if cubic { pad(pixel).0 } else { pixel };
            // NaN is nowhere.
            if pixel >= 0.0 && pixel < len as f64 {
                let weight = derivative(polynomial, self.order[axis], t) * chain;
                taps.taps[taps.count] = (pixel as usize, weight);
                taps.count += 1;
            }
        }
        taps
    }
}

/// What [`Sampling::taps`] gives for straight lines with zeros outside, or for their derivative times `slope`: the same bits
/// without polynomials, for this is what nearly every network asks for.
#[inline(always)]
fn linear_taps(position: f64, len: usize, slope: Option<f64>) -> AxisTaps {
    let first = position.floor();
    let t = position - first;
    let weights = slope.map_or([1.0 - t, t], |slope| [-slope, slope]);
    let mut taps = AxisTaps::default();
    for (k, weight) in weights.into_iter().enumerate() {
        let pixel = first + k as f64;
        if pixel >= 0.0 && pixel < len as f64 {
            taps.taps[taps.count] = (pixel as usize, weight);
            taps.count += 1;
        }
    }
    taps
}

/// A position moved to the nearest pixel, and the derivative of that; 0 at the border pixels, as in PyTorch.
fn clip(position: f64, len: usize) -> (f64, f64) {
    let last = len as f64 - 1.0;
    if position <= 0.0 {
        (0.0, 0.0)
    } else if position >= last {
        (last, 0.0)
    } else {
        (position, 1.0)
    }
}

/// A position mirrored into the bounds as often as it takes, and the derivative of that.
fn reflect(position: f64, (low, high): (f64, f64)) -> (f64, f64) {
    let span = high - low;
    if span <= 0.0 {
        return (0.0, 0.0);
    }
    let sign = if position < low { -1.0 } else { 1.0 };
    let distance = (position - low).abs();
    let (rest, flips) = (distance % span, (distance / span).floor());
    if flips % 2.0 == 0.0 { (rest + low, sign) } else { (span - rest + low, -sign) }
}

/// Checks an image and its grid and returns the shape of the samples.
#[track_caller]
fn sample_shape(op: &str, image: Shape, grid: &Tensor) -> Shape {
    let [n, c, ..] = image_dims(op, image);
    let Ok([batch, h, w, 2]) = <[usize; 4]>::try_from(grid.dims()) else {
        panic!("{op}: grid {} is not [N, H, W, 2], an (x, y) for each sample", grid.shape())
    };
    assert!(
        batch == n,
        "{op}: input {image} has {n} images but grid {} is for {batch}",
        grid.shape()
    );
    Shape::new(&[n, c, h, w])
}

impl Tensor {
    /// Images `[N, C, H, W]` sampled at the places `grid` `[N, H', W', 2]`: `[N, C, H', W']` in channels-last memory.
    ///
    /// The last axis of the grid is `(x, y)`, -1 at the left or upper and 1 at the right or lower border of the image.
    /// Same as `torch.nn.functional.grid_sample`; at a coordinate that is NaN the sample is 0 with any padding. Positions
    /// are computed in f64 for any dtype.
    ///
    /// # Panics
    /// If shapes do not fit, dtypes or devices differ, or the dtype is no float.
    #[track_caller]
    pub fn grid_sample(&self, grid: &Tensor, options: &GridSample) -> Tensor {
        self.grid_sample_with(grid, &Sampling::new(options))
    }

    /// As [`grid_sample`](Self::grid_sample), or a derivative of it with respect to the coordinates of each sample.
    ///
    /// # Panics
    /// As [`grid_sample`](Self::grid_sample).
    #[track_caller]
    pub fn grid_sample_with(&self, grid: &Tensor, sampling: &Sampling) -> Tensor {
        check_same("grid_sample", &[self, grid]);
        let shape = sample_shape("grid_sample", self.shape(), grid);
        let grid = grid.contiguous();
        self.kernels().grid_sample(&self.channels_last(), &grid, sampling, shape)
    }

    /// The transpose of [`grid_sample_with`](Self::grid_sample_with) as a linear map of images: samples (`self`,
    /// `[N, C, H', W']`) added into zeros of height and width `size` where and as they were taken.
    ///
    /// # Panics
    /// As [`grid_sample`](Self::grid_sample).
    #[track_caller]
    pub fn grid_sample_transpose(
        &self,
        grid: &Tensor,
        size: [usize; 2],
        sampling: &Sampling,
    ) -> Tensor {
        const OP: &str = "grid_sample_transpose";
        check_same(OP, &[self, grid]);
        let [n, c, ..] = image_dims(OP, self.shape());
        let image = Shape::new(&[n, c, size[0], size[1]]);
        let expected = sample_shape(OP, image, grid);
        assert!(
            self.shape() == expected,
            "{OP}: samples {} are not {expected}, one for each place of grid {}",
            self.shape(),
            grid.shape()
        );
        let (dy, grid) = (self.channels_last(), grid.contiguous());
        self.kernels().grid_sample_transpose(&dy, &grid, sampling, image)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device};

    #[test]
    fn weights_of_samples_sum_to_one_and_those_of_slopes_to_zero() {
        for mode in [SampleMode::Bilinear, SampleMode::Nearest, SampleMode::Bicubic] {
            for padding in [SamplePadding::Border, SamplePadding::Reflection] {
                for align_corners in [false, true] {
                    let options = GridSample { mode, padding, align_corners };
                    for k in -30..30 {
                        let sum = |s: Sampling| {
                            s.taps(0, 7, f64::from(k) * 0.1 + 0.03).iter().map(|t| t.1).sum::<f64>()
                        };
                        let samples = Sampling::new(&options);
                        assert!((sum(samples) - 1.0).abs() < 1e-12, "{options:?}");
                        assert!(sum(samples.differentiated(0)).abs() < 1e-12, "{options:?}");
                        assert!(sum(samples.differentiated(0).differentiated(0)).abs() < 1e-12);
                    }
                }
            }
        }
    }

    /// With zeros outside the short way gives what the long way gives with mirrored borders, where both look inside.
    #[test]
    fn straight_lines_have_the_bits_of_their_polynomials() {
        for (align_corners, order) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            let sampling = |padding| Sampling {
                options: GridSample { mode: SampleMode::Bilinear, padding, align_corners },
                order: [order; 2],
            };
            for k in -80..80 {
                let g = f64::from(k) * 0.01 + 0.003;
                let [short, long] = [SamplePadding::Zeros, SamplePadding::Reflection].map(|p| {
                    let taps = sampling(p).taps(0, 7, g);
                    taps.iter().map(|(i, w)| (i, w.to_bits())).collect::<Vec<_>>()
                });
                assert_eq!(short, long, "{g} {align_corners} {order}");
            }
        }
    }

    #[test]
    fn coordinates_are_x_then_y_and_nothing_panics_far_outside() {
        let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [1, 1, 2, 3]);
        let grid = [1.0, -1.0, -1.0, 1.0, f32::NAN, 0.0, 1e30, f32::INFINITY];
        let grid = Tensor::new(&grid, [1, 1, 4, 2]);
        for padding in [SamplePadding::Zeros, SamplePadding::Border, SamplePadding::Reflection] {
            let options = GridSample { padding, align_corners: true, ..Default::default() };
            let y = x.grid_sample(&grid, &options).to_f64_vec();
            assert_eq!((y.len(), y[0], y[1]), (4, 3.0, 4.0));
        }
    }

    #[test]
    #[should_panic(
        expected = "grid_sample: grid [1, 2, 2, 3] is not [N, H, W, 2], an (x, y) for each sample"
    )]
    fn a_grid_has_pairs() {
        let x = Tensor::zeros([1, 1, 4, 4], DType::F32, Device::Cpu);
        x.grid_sample(
            &Tensor::zeros([1, 2, 2, 3], DType::F32, Device::Cpu),
            &GridSample::default(),
        );
    }
}
