//! What a Sudoku trial is: its condition and its recipe.

use std::path::PathBuf;

use lpconv::Surround;
use serde::{Deserialize, Serialize};
use tensor::{ConvAlgorithm, DType};

pub(super) use crate::experiments::condition::Condition;
use crate::experiments::{Request, ScaleName};

/// The five conditions of Fig 4.
pub(super) const CONDITIONS: [Condition; 5] = [
    Condition::Base,
    Condition::Large,
    Condition::LpFrozen(256.0),
    Condition::Lp(2.0),
    Condition::Lp(16.0),
];

/// Everything a trial depends on beside its condition and seed; every field can be set from the command line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    /// Blocks of the net.
    pub(super) blocks: usize,
    /// Channels of each block.
    pub(super) channels: usize,
    /// Passes over the training puzzles.
    pub(super) epochs: usize,
    /// Puzzles of a batch.
    pub(super) batch: usize,
    /// Adam's learning rate, constant.
    pub(super) lr: f64,
    /// Training puzzles.
    pub(super) train: usize,
    /// Test puzzles.
    pub(super) test: usize,
    /// Where puzzles come from: `embedded`, `generated` or `file` (--data).
    pub(super) source: String,
    /// Blanks are filled from the solution until a puzzle has between `givens_min` and `givens_max` givens; 0 leaves
    /// puzzles as they are.
    pub(super) givens_min: usize,
    /// See `givens_min`.
    pub(super) givens_max: usize,
    /// Seed of the split into training and test puzzles, and of generated puzzles.
    pub(super) split_seed: u64,
    /// Trained exponents are kept at or above this.
    pub(super) p_min: f64,
    /// Taps whose mask is below this part of the layer's largest are left out; 0 computes all that are not exactly 0.
    #[serde(default)]
    pub(super) tap_threshold: f64,
    /// What stands around transferred weights: `random` or `zero`.
    pub(super) surround: String,
    /// Of the products while training: `f32`, or `bf16` for mixed precision. Evaluation is in f32.
    #[serde(default = "full_precision")]
    pub(super) precision: String,
    /// How convolutions are computed: `direct`, `winograd` or `fft`; the others add to the rounding.
    #[serde(default = "direct")]
    pub(super) algorithm: String,
    /// Test puzzles on which ablations are measured.
    pub(super) ablation_puzzles: usize,
    /// Step of the half-window of ablated angles, degrees.
    pub(super) ablation_step_deg: usize,
}

/// What recipes written before there was a choice mean.
fn full_precision() -> String {
    "f32".into()
}

/// As [`full_precision`].
fn direct() -> String {
    "direct".into()
}

impl Recipe {
    /// The recipe of a scale.
    pub(super) fn of(scale: ScaleName, data: Option<&PathBuf>) -> Self {
        let paper = Recipe {
            blocks: 10,
            channels: 256,
            epochs: 20,
            batch: 100,
            lr: 1e-4,
            train: 800_000,
            test: 200_000,
            source: "file".into(),
            givens_min: 0,
            givens_max: 0,
            split_seed: 42,
            p_min: 2.0,
            tap_threshold: 0.0,
            surround: "random".into(),
            precision: full_precision(),
            algorithm: direct(),
            ablation_puzzles: 200_000,
            ablation_step_deg: 5,
        };
        let source = if data.is_some() { "file" } else { "embedded" };
        match scale {
            ScaleName::Paper => paper,
            // Section E9 of the specification, "small run": easier puzzles, since a small net cannot solve hard ones.
            ScaleName::Small => Recipe {
                blocks: 6,
                channels: 64,
                epochs: 10,
                lr: 1e-3,
                train: 10_000,
                test: 2_000,
                source: source.into(),
                givens_min: 45,
                givens_max: 55,
                ablation_puzzles: 2_000,
                ..paper
            },
            ScaleName::Demo => Recipe {
                blocks: 6,
                channels: 48,
                epochs: 8,
                lr: 2e-3,
                train: 6_000,
                test: 1_000,
                source: source.into(),
                givens_min: 60,
                givens_max: 70,
                ablation_puzzles: 250,
                ablation_step_deg: 15,
                ..paper
            },
        }
    }

