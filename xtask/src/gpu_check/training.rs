//! A small net trained on the CPU and on another device: the same steps.

use autograd::Var;
use lpconv::{ConvertConfig, convert};
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Gru, Linear, MaxPool2d},
    loss::{Reduction, cross_entropy},
    optim::{AdamOptions, AdamW, Groups, Optimizer, Sgd, SgdOptions},
};
use tensor::{DType, Device, Stream, Tensor};

const STEPS: u64 = 20;

/// An optimizer, a dtype, and the difference that 20 steps may make of other last digits.
pub(super) struct Course {
    pub(super) name: &'static str,
    dtype: DType,
    optimizer: fn() -> Box<dyn Optimizer>,
    pub(super) tolerance: f64,
}

fn sgd() -> Box<dyn Optimizer> {
    let options = SgdOptions { momentum: 0.9, nesterov: true, ..Default::default() };
    Box::new(Sgd::new(options, Groups::uniform(1e-2)))
}

fn adam() -> Box<dyn Optimizer> {
    Box::new(AdamW::new(AdamOptions::default(), Groups::uniform(1e-2)))
}

pub(super) const COURSES: [Course; 3] = [
    Course { name: "sgd f64", dtype: DType::F64, optimizer: sgd, tolerance: 1e-9 },
    Course { name: "sgd f32", dtype: DType::F32, optimizer: sgd, tolerance: 1e-3 },
    Course { name: "adamw f64", dtype: DType::F64, optimizer: adam, tolerance: 1e-6 },
];

impl Course {
    /// The largest difference between the two devices of a loss or a parameter, relative to the larger of 1 and the value.
    pub(super) fn difference(&self, device: Device) -> f64 {
        let on = |device| train(device, self.dtype, &mut *(self.optimizer)());
        let ((losses, state), (want_losses, want)) = (on(device), on(Device::Cpu));
        let pairs = state.iter().zip(&want).map(|((_, got), (_, want))| difference(got, want));
        pairs.fold(difference(&losses, &want_losses), f64::max)
    }
}

/// A residual block with Lp-convolutions, whose rows a GRU reads.
#[derive(Module)]
struct Net {
    stem: Conv2d,
    bn1: BatchNorm2d,
    conv: Conv2d,
    bn2: BatchNorm2d,
    pool: MaxPool2d,
    dropout: Dropout,
    gru: Gru,
    head: Linear,
}

impl Net {
    fn new() -> Self {
        let same = Conv2dOptions { padding: [1, 1], ..Default::default() };
        Net {
            stem: Conv2d::new(3, 6, 3),
            bn1: BatchNorm2d::new(6),
            conv: Conv2d::with_options(6, 6, [3, 3], same),
            bn2: BatchNorm2d::new(6),
            pool: MaxPool2d::new(2, 2),
            dropout: Dropout::new(0.2),
            gru: Gru::new(24, 8),
            head: Linear::new(8, 4),
        }
    }
}

impl Forward for Net {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let x = self.bn1.call(&self.stem.call(x, cx), cx).relu();
        let y = self.bn2.call(&self.conv.call(&x, cx), cx);
        let y = self.pool.call(&(&x + &y).relu(), cx);
        let y = self.dropout.call(&y, cx);
        // Rows are time steps: [N, C, H, W] to [H, N, C · W].
        let [n, c, h, w] = y.shape()[..].try_into().expect("images");
        let rows = y.permute(&[2, 0, 1, 3]).reshape([h, n, c * w]);
        let states = self.gru.call(&rows, cx);
        self.head.call(&states.select(0, h - 1), cx)
    }
}

/// Losses of all steps, and the state after the last.
fn train(
    device: Device,
    dtype: DType,
    optimizer: &mut dyn Optimizer,
) -> (Vec<f64>, Vec<(String, Vec<f64>)>) {
    let mut net = Net::new();
    convert(&mut net, &ConvertConfig::lp(2.0)).expect("convolutions of odd kernels");
    net.initialize(7, dtype, device);
    let stream = &mut Stream::new(1);
    let images = Tensor::randn([8, 3, 10, 10], dtype, device, stream);
    let labels: Vec<i64> = (0..8).map(|_| stream.below(4) as i64).collect();
    let labels = Tensor::new(&labels, [8]).to_device(device);
    let mut losses = Vec::new();
    for step in 0..STEPS {
        let mut cx = Context::train(Stream::new(step));
        let logits = net.call(&Var::constant(images.clone()), &mut cx);
        let loss = cross_entropy(&logits, &labels, 0.1, Reduction::Mean);
        losses.push(loss.value().item());
        optimizer.step(&mut net, &loss.backward(), 0.01);
    }
    let state = net.state_dict().into_iter().map(|(name, t)| {
        assert_eq!(t.device(), device, "{name}");
        (name, t.to_f64_vec())
    });
    (losses, state.collect())
}

/// Largest difference, relative to the larger of 1 and the value.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    // Of a NaN, infinite.
    let number = |d: f64| if d.is_nan() { f64::INFINITY } else { d };
    a.iter().zip(b).map(|(a, b)| number((a - b).abs() / b.abs().max(1.0))).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_net_is_trained_as_on_the_cpu() {
        let built = match cuda_stand_in::build() {
            Ok(built) => built,
            Err(reason) => {
                println!("skipped: {reason}");
                return;
            }
        };
        tensor::cuda::use_libraries([built.driver, built.compiler]);
        for index in 0..cuda_stand_in::DEVICES {
            let device = Device::cuda(index).expect("it has four");
            for course in COURSES {
                let off = course.difference(device);
                assert!(off < course.tolerance, "{} on {device} is off by {off}", course.name);
            }
        }
    }

    #[test]
    fn the_net_learns() {
        let (losses, _) = train(Device::Cpu, DType::F64, &mut *sgd());
        assert!(losses[STEPS as usize - 1] < losses[0], "{losses:?}");
    }
}
