//! The mathematics of Lp-masks (densities, fits of p and sigma, decompositions of C) and statistics of neuroscience: tests,
//! rank correlations, similarity of representations, scores of predictions. All of it in f64.

use anyhow::{Result, bail, ensure};
use lpconv::{Conformation, FitStatus, Histogram, Mpnd, Svd2, fit_least_squares};
use neuro::{
    prediction::{SMOOTHING_FRAMES, moving_average, prediction_score},
    rsa::{Comparison, Rsm, RsmOptions, Similarity, compare},
    stats::{TTest, holm, kendall_tau_b, pearson, spearman, student, welch},
};

use super::{Run, Runner};

pub(super) const RUNNERS: &[Runner] = &[
    Runner { prefix: "stats/", op: "mpnd", run: mpnd },
    Runner { prefix: "stats/", op: "mpnd_fit", run: mpnd_fit },
    Runner { prefix: "stats/", op: "svd2x2", run: svd2x2 },
    Runner { prefix: "stats/", op: "t_test", run: t_test },
    Runner { prefix: "stats/", op: "holm_bonferroni", run: holm_bonferroni },
    Runner { prefix: "stats/", op: "rank_correlation", run: rank_correlation },
    Runner { prefix: "stats/", op: "rsm", run: rsm },
    Runner { prefix: "stats/", op: "neural_score", run: neural_score },
];

fn values(run: &Run, role: &str) -> Result<Vec<f64>> {
    Ok(run.tensor(role)?.to_f64_vec())
}

fn mpnd(run: &Run) -> Result<()> {
    match run.attr::<usize>("d")? {
        1 => mpnd_in::<1>(run),
        2 => mpnd_in::<2>(run),
        3 => mpnd_in::<3>(run),
        d => bail!("{d} dimensions"),
    }
}

fn mpnd_in<const D: usize>(run: &Run) -> Result<()> {
    let rows = |role: &str| Ok::<_, anyhow::Error>(values(run, role)?.as_chunks::<D>().0.to_vec());
    let c = rows("in.C")?;
    ensure!(c.len() == D, "C has {} rows", c.len());
    let density = Mpnd::new(run.attr("p")?, std::array::from_fn(|i| c[i]), [0.0; D])?;
    let densities: Vec<f64> = rows("in.points")?.into_iter().map(|s| density.density(s)).collect();
    run.numbers("out.integral", &[density.integral()])?;
    run.numbers("out.density", &densities)
}

/// Squared errors below this share of the histogram's sum of squares are rounding.
const ROUNDING: f64 = 1e-20;

fn mpnd_fit(run: &Run) -> Result<()> {
    // The start is the fit's own; the minimum does not depend on it.
    run.remarks(&["true_p", "samples", "start"]);
    let centers = values(run, "in.centres")?;
    let pmf = values(run, "in.pmf")?;
    let rounding = ROUNDING * pmf.iter().map(|m| m * m).sum::<f64>();
    let fit = fit_least_squares(&Histogram::new([centers.clone(), centers], pmf)?)?;
    ensure!(fit.status == FitStatus::Converged, "the fit ended with {:?}", fit.status);
    run.numbers("out.p_sigma", &[fit.p, fit.sigma])?;
    // An exact histogram leaves an error of 1e-30 on both sides, of which no digit means anything.
    let expected = values(run, "out.squared_error")?[0];
    let both_vanish = fit.squared_error.max(expected) < rounding;
    let squared_error = if both_vanish { expected } else { fit.squared_error };
    run.numbers("out.squared_error", &[squared_error])
}

fn svd2x2(run: &Run) -> Result<()> {
    let matrices = |role: &str| {
        let rows = values(run, role)?.as_chunks::<2>().0.to_vec();
        Ok::<_, anyhow::Error>(rows.as_chunks::<2>().0.to_vec())
    };
    let (u, vt) = (matrices("out.U")?, matrices("out.Vt")?);
    let rotation = values(run, "out.rotation_deg")?;
    let mut found = [const { Vec::new() }; 6];
    for (i, c) in matrices("in.C")?.into_iter().enumerate() {
        let mut svd = Svd2::new(c);
        for k in 0..2 {
            // A pair of singular vectors is unique up to a common sign: take the expected one's.
            let along: f64 = (0..2).map(|l| svd.vt[k][l] * vt[i][k][l]).sum();
            if along < 0.0 {
                svd.vt[k] = svd.vt[k].map(|v| -v);
                svd.u.iter_mut().for_each(|row| row[k] = -row[k]);
            }
        }
        let shape = Conformation::new(c)?;
        let (angle, u, vt) = if svd.s[0] == svd.s[1] {
            // Any pair of orthogonal vectors is one: what can be checked is that there is no direction.
            ensure!(shape.rotation_deg.is_nan(), "matrix {i} is isotropic but has a rotation");
            (rotation[i], u[i], vt[i])
        } else {
            // The vectors count from the row axis, this crate from the column axis; 0 and 180 are the same.
            let angle = 90.0 - shape.rotation_deg;
            let turns = ((rotation[i] - angle) / 180.0).round();
            (angle + 180.0 * turns, svd.u, svd.vt)
        };
        found[0].extend(svd.s);
        found[1].push(shape.distortion);
        found[2].push(shape.scale);
        found[3].push(angle);
        found[4].extend(u.as_flattened());
        found[5].extend(vt.as_flattened());
        for (j, entry) in c.as_flattened().iter().enumerate() {
            let rebuilt: f64 = (0..2).map(|k| svd.u[j / 2][k] * svd.s[k] * svd.vt[k][j % 2]).sum();
            let off = (rebuilt - entry).abs();
            ensure!(off <= 1e-14 * svd.s[0], "U diag(S) Vt is off by {off:e} for matrix {i}");
        }
    }
    let roles = ["singular_values", "distortion", "scale", "rotation_deg", "U", "Vt"];
    for (role, values) in roles.iter().zip(&found) {
        run.numbers(&format!("out.{role}"), values)?;
    }
    Ok(())
}

