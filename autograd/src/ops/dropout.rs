//! Dropout.

use tensor::{DType, Stream, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// `x * scale` where the mask is 1, else 0. Derivative: the same function of `dy`.
#[derive(Clone, Debug)]
struct Dropout {
    mask: Tensor,
    scale: f64,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].masked_scale(&self.mask, self.scale)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(Var::apply(self.clone(), &[dy]))]
    }
}

impl Var {
    /// Each element 0 with probability `p`, else divided by `1 - p`; itself for `p = 0`, all zeros for `p = 1`.
    ///
    /// One key is drawn from `stream`; which elements vanish depends on it and on their row-major index alone.
    /// Source: Srivastava et al. 2014, scaled during training ("inverted"). Same as `torch.nn.functional.dropout`
    /// in training, with other random numbers.
    ///
    /// # Panics
    /// If `p` is not in `[0, 1]`.
    #[track_caller]
    pub fn dropout(&self, p: f64, stream: &mut Stream) -> Var {
        assert!((0.0..=1.0).contains(&p), "dropout: {p} is not a probability");
        if p == 0.0 {
            return self.clone();
        }
        let device = self.value().device();
        let mask = Tensor::bernoulli_mask(1.0 - p, self.shape(), DType::U8, device, stream);
        // Nothing is kept at p = 1: any finite scale will do.
        let scale = if p == 1.0 { 0.0 } else { 1.0 / (1.0 - p) };
        Var::apply(Dropout { mask, scale }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] =
    &[OpInfo { name: "dropout", formula: "x mask / (1 - p)", case: dropout_case }];

fn dropout_case(d: &mut Draw) -> Case {
    let shape = d.shape(0..=4);
    let (x, p, seed) = (d.normal(shape), d.int(1..=4) as f64 / 4.0, d.stream().next_u64());
    Case::new(vec![x], move |v| v[0].dropout(p, &mut Stream::new(seed)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Device;

    #[test]
    fn the_mean_is_kept() {
        let x = Var::constant(Tensor::ones([100, 100], DType::F64, Device::Cpu));
        let y = x.dropout(0.25, &mut Stream::new(1)).value().to_f64_vec();
        assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
        let mean = y.iter().sum::<f64>() / 1e4;
        // Four standard errors of a mean of 10^4 such numbers.
        assert!((mean - 1.0).abs() < 4.0 * (0.25f64 / 0.75).sqrt() / 100.0, "{mean}");
    }
}
