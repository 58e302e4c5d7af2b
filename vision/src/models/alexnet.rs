//! [`AlexNet`], torchvision's single-column version.

use autograd::Var;
use nn::{
    Context, Forward, Module,
    layers::{AdaptiveAvgPool2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, ReLU, Sequential},
};

use super::stem::{Stem, step};

/// Size of an [`AlexNet`]; the default is torchvision's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlexNetConfig {
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// The first convolution. Default 11x11 with stride 4 and padding 2.
    pub stem: Stem,
    /// Probability of a zero before the first and the second linear layer. Default 0.5.
    pub dropout: f64,
}

impl Default for AlexNetConfig {
    fn default() -> Self {
        AlexNetConfig { classes: 1000, stem: Stem::Large, dropout: 0.5 }
    }
}

/// Five convolutions with ReLU, three of them followed by a 3x3 max-pool of stride 2, then three linear layers with dropout.
///
/// `[N, 3, H, W]` to logits `[N, classes]`; images of at least 63 pixels, with the small stem 15. All weights start from
/// PyTorch's defaults. State dict as torchvision's `alexnet`: `features.0.weight`, …, `classifier.6.bias`.
/// Source: Krizhevsky 2014, *One weird trick for parallelizing convolutional neural networks*.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{AlexNet, AlexNetConfig};
///
/// assert_eq!(AlexNet::new(&AlexNetConfig::default()).num_parameters(), 61_100_840);
/// ```
#[derive(Module)]
pub struct AlexNet {
    features: Sequential,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    classifier: Sequential,
}

impl AlexNet {
    /// A net of this size.
    pub fn new(config: &AlexNetConfig) -> Self {
        let conv = |c_in, c_out, kernel, stride, padding| {
            Conv2d::with_options(c_in, c_out, [kernel; 2], step(stride, padding))
        };
        let stem = match config.stem {
            Stem::Large => conv(3, 64, 11, 4, 2),
            Stem::Small => conv(3, 64, 3, 1, 1),
        };
        let features = Sequential::new()
            .with(stem)
            .with(ReLU)
            .with(MaxPool2d::new(3, 2))
            .with(conv(64, 192, 5, 1, 2))
            .with(ReLU)
            .with(MaxPool2d::new(3, 2))
            .with(conv(192, 384, 3, 1, 1))
            .with(ReLU)
            .with(conv(384, 256, 3, 1, 1))
            .with(ReLU)
            .with(conv(256, 256, 3, 1, 1))
            .with(ReLU)
            .with(MaxPool2d::new(3, 2));
        let classifier = Sequential::new()
            .with(Dropout::new(config.dropout))
            .with(Linear::new(256 * 6 * 6, 4096))
            .with(ReLU)
            .with(Dropout::new(config.dropout))
            .with(Linear::new(4096, 4096))
            .with(ReLU)
            .with(Linear::new(4096, config.classes));
        AlexNet { features, avgpool: AdaptiveAvgPool2d::new([6, 6]), classifier }
    }
}

impl Forward for AlexNet {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.features.call(x, cx);
        let y = self.avgpool.forward(&y, cx);
        let y = Flatten.forward(&y, cx);
        self.classifier.call(&y, cx)
    }
}
