//! The tables of accuracies: ours, the paper's, the tests between conditions, every run.

use neuro::stats::{holm, mean, paired, standard_deviation, stars, student, welch};

use super::{
    Page,
    paper::{Printed, figures},
    trials::{Column, Trials, percent},
};
use crate::{
    experiments::ScaleName,
    report::{Cell, Emphasis, Number, Report, Table},
};

/// Mean, with the sample standard deviation where there are several.
pub(super) fn spread(values: &[f64], digits: usize) -> Option<Number> {
    let number = Number::new(mean(values), digits);
    match values.len() {
        0 => None,
        1 => Some(number),
        _ => Some(number.sd(standard_deviation(values))),
    }
}

pub(super) fn add(report: &mut Report, page: &Page) -> anyhow::Result<()> {
    report.table("accuracies", accuracies(page));
    report.table("paper", papers(page)?);
    if let Some(table) = beside(page)? {
        report.table("beside", table);
    }
    report.table("tests", tests(page));
    report.table("runs", runs(page.trials));
    Ok(())
}

/// Table 1 as the paper lays it out: the best of a column bold, the second underlined, stars against base.
fn accuracies(page: &Page) -> Table {
    let trials = page.trials;
    let small = if page.scale == ScaleName::Paper { "" } else { ", small-scale" };
    let name = format!("Top-1 accuracy in percent on the test images after the last epoch{small}");
    let mut columns = vec!["condition".to_owned()];
    columns.extend(trials.columns.iter().map(|c| page.title(c)));
    columns.push("seeds".into());
    let mut table = Table::new(name, columns);
    for condition in &trials.conditions {
        let mut row = vec![Cell::from(condition.as_str())];
        let mut seeds = 0;
        for column in &trials.columns {
            let values = trials.top1(column, condition);
            seeds = seeds.max(values.len());
            let number = spread(&values, 2).map(|n| {
                let test = welch(&values, &trials.top1(column, "base"));
                let marked = match test {
                    Ok(test) if condition != "base" => n.stars(stars(test.p_value)),
                    _ => n,
                };
                marked.emphasis(emphasis(trials, column, condition))
            });
            row.push(number.map_or(Cell::Empty, Cell::from));
        }
        row.push(seeds.into());
        table.push(row);
    }
    table.note(
        "Mean ± standard deviation over seeds. Stars: Welch's test against base (* p < .05, ** < .01, *** < .001, ns), not \
         corrected, as in the paper. Bold: the best of a column; underlined: the second.",
    );
    table
}

fn emphasis(trials: &Trials, column: &Column, condition: &str) -> Emphasis {
    let mut means: Vec<(f64, &str)> = trials
        .conditions
        .iter()
        .filter_map(|c| Some((trials.mean_top1(column, c)?, c.as_str())))
        .collect();
    means.sort_by(|a, b| b.0.total_cmp(&a.0));
    match means.iter().position(|(_, c)| *c == condition) {
        Some(0) => Emphasis::Best,
        Some(1) => Emphasis::Second,
        _ => Emphasis::None,
    }
}

/// The paper's table, always of its own nets and data.
fn papers(page: &Page) -> anyhow::Result<Table> {
    let printed = figures(page.study.table, "top1_pct")?;
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut conditions: Vec<&str> = Vec::new();
    for figure in &printed {
        let column = (figure.model.as_str(), figure.dataset.as_str());
        if !columns.contains(&column) {
            columns.push(column);
        }
        if !conditions.contains(&figure.condition.as_str()) {
            conditions.push(&figure.condition);
        }
    }
    let mut names = vec!["condition".to_owned()];
    names.extend(columns.iter().map(|(model, data)| format!("{model}, {data}")));
    let number = page.study.number;
    let mut table =
        Table::new(format!("The paper's Table {number}: top-1 accuracy in percent"), names);
    for condition in conditions {
        let mut row = vec![Cell::from(condition)];
        for (model, data) in &columns {
            let cell = printed
                .iter()
                .find(|f| f.model == *model && f.dataset == *data && f.condition == condition);
            row.push(cell.map_or(Cell::Empty, as_printed));
        }
        table.push(row);
    }
    Ok(table)
}

fn as_printed(figure: &Printed) -> Cell {
    let number = Number::new(figure.mean, 2).stars(figure.stars.as_str());
    match figure.sd {
        Some(sd) => number.sd(sd).into(),
        None => number.into(),
    }
}

/// Ours beside the paper's, where both are of the same net, data and recipe.
fn beside(page: &Page) -> anyhow::Result<Option<Table>> {
    if page.scale != ScaleName::Paper {
        return Ok(None);
    }
    let mut table = Table::new(
        "Ours beside the paper's, top-1 accuracy in percent",
        ["model", "data", "condition", "ours", "paper", "ours − paper", "seeds"],
    );
    for column in &page.trials.columns {
        for condition in &page.trials.conditions {
            let values = page.trials.top1(column, condition);
            let (Some(ours), Some(paper)) = (spread(&values, 2), page.paper(column, condition)?)
            else {
                continue;
            };
            table.push([
                page.printed_model(&column.model).into(),
                column.dataset.printed().into(),
                condition.as_str().into(),
                ours.into(),
                as_printed(&paper),
                Number::new(mean(&values) - paper.mean, 2).into(),
                values.len().into(),
            ]);
        }
    }
    Ok((!table.rows().is_empty()).then_some(table))
}

