//! A small net trained on the CPU and on a stand-in for a GPU: the same steps.

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

/// The stand-in's devices, or none and a printed reason.
fn devices() -> Vec<Device> {
    match cuda_stand_in::build() {
        Ok(built) => {
            tensor::cuda::use_libraries([built.driver, built.compiler]);
            (0..cuda_stand_in::DEVICES).map(|i| Device::cuda(i).expect("it has four")).collect()
        }
        Err(reason) => {
            println!("skipped: {reason}");
            Vec::new()
        }
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
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

#[test]
fn a_net_is_trained_as_on_the_cpu() {
    // Optimizers and the differences that 20 steps may make of other last digits.
    type New = fn() -> Box<dyn Optimizer>;
    let sgd: New = || {
        let options = SgdOptions { momentum: 0.9, nesterov: true, ..Default::default() };
        Box::new(Sgd::new(options, Groups::uniform(1e-2)))
    };
    let adam: New = || Box::new(AdamW::new(AdamOptions::default(), Groups::uniform(1e-2)));
    for (optimizer, dtype, tolerance) in
        [(sgd, DType::F64, 1e-9), (sgd, DType::F32, 1e-3), (adam, DType::F64, 1e-6)]
    {
        let (losses, state) = train(Device::Cpu, dtype, &mut *optimizer());
        assert!(losses[STEPS as usize - 1] < losses[0], "{losses:?}");
        for device in devices() {
            let (got, got_state) = train(device, dtype, &mut *optimizer());
            let off = difference(&got, &losses);
            assert!(off < tolerance, "{dtype} on {device}: losses are off by {off}: {got:?}");
            for ((name, got), (_, want)) in got_state.iter().zip(&state) {
                let off = difference(got, want);
                assert!(off < tolerance, "{dtype} on {device}: {name} is off by {off}");
            }
        }
    }
}
