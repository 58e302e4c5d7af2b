//! Verdicts computed from numbers: whether a claim of the paper was seen again.
//!
//! # How a verdict is reached
//!
//! Every claim is reduced to one or more differences `d = a − b` with a two-sided 95 % confidence interval:
//!
//! - **seeds** (one value for each run): Welch's interval, `d ± t(0.975, ν) · √(s_a²/n_a + s_b²/n_b)` with the
//!   Welch–Satterthwaite degrees of freedom `ν`; for runs paired by seed, Student's interval of the differences;
//! - **counts** (`x` of `n` test puzzles): Agresti and Caffo's interval (2000), which is Wald's with one success and one
//!   failure added to each sample, so that 0 of `n` and `n` of `n` have an uncertainty too;
//! - **exact** numbers (parameter counts, areas of masks): no uncertainty.
//!
//! `a > b + margin` is *reproduced* if the whole interval lies above the margin, *not reproduced* if the whole interval lies
//! below it, and *too small to say* if the margin lies inside: more seeds or more puzzles could still tip it. In the same way
//! `|a − b| ≤ tolerance` needs an interval entirely within, or entirely outside, the tolerance. A single seed has no spread,
//! and a value that is not a number says nothing: both are *too small to say*.
//!
//! A demo run ([`Scale::Demo`]) only shows that the pipeline works, so it can neither confirm nor refute what training is
//! supposed to show: of its claims only exact ones get another verdict than *too small to say*.

use std::fmt;

use maud::{Markup, html};
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// How far a run is from the paper's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Seconds to minutes: shows that the pipeline works, nothing more.
    Demo,
    /// Minutes to hours on a laptop, with smaller models or data: may show a direction.
    Small,
    /// The paper's models, data and recipe.
    Paper,
}

/// The outcome of comparing our numbers with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The claim holds beyond the uncertainty of the measurement.
    Reproduced,
    /// The opposite holds beyond the uncertainty of the measurement.
    NotReproduced,
    /// The difference lies inside its uncertainty.
    TooSmallToSay,
}

/// A named measurement to compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    name: String,
    sample: Sample,
    digits: usize,
    /// What a value of a sample belongs to.
    unit: &'static str,
}

#[derive(Clone, Debug, PartialEq)]
enum Sample {
    Seeds(Vec<f64>),
    Counts { successes: u64, trials: u64 },
    Exact(f64),
}

/// The judged difference of two quantities, or several such judged together.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    verdict: Verdict,
    /// Each quantity once, in words.
    measured: Vec<String>,
    reason: String,
    exact: bool,
}

/// A claim of the paper beside what was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    paper: String,
    measured: String,
    verdict: Verdict,
    reason: String,
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Demo => "demo",
            Self::Small => "small",
            Self::Paper => "paper",
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::TooSmallToSay => "too small to say",
        })
    }
}

impl Verdict {
    /// A badge that does not rely on color alone.
    pub fn to_html(self) -> Markup {
        let (class, sign) = match self {
            Self::Reproduced => ("yes", "✓"),
            Self::NotReproduced => ("no", "✗"),
            Self::TooSmallToSay => ("open", "?"),
        };
        html! { span.badge.(class) { (sign) " " (self) } }
    }
}

impl Quantity {
    /// One value for each seed, in any unit.
    pub fn seeds(name: impl Into<String>, values: &[f64], digits: usize) -> Self {
        Self { name: name.into(), sample: Sample::Seeds(values.to_vec()), digits, unit: "seed" }
    }

    /// `successes` of `trials` independent test cases; compared and shown in percent.
    ///
    /// # Panics
    ///
    /// If there are more successes than trials.
    #[track_caller]
    pub fn counts(name: impl Into<String>, successes: u64, trials: u64, digits: usize) -> Self {
        let name = name.into();
        assert!(
            successes <= trials,
            "{name}: {successes} successes cannot come from {trials} trials"
        );
        Self { name, sample: Sample::Counts { successes, trials }, digits, unit: "case" }
    }

    /// A number without uncertainty.
    pub fn exact(name: impl Into<String>, value: f64, digits: usize) -> Self {
        Self { name: name.into(), sample: Sample::Exact(value), digits, unit: "" }
    }

    /// Says what the values belong to, where it is not a seed: `neuron`, `image`.
    pub fn of_each(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }

    fn is_exact(&self) -> bool {
        matches!(self.sample, Sample::Exact(_))
    }

