//! Who may watch a forward: observers, profiles, and the search for numbers that are not finite.

use autograd::{
    Var,
    profile::profile,
    trace::{NanTrace, Phase, watched},
};
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{Linear, ReLU, Sequential},
};
use tensor::{DType, Device, Stream, Tensor};

/// The logarithm of the input's absolute value: infinite at 0, with a gradient that is, too.
#[derive(Module)]
struct LogAbs;

impl Forward for LogAbs {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.abs().log()
    }
}

/// `sqrt(relu(x))`: finite, but not its gradient.
#[derive(Module)]
struct SqrtReLU;

impl Forward for SqrtReLU {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.relu().sqrt()
    }
}

fn net(middle: impl Forward) -> Sequential {
    let mut net = Sequential::new().with(Linear::new(4, 8)).with(ReLU).with(middle);
    net = net.with(Linear::new(8, 2));
    net.initialize(1, DType::F32, Device::Cpu);
    net
}

fn input() -> Var {
    Var::constant(Tensor::randn([6, 4], DType::F32, Device::Cpu, &mut Stream::new(1)))
}

/// The first bad number of a step; the second module leaves zeros behind.
fn first_bad(net: &Sequential) -> Option<(String, &'static str, Phase)> {
    let step = || {
        let mut cx = Context::train(Stream::new(0)).with_names(net);
        net.call(&input(), &mut cx).sum().backward();
    };
    let bad = watched(NanTrace::default(), step).1.found().cloned()?;
    Some((bad.scope, bad.op, bad.phase))
}

#[test]
fn bad_numbers_are_traced_to_layer_and_op() {
    assert_eq!(first_bad(&net(LogAbs)), Some(("2".into(), "log", Phase::Forward)));
    assert_eq!(first_bad(&net(SqrtReLU)), Some(("2".into(), "sqrt", Phase::Backward)));
    assert_eq!(first_bad(&net(ReLU)), None);
}

#[test]
fn two_observers_see_the_same_and_change_nothing() {
    let net = net(ReLU);
    let (mut a, mut b) = (Vec::new(), 0);
    let mut cx = Context::eval()
        .with_observer(&net, |e| a.push(e.path.to_owned()))
        .with_observer(&net, |_| b += 1);
    let y = net.call(&input(), &mut cx);
    drop(cx);
    assert_eq!(a, ["0", "1", "2", "3", ""]);
    assert_eq!(b, 5);
    let plain = net.call(&input(), &mut Context::eval());
    assert_eq!(y.value().to_vec::<f32>(), plain.value().to_vec::<f32>());
}

#[test]
fn a_profile_counts_the_products_of_a_step() {
    let net = net(ReLU);
    let ((), profile) = profile(|| {
        net.call(&input(), &mut Context::train(Stream::new(0))).sum().backward();
    });
    let macs: u64 = profile.ops().iter().map(|op| op.macs).sum();
    // Forward, weight gradients, and the second layer's input gradient: the data wants none.
    let (first, second) = (6 * 4 * 8, 6 * 8 * 2);
    assert_eq!(macs, 2 * first + 3 * second);
    assert!(profile.chrome_trace().contains("\"name\":\"Linear\",\"cat\":\"module\""));
}
