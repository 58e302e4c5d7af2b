//! The figures: heat maps with scale bars, PMFs against their fits, `p` by group.

use lpconv::{Histogram, Samples};
use neuro::{
    receptive_field::{Gaussian, histogram, mpnd_pmf},
    recording::{Positions, rossi2020},
    stats::stars,
};

use super::{
    fits::{Fits, TABLE_8, pooled},
    report::Pair,
};
use crate::report::{
    Report,
    figure::{Axis, ColorScale, Curve, Figure, Gallery, Group, Ink, Matrix, Panel, Shape},
};

/// Half the width of maps of V1, in µm: nearly all inputs lie within.
const REACH_UM: f64 = 500.0;

pub(super) fn add(report: &mut Report, fits: &Fits, pairs: &[Pair]) -> anyhow::Result<()> {
    let positions = rossi2020();
    report.figure(
        p_by_group(fits, pairs)?,
        "Fig 1g. p of each neuron and each image (logarithmic axis). Above: pairs of neighbors by Welch's test with Holm's \
         correction over all ten pairs (*** below 0.001, ** below 0.01, * below 0.05). p above about 8 means a box: where the \
         optimizer was stopped.",
    );
    report.figure(
        v1_maps(&positions)?,
        "Fig 1f, 7 (V1). Inputs of all 17 neurons around the neuron, by kind, and the Gaussian fitted to all. \
         Medio-lateral to the right, antero-posterior down; each map relative to its maximum.",
    );
    report.figure(
        kernel_maps(fits)?,
        "Fig 1f (first layers). Above: how often the weighted input at each tap of the kernel is strong, mean over 17 \
         images. Below: the MPND with the mean p and sigma of these images. Each map relative to its maximum.",
    );
    report.figure(
        profiles(&positions, fits)?,
        "PMF against fit along one axis, in standard deviations: V1 (all neurons' inputs, each neuron standardized), and the \
         first layer's mean field summed over rows.",
    );
    report.figure(
        single_neurons(&positions)?,
        "Fig 8. The inputs of each neuron (counts in cells of 100 µm, relative to the maximum).",
    );
    Ok(())
}

fn p_by_group(fits: &Fits, pairs: &[Pair]) -> anyhow::Result<Figure> {
    let mut groups = Vec::new();
    for (i, name) in TABLE_8.iter().enumerate() {
        groups.push(Group::new(*name, Ink::Category(i), fits.group(name)?.p()));
    }
    let axis = Axis::new("p").log();
    let mut panel = Panel::distributions("", Axis::new(""), axis, Shape::Box, groups);
    // Neighbors first, then V1 against the others: all ten would hide the data.
    let shown = |pair: &&Pair| pair.b == pair.a + 1 || pair.a == 0;
    let mut chosen: Vec<&Pair> = pairs.iter().filter(shown).collect();
    chosen.sort_by_key(|pair| (pair.b - pair.a, pair.a));
    for pair in chosen {
        panel = panel.bracket(pair.a, pair.b, stars(pair.ours));
    }
    Ok(Figure::new("fig1g", "Exponent p by group").panel(panel).width(760.0).aspect(0.62))
}

/// Values relative to the largest.
fn relative(rows: usize, columns: usize, values: &[f64]) -> Matrix {
    let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    Matrix::new(rows, columns, values.iter().map(|v| (v / largest) as f32).collect())
}

/// The map with the first axis of the points to the right and the second down.
fn transposed(histogram: &Histogram<2>) -> Matrix {
    let n = histogram.centers()[0].len();
    let values: Vec<f64> = (0..n * n).map(|k| histogram.mass()[(k % n) * n + k / n]).collect();
    relative(n, n, &values)
}

fn all_offsets(positions: &Positions, kind: Option<&str>) -> anyhow::Result<Samples<2>> {
    let mut points = Vec::new();
    for neuron in &positions.neurons {
        if let Ok(samples) = neuron.samples::<2>(kind) {
            points.extend_from_slice(samples.points());
        }
    }
    Ok(Samples::new(points)?)
}

fn v1_maps(positions: &Positions) -> anyhow::Result<Figure> {
    const BINS: usize = 25;
    let mut maps = Vec::new();
    for kind in [None, Some("EX"), Some("IN")] {
        maps.push(transposed(&histogram(&all_offsets(positions, kind)?, BINS, REACH_UM)?.0));
    }
    let gaussian = Gaussian::fit("all inputs", &all_offsets(positions, None)?)?;
    let cell = 2.0 * REACH_UM / BINS as f64;
    let at = |i: usize| -REACH_UM + (i as f64 + 0.5) * cell;
    let fitted: Vec<f64> =
        (0..BINS * BINS).map(|k| gaussian.density([at(k % BINS), at(k / BINS)])).collect();
    maps.push(relative(BINS, BINS, &fitted));
    let gallery = Gallery::new(4, maps)
        .column_captions(["all inputs", "excitatory", "inhibitory", "Gaussian fit"])
        .max_cell(190.0)
        .scale_bar(200.0 / cell, "200 µm");
    Ok(map_figure("fig1f_v1", "Inputs of neurons of mouse V1, layer 2/3", gallery))
}

