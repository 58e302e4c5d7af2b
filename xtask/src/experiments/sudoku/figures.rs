//! The figures of the Sudoku report.

use lpconv::{Conformation, lp_mask};

use super::{
    ablation::{Ablation, COLUMN_ANGLE_DEG, Curve as AblationCurve, Point},
    report::Runs,
    train::{Done, LayerMasks},
};
use crate::report::{
    Report,
    figure::{Axis, ColorScale, Curve, Figure, Gallery, Group, Ink, Matrix, Panel, Shape},
};

/// Adds every figure for which there are results.
pub(super) fn add(report: &mut Report, all: &[Runs]) -> anyhow::Result<()> {
    report.figure(
        learning_curves(all),
        "Fig 4b. Training loss, then loss and accuracies on the test puzzles, by epoch. base lies under lpf256 where both \
         compute the same. Bands: mean ± standard deviation where there are several seeds.",
    );
    for runs in all {
        let done = runs.done();
        // Masks and ablations of the first seed; curves over seeds where there are several.
        let Some(first) = done.first().filter(|d| d.ablation.is_some()) else { continue };
        let name = &runs.condition;
        let id = name.replace('.', "_");
        report.figure(
            conformation(&id, name, first),
            format!("Fig 5b ({name}). Scale α, distortion γ and rotation θ of every mask, by layer, first seed. Rotation \
                     only of masks with γ > 1.2; 0° is long along the width, 90° along the height."),
        );
        report.figure(
            exponents(&id, name, first),
            format!("Exponents p after training by layer ({name}, first seed)."),
        );
        report.figure(
            ablation(&id, name, &done),
            format!(
                "Fig 5c, 10 ({name}). Accuracies while masks with γ > 3 within r degrees of 90° (top) or 0° (bottom, a \
                 control added here) are taken away, in all, the first and the second half of the layers. {}",
                selective(&done)
            ),
        );
        report.figure(
            masks(&id, name, first),
            format!("Fig 9 ({name}). The masks of every layer, first seed, by rotation."),
        );
    }
    Ok(())
}

fn ink(condition: &str, index: usize) -> Ink {
    Ink::condition(condition).unwrap_or(Ink::Category(index))
}

/// Fig 4b.
fn learning_curves(all: &[Runs]) -> Figure {
    let measures = [
        ("Test loss", "test_loss", "cross entropy", 1.0),
        ("Number", "test_number", "% of cells", 100.0),
        ("Row", "test_row", "% of rows", 100.0),
        ("Column", "test_column", "% of columns", 100.0),
        ("Box", "test_box", "% of boxes", 100.0),
        ("Sudoku", "test_sudoku", "% of boards", 100.0),
    ];
    let panels = measures.map(|(title, metric, unit, factor)| {
        let curves = all
            .iter()
            .enumerate()
            .map(|(i, runs)| curve(runs, metric, factor, &runs.condition, ink(&runs.condition, i)));
        Panel::lines(title, Axis::new("epoch"), Axis::new(unit), curves.collect())
    });
    let training = all
        .iter()
        .enumerate()
        .map(|(i, runs)| curve(runs, "loss", 1.0, &runs.condition, ink(&runs.condition, i)));
    let training = Panel::lines(
        "Training loss",
        Axis::new("epoch"),
        Axis::new("cross entropy"),
        training.collect(),
    );
    Figure::new("fig4b", "Sudoku: learning curves").panel(training).panels(panels).columns(4)
}

/// One metric of all trials of a condition, as far as all of them have come.
fn curve(runs: &Runs, metric: &str, factor: f64, label: &str, ink: Ink) -> Curve {
    let shortest = runs.trials.iter().map(|t| t.epochs.len()).min().unwrap_or(0);
    let x: Vec<f64> = runs
        .trials
        .first()
        .map_or(Vec::new(), |t| t.epochs.iter().take(shortest).map(|e| e.passes()).collect());
    let series: Vec<Vec<f64>> = runs
        .trials
        .iter()
        .map(|t| t.epochs.iter().take(shortest).map(|e| factor * e.get(metric)).collect())
        .collect();
    Curve::over_runs(label, ink, &x, &series)
}

/// The masks of the blocks: the last convolution is 1x1 in the base model and has no place in Fig 5 and 9.
fn blocks(done: &Done) -> &[LayerMasks] {
    let n = done.masks.len().saturating_sub(1);
    &done.masks[..n]
}

fn shapes(layer: &LayerMasks) -> Vec<Conformation> {
    layer.c.iter().filter_map(|c| Conformation::new([[c[0], c[1]], [c[2], c[3]]]).ok()).collect()
}

/// Masks rounder than this have no orientation to speak of.
const ROUND: f64 = 1.2;

