//! [`Upsample`].

use autograd::Var;
use tensor::Interpolate;

use crate::{Context, Forward, Module};

/// What [`Upsample`] makes of an image's size.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    Size([usize; 2]),
    Factors([f64; 2]),
}

/// Images at another size: `[N, C, H, W]` to `[N, C, H', W']`. Same as `torch.nn.Upsample`.
#[derive(Clone, Copy, Debug, Module)]
pub struct Upsample {
    #[module(skip)]
    target: Target,
    #[module(skip)]
    how: Interpolate,
}

impl Upsample {
    /// To a height and width.
    pub fn to(size: [usize; 2], how: Interpolate) -> Self {
        Upsample { target: Target::Size(size), how }
    }

    /// By factors of height and width.
    pub fn by(factors: [f64; 2], how: Interpolate) -> Self {
        Upsample { target: Target::Factors(factors), how }
    }
}

impl Forward for Upsample {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        match self.target {
            Target::Size(size) => x.interpolate(size, &self.how),
            Target::Factors(factors) => x.interpolate_by(factors, &self.how),
        }
    }
}
