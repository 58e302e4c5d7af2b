//! Whole networks: starting values, multiply-accumulates, and gradients through every layer in training.

use autograd::{Var, gradcheck::gradcheck};
use nn::{
    Context, Forward, Module, ModuleExt,
    layers::{
        BatchNorm2d, Conv2d, Conv2dOptions, Dropout, ELU, Flatten, GELU, LayerNorm, Linear,
        MaxPool2d, ReLU, ReflectionPad2d, Sequential, Sigmoid, Softplus, Tanh, set_conv_algorithm,
    },
};
use tensor::{ConvAlgorithm, DType, Device, Stream, Tensor};

fn initialized<M: Module>(mut module: M) -> M {
    module.initialize(7, DType::F64, Device::Cpu);
    module
}

fn normal(shape: &[usize]) -> Tensor {
    Tensor::randn(shape, DType::F64, Device::Cpu, &mut Stream::new(3))
}

/// The output of a layer in evaluation.
fn eval(layer: &dyn Forward, x: &Tensor) -> Tensor {
    layer.call(&Var::constant(x.clone()), &mut Context::eval()).value().clone()
}

#[test]
fn every_convolution_of_a_model_gets_the_algorithm() {
    let options = Conv2dOptions { padding: [1, 1], ..Default::default() };
    let mut net = Sequential::new()
        .with(Conv2d::with_options(16, 16, [3, 3], options))
        .with(Sequential::new().with(Conv2d::with_options(16, 20, [3, 3], options)));
    net.initialize(0, DType::F32, Device::Cpu);
    let stream = &mut Stream::new(1);
    let x = Var::constant(Tensor::randn([2, 16, 8, 8], DType::F32, Device::Cpu, stream));
    let direct = net.call(&x, &mut Context::eval()).value().to_f64_vec();
    set_conv_algorithm(&mut net, ConvAlgorithm::Winograd);
    let winograd = net.call(&x, &mut Context::eval()).value().to_f64_vec();
    assert_ne!(direct, winograd);
    assert!(direct.iter().zip(&winograd).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn activations_are_their_functions() {
    let x = Tensor::new(&[-2.0, 0.5, 3.0], [3]);
    // From the formulas, with the C library's erfc.
    let cases: [(&dyn Forward, [f64; 3]); 6] = [
        (&ReLU, [0.0, 0.5, 3.0]),
        (&GELU, [-0.04550026389635844, 0.34573123063700656, 2.99595030590511]),
        (&ELU { alpha: 0.5 }, [-0.43233235838169365, 0.5, 3.0]),
        (&Sigmoid, [0.11920292202211755, 0.6224593312018546, 0.9525741268224334]),
        (&Tanh, [-0.9640275800758169, 0.46211715726000973, 0.9950547536867305]),
        (&Softplus, [0.1269280110429725, 0.9740769841801067, 3.048587351573742]),
    ];
    for (layer, expected) in cases {
        for (actual, expected) in eval(layer, &x).to_f64_vec().iter().zip(expected) {
            assert!((actual - expected).abs() < 1e-13, "{actual} instead of {expected}");
        }
    }
}

#[test]
fn linear_and_conv_start_as_in_torch_and_count_their_macs() {
    let net = initialized(
        Sequential::new()
            .with(Conv2d::with_options(
                4,
                6,
                [3, 5],
                Conv2dOptions { stride: [2, 1], padding: [1, 2], groups: 2, ..Default::default() },
            ))
            .with(Flatten)
            .with(Linear::without_bias(6 * 4 * 8, 10)),
    );
    let bound = 1.0 / (4.0 / 2.0 * 15.0f64).sqrt();
    for name in ["0.weight", "0.bias"] {
        let params = net.named_parameters();
        let (_, p) = params.iter().find(|(n, _)| n == name).expect("its own name");
        let values = p.value().to_f64_vec();
        assert!(values.iter().all(|v| v.abs() <= bound) && values.iter().any(|v| *v < 0.0));
    }
    let mut seen = Vec::new();
    let mut cx = Context::eval()
        .with_observer(&net, |e| seen.push((e.path.to_owned(), e.output.dims().to_vec(), e.macs)));
    let y = net.call(&Var::constant(normal(&[1, 4, 8, 8])), &mut cx);
    assert_eq!(y.dims(), [1, 10]);
    drop(cx);
    assert_eq!(
        seen,
        [
            ("0".to_owned(), vec![1, 6, 4, 8], 6 * 4 * 8 * 2 * 15),
            ("1".to_owned(), vec![1, 192], 0),
            ("2".to_owned(), vec![1, 10], 1920),
            (String::new(), vec![1, 10], 0),
        ]
    );
    let rows = eval(&initialized(Linear::new(3, 2)), &normal(&[4, 5, 3]));
    assert_eq!(rows.dims(), [4, 5, 2]);
}

// ---- gradients through a network ------------------------------------------------------------------------------

fn small_net() -> Sequential {
    initialized(
        Sequential::new()
            .with(ReflectionPad2d::new([1; 4]))
            .with(Conv2d::new(2, 4, 3))
            .with(BatchNorm2d::new(4))
            .with(ELU::default())
            .with(Dropout::new(0.4))
            .with(MaxPool2d::new(2, 2))
            .with(Flatten)
            .with(LayerNorm::new([16]))
            .with(Linear::new(16, 3))
            .with(Dropout::new(0.2))
            .with(Tanh),
    )
}

/// A training forward; the same random numbers each time.
fn train(net: &Sequential, x: &Var) -> Var {
    net.call(x, &mut Context::train(Stream::new(5)))
}

#[test]
fn gradients_flow_to_the_input() {
    let net = small_net();
    gradcheck(|v| train(&net, &v[0]), &[normal(&[3, 2, 4, 4])]).unwrap();
}

#[test]
fn gradients_flow_to_every_parameter() {
    let mut net = small_net();
    let x = Var::constant(normal(&[3, 2, 4, 4]));
    let weights = Tensor::randn([3, 3], DType::F64, Device::Cpu, &mut Stream::new(8));
    let loss = |net: &Sequential| (&train(net, &x) * &Var::constant(weights.clone())).sum();
    let gradients = loss(&net).backward();
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 8);
    let step = 1e-5;
    for name in names {
        let (start, analytic) = {
            let params = net.named_parameters();
            let (_, p) = params.iter().find(|(n, _)| *n == name).expect("its own name");
            (p.value().clone(), gradients.wrt(p.leaf()).to_f64_vec())
        };
        let mut at = |k: usize, by: f64| {
            let mut values = start.to_f64_vec();
            values[k] += by;
            for (n, p) in net.named_parameters_mut() {
                if n == name {
                    *p.value_mut() = Tensor::new(&values, start.shape());
                }
            }
            loss(&net).value().item()
        };
        for (k, analytic) in analytic.iter().enumerate() {
            let numeric = (at(k, step) - at(k, -step)) / (2.0 * step);
            at(k, 0.0);
            assert!((analytic - numeric).abs() < 1e-6, "{name}[{k}]: {analytic} but {numeric}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let net = small_net();
            let y = train(&net, &Var::constant(normal(&[3, 2, 4, 4])));
            let gradients = y.sum().backward();
            let params = net.named_parameters();
            let all = params.iter().map(|(_, p)| gradients.wrt(p.leaf()));
            all.flat_map(|g| g.to_f64_vec()).map(f64::to_bits).collect::<Vec<u64>>()
        })
    };
    assert_eq!(run(1), run(3));
}
