//! How parameters start: [`Init`].

use tensor::{DType, Device, Shape, Stream, Tensor};

/// The distribution from which a parameter is drawn.
///
/// A parameter's numbers come from a stream keyed by the seed and its name, so they do not depend on the order of
/// initialization nor on what other parameters the model has: two models that share a layer's name and shape share
/// its initial weights.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// Every element the same.
    Constant(f64),
    /// Uniform in `low..high`.
    Uniform {
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
    },
    /// Normal.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// Row-major values given as they are (a mask's matrix, for example).
    Values(Vec<f64>),
}

impl Init {
    /// Uniform in `±1/sqrt(fan_in)`: the default of PyTorch's convolutions and linear layers
    /// (`kaiming_uniform_` with `a = sqrt(5)`).
    pub fn fan_in_uniform(fan_in: usize) -> Self {
        let bound = if fan_in == 0 { 0.0 } else { 1.0 / (fan_in as f64).sqrt() };
        Init::Uniform { low: -bound, high: bound }
    }

    /// Normal with standard deviation `sqrt(2 / fan_out)`: He et al. 2015, `kaiming_normal_(mode="fan_out")`.
    pub fn he_normal_fan_out(fan_out: usize) -> Self {
        Init::Normal { mean: 0.0, std: (2.0 / fan_out.max(1) as f64).sqrt() }
    }

    /// Draws a tensor.
    ///
    /// # Panics
    /// If [`Init::Values`] holds another number of elements than `shape`.
    #[track_caller]
    pub fn draw(&self, shape: Shape, dtype: DType, device: Device, stream: &mut Stream) -> Tensor {
        match self {
            Init::Constant(value) => Tensor::full(*value, shape, dtype, device),
            Init::Uniform { low, high } => {
                Tensor::rand(shape, dtype, device, stream).mul_scalar(high - low).add_scalar(*low)
            }
            Init::Normal { mean, std } => {
                Tensor::randn(shape, dtype, device, stream).mul_scalar(*std).add_scalar(*mean)
            }
            Init::Values(values) => Tensor::new(values, shape).to_dtype(dtype).to_device(device),
        }
    }
}
