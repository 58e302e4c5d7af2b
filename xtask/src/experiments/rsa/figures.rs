//! The figures: similarity by depth with ceilings, the maximum by model, RSMs.

use super::{
    report::{by_depth, groups, maxima},
    similarity::Similarities,
};
use crate::report::{
    Report,
    figure::{Axis, Bar, ColorScale, Curve, Figure, Gallery, Ink, Matrix, Panel},
};

pub(super) fn add(report: &mut Report, found: &Similarities) -> anyhow::Result<()> {
    report.figure(
        depth(found),
        "Fig 11. Corrected SSM of every convolution by depth, for each area; untrained networks: mean over two seeds. 1 would be the \
         similarity of two halves of the area's own trials, far above.",
    );
    report.figure(
        v1(found)?,
        "V1 with its uncertainty. Left: corrected SSM, bands: standard deviation over bootstrap samples of the scenes. Right: mean \
         similarity to single animals without correction, bands over samples of scenes and animals; gray: the noise ceiling \
         across animals, between what the others tell of an animal and what all do.",
    );
    report.figure(
        maximum(found),
        "Fig 6b. The maximum of corrected SSM over layers and the paper's five areas, by model (dots: seeds).",
    );
    report.figure(
        rsms(found),
        "RSMs of V1, of pixels, and of the layers most similar to V1: the place of each pair of scenes among all pairs, which is \
         what tau compares. Scenes in the order of their numbers.",
    );
    Ok(())
}

fn ink(group: &str) -> Ink {
    let condition = group.split(' ').nth(1).unwrap_or_default();
    match group.starts_with("trained") {
        true => Ink::condition(condition).unwrap_or(Ink::Neutral),
        false => Ink::Category(if condition == "base" { 6 } else { 4 }),
    }
}

/// The groups that figures by depth show: more lie on top of each other.
const SHOWN: [&str; 5] =
    ["trained base", "trained lp2", "trained lp16", "untrained base", "untrained lp2"];

fn depth(found: &Similarities) -> Figure {
    let mut panels = Vec::new();
    for (a, area) in found.areas.iter().enumerate() {
        let mut curves = Vec::new();
        for group in SHOWN {
            let runs = by_depth(found, group, a);
            let layers = runs.iter().map(Vec::len).max().unwrap_or(0);
            let x: Vec<f64> = (1..=layers).map(|d| d as f64).collect();
            curves.push(Curve::over_runs(group, ink(group), &x, &runs));
        }
        let (x, y) = (Axis::new("convolution"), Axis::new("corrected SSM"));
        panels.push(Panel::lines(area.name.clone(), x, y, curves));
    }
    Figure::new("fig11", "Similarity to visual cortex by depth").panels(panels).columns(3)
}

fn v1(found: &Similarities) -> anyhow::Result<Figure> {
    let (mut corrected, mut animals) = (Vec::new(), Vec::new());
    let mut last = 1.0;
    for group in ["trained base", "trained lp2", "untrained base"] {
        let model = found.models.iter().find(|m| m.group == group && m.seed == 0);
        let model = model.ok_or_else(|| anyhow::anyhow!("no model {group:?}"))?;
        let x: Vec<f64> = (1..=model.layers.len()).map(|d| d as f64).collect();
        last = model.layers.len().max(2) as f64;
        let pick = |f: fn(&super::similarity::LayerSsm) -> f64| -> Vec<f64> {
            model.layers.iter().map(f).collect()
        };
        let curve = Curve::new(group, ink(group), &x, &pick(|l| l.ssm[0]));
        corrected.push(curve.with_spread(pick(|l| l.v1_scenes[0])));
        let curve = Curve::new(group, ink(group), &x, &pick(|l| l.v1_animals[0]));
        animals.push(curve.with_spread(pick(|l| l.v1_animals[1])));
    }
    let v1 = found.areas.first().ok_or_else(|| anyhow::anyhow!("no area"))?;
    let [low, high] = v1.across_animals;
    let ceiling = |at: f64, half: f64| {
        let curve = Curve::new("ceiling", Ink::Neutral, &[1.0, last], &[at; 2]);
        if half > 0.0 { curve.with_spread(vec![half; 2]) } else { curve }
    };
    corrected.push(ceiling(1.0, 0.0));
    animals.push(ceiling((low + high) / 2.0, (high - low) / 2.0));
    let x = || Axis::new("convolution");
    Ok(Figure::new("v1", "V1")
        .panel(Panel::lines("halves of the trials", x(), Axis::new("corrected SSM"), corrected))
        .panel(Panel::lines("single animals", x(), Axis::new("tau-b"), animals))
        .columns(2))
}

fn maximum(found: &Similarities) -> Figure {
    let bars = groups(found)
        .into_iter()
        .map(|group| Bar::of_points(group.clone(), ink(&group), maxima(found, &group)))
        .collect();
    let panel = Panel::bars("", Axis::new(""), Axis::new("maximum corrected SSM"), bars);
    Figure::new("fig6b", "Most similar layer and area").panel(panel).width(760.0).aspect(0.5)
}

fn rsms(found: &Similarities) -> Figure {
    let matrix = |(_, values): &(String, Vec<f32>)| {
        let side = (values.len() as f64).sqrt().round() as usize;
        Matrix::new(side, side, values.clone())
    };
    // Captions are those of a column: each row is a gallery of its own.
    let row = |row: &[(String, Vec<f32>)]| {
        let captions = row.iter().map(|(name, _)| name.clone());
        let gallery = Gallery::new(3, row.iter().map(matrix).collect());
        Panel::gallery("", gallery.column_captions(captions).max_cell(250.0))
    };
    Figure::new("rsms", "Representational similarity matrices")
        .panels(found.shown.chunks(3).map(row))
        .columns(1)
        .without_letters()
        .color_scale(ColorScale::new("percentile of similarity", 0.0, 1.0))
}
