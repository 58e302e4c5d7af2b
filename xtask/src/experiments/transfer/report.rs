//! The report: our accuracies, the paper's Table 4 and the claims, from what the trials left in their folders.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use vision::datasets::transfer::TransferSet;

use super::{
    recipe::{Condition, Recipe},
    train::{Done, TrialSpec},
};
use crate::{
    experiments::{
        ScaleName,
        epochs::{Epoch, curve, epochs},
        run_info,
    },
    report::{
        Cell, Claim, Number, Quantity, Report, Table,
        figure::{Axis, Figure, Ink, Panel},
        verdict,
    },
    results::TrialFolder,
};

const TABLE_4: &str = include_str!("../../../paper/table04.tsv");

/// A trial with what it has left so far.
struct Trial {
    spec: TrialSpec,
    epochs: Vec<Epoch>,
    done: Option<Done>,
}

/// Everything in the folder, conditions in the order of the paper's.
struct Trials {
    all: Vec<Trial>,
    sets: Vec<String>,
    conditions: Vec<String>,
}

impl Trials {
    fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for (_, trial) in TrialFolder::all(folder) {
            let done = if trial.is_done() { Some(trial.done()?) } else { None };
            let epochs = epochs(&trial.file("metrics.jsonl"))?;
            all.push(Trial { spec: trial.recipe()?, epochs, done });
        }
        all.sort_by_key(|t| t.spec.seed);
        let known: Vec<String> =
            Condition::of(ScaleName::Paper).iter().map(ToString::to_string).collect();
        let place = |name: &String| known.iter().position(|k| k == name).unwrap_or(known.len());
        let mut conditions: Vec<String> = all.iter().map(|t| t.spec.condition.clone()).collect();
        conditions.sort_by_key(|name| (place(name), name.clone()));
        conditions.dedup();
        let mut sets: Vec<String> = all.iter().map(|t| t.spec.set.clone()).collect();
        let place = |name: &String| TransferSet::ALL.iter().position(|s| s.folder() == name);
        sets.sort_by_key(|name| (place(name), name.clone()));
        sets.dedup();
        Ok(Trials { all, sets, conditions })
    }

    fn of<'a>(&'a self, set: &'a str, condition: &'a str) -> impl Iterator<Item = &'a Trial> {
        self.all.iter().filter(move |t| t.spec.set == set && t.spec.condition == condition)
    }

    fn done<'a>(&'a self, set: &'a str, condition: &'a str) -> Vec<&'a Done> {
        self.of(set, condition).filter_map(|t| t.done.as_ref()).collect()
    }

    /// Accuracy in percent of each finished seed.
    fn percent(&self, set: &str, condition: &str) -> Vec<f64> {
        let share = |d: &&Done| 100.0 * d.correct as f64 / d.test_pictures.max(1) as f64;
        self.done(set, condition).iter().map(share).collect()
    }

    /// The mean over the sets of each seed that has finished all of them.
    fn averages(&self, condition: &str) -> Vec<f64> {
        let mut seeds: Vec<u64> = self.all.iter().map(|t| t.spec.seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let of_seed = |seed: &u64| -> Option<f64> {
            let each = self.sets.iter().map(|set| {
                let mut trials = self.of(set, condition).filter(|t| t.spec.seed == *seed);
                let done = trials.next()?.done.as_ref()?;
                Some(100.0 * done.correct as f64 / done.test_pictures.max(1) as f64)
            });
            let each: Option<Vec<f64>> = each.collect();
            each.map(|values| mean(&values))
        };
        seeds.iter().filter_map(of_seed).collect()
    }

    /// The accuracy to judge by: over seeds if there are several, else over the test pictures of the one trial.
    fn quantity(&self, condition: &str) -> Option<Quantity> {
        if let [set] = &self.sets[..]
            && let [only] = self.done(set, condition)[..]
        {
            return Some(Quantity::counts(condition, only.correct, only.test_pictures, 1));
        }
        let averages = self.averages(condition);
        (!averages.is_empty()).then(|| Quantity::seeds(condition, &averages, 1))
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean, with the sample standard deviation where there are several.
fn spread(values: &[f64], digits: usize) -> Cell {
    if values.is_empty() {
        return Cell::Empty;
    }
    let m = mean(values);
    let number = Number::new(m, digits);
    if values.len() < 2 {
        return number.into();
    }
    let squares: f64 = values.iter().map(|v| (v - m).powi(2)).sum();
    number.sd((squares / (values.len() - 1) as f64).sqrt()).into()
}

/// Writes the report of a folder.
pub(super) fn write(folder: &Path, scale: ScaleName) -> anyhow::Result<PathBuf> {
    let trials = Trials::read(folder)?;
    let first = trials
        .all
        .first()
        .ok_or_else(|| anyhow!("{}: no trial has been started here", folder.display()))?;
    let recipe = first.spec.recipe.clone();
    let seconds: f64 = trials.all.iter().filter_map(|t| t.done.as_ref()).map(|d| d.seconds).sum();
    let mut seeds: Vec<u64> = trials.all.iter().map(|t| t.spec.seed).collect();
    seeds.dedup();
    let run = run_info(folder, &rows(&recipe, scale), &seeds, Duration::from_secs_f64(seconds))?;
    let title = "Transfer of a pretrained net to large kernels (Fig 3, Table 4)";
    let mut report = Report::new(title, scale.scale(), summary(&recipe, scale), run);
    for claim in claims(&trials, scale)? {
        report.claim(claim);
    }
    report.table("accuracies", accuracies(&trials, &recipe, scale));
    report.table("paper", papers()?);
    report.figure(
        curves(&trials),
        "Training loss, and accuracy on the test pictures where it was measured. Bands: mean ± standard deviation where \
         there are several seeds.",
    );
    for note in notes(&trials, scale) {
        report.note(note);
    }
    Ok(report.save(folder)?)
}

fn rows(recipe: &Recipe, scale: ScaleName) -> Vec<(String, String)> {
    let mut rows = vec![("scale".to_owned(), scale.name().to_owned())];
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(recipe) {
        rows.extend(fields.into_iter().map(|(k, v)| match v {
            serde_json::Value::String(s) => (k, s),
            other => (k, other.to_string()),
        }));
    }
    rows
}

fn summary(recipe: &Recipe, scale: ScaleName) -> String {
    let Recipe { model, shots, sets, .. } = recipe;
    let question = format!(
        "A pretrained net ({model}) has all its kernels enlarged and then learns new classes from {shots} pictures of each \
         ({sets}). Enlarged without a mask its old function is buried under random weights; a mask that starts as the old \
         window keeps it."
    );
    match scale {
        ScaleName::Paper => question,
        _ => format!(
            "{question} This is a small-scale run with another net, smaller pictures and other classes than the paper's: it \
             can show the direction of the effect, and its figures are not those of Table 4."
        ),
    }
}

fn accuracies(trials: &Trials, recipe: &Recipe, scale: ScaleName) -> Table {
    let small = if scale == ScaleName::Paper { "" } else { "small-scale, " };
    let title = format!("Test accuracy in percent after the last epoch ({small}{})", recipe.model);
    let mut columns = vec!["condition".to_owned()];
    columns.extend(trials.sets.iter().cloned());
    columns.extend(
        ["average", "seeds", "logits moved by enlarging", "parameters", "minutes"]
            .map(String::from),
    );
    let mut table = Table::new(title, columns);
    for condition in &trials.conditions {
        let done: Vec<&Done> =
            trials.sets.iter().flat_map(|set| trials.done(set, condition)).collect();
        let Some(first) = done.first() else { continue };
        let mut row = vec![Cell::from(condition.as_str())];
        row.extend(trials.sets.iter().map(|set| spread(&trials.percent(set, condition), 1)));
        let averages = trials.averages(condition);
        let of = |f: &dyn Fn(&Done) -> f64| done.iter().map(|d| f(d)).collect::<Vec<_>>();
        row.extend([
            spread(&averages, 1),
            averages.len().into(),
            Number::new(mean(&of(&|d| d.moved_by_enlarging)), 4).into(),
            first.parameters.into(),
            Number::new(mean(&of(&|d| d.seconds / 60.0)), 1).into(),
        ]);
        table.push(row);
    }
    table.note(
        "logits moved by enlarging: before training, the largest difference of a logit from the base model's as a share of \
         its largest logit; mean over trials. _zero: zeros instead of random weights around the old kernels.",
    );
    table
}

/// A figure of Table 4, in percent.
fn printed(set: &str, condition: &str, p: &str) -> anyhow::Result<f64> {
    let line = TABLE_4.lines().map(|l| l.split('\t').collect::<Vec<_>>()).find(|cells| {
        cells.get(2) == Some(&set)
            && cells.get(4) == Some(&condition)
            && cells.get(5) == Some(&p)
            && cells.get(6) == Some(&"top1_pct")
    });
    let value = line.and_then(|cells| cells.get(7)?.parse().ok());
    value.ok_or_else(|| anyhow!("Table 4 has no figure for {set}, {condition}, {p}"))
}

/// Table 4 as printed.
fn papers() -> anyhow::Result<Table> {
    let mut columns = vec!["condition"];
    columns.extend(TransferSet::ALL.map(TransferSet::name));
    columns.push("average");
    let mut table =
        Table::new("The paper's Table 4: ConvNeXt-V2-T at 224 pixels, 5 seeds, percent", columns);
    let rows = [("base", "-"), ("large", "-"), ("lp", "2"), ("lp", "4"), ("lp", "8"), ("lp", "16")];
    for (condition, p) in rows {
        let name = if condition == "lp" { format!("lp{p}") } else { condition.into() };
        let mut row = vec![Cell::from(name)];
        for set in TransferSet::ALL.map(TransferSet::name).into_iter().chain(["AVG"]) {
            row.push(Cell::number(printed(set, condition, p)?, 2));
        }
        table.push(row);
    }
    table.note("The cell of lp4 and FGVC Aircraft is as printed, 11 points below its neighbors.");
    Ok(table)
}

fn claims(trials: &Trials, scale: ScaleName) -> anyhow::Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let mut claim = |text: String, comparison| {
        claims.push(Claim::new(text, comparison, scale.scale()));
    };
    let moved = |condition: &str| -> Option<f64> {
        let done = trials.sets.iter().flat_map(|set| trials.done(set, condition));
        done.map(|d| d.moved_by_enlarging).reduce(f64::max)
    };
    if let Some(most) = moved("large_zero") {
        claim(
            "Enlarged with zeros around the old kernels, the net computes, before it learns, what it computed (Fig 3; D4 of \
             the specification)."
                .into(),
            verdict::close(
                &Quantity::exact("largest difference of a logit, share of the largest", most, 7),
                &Quantity::exact("none", 0.0, 7),
                1e-4,
            ),
        );
    }
    let [base, large, lp2, lp16] = ["base", "large", "lp2", "lp16"].map(|c| trials.quantity(c));
    if let (Some(lp16), Some(base)) = (&lp16, &base) {
        claim(
            "Masks that start from p = 16 keep the pretrained accuracy: at most 0.3 points below base on average (Table 4)."
                .into(),
            verdict::greater(lp16, base, -0.3),
        );
    }
    if let (Some(lp16), Some(lp2)) = (&lp16, &lp2) {
        claim(
            "The flatter the mask at its start, the better: p = 16 is ahead of p = 2 (Table 4)."
                .into(),
            verdict::greater(lp16, lp2, 0.0),
        );
    }
    if let (Some(base), Some(large)) = (&base, &large) {
        claim(
            "Enlarged without a mask and with random weights around the old kernels it loses at least 30 points (Table 4)."
                .into(),
            verdict::greater(base, large, 30.0),
        );
    }
    // The paper's own figures are comparable with the paper's own nets and sets only.
    if scale == ScaleName::Paper {
        for set in TransferSet::ALL {
            let ours = trials.percent(set.folder(), "base");
            if !ours.is_empty() {
                claim(
                    format!("Base on {} is within 3 points of the paper's.", set.name()),
                    verdict::close(
                        &Quantity::seeds("ours", &ours, 2),
                        &Quantity::exact("paper", printed(set.name(), "base", "-")?, 2),
                        3.0,
                    ),
                );
            }
        }
    }
    Ok(claims)
}

/// Loss and accuracy by epoch, a row for each data set.
fn curves(trials: &Trials) -> Figure {
    let mut figure = Figure::new("curves", "Transfer: learning curves").columns(2);
    for set in &trials.sets {
        for (name, metric, unit, factor) in [
            ("training loss", "loss", "cross entropy", 1.0),
            ("test", "test_top1", "% correct", 100.0),
        ] {
            let curves = trials.conditions.iter().enumerate().map(|(i, condition)| {
                let runs: Vec<&[Epoch]> =
                    trials.of(set, condition).map(|t| &t.epochs[..]).collect();
                curve(&runs, metric, factor, condition, Ink::condition_or(condition, i))
            });
            let title = format!("{set}: {name}");
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

fn notes(trials: &Trials, scale: ScaleName) -> Vec<String> {
    let mut notes = vec![
        "What stands around the old kernels decides about large (discrepancy D4 of the specification): the paper says zeros, \
         its code draws random weights. Both are run; masked conditions have random weights, as the code."
            .to_owned(),
        "The paper says 100 epochs, its configuration 300 with 40 of warm-up; here the warm-up has the same share, and the \
         last epoch counts (D10)."
            .to_owned(),
    ];
    if scale != ScaleName::Paper {
        notes.push(
            "Small-scale: SqueezeNet 1.0 with published (pruned, 8-bit) ImageNet weights in place of ConvNeXt-V2-T, ten \
             textures of DTD at 64x64 in place of five data sets, a lower learning rate, fewer epochs. All its convolutions \
             are enlarged but the last, which is the new head."
                .to_owned(),
        );
    }
    let unfinished = trials.all.iter().filter(|t| t.done.is_none()).count();
    if unfinished > 0 {
        notes.push(format!(
            "{unfinished} started trials are not finished and count in curves only."
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_averages_follow_from_its_cells() {
        assert_eq!(papers().unwrap().rows().len(), 6);
        for (condition, p, average) in
            [("base", "-", 73.68), ("lp", "16", 73.94), ("large", "-", 19.24)]
        {
            let cells = TransferSet::ALL.map(|s| printed(s.name(), condition, p).unwrap());
            assert!((mean(&cells) - average).abs() < 0.011, "{condition}");
            assert_eq!(printed("AVG", condition, p).unwrap(), average);
        }
    }

    #[test]
    fn a_demo_is_reported_with_its_word_and_judges_only_what_is_exact() {
        let dir = tempfile::tempdir().unwrap();
        let recipe = Recipe::of(ScaleName::Demo);
        for (condition, correct, moved) in [
            ("base", 120, 0.0),
            ("large", 30, 1.5),
            ("large_zero", 110, 1e-7),
            ("lp2", 90, 0.8),
            ("lp16", 121, 0.02),
        ] {
            let trial = TrialFolder::new(dir.path(), &format!("dtd10-{condition}-seed0"));
            let (set, condition) = ("dtd10".to_owned(), condition.to_owned());
            trial.start(&TrialSpec { set, condition, seed: 0, recipe: recipe.clone() }).unwrap();
            let done = Done {
                seconds: 60.0,
                parameters: 1,
                train_pictures: 160,
                test_pictures: 200,
                correct,
                moved_by_enlarging: moved,
            };
            trial.finish(&done).unwrap();
        }
        let page = write(dir.path(), ScaleName::Demo).unwrap();
        let html = std::fs::read_to_string(page).unwrap();
        assert!(html.contains("small-scale") && html.contains("73.94"));
        let claims = std::fs::read_to_string(dir.path().join("claims.tsv")).unwrap();
        let verdicts: Vec<&str> =
            claims.lines().skip(1).map(|l| l.split('\t').nth(2).unwrap()).collect();
        assert_eq!(verdicts[0], "reproduced");
        assert!(verdicts[1..].iter().all(|v| *v == "too small to say"), "{verdicts:?}");
    }
}
