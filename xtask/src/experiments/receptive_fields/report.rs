//! The page: claims, Table 8, the table of all fits.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use neuro::stats::{holm, mean, median, standard_deviation, stars, t_quantile, welch};

use super::{
    FILE, figures,
    fits::{Fits, Group, Member, TABLE_8},
};
use crate::{
    experiments::{ScaleName, run_info},
    report::{Cell, Claim, Number, Quantity, Report, Scale, Table, verdict},
    results::read_json,
};

const PAPER_TABLE_8: &str = include_str!("../../../paper/table08.tsv");

impl Fits {
    pub(super) fn group(&self, name: &str) -> anyhow::Result<&Group> {
        let found = self.groups.iter().find(|g| g.name == name);
        found.with_context(|| format!("{FILE} has no group {name:?}; run it again"))
    }
}

impl Group {
    /// The paper's `p` of each member.
    pub(super) fn p(&self) -> Vec<f64> {
        self.members.iter().map(|m| m.p).collect()
    }
}

/// A comparison of Table 8: two groups, our adjusted p-value, the paper's.
pub(super) struct Pair {
    pub(super) a: usize,
    pub(super) b: usize,
    pub(super) ours: f64,
    paper: f64,
}

/// All pairs of groups by Welch's test, adjusted by Holm.
pub(super) fn table_8(fits: &Fits) -> anyhow::Result<Vec<Pair>> {
    let p =
        TABLE_8.iter().map(|name| Ok(fits.group(name)?.p())).collect::<anyhow::Result<Vec<_>>>()?;
    let pairs: Vec<(usize, usize)> =
        (0..p.len()).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
    let raw: Vec<f64> = pairs
        .iter()
        .map(|&(a, b)| Ok(welch(&p[a], &p[b])?.p_value))
        .collect::<Result<_, neuro::Error>>()?;
    let adjusted = holm(&raw)?;
    pairs
        .into_iter()
        .zip(adjusted)
        .map(|((a, b), ours)| Ok(Pair { a, b, ours, paper: printed(TABLE_8[a], TABLE_8[b])? }))
        .collect()
}

/// The adjusted p-value that Table 8 prints for two groups, whichever stands first.
fn printed(a: &str, b: &str) -> anyhow::Result<f64> {
    let mut lines = PAPER_TABLE_8.lines().map(|l| l.split('\t').collect::<Vec<_>>());
    let line = lines.find(|cells| cells[1..3] == [a, b] || cells[1..3] == [b, a]);
    let value = line.and_then(|cells| cells[7].parse().ok());
    value.ok_or_else(|| anyhow!("Table 8 has no pair of {a} and {b}"))
}

pub(super) fn write(folder: &Path, _: ScaleName) -> anyhow::Result<PathBuf> {
    let fits: Fits = read_json(&folder.join(FILE))?;
    // Without AlexNet's weights another network stands in for it; that is not the paper's scale.
    let scale = if fits.papers_network { Scale::Paper } else { Scale::Small };
    let v1 = fits.group(TABLE_8[0])?;
    let [low, high] = interval(&v1.p());
    let together = |name: &str| {
        fits.pooled.iter().find(|m| m.name == name).map_or(f64::NAN, |m| m.likelihood_p)
    };
    let mut report = Report::new(
        "Receptive fields of V1 and of first layers (Fig 1, 7, 8, Table 8)",
        scale,
        format!(
            "How the inputs of a neuron of mouse V1 lie around it is compared with the taps at which the weighted inputs of a \
             network's first layer ({}) are strong, trained and untrained, by the exponent p of the density that fits best; 2 is \
             a Gaussian. The 17 traced neurons have p = {:.2} on average (95 % interval {low:.2} to {high:.2}), {:.2} in the \
             median; all their inputs together {:.2}, each neuron scaled for itself, and {:.2} on a common scale.",
            fits.network,
            mean(&v1.p()),
            median(&v1.p()),
            together("all"),
            together("all, on a common scale"),
        ),
        run_info(
            folder,
            &[
                ("Network".into(), fits.network.clone()),
                ("Fit".into(), "Adam on (p, sigma) from (2, 0.5), lr 0.1, 1,500 steps".into()),
            ],
            &[],
            Duration::from_secs_f64(fits.seconds),
        )?,
    );
    let pairs = table_8(&fits)?;
    for claim in claims(&fits, &pairs, scale)? {
        report.claim(claim);
    }
    figures::add(&mut report, &fits, &pairs)?;
    report.table("groups", groups(&fits));
    report.table("neurons", neurons(v1, &fits.pooled));
    report.table("table8", table(&pairs, scale));
    report.table("fits", all_fits(&fits));
    for note in NOTES {
        report.note(*note);
    }
    if !fits.papers_network {
        report.note(
            "The network is SqueezeNet 1.0 (96 kernels of 7x7, trained on ImageNet, then pruned and its weights rounded to 256 \
             values), because its weights come with this repository. For the paper's AlexNet: --data alexnet-owt-7be5be79.pth.",
        );
    }
    Ok(report.save(folder)?)
}

