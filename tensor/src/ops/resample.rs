//! Resizing of images, and any other product of one axis with a banded matrix.

use super::image_dims;
use crate::{Tensor, shape::axis_index};

/// A banded matrix by which one axis is multiplied: each output is a weighted sum of neighboring inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Taps {
    /// Number of inputs.
    len: usize,
    /// For each output its first input and the weights from there on.
    rows: Vec<(usize, Vec<f64>)>,
}

impl Taps {
    /// From the first input and the weights of each output.
    ///
    /// # Panics
    /// If a row reaches beyond `len` inputs.
    #[track_caller]
    pub fn new(len: usize, rows: Vec<(usize, Vec<f64>)>) -> Self {
        for (i, (start, weights)) in rows.iter().enumerate() {
            assert!(
                start + weights.len() <= len,
                "taps: output {i} uses inputs {start}..{} of {len}",
                start + weights.len()
            );
        }
        Taps { len, rows }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.len
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn rows(&self) -> &[(usize, Vec<f64>)] {
        &self.rows
    }

    /// The transposed matrix, which takes gradients of outputs to gradients of inputs.
    pub fn transpose(&self) -> Taps {
        let mut rows: Vec<(usize, Vec<f64>)> = vec![(0, Vec::new()); self.len];
        for (output, (start, weights)) in self.rows.iter().enumerate() {
            for (row, &w) in rows[*start..].iter_mut().zip(weights) {
                if row.1.is_empty() {
                    row.0 = output;
                }
                // Outputs in between that do not use this input.
                row.1.resize(output - row.0, 0.0);
                row.1.push(w);
            }
        }
        Taps { len: self.rows.len(), rows }
    }

    /// How one axis of `len` pixels becomes `out` pixels. `scale` is the distance of two outputs in inputs; `None` for
    /// what the lengths say.
    fn interpolating(len: usize, out: usize, scale: Option<f64>, how: &Interpolate) -> Taps {
        let corners = how.align_corners && matches!(how.mode, Mode::Bilinear | Mode::Bicubic);
        let scale = match (corners, scale) {
            (true, _) if out > 1 => (len - 1) as f64 / (out - 1) as f64,
            (true, _) => 0.0,
            (false, Some(scale)) => scale,
            (false, None) => len as f64 / out as f64,
        };
        let row = |i: usize| {
            let center = scale * (i as f64 + 0.5);
            let position = if corners { scale * i as f64 } else { center - 0.5 };
            match how.mode {
                Mode::Nearest => nearest(len, scale * i as f64),
                Mode::NearestExact => nearest(len, center),
                Mode::Bilinear if how.antialias => filtered(len, center, scale, 1.0, triangle),
                Mode::Bicubic if how.antialias => {
                    filtered(len, center, scale, 2.0, |x| cubic(x, CUBIC_FILTER))
                }
                Mode::Bilinear => {
                    let position = position.max(0.0);
                    let first = (position as usize).min(len - 1);
                    let t = (position - first as f64).clamp(0.0, 1.0);
                    clamped(len, first as isize, &[1.0 - t, t])
                }
                Mode::Bicubic => {
                    let (first, t) = (position.floor(), position - position.floor());
                    let weights = [t + 1.0, t, 1.0 - t, 2.0 - t].map(|x| cubic(x, CUBIC));
                    clamped(len, first as isize - 1, &weights)
                }
            }
        };
        Taps::new(len, (0..out).map(row).collect())
    }
}

fn nearest(len: usize, position: f64) -> (usize, Vec<f64>) {
    ((position as usize).min(len - 1), vec![1.0])
}

/// Weights for the inputs from `first` on, those outside moved to the border.
fn clamped(len: usize, first: isize, weights: &[f64]) -> (usize, Vec<f64>) {
    let inside = |i: isize| i.clamp(0, len as isize - 1) as usize;
    let start = inside(first);
    let end = inside(first + weights.len() as isize - 1);
    let mut row = vec![0.0; end - start + 1];
    for (k, w) in weights.iter().enumerate() {
        row[inside(first + k as isize) - start] += w;
    }
    (start, row)
}

/// Weights of a filter stretched by `scale` where that shrinks the image, as Pillow and PyTorch have it.
fn filtered(
    len: usize,
    center: f64,
    scale: f64,
    radius: f64,
    filter: impl Fn(f64) -> f64,
) -> (usize, Vec<f64>) {
    let stretch = scale.max(1.0);
    let support = radius * stretch;
    let start = ((center - support + 0.5) as isize).max(0) as usize;
    let end = ((center + support + 0.5) as usize).min(len);
    let weight = |i: usize| filter((i as f64 - center + 0.5) / stretch);
    let weights: Vec<f64> = (start..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    (start, weights.iter().map(|w| w / sum).collect())
}

fn triangle(x: f64) -> f64 {
    (1.0 - x.abs()).max(0.0)
}

/// The parameter of Keys' cubic kernel that PyTorch has in `bicubic`.
const CUBIC: f64 = -0.75;
/// The one of Pillow, and of PyTorch's `bicubic` with `antialias`.
const CUBIC_FILTER: f64 = -0.5;

/// Keys' cubic convolution kernel (1981, eq. 4).
fn cubic(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((x - 5.0) * x + 8.0) * x * a - 4.0 * a
    } else {
        0.0
    }
}

/// By which rule an image is resized; the names are PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InterpolateMode {
    /// The pixel at `floor(i · scale)`: PyTorch's default.
    #[default]
    Nearest,
    /// The pixel under the center of the new one, as Pillow has it.
    NearestExact,
    /// Straight lines between neighbors.
    Bilinear,
    /// Keys' cubic kernel over four neighbors.
    Bicubic,
}

