//! A small network trained two steps ends with the numbers that `two_steps.py` computes without autograd.

use autograd::Var;
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{AvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, ELU, Flatten, Linear},
    loss::{Reduction, cross_entropy},
    optim::{Groups, Optimizer, Sgd, SgdOptions},
};
use tensor::{DType, Stream, Tensor};

#[derive(Module)]
struct Net {
    conv: Conv2d,
    bn: BatchNorm2d,
    fc: Linear,
}

impl Forward for Net {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.bn.call(&self.conv.call(x, cx), cx);
        let y = AvgPool2d::new(2, 2).call(&ELU::default().call(&y, cx), cx);
        self.fc.call(&Flatten.call(&y, cx), cx)
    }
}

fn wave(shape: &[usize], rate: f64, phase: f64, scale: f64, offset: f64) -> Tensor {
    let n = shape.iter().product();
    let values: Vec<f64> =
        (0..n).map(|i| offset + scale * (rate * i as f64 + phase).cos()).collect();
    Tensor::new(&values, shape)
}

fn net() -> Net {
    let options = Conv2dOptions { bias: false, ..Default::default() };
    let mut net = Net {
        conv: Conv2d::with_options(1, 2, [3, 3], options),
        bn: BatchNorm2d::new(2),
        fc: Linear::new(8, 3),
    };
    for (i, (_, p)) in net.named_parameters_mut().into_iter().enumerate() {
        p.set(wave(&p.shape(), 0.9 + 0.1 * i as f64, i as f64, 0.5, 0.0));
    }
    net.to(DType::F64, tensor::Device::Cpu);
    net
}

fn batch(b: usize) -> (Var, Tensor) {
    let classes: [[i64; 4]; 2] = [[0, 1, 2, 1], [2, 2, 0, 1]];
    let x = wave(&[4, 1, 6, 6], 1.7, b as f64, 1.0, 0.3);
    (Var::constant(x), Tensor::new(&classes[b], [4]))
}

#[track_caller]
fn assert_close(actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= tolerance, "element {i}: {a} instead of {e}");
    }
}

fn check(dtype: DType, tolerance: f64) {
    let mut net = net();
    net.to(dtype, tensor::Device::Cpu);
    let options = SgdOptions { momentum: 0.9, nesterov: true, ..Default::default() };
    let mut optimizer = Sgd::new(options, Groups::uniform(0.01));
    let mut losses = Vec::new();
    let loss = |net: &Net, b: usize, cx: &mut Context| {
        let (x, classes) = batch(b);
        let x = Var::constant(x.value().to_dtype(dtype));
        cross_entropy(&net.call(&x, cx), &classes, 0.1, Reduction::Mean)
    };
    for b in 0..2 {
        let loss = loss(&net, b, &mut Context::train(Stream::new(0)));
        losses.push(loss.value().item());
        optimizer.step(&mut net, &loss.backward(), 0.1);
    }
    losses.push(loss(&net, 0, &mut Context::eval()).value().item());

    assert_close(&losses, &[1.169778609810908, 1.0707833137267329, 1.13348452710951], tolerance);
    for (name, expected) in EXPECTED {
        let state = net.state_dict();
        let (_, value) = state.iter().find(|(n, _)| n == name).expect("a tensor of this name");
        assert_close(&value.to_f64_vec(), expected, tolerance);
    }
    assert_eq!(net.bn.state_dict()[4].1.to_vec::<i64>(), [2]);
}

#[rustfmt::skip]
const EXPECTED: [(&str, &[f64]); 6] = [
    ("conv.weight", &[
        0.49594655964148876, 0.30974095220005543, -0.11142225242919608, -0.4488039981067778, -0.44777821977566423,
        -0.10568484915421307, 0.31599231020073226, 0.4993507631410402, 0.30222247504863997, -0.12032962135813088,
        -0.4547638643437788, -0.4430948360174549, -0.09651163744131229, 0.32373738663336915, 0.496840973322386,
        0.2949146870410512, -0.1300569065343228, -0.45548338979616504,
    ]),
    ("bn.weight", &[0.26610927736002526, -0.20733446859052906]),
    ("bn.bias", &[-0.2251804163606854, -0.46878755813956036]),
    ("fc.bias", &[-0.3135635747344326, 0.32031377572708397, 0.4167715182098907]),
    ("bn.running_mean", &[0.04627211346531468, -0.03329575397141289]),
    ("bn.running_var", &[0.8732383918436853, 0.950718320358622]),
];

#[test]
fn two_steps_are_those_computed_by_hand() {
    check(DType::F64, 1e-12);
    check(DType::F32, 1e-5);
}
