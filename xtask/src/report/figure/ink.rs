//! Colors that mean the same in every figure, chosen so that they differ for color-blind readers too.

/// What a mark stands for; decides its color and, for lines, its dashes.
///
/// The paper's conditions have the eight colors of Okabe and Ito (2008) but yellow. Everything else that needs telling
/// apart (row, column, box, …) uses Paul Tol's "bright" scheme, so that it is not taken for a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// The unconverted network.
    Base,
    /// Enlarged kernels without a mask.
    Large,
    /// Frozen masks with p = 256: the control that computes the same function as base, hence the dashes.
    Lpf256,
    /// Trainable masks that start from p = 2.
    Lp2,
    /// Trainable masks that start from p = 4.
    Lp4,
    /// Trainable masks that start from p = 8.
    Lp8,
    /// Trainable masks that start from p = 16.
    Lp16,
    /// The n-th of up to seven categories that are not conditions; further ones repeat the colors.
    Category(usize),
    /// Gray, for what needs no telling apart.
    Neutral,
}

const CATEGORIES: [&str; 7] =
    ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb"];

impl Ink {
    /// The ink of a condition as the experiments name it (`base`, `large`, `lpf256`, `lp2`, `lp4`, `lp8`, `lp16`).
    pub fn condition(name: &str) -> Option<Self> {
        Some(match name {
            "base" => Self::Base,
            "large" => Self::Large,
            "lpf256" => Self::Lpf256,
            "lp2" => Self::Lp2,
            "lp4" => Self::Lp4,
            "lp8" => Self::Lp8,
            "lp16" => Self::Lp16,
            _ => return None,
        })
    }

    /// The ink of a condition, or for one that the paper does not have that of the `index`-th category.
    pub fn condition_or(name: &str, index: usize) -> Self {
        Self::condition(name).unwrap_or(Self::Category(index))
    }

    /// The color as `#rrggbb`.
    pub fn color(self) -> &'static str {
        match self {
            Self::Base => "#000000",
            Self::Large => "#e69f00",
            Self::Lpf256 => "#009e73",
            Self::Lp2 => "#d55e00",
            Self::Lp4 => "#cc79a7",
            Self::Lp8 => "#56b4e9",
            Self::Lp16 => "#0072b2",
            Self::Category(n) => CATEGORIES[n % CATEGORIES.len()],
            Self::Neutral => "#777777",
        }
    }

    /// Lengths of dashes and gaps for lines of this ink; none for solid ones.
    ///
    /// Base is solid and lpf256 dashed because the two lie on each other.
    pub(super) fn dashes(self) -> Option<&'static str> {
        match self {
            Self::Large => Some("10 4 2 4"),
            Self::Lpf256 => Some("6 4"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_have_distinct_colors() {
        let names = ["base", "large", "lpf256", "lp2", "lp4", "lp8", "lp16"];
        let mut colors: Vec<_> =
            names.iter().map(|name| Ink::condition(name).unwrap().color()).collect();
        colors.extend((0..6).map(|n| Ink::Category(n).color()));
        colors.push(Ink::Neutral.color());
        let all = colors.len();
        colors.sort();
        colors.dedup();
        assert_eq!(colors.len(), all);
        assert_eq!(Ink::condition("lp3"), None);
    }
}
