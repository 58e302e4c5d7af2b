//! Recurrent layers against PyTorch, beyond the goldens of `cargo xtask verify`: both directions, without biases; and that
//! cells are layers of one step.

use autograd::Var;
use nn::{
    Context, Forward, ModuleExt,
    layers::{Gru, GruCell, Lstm, LstmCell, RecurrentOptions},
};
use tensor::{DType, Device, Stream, Tensor};

fn normal(shape: &[usize], seed: u64) -> Var {
    Var::leaf(Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(seed)))
}

#[track_caller]
fn assert_close(actual: &Tensor, expected: &[f64]) {
    let actual = actual.to_f64_vec();
    assert_eq!(actual.len(), expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= 1e-12, "element {i}: {a} instead of {e}");
    }
}

/// Values that PyTorch can make too: parameter `k` is `sin(0.7 i + k) / 2`.
fn fill(layer: &mut dyn nn::Module) {
    let named = layer.named_parameters();
    let state = named.iter().enumerate().map(|(k, (name, p))| {
        let values: Vec<f64> =
            (0..p.shape().numel()).map(|i| (i as f64 * 0.7 + k as f64).sin() * 0.5).collect();
        (name.clone(), Tensor::new(&values, p.shape()))
    });
    let state = state.collect();
    layer.load_state_dict(state).expect("its own names");
}

fn input() -> Var {
    let values: Vec<f64> = (0..12).map(|i| f64::from(i).cos()).collect();
    Var::leaf(Tensor::new(&values, [3, 2, 2]))
}

fn both_directions() -> RecurrentOptions {
    RecurrentOptions { num_layers: 2, bias: false, bidirectional: true, ..Default::default() }
}

// torch 2.15: (nn.GRU or nn.LSTM)(2, 3, 2, bidirectional=True, bias=False); the output and the last states summed over
// their last axis, and the input's gradient of the sum of the output.
#[rustfmt::skip]
mod golden {
    pub(super) const GRU_Y: [f64; 6] = [
        -0.0784441054590519, -0.1465836717985944, -0.055034145357381895, -0.09729171677617372, -0.10009211403984708,
        -0.07483759338757219,
    ];
    pub(super) const GRU_H: [f64; 8] = [
        0.30366870499158083, 0.1845213383812099, -0.04577386772655556, 0.22785083169613052, -0.059653225792058534,
        -0.056953777106578396, -0.053114857240236873, -0.08561211959576018,
    ];
    pub(super) const GRU_DX: [f64; 12] = [
        -0.0648128282044985, -0.06230487904703536, 0.2262914153186526, 0.2476010594943221, 0.09799523064270556,
        0.03835881049494066, -0.04916698275606189, -0.035687966405862054, 0.20838719600118108, 0.2142785743580689,
        0.12681713696632774, 0.11003098821753729,
    ];
    pub(super) const LSTM_Y: [f64; 6] = [
        0.03350378720230698, 0.016801271458463884, 0.006403222272087953, 0.027983394986301507, 0.014206806792221405,
        0.006215773488451174,
    ];
    pub(super) const LSTM_H: [f64; 8] = [
        0.0867254895477996, -0.0025744169416987636, -0.1699224538192885, -0.052613746892283236, 0.008140369194314327,
        0.00441477488990091, 0.015514722015925762, 0.008709860362144207,
    ];
    pub(super) const LSTM_DX: [f64; 12] = [
        0.059096475675650836, 0.04678092189183848, -0.00403556679249024, -0.016715254127942267, 0.0054071065610106295,
        0.007000997006287086, 0.05259344039092051, 0.03607994571281964, -0.01340970790735971, -0.019293469722670552,
        0.0021808760345032123, 0.0005936933608426723,
    ];
}