/// Fig 5b.
fn conformation(id: &str, name: &str, done: &Done) -> Figure {
    let layers = blocks(done);
    let groups = |value: &dyn Fn(&Conformation) -> Option<f64>| -> Vec<Group> {
        layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let values = shapes(layer).iter().filter_map(value).collect();
                Group::new((i + 1).to_string(), ink(name, 0), values)
            })
            .collect()
    };
    let layer = || Axis::new("layer");
    let rotation = |c: &Conformation| (c.distortion > ROUND).then_some(c.rotation_deg);
    let all_rotations: Vec<f64> = layers
        .iter()
        .flat_map(|l| shapes(l).iter().filter_map(rotation).collect::<Vec<_>>())
        .collect();
    Figure::new(format!("fig5b_{id}"), format!("Conformation of the masks ({name})"))
        .panel(Panel::distributions(
            "Scale",
            layer(),
            Axis::new("α (pixels)"),
            Shape::Violin,
            groups(&|c| Some(c.scale)),
        ))
        .panel(Panel::distributions(
            "Distortion",
            layer(),
            Axis::new("γ"),
            Shape::Violin,
            groups(&|c| Some(c.distortion)),
        ))
        .panel(Panel::distributions(
            "Rotation",
            layer(),
            Axis::new("θ (degrees)").range(0.0, 180.0).step(45.0),
            Shape::Strip,
            groups(&rotation),
        ))
        .panel(Panel::orientations(
            "All rotations",
            18,
            Group::new(name, ink(name, 0), all_rotations),
        ))
        .columns(2)
}

/// p by layer.
fn exponents(id: &str, name: &str, done: &Done) -> Figure {
    let groups = done
        .masks
        .iter()
        .enumerate()
        .map(|(i, layer)| Group::new((i + 1).to_string(), ink(name, 0), layer.p.clone()))
        .collect();
    Figure::new(format!("exponents_{id}"), format!("Exponents after training ({name})"))
        .panel(Panel::distributions("", Axis::new("layer"), Axis::new("p"), Shape::Box, groups))
        .columns(1)
        .aspect(0.4)
        .without_letters()
}

/// Fig 10.
fn ablation(id: &str, name: &str, done: &[&Done]) -> Figure {
    let ablations: Vec<&Ablation> = done.iter().filter_map(|d| d.ablation.as_ref()).collect();
    let curves = ablations.first().map_or(&[][..], |a| &a.curves);
    let panels = curves.iter().enumerate().map(|(i, c)| ablation_panel(&ablations, i, c));
    Figure::new(format!("fig10_{id}"), format!("Ablation of oriented masks ({name})"))
        .panels(panels)
        .columns(3)
}

fn ablation_panel(ablations: &[&Ablation], index: usize, curve: &AblationCurve) -> Panel {
    let radii: Vec<f64> = curve.points.iter().map(|p| p.radius_deg).collect();
    let series = |label: &str, category: usize, score: fn(&Point) -> f64| {
        let runs: Vec<Vec<f64>> = ablations
            .iter()
            .filter_map(|a| a.curves.get(index))
            .filter(|c| c.points.len() == radii.len())
            .map(|c| c.points.iter().map(|p| 100.0 * score(p)).collect())
            .collect();
        Curve::over_runs(label, Ink::Category(category), &radii, &runs)
    };
    let around = if curve.angle_deg == COLUMN_ANGLE_DEG { "90°" } else { "0°" };
    Panel::lines(
        format!("Around {around}, layers {}–{}", curve.layers[0], curve.layers[1]),
        Axis::new("half-window r (degrees)").range(0.0, 90.0).step(30.0),
        Axis::new("accuracy (%)"),
        vec![
            series("row", 0, |p| p.row),
            series("column", 1, |p| p.column),
            series("box", 2, |p| p.box_),
            series("sudoku", 3, |p| p.sudoku),
        ],
    )
}

/// How many masks there were to take away.
fn selective(done: &[&Done]) -> String {
    let ablations: Vec<&Ablation> = done.iter().filter_map(|d| d.ablation.as_ref()).collect();
    let selective: usize = ablations.iter().map(|a| a.selective).sum();
    let masks: usize = ablations.iter().map(|a| a.masks).sum();
    match selective {
        0 => format!("None of {masks} masks became that elongated: nothing was taken away."),
        n => format!("{n} of {masks} masks are that elongated."),
    }
}

/// Taps along an edge of a drawn mask: finer than the kernel, over the same width.
const DRAWN: usize = 21;
/// Taps along an edge of the kernels themselves.
const KERNEL: f64 = 7.0;

/// Fig 9: every mask, a panel a layer, sorted by rotation.
fn masks(id: &str, name: &str, done: &Done) -> Figure {
    let layers = blocks(done);
    let panels = layers.iter().enumerate().map(|(i, layer)| {
        let mut order: Vec<(f64, usize)> = layer
            .c
            .iter()
            .enumerate()
            .map(|(k, c)| {
                let shape = Conformation::new([[c[0], c[1]], [c[2], c[3]]]);
                let angle = shape.map_or(f64::NAN, |s| s.rotation_deg);
                (if angle.is_nan() { 180.0 } else { angle }, k)
            })
            .collect();
        order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let cells: Vec<Matrix> =
            order.iter().map(|&(_, k)| drawn(layer.p[k], layer.c[k])).collect();
        let columns = (cells.len() as f64).sqrt().ceil().max(1.0) as usize;
        Panel::gallery(format!("Layer {}", i + 1), Gallery::new(columns, cells))
    });
    Figure::new(format!("fig9_{id}"), format!("All masks ({name})"))
        .panels(panels)
        .columns(5.min(layers.len().max(1)))
        .without_letters()
        .color_scale(ColorScale::new("mask", 0.0, 1.0))
}

fn drawn(p: f64, c: [f64; 4]) -> Matrix {
    let per_tap = KERNEL / DRAWN as f64;
    let c = [[c[0] * per_tap, c[1] * per_tap], [c[2] * per_tap, c[3] * per_tap]];
    let values = lp_mask(p, &c, DRAWN, DRAWN).iter().map(|&v| v as f32).collect();
    Matrix::new(DRAWN, DRAWN, values)
}
