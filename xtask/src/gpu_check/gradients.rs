//! Gradients on a device against central differences there, in f64.

use autograd::{Var, gradcheck::gradcheck};
use lpconv::mask::{lp_mask, masked_weight};
use tensor::{Conv2dOptions, DType, Device, GridSample, Pool2d, Stream, Tensor};

/// A function and the shapes of its inputs.
pub(super) struct Check {
    pub(super) name: &'static str,
    shapes: &'static [&'static [usize]],
    f: fn(&[Var]) -> Var,
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "Lp-convolution",
        shapes: &[&[1, 4, 5, 5], &[4, 2, 3, 3], &[4, 2, 2], &[4]],
        f: |v| {
            let mask = lp_mask(&v[2], &v[3], [3, 3], [1.1, 0.9]);
            let options = Conv2dOptions { groups: 2, padding: [1, 1], ..Default::default() };
            v[0].conv2d(&masked_weight(&v[1], &mask, [0, 0]), None, &options)
        },
    },
    Check {
        name: "depthwise convolution",
        shapes: &[&[1, 3, 6, 6], &[3, 1, 5, 5]],
        f: |v| {
            let options = Conv2dOptions { groups: 3, padding: [2, 2], ..Default::default() };
            v[0].conv2d(&v[1], None, &options)
        },
    },
    Check {
        name: "normalizations",
        shapes: &[&[3, 4, 2, 3], &[4], &[4], &[3], &[3]],
        f: |v| {
            let (y, _) = v[0].batch_norm(Some(&v[1]), Some(&v[2]), 0.1);
            y.layer_norm(1, Some(&v[3]), Some(&v[4]), 0.1).softmax(1)
        },
    },
    Check {
        name: "pooling and sampling",
        shapes: &[&[1, 2, 6, 6], &[1, 3, 3, 2]],
        f: |v| {
            let pool = Pool2d { kernel: [2; 2], stride: [1; 2], padding: [0; 2], ceil_mode: false };
            v[0].max_pool2d(&pool).grid_sample(&v[1].tanh(), &GridSample::default())
        },
    },
];

impl Check {
    /// Runs it.
    ///
    /// # Errors
    /// The worst element.
    pub(super) fn run(&self, device: Device) -> Result<(), String> {
        let stream = &mut Stream::new(5);
        let draw =
            |s: &&[usize]| Tensor::randn(*s, DType::F64, Device::Cpu, stream).to_device(device);
        let inputs: Vec<Tensor> = self.shapes.iter().map(draw).collect();
        gradcheck(self.f, &inputs).map_err(|error| error.to_string())
    }
}
