//! Learning curves, accuracies, and what the trained masks look like (Fig 2, 15, 16, 17).

use tensor::Stream;

use super::{
    Page,
    trials::{Column, Trials},
};
use crate::{
    experiments::{
        classification::masks::LayerMasks,
        epochs::{Epoch, curve},
        masks,
    },
    report::{
        Report,
        figure::{Axis, Bar, ColorScale, Figure, Gallery, Group, Ink, Matrix, Panel, Shape},
    },
};

pub(super) fn add(report: &mut Report, page: &Page) {
    let trials = page.trials;
    if trials.all.iter().any(|t| t.done.is_some()) {
        report.figure(
            accuracies(page),
            "Top-1 accuracy after the last epoch: means, standard deviations where there are several seeds, and every seed.",
        );
    }
    report.figure(
        curves(page),
        "Training loss (of mixed and smoothed targets), and accuracy on the test images where it was measured. Bands: mean ± \
         standard deviation where there are several seeds.",
    );
    for column in &trials.columns {
        let masked = with_masks(trials, column);
        if masked.is_empty() {
            continue;
        }
        let id = format!("{}_{}", column.dataset.name(), column.model);
        let name = page.title(column);
        report.figure(
            gallery(&id, &name, &masked),
            format!(
                "Fig 2f, 2g ({name}). Masks after training, first seed: up to 32 of the first convolution, drawn at random, and \
                 below them one of every layer in turn, over the width of the enlarged kernel."
            ),
        );
        report.figure(
            exponents(&id, &name, trials, column),
            format!(
                "Fig 15, 16 ({name}). The exponents p of all masks after training, by what they started from (all seeds), and \
                 below them by layer, as shares of the start."
            ),
        );
        for (condition, layers) in &masked {
            report.figure(
                conformation(&format!("{id}_{}", plain(condition)), &name, condition, layers),
                format!(
                    "Fig 17 ({name}, {condition}). Scale α, distortion γ and rotation θ of the masks by layer, first seed. \
                     Rotation only of masks with γ > 1.2; 0° is long along the width, 90° along the height."
                ),
            );
        }
    }
}

fn plain(name: &str) -> String {
    name.replace('.', "_")
}

fn accuracies(page: &Page) -> Figure {
    let trials = page.trials;
    let panels = trials.columns.iter().map(|column| {
        let bars = trials.conditions.iter().enumerate().filter_map(|(i, condition)| {
            let values = trials.top1(column, condition);
            let bar = || Bar::of_points(condition, Ink::condition_or(condition, i), values.clone());
            (!values.is_empty()).then(bar)
        });
        Panel::bars(
            page.title(column),
            Axis::new("condition"),
            Axis::new("% correct"),
            bars.collect(),
        )
    });
    let aspect = if trials.columns.len() == 1 { 0.4 } else { 0.74 };
    Figure::new("accuracies", "Accuracy by condition").panels(panels).columns(3).aspect(aspect)
}

fn curves(page: &Page) -> Figure {
    let trials = page.trials;
    let mut figure = Figure::new("curves", "Learning curves").columns(2);
    for column in &trials.columns {
        for (name, metric, unit, factor) in [
            ("training loss", "loss", "cross entropy", 1.0),
            ("test", "test_top1", "% correct", 100.0),
        ] {
            let curves = trials.conditions.iter().enumerate().map(|(i, condition)| {
                let runs: Vec<&[Epoch]> =
                    trials.of(column, condition).map(|t| &t.epochs[..]).collect();
                curve(&runs, metric, factor, condition, Ink::condition_or(condition, i))
            });
            let title = format!("{}: {name}", page.title(column));
            figure = figure.panel(Panel::lines(
                title,
                Axis::new("epoch"),
                Axis::new(unit),
                curves.collect(),
            ));
        }
    }
    figure
}

/// The conditions with trained masks and the layers of their first seed.
fn with_masks<'a>(trials: &'a Trials, column: &'a Column) -> Vec<(&'a str, &'a [LayerMasks])> {
    let first = |condition: &'a str| {
        let mut done = trials.of(column, condition).filter(|t| !t.masks.is_empty());
        done.next().map(|t| (condition, &t.masks[..]))
    };
    trials.masked().into_iter().filter_map(|(condition, _)| first(condition)).collect()
}

