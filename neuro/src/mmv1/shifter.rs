//! [`Shifter`]: from where the animal looks to how its image of the world moves.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module, Param,
    layers::{BatchNorm2d, Linear, Sequential, Tanh},
};
use tensor::{GridSample, SampleMode, SamplePadding, Tensor};

use super::Mmv1Config;

/// Height and width of a published frame in pixels.
pub const FRAME: [usize; 2] = [60, 80];

/// What an output of 1 means: a shift by the frame's width / 5.5 to the right, its height / 5.5 down, a turn of 45 degrees.
const SHARE: f64 = 5.5;
const TURN_DEG: f64 = 45.0;

/// A small net from gaze to shift and turn of the image, and the image so moved.
#[derive(Module)]
pub struct Shifter {
    /// `[3]`, added to the net's output.
    bias: Param,
    layers: Sequential,
    /// Columns of the behavior.
    #[module(skip)]
    gaze: Vec<i64>,
    #[module(skip)]
    frame: [usize; 2],
    #[module(skip)]
    pivot: [f64; 2],
}

impl Shifter {
    pub(super) fn new(config: &Mmv1Config) -> Self {
        // A model that does not shift has the net all the same, as published.
        let inputs = config.gaze.len().max(1);
        let layers = Sequential::new()
            .with(BatchNorm2d::new(inputs))
            .with(Linear::new(inputs, 256))
            .with(BatchNorm2d::new(256))
            .with(Tanh)
            .with(Linear::new(256, 256))
            .with(BatchNorm2d::new(256))
            .with(Tanh)
            .with(Linear::new(256, 3))
            .with(Tanh);
        Shifter {
            bias: Param::new([3], Init::Constant(0.0)),
            layers,
            gaze: config.gaze.iter().map(|&c| c as i64).collect(),
            frame: config.frame,
            pivot: config.pivot,
        }
    }

    /// Shift to the right and down in pixels and turn in degrees, `[N T, 3]`, for behavior `[N, T, behaviors]`.
    pub fn shift(&self, behavior: &Var, cx: &mut Context) -> Var {
        let device = behavior.value().device();
        let columns = self.gaze.len();
        let gaze = behavior.index_select(-1, &Tensor::new(&self.gaze, [columns]).to_device(device));
        let [n, t, _] = behavior.value().dims_of();
        let out = self.layers.call(&gaze.reshape([n * t, columns]), cx);
        let [height, width] = self.frame.map(|pixels| pixels as f64 / SHARE);
        &(&out + &cx.var(&self.bias)) * &constant(&[width, height, TURN_DEG], &[3], behavior)
    }

    /// Frames `[N, T, 1, H, W]` moved by [`shift`](Self::shift): bilinear, zeros from outside.
    pub fn shifted(&self, images: &Var, behavior: &Var, cx: &mut Context) -> Var {
        let [n, t, ..] = images.value().dims_of::<5>();
        let theta = affine(&self.shift(behavior, cx), self.frame, self.pivot);
        let how = GridSample {
            mode: SampleMode::Bilinear,
            padding: SamplePadding::Zeros,
            align_corners: true,
        };
        let frames = images.reshape([n * t, 1, self.frame[0], self.frame[1]]);
        frames.grid_sample(&theta.affine_grid(self.frame, true), &how).reshape(images.shape())
    }
}

fn constant(values: &[f64], shape: &[usize], like: &Var) -> Var {
    let tensor = Tensor::new(values, shape).to_dtype(like.dtype());
    Var::constant(tensor.to_device(like.value().device()))
}

/// From where each pixel of the moved image comes, `[N, 2, 3]` in coordinates in which the frame is -1 to 1.
///
/// A point `q` moves to `R (q - pivot) + pivot + shift` with `R` the turn by minus the angle. The inverse, written for
/// coordinates `u = (x - w) / w`, `v = (y - h) / h` with the half sizes `w` and `h`, is
///
/// ```text
/// u' = cos u - sin h/w v + (cos dx - sin dy + pivot_x - w) / w        dx = w - pivot_x - shift_x
/// v' = sin w/h u + cos v + (sin dx + cos dy + pivot_y - h) / h        dy = h - pivot_y - shift_y
/// ```
fn affine(shift: &Var, frame: [usize; 2], pivot: [f64; 2]) -> Var {
    let [h, w] = frame.map(|pixels| (pixels - 1) as f64 / 2.0);
    let angle = shift.select(1, 2).mul_scalar(-std::f64::consts::PI / 180.0);
    let (cos, sin) = (angle.cos(), angle.sin());
    let dx = shift.select(1, 0).affine(-1.0, w - pivot[0]);
    let dy = shift.select(1, 1).affine(-1.0, h - pivot[1]);
    let x = (&(&cos * &dx) - &(&sin * &dy)).affine(1.0 / w, (pivot[0] - w) / w);
    let y = (&(&sin * &dx) + &(&cos * &dy)).affine(1.0 / h, (pivot[1] - h) / h);
    let rows = [
        Var::stack(&[&cos, &sin.mul_scalar(-h / w), &x], 1),
        Var::stack(&[&sin.mul_scalar(w / h), &cos, &y], 1),
    ];
    Var::stack(&[&rows[0], &rows[1]], 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_shift_leaves_the_image_and_a_shift_moves_it() {
        let numbers: Vec<f64> = (0..FRAME[0] * FRAME[1]).map(|i| (i * i % 97) as f64).collect();
        let image = Var::constant(Tensor::new(&numbers, [1, 1, FRAME[0], FRAME[1]]));
        let how = GridSample {
            mode: SampleMode::Bilinear,
            padding: SamplePadding::Zeros,
            align_corners: true,
        };
        let moved = |shift: [f64; 3]| {
            let shift = Var::constant(Tensor::new(&shift, [1, 3]));
            let theta = affine(&shift, FRAME, [30.0, 40.0]);
            let moved = image.grid_sample(&theta.affine_grid(FRAME, true), &how);
            moved.value().to_f64_vec()
        };
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        moved([0.0; 3]).iter().zip(&numbers).for_each(|(&a, &b)| close(a, b));
        // Two pixels to the right and three down.
        let at = |v: &[f64], row: usize, column: usize| v[row * FRAME[1] + column];
        let shifted = moved([2.0, 3.0, 0.0]);
        close(at(&shifted, 13, 12), at(&numbers, 10, 10));
        close(at(&shifted, 2, 50), 0.0);
        // A right angle about (x, y) = (30, 40): what was 5 to the right of the pivot is then 5 below it.
        let turned = moved([0.0, 0.0, 90.0]);
        close(at(&turned, 40, 30), at(&numbers, 40, 30));
        close(at(&turned, 45, 30), at(&numbers, 40, 35));
    }
}
