//! `cargo xtask model list` and `model show`: the architectures, and what one of them is made of.

use clap::{Args, Subcommand};
use lpconv::{ConvertConfig, KernelSize, convert};
use nn::{Forward, summary};
use vision::models::{MODELS, ModelConfig, ModelInfo, Stem, create, find};

use crate::{
    failure::{Failure, Outcome, say},
    flops::{BatchNormCost, count, fill_with_zeros},
};

/// What to tell about architectures.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Name all architectures
    List,
    /// Show the layers of one: output shapes, parameters, multiply-accumulates
    Show(ShowArgs),
}

/// Which model.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    /// The architecture (see cargo xtask model list)
    pub name: String,
    /// Convert every convolution to an Lp-convolution that starts with this exponent
    #[arg(long, value_name = "P")]
    pub lp: Option<f64>,
    /// Height and width of images in pixels [default: 224; with --cifar 32]
    #[arg(long, value_name = "N")]
    pub input: Option<usize>,
    /// Number of classes [default: 1000]
    #[arg(long, value_name = "N")]
    pub classes: Option<usize>,
    /// The variant for images of 32 pixels: a small first layer
    #[arg(long)]
    pub cifar: bool,
}

/// What to show.
#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    model: ModelArgs,
}

impl ModelArgs {
    /// The architecture, its configuration, and a model of it without values yet.
    ///
    /// # Errors
    /// If there is no such architecture, or not in this form.
    pub fn create(&self) -> Outcome<(&'static ModelInfo, ModelConfig, Box<dyn Forward>)> {
        let usage = |error: vision::Error| Failure::Usage(error.to_string());
        let info = find(&self.name).map_err(usage)?;
        let mut config = info.config();
        if self.cifar {
            (config.image_size, config.stem) = (32, Stem::Small);
        }
        config.image_size = self.input.unwrap_or(config.image_size);
        config.classes = self.classes.unwrap_or(config.classes);
        let mut model = create(info.name, &config).map_err(usage)?;
        if let Some(p) = self.lp {
            convert(&mut *model, &paper_conversion(info.name, p))
                .map_err(|error| Failure::Usage(format!("--lp {p}: {error}")))?;
        }
        Ok((info, config, model))
    }
}

/// How the paper converts an architecture: every kernel grows, but RepLKNet's, which are large already and start afresh.
pub fn paper_conversion(name: &str, p: f64) -> ConvertConfig {
    let lp = ConvertConfig::lp(p);
    match name.starts_with("replknet") {
        true => ConvertConfig { size: KernelSize::Scale(1.0), transfer: false, ..lp },
        false => lp,
    }
}

/// `cargo xtask model`.
///
/// # Errors
/// If there is no such architecture, or not in this form.
pub fn run(command: &ModelCommand) -> Outcome {
    match command {
        ModelCommand::List => {
            let width = MODELS.iter().map(|m| m.name.len()).max().unwrap_or_default();
            for model in MODELS {
                say!("{:<width$}  {}", model.name, model.about);
            }
            Ok(())
        }
        ModelCommand::Show(args) => show(&args.model),
    }
}

fn show(args: &ModelArgs) -> Outcome {
    let (info, config, mut model) = args.create()?;
    fill_with_zeros(&mut *model);
    let input = info.input(&config);
    say!("{}", summary(&*model, input));
    let operations = count(&*model, input);
    let giga = |n: u64| n as f64 / 1e9;
    say!("input {input:?}: {:.3} GMAC in convolutions and linear layers", giga(operations.macs()));
    say!(
        "{:.3} GFLOP as the paper's Table 10 counts, {:.3} as its Table 3 does",
        giga(operations.flops(BatchNormCost::Training)),
        giga(operations.flops(BatchNormCost::Evaluation))
    );
    Ok(())
}
