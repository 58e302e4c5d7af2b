//! What a trial of image classification depends on (section 2 of the specification), and what it means for images, batches and
//! learning rates.

use nn::schedule::{Cosine, Lagged, Schedule};
use serde::{Deserialize, Serialize};
use tensor::DType;
use vision::augment::{Crop, Mix, RandAugment, RandomErasing, Transform};

use super::nets::{self, Wanted};
use crate::experiments::Request;

/// A data set of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ImageData {
    Cifar100,
    TinyImageNet,
}

impl ImageData {
    pub(super) const ALL: [ImageData; 2] = [ImageData::Cifar100, ImageData::TinyImageNet];

    /// As in recipes and names of trials.
    pub(super) fn name(self) -> &'static str {
        match self {
            ImageData::Cifar100 => "cifar100",
            ImageData::TinyImageNet => "tinyimagenet",
        }
    }

    /// As the paper prints it.
    pub(super) fn printed(self) -> &'static str {
        match self {
            ImageData::Cifar100 => "CIFAR-100",
            ImageData::TinyImageNet => "TinyImageNet",
        }
    }

    pub(super) fn of(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
            format!(
                "there is no data set \"{name}\"; expected {}",
                Self::ALL.map(Self::name).join(" or ")
            )
        })
    }
}

/// Everything a trial depends on beside its data set, model, condition and seed; every field can be set from the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::experiments) struct Recipe {
    /// `cifar100`, `tinyimagenet`, or both, separated by a comma.
    pub(in crate::experiments) datasets: String,
    /// Names of models, separated by commas.
    pub(in crate::experiments) models: String,
    /// The first so many classes; 0: all.
    pub(in crate::experiments) classes: usize,
    /// The first so many training images of each class; 0: all.
    pub(in crate::experiments) train_per_class: usize,
    /// The first so many test images of each class; 0: all.
    pub(in crate::experiments) test_per_class: usize,
    /// Height and width of the input for TinyImageNet; CIFAR stays at 32.
    pub(in crate::experiments) tiny_image: usize,
    /// Passes over the training images.
    pub(in crate::experiments) epochs: usize,
    /// Images of a batch, an even number; an incomplete last one is left out.
    pub(in crate::experiments) batch: usize,
    /// AdamW's highest learning rate.
    pub(in crate::experiments) lr: f64,
    /// Where the warm-up starts.
    pub(in crate::experiments) warmup_lr: f64,
    /// Where the cosine ends.
    pub(in crate::experiments) min_lr: f64,
    /// Epochs of the warm-up.
    pub(in crate::experiments) warmup_epochs: usize,
    /// On tensors of two or more axes, so also on the matrices of masks, not on their exponents (discrepancy D14).
    pub(in crate::experiments) weight_decay: f64,
    /// The part of the target that all classes share.
    pub(in crate::experiments) smoothing: f64,
    /// Mixup's alpha; 0: none.
    pub(in crate::experiments) mixup: f64,
    /// CutMix's alpha; 0: none. With both, each has half of the batches.
    pub(in crate::experiments) cutmix: f64,
    /// Whether images go through RandAugment.
    pub(in crate::experiments) rand_augment: bool,
    /// Probability that a box of an image is erased.
    pub(in crate::experiments) erasing: f64,
    /// How often in a row an epoch shows an image (repeated augmentation); 1: once.
    pub(in crate::experiments) repeats: usize,
    /// Probability of a zero in the dropout of nets that have one.
    pub(in crate::experiments) dropout: f64,
    /// The probability with which nets that can do so leave out their last block.
    pub(in crate::experiments) stochastic_depth: f64,
    /// Decay of an average of the weights over steps, which is evaluated beside them; 0: none.
    pub(in crate::experiments) ema: f64,
    /// `f32`, or `bf16` for mixed precision.
    pub(in crate::experiments) precision: String,
    /// What stands around the old kernels in enlarged ones: `random` or `zero` (discrepancy D4).
    pub(in crate::experiments) surround: String,
    /// The test images are looked at after every so many epochs, and after the last.
    pub(in crate::experiments) evaluate_every: usize,
}

impl Recipe {
    /// The recipe of Table 1: 300 epochs for the five nets on both data sets.
    pub(in crate::experiments) fn paper() -> Self {
        Recipe {
            datasets: "cifar100,tinyimagenet".into(),
            models: "alexnet,vgg16_bn,resnet18,resnet34,convnext_tiny".into(),
            classes: 0,
            train_per_class: 0,
            test_per_class: 0,
            tiny_image: 224,
            epochs: 300,
            batch: 256,
            // 5e-4 for every 512 images (discrepancy D5).
            lr: 2.5e-4,
            warmup_lr: 1e-6,
            min_lr: 1e-5,
            warmup_epochs: 5,
            weight_decay: 0.05,
            smoothing: 0.1,
            mixup: 0.8,
            cutmix: 1.0,
            rand_augment: true,
            erasing: 0.25,
            repeats: 3,
            dropout: 0.5,
            stochastic_depth: 0.1,
            ema: 0.0,
            precision: "bf16".into(),
            surround: "random".into(),
            evaluate_every: 1,
        }
    }