const NOTES: &[&str] = &[
    "The paper gives neither loss nor stopping rule of its fit. Here p is where Adam stands after 1,500 steps of the mean \
     log-likelihood; where there is a maximum that is the maximum, and where there is none (a uniform field) it is a \
     stopping point: p = 11 to 14 of untrained kernels says \"a box\", not a number. The maximum itself, or \"unbounded\", \
     stands beside it in the table of fits.",
    "Offsets are standardized to zero mean and unit variance on each axis for each neuron and each image, as in the paper. \
     p of a neuron with few inputs is uncertain and, on average, somewhat too large: see the intervals.",
    "Intervals are percentiles of 500 bootstrap samples of a neuron's inputs. Goodness of fit is Kolmogorov and Smirnov's \
     distance against 199 samples of the fitted density, each fitted anew.",
    "The paper's V1 is \"near 2\". Ours is somewhat larger on average, since the density has one sigma and the axes of \
     the recording: inputs that lie along a diagonal (neuron 15, Fig 8) have a large p, and a neuron with a few dozen inputs \
     a p between 1.5 and 5 or more. Table 8's own p-value of V1 against trained kernels, 0.011 with 17 each, means that the \
     paper's neurons are spread as widely: a difference of 1.7 with that p-value is one of a standard deviation of about 2.",
    "Which 17 of the 118 scenes the paper takes is not said: here the first. Untrained kernels are 17 fresh initializations, \
     one an image.",
    "Positions are those of Rossi, Harris and Carandini (Nature 588:648, 2020), as published; the paper's Fig 1 pools \
     excitatory and inhibitory inputs.",
];

/// 95 % interval of a mean, by Student's t.
fn interval(values: &[f64]) -> [f64; 2] {
    let n = values.len() as f64;
    let half = t_quantile(0.975, n - 1.0) * standard_deviation(values) / n.sqrt();
    [mean(values) - half, mean(values) + half]
}

fn claims(fits: &Fits, pairs: &[Pair], scale: Scale) -> anyhow::Result<Vec<Claim>> {
    let quantity = |name: &str| -> anyhow::Result<Quantity> {
        let unit = if name == TABLE_8[0] { "neuron" } else { "image" };
        Ok(Quantity::seeds(name, &fits.group(name)?.p(), 2).of_each(unit))
    };
    let [v1, image, noise, fresh_noise, fresh_image] = TABLE_8.map(quantity);
    let (v1, image, noise) = (v1?, image?, noise?);
    let fresh = [fresh_noise?, fresh_image?];
    let between = |q: &Quantity, low: f64, high: f64| {
        let middle = Quantity::exact(format!("middle of {low} to {high}"), (low + high) / 2.0, 2);
        verdict::close(q, &middle, (high - low) / 2.0)
    };
    let same = pairs.iter().filter(|p| (p.ours < 0.05) == (p.paper < 0.05)).count();
    Ok(vec![
        Claim::new("p of V1 is near 2 (Fig 1g): 1.5 to 2.6.", between(&v1, 1.5, 2.6), scale),
        Claim::new(
            "p of a trained first layer is 3.7 to 3.8 (Fig 1g): 3 to 5.",
            verdict::at_least(2, &[between(&image, 3.0, 5.0), between(&noise, 3.0, 5.0)]),
            scale,
        ),
        Claim::new(
            "p of an untrained first layer is 11 to 14 (Fig 1g): above 8.",
            verdict::at_least(
                2,
                &fresh.clone().map(|q| verdict::greater(&q, &Quantity::exact("8", 8.0, 0), 0.0)),
            ),
            scale,
        ),
        Claim::new(
            "V1 is below trained kernels, and these are below untrained ones.",
            verdict::at_least(
                4,
                &[
                    verdict::greater(&image, &v1, 0.0),
                    verdict::greater(&noise, &v1, 0.0),
                    verdict::greater(&fresh[1], &image, 0.0),
                    verdict::greater(&fresh[0], &noise, 0.0),
                ],
            ),
            scale,
        ),
        Claim::new(
            "Table 8: all pairs of groups differ but trained kernels on images and on noise.",
            verdict::close(
                &Quantity::exact("pairs that are significant as in the paper", same as f64, 0),
                &Quantity::exact("pairs", pairs.len() as f64, 0),
                0.5,
            ),
            scale,
        ),
    ])
}

