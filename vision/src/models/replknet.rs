//! [`RepLKNet`]: depthwise convolutions of 31x31 pixels with a small one beside each, which are one after training.

use std::any::Any;

use autograd::Var;
use nn::{
    Context, Forward, Module, Param,
    layers::{AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Conv2dOptions, DropPath, Linear, Sequential},
    module::for_each_module_mut,
};
use tensor::Tensor;

use super::{fold, stem::step};

/// Size of a [`RepLKNet`]; the default is RepLKNet-31B for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepLKNetConfig {
    /// Large kernels of the four stages. Default 31, 29, 27, 13.
    pub kernels: [usize; 4],
    /// The kernel beside each large one in training. Default 5.
    pub small_kernel: usize,
    /// Pairs of blocks of the four stages. Default 2, 2, 18, 2.
    pub depths: [usize; 4],
    /// Channels of the four stages. Default 128, 256, 512, 1024.
    pub dims: [usize; 4],
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The probability with which the last pair's blocks are left out for a sample in training; it grows linearly from 0 at
    /// the first. Default 0 (the published training of 31B takes 0.5).
    pub stochastic_depth: f64,
}

impl Default for RepLKNetConfig {
    fn default() -> Self {
        RepLKNetConfig {
            kernels: [31, 29, 27, 13],
            small_kernel: 5,
            depths: [2, 2, 18, 2],
            dims: [128, 256, 512, 1024],
            classes: 1000,
            stochastic_depth: 0.0,
        }
    }
}

impl RepLKNetConfig {
    /// RepLKNet-31T, which the Lp-convolution paper trains (Table 3): a third as deep and half as wide as 31B.
    pub fn tiny() -> Self {
        let (depths, dims) = ([2, 2, 6, 2], [64, 128, 256, 512]);
        RepLKNetConfig { depths, dims, ..Self::default() }
    }
}

/// Convolution without bias, batch norm, and ReLU where wanted. Keeps the image's size at stride 1 (odd kernels).
#[derive(Module)]
struct ConvBn {
    conv: Conv2d,
    bn: BatchNorm2d,
    #[module(skip)]
    relu: bool,
}

impl ConvBn {
    fn new(c_in: usize, c_out: usize, kernel: usize, stride: usize, groups: usize) -> Self {
        let options = Conv2dOptions { groups, bias: false, ..step(stride, kernel / 2) };
        ConvBn {
            conv: Conv2d::with_options(c_in, c_out, [kernel; 2], options),
            bn: BatchNorm2d::new(c_out),
            relu: false,
        }
    }

    fn pointwise(c_in: usize, c_out: usize) -> Self {
        Self::new(c_in, c_out, 1, 1, 1)
    }

    fn depthwise(c: usize, kernel: usize, stride: usize) -> Self {
        Self::new(c, c, kernel, stride, c)
    }

    fn with_relu(self) -> Self {
        ConvBn { relu: true, ..self }
    }

    /// Makes one convolution of convolution and batch norm, and gives its weight and bias.
    fn fused(mut self) -> (Conv2d, Tensor) {
        fold::norm_behind(&mut self.conv, &mut self.bn);
        let bias = self.conv.bias.as_ref().expect("the batch norm has left one");
        let bias = bias.value().clone();
        (self.conv, bias)
    }
}

impl Forward for ConvBn {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.conv.call(x, cx);
        let y = self.bn.call(&y, cx);
        if self.relu { y.relu() } else { y }
    }
}

/// A large depthwise convolution; while it is trained with a small one beside it, each with its batch norm.
#[derive(Module)]
pub(super) struct LargeKernel {
    lkb_origin: Option<ConvBn>,
    small_conv: Option<ConvBn>,
    /// The sum of both, once they are merged.
    lkb_reparam: Option<Conv2d>,
}

impl LargeKernel {
    fn new(c: usize, kernel: usize, small_kernel: usize) -> Self {
        LargeKernel {
            lkb_origin: Some(ConvBn::depthwise(c, kernel, 1)),
            small_conv: Some(ConvBn::depthwise(c, small_kernel, 1)),
            lkb_reparam: None,
        }
    }

    /// Makes one convolution of both, if that was not done before.
    pub(super) fn merge(&mut self) {
        let (Some(large), Some(small)) = (self.lkb_origin.take(), self.small_conv.take()) else {
            return;
        };
        let ((large, bias), (small, small_bias)) = (large.fused(), small.fused());
        // A mask may have left less of the large kernel than there is of the small one.
        let size = [0, 1].map(|axis| large.kernel_size()[axis].max(small.kernel_size()[axis]));
        let in_the_middle = |conv: &Conv2d| {
            let [rows, columns] =
                [0, 1].map(|axis| ((size[axis] - conv.kernel_size()[axis]) / 2) as isize);
            conv.weight.value().pad2d([columns, columns, rows, rows])
        };
        let options =
            Conv2dOptions { bias: true, padding: size.map(|k| k / 2), ..*large.options() };
        let channels = large.out_channels();
        let mut merged = Conv2d::with_options(channels, channels, size, options);
        merged.weight.set(&in_the_middle(&large) + &in_the_middle(&small));
        merged.bias = Some(Param::from_tensor(&bias + &small_bias));
        self.lkb_reparam = Some(merged);
    }
}

