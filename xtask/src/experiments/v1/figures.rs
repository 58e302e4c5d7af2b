//! The figures of the V1 report.

use super::{
    SYNTHETIC,
    look::{Field, Insight, Trace},
    report::{Results, Trial},
    train::LayerMasks,
};
use crate::{
    experiments::masks,
    report::{
        Report,
        figure::{Axis, Bar, Cloud, ColorScale, Curve, Figure, Gallery, Ink, Matrix, Panel},
    },
};

/// Adds every figure for which there are results.
pub(super) fn add(report: &mut Report, results: &Results) {
    if !results.mice().is_empty() {
        report.figure(
            conditions(results),
            "Correlation and error by condition: the mean over mice, and each mouse (the mean over its seeds).",
        );
    }
    if let Some(figure) = neurons(results) {
        report.figure(
            figure,
            "Correlation of each neuron without and with Lp-convolutions (p = 2 at the start), means over seeds; above the gray \
             line the latter predict better.",
        );
    }
    if let Some(figure) = traces(results) {
        report.figure(
            figure,
            "Recorded and predicted activity of each mouse's best predicted neurons at the beginning of the test part, after \
             the moving average. Trials follow each other without the time between them.",
        );
    }
    if let Some(figure) = learned(results) {
        report.figure(figure, "Masks after training, a panel a layer (first mouse, first seed).");
    }
    if let Some(figure) = fields(results) {
        report.figure(
            figure,
            "What the best predicted neurons of each mouse look for in the last frame: gradients of their rate averaged over \
             test samples (saliency), and the picture found by gradient ascent from faint noise (preferred, the start subtracted), each scaled to its \
             largest magnitude.",
        );
    }
    if let Some(figure) = tuning(results) {
        report.figure(
            figure,
            "Running. Left: activity over fifths of running speed of the neuron that it changes most (first mouse). Right: how \
             much running changes each neuron, (fast − slow) / (fast + slow), recorded and predicted.",
        );
    }
    if let Some(figure) = known_fields(results) {
        report.figure(
            figure,
            "Made-up cortex (not data): the fields its neurons have, and those estimated from the trained model. A check that \
             training and estimation find what is there.",
        );
    }
}

fn ink(condition: &str) -> Ink {
    Ink::condition(condition).unwrap_or(Ink::Neutral)
}

/// The first trial of a mouse with Lp-convolutions of p = 2, or of any condition.
fn shown<'a>(results: &'a Results, mouse: &str) -> Option<&'a Trial> {
    let first = |condition: &str| results.of(mouse, condition).into_iter().next();
    first("lp2").or_else(|| results.conditions().iter().find_map(|c| first(c)))
}

