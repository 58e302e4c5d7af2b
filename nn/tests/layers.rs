//! The layers as a model uses them: against PyTorch, in training and evaluation, with their gradients.

use autograd::Var;
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{
        AdaptiveAvgPool2d, AvgPool2d, BatchNorm2d, BatchNormOptions, ConstantPad2d, DropPath,
        Dropout, Identity, LayerNorm, LayerNorm2d, MaxPool2d, ReflectionPad2d, Upsample, ZeroPad2d,
    },
};
use tensor::{DType, Device, Interpolate, Stream, Tensor};

fn initialized<M: Module>(mut module: M) -> M {
    module.initialize(7, DType::F64, Device::Cpu);
    module
}

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(3))
}

#[track_caller]
fn assert_close(actual: &Tensor, expected: &[f64]) {
    let actual = actual.to_f64_vec();
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        assert!((a - e).abs() <= 1e-10 * scale, "element {i}: {a} instead of {e}");
    }
}

/// The output of a layer without state in evaluation.
fn eval(layer: &dyn Forward, x: &Tensor) -> Tensor {
    layer.call(&Var::constant(x.clone()), &mut Context::eval()).value().clone()
}

// ---- batch norm -----------------------------------------------------------------------------------------------

// torch 2.15: BatchNorm1d(4) in f64, momentum 0.1, eps 1e-5, in training and in evaluation.
#[rustfmt::skip]
mod golden {
    pub(super) const X: [f64; 20] = [
        -1.2445212521552587, 0.9888445332991872, -1.2841181202860803, -2.371411214948519, -1.6614857762721913,
        2.7474412133277353, 1.714380796906811, 0.4065528929036931, 1.2947109889933959, -0.1450305474209913,
        -0.210758487564923, -0.8723527875381363, 1.5290649952170683, -1.7467113210026324, 0.26216540214026496,
        2.1035299690260247, 0.06196969871342306, 1.2835489848283879, 1.576124986283369, -0.47145750971892886,
    ];
    pub(super) const WEIGHT: [f64; 4] = [0.9545523249967777, 1.0197858379339293, 0.6237163827982767, 1.2858458010150802];
    pub(super) const BIAS: [f64; 4] = [1.4647233684540595, 0.7384044734247173, 0.5097333110972166, 0.22379707688240155];
    pub(super) const MEAN: [f64; 4] = [-1.4545439979630923, 0.7144145214781851, 0.08722906318803286, -1.2474484511077013];
    pub(super) const VAR: [f64; 4] = [2.145835880514108, 2.2168128384704247, 0.969887279365346, 1.4033133068625578];
    pub(super) const TRAIN_UP: [f64; 20] = [
        -0.04594534412146501, 2.251114833925229, -0.10258162449132725, 0.0021207109472636244, 1.8202873477508374,
        0.7360182647478825, 0.3914442214779795, 0.06631616174716691, -1.1891839973258125, 1.1213171323848103,
        -0.26733036020659334, -0.1613647286471515, 1.1028576996935067, 1.7773770347186928, -0.810888108563084,
        -0.11496662493300748, 0.7541612587870807, 1.2319897127401707, 1.4014697084047265, 0.4229315420367428,
    ];
    pub(super) const TRAIN_Y: [f64; 20] = [
        0.5472076261165608, 0.9849211347021023, -0.42960302229499253, -1.6309628083865204, 0.2387988548375721,
        2.1784574702305153, 1.2314438157059677, 0.7875953650585302, 2.4253566056806655, 0.2153750960005073,
        0.1649946991670685, -0.3258487495557987, 2.598697086520906, -0.8716644866944361, 0.42697536125959495,
        2.265021860960145, 1.5135566691145932, 1.1849331528848974, 1.1548557016484449, 0.023179716335651423,
    ];
    pub(super) const TRAIN_DX: [f64; 20] = [
        -0.6997776311197161, 0.6029367046024457, 0.26118720272866075, -0.07414946842227188, 0.5782254103783269,
        -0.22543682692560962, -0.14741416224469145, 0.03201209586157405, -0.9220227487310817, -0.2927314634350241,
        -0.07430673863989054, -0.18935579632653338, 0.8308225430203791, -0.029537887860592037, -0.48302372607361954,
        -0.09510735949971523, 0.2127524264520919, -0.055230526381220085, 0.4435574242295407, 0.32660052838694636,
    ];
    pub(super) const TRAIN_DWEIGHT: [f64; 4] =
        [-2.1416417881693746, -1.2583230591549228, 2.3123556101725695, -0.15349519758988606];
    pub(super) const TRAIN_DBIAS: [f64; 4] = [2.4421769647841476, 7.117816978516785, 0.6121138366217014, 0.2150370611510144];
    pub(super) const NEW_MEAN: [f64; 4] = [-1.3094948250768543, 0.7055349265910003, 0.11966204841881842, -1.1468063790024485];
    pub(super) const NEW_VAR: [f64; 4] = [2.139438356852038, 2.2773512054942695, 1.031360475668209, 1.5356448379718217];
    pub(super) const EVAL_Y: [f64; 20] = [
        1.6015803031509213, 0.9263686503410484, -0.3587704427586762, -0.9962088639544945, 1.3298740818629093,
        2.1308767699011018, 1.5402436048127537, 2.019133658096668, 3.256217945708995, 0.149748429909326,
        0.3210113670482821, 0.6309448513987446, 3.4089298379487394, -0.947283947458176, 0.6205242682645477,
        3.8611182690979637, 2.4529278372350456, 1.128219312729227, 1.452683217504666, 1.066096830029737,
    ];
}