    /// The surround as `lpconv` knows it.
    pub(super) fn surround(&self) -> Result<Surround, String> {
        match self.surround.as_str() {
            "random" => Ok(Surround::Random),
            "zero" => Ok(Surround::Zero),
            other => Err(format!("surround = \"{other}\": expected random or zero")),
        }
    }

    /// The dtype of mixed precision, if that is asked for.
    pub(super) fn autocast(&self) -> Result<Option<DType>, String> {
        match self.precision.as_str() {
            "f32" => Ok(None),
            "bf16" => Ok(Some(DType::BF16)),
            other => Err(format!("precision = \"{other}\": expected f32 or bf16")),
        }
    }

    /// How convolutions are computed.
    pub(super) fn algorithm(&self) -> Result<ConvAlgorithm, String> {
        match self.algorithm.as_str() {
            "direct" => Ok(ConvAlgorithm::Direct),
            "fft" => Ok(ConvAlgorithm::Fft),
            "winograd" => Ok(ConvAlgorithm::Winograd),
            other => Err(format!("algorithm = \"{other}\": expected direct, winograd or fft")),
        }
    }

    /// What is impossible about the recipe, if anything.
    pub(super) fn check(&self, request: &Request) -> Result<(), String> {
        let positive = [
            ("blocks", self.blocks),
            ("channels", self.channels),
            ("epochs", self.epochs),
            ("batch", self.batch),
            ("train", self.train),
            ("test", self.test),
            ("ablation_puzzles", self.ablation_puzzles),
            ("ablation_step_deg", self.ablation_step_deg),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, v)| *v == 0) {
            return Err(format!("{name} = 0: expected at least 1"));
        }
        // Far beyond anything that fits into a machine: a typing error, to be named before it becomes one of memory.
        let bounded = [
            ("blocks", self.blocks, 1000),
            ("channels", self.channels, 4096),
            ("batch", self.batch, 1_000_000),
            ("train", self.train, 100_000_000),
            ("test", self.test, 100_000_000),
        ];
        if let Some((name, value, most)) = bounded.iter().find(|(_, v, most)| v > most) {
            return Err(format!("{name} = {value}: expected at most {most}"));
        }
        if self.lr <= 0.0 {
            return Err(format!("lr = {}: expected a positive number", self.lr));
        }
        if self.p_min <= 0.0 {
            return Err(format!("p_min = {}: expected a positive number", self.p_min));
        }
        if !(0.0..1.0).contains(&self.tap_threshold) {
            return Err(format!(
                "tap_threshold = {}: expected at least 0 and below 1",
                self.tap_threshold
            ));
        }
        if self.givens_min > self.givens_max || self.givens_max > 81 {
            return Err(format!(
                "givens_min = {} and givens_max = {}: expected a range within 0..=81",
                self.givens_min, self.givens_max
            ));
        }
        self.surround()?;
        self.autocast()?;
        self.algorithm()?;
        match (self.source.as_str(), &request.data) {
            ("embedded" | "generated", None) | ("file", Some(_)) => Ok(()),
            ("file", None) => Err(
                "this recipe trains on the 1M-puzzle set: get sudoku.csv from \
                 kaggle.com/datasets/bryanpark/sudoku and give it with --data FILE, or choose another source \
                 with --set source=generated"
                    .into(),
            ),
            ("embedded" | "generated", Some(path)) => Err(format!(
                "--data {} and source = \"{}\" contradict each other: leave one out",
                path.display(),
                self.source
            )),
            (other, _) => {
                Err(format!("source = \"{other}\": expected embedded, generated or file"))
            }
        }
    }
}