fn t_test(run: &Run) -> Result<()> {
    let (a, b) = (values(run, "in.a")?, values(run, "in.b")?);
    let entries = |test: TTest| [test.statistic, test.p_value, test.df];
    run.numbers("out.welch", &entries(welch(&a, &b)?))?;
    run.numbers("out.student", &entries(student(&a, &b)?))
}

fn holm_bonferroni(run: &Run) -> Result<()> {
    let mut p = values(run, "in.p")?;
    if run.has("in.groups") {
        // The p-values come from Welch's tests of all pairs: ours must be the given ones, and are what is adjusted.
        run.remarks(&["pairs"]);
        let groups = run.tensor("in.groups")?;
        let group = |i: usize| groups.select(0, i).to_f64_vec();
        let n = groups.dims()[0];
        let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
        for ((i, j), given) in pairs.zip(&mut p) {
            let own = welch(&group(i), &group(j))?.p_value;
            let off = (own - *given).abs();
            ensure!(off <= 1e-8 * *given, "groups {i} and {j}: p = {own:e}, expected {given:e}");
            *given = own;
        }
    }
    run.numbers("out.p", &holm(&p)?)
}

fn rank_correlation(run: &Run) -> Result<()> {
    let (a, b) = (values(run, "in.a")?, values(run, "in.b")?);
    run.numbers("out.kendall_tau_b", &[kendall_tau_b(&a, &b)?.statistic])?;
    run.numbers("out.spearman", &[spearman(&a, &b)?.statistic])?;
    // Where the exact correlation is 0, both sides give the rounding of their sums, of which no digit means anything.
    let (found, expected) = (pearson(&a, &b)?.statistic, values(run, "out.pearson")?[0]);
    let both_vanish = found.abs().max(expected.abs()) < 1e-15;
    run.numbers("out.pearson", &[if both_vanish { expected } else { found }])
}

fn rsm(run: &Run) -> Result<()> {
    let responses = run.tensor("in.responses")?;
    let other = run.tensor("in.other_rsm")?;
    let other = Rsm::from_matrix(other.to_f64_vec(), other.dims()[0], true)?;
    let centered = RsmOptions { sd_offset: run.attr("sd_offset")?, ..RsmOptions::default() };
    for (name, options) in
        [("plain", RsmOptions::plain(Similarity::Pearson)), ("centred", centered)]
    {
        let rsm = Rsm::new(&responses, &options)?;
        run.numbers(&format!("out.rsm_{name}"), rsm.matrix())?;
        let ssm = compare(&rsm, &other, Comparison::KendallTauB)?;
        run.numbers(&format!("out.ssm_{name}"), &[ssm])?;
    }
    Ok(())
}

fn neural_score(run: &Run) -> Result<()> {
    run.remarks(&["frame_ms"]);
    let window: usize = run.attr("window")?;
    ensure!(window == SMOOTHING_FRAMES, "a window of {window} frames");
    let (predicted, recorded) = (run.tensor("in.pred")?, run.tensor("in.label")?);
    run.numbers("out.cc_raw", &prediction_score(&predicted, &recorded)?.cc)?;
    let [predicted, recorded] = [&predicted, &recorded].map(|x| moving_average(x, window));
    let (predicted, recorded) = (predicted?, recorded?);
    let score = prediction_score(&predicted, &recorded)?;
    run.numbers("out.smooth_pred", &predicted.to_f64_vec())?;
    run.numbers("out.smooth_label", &recorded.to_f64_vec())?;
    run.numbers("out.cc", &score.cc)?;
    run.numbers("out.cc_mean", &[score.mean_cc()])?;
    run.numbers("out.mse", &[score.mse])
}
