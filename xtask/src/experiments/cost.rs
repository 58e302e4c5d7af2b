//! E4, parameters and FLOPs (Table 10, and Table 3's columns of them): counted from the models, no data, no training.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use lpconv::convert;
use nn::ModuleExt;
use serde::{Deserialize, Serialize};
use vision::models::{ModelConfig, create};

use super::{Experiment, ScaleName, Session, run_info, without_options};
use crate::{
    failure::Outcome,
    flops::{BatchNormCost, Operations, count, fill_with_zeros},
    model::paper_conversion,
    report::{Cell, Claim, Number, Quantity, Report, Scale, Table, verdict},
    results::{read_json, write_json},
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "cost",
    paper: "Table 10 and Table 3 (E4): parameters and FLOPs",
    data: "none",
    demo: "half a minute",
    trials: |request| without_options("cost", "counts what models are", request),
    has_trials: false,
    can_shorten: false,
    run,
    report,
};

const TABLE_3: &str = include_str!("../../paper/table03.tsv");
const TABLE_10: &str = include_str!("../../paper/table10.tsv");

/// A line of the paper's tables and the model it means.
struct Row {
    table: u8,
    /// Model and condition as the table has them.
    paper: (&'static str, &'static str),
    name: &'static str,
}

const fn row(table: u8, paper: &'static str, condition: &'static str, name: &'static str) -> Row {
    Row { table, paper: (paper, condition), name }
}

/// VGG-16 is the one with batch norm: 83.74 GFLOP comes out with it only (discrepancy D6 of the specification).
const ROWS: &[Row] = &[
    row(10, "ViT-32x32", "base", "vit_b_32"),
    row(10, "ViT-16x16", "base", "vit_b_16"),
    row(10, "AlexNet", "base", "alexnet"),
    row(10, "AlexNet", "lp", "alexnet"),
    row(10, "VGG-16", "lp", "vgg16_bn"),
    row(10, "ResNet-18", "lp", "resnet18"),
    row(10, "ResNet-34", "lp", "resnet34"),
    row(10, "ConvNeXt-T", "lp", "convnext_tiny"),
    row(3, "RepLKNet", "base", "replknet31t"),
    row(3, "RepLKNet", "lp", "replknet31t"),
];

impl Row {
    /// Table 3 was counted in evaluation mode, Table 10 in training mode (section 6 of the specification).
    fn batch_norm(&self) -> BatchNormCost {
        match self.table {
            3 => BatchNormCost::Evaluation,
            _ => BatchNormCost::Training,
        }
    }

    /// The figure as printed.
    fn printed(&self, metric: &str) -> anyhow::Result<&'static str> {
        let text = if self.table == 3 { TABLE_3 } else { TABLE_10 };
        let (model, condition) = self.paper;
        let line = text.lines().map(|line| line.split('\t').collect::<Vec<_>>()).find(|cells| {
            cells.get(1) == Some(&model)
                && cells.get(4) == Some(&condition)
                && cells.get(6) == Some(&metric)
        });
        line.and_then(|cells| cells.get(7).copied())
            .with_context(|| format!("Table {} has no {metric} of {model}", self.table))
    }
}

/// What was counted for a [`Row`].
#[derive(Serialize, Deserialize)]
struct Counted {
    parameters: u64,
    operations: Operations,
}

/// The file of all [`Counted`], in the order of [`ROWS`].
const FILE: &str = "counts.json";

fn run(session: &Session) -> Outcome {
    let mut counted = Vec::new();
    for row in ROWS {
        session.check_stop()?;
        counted.push(counted_row(row)?);
    }
    Ok(write_json(&session.folder.join(FILE), &counted)?)
}

/// One image of 224 pixels, 200 classes.
fn counted_row(row: &Row) -> anyhow::Result<Counted> {
    let config = ModelConfig { classes: 200, ..ModelConfig::default() };
    let mut model = create(row.name, &config)?;
    if row.paper.1 == "lp" {
        convert(&mut *model, &paper_conversion(row.name, 2.0))?;
    }
    fill_with_zeros(&mut *model);
    let size = config.image_size;
    let operations = count(&*model, [1, 3, size, size]);
    Ok(Counted { parameters: model.num_parameters() as u64, operations })
}

/// The value rounded as the printed one is.
fn like(value: f64, printed: &str) -> String {
    let digits = printed.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    format!("{value:.digits$}")
}

