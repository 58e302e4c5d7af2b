//! Losses against PyTorch and timm, with their gradients.

use autograd::Var;
use nn::loss::{
    CrossEntropy, PoissonNll, Reduction, cross_entropy, cross_entropy_with, l1, mse, poisson_nll,
    soft_cross_entropy,
};
use tensor::{DType, Device, Stream, Tensor};

// torch 2.15 and timm 1.0, in f64; where a loss is one number the gradients are those of UP times it.
#[rustfmt::skip]
const LOGITS: [f64; 25] = [
    -0.8287406776347176, -1.0009839559648726, 0.5705717274595473, -1.3354540389270761, 1.213282752302132,
    3.3959064711500058, 2.0647693036587134, 0.01176027488581177, -0.8566338980920999, -1.5578299567968252,
    4.427113093178551, -0.2850347907034733, -0.8332618225799867, 0.588856293618452, -1.3158083700995047,
    0.2795707867923283, -1.241781805376509, -2.4532370228910496, -1.143644204258411, 0.015109079626433585,
    2.431133895648144, -1.285478220547304, 3.2192845970919484, 1.4365524884481815, -2.020889439051662,
];
const CLASSES: [i64; 5] = [0, 3, 1, 4, 2];
#[rustfmt::skip]
const SOFT: [f64; 25] = [
    0.11699721709570021, 0.028552513814687035, 0.36277992041856577, 0.10173260774513816, 0.3899377409259087,
    0.5362552428301415, 0.237284124159221, 0.0450939756427434, 0.02098705074235128, 0.16037960662554288,
    0.1230060567702329, 0.4841803463078603, 0.0974829129884268, 0.010831626487641528, 0.2844990574458387,
    0.08665214579302756, 0.18476601559841818, 0.28835214734326425, 0.304564043287426, 0.13566564797786398,
    0.6686028868049789, 0.007126946907784225, 0.11096227368207182, 0.07167614880361763, 0.14163174380154742,
];

/// `reduction="sum"`, `full=True`, at the logarithms of rates 0.5, -1, 2, 0.1; then at rates.
const POISSON_LOG: (f64, [f64; 4]) = (
    8.192720001248063,
    [1.6487212707001282, -0.6321205588285577, 4.38905609893065, -1.3948290819243523],
);
const POISSON_RATE: (f64, [f64; 4]) =
    (1.252605730009857, [0.25, 0.08333333333333334, -0.04999999999999999, -1.0]);

#[track_caller]
fn assert_close(actual: &Tensor, expected: &[f64]) {
    let actual = actual.to_f64_vec();
    assert!(actual.len() >= expected.len());
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= 1e-12 * e.abs().max(1.0), "element {i}: {a} instead of {e}");
    }
}

fn logits() -> Var {
    Var::leaf(Tensor::new(&LOGITS, [5, 5]))
}

fn classes() -> Tensor {
    Tensor::new(&CLASSES, [5])
}

/// Checks a loss, and the beginning of the gradient of `up` times it.
#[track_caller]
fn check(loss: impl Fn(&Var) -> Var, expected: f64, up: f64, gradient: &[f64]) {
    let x = logits();
    let y = loss(&x);
    assert_close(y.value(), &[expected]);
    assert_close(y.backward_with(&Tensor::scalar(up)).wrt(&x), gradient);
}

#[test]
fn cross_entropy_is_torchs() {
    check(
        |x| cross_entropy(x, &classes(), 0.1, Reduction::Mean),
        2.715613404683155,
        -1.1418110229684892,
        &[0.1940146050709712, -0.00896732866924459, -0.060589970818816584],
    );
    check(
        |x| cross_entropy(x, &classes(), 0.0, Reduction::Sum),
        13.521571243605699,
        0.19812338361216617,
        &[-0.18417382821613648, 0.011742378104769214, 0.056529353917471124],
    );
    let losses = cross_entropy(&logits(), &classes(), 0.2, Reduction::None);
    assert_eq!(losses.dims(), [5]);
    let expected = [
        2.542947181850401,
        4.236047757207613,
        4.5900435437064875,
        1.2786719596939145,
        0.9868523607674327,
    ];
    assert_close(losses.value(), &expected);
}

#[test]
fn soft_cross_entropy_is_timms() {
    let target = Tensor::new(&SOFT, [5, 5]);
    check(
        |x| soft_cross_entropy(x, &target, Reduction::Mean),
        2.3668784996946433,
        0.3396988567944771,
        &[-0.003165231882791404, 0.0020868035903513957, -0.005262338342612963],
    );
}