#[test]
fn both_directions_are_torchs() {
    let mut cx = Context::train(Stream::new(0));
    let sums = |v: &Var| v.value().sum(&[-1], false);

    let mut gru = Gru::with_options(2, 3, both_directions());
    fill(&mut gru);
    let names: Vec<String> = gru.named_parameters().into_iter().map(|(name, _)| name).collect();
    let expected = ["weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"];
    assert_eq!((names.len(), &names[..4]), (8, &expected.map(str::to_owned)[..]));
    let x = input();
    let (y, h) = gru.run(&x, None, &mut cx);
    assert_close(&sums(&y), &golden::GRU_Y);
    assert_close(&sums(&h), &golden::GRU_H);
    assert_close(y.sum().backward().wrt(&x), &golden::GRU_DX);

    let mut lstm = Lstm::with_options(2, 3, both_directions());
    fill(&mut lstm);
    let x = input();
    let (y, (h, _)) = lstm.run(&x, None, &mut cx);
    assert_close(&sums(&y), &golden::LSTM_Y);
    assert_close(&sums(&h), &golden::LSTM_H);
    assert_close(y.sum().backward().wrt(&x), &golden::LSTM_DX);
}

/// The cell's parameters under the layer's names.
fn copy(cell: &dyn nn::Module, layer: &mut dyn nn::Module) {
    let state = cell.state_dict().into_iter().map(|(name, t)| (format!("{name}_l0"), t)).collect();
    layer.load_state_dict(state).expect("the names of one layer");
}

#[test]
fn cells_step_through_what_layers_run_through() {
    let options = RecurrentOptions { batch_first: true, ..Default::default() };
    let (x, h0, c0) = (normal(&[4, 3, 2], 1), normal(&[4, 5], 2), normal(&[4, 5], 3));
    let mut cx = Context::eval();

    let (mut cell, mut layer) = (GruCell::new(2, 5), Gru::with_options(2, 5, options));
    cell.initialize(1, DType::F64, Device::Cpu);
    copy(&cell, &mut layer);
    let mut h = h0.clone();
    for t in 0..3 {
        h = cell.step(&x.select(1, t), &h, &cx);
    }
    let (y, last) = layer.run(&x, Some(&h0.unsqueeze(0)), &mut cx);
    assert_close(last.value(), &h.value().to_f64_vec());
    assert_close(y.select(1, 2).value(), &h.value().to_f64_vec());

    let (mut cell, mut layer) = (LstmCell::new(2, 5), Lstm::with_options(2, 5, options));
    cell.initialize(1, DType::F64, Device::Cpu);
    copy(&cell, &mut layer);
    let (mut h, mut c) = (h0.clone(), c0.clone());
    for t in 0..3 {
        (h, c) = cell.step(&x.select(1, t), (&h, &c), &cx);
    }
    let (_, (last, cells)) = layer.run(&x, Some((&h0.unsqueeze(0), &c0.unsqueeze(0))), &mut cx);
    assert_close(last.value(), &h.value().to_f64_vec());
    assert_close(cells.value(), &c.value().to_f64_vec());
}

#[test]
fn dropout_is_between_layers_and_in_training_only() {
    let options = RecurrentOptions { num_layers: 2, dropout: 0.5, ..Default::default() };
    let mut gru = Gru::with_options(2, 8, options);
    gru.initialize(1, DType::F64, Device::Cpu);
    let x = normal(&[3, 4, 2], 1);
    let train = |seed| gru.call(&x, &mut Context::train(Stream::new(seed))).value().to_f64_vec();
    assert_eq!(train(1), train(1));
    assert_ne!(train(1), train(2));
    let eval = |_| gru.call(&x, &mut Context::eval()).value().to_f64_vec();
    assert_eq!(eval(1), eval(2));
    // 4 samples, 3 steps, both layers: (24 · 2 + 24 · 8) + (24 · 8 + 24 · 8) per step and sample.
    assert_eq!(gru.macs(&x.shape(), &[3, 4, 8].into()), 12 * (24 * 2 + 3 * 24 * 8));
}

#[test]
#[should_panic(expected = "Gru: input [3, 4, 2] is not [T, N, 5]")]
fn a_wrong_input_is_named() {
    let gru = Gru::new(5, 2);
    gru.call(&normal(&[3, 4, 2], 1), &mut Context::eval());
}