fn report(folder: &Path, _: ScaleName) -> anyhow::Result<PathBuf> {
    let file = folder.join(FILE);
    let counted: Vec<Counted> = read_json(&file)?;
    if counted.len() != ROWS.len() {
        let (n, m) = (counted.len(), ROWS.len());
        return Err(anyhow!("{}: {n} models instead of {m}; run it again", file.display()));
    }
    let mut table = Table::new(
        "Parameters (M) and FLOPs (G), 200 classes, one image of 224 pixels",
        ["table", "model", "parameters", "paper", "FLOPs", "paper", "GMAC alone", "cells equal"],
    );
    // By table: cells that agree, cells.
    let mut equal = [(3u8, 0, 0), (10, 0, 0)];
    for (row, Counted { parameters, operations }) in ROWS.iter().zip(&counted) {
        let millions = *parameters as f64 / 1e6;
        let giga = operations.flops(row.batch_norm()) as f64 / 1e9;
        let (params, flops) = (row.printed("params_M")?, row.printed("flops_G")?);
        // 86.0 and 86 are the same figure; 85.95 is neither.
        let same = [(millions, params), (giga, flops)]
            .map(|(value, printed)| like(value, printed) == printed);
        let agree = same.iter().filter(|same| **same).count();
        for (table, agreeing, cells) in &mut equal {
            if *table == row.table {
                (*agreeing, *cells) = (*agreeing + agree, *cells + 2);
            }
        }
        let (model, condition) = row.paper;
        let model = if condition == "lp" { format!("Lp2-{model}") } else { model.into() };
        table.push([
            Cell::from(row.table.to_string()),
            model.into(),
            Number::new(millions, 3).into(),
            params.to_owned().into(),
            Number::new(giga, 3).into(),
            flops.to_owned().into(),
            Number::new(operations.macs() as f64 / 1e9, 3).into(),
            format!("{agree} of 2").into(),
        ]);
    }
    // Counts are the same at every scale: these are the paper's own.
    let mut report = Report::new(
        "Parameters and FLOPs (Tables 3 and 10)",
        Scale::Paper,
        "Lp-convolutions enlarge every kernel and add five parameters to every output channel. What that costs is counted \
         here from the models themselves and compared with the paper's figures, rounded as printed. The column of top-1 \
         accuracies belongs to the trained models of Table 1.",
        run_info(folder, &[], &[], std::time::Duration::ZERO)?,
    );
    for (table, agreeing, cells) in equal {
        report.claim(Claim::new(
            format!("Parameters and FLOPs are those of Table {table}, in every cell."),
            verdict::close(
                &Quantity::exact("cells that agree", f64::from(agreeing as u32), 0),
                &Quantity::exact("cells", f64::from(cells), 0),
                0.5,
            ),
            Scale::Paper,
        ));
    }
    report.table("cost", table);
    report.note(
        "Counting rules, those of fvcore: 1 for a multiply-accumulate of convolutions and linear layers; for an element of a \
         layer norm 5; of a batch norm 5 in Table 10 (training mode) and 2 in Table 3 (evaluation mode); 4 O l² for the product \
         C d of the masks of a layer with O channels and l² taps; nothing for activations, pooling, additions, biases, the \
         product of mask and weight, and attention's products of queries, keys and values.",
    );
    report.note(
        "VGG-16 is the variant with batch norm: the plain one has 200.48 M parameters and 83.67 GFLOP, and the paper prints \
         83.74.",
    );
    Ok(report.save(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_its_printed_figures() {
        for row in ROWS {
            for metric in ["params_M", "flops_G"] {
                row.printed(metric).unwrap().parse::<f64>().unwrap();
            }
        }
        // Nothing of the tables is left out: two metrics for each row.
        let of_metrics = |text: &str| {
            text.lines().filter(|l| l.contains("params_M") || l.contains("flops_G")).count()
        };
        assert_eq!(of_metrics(TABLE_3) + of_metrics(TABLE_10), 2 * ROWS.len());
    }

    /// The smallest of the models is counted; `xtask reproduce cost` counts all.
    #[test]
    fn alexnet_has_the_papers_figures() {
        let row = &ROWS[2];
        let Counted { parameters, operations } = counted_row(row).unwrap();
        assert_eq!((parameters, operations.macs()), (57_823_240, 710_911_680));
        assert_eq!(like(parameters as f64 / 1e6, "57.82"), "57.82");
        assert_eq!(like(85.95, "86.0"), "86.0");
    }

    #[test]
    fn the_report_compares_every_cell() {
        let dir = tempfile::tempdir().unwrap();
        let wrong = Operations { conv: 1, ..Operations::default() };
        let counts: Vec<Counted> =
            ROWS.iter().map(|_| Counted { parameters: 57_820_000, operations: wrong }).collect();
        write_json(&dir.path().join(FILE), &counts).unwrap();
        let page = report(dir.path(), ScaleName::Demo).unwrap();
        let html = std::fs::read_to_string(page).unwrap();
        assert!(html.contains("1 of 2") && html.contains("not reproduced"));
    }
}