    /// Its mean with what is known of its uncertainty, or why nothing can be said.
    fn estimate(&self) -> Result<Estimate, String> {
        match &self.sample {
            &Sample::Exact(value) if value.is_nan() => {
                Err(format!("{} is not a number", self.name))
            }
            &Sample::Exact(value) => {
                Ok(Estimate { mean: value, center: value, variance: 0.0, freedom: f64::INFINITY })
            }
            &Sample::Counts { trials: 0, .. } => Err(format!("{} was tried on no case", self.name)),
            &Sample::Counts { successes, trials } => {
                let (x, n) = (successes as f64, trials as f64);
                let center = (x + 1.0) / (n + 2.0);
                Ok(Estimate {
                    mean: 100.0 * x / n,
                    center: 100.0 * center,
                    variance: 1e4 * center * (1.0 - center) / (n + 2.0),
                    freedom: f64::INFINITY,
                })
            }
            Sample::Seeds(values) => {
                let (mean, variance) = usable(&self.name, values)?;
                let n = values.len() as f64;
                Ok(Estimate { mean, center: mean, variance: variance / n, freedom: n - 1.0 })
            }
        }
    }

    fn text(&self) -> String {
        let digits = self.digits;
        match &self.sample {
            Sample::Exact(value) => format!("{} {value:.digits$}", self.name),
            &Sample::Counts { successes, trials } => {
                let percent = 100.0 * successes as f64 / trials as f64;
                format!("{} {percent:.digits$} % ({successes} of {trials})", self.name)
            }
            Sample::Seeds(values) => match values.as_slice() {
                [] => format!("{} unmeasured", self.name),
                [one] => format!("{} {one:.digits$} (1 {})", self.name, self.unit),
                _ => {
                    let (mean, variance) = mean_and_variance(values);
                    format!(
                        "{} {mean:.digits$} ± {:.digits$} ({} {}s)",
                        self.name,
                        variance.sqrt(),
                        values.len(),
                        self.unit
                    )
                }
            },
        }
    }
}

/// What [`Quantity::estimate`] knows: `center` and `variance` make the interval, `mean` is what was seen.
struct Estimate {
    mean: f64,
    center: f64,
    variance: f64,
    freedom: f64,
}

/// A difference and its 95 % confidence interval.
struct Difference {
    seen: f64,
    low: f64,
    high: f64,
}

impl Difference {
    fn new(seen: f64, center: f64, variance: f64, freedom: f64) -> Self {
        let half = if variance == 0.0 { 0.0 } else { quantile_975(freedom) * variance.sqrt() };
        Self { seen, low: center - half, high: center + half }
    }

    fn welch(a: &Estimate, b: &Estimate) -> Self {
        let variance = a.variance + b.variance;
        let freedom =
            variance.powi(2) / (a.variance.powi(2) / a.freedom + b.variance.powi(2) / b.freedom);
        Self::new(a.mean - b.mean, a.center - b.center, variance, freedom)
    }

    /// `a − b > margin`.
    fn exceeds(&self, margin: f64) -> Verdict {
        if self.low > margin {
            Verdict::Reproduced
        } else if self.high <= margin {
            Verdict::NotReproduced
        } else {
            Verdict::TooSmallToSay
        }
    }

    /// `|a − b| ≤ tolerance`.
    fn within(&self, tolerance: f64) -> Verdict {
        if -tolerance <= self.low && self.high <= tolerance {
            Verdict::Reproduced
        } else if self.low > tolerance || self.high < -tolerance {
            Verdict::NotReproduced
        } else {
            Verdict::TooSmallToSay
        }
    }
}

/// Judges `a > b + margin` from independent samples; see the [module](self) for how.
pub fn greater(a: &Quantity, b: &Quantity, margin: f64) -> Comparison {
    let rule = if margin == 0.0 { "above 0".to_owned() } else { format!("above {margin}") };
    compare(a, b, independent(a, b), &rule, |d| d.exceeds(margin))
}

/// Judges `a > b + margin` from runs paired by position, usually by seed; see the [module](self) for how.
///
/// # Panics
///
/// If the quantities are not two equally long lists of seeds.
#[track_caller]
pub fn greater_paired(a: &Quantity, b: &Quantity, margin: f64) -> Comparison {
    let rule = if margin == 0.0 { "above 0".to_owned() } else { format!("above {margin}") };
    compare(a, b, paired(a, b), &rule, |d| d.exceeds(margin))
}

/// Judges `|a − b| ≤ tolerance` from independent samples; see the [module](self) for how.
pub fn close(a: &Quantity, b: &Quantity, tolerance: f64) -> Comparison {
    compare(a, b, independent(a, b), &format!("within ±{tolerance}"), |d| d.within(tolerance))
}

