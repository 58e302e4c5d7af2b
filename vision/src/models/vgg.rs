//! [`Vgg`]: plain stacks of 3x3 convolutions.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module,
    layers::{AdaptiveAvgPool2d, BatchNorm2d, Dropout, Flatten, MaxPool2d, ReLU, Sequential},
};

use super::stem::{he_conv_with_bias, linear, step};

/// Size of a [`Vgg`]; the default is torchvision's VGG-16 without batch norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VggConfig {
    /// Convolutions of the five stages, whose widths are 64, 128, 256, 512 and 512. Default 2, 2, 3, 3, 3: VGG-16.
    pub depths: [usize; 5],
    /// Whether a batch norm follows every convolution. Default false.
    pub batch_norm: bool,
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// Probability of a zero behind the first and the second linear layer. Default 0.5.
    pub dropout: f64,
}

impl Default for VggConfig {
    fn default() -> Self {
        VggConfig { depths: [2, 2, 3, 3, 3], batch_norm: false, classes: 1000, dropout: 0.5 }
    }
}

/// Widths of the five stages.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

/// Five stages of 3x3 convolutions with ReLU, each closed by a max-pool that halves the image, then three linear layers
/// with dropout.
///
/// `[N, 3, H, W]` to logits `[N, classes]`; images of at least 32 pixels. State dict as torchvision's `vgg16`, `vgg16_bn`
/// and the others: `features.0.weight`, …, `classifier.6.bias`. Source: Simonyan & Zisserman 2015, *Very deep
/// convolutional networks for large-scale image recognition*, table 1 (columns A, B, D, E).
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{Vgg, VggConfig};
///
/// assert_eq!(Vgg::new(&VggConfig::default()).num_parameters(), 138_357_544);
/// ```
#[derive(Module)]
pub struct Vgg {
    features: Sequential,
    #[module(skip)]
    avgpool: AdaptiveAvgPool2d,
    classifier: Sequential,
}

impl Vgg {
    /// A net of this size.
    ///
    /// # Panics
    /// If `dropout` is no probability.
    #[track_caller]
    pub fn new(config: &VggConfig) -> Self {
        let VggConfig { depths, batch_norm, classes, dropout } = *config;
        let mut features = Sequential::new();
        let mut c_in = 3;
        for (depth, c) in depths.into_iter().zip(WIDTHS) {
            for _ in 0..depth {
                features = features.with(he_conv_with_bias(c_in, c, 3, step(1, 1)));
                if batch_norm {
                    features = features.with(BatchNorm2d::new(c));
                }
                features = features.with(ReLU);
                c_in = c;
            }
            features = features.with(MaxPool2d::new(2, 2));
        }
        let fc = |inputs, outputs| {
            linear(inputs, outputs, Init::Normal { mean: 0.0, std: 0.01 }, Init::Constant(0.0))
        };
        let classifier = Sequential::new()
            .with(fc(512 * 7 * 7, 4096))
            .with(ReLU)
            .with(Dropout::new(dropout))
            .with(fc(4096, 4096))
            .with(ReLU)
            .with(Dropout::new(dropout))
            .with(fc(4096, classes));
        Vgg { features, avgpool: AdaptiveAvgPool2d::new([7, 7]), classifier }
    }
}

impl Forward for Vgg {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.features.call(x, cx);
        let y = self.avgpool.forward(&y, cx);
        let y = Flatten.forward(&y, cx);
        self.classifier.call(&y, cx)
    }
}
