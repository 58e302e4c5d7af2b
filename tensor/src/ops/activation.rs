//! A bias and an activation in one pass, in place: what follows a convolution or normalization when nothing is recorded.

use super::{channels_innermost, check_same};
use crate::{Shape, Tensor, kernels::UnaryOp};

/// A function of each element, for [`Tensor::bias_act`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// [`Tensor::relu`].
    Relu,
    /// [`Tensor::gelu`].
    Gelu,
    /// [`Tensor::gelu_tanh`].
    GeluTanh,
    /// [`Tensor::silu`].
    Silu,
    /// [`Tensor::sigmoid`].
    Sigmoid,
    /// [`Tensor::tanh`].
    Tanh,
}

impl Activation {
    fn op(self) -> UnaryOp {
        match self {
            Activation::Relu => UnaryOp::Relu,
            Activation::Gelu => UnaryOp::Gelu,
            Activation::GeluTanh => UnaryOp::GeluTanh,
            Activation::Silu => UnaryOp::Silu,
            Activation::Sigmoid => UnaryOp::Sigmoid,
            Activation::Tanh => UnaryOp::Tanh,
        }
    }
}

impl Tensor {
    /// `activation(x + bias)`; `bias` is `[C]` and belongs to axis 1 of `[N, C, ..]`.
    ///
    /// One pass over memory, on the CPU in the memory of `self` where nobody else holds it (a fresh result of a convolution):
    /// the same bits as the two ops one after the other. With a bias the output has channels innermost in memory. Without
    /// one, `self` has any shape.
    ///
    /// # Panics
    /// If there is a bias and `self` has fewer than 2 axes, the bias is not `[C]`, or dtypes or devices differ.
    #[track_caller]
    pub fn bias_act(self, bias: Option<&Tensor>, activation: Activation) -> Tensor {
        const OP: &str = "bias_act";
        let Some(bias) = bias else {
            let x = if self.layout.is_dense() { self } else { self.contiguous() };
            return x.kernels().bias_act(x, None, activation.op());
        };
        check_same(OP, &[&self, bias]);
        let shape = self.shape();
        assert!(
            shape.rank() >= 2 && bias.shape() == Shape::from([shape[1]]),
            "{OP}: input {shape} needs axes [N, C, ..] and a bias [C], not {}",
            bias.shape()
        );
        let bias = bias.contiguous();
        // A second handle on the same memory would forbid to write it.
        let inner = channels_innermost(&self);
        drop(self);
        inner.kernels().bias_act(inner, Some(&bias), activation.op())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Stream};

    const ALL: [Activation; 6] = [
        Activation::Relu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Silu,
        Activation::Sigmoid,
        Activation::Tanh,
    ];

    #[test]
    fn one_pass_has_the_bits_of_two() {
        let stream = &mut Stream::new(3);
        for dtype in [DType::F32, DType::F64] {
            for dims in [&[3, 5][..], &[2, 37, 9, 4], &[1, 700, 100], &[0, 3, 2], &[2, 0, 3]] {
                let x = Tensor::randn(dims, dtype, Device::Cpu, stream).mul_scalar(3.0);
                let bias = Tensor::randn([dims[1]], dtype, Device::Cpu, stream);
                let mut column = vec![1; dims.len()];
                column[1] = dims[1];
                for activation in ALL {
                    let want = |x: &Tensor| x.kernels().unary(activation.op(), x).to_f64_vec();
                    let sum = &x + &bias.reshape(&column[..]);
                    let y = x.clone().bias_act(Some(&bias), activation);
                    assert_eq!(y.to_f64_vec(), want(&sum), "{activation:?} of {dims:?}");
                    let view = x.transpose(0, 1);
                    let y = view.clone().bias_act(None, activation);
                    assert_eq!(y.to_f64_vec(), want(&view), "{activation:?} of {dims:?}");
                }
            }
        }
    }

    #[test]
    fn memory_is_used_again_only_where_nobody_else_does() {
        let x = Tensor::new(&[-1.0f32, 2.0, 0.5, -0.5], [1, 2, 2, 1]).channels_last();
        let bias = Tensor::new(&[0.0f32, 1.0], [2]);
        let other = x.clone();
        let y = x.bias_act(Some(&bias), Activation::Relu);
        assert_eq!(other.to_vec::<f32>(), [-1.0, 2.0, 0.5, -0.5]);
        assert_eq!(y.to_vec::<f32>(), [0.0, 2.0, 1.5, 0.5]);
        let address = y.dense_slice::<f32>().as_ptr();
        let z = y.bias_act(Some(&bias), Activation::Relu);
        assert_eq!((z.dense_slice::<f32>().as_ptr(), z.to_vec::<f32>()[3]), (address, 1.5));
    }

    #[test]
    #[should_panic(
        expected = "bias_act: input [1, 3, 2] needs axes [N, C, ..] and a bias [C], not [2]"
    )]
    fn a_bias_of_another_length_is_refused() {
        let x = Tensor::zeros([1, 3, 2], DType::F32, Device::Cpu);
        x.bias_act(Some(&Tensor::zeros([2], DType::F32, Device::Cpu)), Activation::Relu);
    }
}