fn golden_batch_norm() -> BatchNorm2d {
    let mut bn = initialized(BatchNorm2d::new(4));
    let state = [
        ("weight", golden::WEIGHT),
        ("bias", golden::BIAS),
        ("running_mean", golden::MEAN),
        ("running_var", golden::VAR),
    ];
    let mut state: Vec<(String, Tensor)> =
        state.iter().map(|(name, v)| (name.to_string(), Tensor::new(v, [4]))).collect();
    state.push(("num_batches_tracked".into(), Tensor::scalar(41i64)));
    bn.load_state_dict(state).expect("PyTorch's names");
    bn
}

/// A named tensor of a module's state.
fn state(module: &dyn Module, name: &str) -> Tensor {
    let state = module.state_dict();
    state.into_iter().find(|(n, _)| n == name).expect("a tensor of this name").1
}

#[test]
fn batch_norm_in_training_is_torchs() {
    let bn = golden_batch_norm();
    let x = Var::leaf(Tensor::new(&golden::X, [5, 4]));
    let y = bn.call(&x, &mut Context::train(Stream::new(0)));
    assert_close(y.value(), &golden::TRAIN_Y);
    let gradients = y.backward_with(&Tensor::new(&golden::TRAIN_UP, [5, 4]));
    assert_close(gradients.wrt(&x), &golden::TRAIN_DX);
    let of = |p: &Option<nn::Param>| gradients.wrt(p.as_ref().expect("affine").leaf()).clone();
    assert_close(&of(&bn.weight), &golden::TRAIN_DWEIGHT);
    assert_close(&of(&bn.bias), &golden::TRAIN_DBIAS);
    assert_close(&state(&bn, "running_mean"), &golden::NEW_MEAN);
    assert_close(&state(&bn, "running_var"), &golden::NEW_VAR);
    assert_eq!(state(&bn, "num_batches_tracked").to_vec::<i64>(), [42]);
}

#[test]
fn batch_norm_in_evaluation_uses_and_keeps_the_running_statistics() {
    let bn = golden_batch_norm();
    assert_close(&eval(&bn, &Tensor::new(&golden::X, [5, 4])), &golden::EVAL_Y);
    assert_eq!(state(&bn, "running_mean").to_f64_vec(), golden::MEAN);
    assert_eq!(state(&bn, "num_batches_tracked").item(), 41.0);
}

