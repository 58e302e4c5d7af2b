//! The paper's conditions, which most experiments share.

use std::{fmt, str::FromStr};

use lpconv::{ConvertConfig, MaskConfig, Surround};

/// One of the paper's conditions (section 0 of the specification).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::experiments) enum Condition {
    /// The model as it is.
    Base,
    /// Enlarged kernels without a mask.
    Large,
    /// Enlarged kernels with trained masks that start from p.
    Lp(f64),
    /// Enlarged kernels with masks that stay as they start: at p = 256 exactly the old window.
    LpFrozen(f64),
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Base => f.write_str("base"),
            Condition::Large => f.write_str("large"),
            Condition::Lp(p) => write!(f, "lp{p}"),
            Condition::LpFrozen(p) => write!(f, "lpf{p}"),
        }
    }
}

impl FromStr for Condition {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let p = |text: &str| text.parse::<f64>().ok().filter(|p| *p > 0.0 && p.is_finite());
        let frozen = s.strip_prefix("lpf").and_then(p).map(Condition::LpFrozen);
        let trained = || s.strip_prefix("lp").and_then(p).map(Condition::Lp);
        match s {
            "base" => Ok(Condition::Base),
            "large" => Ok(Condition::Large),
            _ => frozen.or_else(trained).ok_or_else(|| {
                format!(
                    "there is no condition \"{s}\"; expected base, large, lpP (trained masks from p = P, \
                     such as lp2) or lpfP (frozen masks, such as lpf256)"
                )
            }),
        }
    }
}

impl Condition {
    /// How the base model is converted; `None` for base itself.
    pub(in crate::experiments) fn conversion(
        self,
        seed: u64,
        surround: Surround,
        tap_threshold: f64,
    ) -> Option<ConvertConfig> {
        let mask = match self {
            Condition::Base => return None,
            Condition::Large => None,
            Condition::Lp(p) => Some(MaskConfig::trained(p)),
            Condition::LpFrozen(p) => Some(MaskConfig::frozen(p)),
        };
        let mask = mask.map(|mask| MaskConfig { tap_threshold, ..mask });
        Some(ConvertConfig { mask, surround, seed, ..ConvertConfig::lp(2.0) })
    }

    /// Whether p is trained, and therefore clamped.
    pub(in crate::experiments) fn trains_p(self) -> bool {
        matches!(self, Condition::Lp(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_as_they_are_written() {
        let paper = ["base", "large", "lp2", "lp4", "lp8", "lp16", "lpf256"];
        for name in paper {
            assert_eq!(name.parse::<Condition>().unwrap().to_string(), name);
        }
        assert_eq!("lp3.5".parse(), Ok(Condition::Lp(3.5)));
        for bad in ["lp", "lp-2", "lpf0", "lpinf", "Base", ""] {
            assert!(bad.parse::<Condition>().unwrap_err().contains("expected base"), "{bad}");
        }
    }
}