use InterpolateMode as Mode;

/// How images are resized.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interpolate {
    /// The rule. Default `Nearest`.
    pub mode: InterpolateMode,
    /// Whether the centers of the corner pixels stay where they are, instead of the corners of the image. Bilinear and
    /// bicubic only. Default false.
    pub align_corners: bool,
    /// Whether the filter grows where the image shrinks, so that every pixel counts. Bilinear and bicubic only. Default
    /// false.
    pub antialias: bool,
}

impl Interpolate {
    /// With this rule and no options.
    pub fn new(mode: InterpolateMode) -> Self {
        Interpolate { mode, ..Default::default() }
    }

    /// The matrices for the rows and the columns of images `[N, C, H, W]`, for an output of this size.
    ///
    /// # Panics
    /// If the input does not have 4 axes, input or output have no pixels, or the mode does not have the option.
    #[track_caller]
    pub fn taps(&self, input: impl Into<crate::Shape>, size: [usize; 2]) -> [Taps; 2] {
        self.scaled_taps(input.into(), size, None)
    }

    /// The same for sizes multiplied by `factors` and rounded down; the factors themselves say where pixels lie, as in
    /// PyTorch.
    ///
    /// # Panics
    /// As [`taps`](Self::taps), or if a factor is not positive.
    #[track_caller]
    pub fn taps_by(&self, input: impl Into<crate::Shape>, factors: [f64; 2]) -> [Taps; 2] {
        let input = input.into();
        let [_, _, h, w] = image_dims("interpolate", input);
        assert!(
            factors.iter().all(|f| *f > 0.0 && f.is_finite()),
            "interpolate: factors {factors:?} must be positive numbers"
        );
        let size = [(h as f64 * factors[0]) as usize, (w as f64 * factors[1]) as usize];
        self.scaled_taps(input, size, Some(factors.map(|f| 1.0 / f)))
    }

    #[track_caller]
    fn scaled_taps(
        &self,
        input: crate::Shape,
        size: [usize; 2],
        scale: Option<[f64; 2]>,
    ) -> [Taps; 2] {
        let [_, _, h, w] = image_dims("interpolate", input);
        assert!(
            h > 0 && w > 0 && size[0] > 0 && size[1] > 0,
            "interpolate: input {input} and size {size:?} must have pixels"
        );
        let nearest = matches!(self.mode, Mode::Nearest | Mode::NearestExact);
        assert!(
            !(nearest && (self.align_corners || self.antialias)),
            "interpolate: {:?} has neither align_corners nor antialias",
            self.mode
        );
        [0, 1].map(|i| Taps::interpolating([h, w][i], size[i], scale.map(|scale| scale[i]), self))
    }
}

impl Tensor {
    /// One axis multiplied by a banded matrix: `y[.., i, ..] = sum_j taps[i, j] x[.., j, ..]`.
    ///
    /// Memory order is kept. The transposed matrix gives the derivative.
    ///
    /// # Panics
    /// If the axis does not exist or has another length than the matrix has inputs, or the dtype is no float.
    #[track_caller]
    pub fn resample(&self, axis: isize, taps: &Taps) -> Tensor {
        let axis = axis_index("resample", axis, &self.shape());
        assert!(
            self.dims()[axis] == taps.len,
            "resample: axis {axis} of shape {} does not have the {} inputs of the matrix",
            self.shape(),
            taps.len
        );
        self.kernels().resample(self, axis, taps)
    }

