//! The patches of images as columns, and back: each the transpose, and so the derivative, of the other.

use tensor::{Tensor, Unfold};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The patches of images `[.., size[0], size[1]]`. Derivative: [`FoldColumns`]. Same as `torch.nn.functional.unfold`.
#[derive(Clone, Copy, Debug)]
struct UnfoldImages {
    windows: Unfold,
    size: [usize; 2],
}

impl Op for UnfoldImages {
    fn name(&self) -> &'static str {
        "unfold"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].unfold(&self.windows)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.fold(self.size, &self.windows))]
    }
}

/// The sum of patches where they overlap. Derivative: [`UnfoldImages`]. Same as `torch.nn.functional.fold`.
#[derive(Clone, Copy, Debug)]
struct FoldColumns(UnfoldImages);

impl Op for FoldColumns {
    fn name(&self) -> &'static str {
        "fold"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].fold(self.0.size, &self.0.windows)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(self.0, &[dy]))]
    }
}

impl Var {
    /// The patches of images `[N, C, H, W]` as columns: `[N, C · kh · kw, L]`. See [`Tensor::unfold`].
    ///
    /// # Panics
    /// As [`Tensor::unfold`].
    #[track_caller]
    pub fn unfold(&self, windows: &Unfold) -> Var {
        let &[_, _, h, w] = self.dims() else {
            panic!("unfold: input {} is not [N, C, H, W]", self.shape())
        };
        Var::apply(UnfoldImages { windows: *windows, size: [h, w] }, &[self])
    }

    /// The sum of patches `[N, C · kh · kw, L]` where they overlap in images `[N, C, size[0], size[1]]`. See
    /// [`Tensor::fold`].
    ///
    /// # Panics
    /// As [`Tensor::fold`].
    #[track_caller]
    pub fn fold(&self, size: [usize; 2], windows: &Unfold) -> Var {
        Var::apply(FoldColumns(UnfoldImages { windows: *windows, size }), &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "unfold",
        formula: "patches of images as columns",
        case: |d| {
            let (windows, shape) = patches(d);
            Case::new(vec![d.normal(shape)], move |v| v[0].unfold(&windows))
        },
    },
    OpInfo {
        name: "fold",
        formula: "sum of patches where they overlap",
        case: |d| {
            let (windows, shape) = patches(d);
            let columns = d.normal(shape).unfold(&windows);
            let size = [shape[2], shape[3]];
            Case::new(vec![d.normal(columns.shape())], move |v| v[0].fold(size, &windows))
        },
    },
];

fn patches(d: &mut Draw) -> (Unfold, [usize; 4]) {
    let conv = d.conv();
    let [kernel, stride] = [[conv.weight[2], conv.weight[3]], conv.stride];
    let windows = Unfold { kernel, stride, padding: conv.padding, dilation: conv.dilation };
    (windows, conv.input)
}
