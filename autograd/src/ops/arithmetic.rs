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

/// `a - b` with broadcasting. Derivatives: `dy` and `-dy`. Same as `torch.sub`.
#[derive(Clone, Debug)]
struct Sub;

impl Op for Sub {
    fn name(&self) -> &'static str {
        "sub"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0] - inputs[1]
    }
    fn backward(&self, _saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.clone()), wanted[1].then(|| -dy)]
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

/// `a / b` with broadcasting. Derivatives: `dy / b` and `-dy * y / b`. Same as `torch.div`.
#[derive(Clone, Debug)]
struct Div;

impl Op for Div {
    fn name(&self) -> &'static str {
        "div"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(1);
        saver.output();
        inputs[0] / inputs[1]
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        let da = dy / &saved.var(0);
        let db = wanted[1].then(|| -&(&da * &saved.var(1)));
        vec![Some(da), db]
    }
}

/// `scale * x + shift` with constants. Derivative: `scale * dy`.
#[derive(Clone, Debug)]
struct Affine {
    scale: f64,
    shift: f64,
}

impl Op for Affine {
    fn name(&self) -> &'static str {
        "affine"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        let x = inputs[0];
        match (self.scale, self.shift) {
            (-1.0, 0.0) => x.neg(),
            (scale, 0.0) => x.mul_scalar(scale),
            (1.0, shift) => x.add_scalar(shift),
            (scale, shift) => x.mul_scalar(scale).add_scalar(shift),
        }
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(if self.scale == 1.0 { dy.clone() } else { dy.mul_scalar(self.scale) })]
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

    /// `self - other` with broadcasting.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn sub(&self, other: &Var) -> Var {
        Var::apply(Sub, &[self, other])
    }

    /// `self * other` with broadcasting.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn mul(&self, other: &Var) -> Var {
        Var::apply(Mul, &[self, other])
    }

    /// `self / other` with broadcasting; infinite or NaN where `other` is 0.
    ///
    /// # Panics
    /// As [`add`](Self::add).
    #[track_caller]
    pub fn div(&self, other: &Var) -> Var {
        Var::apply(Div, &[self, other])
    }

    /// `-self`.
    #[track_caller]
    pub fn neg(&self) -> Var {
        self.affine(-1.0, 0.0)
    }

    /// `self + shift`.
    #[track_caller]
    pub fn add_scalar(&self, shift: f64) -> Var {
        self.affine(1.0, shift)
    }

    /// `self * scale`.
    #[track_caller]
    pub fn mul_scalar(&self, scale: f64) -> Var {
        self.affine(scale, 0.0)
    }

    /// `scale * self + shift`.
    #[track_caller]
    pub fn affine(&self, scale: f64, shift: f64) -> Var {
        Var::apply(Affine { scale, shift }, &[self])
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        operator!($trait, $method, &Var, &Var);
        operator!($trait, $method, &Var, Var);
        operator!($trait, $method, Var, &Var);
        operator!($trait, $method, Var, Var);
    };
    ($trait:ident, $method:ident, $a:ty, $b:ty) => {
        impl ops::$trait<$b> for $a {
            type Output = Var;
            #[track_caller]
            #[allow(clippy::needless_borrow)] // One body for values and references.
            fn $method(self, other: $b) -> Var {
                Var::$method(&self, &other)
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

macro_rules! with_scalar {
    ($x:ty) => {
        impl ops::Add<f64> for $x {
            type Output = Var;
            #[track_caller]
            fn add(self, shift: f64) -> Var {
                self.add_scalar(shift)
            }
        }
        impl ops::Sub<f64> for $x {
            type Output = Var;
            #[track_caller]
            fn sub(self, shift: f64) -> Var {
                self.add_scalar(-shift)
            }
        }
        impl ops::Mul<f64> for $x {
            type Output = Var;
            #[track_caller]
            fn mul(self, scale: f64) -> Var {
                self.mul_scalar(scale)
            }
        }
        impl ops::Neg for $x {
            type Output = Var;
            #[track_caller]
            fn neg(self) -> Var {
                self.mul_scalar(-1.0)
            }
        }
    };
}

with_scalar!(&Var);
with_scalar!(Var);

pub(super) const INFO: &[OpInfo] = &[
    OpInfo { name: "add", formula: "a + b", case: |d| pair(d, |a, b| a + b) },
    OpInfo { name: "sub", formula: "a - b", case: |d| pair(d, |a, b| a - b) },
    OpInfo { name: "mul", formula: "a * b", case: |d| pair(d, |a, b| a * b) },
    OpInfo { name: "div", formula: "a / b", case: div_case },
    OpInfo {
        name: "affine",
        formula: "scale * x + shift",
        case: |d| {
            let shape = d.shape(0..=4);
            let scale = [1.0, -1.0, 0.0, 2.5][d.int(0..=3)];
            let shift = [0.0, -0.75][d.int(0..=1)];
            Case::new(vec![d.normal(shape)], move |v| v[0].affine(scale, shift))
        },
    },
];

/// Two operands whose shapes broadcast, normally distributed.
fn pair(d: &mut Draw, f: fn(&Var, &Var) -> Var) -> Case {
    let (a, b) = d.broadcasting_shapes();
    Case::new(vec![d.normal(a), d.normal(b)], move |v| f(&v[0], &v[1]))
}

fn div_case(d: &mut Draw) -> Case {
    let (a, b) = d.broadcasting_shapes();
    let (a, b) = (d.normal(a), d.away_from_zero(b));
    // Divisors of magnitude at least 0.5 keep third derivatives, i.e. the numeric gradient's error, small.
    let b = &b + &b.sign().mul_scalar(0.4);
    Case::new(vec![a, b], |v| &v[0] / &v[1])
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

    #[test]
    fn operators_take_values_references_and_scalars() {
        let x = Var::leaf(Tensor::new(&[3.0f64], [1]));
        let y = (&x * 2.0 - 1.0) * &x / (x.clone() + 2.0) - -&x;
        assert_eq!(y.value().item(), 6.0);
    }
}