fn map_figure(id: &str, title: &str, gallery: Gallery) -> Figure {
    Figure::new(id, title)
        .panel(Panel::gallery("", gallery))
        .columns(1)
        .without_letters()
        .color_scale(ColorScale::new("share of the maximum", 0.0, 1.0))
}

/// The field of a group, standardized, with the mean of its members' `p` and `sigma`.
fn field(fits: &Fits, name: &str) -> anyhow::Result<(Histogram<2>, Vec<f64>)> {
    let group = fits.group(name)?;
    let field = group.field.as_ref().ok_or_else(|| anyhow::anyhow!("{name} has no field"))?;
    let centers: Vec<f64> = (0..field.side).map(|i| i as f64).collect();
    let standardized =
        Histogram::new([centers.clone(), centers], field.mass.clone())?.standardized()?;
    let mean = |value: fn(&super::fits::Member) -> f64| {
        group.members.iter().map(value).sum::<f64>() / group.members.len() as f64
    };
    let fitted = mpnd_pmf(&standardized, mean(|m| m.p), mean(|m| m.sigma))?;
    Ok((standardized, fitted))
}

fn kernel_maps(fits: &Fits) -> anyhow::Result<Figure> {
    let (mut fields, mut fitted, mut side) = (Vec::new(), Vec::new(), 0);
    for name in &TABLE_8[1..] {
        let (histogram, pmf) = field(fits, name)?;
        side = histogram.centers()[0].len();
        fields.push(relative(side, side, histogram.mass()));
        fitted.push(relative(side, side, &pmf));
    }
    fields.extend(fitted);
    let pixels = (side / 3).max(1);
    let gallery = Gallery::new(4, fields)
        .column_captions(TABLE_8[1..].iter().copied())
        .row_captions(["field", "MPND"])
        .max_cell(170.0)
        .scale_bar(pixels as f64, format!("{pixels} pixels"));
    Ok(map_figure("fig1f_kernels", &format!("First layer of {}", fits.network), gallery))
}

fn profiles(positions: &Positions, fits: &Fits) -> anyhow::Result<Figure> {
    let mut panels = Vec::new();
    let axes = || (Axis::new("standard deviations"), Axis::new("probability"));
    let samples = pooled::<2>(positions, None)?;
    let (cells, _) = histogram(&samples, 21, 3.5)?;
    let all = fits.pooled.first().ok_or_else(|| anyhow::anyhow!("no fit of all inputs"))?;
    for (axis, name) in [(0, "V1, medio-lateral"), (1, "V1, antero-posterior")] {
        panels.push(profile(name, axes(), &cells, &mpnd_pmf(&cells, all.p, all.sigma)?, axis));
    }
    for name in [TABLE_8[1], TABLE_8[4]] {
        let (cells, fitted) = field(fits, name)?;
        panels.push(profile(name, axes(), &cells, &fitted, 0));
    }
    Ok(Figure::new("pmf", "PMF against fit").panels(panels).columns(2).aspect(0.6))
}

/// Sums over the other axis.
fn profile(
    title: &str,
    (x, y): (Axis, Axis),
    cells: &Histogram<2>,
    fitted: &[f64],
    axis: usize,
) -> Panel {
    let centers = &cells.centers()[axis];
    let n = cells.centers()[1].len();
    let along = |mass: &[f64]| -> Vec<f64> {
        let mut sums = vec![0.0; centers.len()];
        for (k, m) in mass.iter().enumerate() {
            sums[if axis == 0 { k / n } else { k % n }] += m;
        }
        sums
    };
    let curves = vec![
        Curve::new("data", Ink::Category(0), centers, &along(cells.mass())),
        Curve::new("MPND", Ink::Category(1), centers, &along(fitted)),
    ];
    Panel::lines(title, x, y, curves)
}

fn single_neurons(positions: &Positions) -> anyhow::Result<Figure> {
    let mut maps = Vec::new();
    for neuron in &positions.neurons {
        maps.push(transposed(&histogram(&neuron.samples::<2>(None)?, 10, REACH_UM)?.0));
    }
    let gallery = Gallery::new(6, maps).max_cell(130.0).scale_bar(2.0, "200 µm");
    Ok(map_figure("fig8", "Neurons 1 to 17", gallery))
}
