//! The models that are compared: the trained network that comes with the repository, the same before training, and both with
//! Lp-convolutions that have not been trained.

use anyhow::Result;
use lpconv::{ConvertConfig, Surround, convert};
use nn::Forward;

use super::super::scenes::{shipped, trained, untrained};

const NETWORK: &str = "squeezenet1_0_caffe";

/// A model to be compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spec {
    /// Whether its weights are trained.
    pub(super) trained: bool,
    /// The exponent of its masks, if it has any.
    pub(super) p: Option<f64>,
    /// Seed of untrained weights.
    pub(super) seed: u64,
}

impl Spec {
    /// All of them.
    pub(super) fn all() -> Vec<Spec> {
        let of = |trained, p, seed| Spec { trained, p, seed };
        let exponents = [None, Some(2.0), Some(4.0), Some(8.0), Some(16.0)];
        let mut specs: Vec<Spec> = exponents.map(|p| of(true, p, 0)).to_vec();
        for seed in 0..2 {
            specs.extend([None, Some(2.0), Some(16.0)].map(|p| of(false, p, seed)));
        }
        specs
    }

    /// `base`, or `lp` and the exponent.
    pub(super) fn condition(&self) -> String {
        self.p.map_or("base".into(), |p| format!("lp{p}"))
    }

    /// Condition and whether trained.
    pub(super) fn group(&self) -> String {
        format!("{} {}", if self.trained { "trained" } else { "untrained" }, self.condition())
    }

    /// The model. Converted, its kernels are the old ones under the mask, with zeros around: what the mask alone does.
    pub(super) fn create(&self) -> Result<Box<dyn Forward>> {
        let mut model = match self.trained {
            true => trained(NETWORK, &shipped("vision/weights/squeezenet1_0/weights.npz"))?,
            false => untrained(NETWORK, self.seed)?,
        };
        if let Some(p) = self.p {
            let config = ConvertConfig { surround: Surround::Zero, ..ConvertConfig::lp(p) };
            convert(&mut *model, &config)?;
        }
        Ok(model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_have_names_of_their_own() {
        let mut names: Vec<_> = Spec::all().iter().map(|s| (s.group(), s.seed)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), Spec::all().len());
        assert_eq!(Spec::all()[1].group(), "trained lp2");
    }
}
