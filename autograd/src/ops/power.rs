//! Powers: of two operands, and with a constant exponent.

use tensor::Tensor;

use super::{OpInfo, scalar_like};
use crate::{Op, Saved, Saver, Var, gradcheck::Case};

/// `a ^ b` with broadcasting. Derivatives: `dy b a^(b - 1)`, 0 where `b = 0`; `dy y ln a`, 0 where `a = 0` and
/// `b >= 0`, as in PyTorch. Infinite where `a = 0` and `b < 1`. Same as `torch.pow`.
#[derive(Clone, Debug)]
struct Pow;

impl Op for Pow {
    fn name(&self) -> &'static str {
        "pow"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        saver.output();
        inputs[0].pow(inputs[1])
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let [a, b, y] = [0, 1, 2].map(|i| saved.var(i));
        let zero = scalar_like(a.value(), 0.0);
        let da = wanted[0].then(|| {
            let constant = b.value().eq(&zero);
            (dy * &b * a.pow(&(&b - 1.0))).masked_fill(&constant, 0.0)
        });
        let db = wanted[1].then(|| {
            let zero_base = a.value().eq(&zero);
            let flat = zero_base.where_(&b.value().ge(&zero), &zero_base);
            (dy * y * a.log()).masked_fill(&flat, 0.0)
        });
        vec![da, db]
    }
}

/// `x ^ e` with a constant exponent. Derivative: `dy e x^(e - 1)`, 0 for `e = 0`; infinite where `x = 0` and `e < 1`.
/// Same as `torch.pow`.
#[derive(Clone, Debug)]
struct PowScalar {
    exponent: f64,
}

impl Op for PowScalar {
    fn name(&self) -> &'static str {
        "pow_scalar"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        inputs[0].pow_scalar(self.exponent)
    }
    fn backward(&self, saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        let e = self.exponent;
        vec![Some(match e {
            // Not 0 · x^-1, which is NaN at 0.
            0.0 => dy * 0.0,
            1.0 => dy.clone(),
            2.0 => dy * saved.var(0) * 2.0,
            _ => dy * (saved.var(0).pow_scalar(e - 1.0) * e),
        })]
    }
}

impl Var {
    /// `self ^ exponent` with broadcasting. Derivatives: `b a^(b - 1)`, 0 where `b = 0`; `y ln a`, 0 where `a = 0` and
    /// `b >= 0`. Same as `torch.pow`.
    ///
    /// # Panics
    /// If the shapes do not broadcast or dtypes or devices differ.
    #[track_caller]
    pub fn pow(&self, exponent: &Var) -> Var {
        Var::apply(Pow, &[self, exponent])
    }

    /// `self ^ exponent`. Derivative: `e x^(e - 1)`, 0 for `e = 0`. Same as `torch.pow`.
    #[track_caller]
    pub fn pow_scalar(&self, exponent: f64) -> Var {
        Var::apply(PowScalar { exponent }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "pow",
        formula: "a ^ b",
        case: |d| {
            let (a, b) = d.broadcasting_shapes();
            Case::new(vec![d.uniform(a, 0.3, 2.0), d.uniform(b, -2.0, 3.0)], |v| v[0].pow(&v[1]))
        },
    },
    OpInfo {
        name: "pow_scalar",
        formula: "x ^ e",
        case: |d| {
            let shape = d.shape(0..=4);
            let exponent = [-1.0, 0.0, 0.5, 1.0, 2.0, 2.7][d.int(0..=5)];
            Case::new(vec![d.uniform(shape, 0.3, 2.0)], move |v| v[0].pow_scalar(exponent))
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_at_a_zero_base_are_pytorch_s() {
        let a = Var::leaf(Tensor::new(&[0.0f64; 4], [4]));
        let b = Var::leaf(Tensor::new(&[0.0f64, 1.0, 2.0, 3.5], [4]));
        let g = a.pow(&b).sum().backward();
        assert_eq!(g.wrt(&a).to_vec::<f64>(), [0.0, 1.0, 0.0, 0.0]);
        assert_eq!(g.wrt(&b).to_vec::<f64>(), [0.0; 4]);
    }
}