    /// For two cores: small nets on the part of CIFAR-100 that comes with the program, or as much of a larger one. The
    /// augmentation is lighter, since so few epochs cannot make up for more.
    pub(in crate::experiments) fn small() -> Self {
        Recipe {
            datasets: "cifar100".into(),
            models: "resnet8".into(),
            train_per_class: 100,
            tiny_image: 64,
            epochs: 30,
            batch: 64,
            lr: 2e-3,
            warmup_lr: 2e-4,
            min_lr: 2e-5,
            warmup_epochs: 2,
            mixup: 0.2,
            cutmix: 0.0,
            rand_augment: false,
            erasing: 0.0,
            repeats: 1,
            dropout: 0.0,
            stochastic_depth: 0.0,
            precision: "f32".into(),
            evaluate_every: 2,
            ..Self::paper()
        }
    }

    /// The same for fewer epochs: the shape of the schedule stays.
    pub(super) fn shortened(&self, epochs: usize) -> Self {
        let share = epochs as f64 / self.epochs as f64;
        let warmup_epochs = (self.warmup_epochs as f64 * share).round() as usize;
        Recipe { epochs, warmup_epochs, ..self.clone() }
    }

    /// The learning rate by epochs: a warm-up, then a cosine, one epoch late as the authors' scripts have it.
    pub(super) fn schedule(&self) -> impl Schedule + use<> {
        Lagged(Cosine {
            lr: self.lr,
            min_lr: self.min_lr,
            epochs: self.epochs,
            warmup_epochs: self.warmup_epochs,
            warmup_lr: self.warmup_lr,
        })
    }

    /// Height and width of the input.
    pub(super) fn image(&self, data: ImageData) -> usize {
        match data {
            ImageData::Cifar100 => 32,
            ImageData::TinyImageNet => self.tiny_image,
        }
    }

    /// What is done to a training image.
    pub(super) fn training(&self, data: ImageData) -> Transform {
        let crop = match data {
            ImageData::Cifar100 => Crop::Padded { size: 32, padding: 4 },
            ImageData::TinyImageNet => Crop::RandomResized { size: self.tiny_image },
        };
        let erasing = RandomErasing { probability: self.erasing, ..RandomErasing::default() };
        Transform {
            rand_augment: self.rand_augment.then(RandAugment::default),
            erasing: (self.erasing > 0.0).then_some(erasing),
            ..Transform::training(crop)
        }
    }

    /// What is done to a test image.
    pub(super) fn evaluation(&self, data: ImageData) -> Transform {
        Transform::evaluation(match data {
            ImageData::Cifar100 => Crop::Whole,
            // 256 for 224.
            ImageData::TinyImageNet => {
                Crop::Center { resize: self.tiny_image * 8 / 7, size: self.tiny_image }
            }
        })
    }

