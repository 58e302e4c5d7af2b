//! The comparison on the stand-in, and what else its devices must do.

use super::{
    super::{Buffer, CudaError, report::all_modules, stand_in::devices},
    *,
};

/// How often each case is drawn, for each dtype and device.
const DRAWS: u64 = 12;

/// The names of the methods of `Kernels`.
fn methods() -> BTreeSet<&'static str> {
    let source = include_str!("../../kernels.rs");
    let body = source.split_once("pub(crate) trait Kernels").expect("the trait is there").1;
    body.lines()
        .filter_map(|line| line.strip_prefix("    fn "))
        .map(|line| line.split_once('(').expect("a method has parameters").0)
        .collect()
}

/// A test for each method: `cargo test -p tensor parity::ops::conv2d`.
macro_rules! parity {
    ($($method:ident)*) => {
        const TESTED: &[&str] = &[$(stringify!($method)),*];

        mod ops {
            $(
                #[test]
                fn $method() {
                    super::is_as_on_the_cpu(stringify!($method));
                }
            )*
        }
    };
}

parity! {
    copy cast unary binary bias_act compare reduce arg_reduce scan arg_scan linear_recurrence masked_scale
    pad2d reflection_pad2d reflection_pad2d_grad max_pool2d max_pool2d_grad avg_pool2d avg_pool2d_grad
    grid_sample grid_sample_transpose conv2d conv2d_input_grad conv2d_weight_grad unfold fold resample
    recurrent_step recurrent_step_grad linear batch_stats batch_norm batch_norm_grad channel_sums
    layer_norm layer_norm_grad softmax softmax_grad cross_entropy cross_entropy_grad
    sgd_step adam_step lerp sum_of_squares lp_mask lp_mask_grad masked_weight masked_weight_grad
    matmul first_outside where_ cat argsort flip index_select index_add gather scatter_add
}

#[test]
fn every_method_has_a_case_and_a_test() {
    let with_cases: BTreeSet<&str> = cases().map(|c| c.method).collect();
    assert_eq!(with_cases, methods());
    assert_eq!(TESTED.iter().copied().collect::<BTreeSet<_>>(), methods());
}

fn is_as_on_the_cpu(method: &str) {
    let devices = devices();
    for &device in &devices {
        for case in cases().filter(|c| c.method == method) {
            // 16-bit floats are computed in f32, by the same kernels.
            for (dtype, draws) in [(DType::F32, DRAWS), (DType::F64, DRAWS), (DType::BF16, 3)] {
                for seed in 0..draws {
                    check(case, device, dtype, seed, seed == 0).unwrap_or_else(|e| panic!("{e}"));
                }
            }
        }
    }
    if devices.is_empty() {
        return;
    }
    // What was compiled is what `cargo xtask kernels` compiles.
    let known: BTreeSet<String> = all_modules().iter().map(ToString::to_string).collect();
    for device in devices {
        for module in crate::cuda::gpu_of(device).loaded_modules() {
            assert!(known.contains(&module), "{module} is not among the modules of its family");
        }
    }
}

/// With one operand on the CPU every op panics with one sentence; it neither moves the operand nor reads foreign memory.
#[test]
fn devices_do_not_mix() {
    let Some(&device) = devices().first() else { return };
    for case in cases() {
        let mut refused = BTreeSet::new();
        let mut count = 0;
        for seed in 0..DRAWS {
            let stream = Stream::new(seed).derive(case.method);
            let (operands, op) = (case.draw)(&mut Draw { stream, dtype: DType::F32 });
            count = count.max(operands.len());
            for stays in 1..operands.len() {
                let mut mixed: Vec<Tensor> = operands.iter().map(|o| o.on(device)).collect();
                mixed[stays] = operands[stays].on(Device::Cpu);
                let outcome = catch_unwind(AssertUnwindSafe(|| op(&mixed)));
                let Err(message) = outcome else { continue };
                let message = message.downcast::<String>().expect("a sentence");
                assert!(message.contains("move one of them"), "{}: {message}", case.method);
                refused.insert(stays);
            }
        }
        // Some draws do not use all operands, but every operand is used by some.
        assert_eq!(refused, (1..count).collect(), "{}", case.method);
    }
}

