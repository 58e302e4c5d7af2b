//! The page of Table 2: how often each condition reads corrupted images best.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use neuro::stats::mean;

use super::{
    paper::{Printed, figures},
    tables::spread,
};
use crate::{
    experiments::{
        ScaleName,
        classification::{
            Study,
            robustness::{RobustDone, RobustSpec},
        },
        run_info,
    },
    report::{
        Cell, Claim, Comparison, Emphasis, Number, Quantity, Report, Table,
        figure::{Axis, Bar, Figure, Ink, Panel},
        verdict,
    },
    results::TrialFolder,
};

const TABLE_2: &str = include_str!("../../../../paper/table02.tsv");

/// The columns of Table 2; of equals the first one wins.
const ORDER: [&str; 6] = ["base", "large", "lp2", "lp4", "lp8", "lp16"];

/// A net that was tested.
struct Tested {
    spec: RobustSpec,
    done: RobustDone,
}

impl Tested {
    fn is_of(&self, model: &str, condition: &str) -> bool {
        self.spec.net.model == model && self.spec.net.condition == condition
    }

    fn on(&self, corruption: &str) -> Option<f64> {
        self.done.corrupted.iter().find(|(name, _)| name == corruption).map(|(_, right)| *right)
    }

    /// Percent right, mean over the corruptions.
    fn mean(&self) -> f64 {
        mean(&self.done.corrupted.iter().map(|(_, right)| *right).collect::<Vec<_>>())
    }
}

/// Everything that was tested in a folder.
struct Results {
    all: Vec<Tested>,
    models: Vec<String>,
    conditions: Vec<String>,
    corruptions: Vec<String>,
}

impl Results {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for (_, trial) in TrialFolder::all(folder) {
            if trial.is_done() {
                all.push(Tested { spec: trial.recipe()?, done: trial.done()? });
            }
        }
        all.sort_by_key(|t| t.spec.net.seed);
        let first = all
            .first()
            .ok_or_else(|| anyhow!("{}: no net has been tested here", folder.display()))?;
        let corruptions = first.done.corrupted.iter().map(|(name, _)| name.clone()).collect();
        let mut models = first.spec.net.recipe.models();
        let others: Vec<String> = all.iter().map(|t| t.spec.net.model.clone()).collect();
        models.retain(|m| others.contains(m));
        let place = |c: &String| ORDER.iter().position(|k| k == c).unwrap_or(ORDER.len());
        let mut conditions: Vec<String> =
            all.iter().map(|t| t.spec.net.condition.clone()).collect();
        conditions.sort_by_key(|c| (place(c), c.clone()));
        conditions.dedup();
        Ok(Results { all, models, conditions, corruptions })
    }

    fn of<'a>(&'a self, model: &'a str, condition: &'a str) -> impl Iterator<Item = &'a Tested> {
        self.all.iter().filter(move |t| t.is_of(model, condition))
    }

    /// Percent right, mean over seeds.
    fn right(&self, model: &str, condition: &str, corruption: &str) -> Option<f64> {
        let values: Vec<f64> = self.of(model, condition).filter_map(|t| t.on(corruption)).collect();
        (!values.is_empty()).then(|| mean(&values))
    }

    /// How many corruptions each condition reads best, and how many were decided by the order of the columns.
    fn wins(&self, model: &str) -> (Vec<usize>, usize) {
        let rows = self.corruptions.iter().map(|corruption| {
            self.conditions.iter().map(|c| self.right(model, c, corruption)).collect::<Vec<_>>()
        });
        wins(self.conditions.len(), rows)
    }
}

/// Of each row the first of the largest; and how many rows have several.
fn wins(columns: usize, rows: impl Iterator<Item = Vec<Option<f64>>>) -> (Vec<usize>, usize) {
    let (mut wins, mut ties) = (vec![0; columns], 0);
    for row in rows {
        let most = row.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
        let best: Vec<usize> = (0..columns).filter(|&i| row[i] == Some(most)).collect();
        if let Some(&first) = best.first() {
            wins[first] += 1;
            ties += usize::from(best.len() > 1);
        }
    }
    (wins, ties)
}

