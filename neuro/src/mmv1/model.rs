//! [`Mmv1`]: the net.

use autograd::Var;
use nn::Forward as _;
use nn::{
    Context, Module, Param,
    layers::{
        BatchNorm2d, Conv2d, Conv2dOptions, Dropout, Flatten, Gru, Linear, ReLU, RecurrentOptions,
        Sequential,
    },
};

use super::{ConvLayer, Mmv1Config, Shifter};

/// Convolutions with batch norm, ReLU and dropout, then a linear layer: `[N, 1, H, W]` to `[N, neurons]`.
#[derive(Module)]
struct VisualEncoder {
    layers: Sequential,
}

impl VisualEncoder {
    fn new(config: &Mmv1Config, [height, width]: [usize; 2]) -> Self {
        let mut layers = Sequential::new();
        let mut c_in = 1;
        for &ConvLayer { channels, kernel, stride } in &config.layers {
            let options = Conv2dOptions { stride: [stride; 2], ..Default::default() };
            layers = layers
                .with(Conv2d::with_options(c_in, channels, [kernel; 2], options))
                .with(BatchNorm2d::new(channels))
                .with(ReLU)
                .with(Dropout::new(config.dropout));
            c_in = channels;
        }
        let features = c_in * height * width;
        VisualEncoder { layers: layers.with(Flatten).with(Linear::new(features, config.neurons)) }
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
    /// Height and width of a frame and number of behavioral variables.
    #[module(skip)]
    inputs: [usize; 3],
}

impl Mmv1 {
    /// A model of this size.
    ///
    /// # Panics
    /// If [`Mmv1Config::check`] finds something wrong.
    #[track_caller]
    pub fn new(config: &Mmv1Config) -> Self {
        if let Err(e) = config.check() {
            panic!("Mmv1: {e}");
        }
        let sizes = config.sizes().expect("checked above");
        let last = *sizes.last().expect("there is a convolution, as checked above");
        let Mmv1Config { neurons, behaviors, hidden, shifter, .. } = *config;
        let recurrent = RecurrentOptions {
            batch_first: true,
            num_layers: config.recurrent_layers,
            ..Default::default()
        };
        Mmv1 {
            shifter: Shifter::new(config),
            visual_encoder: VisualEncoder::new(config, last),
            behav_encoder: BehaviorEncoder {
                norm: BatchNorm2d::new(behaviors),
                linear: Linear::new(behaviors, neurons),
            },
            bn: BatchNorm2d::new(3),
            lstm_net: Gru::with_options(3 * neurons, hidden, recurrent),
            fc: Linear::new(hidden, neurons),
            shifts: shifter,
            inputs: [config.frame[0], config.frame[1], behaviors],
        }
    }

    /// The expected numbers of spikes `[N, neurons]` after the last of `T` frames `[N, T, 1, H, W]`, from the frames and the
    /// behavior `[N, T, behaviors]`, in the published set speed, pitch, roll, phi, theta, eye radius and what is made of
    /// them.
    ///
    /// # Panics
    /// If the shapes do not fit, or in training for a batch of 1.
    #[track_caller]
    pub fn forward(&self, images: &Var, behavior: &Var, cx: &mut Context) -> Var {
        let ([h, w, b], [n, t]) = (self.inputs, [images.dims()[0], images.dims()[1]]);
        assert!(
            images.dims() == [n, t, 1, h, w] && behavior.dims() == [n, t, b] && t > 0,
            "Mmv1: images {} and behavior {} are not [N, T, 1, {h}, {w}] and [N, T, {b}] with T of at least 1",
            images.shape(),
            behavior.shape()
        );
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
        let top = last.dims()[0] - 1;
        self.fc.call(&last.select(0, top), cx).softplus()
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