#[test]
fn batch_norm_of_images_is_that_of_all_their_pixels() {
    let images = normal(&[3, 4, 2, 5]);
    let pixels = images.permute(&[0, 2, 3, 1]).reshape([30, 4]);
    let run = |x: Tensor| {
        let bn = golden_batch_norm();
        let y = bn.call(&Var::constant(x), &mut Context::train(Stream::new(0))).value().clone();
        (y, state(&bn, "running_var").to_f64_vec())
    };
    let (a, var_a) = run(images);
    let (b, var_b) = run(pixels);
    assert_close(&a.permute(&[0, 2, 3, 1]), &b.to_f64_vec());
    assert_close(&Tensor::new(&var_a, [4]), &var_b);
    let plain = BatchNormOptions { affine: false, ..Default::default() };
    let names: Vec<String> = initialized(BatchNorm2d::with_options(2, plain))
        .state_dict()
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["running_mean", "running_var", "num_batches_tracked"]);
}

#[test]
#[should_panic(expected = "BatchNorm2d: input [1, 4, 1, 1] has 1 element per channel")]
fn batch_norm_of_one_element_says_why_not() {
    let x = Var::constant(normal(&[1, 4, 1, 1]));
    initialized(BatchNorm2d::new(4)).call(&x, &mut Context::train(Stream::new(0)));
}

// ---- dropout --------------------------------------------------------------------------------------------------

#[test]
fn dropout_drops_in_training_only() {
    let x = Var::constant(Tensor::ones([100, 100], DType::F64, Device::Cpu));
    let layer = Dropout::new(0.25);
    let run = |cx: &mut Context| layer.call(&x, cx).value().to_f64_vec();
    assert_eq!(run(&mut Context::eval()), vec![1.0; 10_000]);
    let y = run(&mut Context::train(Stream::new(1)));
    let zeros = y.iter().filter(|v| **v == 0.0).count();
    // 4 standard deviations of a binomial.
    assert!((zeros as f64 - 2500.0).abs() < 4.0 * 43.3, "{zeros} zeros");
    assert!(y.iter().all(|v| *v == 0.0 || (v - 4.0 / 3.0).abs() < 1e-12));
    assert_eq!(run(&mut Context::train(Stream::new(1))), y);
    assert_ne!(run(&mut Context::train(Stream::new(2))), y);
    let mut one_forward = Context::train(Stream::new(1));
    assert_eq!(run(&mut one_forward), y);
    assert_ne!(run(&mut one_forward), y, "a second use in the same forward draws anew");
}

#[test]
fn drop_path_drops_whole_samples_in_training_only() {
    let x = Var::leaf(normal(&[400, 2, 3]));
    let layer = DropPath::new(0.25);
    assert_eq!(eval(&layer, x.value()).to_f64_vec(), x.value().to_f64_vec());
    let y = layer.call(&x, &mut Context::train(Stream::new(1)));
    let ratio = (y.value() / x.value()).to_f64_vec();
    let dropped = ratio.chunks(6).filter(|sample| sample[0] == 0.0).count();
    // 4 standard deviations of a binomial.
    assert!((dropped as f64 - 100.0).abs() < 4.0 * 8.7, "{dropped} dropped");
    for sample in ratio.chunks(6) {
        let expected = if sample[0] == 0.0 { 0.0 } else { 4.0 / 3.0 };
        assert!(sample.iter().all(|v| (v - expected).abs() < 1e-12), "{sample:?}");
    }
    let dx = y.sum().backward().wrt(&x).to_f64_vec();
    assert!(dx.iter().zip(&ratio).all(|(a, b)| (a - b).abs() < 1e-12));
    let all = DropPath::new(1.0).call(&x, &mut Context::train(Stream::new(1)));
    assert!(all.value().to_f64_vec().iter().all(|v| *v == 0.0));
    assert_eq!(DropPath::rates(0.5, 3), [0.0, 0.25, 0.5]);
}

// ---- the others -----------------------------------------------------------------------------------------------