/// Every condition against base.
fn tests(page: &Page) -> Table {
    let trials = page.trials;
    let small = if page.scale == ScaleName::Paper { "" } else { " (small-scale)" };
    let mut table = Table::new(
        format!("Differences from base in points{small}"),
        [
            "model, data",
            "condition",
            "mean − base",
            "Welch p",
            "Holm",
            "Student p",
            "paired",
            "95 % interval",
            "paired p",
            "seeds above base",
        ],
    );
    for column in &trials.columns {
        let base = trials.top1(column, "base");
        let others: Vec<&String> = trials
            .conditions
            .iter()
            .filter(|c| *c != "base" && !trials.top1(column, c).is_empty())
            .collect();
        let p: Vec<f64> = others
            .iter()
            .filter_map(|c| welch(&trials.top1(column, c), &base).ok().map(|t| t.p_value))
            .collect();
        // One correction for the conditions of a column; only where every one could be tested.
        let adjusted = (p.len() == others.len()).then(|| holm(&p).unwrap_or_default());
        for (i, condition) in others.iter().enumerate() {
            let values = trials.top1(column, condition);
            let (ours, bases) = trials.pairs(column, condition, "base");
            let differences: Vec<f64> = ours.iter().zip(&bases).map(|(a, b)| a - b).collect();
            let pairs = paired(&ours, &bases).ok();
            let number = |value: Option<f64>, digits| {
                value.map_or(Cell::Empty, |v| Number::new(v, digits).into())
            };
            let of_base = (!base.is_empty()).then(|| mean(&values) - mean(&base));
            table.push([
                page.title(column).into(),
                condition.as_str().into(),
                number(of_base, 2),
                number(welch(&values, &base).ok().map(|t| t.p_value), 4),
                number(adjusted.as_ref().and_then(|a| a.get(i).copied()), 4),
                number(student(&values, &base).ok().map(|t| t.p_value), 4),
                spread(&differences, 2).map_or(Cell::Empty, Cell::from),
                pairs.map_or(Cell::Empty, |t| {
                    let [low, high] = t.confidence_interval(0.95);
                    format!("{low:.2} to {high:.2}").into()
                }),
                number(pairs.map(|t| t.p_value), 4),
                format!(
                    "{} of {}",
                    differences.iter().filter(|d| **d > 0.0).count(),
                    differences.len()
                )
                .into(),
            ]);
        }
    }
    table.note(
        "Holm: Welch's p corrected for the conditions of its column. Paired: runs of the same seed have the same initial \
         weights, order and augmentation of images, so their differences are compared too (mean ± standard deviation, Student's \
         interval and test). A single seed has no spread: then only the difference is given.",
    );
    table
}

/// Everything that was run.
fn runs(trials: &Trials) -> Table {
    let mut table = Table::new(
        "Runs",
        [
            "data",
            "model",
            "condition",
            "seed",
            "epochs",
            "top-1 last",
            "top-5 last",
            "top-1 best",
            "best epoch",
            "training loss",
            "parameters",
            "minutes",
        ],
    );
    let averaged = trials.all.iter().any(|t| t.done.as_ref().is_some_and(|d| d.average.is_some()));
    for t in &trials.all {
        let Some(done) = &t.done else { continue };
        table.push([
            t.spec.dataset.name().into(),
            t.spec.model.as_str().into(),
            t.spec.condition.as_str().into(),
            Cell::number(t.spec.seed as f64, 0),
            t.spec.recipe.epochs.into(),
            Cell::number(percent(done.last.top1, done.test_images), 2),
            Cell::number(percent(done.last.top5, done.test_images), 2),
            Cell::number(100.0 * done.best.0, 2),
            done.best.1.into(),
            Cell::number(done.loss, 4),
            done.parameters.into(),
            Cell::number(done.seconds / 60.0, 1),
        ]);
    }
    let unfinished: Vec<&str> =
        trials.all.iter().filter(|t| t.done.is_none()).map(|t| t.name.as_str()).collect();
    if !unfinished.is_empty() {
        table.note(format!("Not finished: {}.", unfinished.join(", ")));
    }
    if averaged {
        let of = |t: &super::trials::Trial| {
            let done = t.done.as_ref()?;
            let right = percent(done.average?.top1, done.test_images);
            Some(format!("{} {right:.2}", t.name))
        };
        let all: Vec<String> = trials.all.iter().filter_map(of).collect();
        table.note(format!("Top-1 of the averaged weights (ema): {}.", all.join(", ")));
    }
    table
}
