//! Convolutions: output, input gradient and weight gradient of one layer, on channels-last memory.

use std::hint::black_box;

use autograd::trace::kernel;
use tensor::{Conv2dOptions, ConvAlgorithm, DType, Device, Stream, Tensor};

use super::{Agreement, Prepared, Twin, Workload, on_request};

/// One layer on square images with a square kernel.
#[derive(Clone, Copy)]
struct Conv {
    name: &'static str,
    batch: usize,
    channels: [usize; 2],
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    groups: usize,
    /// Whether the input gradient is computed; the first layer of a net has none.
    input_grad: bool,
    /// The exponent of the mask the weight was multiplied with, if any.
    p: Option<f64>,
    /// Whether a masked kernel's border of zeros is left out, as a layer does.
    crop: bool,
    algorithm: ConvAlgorithm,
}

/// A layer that keeps the image's size, batch 32.
const fn same(name: &'static str, kernel: usize, channels: usize, size: usize) -> Conv {
    Conv {
        name,
        batch: 32,
        channels: [channels; 2],
        size,
        kernel,
        stride: 1,
        padding: kernel / 2,
        groups: 1,
        input_grad: true,
        p: None,
        crop: true,
        algorithm: ConvAlgorithm::Direct,
    }
}

const fn masked(name: &'static str, channels: usize, size: usize, p: f64) -> Conv {
    Conv { p: Some(p), ..same(name, 7, channels, size) }
}

/// A layer computed by another algorithm, run only when it is asked for.
const fn by(algorithm: ConvAlgorithm, conv: Conv) -> Conv {
    Conv { algorithm, ..conv }
}

/// AlexNet's first layer, plain (11x11) or enlarged (23x23).
const fn stem(name: &'static str, kernel: usize, padding: usize, input_grad: bool) -> Conv {
    Conv { channels: [3, 64], stride: 4, padding, input_grad, ..same(name, kernel, 64, 224) }
}

const fn depthwise(
    name: &'static str,
    batch: usize,
    kernel: usize,
    channels: usize,
    size: usize,
) -> Conv {
    Conv { batch, groups: channels, ..same(name, kernel, channels, size) }
}

const CONVS: &[Conv] = &[
    same("conv3x3_64_32", 3, 64, 32),
    same("conv3x3_128_16", 3, 128, 16),
    same("conv3x3_256_8", 3, 256, 8),
    same("conv3x3_512_4", 3, 512, 4),
    masked("conv7x7_64_32_p2", 64, 32, 2.0),
    masked("conv7x7_64_32_p16", 64, 32, 16.0),
    masked("conv7x7_128_16_p2", 128, 16, 2.0),
    masked("conv7x7_256_8_p2", 256, 8, 2.0),
    masked("conv7x7_512_4_p2", 512, 4, 2.0),
    stem("conv11x11s4_224", 11, 2, true),
    stem("conv11x11s4_224_no_dx", 11, 2, false),
    stem("conv23x23s4_224", 23, 8, true),
    stem("conv23x23s4_224_no_dx", 23, 8, false),
    depthwise("dw7_96_56", 32, 7, 96, 56),
    depthwise("dw7_384_14", 32, 7, 384, 14),
    depthwise("dw15_96_56", 32, 15, 96, 56),
    depthwise("dw15_384_14", 32, 15, 384, 14),
    depthwise("dw31_64_56", 16, 31, 64, 56),
    depthwise("dw27_256_14", 16, 27, 256, 14),
    by(ConvAlgorithm::Winograd, same("conv3x3_64_32_winograd", 3, 64, 32)),
    by(ConvAlgorithm::Winograd, same("conv3x3_128_16_winograd", 3, 128, 16)),
    by(ConvAlgorithm::Winograd, same("conv3x3_256_8_winograd", 3, 256, 8)),
    by(ConvAlgorithm::Fft, masked("conv7x7_64_32_p2_fft", 64, 32, 2.0)),
    by(ConvAlgorithm::Fft, masked("conv7x7_256_8_p2_fft", 256, 8, 2.0)),
    by(ConvAlgorithm::Fft, depthwise("dw31_64_56_fft", 16, 31, 64, 56)),
];

/// Layers to measure with and without cropping, and the exponents at which to do it.
const CROPPED: &[(Conv, &[u32])] = &[
    (same("conv7x7_64_32", 7, 64, 32), &[4, 8, 16, 256]),
    (same("conv7x7_256_8", 7, 256, 8), &[4, 8, 16, 256]),
    (depthwise("dw15_96_56", 32, 15, 96, 56), &[16]),
];

pub(super) fn all() -> Vec<Workload> {
    let workload = |&c: &Conv| Workload {
        on_request: on_request(c.algorithm).map(str::to_owned),
        ..Workload::new(c.name, c.about(), move |device| c.prepare(device))
    };
    CONVS.iter().map(workload).chain(pairs()).collect()
}

