//! Images at other sizes and at given places.

use std::sync::Arc;

use tensor::{DType, Device, GridSample, Interpolate, Sampling, Taps, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// One axis times a banded matrix. Derivative: the transposed matrix times `dy`. `torch.nn.functional.interpolate` is
/// this for rows and columns.
#[derive(Clone, Debug)]
struct Resample {
    axis: isize,
    taps: Arc<Taps>,
}

impl Op for Resample {
    fn name(&self) -> &'static str {
        "resample"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].resample(self.axis, &self.taps)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.resample(self.axis, self.taps.transpose()))]
    }
}

/// Samples of images at the places of a grid, or a derivative of them with respect to the coordinates. Derivatives:
/// [`GridSampleTranspose`] of `dy`; and for the grid `dy` times the next derivative, summed over channels. Same as
/// `torch.nn.functional.grid_sample`, with derivatives of any order.
#[derive(Clone, Debug)]
struct GridSampleOp {
    sampling: Sampling,
}

impl Op for GridSampleOp {
    fn name(&self) -> &'static str {
        if self.sampling.order == [0, 0] { "grid_sample" } else { "grid_sample_slope" }
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].grid_sample_with(inputs[1], &self.sampling)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (x, grid) = (saved.var(0), saved.var(1));
        let size = [x.dims()[2], x.dims()[3]];
        let transpose = GridSampleTranspose { size, sampling: self.sampling };
        vec![
            wanted[0].then(|| Var::apply(transpose, &[dy, &grid])),
            wanted[1].then(|| coordinate_gradient(&x, dy, &grid, self.sampling)),
        ]
    }
}

/// Samples added into zeros where they were taken: the transpose of [`GridSampleOp`] for one grid. Derivatives: samples of
/// the gradient of the image; and for the grid as there.
#[derive(Clone, Debug)]
struct GridSampleTranspose {
    size: [usize; 2],
    sampling: Sampling,
}

impl Op for GridSampleTranspose {
    fn name(&self) -> &'static str {
        "grid_sample_transpose"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].grid_sample_transpose(inputs[1], self.size, &self.sampling)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let (samples, grid, sampling) = (saved.var(0), saved.var(1), self.sampling);
        vec![
            wanted[0].then(|| Var::apply(GridSampleOp { sampling }, &[dy, &grid])),
            wanted[1].then(|| coordinate_gradient(dy, &samples, &grid, sampling)),
        ]
    }
}

/// The gradient of `sum(samples · grid_sample(image))` with respect to the grid, `[N, H', W', 2]`.
fn coordinate_gradient(image: &Var, samples: &Var, grid: &Var, sampling: Sampling) -> Var {
    let along = |axis: usize| {
        let slope = GridSampleOp { sampling: sampling.differentiated(axis) };
        (samples * &Var::apply(slope, &[image, grid])).sum_axes(&[1], false)
    };
    Var::stack(&[&along(1), &along(0)], -1)
}

impl Var {
    /// One axis multiplied by a banded matrix. See [`Tensor::resample`].
    ///
    /// # Panics
    /// As [`Tensor::resample`].
    #[track_caller]
    pub fn resample(&self, axis: isize, taps: impl Into<Arc<Taps>>) -> Var {
        Var::apply(Resample { axis, taps: taps.into() }, &[self])
    }

    /// Images `[N, C, H, W]` at another size `[height, width]`. See [`Tensor::interpolate`]. Same as
    /// `torch.nn.functional.interpolate` with `size`.
    ///
    /// # Panics
    /// As [`Tensor::interpolate`].
    #[track_caller]
    pub fn interpolate(&self, size: [usize; 2], how: &Interpolate) -> Var {
        let [rows, columns] = how.taps(self.shape(), size);
        self.resample(2, rows).resample(3, columns)
    }