impl Forward for LargeKernel {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let branches = [&self.lkb_origin, &self.small_conv];
        let outputs = branches.into_iter().flatten().map(|branch| branch.call(x, cx));
        match outputs.reduce(|a, b| &a + &b) {
            Some(sum) => sum,
            None => self.lkb_reparam.as_ref().expect("merged, if no branch is left").call(x, cx),
        }
    }
}

/// Batch norm, 1x1 convolution, large depthwise convolution, 1x1 convolution, and a way around them: Ding et al. 2022,
/// fig. 4, left.
#[derive(Module)]
pub(super) struct LargeKernelBlock {
    pw1: ConvBn,
    pw2: ConvBn,
    large_kernel: LargeKernel,
    prelkb_bn: BatchNorm2d,
    #[module(skip)]
    drop_path: DropPath,
}

impl LargeKernelBlock {
    /// The first 1x1 convolution takes over the batch norm before it.
    pub(super) fn fold(&mut self) {
        fold::norm_before(&mut self.prelkb_bn, &mut self.pw1.conv);
    }
}

impl Forward for LargeKernelBlock {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.prelkb_bn.call(x, cx);
        let y = self.pw1.call(&y, cx);
        let y = self.large_kernel.call(&y, cx).relu();
        let y = self.pw2.call(&y, cx);
        x + &self.drop_path.forward(&y, cx)
    }
}

/// Batch norm, 1x1 convolution to 4 times the channels, GELU, 1x1 convolution back, and a way around them: Ding et al.
/// 2022, fig. 4, right.
#[derive(Module)]
pub(super) struct ConvFfn {
    preffn_bn: BatchNorm2d,
    pw1: ConvBn,
    pw2: ConvBn,
    #[module(skip)]
    drop_path: DropPath,
}

impl ConvFfn {
    /// The first 1x1 convolution takes over the batch norm before it.
    pub(super) fn fold(&mut self) {
        fold::norm_before(&mut self.preffn_bn, &mut self.pw1.conv);
    }
}

impl Forward for ConvFfn {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.preffn_bn.call(x, cx);
        let y = self.pw1.call(&y, cx).gelu();
        let y = self.pw2.call(&y, cx);
        x + &self.drop_path.forward(&y, cx)
    }
}

/// Blocks with large kernels and perceptrons, in turn.
#[derive(Module)]
struct Stage {
    blocks: Sequential,
}

impl Stage {
    fn new(c: usize, kernel: usize, small_kernel: usize, rates: &[f64]) -> Self {
        let mut blocks = Sequential::new();
        for &rate in rates {
            blocks = blocks
                .with(LargeKernelBlock {
                    pw1: ConvBn::pointwise(c, c).with_relu(),
                    pw2: ConvBn::pointwise(c, c),
                    large_kernel: LargeKernel::new(c, kernel, small_kernel),
                    prelkb_bn: BatchNorm2d::new(c),
                    drop_path: DropPath::new(rate),
                })
                .with(ConvFfn {
                    preffn_bn: BatchNorm2d::new(c),
                    pw1: ConvBn::pointwise(c, 4 * c),
                    pw2: ConvBn::pointwise(4 * c, c),
                    drop_path: DropPath::new(rate),
                });
        }
        Stage { blocks }
    }
}

impl Forward for Stage {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.blocks.call(x, cx)
    }
}

/// A net of very large depthwise kernels: four layers that take a quarter of the image's height and width, four stages
/// between which it is halved, batch norm, global average, linear layer.
///
/// `[N, 3, H, W]` to logits `[N, classes]`, of any size of image. While it is trained, a small kernel learns beside every
/// large one; [`merge_branches`](Self::merge_branches) makes one of both. State dict as in the published code:
/// `stem.0.conv.weight`, …, `stages.0.blocks.0.large_kernel.lkb_origin.conv.weight`, …, `head.bias`. Source: Ding et al. 2022,
/// *Scaling up your kernels to 31x31*, fig. 4 and table 5.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{RepLKNet, RepLKNetConfig};
///
/// let config = RepLKNetConfig { classes: 200, ..RepLKNetConfig::tiny() };
/// assert_eq!(RepLKNet::new(&config).num_parameters(), 11_648_904);
/// ```
#[derive(Module)]
pub struct RepLKNet {
    stem: Vec<ConvBn>,
    stages: Vec<Stage>,
    transitions: Vec<Sequential>,
    norm: BatchNorm2d,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    head: Linear,
}