/// Masked layers that run only where a filter names the exponent (`_p8`): as they are, and `_dense`, the same weight without
/// cropping.
fn pairs() -> impl Iterator<Item = Workload> {
    let layers = CROPPED.iter().flat_map(|(conv, exponents)| exponents.iter().map(|&p| (*conv, p)));
    layers.flat_map(|(conv, p)| {
        let cropped = Conv { p: Some(f64::from(p)), ..conv };
        let dense = Conv { crop: false, ..cropped };
        let (part, name) = (format!("_p{p}"), format!("{}_p{p}", conv.name));
        let twin = Twin { name: name.clone(), compare: Box::new(move || cropped.compare(&dense)) };
        let workload = |name: String, conv: Conv, twin| Workload {
            on_request: Some(part.clone()),
            twin,
            ..Workload::new(name, conv.about(), move |device| conv.prepare(device))
        };
        let first =
            (!CONVS.iter().any(|c| c.name == name)).then(|| workload(name.clone(), cropped, None));
        first.into_iter().chain([workload(format!("{name}_dense"), dense, Some(twin))])
    })
}

/// The weight without its border of taps that are zero in every channel of its mask, and the width of that border.
fn cropped(weight: &Tensor, mask: &Tensor) -> (Tensor, usize) {
    // Kernels here are square, and so are their masks.
    let [border, _] = mask.zero_border();
    let inner = weight.dims()[2] - 2 * border;
    (weight.narrow(2, border, inner).narrow(3, border, inner), border)
}

/// What a layer computes with: images, gradient of the output, weight (times the mask), mask.
#[derive(Clone)]
struct Inputs {
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
    mask: Option<Tensor>,
}

impl Conv {
    fn about(&self) -> String {
        let Conv { batch, channels: [i, o], size, kernel: k, stride, .. } = *self;
        let kind = if self.groups > 1 { "depthwise convolution" } else { "convolution" };
        let stride = if stride > 1 { format!(", stride {stride}") } else { String::new() };
        let mask = self.p.map(|p| format!(", masked with p = {p}")).unwrap_or_default();
        let crop = if self.crop { "" } else { ", not cropped" };
        let by = on_request(self.algorithm).map(|a| format!(" by {a}")).unwrap_or_default();
        let passes = if self.input_grad { "three passes" } else { "without input gradient" };
        format!(
            "{kind} {k}x{k}{stride}{mask}{crop}, {i} to {o} channels at {size}x{size}, batch {batch}{by}: {passes}"
        )
    }

    fn prepare(self, device: Device) -> Prepared {
        let inputs = self.inputs(device);
        let macs = self.macs(&inputs);
        let passes = if self.input_grad { 3 } else { 2 };
        // Each pass's result is given back before the next begins.
        let step = move || self.passes(&inputs, |_, result| drop(black_box(result)));
        Prepared { step: Box::new(step), flop: Some((2 * macs * passes) as f64), bytes: None }
    }

    /// Multiply-accumulates of one pass of the dense nominal computation.
    fn macs(&self, inputs: &Inputs) -> u64 {
        let out = inputs.dy.dims()[2];
        let Conv { batch, channels: [c_in, c_out], kernel, groups, .. } = *self;
        (batch * c_out * out * out * (c_in / groups) * kernel * kernel) as u64
    }

    /// Noise, the same for equal layers.
    fn inputs(&self, device: Device) -> Inputs {
        let Conv { batch, channels: [c_in, c_out], size, kernel, stride, padding, groups, .. } =
            *self;
        let stream = &mut Stream::new(0);
        let mut random = |shape: [usize; 4]| Tensor::randn(shape, DType::F32, device, stream);
        let mut weight = random([c_out, c_in / groups, kernel, kernel]).mul_scalar(0.02);
        let mask = self.p.map(|p| mask(c_out, kernel, p, device));
        if let Some(mask) = &mask {
            weight = weight.masked_weight(mask, [0, 0]);
        }
        let x = random([batch, c_in, size, size]).channels_last();
        let out = (size + 2 * padding - kernel) / stride + 1;
        let dy = random([batch, c_out, out, out]).channels_last();
        Inputs { x, dy, weight, mask }
    }