    /// Images `[N, C, H, W]` at their size times `factors` (`[height, width]`), rounded down. Same as
    /// `torch.nn.functional.interpolate` with `scale_factor`.
    ///
    /// # Panics
    /// As [`Interpolate::taps_by`].
    #[track_caller]
    pub fn interpolate_by(&self, factors: [f64; 2], how: &Interpolate) -> Var {
        let [rows, columns] = how.taps_by(self.shape(), factors);
        self.resample(2, rows).resample(3, columns)
    }

    /// Images `[N, C, H, W]` sampled at the places `grid` `[N, H', W', 2]`. See [`Tensor::grid_sample`]. Same as
    /// `torch.nn.functional.grid_sample`.
    ///
    /// # Panics
    /// As [`Tensor::grid_sample`].
    #[track_caller]
    pub fn grid_sample(&self, grid: &Var, options: &GridSample) -> Var {
        Var::apply(GridSampleOp { sampling: Sampling::new(options) }, &[self, grid])
    }

    /// The grid `[N, size[0], size[1], 2]` at which [`grid_sample`](Self::grid_sample) transforms images by the affine maps
    /// `[N, 2, 3]` of this variable: place `(x, y)` of the output is `theta (x, y, 1)`.
    ///
    /// With `align_corners` -1 and 1 are the centers of the corner pixels, otherwise the corners of the image; an axis of
    /// one pixel has it at 0. Same as `torch.nn.functional.affine_grid` for images of this height and width.
    ///
    /// # Panics
    /// If this is not `[N, 2, 3]`.
    #[track_caller]
    pub fn affine_grid(&self, size: [usize; 2], align_corners: bool) -> Var {
        let &[n, 2, 3] = self.dims() else {
            panic!("affine_grid: theta {} is not [N, 2, 3]", self.shape())
        };
        let places = base_grid(size, align_corners, self.dtype(), self.value().device());
        let grid = Var::constant(places).matmul(&self.transpose(1, 2));
        grid.reshape([n, size[0], size[1], 2])
    }
}

/// `(x, y, 1)` of every pixel, `[height · width, 3]`.
fn base_grid([h, w]: [usize; 2], align_corners: bool, dtype: DType, device: Device) -> Tensor {
    let place = |i: usize, len: usize| match (len, align_corners) {
        (1, _) => 0.0,
        (_, true) => 2.0 * i as f64 / (len - 1) as f64 - 1.0,
        (_, false) => (2 * i + 1) as f64 / len as f64 - 1.0,
    };
    let pixel = |k: usize| [place(k % w, w), place(k / w, h), 1.0];
    let places: Vec<f64> = (0..h * w).flat_map(pixel).collect();
    Tensor::new(&places, [h * w, 3]).to_dtype(dtype).to_device(device)
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "resample", formula: "taps x along an axis", case: resample_case },
    OpInfo { name: "grid_sample", formula: "x at the places of a grid", case: grid_sample_case },
    OpInfo {
        name: "grid_sample_slope",
        formula: "derivative of x at the places of a grid",
        case: |d| {
            let (x, grid, mut sampling) = draw_grid(d);
            sampling = sampling.differentiated(d.int(0..=1));
            Case::new(vec![x, grid], move |v| {
                Var::apply(GridSampleOp { sampling }, &[&v[0], &v[1]])
            })
        },
    },
    OpInfo {
        name: "grid_sample_transpose",
        formula: "samples added where they were taken",
        case: |d| {
            let (x, grid, sampling) = draw_grid(d);
            let [n, c, h, w] = x.dims_of();
            let samples = d.normal([n, c, grid.dims()[1], grid.dims()[2]]);
            let op = GridSampleTranspose { size: [h, w], sampling };
            Case::new(vec![samples, grid], move |v| Var::apply(op.clone(), &[&v[0], &v[1]]))
        },
    },
];