    /// How batches are mixed; `None` if they are not.
    pub(super) fn mix(&self) -> Option<Mix> {
        let cutmix_probability = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => return None,
            (true, false) => 0.0,
            (false, true) => 1.0,
            (true, true) => 0.5,
        };
        Some(Mix {
            mixup_alpha: self.mixup,
            cutmix_alpha: self.cutmix,
            cutmix_probability,
            smoothing: self.smoothing,
        })
    }

    /// The dtype of products, where it is not that of the weights.
    pub(super) fn autocast(&self) -> Option<DType> {
        (self.precision == "bf16").then_some(DType::BF16)
    }

    pub(super) fn surround(&self) -> lpconv::Surround {
        if self.surround == "zero" { lpconv::Surround::Zero } else { lpconv::Surround::Random }
    }

    pub(super) fn models(&self) -> Vec<String> {
        self.models.split(',').map(|m| m.trim().to_owned()).collect()
    }

    pub(super) fn datasets(&self) -> Result<Vec<ImageData>, String> {
        self.datasets.split(',').map(|d| ImageData::of(d.trim())).collect()
    }

    pub(super) fn wanted(&self, data: ImageData, classes: usize) -> Wanted {
        Wanted {
            classes,
            image: self.image(data),
            dropout: self.dropout,
            stochastic_depth: self.stochastic_depth,
        }
    }

    /// What is impossible about the recipe, if anything.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        self.check_numbers()?;
        for (name, value, expected) in [
            ("precision", &self.precision, ["f32", "bf16"]),
            ("surround", &self.surround, ["random", "zero"]),
        ] {
            if !expected.contains(&value.as_str()) {
                return Err(format!("{name} = \"{value}\": expected {}", expected.join(" or ")));
            }
        }
        for data in self.datasets()? {
            for model in self.models() {
                nets::create(&model, &self.wanted(data, 2))?;
            }
        }
        if self.classes == 1 {
            return Err("classes = 1: expected 0 (all) or at least 2".into());
        }
        let shipped = self.train_per_class > 0 && self.train_per_class <= 100;
        if request.data.is_none() && !shipped {
            return Err(format!(
                "train_per_class = {}: the program comes with at most 100 training images of a class; give the whole data \
                 with --data FOLDER (a folder with cifar-100-binary.tar.gz or cifar-100-python.tar.gz of \
                 www.cs.toronto.edu/~kriz/cifar.html, and for TinyImageNet tiny-imagenet-200.zip of cs231n.stanford.edu), \
                 packed or unpacked",
                self.train_per_class
            ));
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        let bounded = [
            ("epochs", self.epochs, 1_000_000),
            ("batch", self.batch, 100_000),
            ("evaluate_every", self.evaluate_every, 1_000_000),
            ("repeats", self.repeats, 1000),
            ("tiny_image", self.tiny_image, 1024),
        ];
        if let Some((name, value, most)) = bounded.iter().find(|(_, v, most)| *v == 0 || v > most) {
            return Err(format!("{name} = {value}: expected 1 to {most}"));
        }
        if self.batch % 2 == 1 {
            return Err(format!(
                "batch = {}: expected an even number, as images are mixed in pairs",
                self.batch
            ));
        }
        if self.warmup_epochs >= self.epochs {
            return Err(format!(
                "warmup_epochs = {}: expected fewer than the {} epochs",
                self.warmup_epochs, self.epochs
            ));
        }
        let rates = [
            ("lr", self.lr, 1e-300, 1e3),
            ("warmup_lr", self.warmup_lr, 0.0, 1e3),
            ("min_lr", self.min_lr, 0.0, 1e3),
            ("weight_decay", self.weight_decay, 0.0, 1e3),
            ("mixup", self.mixup, 0.0, 1e3),
            ("cutmix", self.cutmix, 0.0, 1e3),
            ("smoothing", self.smoothing, 0.0, 1.0),
            ("erasing", self.erasing, 0.0, 1.0),
            ("dropout", self.dropout, 0.0, 1.0),
            ("stochastic_depth", self.stochastic_depth, 0.0, 1.0),
            ("ema", self.ema, 0.0, 1.0),
        ];
        let wrong = rates.iter().find(|(_, v, low, high)| !(low..=high).contains(&v));
        match wrong {
            Some((name, value, 1e-300, _)) => {
                Err(format!("{name} = {value}: expected a positive number"))
            }
            Some((name, value, low, high)) => {
                Err(format!("{name} = {value}: expected {low} to {high}"))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_is_the_papers() {
        let schedule = Recipe::paper().schedule();
        // Section 2.4: epochs 0 and 1 at 1e-6, then up to the peak over five epochs, then down.
        assert_eq!((schedule.lr(0), schedule.lr(1)), (1e-6, 1e-6));
        assert!((schedule.lr(2) - (1e-6 + (2.5e-4 - 1e-6) / 5.0)).abs() < 1e-12);
        let phase = std::f64::consts::PI * 149.0 / 300.0;
        let middle = 1e-5 + 0.5 * (2.5e-4 - 1e-5) * (1.0 + phase.cos());
        assert!((schedule.lr(150) - middle).abs() < 1e-12);
        let short = Recipe::paper().shortened(60);
        assert_eq!((short.epochs, short.warmup_epochs), (60, 1));
        assert!(short.schedule().lr(59) < 1.1e-5);
    }

    #[test]
    fn batches_are_mixed_as_asked() {
        let of = |mixup, cutmix| {
            Recipe { mixup, cutmix, ..Recipe::paper() }.mix().map(|m| m.cutmix_probability)
        };
        assert_eq!(
            [of(0.0, 0.0), of(0.8, 0.0), of(0.0, 1.0), of(0.8, 1.0)],
            [None, Some(0.0), Some(1.0), Some(0.5)]
        );
    }

    #[test]
    fn images_are_changed_as_the_paper_does() {
        let recipe = Recipe::paper();
        for data in ImageData::ALL {
            let training = recipe.training(data);
            assert_eq!(training.flip, 0.5);
            assert!(training.rand_augment.is_some() && training.erasing.is_some());
            let size = recipe.image(data);
            assert_eq!(training.output_size([64, 64]), [size; 2]);
        }
        let tiny = recipe.evaluation(ImageData::TinyImageNet);
        assert_eq!(tiny.crop, Crop::Center { resize: 256, size: 224 });
    }
}