    /// Calls `done` with each pass's name and result.
    fn passes(&self, inputs: &Inputs, mut done: impl FnMut(&'static str, Tensor)) {
        let Inputs { x, dy, weight, mask } = inputs;
        let (w, border) = match mask {
            Some(mask) if self.crop => cropped(weight, mask),
            _ => (weight.clone(), 0),
        };
        let options = Conv2dOptions {
            stride: [self.stride; 2],
            padding: [self.padding - border; 2],
            groups: self.groups,
            algorithm: self.algorithm,
            ..Conv2dOptions::default()
        };
        let macs = self.macs(inputs);
        done("output", kernel("conv2d", macs, || x.conv2d(&w, None, &options)));
        if self.input_grad {
            let pass = || dy.conv2d_input_grad(&w, x.shape(), &options);
            done("input gradient", kernel("conv2d_input_grad", macs, pass));
        }
        let pass = || x.conv2d_weight_grad(dy, w.shape(), &options);
        let dw = kernel("conv2d_weight_grad", macs, pass);
        // The mask makes the gradient of the taps left out zero.
        done("weight gradient", if border > 0 { dw.pad2d([border as isize; 4]) } else { dw });
    }

    /// Computes both layers, which differ only in how, and compares bits: of the weight's gradient those after the mask,
    /// as the optimizer gets them (where zero times something is zero, of either sign).
    fn compare(&self, other: &Conv) -> Vec<Agreement> {
        let inputs = self.inputs(Device::Cpu);
        let results = |conv: &Conv| {
            let mut results = Vec::new();
            conv.passes(&inputs, |what, result| {
                let masked = inputs.mask.as_ref().filter(|_| what == "weight gradient");
                let result = match masked {
                    Some(mask) => result.masked_weight(mask, [0, 0]).add_scalar(0.0),
                    None => result,
                };
                results.push((what, result.to_vec::<f32>()));
            });
            results
        };
        let pairs = results(self).into_iter().zip(results(other));
        let agreement = |((what, a), (_, b)): ((_, Vec<f32>), (_, Vec<f32>))| Agreement {
            what,
            values: a.len(),
            differing: a.iter().zip(&b).filter(|(a, b)| a.to_bits() != b.to_bits()).count(),
        };
        pairs.map(agreement).collect()
    }
}

/// The mask as a converted layer starts with it: its radius is that of the kernel before it was enlarged (section 1.2).
fn mask(channels: usize, kernel: usize, p: f64, device: Device) -> Tensor {
    let config = lpconv::MaskConfig::trained(p);
    let mut mask = lpconv::LpMask::new(channels, [kernel / 2; 2], &config);
    nn::ModuleExt::initialize(&mut mask, 0, DType::F32, device);
    mask.mask([kernel; 2], &nn::Context::eval()).value().clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_of_p_16_leaves_the_old_kernel() {
        let (mask, weight) =
            (mask(2, 7, 16.0, Device::Cpu), Tensor::ones([2, 3, 7, 7], DType::F32, Device::Cpu));
        let weight = weight.masked_weight(&mask, [0, 0]);
        let (inner, border) = cropped(&weight, &mask);
        // Two pixels from the middle it would be exp(-100), below all normal numbers of f32.
        assert_eq!((inner.dims(), border), (&[2, 3, 3, 3][..], 2));
        let taps =
            |t: &Tensor| t.to_f64_vec().into_iter().filter(|&v| v != 0.0).collect::<Vec<_>>();
        assert_eq!(taps(&inner), taps(&weight));
    }

    #[test]
    fn cropping_changes_no_bit_and_another_algorithm_does() {
        for conv in [
            Conv { batch: 2, p: Some(16.0), ..same("", 7, 8, 9) },
            Conv { p: Some(8.0), ..depthwise("", 2, 7, 8, 9) },
        ] {
            let agreements = conv.compare(&Conv { crop: false, ..conv });
            let what: Vec<_> = agreements.iter().map(|a| a.what).collect();
            assert_eq!(what, ["output", "input gradient", "weight gradient"]);
            assert!(agreements.iter().all(|a| a.values > 0 && a.differing == 0), "{agreements:?}");
        }
        // Another algorithm rounds differently: the comparison sees it.
        let plain = Conv { batch: 2, ..same("", 3, 32, 16) };
        let other = plain.compare(&by(ConvAlgorithm::Winograd, plain));
        assert!(other[0].differing > 0, "{other:?}");
    }

    #[test]
    fn pairs_are_asked_for_by_their_exponent() {
        let pairs: Vec<Workload> = pairs().collect();
        let find = |name: &str| pairs.iter().find(|w| w.name == name).expect(name);
        for name in ["conv7x7_64_32_p256", "conv7x7_256_8_p4", "dw15_96_56_p16"] {
            let dense = find(&format!("{name}_dense"));
            assert!(find(name).twin.is_none());
            assert_eq!(dense.twin.as_ref().unwrap().name, name);
            assert!(name.ends_with(dense.on_request.as_ref().unwrap()));
        }
        // The one that is no opt-in has its twin here all the same.
        assert!(find("conv7x7_64_32_p16_dense").twin.is_some());
        assert!(!pairs.iter().any(|w| w.name == "conv7x7_64_32_p16"));
    }

    #[test]
    fn every_convolution_says_what_it_is() {
        let about = |name| CONVS.iter().find(|c| c.name == name).unwrap().about();
        assert_eq!(
            about("conv11x11s4_224_no_dx"),
            "convolution 11x11, stride 4, 3 to 64 channels at 224x224, batch 32: without input gradient"
        );
        assert_eq!(
            about("dw31_64_56"),
            "depthwise convolution 31x31, 64 to 64 channels at 56x56, batch 16: three passes"
        );
    }
}