fn resample_case(d: &mut Draw) -> Case {
    use tensor::InterpolateMode::{Bicubic, Bilinear, Nearest, NearestExact};
    let [n, c] = [d.len(0..=2, 4..=6), d.len(1..=17, 16..=24)];
    let shape = [n, c, d.len(1..=6, 30..=40), d.len(1..=6, 30..=40)];
    let mode = [Nearest, NearestExact, Bilinear, Bicubic][d.int(0..=3)];
    let options = matches!(mode, Bilinear | Bicubic);
    let (align_corners, antialias) = (options && d.flag(), options && d.flag());
    let how = Interpolate { mode, align_corners, antialias };
    let size = [0; 2].map(|_| d.len(1..=9, 30..=50));
    if d.flag() {
        return Case::new(vec![d.normal(shape)], move |v| v[0].interpolate(size, &how));
    }
    // Factors that give this size.
    let factors = [0, 1].map(|i| (size[i] as f64 + 0.3) / shape[2 + i] as f64);
    Case::new(vec![d.normal(shape)], move |v| v[0].interpolate_by(factors, &how))
}

fn grid_sample_case(d: &mut Draw) -> Case {
    let (x, grid, Sampling { options, .. }) = draw_grid(d);
    Case::new(vec![x, grid], move |v| v[0].grid_sample(&v[1], &options))
}

/// Images, a grid whose places are inside and outside but not near a kink, and how to sample.
fn draw_grid(d: &mut Draw) -> (Tensor, Tensor, Sampling) {
    use tensor::{SampleMode::*, SamplePadding::*};
    let [n, c] = [d.len(1..=2, 3..=4), d.len(1..=3, 16..=20)];
    let [h, w] = [d.len(1..=4, 25..=35), d.len(1..=5, 25..=35)];
    let options = GridSample {
        mode: [Bilinear, Nearest, Bicubic][d.int(0..=2)],
        padding: [Zeros, Border, Reflection][d.int(0..=2)],
        align_corners: d.flag(),
    };
    let [out_h, out_w] = [d.len(1..=3, 20..=30), d.len(1..=4, 20..=30)];
    let mut coordinate = |len: usize| {
        // Kinks are at whole and half pixels.
        let fraction = d.uniform([], 0.1, 0.4).item() + 0.5 * d.int(0..=1) as f64;
        let position = d.int(0..=len + 3) as f64 - 2.0 + fraction;
        let last = len as f64 - 1.0;
        match options.align_corners {
            // An axis of one pixel has one position.
            true if len == 1 => position,
            true => 2.0 * position / last - 1.0,
            false => (2.0 * position + 1.0) / len as f64 - 1.0,
        }
    };
    let places: Vec<f64> =
        (0..n * out_h * out_w).flat_map(|_| [coordinate(w), coordinate(h)]).collect();
    let grid = Tensor::new(&places, [n, out_h, out_w, 2]);
    (d.normal([n, c, h, w]), grid, Sampling::new(&options))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::properties;

    #[test]
    fn an_affine_grid_is_linear_in_its_map() {
        for seed in 0..8 {
            let mut d = Draw::new("affine_grid", seed);
            let size = [d.int(1..=3), d.int(1..=4)];
            let n = d.int(1..=2);
            let (theta, corners) = (d.normal([n, 2, 3]), d.flag());
            let case = Case::new(vec![theta], move |v| v[0].affine_grid(size, corners));
            properties(&case).unwrap();
        }
    }

    #[test]
    fn the_identity_samples_every_pixel() {
        let x = Draw::new("identity", 0).normal([2, 3, 4, 5]);
        let theta = Tensor::new(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0].repeat(2), [2, 2, 3]);
        for align_corners in [false, true] {
            let options = GridSample { align_corners, ..Default::default() };
            let grid = Var::constant(theta.clone()).affine_grid([4, 5], align_corners);
            let y = Var::constant(x.clone()).grid_sample(&grid, &options);
            for (a, b) in y.value().to_f64_vec().iter().zip(x.to_f64_vec()) {
                assert!((a - b).abs() < 1e-12);
            }
        }
    }
}
