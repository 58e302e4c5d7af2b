//! Padding and cropping of images.

use tensor::Tensor;

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// A value around images, or a border cut off. Derivative: `dy` padded by `-padding`, with zeros.
/// Same as `torch.nn.functional.pad`.
#[derive(Clone, Debug)]
struct Pad2d {
    padding: [isize; 4],
    value: f64,
}

impl Op for Pad2d {
    fn name(&self) -> &'static str {
        "pad2d"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].constant_pad2d(self.padding, self.value)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.pad2d(self.padding.map(|p| -p)))]
    }
}

/// Mirror images around images. Derivative: the sum over all mirror images, [`ReflectionPad2dGrad`].
/// Same as `torch.nn.functional.pad(.., mode="reflect")`.
#[derive(Clone, Debug)]
struct ReflectionPad2d {
    padding: [usize; 4],
}

impl Op for ReflectionPad2d {
    fn name(&self) -> &'static str {
        "reflection_pad2d"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].reflection_pad2d(self.padding)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(ReflectionPad2dGrad { padding: self.padding }, &[dy]))]
    }
}

/// The sum over all mirror images of each pixel. Derivative: [`ReflectionPad2d`].
#[derive(Clone, Debug)]
struct ReflectionPad2dGrad {
    padding: [usize; 4],
}

impl Op for ReflectionPad2dGrad {
    fn name(&self) -> &'static str {
        "reflection_pad2d_grad"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].reflection_pad2d_grad(self.padding)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.reflection_pad2d(self.padding))]
    }
}

impl Var {
    /// Zeros added around images `[N, C, H, W]`, or a border cut off where the padding (left, right, top, bottom) is
    /// negative. See [`Tensor::pad2d`].
    ///
    /// # Panics
    /// As [`Tensor::pad2d`].
    #[track_caller]
    pub fn pad2d(&self, padding: [isize; 4]) -> Var {
        self.constant_pad2d(padding, 0.0)
    }

    /// `value` added around images `[N, C, H, W]`, or a border cut off. See [`Tensor::constant_pad2d`].
    ///
    /// # Panics
    /// As [`Tensor::constant_pad2d`].
    #[track_caller]
    pub fn constant_pad2d(&self, padding: [isize; 4], value: f64) -> Var {
        Var::apply(Pad2d { padding, value }, &[self])
    }

    /// Images `[N, C, H, W]` continued by their mirror image; padding is left, right, top, bottom. See
    /// [`Tensor::reflection_pad2d`].
    ///
    /// # Panics
    /// As [`Tensor::reflection_pad2d`].
    #[track_caller]
    pub fn reflection_pad2d(&self, padding: [usize; 4]) -> Var {
        Var::apply(ReflectionPad2d { padding }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "pad2d", formula: "a value around x, or a crop", case: pad2d_case },
    OpInfo {
        name: "reflection_pad2d",
        formula: "x continued by its mirror image",
        case: |d| {
            let (x, _, padding) = mirrored(d);
            Case::new(vec![x], move |v| v[0].reflection_pad2d(padding))
        },
    },
    OpInfo {
        name: "reflection_pad2d_grad",
        formula: "sum over mirror images",
        case: |d| {
            let (_, dy, padding) = mirrored(d);
            Case::new(vec![dy], move |v| Var::apply(ReflectionPad2dGrad { padding }, &[&v[0]]))
        },
    },
];

fn pad2d_case(d: &mut Draw) -> Case {
    let shape = d.shape(4..=4);
    let side = |len: usize, d: &mut Draw| {
        let before = d.int(0..=4 + len) as isize - len as isize;
        // What is left after the first cut may be cut too.
        let left = len as isize + before.min(0);
        [before, d.int(0..=4 + left as usize) as isize - left]
    };
    let [top, bottom] = side(shape[2], d);
    let [left, right] = side(shape[3], d);
    let value = if d.flag() { 1.5 } else { 0.0 };
    let padding = [left, right, top, bottom];
    Case::new(vec![d.normal(shape)], move |v| v[0].constant_pad2d(padding, value))
}

/// Images, padded images, and the padding between them.
fn mirrored(d: &mut Draw) -> (Tensor, Tensor, [usize; 4]) {
    let [n, c, h, w] = [0..=3, 1..=4, 1..=5, 1..=5].map(|small| d.len(small, 14..=24));
    let padding = [d.int(0..=w - 1), d.int(0..=w - 1), d.int(0..=h - 1), d.int(0..=h - 1)];
    let [left, right, top, bottom] = padding;
    (d.normal([n, c, h, w]), d.normal([n, c, h + top + bottom, w + left + right]), padding)
}
