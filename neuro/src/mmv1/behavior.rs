//! [`BehaviorSet`]: which variables are made of the measured behavior.

use std::{fmt, str::FromStr};

/// What the model sees of the measured behavior: the variables themselves, their changes, their products.
///
/// Of the six published variables (speed, pitch, roll, phi, theta, eye radius) it makes 6, 11, 21 or 66. Differences are
/// those of consecutive bins, of all variables but the first (a speed is a change already); the first bin of a segment keeps
/// its value. Products are of any two different variables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BehaviorSet {
    /// The measured variables.
    Orig,
    /// With differences.
    All,
    /// With products.
    OrigProd,
    /// With differences, and products of all of these. Default.
    #[default]
    AllProd,
}

impl BehaviorSet {
    /// Every set, from small to large.
    pub const ALL: [BehaviorSet; 4] =
        [BehaviorSet::Orig, BehaviorSet::All, BehaviorSet::OrigProd, BehaviorSet::AllProd];

    fn differences(self) -> bool {
        matches!(self, BehaviorSet::All | BehaviorSet::AllProd)
    }

    fn products(self) -> bool {
        matches!(self, BehaviorSet::OrigProd | BehaviorSet::AllProd)
    }

    /// How many variables it makes of so many measured ones.
    pub fn len(self, measured: usize) -> usize {
        let plain = measured + if self.differences() { measured.saturating_sub(1) } else { 0 };
        plain + if self.products() { plain * plain.saturating_sub(1) / 2 } else { 0 }
    }

    /// Appends the variables of a bin: the measured ones first, then differences, then products (of the first with all
    /// behind it, of the second, …). `before` is the bin before it, `None` for the first of a segment.
    pub(super) fn append(self, now: &[f32], before: Option<&[f32]>, out: &mut Vec<f32>) {
        let start = out.len();
        out.extend(now);
        if self.differences() {
            let change = |i: usize| before.map_or(now[i], |before| now[i] - before[i]);
            out.extend((1..now.len()).map(change));
        }
        if self.products() {
            let end = out.len();
            for i in start..end {
                for j in i + 1..end {
                    out.push(out[i] * out[j]);
                }
            }
        }
    }
}

impl fmt::Display for BehaviorSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BehaviorSet::Orig => "orig",
            BehaviorSet::All => "all",
            BehaviorSet::OrigProd => "orig_prod",
            BehaviorSet::AllProd => "all_prod",
        })
    }
}

impl FromStr for BehaviorSet {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let known = BehaviorSet::ALL.into_iter().find(|set| set.to_string() == s);
        known.ok_or_else(|| {
            format!(
                "there is no set \"{s}\" of behavior; expected orig, all, orig_prod or all_prod"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_variables_become_6_11_21_and_66() {
        let counts = BehaviorSet::ALL.map(|set| set.len(6));
        assert_eq!(counts, [6, 11, 21, 66]);
        for set in BehaviorSet::ALL {
            let mut out = Vec::new();
            set.append(&[1.0; 6], Some(&[2.0; 6]), &mut out);
            assert_eq!(out.len(), set.len(6));
            assert_eq!(set.to_string().parse(), Ok(set));
        }
        assert!("both".parse::<BehaviorSet>().is_err());
    }

    #[test]
    fn differences_and_products_are_in_order() {
        let made = |before: Option<&[f32]>| {
            let mut out = Vec::new();
            BehaviorSet::AllProd.append(&[2.0, 5.0], before, &mut out);
            out
        };
        assert_eq!(made(Some(&[1.0, 3.0])), [2.0, 5.0, 2.0, 10.0, 4.0, 10.0]);
        assert_eq!(made(None)[..3], [2.0, 5.0, 5.0]);
    }
}