/// Writes the report of a folder of tested nets.
pub(in crate::experiments::classification) fn write(
    study: &Study,
    folder: &Path,
    scale: ScaleName,
) -> anyhow::Result<PathBuf> {
    let results = Results::read(folder)?;
    let first = &results.all[0];
    let made = if first.spec.published {
        "CIFAR-100-C"
    } else {
        "made here from the built-in test images"
    };
    let rows = [
        ("scale", scale.name().to_owned()),
        ("corrupted images", made.to_owned()),
        ("severity", first.spec.severity.to_string()),
        ("test images", first.done.test_images.to_string()),
        ("corruptions", results.corruptions.len().to_string()),
        ("seed of corruptions", first.spec.corruption_seed.to_string()),
        ("epochs of training", first.spec.net.recipe.epochs.to_string()),
        ("training images", first.spec.net.train_images.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let mut seeds: Vec<u64> = results.all.iter().map(|t| t.spec.net.seed).collect();
    seeds.dedup();
    let seconds: f64 = results.all.iter().map(|t| t.done.seconds).sum();
    let run = run_info(folder, &rows, &seeds, Duration::from_secs_f64(seconds))?;
    let title = "Robustness of Lp-convolution (Table 2)";
    let mut report = Report::new(title, scale.scale(), summary(&results, scale), run);
    for claim in claims(study, &results, scale) {
        report.claim(claim);
    }
    report.table("wins", win_table(study, &results, scale));
    report.table("paper", papers()?);
    report.figure(
        bars(study, &results),
        "Accuracy on corrupted images, mean over the corruptions: every seed, means, and standard deviations where there are several.",
    );
    for model in &results.models {
        report.table(
            format!("accuracies_{}", plain(model)),
            accuracies(study, &results, model, scale),
        );
    }
    notes(&mut report, &results);
    Ok(report.save(folder)?)
}

fn plain(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
}

fn printed(study: &Study, model: &str) -> String {
    let found = study.printed.iter().find(|(ours, _)| *ours == model);
    found.map_or(model, |(_, printed)| printed).to_owned()
}

fn summary(results: &Results, scale: ScaleName) -> String {
    let first = &results.all[0];
    let mut text = format!(
        "The nets of Table 1, trained on clean images, read test images under {} corruptions at severity {}. A condition wins a \
         corruption if its accuracy is the highest, mean over seeds.",
        results.corruptions.len(),
        first.spec.severity
    );
    if !first.spec.published {
        text += " The corrupted images were made here, not taken from the published CIFAR-100-C.";
    }
    if scale != ScaleName::Paper {
        text += &format!(
            " This is a small-scale run with other nets than the paper's, {} training and {} test images; its figures are not \
             those of the paper.",
            first.spec.net.train_images, first.done.test_images
        );
    }
    text
}

fn notes(report: &mut Report, results: &Results) {
    if results.corruptions.len() < 19 {
        report.note(
            "A generated set of fewer than nineteen corruptions: frost lays photos over images, which do not come with the program \
             (--set frost=FOLDER).",
        );
    }
    report.note(
        "The paper does not say how seeds are put together nor what becomes of equal accuracies: here their mean counts, and of \
         equals the condition that stands first in Table 2 wins.",
    );
    report.note(
        "Clean accuracies are those that training left; the wins count nothing but order, however small a difference is.",
    );
}

/// Ours as the paper lays its table out.
fn win_table(study: &Study, results: &Results, scale: ScaleName) -> Table {
    let small = if scale == ScaleName::Paper { "" } else { ", small-scale" };
    let count = results.corruptions.len();
    let mut columns = vec!["model".to_owned()];
    columns.extend(results.conditions.iter().cloned());
    columns.push("equal".into());
    let mut table = Table::new(format!("Corruptions won, of {count}{small}"), columns);
    let mut totals = vec![0; results.conditions.len() + 1];
    let mut push = |name: &str, counts: &[usize]| {
        let (wins, ties) = counts.split_at(counts.len() - 1);
        let most = wins.iter().copied().max().unwrap_or(0);
        let number = |&n: &usize| {
            let best = if n == most { Emphasis::Best } else { Emphasis::None };
            Cell::from(Number::new(n as f64, 0).emphasis(best))
        };
        let mut row = vec![Cell::from(name)];
        row.extend(wins.iter().map(number));
        row.push(ties[0].into());
        table.push(row);
    };
    for model in &results.models {
        let (mut counts, ties) = results.wins(model);
        counts.push(ties);
        totals.iter_mut().zip(&counts).for_each(|(total, n)| *total += n);
        push(&printed(study, model), &counts);
    }
    if results.models.len() > 1 {
        push("all", &totals);
    }
    table.note("Equal: corruptions in which several conditions had the highest accuracy.");
    table
}

fn papers() -> anyhow::Result<Table> {
    let all = figures(TABLE_2, "win_count")?;
    let mut columns = vec!["model"];
    columns.extend(ORDER);
    let mut table = Table::new(
        "The paper's Table 2: corruptions won, of 19 for each model (CIFAR-100-C, severity 1)",
        columns,
    );
    let mut models: Vec<&str> = all.iter().map(|f| f.model.as_str()).collect();
    models.dedup();
    for model in models {
        let of = |condition: &str| {
            all.iter().find(|f: &&Printed| f.model == model && f.condition == condition)
        };
        let most = ORDER.iter().filter_map(|c| of(c)).map(|f| f.mean).fold(0.0, f64::max);
        let mut row = vec![Cell::from(if model == "ALL" { "all" } else { model })];
        row.extend(ORDER.iter().map(|c| {
            of(c).map_or(Cell::Empty, |f| {
                let best = if f.mean == most { Emphasis::Best } else { Emphasis::None };
                Number::new(f.mean, 0).emphasis(best).into()
            })
        }));
        table.push(row);
    }
    Ok(table)
}

/// Every corruption of a model, after the clean images.
fn accuracies(study: &Study, results: &Results, model: &str, scale: ScaleName) -> Table {
    let small = if scale == ScaleName::Paper { "" } else { ", small-scale" };
    let mut columns = vec!["images".to_owned()];
    columns.extend(results.conditions.iter().cloned());
    let name = format!("{}: top-1 accuracy in percent{small}", printed(study, model));
    let mut table = Table::new(name, columns);
    let mut push = |name: &str, of: &dyn Fn(&Tested) -> Option<f64>| {
        let values = |condition: &String| -> Vec<f64> {
            results.of(model, condition).filter_map(of).collect()
        };
        let means: Vec<Vec<f64>> = results.conditions.iter().map(values).collect();
        let most = means.iter().filter(|v| !v.is_empty()).map(|v| mean(v)).fold(0.0, f64::max);
        let mut row = vec![Cell::from(name)];
        row.extend(means.iter().map(|values| {
            let best = !values.is_empty() && mean(values) == most;
            let number = spread(values, 2);
            number.map_or(Cell::Empty, |n| {
                n.emphasis(if best { Emphasis::Best } else { Emphasis::None }).into()
            })
        }));
        table.push(row);
    };
    push("clean", &|t| Some(t.done.clean));
    for corruption in &results.corruptions {
        push(&corruption.replace('_', " "), &|t| t.on(corruption));
    }
    push("mean of corruptions", &|t| Some(t.mean()));
    table
}

fn bars(study: &Study, results: &Results) -> Figure {
    let panels = results.models.iter().map(|model| {
        let bars = results.conditions.iter().enumerate().filter_map(|(i, condition)| {
            let values: Vec<f64> = results.of(model, condition).map(Tested::mean).collect();
            let bar = || Bar::of_points(condition, Ink::condition_or(condition, i), values.clone());
            (!values.is_empty()).then(bar)
        });
        let (x, y) = (Axis::new("condition"), Axis::new("% correct"));
        Panel::bars(printed(study, model), x, y, bars.collect())
    });
    let aspect = if results.models.len() == 1 { 0.4 } else { 0.74 };
    Figure::new("corrupted", "Accuracy on corrupted images")
        .panels(panels)
        .columns(3)
        .aspect(aspect)
}

fn claims(study: &Study, results: &Results, scale: ScaleName) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut push = |text: String, comparison: Comparison| {
        claims.push(Claim::new(text, comparison, scale.scale()));
    };
    let by_model: Vec<Vec<usize>> = results.models.iter().map(|m| results.wins(m).0).collect();
    let place = |condition: &str| results.conditions.iter().position(|c| c == condition);
    let Some(lp2) = place("lp2") else { return claims };
    let total = |i: usize| by_model.iter().map(|wins| wins[i] as u64).sum::<u64>();
    let of = (results.models.len() * results.corruptions.len()) as u64;
    let others = (0..results.conditions.len()).filter(|&i| i != lp2);
    if let Some(rival) = others.max_by_key(|&i| total(i)) {
        let counted = |i: usize| Quantity::counts(&results.conditions[i], total(i), of, 1);
        push(
            "Masks that start from p = 2 win most corruptions overall (57 of 95 in Table 2, the next 21).".into(),
            verdict::greater(&counted(lp2), &counted(rival), 0.0),
        );
    }
    if scale == ScaleName::Paper {
        if let Some(i) = results.models.iter().position(|m| printed(study, m) == "VGG-16") {
            let ours = Quantity::exact("lp2", by_model[i][lp2] as f64, 0);
            let least = Quantity::exact("one less than 15", 14.0, 0);
            push(
                "VGG-16: masks that start from p = 2 win at least 15 of 19 corruptions (19 in Table 2).".into(),
                verdict::greater(&ours, &least, 0.0),
            );
        }
        if let Some(base) = place("base") {
            let ours = Quantity::exact("base", total(base) as f64, 0);
            push(
                "Small kernels win fewer than 10 of 95 corruptions (none in Table 2).".into(),
                verdict::greater(&Quantity::exact("limit", 10.0, 0), &ours, 0.0),
            );
        }
        return claims;
    }
    for model in &results.models {
        let values = |condition: &str| -> Vec<f64> {
            results.of(model, condition).map(Tested::mean).collect()
        };
        let (ours, base) = (values("lp2"), values("base"));
        // By seed, if both have the same ones.
        if !ours.is_empty() && ours.len() == base.len() {
            push(
                format!(
                    "{}: masks that start from p = 2 read corrupted images better than small kernels do.",
                    printed(study, model)
                ),
                verdict::greater_paired(
                    &Quantity::seeds("lp2", &ours, 2),
                    &Quantity::seeds("base", &base, 2),
                    0.0,
                ),
            );
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_largest_wins() {
        let rows = [
            vec![Some(50.0), Some(51.0), Some(40.0)],
            vec![Some(60.0), Some(10.0), Some(60.0)],
            vec![None, Some(3.0), Some(2.0)],
            vec![None, None, None],
        ];
        assert_eq!(wins(3, rows.into_iter()), (vec![1, 2, 0], 1));
    }

    #[test]
    fn the_papers_wins_add_up() {
        let all = figures(TABLE_2, "win_count").unwrap();
        assert_eq!(all.len(), 36);
        let sum =
            |model: &str| all.iter().filter(|f| f.model == model).map(|f| f.mean).sum::<f64>();
        assert_eq!((sum("VGG-16"), sum("AlexNet"), sum("ALL")), (19.0, 19.0, 95.0));
        let lp2 = all.iter().find(|f| f.model == "ALL" && f.condition == "lp2").unwrap();
        assert_eq!(lp2.mean, 57.0);
        assert_eq!(papers().unwrap().rows().len(), 6);
    }
}
