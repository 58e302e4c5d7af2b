//! [`Mmv1`]: a predictor of the spikes of mouse visual cortex (V1) from what the animal sees and does.
//!
//! Xu, Hou, Niell and Beyeler 2023, *Multimodal deep learning model unveils behavioral dynamics of V1 activity in freely
//! moving mice*; experiment E12 of the specification.

mod shifter;

use autograd::Var;
use nn::Forward as _;
use nn::{
    Context, Module, Param,
    layers::{
        BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Flatten, Gru, Linear, ReLU, RecurrentOptions,
        Sequential,
    },
};

pub use shifter::{FRAME, Shifter};

/// Size of a [`Mmv1`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmv1Config {
    /// Recorded neurons: 68, 49 or 32 in the three mice.
    pub neurons: usize,
    /// Behavioral variables: 6 measured, 11 with their differences, 66 with all products.
    pub behaviors: usize,
    /// Units of the recurrent layer. Default 512.
    pub hidden: usize,
    /// Whether images are shifted to where the animal looks. Default true.
    pub shifter: bool,
    /// Probability of a zero behind each convolution in training. Default 0.5.
    pub dropout: f64,
}

impl Default for Mmv1Config {
    fn default() -> Self {
        Mmv1Config { neurons: 68, behaviors: 6, hidden: 512, shifter: true, dropout: 0.5 }
    }
}

/// Three convolutions of 7x7 and stride 2 with batch norm, ReLU and dropout, then a linear layer: `[N, 1, 60, 80]` to
/// `[N, neurons]`.
#[derive(Module)]
struct VisualEncoder {
    layers: Sequential,
}

impl VisualEncoder {
    fn new(config: &Mmv1Config) -> Self {
        let stride = Conv2dOptions { stride: [2; 2], ..Default::default() };
        let mut layers = Sequential::new();
        for (c_in, c) in [(1, 128), (128, 64), (64, 32)] {
            layers = layers
                .with(Conv2d::with_options(c_in, c, [7; 2], stride))
                .with(BatchNorm2d::new(c))
                .with(ReLU)
                .with(Dropout::new(config.dropout));
        }
        // 60x80 pixels become 27x37, 11x16 and 3x5.
        VisualEncoder { layers: layers.with(Flatten).with(Linear::new(32 * 3 * 5, config.neurons)) }
    }
}

/// Batch norm and a linear layer: `[N, behaviors]` to `[N, neurons]`.
#[derive(Module)]
struct BehaviorEncoder {
    #[module(rename = "layers.0")]
    norm: BatchNorm2d,
    #[module(rename = "layers.1")]
    linear: Linear,
}

/// Each frame, shifted to where the animal looks, and the behavior at that time become one number a neuron each; these, and
/// their product, are normalized and run through gated recurrent units, whose last state gives the rates.
///
/// State dict as in the published code (`shifter`, `visual_encoder`, `behav_encoder`, `bn`, `lstm_net`, which is a GRU,
/// `fc`).
#[derive(Module)]
pub struct Mmv1 {
    shifter: Shifter,
    visual_encoder: VisualEncoder,
    behav_encoder: BehaviorEncoder,
    bn: BatchNorm2d,
    lstm_net: Gru,
    fc: Linear,
    #[module(skip)]
    shifts: bool,
}

impl Mmv1 {
    /// A model of this size.
    ///
    /// # Panics
    /// If a size is 0 or the dropout is no probability.
    #[track_caller]
    pub fn new(config: &Mmv1Config) -> Self {
        let Mmv1Config { neurons, behaviors, hidden, shifter, .. } = *config;
        let batch_first = RecurrentOptions { batch_first: true, ..Default::default() };
        Mmv1 {
            shifter: Shifter::new(),
            visual_encoder: VisualEncoder::new(config),
            behav_encoder: BehaviorEncoder {
                norm: BatchNorm2d::new(behaviors),
                linear: Linear::new(behaviors, neurons),
            },
            bn: BatchNorm2d::new(3),
            lstm_net: Gru::with_options(3 * neurons, hidden, batch_first),
            fc: Linear::new(hidden, neurons),
            shifts: shifter,
        }
    }

    /// The expected numbers of spikes `[N, neurons]` after the last of `T` frames `[N, T, 1, 60, 80]`, from the frames and
    /// the behavior `[N, T, behaviors]`, whose first columns are speed, pitch, roll, phi, theta.
    ///
    /// # Panics
    /// If the shapes do not fit, or in training for a batch of 1.
    #[track_caller]
    pub fn forward(&self, images: &Var, behavior: &Var, cx: &mut Context) -> Var {
        let images = match self.shifts {
            true => self.shifter.shifted(images, behavior, cx),
            false => images.clone(),
        };
        // One step after the other: batch norms see the statistics of one time at a time.
        let steps: Vec<Var> = (0..images.dims()[1])
            .map(|t| {
                let v = self.visual_encoder.layers.call(&images.select(1, t), cx);
                let b = self.behav_encoder.norm.call(&behavior.select(1, t), cx);
                let b = self.behav_encoder.linear.call(&b, cx);
                let product = &v * &b;
                self.bn.call(&Var::stack(&[&v, &b, &product], 1), cx).flatten(1)
            })
            .collect();
        let steps = Var::stack(&steps.iter().collect::<Vec<_>>(), 1);
        let (_, last) = self.lstm_net.run(&steps, None, cx);
        self.fc.call(&last.select(0, 0), cx).softplus()
    }

    /// The part that looks where the animal does.
    pub fn shifter(&self) -> &Shifter {
        &self.shifter
    }

    /// The weight `[neurons, behaviors]` of behavior, whose mean magnitude is added to the loss.
    pub fn behavior_weight(&self) -> &Param {
        &self.behav_encoder.linear.weight
    }
}
