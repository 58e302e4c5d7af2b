//! The figures of the Sudoku report.

use lpconv::Conformation;

use super::{
    ablation::{Ablation, COLUMN_ANGLE_DEG, Curve as AblationCurve, Point},
    report::Runs,
    train::{Done, LayerMasks},
};
use crate::{
    experiments::{
        epochs::{Epoch, curve},
        masks,
    },
    report::{
        Report,
        figure::{Axis, ColorScale, Curve, Figure, Gallery, Group, Ink, Matrix, Panel, Shape},
    },
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
            all_masks(&id, name, first),
            format!("Fig 9 ({name}). The masks of every layer, first seed, by rotation."),
        );
    }
    Ok(())
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
        let curves = all.iter().enumerate().map(|(i, runs)| {
            curve(
                &epochs(runs),
                metric,
                factor,
                &runs.condition,
                Ink::condition_or(&runs.condition, i),
            )
        });
        Panel::lines(title, Axis::new("epoch"), Axis::new(unit), curves.collect())
    });
    let training = all.iter().enumerate().map(|(i, runs)| {
        curve(&epochs(runs), "loss", 1.0, &runs.condition, Ink::condition_or(&runs.condition, i))
    });
    let training = Panel::lines(
        "Training loss",
        Axis::new("epoch"),
        Axis::new("cross entropy"),
        training.collect(),
    );
    Figure::new("fig4b", "Sudoku: learning curves").panel(training).panels(panels).columns(4)
}

fn epochs(runs: &Runs) -> Vec<&[Epoch]> {
    runs.trials.iter().map(|t| &t.epochs[..]).collect()
}

/// The masks of the blocks: the last convolution is 1x1 in the base model and has no place in Fig 5 and 9.
fn blocks(done: &Done) -> &[LayerMasks] {
    let n = done.masks.len().saturating_sub(1);
    &done.masks[..n]
}

/// Fig 5b.
fn conformation(id: &str, name: &str, done: &Done) -> Figure {
    let title = format!("Conformation of the masks ({name})");
    let matrices: Vec<&[[f64; 4]]> = blocks(done).iter().map(|l| &l.c[..]).collect();
    masks::conformation(Figure::new(format!("fig5b_{id}"), title), name, &matrices)
}

/// p by layer.
fn exponents(id: &str, name: &str, done: &Done) -> Figure {
    let groups = done
        .masks
        .iter()
        .enumerate()
        .map(|(i, layer)| {
            Group::new((i + 1).to_string(), Ink::condition_or(name, 0), layer.p.clone())
        })
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

/// Taps along an edge of the kernels.
const KERNEL: usize = 7;

/// Fig 9: every mask, a panel a layer, sorted by rotation.
fn all_masks(id: &str, name: &str, done: &Done) -> Figure {
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
            order.iter().map(|&(_, k)| masks::drawn(KERNEL, layer.p[k], &layer.c[k])).collect();
        let columns = (cells.len() as f64).sqrt().ceil().max(1.0) as usize;
        Panel::gallery(format!("Layer {}", i + 1), Gallery::new(columns, cells))
    });
    Figure::new(format!("fig9_{id}"), format!("All masks ({name})"))
        .panels(panels)
        .columns(5.min(layers.len().max(1)))
        .without_letters()
        .color_scale(ColorScale::new("mask", 0.0, 1.0))
}