    /// Images `[N, C, H, W]` at another size `[height, width]`. Same as `torch.nn.functional.interpolate` with `size`;
    /// its mode `area` is [`adaptive_avg_pool2d`](Self::adaptive_avg_pool2d). Positions are computed in f64 for any
    /// dtype.
    ///
    /// # Panics
    /// As [`Interpolate::taps`], or if the dtype is no float.
    #[track_caller]
    pub fn interpolate(&self, size: [usize; 2], how: &Interpolate) -> Tensor {
        let [rows, columns] = how.taps(self.shape(), size);
        self.resample(2, &rows).resample(3, &columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Stream};

    fn dense(taps: &Taps) -> Vec<Vec<f64>> {
        let row = |(start, weights): &(usize, Vec<f64>)| {
            let mut row = vec![0.0; taps.len];
            row[*start..start + weights.len()].copy_from_slice(weights);
            row
        };
        taps.rows.iter().map(row).collect()
    }

    const MODES: [Interpolate; 8] = {
        const fn how(mode: Mode, align_corners: bool, antialias: bool) -> Interpolate {
            Interpolate { mode, align_corners, antialias }
        }
        [
            how(Mode::Nearest, false, false),
            how(Mode::NearestExact, false, false),
            how(Mode::Bilinear, false, false),
            how(Mode::Bilinear, true, false),
            how(Mode::Bilinear, false, true),
            how(Mode::Bicubic, false, false),
            how(Mode::Bicubic, true, false),
            how(Mode::Bicubic, false, true),
        ]
    };

    #[test]
    fn a_transposed_matrix_has_its_elements_at_exchanged_places() {
        for how in MODES {
            for (len, out) in [(7, 13), (9, 4), (1, 5), (6, 1), (5, 5), (13, 2)] {
                let taps = Taps::interpolating(len, out, None, &how);
                let (a, t) = (dense(&taps), dense(&taps.transpose()));
                assert_eq!((a.len(), t.len()), (out, len));
                for i in 0..out {
                    assert!((a[i].iter().sum::<f64>() - 1.0).abs() < 1e-12, "{how:?} {len} {out}");
                    for j in 0..len {
                        assert_eq!(a[i][j], t[j][i], "{how:?} {len} {out}");
                    }
                }
                let same = |row: &(usize, Vec<f64>)| row.1.iter().filter(|w| **w != 0.0).count();
                assert!(len != out || taps.rows.iter().all(|row| same(row) == 1), "{how:?} {len}");
            }
        }
    }

    #[test]
    fn every_memory_order_and_dtype_gives_the_products() {
        let mut stream = Stream::new(1);
        let x = Tensor::randn([2, 20, 5, 6], DType::F64, Device::Cpu, &mut stream);
        let taps = Taps::interpolating(20, 11, None, &Interpolate::new(Mode::Bicubic));
        let matrix: Vec<f64> = dense(&taps).concat();
        let want = Tensor::new(&matrix, [11, 20]).matmul(&x.reshape([2, 20, 30]));
        let want = want.to_f64_vec();
        for x in [
            x.clone(),
            x.channels_last(),
            x.permute(&[3, 2, 1, 0]).contiguous().permute(&[3, 2, 1, 0]),
        ] {
            for dtype in [DType::F64, DType::F32] {
                let y = x.to_dtype(dtype).resample(1, &taps).to_f64_vec();
                for (y, want) in y.iter().zip(&want) {
                    assert!((y - want).abs() < if dtype == DType::F64 { 1e-12 } else { 1e-4 });
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "interpolate: input [1, 1, 0, 4] and size [2, 2] must have pixels")]
    fn nothing_cannot_be_resized() {
        let x = Tensor::zeros([1, 1, 0, 4], DType::F32, Device::Cpu);
        x.interpolate([2, 2], &Interpolate::default());
    }

    #[test]
    #[should_panic(expected = "interpolate: Nearest has neither align_corners nor antialias")]
    fn options_that_do_nothing_are_refused() {
        let x = Tensor::zeros([1, 1, 4, 4], DType::F32, Device::Cpu);
        x.interpolate([2, 2], &Interpolate { align_corners: true, ..Default::default() });
    }
}
