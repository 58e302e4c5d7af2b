//! Sums, differences, products and quotients with broadcasting.

use std::ops;

use tensor::Tensor;

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// `a + b` with broadcasting. Derivative: `dy` for both. Same as `torch.add`.
#[derive(Clone, Debug)]
struct Add;

impl Op for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0] + inputs[1]
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.clone()), Some(dy.clone())]
    }
}

/// `a * b` with broadcasting. Derivatives: `dy * b` and `dy * a`. Same as `torch.mul`.
#[derive(Clone, Debug)]
struct Mul;

impl Op for Mul {
    fn name(&self) -> &'static str {
        "mul"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0] * inputs[1]
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        vec![wanted[0].then(|| dy * &saved.var(1)), wanted[1].then(|| dy * &saved.var(0))]
    }
}

impl Var {
    /// `self + other` with broadcasting.
    ///
    /// # Panics
    /// If the shapes do not broadcast or dtypes or devices differ.
    #[track_caller]
    pub fn add(&self, other: &Var) -> Var {
        Var::apply(Add, &[self, other])
    }

    /// `self * other` with broadcasting.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn mul(&self, other: &Var) -> Var {
        Var::apply(Mul, &[self, other])
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl ops::$trait<&Var> for &Var {
            type Output = Var;
            #[track_caller]
            fn $method(self, other: &Var) -> Var {
                Var::$method(self, other)
            }
        }
    };
}

operator!(Add, add);
operator!(Mul, mul);

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "add", formula: "a + b", case: |d| pair(d, |a, b| a + b) },
    OpInfo { name: "mul", formula: "a * b", case: |d| pair(d, |a, b| a * b) },
];

/// Two operands whose shapes broadcast, normally distributed.
fn pair(d: &mut Draw, f: fn(&Var, &Var) -> Var) -> Case {
    let (a, b) = d.broadcasting_shapes();
    Case::new(vec![d.normal(a), d.normal(b)], move |v| f(&v[0], &v[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_used_twice_gets_both_gradients() {
        let x = Var::leaf(Tensor::new(&[3.0f64], [1]));
        let y = &(&x * &x) + &x;
        assert_eq!(y.backward().wrt(&x).item(), 7.0);
    }
}
