//! What a V1 trial depends on beside its mouse, condition and seed.

use neuro::mmv1::{BehaviorSet, ConvLayer};
use serde::{Deserialize, Serialize};

use crate::experiments::ScaleName;

/// Every field can be set from the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Frames of a sequence.
    pub(super) seq_len: usize,
    /// Channels of the convolutions, separated by commas.
    pub(super) channels: String,
    /// Height and width of their kernels before conversion.
    pub(super) kernel: usize,
    /// Their stride.
    pub(super) stride: usize,
    /// Units of the recurrent layer.
    pub(super) hidden: usize,
    /// Recurrent layers.
    pub(super) recurrent_layers: usize,
    /// Probability of a zero behind each convolution.
    pub(super) dropout: f64,
    /// Whether frames are shifted to where the animal looks, if that was recorded.
    pub(super) shifter: bool,
    /// Pixels along an edge that become one.
    pub(super) shrink: usize,
    /// Behavioral variables: `orig`, `all`, `orig_prod` or `all_prod`.
    pub(super) behavior: String,
    /// Epochs at most.
    pub(super) epochs: usize,
    /// Epochs without a better validation after which training ends.
    pub(super) patience: usize,
    /// Samples of a batch.
    pub(super) batch: usize,
    /// Adam's learning rate, constant.
    pub(super) lr: f64,
    /// Weight of the mean magnitude of the weights of behavior.
    pub(super) penalty: f64,
    /// Samples of the moving average before correlations and errors; odd.
    pub(super) smoothing: usize,
    /// Bins of the made-up cortex with known fields; 0 leaves it out.
    pub(super) synthetic_bins: usize,
    /// Its neurons.
    pub(super) synthetic_neurons: usize,
    /// Epochs for it.
    pub(super) synthetic_epochs: usize,
}

impl Recipe {
    /// The recipe of a scale; a demo on data of one's own has no made-up cortex beside it.
    pub(super) fn of(scale: ScaleName, own_data: bool) -> Self {
        let paper = Recipe {
            seq_len: 4,
            channels: "128,64,32".into(),
            kernel: 7,
            stride: 2,
            hidden: 512,
            recurrent_layers: 1,
            dropout: 0.5,
            shifter: true,
            shrink: 1,
            behavior: BehaviorSet::AllProd.to_string(),
            epochs: 50,
            patience: 5,
            batch: 256,
            lr: 2e-4,
            penalty: 1.0,
            smoothing: 41,
            synthetic_bins: 0,
            synthetic_neurons: 20,
            synthetic_epochs: 15,
        };
        // Frames of the built-in recording have 30x40 pixels already, published ones are halved to that.
        let shrink = if own_data { 2 } else { 1 };
        let smaller = Recipe {
            kernel: 5,
            shrink,
            // A trial of the built-in recordings lasts three seconds: an average over 2 s would blur one into the next.
            smoothing: if own_data { 41 } else { 5 },
            ..paper.clone()
        };
        match scale {
            ScaleName::Paper => paper,
            // Section E12 of the specification, "small run": channels / 4, 30x40 pixels.
            ScaleName::Small => Recipe {
                channels: "32,16,8".into(),
                hidden: 128,
                epochs: 30,
                lr: 1e-3,
                batch: 128,
                synthetic_bins: 20_000,
                ..smaller
            },
            ScaleName::Demo => Recipe {
                seq_len: 2,
                channels: "8,8,8".into(),
                hidden: 64,
                dropout: 0.2,
                epochs: 8,
                patience: 3,
                batch: 64,
                lr: 3e-3,
                synthetic_bins: if own_data { 0 } else { 8000 },
                ..smaller
            },
        }
    }

    /// The convolutions.
    pub(super) fn layers(&self) -> Result<Vec<ConvLayer>, String> {
        let layer = |text: &str| match text.trim().parse() {
            Ok(channels) if (1..=4096).contains(&channels) => {
                Ok(ConvLayer { channels, kernel: self.kernel, stride: self.stride })
            }
            _ => Err(format!(
                "channels = \"{}\": expected numbers from 1 to 4096, separated by commas",
                self.channels
            )),
        };
        self.channels.split(',').map(layer).collect()
    }

    /// The set of behavior.
    pub(super) fn behavior(&self) -> Result<BehaviorSet, String> {
        self.behavior.parse()
    }

    /// What is impossible about the recipe, if anything.
    pub(super) fn check(&self) -> Result<(), String> {
        let bounded = [
            ("seq_len", self.seq_len, 1, 1000),
            ("kernel", self.kernel, 1, 1000),
            ("stride", self.stride, 1, 1000),
            ("hidden", self.hidden, 1, 100_000),
            ("recurrent_layers", self.recurrent_layers, 1, 100),
            ("shrink", self.shrink, 1, 1000),
            ("epochs", self.epochs, 1, 1_000_000),
            ("patience", self.patience, 1, 1_000_000),
            ("batch", self.batch, 2, 1_000_000),
            ("smoothing", self.smoothing, 1, 1_000_001),
            ("synthetic_bins", self.synthetic_bins, 0, 10_000_000),
            ("synthetic_neurons", self.synthetic_neurons, 1, 10_000),
            ("synthetic_epochs", self.synthetic_epochs, 1, 1_000_000),
        ];
        for (name, value, least, most) in bounded {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} = {value}: expected {least} to {most}"));
            }
        }
        if self.smoothing.is_multiple_of(2) {
            return Err(format!("smoothing = {}: expected an odd number", self.smoothing));
        }
        if (1..200).contains(&self.synthetic_bins) {
            return Err(format!(
                "synthetic_bins = {}: expected 0 (none) or at least 200",
                self.synthetic_bins
            ));
        }
        if self.lr <= 0.0 {
            return Err(format!("lr = {}: expected a positive number", self.lr));
        }
        if self.penalty < 0.0 {
            return Err(format!("penalty = {}: expected at least 0", self.penalty));
        }
        self.layers()?;
        self.behavior().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_has_a_sound_recipe_and_nonsense_is_named() {
        for scale in [ScaleName::Demo, ScaleName::Small, ScaleName::Paper] {
            for own in [false, true] {
                Recipe::of(scale, own).check().unwrap();
            }
        }
        let refused = |change: &dyn Fn(&mut Recipe), what: &str| {
            let mut recipe = Recipe::of(ScaleName::Demo, false);
            change(&mut recipe);
            let error = recipe.check().unwrap_err();
            assert!(error.contains(what), "{error}");
        };
        refused(&|r| r.channels = "8,,8".into(), "channels");
        refused(&|r| r.behavior = "some".into(), "expected orig, all");
        refused(&|r| r.batch = 1, "batch = 1");
        refused(&|r| r.smoothing = 40, "odd");
        refused(&|r| r.synthetic_bins = 100, "at least 200");
    }
}