fn drawn(layer: &LayerMasks, channel: usize) -> Matrix {
    masks::drawn(layer.kernel, layer.p[channel], &layer.c[channel])
}

/// Masks of the first layer that are shown at most, and those of a row.
const SHOWN: usize = 32;
const IN_A_ROW: usize = 8;

fn some(layer: &LayerMasks, n: usize) -> Vec<usize> {
    let all = Stream::new(0).derive(&layer.layer).permutation(layer.p.len());
    all.into_iter().take(n).collect()
}

fn gallery(id: &str, name: &str, masked: &[(&str, &[LayerMasks])]) -> Figure {
    let first = masked.iter().filter_map(|(condition, layers)| {
        let layer = layers.first()?;
        let cells = some(layer, SHOWN).into_iter().map(|k| drawn(layer, k)).collect();
        let title = format!("{condition}: {} ({}x{})", layer.layer, layer.kernel, layer.kernel);
        Some(Panel::gallery(title, Gallery::new(IN_A_ROW, cells)))
    });
    let rest = masked.iter().map(|(condition, layers)| {
        let cells: Vec<Matrix> =
            layers.iter().flat_map(|l| some(l, 1).into_iter().map(|k| drawn(l, k))).collect();
        Panel::gallery(format!("{condition}: one of every layer"), Gallery::new(IN_A_ROW, cells))
    });
    Figure::new(format!("masks_{id}"), format!("Trained masks ({name})"))
        .panels(first)
        .panels(rest)
        .columns(masked.len())
        .without_letters()
        .color_scale(ColorScale::new("mask", 0.0, 1.0))
}

/// Every exponent of a condition, of all seeds.
pub(super) fn all_p<'a>(
    trials: &'a Trials,
    column: &'a Column,
    condition: &'a str,
) -> impl Iterator<Item = f64> + 'a {
    trials.of(column, condition).flat_map(|t| t.masks.iter().flat_map(|l| l.p.iter().copied()))
}

fn exponents(id: &str, name: &str, trials: &Trials, column: &Column) -> Figure {
    let masked: Vec<(usize, &str, f64)> = trials
        .masked()
        .into_iter()
        .enumerate()
        .map(|(i, (condition, p))| (i, condition, p))
        .filter(|(_, condition, _)| all_p(trials, column, condition).next().is_some())
        .collect();
    let groups = masked.iter().map(|&(i, condition, _)| {
        Group::new(
            condition,
            Ink::condition_or(condition, i),
            all_p(trials, column, condition).collect(),
        )
    });
    let all =
        Panel::histogram("All masks", Axis::new("p"), Axis::new("masks"), 60, groups.collect());
    let by_layer = masked.iter().map(|&(i, condition, p)| {
        let layers = trials.of(column, condition).find(|t| !t.masks.is_empty());
        let count = layers.map_or(0, |t| t.masks.len());
        let groups = (0..count).map(|layer| {
            let of_layer = trials.of(column, condition).filter_map(|t| t.masks.get(layer));
            let values = of_layer.flat_map(|l| l.p.iter().map(|v| v / p)).collect();
            Group::new((layer + 1).to_string(), Ink::condition_or(condition, i), values)
        });
        Panel::distributions(
            format!("{condition}, by layer"),
            Axis::new("layer"),
            Axis::new("p / p at the start"),
            Shape::Violin,
            groups.collect(),
        )
    });
    Figure::new(format!("exponents_{id}"), format!("Exponents after training ({name})"))
        .panel(all)
        .panels(by_layer)
        .columns(if masked.len() > 1 { 3 } else { 2 })
}

fn conformation(id: &str, name: &str, condition: &str, layers: &[LayerMasks]) -> Figure {
    let title = format!("Conformation of the masks ({name}, {condition})");
    let matrices: Vec<&[[f64; 4]]> = layers.iter().map(|l| &l.c[..]).collect();
    masks::conformation(Figure::new(format!("fig17_{id}"), title), condition, &matrices)
}