/// A buffer that is too large is an error with the numbers, after what waits to be used again was given back.
#[test]
fn memory_runs_out_with_a_sentence() {
    let Some(&device) = devices().last() else { return };
    let gpu = crate::cuda::gpu_of(device);
    let half = 600 << 20;
    let first = Buffer::new(gpu, half).expect("the stand-in has 1 GiB");
    let Err(error) = Buffer::new(gpu, half) else { panic!("more memory than there is") };
    assert!(matches!(error, CudaError::OutOfMemory { wanted, .. } if wanted >= half), "{error}");
    assert!(error.to_string().starts_with("out of memory on cuda:3: "), "{error}");
    drop(first);
    assert!(gpu.memory_use().cached >= half);
    // Larger than the free block by too much to use it: it has to be given back first.
    Buffer::new(gpu, half + (300 << 20)).expect("the block that was freed makes room");
    gpu.release_cached().expect("nothing is in the way");
}

#[test]
fn random_numbers_are_those_of_the_cpu() {
    for device in devices() {
        for dtype in [DType::F32, DType::F64, DType::BF16] {
            for n in [0, 1, 6, 100_003] {
                let draw = |device| {
                    let stream = &mut Stream::new(n as u64);
                    [
                        Tensor::rand([n], dtype, device, stream),
                        Tensor::randn([n], dtype, device, stream),
                        Tensor::bernoulli_mask(0.3, [n], dtype, device, stream),
                        Tensor::bernoulli_mask(0.3, [n], DType::U8, device, stream),
                        Tensor::bernoulli_mask(1.0, [n], DType::I64, device, stream),
                    ]
                };
                for (got, want) in draw(device).iter().zip(&draw(Device::Cpu)) {
                    assert_eq!(got.device(), device);
                    let got = got.to_device(Device::Cpu);
                    assert!(got.dense_bytes() == want.dense_bytes(), "{n} of {}", want.dtype());
                }
            }
        }
    }
}

#[test]
fn constants_and_counts() {
    for device in devices() {
        for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16, DType::I64, DType::U8] {
            let x = Tensor::full(3.0, [5, 301], dtype, device);
            assert_eq!(x.device(), device);
            assert!(x.to_f64_vec().iter().all(|&v| v == 3.0), "{dtype}");
            let like = x.transpose(0, 1).zeros_like();
            assert_eq!((like.dims(), like.strides()), (&[301, 5][..], &[1, 301][..]));
            assert!(like.to_f64_vec().iter().all(|&v| v == 0.0));
        }
        let count: Vec<i64> = (0..1000).collect();
        assert_eq!(Tensor::arange(1000, device).to_vec::<i64>(), count);
        assert_eq!(Tensor::zeros([0, 3], DType::F32, device).to_vec::<f32>(), Vec::<f32>::new());
    }
}

#[test]
fn tensors_travel_as_they_are() {
    for device in devices() {
        let x = Tensor::randn([2, 3, 4, 5], DType::F32, Device::Cpu, &mut Stream::new(3));
        let views = [
            x.clone(),
            x.channels_last(),
            x.transpose(1, 3),
            x.narrow(2, 1, 2),
            x.slice(3, 1, 5, 2),
        ];
        for view in views {
            let there = view.to_device(device);
            assert_eq!(there.device(), device);
            let back = there.to_device(Device::Cpu);
            assert_eq!(back.to_vec::<f32>(), view.to_vec::<f32>());
            assert_eq!(back.strides(), view.layout.dense_like().strides());
            assert_eq!(there.select(0, 1).to_vec::<f32>(), view.select(0, 1).to_vec::<f32>());
        }
        let other = Device::cuda((device == Device::Cuda(0)).into()).expect("there are four");
        let moved = x.to_device(device).to_device(other);
        assert_eq!((moved.device(), moved.to_vec::<f32>()), (other, x.to_vec::<f32>()));
        assert_eq!(format!("{:?}", x.to_device(device)), format!("{x:?}"));
    }
}

#[test]
fn a_device_that_is_not_there_is_named() {
    if devices().is_empty() {
        return;
    }
    let error = Device::cuda(7).expect_err("there are four");
    assert_eq!(error.to_string(), "there is no cuda:7: this machine has 4 CUDA devices");
}
