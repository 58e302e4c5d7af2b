//! Activation checkpointing as a user meets it: same numbers, less memory, statistics moved once.

use autograd::{Gradients, Var};
use nn::{
    Context, Forward, ModuleExt,
    layers::{BatchNorm2d, Checkpoint, Conv2d, Conv2dOptions, Dropout, ReLU, Sequential},
    optim::{Groups, Optimizer, Sgd, SgdOptions},
};
use tensor::{DType, Device, Stream, Tensor};

/// Convolution, batch norm, dropout: parameters, statistics and random numbers.
fn block() -> Sequential {
    let options = Conv2dOptions { padding: [1, 1], ..Default::default() };
    Sequential::new()
        .with(Conv2d::with_options(4, 4, [3, 3], options))
        .with(BatchNorm2d::new(4))
        .with(ReLU)
        .with(Dropout::new(0.25))
}

/// Three blocks, all or none of them checkpointed, between dropouts that show whether random numbers shift.
fn net(checkpointed: bool) -> Sequential {
    let mut net = (0..3).fold(Sequential::new().with(Dropout::new(0.1)), |net, _| {
        if checkpointed { net.with(Checkpoint::new(block())) } else { net.with(block()) }
    });
    net = net.with(Dropout::new(0.1));
    net.initialize(3, DType::F32, Device::Cpu);
    net
}

fn input() -> Var {
    Var::constant(Tensor::randn([2, 4, 6, 6], DType::F32, Device::Cpu, &mut Stream::new(1)))
}

fn loss(net: &Sequential) -> Var {
    net.call(&input(), &mut Context::train(Stream::new(9))).square().mean()
}

fn state(net: &Sequential) -> Vec<(String, Vec<f64>)> {
    net.state_dict().into_iter().map(|(name, t)| (name, t.to_f64_vec())).collect()
}

fn gradients(net: &Sequential, g: &Gradients) -> Vec<(String, Vec<f32>)> {
    let parameters = net.named_parameters().into_iter();
    parameters.map(|(name, p)| (name, g.wrt(p.leaf()).to_vec::<f32>())).collect()
}

#[test]
fn a_checkpointed_net_trains_to_the_same_bits() {
    let (mut a, mut b) = (net(false), net(true));
    let sgd = || Sgd::new(SgdOptions::default(), Groups::uniform(0.0));
    let mut optimizers = [sgd(), sgd()];
    for _ in 0..3 {
        let (la, lb) = (loss(&a), loss(&b));
        assert_eq!(la.value().item().to_bits(), lb.value().item().to_bits());
        let (ga, gb) = (la.backward(), lb.backward());
        assert_eq!(gradients(&a, &ga), gradients(&b, &gb));
        // After the backward the losses may live on: the blocks are free again.
        optimizers[0].step(&mut a, &ga, 0.1);
        optimizers[1].step(&mut b, &gb, 0.1);
    }
    // Running statistics and counts of batches included.
    assert_eq!(state(&a), state(&b));
}

#[test]
fn the_graph_holds_less() {
    let [plain, checkpointed] = [false, true].map(|c| loss(&net(c)).graph_bytes());
    assert!(checkpointed * 2 < plain, "{checkpointed} of {plain} bytes");
}

#[test]
fn frozen_blocks_and_evaluation_record_nothing() {
    let mut net = net(true);
    let y = net.call(&input(), &mut Context::eval());
    assert!(!y.requires_grad());
    net.set_requires_grad(false, |_| true);
    assert!(!loss(&net).requires_grad());
}

#[test]
#[should_panic(expected = "a graph that awaits its backward uses this block")]
fn parameters_cannot_change_under_a_graph() {
    let mut net = net(true);
    let _loss = loss(&net);
    net.set_requires_grad(false, |_| true);
}