/// Judges whether at least `k` of several comparisons hold.
///
/// Reproduced if `k` are reproduced, not reproduced if so many failed that `k` are out of reach, too small to say otherwise.
/// All of them hold: `k = comparisons.len()`.
///
/// # Panics
///
/// If `k` is 0 or larger than the number of comparisons.
#[track_caller]
pub fn at_least(k: usize, comparisons: &[Comparison]) -> Comparison {
    let n = comparisons.len();
    assert!(
        (1..=n).contains(&k),
        "at_least: {k} of {n} comparisons is no claim; k must be 1..={n}"
    );
    let count = |verdict| comparisons.iter().filter(|c| c.verdict == verdict).count();
    let (yes, no) = (count(Verdict::Reproduced), count(Verdict::NotReproduced));
    let verdict = if yes >= k {
        Verdict::Reproduced
    } else if n - no < k {
        Verdict::NotReproduced
    } else {
        Verdict::TooSmallToSay
    };
    let mut measured: Vec<String> = Vec::new();
    for quantity in comparisons.iter().flat_map(|c| &c.measured) {
        if !measured.contains(quantity) {
            measured.push(quantity.clone());
        }
    }
    let reasons: Vec<&str> = comparisons.iter().map(|c| c.reason.as_str()).collect();
    Comparison {
        verdict,
        measured,
        reason: format!("{yes} of {n} hold, {no} fail, {k} needed: {}", reasons.join("; ")),
        exact: comparisons.iter().all(|c| c.exact),
    }
}

impl Comparison {
    /// The verdict of the numbers alone, whatever the scale of the run.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }
}

impl Claim {
    /// Sets what the paper says beside what a run of the given scale has shown.
    ///
    /// See the [module](self) for what a demo run may say.
    pub fn new(paper: impl Into<String>, comparison: Comparison, scale: Scale) -> Self {
        let Comparison { mut verdict, measured, mut reason, exact } = comparison;
        if scale == Scale::Demo && !exact {
            verdict = Verdict::TooSmallToSay;
            reason = format!("a demo run only shows that the pipeline works; {reason}");
        }
        Self { paper: paper.into(), measured: measured.join("; "), verdict, reason }
    }

    /// What the paper says.
    pub fn paper(&self) -> &str {
        &self.paper
    }

    /// What was measured, in words and numbers.
    pub fn measured(&self) -> &str {
        &self.measured
    }

    /// The verdict.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why the verdict is what it is.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

fn compare(
    a: &Quantity,
    b: &Quantity,
    difference: Result<Difference, String>,
    rule: &str,
    judge: impl Fn(&Difference) -> Verdict,
) -> Comparison {
    let exact = a.is_exact() && b.is_exact();
    let digits = a.digits.max(b.digits);
    let (verdict, reason) = match difference {
        Err(why) => (Verdict::TooSmallToSay, why),
        Ok(d) => {
            let interval = match exact {
                true => String::new(),
                false => format!(" (95 % interval {:+.digits$} to {:+.digits$})", d.low, d.high),
            };
            (
                judge(&d),
                format!("{} − {} = {:+.digits$}{interval}, claimed {rule}", a.name, b.name, d.seen),
            )
        }
    };
    let measured = vec![a.text(), b.text()];
    Comparison { verdict, measured, reason, exact }
}

fn independent(a: &Quantity, b: &Quantity) -> Result<Difference, String> {
    Ok(Difference::welch(&a.estimate()?, &b.estimate()?))
}

#[track_caller]
fn paired(a: &Quantity, b: &Quantity) -> Result<Difference, String> {
    let (Sample::Seeds(of_a), Sample::Seeds(of_b)) = (&a.sample, &b.sample) else {
        panic!("greater_paired: {} and {} must both hold values by seed", a.name, b.name);
    };
    assert!(
        of_a.len() == of_b.len(),
        "greater_paired: {} has {} seeds but {} has {}",
        a.name,
        of_a.len(),
        b.name,
        of_b.len()
    );
    let differences: Vec<f64> = of_a.iter().zip(of_b).map(|(a, b)| a - b).collect();
    let (mean, variance) = usable(&format!("{} − {}", a.name, b.name), &differences)?;
    let n = differences.len() as f64;
    Ok(Difference::new(mean, mean, variance / n, n - 1.0))
}

/// Mean and variance of values by seed, or why they tell nothing.
fn usable(name: &str, values: &[f64]) -> Result<(f64, f64), String> {
    let n = values.len();
    let bad = values.iter().filter(|value| !value.is_finite()).count();
    match n {
        0 => Err(format!("{name} was not measured")),
        _ if bad > 0 => Err(format!("{bad} of {n} values of {name} are not finite")),
        1 => Err(format!("{name} has a single seed, so its spread is unknown")),
        _ => Ok(mean_and_variance(values)),
    }
}

/// Sample mean and variance (divided by `n − 1`).
fn mean_and_variance(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

/// The 97.5 % point of Student's t; of the normal distribution for infinite degrees of freedom.
fn quantile_975(freedom: f64) -> f64 {
    if freedom.is_infinite() {
        Normal::standard().inverse_cdf(0.975)
    } else {
        let t = StudentsT::new(0.0, 1.0, freedom)
            .expect("degrees of freedom come from at least two seeds");
        t.inverse_cdf(0.975)
    }
}

#[cfg(test)]
mod tests;