/// What the paper's Fig 1g shows, in numbers.
fn groups(fits: &Fits) -> Table {
    let mut table = Table::new(
        "p by group (mean ± standard deviation over neurons or images)",
        [
            "group",
            "n",
            "p",
            "95 % interval",
            "median",
            "no maximum",
            "p by kurtosis",
            "p by least squares",
            "R²",
        ],
    );
    for group in &fits.groups {
        let p = group.p();
        let [low, high] = interval(&p);
        let unbounded = group.members.iter().filter(|m| m.status != "converged").count();
        let middle = |value: fn(&Member) -> Option<f64>| -> Cell {
            let values: Vec<f64> = group.members.iter().filter_map(value).collect();
            match values.len() {
                0 => Cell::Empty,
                n => format!("{:.2} (of {n})", median(&values)).into(),
            }
        };
        table.push([
            group.name.as_str().into(),
            p.len().into(),
            Number::new(mean(&p), 2).sd(standard_deviation(&p)).into(),
            format!("{low:.2} to {high:.2}").into(),
            Cell::number(median(&p), 2),
            format!("{unbounded} of {}", p.len()).into(),
            middle(|m| m.kurtosis_p),
            middle(|m| m.least_squares_p),
            middle(|m| m.r_squared),
        ]);
    }
    table.note(
        "No maximum: the likelihood rises for ever; p is where the optimizer was stopped. Kurtosis, least squares (of the PMF, \
         cell by cell) and R² (share of the variance of the PMF over taps that the fit explains): medians of those that have one.",
    );
    table
}

/// The 17 neurons one by one, and all together.
fn neurons(v1: &Group, pooled: &[Member]) -> Table {
    let mut table = Table::new(
        "Neurons of mouse V1, layer 2/3",
        [
            "neuron",
            "inputs",
            "p",
            "95 % interval",
            "p by kurtosis",
            "p by least squares",
            "p-value of p = 2",
            "ΔAIC free p",
            "ΔAIC p = 2",
            "ΔAIC box",
            "goodness of fit",
        ],
    );
    let named = pooled.iter().map(|m| (format!("together: {}", m.name), m));
    for (name, member) in v1.members.iter().map(|m| (m.name.clone(), m)).chain(named) {
        let optional = |v: Option<f64>, digits| v.map_or(Cell::Empty, |v| Cell::number(v, digits));
        let aic = member.aic.map_or([None; 3], |a| a.map(Some));
        table.push([
            name.into(),
            member.points.into(),
            Cell::number(member.p, 2),
            member.interval.map_or(Cell::Empty, |[a, b]| format!("{a:.2} to {b:.2}").into()),
            optional(member.kurtosis_p, 2),
            optional(member.least_squares_p, 2),
            optional(member.gaussian_p_value, 3),
            optional(aic[0], 1),
            optional(aic[1], 1),
            optional(aic[2], 1),
            optional(member.goodness, 3),
        ]);
    }
    table.note(
        "ΔAIC: above the best of the three families, 0 is the best. Goodness of fit: share of samples of the fitted density \
         that are as far from their own fit; below 0.05 the points are hardly such a density.",
    );
    table.note("Together: offsets in units of each neuron's own standard deviations; on a common scale: in µm, as they are.");
    table
}