#[test]
fn cells_of_a_map_are_samples_of_their_own() {
    // Sudoku: logits [N, 9, 9, 9] with the digit on axis 1.
    let x = Tensor::randn([2, 4, 3, 5], DType::F64, Device::Cpu, &mut Stream::new(1));
    let digits: Vec<i64> = (0..30).map(|i| i * 7 % 4).collect();
    let map = cross_entropy(
        &Var::constant(x.clone()),
        &Tensor::new(&digits, [2, 3, 5]),
        0.1,
        Reduction::Mean,
    );
    let rows = x.permute(&[0, 2, 3, 1]).reshape([30, 4]);
    let flat =
        cross_entropy(&Var::constant(rows), &Tensor::new(&digits, [30]), 0.1, Reduction::Mean);
    assert_close(map.value(), &[flat.value().item()]);
}

#[test]
fn squared_and_absolute_differences() {
    let x = Var::leaf(Tensor::new(&[1.0, -2.0, 4.0], [3]));
    let target = Tensor::new(&[0.0, 1.0, 5.0], [3]);
    let squared = mse(&x, &target, Reduction::Mean);
    assert_close(squared.value(), &[11.0 / 3.0]);
    assert_close(squared.backward().wrt(&x), &[2.0 / 3.0, -2.0, -2.0 / 3.0]);
    let absolute = l1(&x, &target, Reduction::Sum);
    assert_close(absolute.value(), &[5.0]);
    assert_close(absolute.backward().wrt(&x), &[1.0, -1.0, -1.0]);
    assert_close(mse(&x, &target, Reduction::None).value(), &[1.0, 9.0, 1.0]);
}

#[test]
#[should_panic(expected = "mse: target [3, 1] does not have the shape [3] of the output")]
fn targets_do_not_broadcast() {
    let x = Var::constant(Tensor::new(&[1.0, -2.0, 4.0], [3]));
    mse(&x, &Tensor::zeros([3, 1], DType::F64, Device::Cpu), Reduction::Mean);
}

#[test]
fn poisson_nll_is_torchs() {
    let target = Tensor::new(&[0.0, 1.0, 3.0, 2.5], [4]);
    let run = |x: [f64; 4], options: PoissonNll, reduction| {
        let x = Var::leaf(Tensor::new(&x, [4]));
        let y = poisson_nll(&x, &target, &options, reduction);
        (y.value().clone(), y.backward().wrt(&x).clone())
    };
    let options = PoissonNll { full: true, ..Default::default() };
    let (y, dx) = run([0.5, -1.0, 2.0, 0.1], options, Reduction::Sum);
    assert_close(&y, &[POISSON_LOG.0]);
    assert_close(&dx, &POISSON_LOG.1);
    let options = PoissonNll { log_input: false, full: true, eps: 0.5 };
    let (y, dx) = run([0.5, 1.0, 2.0, 0.0], options, Reduction::Mean);
    assert_close(&y, &[POISSON_RATE.0]);
    assert_close(&dx, &POISSON_RATE.1);
}

// torch 2.15: weight [0.5, 2, 1.5], label_smoothing 0.2, the second sample ignored; the sum's gradient.
#[rustfmt::skip]
const WEIGHTED_DX: [f64; 12] = [
    0.21943761565605352, 0.45303885609367933, -0.6724764717497327, 0.0, 0.0, 0.0, -0.33953274718521415,
    0.10593202018854982, 0.23360072699666437, 1.1132657943681, -1.2926105962735206, 0.1793448019054209,
];

#[test]
fn weighted_cross_entropy_is_torchs() {
    let values: Vec<f64> = (0..12).map(|i| f64::from(i).sin()).collect();
    let x = Var::leaf(Tensor::new(&values, [4, 3]));
    let (classes, weight) =
        (Tensor::new(&[2i64, -100, 0, 1], [4]), Tensor::new(&[0.5, 2.0, 1.5], [3]));
    let options =
        CrossEntropy { weight: Some(&weight), label_smoothing: 0.2, ..Default::default() };
    let loss = |reduction| cross_entropy_with(&x, &classes, &options, reduction);
    let none = [1.2845041095462284, 0.0, 1.0556817232403857, 2.708247022061476];
    assert_close(loss(Reduction::None).value(), &none);
    assert_close(loss(Reduction::Mean).value(), &[1.2621082137120225]);
    let sum = loss(Reduction::Sum);
    assert_close(sum.value(), &[5.04843285484809]);
    assert_close(sum.backward().wrt(&x), &WEIGHTED_DX);
    // Without weights and ignored samples it is the plain one, on maps too.
    let maps = logits().reshape([1, 5, 5, 1]);
    let classes = classes_of_maps();
    let plain = cross_entropy(&maps, &classes, 0.1, Reduction::Mean);
    let options = CrossEntropy { label_smoothing: 0.1, ..Default::default() };
    let same = cross_entropy_with(&maps, &classes, &options, Reduction::Mean);
    assert_close(same.value(), &[plain.value().item()]);
}

fn classes_of_maps() -> Tensor {
    classes().reshape([1, 5, 1])
}
