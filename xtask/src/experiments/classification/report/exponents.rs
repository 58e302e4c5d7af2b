//! The tables of trained masks: exponents by layer (Tables 6 and 7), how far masks moved (Fig 2), and the layers that cannot
//! learn (section 1.3 of the specification).

use lpconv::Conformation;
use neuro::stats::{median, quantile, standard_deviation};

use super::{
    Page,
    paper::{Printed, TABLE_6, TABLE_7, figures},
    trials::{Column, Trial},
};
use crate::{
    experiments::{
        classification::{masks::LayerMasks, recipe::ImageData},
        masks::shapes,
    },
    report::{Cell, Number, Report, Table},
};

pub(super) fn add(report: &mut Report, page: &Page) -> anyhow::Result<()> {
    if page.trials.all.iter().all(|t| t.masks.is_empty()) {
        return Ok(());
    }
    report.table("exponents", by_layer(page)?);
    report.table("moved", moved(page));
    let frozen = frozen(page);
    if !frozen.rows().is_empty() {
        report.table("frozen", frozen);
    }
    Ok(())
}

/// The exponents of a layer over all finished trials of a condition.
fn layer_p(page: &Page, column: &Column, condition: &str, layer: usize) -> Vec<f64> {
    let layers = page.trials.of(column, condition).filter_map(|t| t.masks.get(layer));
    layers.flat_map(|l| l.p.iter().copied()).collect()
}

/// What the paper prints for a column, of all layers and starts.
pub(super) fn printed(page: &Page, column: &Column) -> anyhow::Result<Vec<Printed>> {
    let (model, data) = (page.printed_model(&column.model), column.dataset.printed());
    let table = if column.dataset == ImageData::Cifar100 { TABLE_6 } else { TABLE_7 };
    let all = figures(table, "p_median")?;
    Ok(all.into_iter().filter(|f| f.model == model && f.dataset == data).collect())
}

fn by_layer(page: &Page) -> anyhow::Result<Table> {
    let mut columns = vec!["model, data".to_owned(), "layer".to_owned(), "name".to_owned()];
    let masked = page.trials.masked();
    let with_paper = page.is_paper();
    for (condition, _) in &masked {
        columns.push(format!("{condition}: p"));
        if with_paper {
            columns.push(format!("{condition}: paper"));
        }
    }
    let mut table = Table::new(
        "Exponents after training by layer: median ± standard deviation over the layer's masks and all seeds (as Tables 6 and 7)",
        columns,
    );
    for column in &page.trials.columns {
        let paper = if with_paper { printed(page, column)? } else { Vec::new() };
        let first = |(condition, _): &(&str, f64)| {
            page.trials.all.iter().find(|t| t.is_of(column, condition) && !t.masks.is_empty())
        };
        let Some(names) = masked.iter().find_map(first) else { continue };
        for (i, layer) in names.masks.iter().enumerate() {
            let title = page.title(column);
            let mut row = vec![Cell::from(title), (i + 1).into(), layer.layer.as_str().into()];
            for (condition, _) in &masked {
                let p = layer_p(page, column, condition, i);
                let number = || Number::new(median(&p), 3).sd(standard_deviation(&p));
                row.push(if p.is_empty() { Cell::Empty } else { number().into() });
                if with_paper {
                    let found =
                        paper.iter().find(|f| f.layer == Some(i + 1) && f.condition == *condition);
                    row.push(found.map_or(Cell::Empty, |f| {
                        Number::new(f.mean, 2).sd(f.sd.unwrap_or(0.0)).into()
                    }));
                }
            }
            table.push(row);
        }
    }
    Ok(table)
}

/// The mean distance of the matrices from where they started: the mean over masks of the largest change of an entry, as a
/// share of the diagonal at the start.
pub(super) fn distance(layer: &LayerMasks) -> f64 {
    let of = |c: &[f64; 4]| {
        let start = [layer.c_init, 0.0, 0.0, layer.c_init];
        c.iter().zip(start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) / layer.c_init
    };
    layer.c.iter().map(of).sum::<f64>() / layer.c.len().max(1) as f64
}

/// The distortions of a layer's masks.
pub(super) fn distortions(layer: &LayerMasks) -> Vec<f64> {
    shapes(&layer.c).iter().map(|c| c.distortion).collect()
}

fn moved(page: &Page) -> Table {
    let mut table = Table::new(
        "Masks of the first convolution after training, all seeds",
        [
            "model, data",
            "condition",
            "mean |C − start|",
            "γ: median",
            "γ: 10 to 90 %",
            "θ: 25 to 75 %",
            "masks",
        ],
    );
    for column in &page.trials.columns {
        for (condition, _) in page.trials.masked() {
            let first: Vec<&LayerMasks> =
                page.trials.of(column, condition).filter_map(|t| t.masks.first()).collect();
            if first.is_empty() {
                continue;
            }
            let distances: Vec<f64> = first.iter().map(|l| distance(l)).collect();
            let gamma: Vec<f64> = first.iter().flat_map(|l| distortions(l)).collect();
            let angle = |c: &Conformation| c.rotation_deg;
            let theta: Vec<f64> = first
                .iter()
                .flat_map(|l| shapes(&l.c).iter().map(angle).collect::<Vec<_>>())
                .filter(|t| t.is_finite())
                .collect();
            let range = |values: &[f64], low: f64, high: f64, digits: usize| -> Cell {
                match values {
                    [] => Cell::Empty,
                    _ => {
                        let [low, high] = [low, high].map(|q| quantile(values, q));
                        format!("{low:.digits$} to {high:.digits$}").into()
                    }
                }
            };
            table.push([
                page.title(column).into(),
                condition.into(),
                super::tables::spread(&distances, 3).map_or(Cell::Empty, Cell::from),
                Cell::number(median(&gamma), 3),
                range(&gamma, 0.1, 0.9, 3),
                range(&theta, 0.25, 0.75, 0),
                gamma.len().into(),
            ]);
        }
    }
    table.note(
        "mean |C − start|: the largest change of an entry of C as a share of C's diagonal at the start, mean over masks. The \
         masks start round (γ = 1); weight decay alone keeps them so.",
    );
    table
}

/// Layers of a trial that cannot learn about their masks, with the reason.
pub(super) fn frozen_layers(trial: &Trial) -> impl Iterator<Item = (&LayerMasks, &str)> {
    trial.masks.iter().filter_map(|l| Some((l, l.frozen.as_deref()?)))
}

fn frozen(page: &Page) -> Table {
    let mut table = Table::new(
        "Masks about which nothing can be learned: after training p is, to the last bit, what it was, and C what weight decay \
         makes of it",
        ["trial", "layer", "why", "masks", "p differs", "C differs"],
    );
    for trial in &page.trials.all {
        for (layer, why) in frozen_layers(trial) {
            table.push([
                trial.name.as_str().into(),
                layer.layer.as_str().into(),
                why.into(),
                layer.p.len().into(),
                layer.p_moved.into(),
                layer.c_moved.into(),
            ]);
        }
    }
    table
}