fn table(pairs: &[Pair], scale: Scale) -> Table {
    let mut table = Table::new(
        format!("Table 8: Welch's tests of p with Holm's correction ({scale} scale)"),
        ["group", "group ", "p-value", "paper", "agree"],
    );
    for pair in pairs {
        let marked = |p: f64| format!("{p:.2e} {}", stars(p));
        let agree = (pair.ours < 0.05) == (pair.paper < 0.05);
        table.push([
            TABLE_8[pair.a].into(),
            TABLE_8[pair.b].into(),
            marked(pair.ours).into(),
            marked(pair.paper).into(),
            if agree { "yes" } else { "no" }.into(),
        ]);
    }
    table.note("Agree: both below 0.05, or neither.");
    table
}

fn all_fits(fits: &Fits) -> Table {
    let mut table = Table::new(
        "All fits",
        [
            "group",
            "id",
            "points",
            "p",
            "sigma",
            "loss",
            "p of the maximum",
            "status",
            "p by kurtosis",
            "p by least squares",
            "R²",
        ],
    );
    for group in &fits.groups {
        for m in &group.members {
            let optional = |v: Option<f64>| v.map_or(Cell::Empty, |v| Cell::number(v, 3));
            table.push([
                group.name.as_str().into(),
                m.name.as_str().into(),
                m.points.into(),
                Cell::number(m.p, 3),
                Cell::number(m.sigma, 3),
                Cell::number(m.loss, 4),
                Cell::number(m.likelihood_p, 3),
                m.status.as_str().into(),
                optional(m.kurtosis_p),
                optional(m.least_squares_p),
                optional(m.r_squared),
            ]);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_printed_in_the_paper() {
        for (i, b) in TABLE_8.iter().enumerate() {
            for a in &TABLE_8[..i] {
                let p = printed(a, b).unwrap();
                assert!((0.0..1.0).contains(&p));
            }
        }
        assert_eq!(printed("Trained+Image", "Trained+Noise").unwrap(), 0.76);
        assert!(printed("Trained+Image", "Trained+Image").is_err());
    }

    #[test]
    fn the_report_says_what_the_fits_are() {
        let member = |name: String, p: f64| Member {
            name,
            points: 80,
            p,
            sigma: 1.4,
            loss: 2.8,
            likelihood_p: p,
            status: "converged".into(),
            interval: Some([p - 0.5, p + 0.5]),
            kurtosis_p: None,
            least_squares_p: None,
            gaussian_p_value: Some(0.5),
            aic: Some([1.0, 0.0, 9.0]),
            goodness: Some(0.4),
            r_squared: None,
        };
        let group = |name: &str, p: f64| Group {
            name: name.to_owned(),
            members: (0..17).map(|i| member(i.to_string(), p + 0.02 * f64::from(i))).collect(),
            field: Some(super::super::fits::Field { side: 3, mass: vec![1.0 / 9.0; 9] }),
        };
        let groups = TABLE_8.iter().zip([2.0, 3.7, 3.7, 12.0, 14.0]).map(|(n, p)| group(n, p));
        let fits = Fits {
            network: "AlexNet".into(),
            papers_network: true,
            seconds: 1.0,
            groups: groups.collect(),
            pooled: vec![member("all".into(), 2.0)],
        };
        let pairs = table_8(&fits).unwrap();
        assert_eq!(pairs.len(), 10);
        assert!(
            claims(&fits, &pairs, Scale::Paper)
                .unwrap()
                .iter()
                .all(|c| { c.verdict() == crate::report::Verdict::Reproduced })
        );
        let dir = tempfile::tempdir().unwrap();
        crate::results::write_json(&dir.path().join(FILE), &fits).unwrap();
        let html = std::fs::read_to_string(write(dir.path(), ScaleName::Demo).unwrap()).unwrap();
        assert!(html.contains("paper scale") && html.contains("Mouse V1 L2/3"));
    }
}
