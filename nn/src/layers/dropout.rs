//! [`Dropout`].

use autograd::Var;

use crate::{Context, Forward, Module};

/// Sets each element to 0 with probability `p` and divides the others by `1 - p`, in training; passes in evaluation.
///
/// Each use in a forward draws from its own stream of the context. Same as `torch.nn.Dropout`.
#[derive(Clone, Copy, Debug, Module)]
pub struct Dropout {
    #[module(skip)]
    p: f64,
}

impl Dropout {
    /// Drops with probability `p`.
    ///
    /// # Panics
    /// If `p` is not in `0..=1`.
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "Dropout: {p} is not a probability");
        Dropout { p }
    }

    /// The probability of a zero.
    pub fn p(&self) -> f64 {
        self.p
    }
}

impl Default for Dropout {
    /// PyTorch's default: one half.
    fn default() -> Self {
        Dropout { p: 0.5 }
    }
}

impl Forward for Dropout {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        // The stream is taken even if nothing is dropped, so that changing p changes no other layer's numbers.
        match cx.is_training() {
            true => x.dropout(self.p, &mut cx.next_stream()),
            false => x.clone(),
        }
    }
}