#[test]
fn images_are_padded_and_pooled() {
    let x = Tensor::arange(2 * 16, Device::Cpu).to_dtype(DType::F64).reshape([1, 2, 4, 4]);
    let shape = |layer: &dyn Forward| eval(layer, &x).dims().to_vec();
    assert_eq!(shape(&ZeroPad2d::new([1, 2, 3, 4])), [1, 2, 11, 7]);
    assert_eq!(shape(&ReflectionPad2d::new([1, 2, 3, 0])), [1, 2, 7, 7]);
    assert_eq!(shape(&Identity), [1, 2, 4, 4]);
    assert_eq!(shape(&Upsample::to([3, 9], Interpolate::default())), [1, 2, 3, 9]);
    assert_eq!(shape(&Upsample::by([2.0, 0.5], Interpolate::default())), [1, 2, 8, 2]);
    let first = |layer: &dyn Forward| eval(layer, &x).select(1, 0).to_f64_vec();
    assert_eq!(first(&ReflectionPad2d::new([1, 0, 0, 0]))[..5], [1.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(first(&MaxPool2d::new(2, 2)), [5.0, 7.0, 13.0, 15.0]);
    assert_eq!(first(&MaxPool2d::new(3, 2).with_padding(1)), [5.0, 7.0, 13.0, 15.0]);
    assert_eq!(first(&MaxPool2d::new(3, 2).with_ceil_mode()), [10.0, 11.0, 14.0, 15.0]);
    assert_eq!(first(&AvgPool2d::new(3, 2).with_ceil_mode()), [5.0, 6.5, 11.0, 12.5]);
    assert_eq!(first(&ConstantPad2d::new([1, 0, 0, 0], 7.0))[..3], [7.0, 0.0, 1.0]);
    assert_eq!(first(&AvgPool2d::new(2, 2)), [2.5, 4.5, 10.5, 12.5]);
    assert_eq!(first(&AvgPool2d::new(2, 4).with_padding(1, true)), [0.0, 0.75, 3.0, 3.75]);
    assert_eq!(first(&AvgPool2d::new(2, 4).with_padding(1, false)), [0.0, 3.0, 12.0, 15.0]);
    assert_eq!(first(&AdaptiveAvgPool2d::new([1, 2])), [6.5, 8.5]);
}

#[test]
fn layer_norm_normalizes_the_last_axes() {
    let norm = initialized(LayerNorm::new([2]));
    let y = eval(&norm, &Tensor::new(&[1.0, 3.0, -4.0, 4.0], [2, 2]));
    let scaled = |deviation: f64| deviation / (deviation * deviation + 1e-5).sqrt();
    assert_close(&y, &[-scaled(1.0), scaled(1.0), -scaled(4.0), scaled(4.0)]);
    let both = initialized(LayerNorm::with_eps([3, 2], 0.0));
    assert_eq!(both.weight.shape()[..], [3, 2]);
    let y = eval(&both, &normal(&[4, 3, 2])).reshape([4, 6]);
    for row in y.to_f64_vec().chunks(6) {
        assert!(row.iter().sum::<f64>().abs() < 1e-12);
        assert!((row.iter().map(|v| v * v).sum::<f64>() - 6.0).abs() < 1e-9);
    }
}

#[test]
fn layer_norm_of_images_normalizes_the_channels_of_each_pixel() {
    let images = normal(&[2, 3, 4, 5]);
    let mut norm = initialized(LayerNorm2d::with_eps(3, 1e-6));
    let state = [("weight", [2.0, -1.0, 0.5]), ("bias", [0.0, 1.0, 2.0])];
    let state = state.map(|(name, v)| (name.to_owned(), Tensor::new(&v, [3])));
    norm.load_state_dict(state.to_vec()).expect("PyTorch's names");
    let mut last = initialized(LayerNorm::with_eps([3], 1e-6));
    last.load_state_dict(state.to_vec()).expect("the same names");
    let pixels = eval(&last, &images.permute(&[0, 2, 3, 1]));
    assert_close(&eval(&norm, &images).permute(&[0, 2, 3, 1]), &pixels.to_f64_vec());
}