impl RepLKNet {
    /// A net of this size, in the form in which it is trained.
    ///
    /// # Panics
    /// If a kernel is even or smaller than the one beside it, or `stochastic_depth` is no probability.
    #[track_caller]
    pub fn new(config: &RepLKNetConfig) -> Self {
        let RepLKNetConfig { kernels, small_kernel, depths, dims, classes, stochastic_depth } =
            *config;
        for kernel in kernels {
            assert!(
                kernel % 2 == 1 && small_kernel % 2 == 1 && kernel >= small_kernel,
                "RepLKNet: kernels {kernels:?} beside {small_kernel} are not all odd and at least as large"
            );
        }
        let c = dims[0];
        let stem = vec![
            ConvBn::new(3, c, 3, 2, 1).with_relu(),
            ConvBn::depthwise(c, 3, 1).with_relu(),
            ConvBn::pointwise(c, c).with_relu(),
            ConvBn::depthwise(c, 3, 2).with_relu(),
        ];
        let rates = DropPath::rates(stochastic_depth, depths.iter().sum());
        let mut rest = rates.as_slice();
        let mut stages = Vec::new();
        for i in 0..4 {
            let (own, behind) = rest.split_at(depths[i]);
            stages.push(Stage::new(dims[i], kernels[i], small_kernel, own));
            rest = behind;
        }
        let transition = |pair: &[usize]| {
            Sequential::new()
                .with(ConvBn::pointwise(pair[0], pair[1]).with_relu())
                .with(ConvBn::depthwise(pair[1], 3, 2).with_relu())
        };
        RepLKNet {
            stem,
            stages,
            transitions: dims.windows(2).map(transition).collect(),
            norm: BatchNorm2d::new(dims[3]),
            avgpool: AdaptiveAvgPool2d::new([1, 1]),
            head: Linear::new(dims[3], classes),
        }
    }

    /// Makes one convolution with bias of every large kernel, the small one beside it and their batch norms: the form for
    /// evaluation, which computes the same with less work. Ding et al. 2022, section 3 (guideline 3). An Lp-mask goes into
    /// the weights. In the state dict `lkb_reparam.weight` and `.bias` stand in the place of `lkb_origin` and `small_conv`.
    ///
    /// # Panics
    /// If the model has no values yet.
    #[track_caller]
    pub fn merge_branches(&mut self) {
        for_each_module_mut(self, &mut |_, module| {
            if let Some(kernel) = (module as &mut dyn Any).downcast_mut::<LargeKernel>() {
                kernel.merge();
            }
        });
    }
}

impl Forward for RepLKNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = x.clone();
        for layer in &self.stem {
            y = layer.call(&y, cx);
        }
        for (i, stage) in self.stages.iter().enumerate() {
            y = stage.call(&y, cx);
            if let Some(transition) = self.transitions.get(i) {
                y = transition.call(&y, cx);
            }
        }
        let y = self.norm.call(&y, cx);
        let y = self.avgpool.forward(&y, cx);
        self.head.call(&y.flatten(1), cx)
    }
}

#[cfg(test)]
mod tests {
    use nn::ModuleExt;
    use tensor::{DType, Device, Stream};

    use super::*;

    /// A net of few channels whose batch norms have seen something.
    fn small() -> RepLKNet {
        let config = RepLKNetConfig {
            kernels: [9, 7, 5, 3],
            small_kernel: 3,
            depths: [1; 4],
            dims: [4, 4, 8, 8],
            classes: 5,
            stochastic_depth: 0.0,
        };
        let mut net = RepLKNet::new(&config);
        net.initialize(0, DType::F64, Device::Cpu);
        for step in 0..3 {
            net.call(&images(step), &mut Context::train(Stream::new(step)));
        }
        net
    }

    fn images(seed: u64) -> Var {
        let stream = &mut Stream::new(seed);
        Var::constant(Tensor::randn([4, 3, 40, 36], DType::F64, Device::Cpu, stream))
    }

    fn logits(net: &RepLKNet) -> Vec<f64> {
        net.call(&images(9), &mut Context::eval()).value().to_f64_vec()
    }

    #[test]
    fn merged_branches_compute_the_same() {
        let mut net = small();
        let (before, parameters) = (logits(&net), net.num_parameters());
        net.merge_branches();
        for (a, b) in logits(&net).iter().zip(&before) {
            assert!((a - b).abs() < 1e-10 * b.abs().max(1.0), "{a} {b}");
        }
        assert!(net.num_parameters() < parameters);
        let names: Vec<String> = net.state_dict().into_iter().map(|(name, _)| name).collect();
        let kernel = "stages.0.blocks.0.large_kernel.";
        let of_kernel: Vec<&str> = names.iter().filter_map(|n| n.strip_prefix(kernel)).collect();
        assert_eq!(of_kernel, ["lkb_reparam.weight", "lkb_reparam.bias"]);
        // Merging again finds nothing to merge.
        net.merge_branches();
        assert_eq!(net.state_dict().len(), names.len());
    }
}
