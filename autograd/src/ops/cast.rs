//! Conversion between float dtypes.

use tensor::{DType, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The nearest numbers of another float dtype. Derivative: `dy`, converted back. Same as `torch.Tensor.to`.
#[derive(Clone, Debug)]
struct Cast {
    from: DType,
    to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "to_dtype"
    }
    fn forward(&self, inputs: &[&Tensor], _saver: &mut Saver) -> Tensor {
        inputs[0].to_dtype(self.to)
    }
    fn backward(&self, _saved: &Saved, dy: &Var, _wanted: &[bool]) -> Vec<Option<Var>> {
        vec![Some(dy.to_dtype(self.from))]
    }
}

impl Var {
    /// The nearest numbers of another dtype; itself if it has that already. The gradient arrives in the old one.
    /// Same as `torch.Tensor.to`.
    ///
    /// # Panics
    /// If a gradient flows through it and `dtype` is no float.
    #[track_caller]
    pub fn to_dtype(&self, dtype: DType) -> Var {
        if self.dtype() == dtype {
            return self.clone();
        }
        assert!(
            dtype.is_float() || !self.requires_grad(),
            "to_dtype: {dtype} has no gradients; detach the variable first"
        );
        Var::apply(Cast { from: self.dtype(), to: dtype }, &[self])
    }
}

pub(super) const INFO: &[OpInfo] = &[OpInfo { name: "to_dtype", formula: "x, rounded", case }];

/// There and back through f64: all other dtypes round, which differences cannot see through.
fn case(d: &mut Draw) -> Case {
    let shape = d.shape(0..=4);
    Case::new(vec![d.normal(shape)], |v| {
        let dtype = v[0].dtype();
        let cast = |to| Var::apply(Cast { from: dtype, to }, &[&v[0]]);
        cast(DType::F64).to_dtype(dtype)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_arrive_in_the_dtype_of_the_leaf() {
        let x = Var::leaf(Tensor::new(&[1.0f32, 2.0 + 1.0 / 512.0], [2]));
        let y = x.to_dtype(DType::BF16);
        // Eight digits: the last of the second number is lost.
        assert_eq!(y.value().to_f64_vec(), [1.0, 2.0]);
        let g = y.square().sum().backward();
        assert_eq!((g.wrt(&x).dtype(), g.wrt(&x).to_f64_vec()), (DType::F32, vec![2.0, 4.0]));
    }

    #[test]
    fn sixteen_bits_meet_f32_in_f32() {
        let a = Var::leaf(Tensor::new(&[1.5f32], [1])).to_dtype(DType::BF16);
        let b = Var::leaf(Tensor::new(&[1.0f32 / 512.0], [1]));
        let c = Var::constant(Tensor::new(&[1.0f32], [1])).to_dtype(DType::F16);
        assert_eq!((&a + &b).dtype(), DType::F32);
        assert_eq!((&a + &b).value().item(), 1.5 + 1.0 / 512.0);
        assert_eq!((&a * &c).dtype(), DType::F32);
        assert_eq!((&a * &a).dtype(), DType::BF16);
    }

    #[test]
    #[should_panic(expected = "operands have dtypes f32 and f64")]
    fn f32_and_f64_are_a_mistake() {
        let a = Var::constant(Tensor::new(&[1.5f32], [1]));
        let _ = &a + &Var::constant(Tensor::new(&[1.5f64], [1]));
    }
}