fn conditions(results: &Results) -> Figure {
    let bars = |value: fn(&Trial) -> Option<f64>| -> Vec<Bar> {
        let bar = |condition: &String| {
            let of = |mouse: &&str| {
                let all: Vec<f64> =
                    results.of(mouse, condition).into_iter().filter_map(value).collect();
                (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
            };
            let points: Vec<f64> = results.mice().iter().filter_map(of).collect();
            (!points.is_empty()).then(|| Bar::of_points(condition, ink(condition), points))
        };
        results.conditions().iter().filter_map(bar).collect()
    };
    let panel = |title: &str, bars: Vec<Bar>| {
        Panel::bars(title, Axis::new("condition"), Axis::new(title), bars)
    };
    Figure::new("conditions", "Prediction of mouse V1")
        .panel(panel("correlation", bars(|t| t.done.mean_cc)))
        .panel(panel("mean squared error", bars(|t| Some(t.done.mean_mse))))
        .columns(2)
}

/// Base against lp2, a point a neuron.
fn neurons(results: &Results) -> Option<Figure> {
    // The mean over seeds of a neuron's correlation; none if it has none.
    let mean = |trials: &[&Trial], neuron: usize| {
        let all: Vec<f64> = trials.iter().filter_map(|t| *t.done.cc.get(neuron)?).collect();
        (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64)
    };
    let (mut clouds, mut values) = (Vec::new(), Vec::new());
    for (i, mouse) in results.mice().into_iter().enumerate() {
        let (base, lp2) = (results.of(mouse, "base"), results.of(mouse, "lp2"));
        let count = base.first().map_or(0, |t| t.done.cc.len());
        let points: Vec<(f64, f64)> =
            (0..count).filter_map(|n| mean(&base, n).zip(mean(&lp2, n))).collect();
        if !points.is_empty() {
            values.extend(points.iter().flat_map(|&(x, y)| [x, y]));
            clouds.push(Cloud::new(mouse, Ink::Category(i), points));
        }
    }
    if clouds.is_empty() {
        return None;
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = ((low * 10.0).floor() / 10.0, (high * 10.0).ceil() / 10.0);
    let diagonal = (0..=60).map(|i| low + (high - low) * f64::from(i) / 60.0).map(|v| (v, v));
    clouds.insert(0, Cloud::new("equal", Ink::Neutral, diagonal.collect()));
    let axis = |label: &str| Axis::new(label).range(low, high);
    let panel = Panel::scatter("", axis("cc, base"), axis("cc, lp2"), clouds);
    Some(Figure::new("neurons", "Correlation of each neuron").panel(panel).width(560.0).aspect(0.9))
}

fn traces(results: &Results) -> Option<Figure> {
    let panel = |name: &str, trace: &Trace| {
        let x: Vec<f64> = (0..trace.recorded.len()).map(|i| i as f64).collect();
        let y = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        Panel::lines(
            format!("{name}, neuron {}: cc {:.2}", trace.neuron, trace.cc),
            Axis::new("test sample"),
            Axis::new("activity"),
            vec![
                Curve::new("recorded", Ink::Base, &x, &y(&trace.recorded)),
                Curve::new("predicted (lp2)", Ink::Lp2, &x, &y(&trace.predicted)),
            ],
        )
    };
    let mut panels = Vec::new();
    for mouse in results.mice() {
        let Some(trial) = shown(results, mouse) else { continue };
        panels.extend(trial.done.insight.traces.iter().take(2).map(|t| panel(mouse, t)));
    }
    (!panels.is_empty()).then(|| {
        Figure::new("traces", "Recorded and predicted").panels(panels).columns(1).aspect(0.22)
    })
}

fn learned(results: &Results) -> Option<Figure> {
    let trial = results.mice().into_iter().find_map(|m| results.of(m, "lp2").into_iter().next())?;
    let panel = |(i, layer): (usize, &LayerMasks)| {
        let drawn = |(p, c): (&f64, &[f64; 4])| masks::drawn(layer.kernel, *p, c);
        let cells: Vec<Matrix> = layer.p.iter().zip(&layer.c).map(drawn).collect();
        let columns = (cells.len() as f64).sqrt().ceil().max(1.0) as usize;
        Panel::gallery(format!("Layer {}", i + 1), Gallery::new(columns, cells))
    };
    let panels: Vec<Panel> = trial.done.masks.iter().enumerate().map(panel).collect();
    let title = format!("Learned masks (lp2, {}, seed {})", trial.mouse, trial.seed);
    (!panels.is_empty())
        .then(|| Figure::new("masks", title).panels(panels).columns(3).without_letters())
}

/// A picture of values from -1 to 1: divided by the largest magnitude.
fn picture(values: &[f32], [rows, columns]: [usize; 2]) -> Matrix {
    let largest = values.iter().fold(0.0f32, |m, v| m.max(v.abs())).max(f32::MIN_POSITIVE);
    Matrix::new(rows, columns, values.iter().map(|v| v / largest).collect())
}

/// A row of a gallery: its name and which picture of a neuron it shows.
type Row = (&'static str, fn(&Field) -> &[f32]);

fn rows(insight: &Insight, kinds: &[Row]) -> Gallery {
    let cells = kinds
        .iter()
        .flat_map(|(_, of)| insight.fields.iter().map(|f| picture(of(f), insight.frame)));
    Gallery::new(insight.fields.len(), cells.collect())
        .row_captions(kinds.iter().map(|(name, _)| *name))
        .column_captions(insight.fields.iter().map(|f| format!("{}", f.neuron)))
}

fn fields(results: &Results) -> Option<Figure> {
    let mut panels = Vec::new();
    for mouse in results.mice() {
        let Some(trial) = shown(results, mouse) else { continue };
        let insight = &trial.done.insight;
        if insight.fields.is_empty() {
            continue;
        }
        let gallery =
            rows(insight, &[("saliency", |f| &f.saliency), ("preferred", |f| &f.preferred)]);
        panels.push(Panel::gallery(format!("{mouse} ({})", trial.condition), gallery));
    }
    (!panels.is_empty()).then(|| {
        Figure::new("fields", "Fields of model neurons")
            .panels(panels)
            .columns(1)
            .color_scale(ColorScale::new("relative", -1.0, 1.0))
    })
}

fn tuning(results: &Results) -> Option<Figure> {
    let first = results.mice().into_iter().find_map(|m| shown(results, m))?;
    let curve = &first.done.insight.tuning;
    if curve.is_empty() {
        return None;
    }
    let column = |i: usize| curve.iter().map(|c| c[i]).collect::<Vec<f64>>();
    let speed = column(0);
    let lines = Panel::lines(
        format!("{}, the neuron that running changes most", first.mouse),
        Axis::new("running speed (0 to 1)"),
        Axis::new("activity"),
        vec![
            Curve::new("recorded", Ink::Base, &speed, &column(1)),
            Curve::new("predicted (lp2)", Ink::Lp2, &speed, &column(2)),
        ],
    );
    let clouds = results.mice().into_iter().enumerate().filter_map(|(i, mouse)| {
        let points = &shown(results, mouse)?.done.insight.modulation;
        let points = points.iter().map(|m| (m[0], m[1])).collect();
        Some(Cloud::new(mouse, Ink::Category(i), points))
    });
    let scatter = Panel::scatter(
        "All neurons",
        Axis::new("change by running, recorded"),
        Axis::new("predicted"),
        clouds.collect(),
    );
    Some(Figure::new("tuning", "Tuning to running").panel(lines).panel(scatter).columns(2))
}

fn known_fields(results: &Results) -> Option<Figure> {
    let mut panels = Vec::new();
    for condition in ["base", "lp2"] {
        let Some(trial) = results.of(SYNTHETIC, condition).into_iter().next() else { continue };
        let gallery = rows(
            &trial.done.insight,
            &[
                ("known", |f| f.known.as_deref().unwrap_or(&f.saliency)),
                ("saliency", |f| &f.saliency),
                ("preferred", |f| &f.preferred),
            ],
        );
        panels.push(Panel::gallery(condition, gallery));
    }
    (!panels.is_empty()).then(|| {
        Figure::new("known_fields", "Made-up cortex: known and estimated fields")
            .panels(panels)
            .columns(1)
            .color_scale(ColorScale::new("relative", -1.0, 1.0))
    })
}
