//! The report: Fig 4b, 5b, 9, 10 and the claims, from what the trials left in their folders.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;

use super::{
    figures,
    recipe::{CONDITIONS, Condition, Recipe},
    train::{Done, Scores, TrialSpec},
};
use crate::{
    experiments::{
        ScaleName,
        epochs::{Epoch, epochs},
        run_info,
    },
    report::{Cell, Claim, Comparison, Emphasis, Number, Quantity, Report, Table, verdict},
    results::TrialFolder,
};

/// A trial with what it has left so far.
pub(super) struct Trial {
    pub(super) seed: u64,
    pub(super) recipe: Recipe,
    pub(super) epochs: Vec<Epoch>,
    pub(super) done: Option<Done>,
}

/// All trials of one condition, by seed.
pub(super) struct Runs {
    pub(super) condition: String,
    pub(super) trials: Vec<Trial>,
}

impl Runs {
    /// The finished trials.
    pub(super) fn done(&self) -> Vec<&Done> {
        self.trials.iter().filter_map(|t| t.done.as_ref()).collect()
    }

    fn percent(&self, score: impl Fn(&Scores) -> f64) -> Vec<f64> {
        self.done().iter().map(|d| 100.0 * score(&d.test)).collect()
    }
}

/// Everything in an experiment's folder, in the order of the paper's conditions.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Runs>> {
    let mut all: Vec<Runs> = Vec::new();
    for (_, trial) in TrialFolder::all(folder) {
        let spec: TrialSpec = trial.recipe()?;
        let done = if trial.is_done() { Some(trial.done()?) } else { None };
        let epochs = epochs(&trial.file("metrics.jsonl"))?;
        let entry = Trial { seed: spec.seed, recipe: spec.recipe, epochs, done };
        match all.iter_mut().find(|r| r.condition == spec.condition) {
            Some(runs) => runs.trials.push(entry),
            None => all.push(Runs { condition: spec.condition, trials: vec![entry] }),
        }
    }
    let place = |name: &str| {
        let known = CONDITIONS.iter().position(|c| c.to_string() == name);
        (known.unwrap_or(CONDITIONS.len()), name.to_owned())
    };
    all.sort_by_key(|r| place(&r.condition));
    all.iter_mut().for_each(|r| r.trials.sort_by_key(|t| t.seed));
    Ok(all)
}

/// Writes the report of a folder.
pub(super) fn write(folder: &Path, scale: ScaleName) -> anyhow::Result<PathBuf> {
    let all = read(folder)?;
    let trials: Vec<&Trial> = all.iter().flat_map(|r| &r.trials).collect();
    let first = trials
        .first()
        .ok_or_else(|| anyhow!("{}: no trial has been started here", folder.display()))?;
    let seconds: f64 = trials.iter().filter_map(|t| t.done.as_ref()).map(|d| d.seconds).sum();
    let mut seeds: Vec<u64> = trials.iter().map(|t| t.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut report = Report::new(
        "Sudoku with Lp-convolution (Fig 4, 5, 9, 10)",
        scale.scale(),
        summary(&all),
        run_info(
            folder,
            &recipe_rows(&first.recipe, scale),
            &seeds,
            Duration::from_secs_f64(seconds),
        )?,
    );
    for claim in claims(&all, scale) {
        report.claim(claim);
    }
    report.table("accuracies", accuracies(&all));
    figures::add(&mut report, &all)?;
    for note in notes(&all, &first.recipe) {
        report.note(note);
    }
    Ok(report.save(folder)?)
}

fn recipe_rows(recipe: &Recipe, scale: ScaleName) -> Vec<(String, String)> {
    let mut rows = vec![("scale".to_owned(), scale.name().to_owned())];
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(recipe) {
        rows.extend(fields.into_iter().map(|(k, v)| match v {
            serde_json::Value::String(s) => (k, s),
            other => (k, other.to_string()),
        }));
    }
    rows
}

fn summary(all: &[Runs]) -> String {
    let finished: usize = all.iter().map(|r| r.done().len()).sum();
    let started: usize = all.iter().map(|r| r.trials.len()).sum();
    let best = all
        .iter()
        .filter(|r| !r.done().is_empty())
        .map(|r| (mean(&r.percent(|s| s.sudoku)), &r.condition))
        .filter(|(percent, _)| *percent > 0.0)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let best = match best {
        Some((percent, name)) => {
            format!(
                " The most valid boards were filled by {name}: {percent:.1} % of the test puzzles."
            )
        }
        None => String::new(),
    };
    format!(
        "A fully convolutional net fills in Sudoku boards; every cell sees its surroundings through the kernels alone. \
         Square 3x3 kernels fit the boxes, rows and columns need long ones. Do trained masks on 7x7 kernels balance the \
         three? {finished} of {started} started trials are finished.{best}"
    )
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Final accuracies by condition, mean and standard deviation over seeds.
fn accuracies(all: &[Runs]) -> Table {
    let mut table = Table::new(
        "Test accuracy in percent after the last epoch",
        [
            "condition",
            "number",
            "row",
            "column",
            "box",
            "sudoku",
            "solved",
            "box − (row+column)/2",
            "parameters",
            "seeds",
            "minutes",
        ],
    );
    let sudoku = |r: &Runs| mean(&r.percent(|s| s.sudoku));
    let ranked = |rank: usize| {
        let mut values: Vec<f64> = all.iter().map(&sudoku).filter(|&v| v > 0.0).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        values.get(rank).copied()
    };
    for runs in all.iter().filter(|r| !r.done().is_empty()) {
        let number = |score: &dyn Fn(&Scores) -> f64| spread(&runs.percent(score), 1);
        let emphasis = match Some(sudoku(runs)) {
            s if s == ranked(0) => Emphasis::Best,
            s if s == ranked(1) => Emphasis::Second,
            _ => Emphasis::None,
        };
        let done = runs.done();
        let minutes = mean(&done.iter().map(|d| d.seconds / 60.0).collect::<Vec<_>>());
        table.push([
            runs.condition.as_str().into(),
            number(&|s| s.number).into(),
            number(&|s| s.row).into(),
            number(&|s| s.column).into(),
            number(&|s| s.box_).into(),
            number(&|s| s.sudoku).emphasis(emphasis).into(),
            number(&|s| s.solved).into(),
            number(&imbalance).into(),
            Cell::number(done[0].parameters as f64, 0),
            Cell::number(done.len() as f64, 0),
            Number::new(minutes, 1).into(),
        ]);
    }
    table.note(
        "row, column, box: share of units that hold 1 to 9 once; sudoku: all 27 units of a board do; solved: equal to the \
         solution. Paper section 5 and A.5 (solved is an addition).",
    );
    table
}

/// By how much boxes are better than rows and columns.
fn imbalance(s: &Scores) -> f64 {
    s.box_ - (s.row + s.column) / 2.0
}

/// Mean, with the sample standard deviation where there are several.
fn spread(values: &[f64], digits: usize) -> Number {
    let m = mean(values);
    let number = Number::new(m, digits);
    if values.len() < 2 {
        return number;
    }
    let squares: f64 = values.iter().map(|v| (v - m).powi(2)).sum();
    number.sd((squares / (values.len() - 1) as f64).sqrt())
}

/// Accuracy of valid boards: over seeds if there are several, else over the test puzzles of the one.
fn sudoku_accuracy(runs: &Runs) -> Quantity {
    match runs.done()[..] {
        [only] => Quantity::counts(&runs.condition, only.sudoku_valid, only.test_puzzles, 1),
        _ => Quantity::seeds(&runs.condition, &runs.percent(|s| s.sudoku), 1),
    }
}

fn claims(all: &[Runs], scale: ScaleName) -> Vec<Claim> {
    let finished = |name: &str| all.iter().find(|r| r.condition == name && !r.done().is_empty());
    let mut claims = Vec::new();
    let mut claim = |text: &str, comparison: Comparison| {
        claims.push(Claim::new(text, comparison, scale.scale()));
    };
    let control = finished("lpf256").map_or(Vec::new(), Runs::done);
    let difference = control.iter().filter_map(|d| d.initial_difference_from_base);
    if let Some(worst) = difference.reduce(f64::max) {
        claim(
            "With frozen masks of p = 256 the net computes, before training, the function of the unconverted one \
             (specification 1.2).",
            verdict::close(
                &Quantity::exact("largest difference of a logit", worst, 9),
                &Quantity::exact("none", 0.0, 9),
                1e-5,
            ),
        );
    }
    if let (Some(base), Some(frozen)) = (finished("base"), finished("lpf256")) {
        claim(
            "Trained with frozen masks of p = 256 it ends where base ends (sudoku accuracy within 2 points).",
            verdict::close(&sudoku_accuracy(frozen), &sudoku_accuracy(base), 2.0),
        );
    }
    if let Some(lp2) = finished("lp2") {
        let others: Vec<Comparison> = ["base", "large", "lpf256", "lp16"]
            .iter()
            .filter_map(|name| finished(name))
            .map(|r| verdict::greater(&sudoku_accuracy(lp2), &sudoku_accuracy(r), 0.0))
            .collect();
        // The claim is about all five conditions: fewer say nothing about it.
        if others.len() == 4 {
            claim(
                "Of the five conditions, trained masks that start from p = 2 give the most valid boards (Fig 4b).",
                verdict::at_least(others.len(), &others),
            );
        }
        if let Some(base) = finished("base") {
            let gap = |r: &Runs| Quantity::seeds(&r.condition, &r.percent(imbalance), 1);
            claim(
                "They balance the constraints: boxes are ahead of rows and columns by less than in base (Fig 4b).",
                verdict::greater(&gap(base), &gap(lp2), 0.0),
            );
        }
        claims_of_ablation(lp2, &mut claim);
    }
    claims
}

/// E10: the loss of columns against that of rows at a half-window of 20 to 30 degrees.
fn claims_of_ablation(lp2: &Runs, claim: &mut impl FnMut(&str, Comparison)) {
    use super::ablation::{COLUMN_ANGLE_DEG, ROW_ANGLE_DEG};
    let losses = |angle: f64| -> Vec<[f64; 2]> {
        lp2.done().iter().filter_map(|d| d.ablation.as_ref()?.losses(angle)).collect()
    };
    let percent = |losses: &[[f64; 2]], i: usize, factor: f64| -> Vec<f64> {
        losses.iter().map(|l| 100.0 * factor * l[i]).collect()
    };
    let (at_column, at_row) = (losses(COLUMN_ANGLE_DEG), losses(ROW_ANGLE_DEG));
    if !at_column.is_empty() {
        claim(
            "Taking away masks near 90° costs columns more than twice what it costs rows (Fig 10, half-windows of 20 to \
             30°).",
            verdict::greater_paired(
                &Quantity::seeds("column loss", &percent(&at_column, 1, 1.0), 1),
                &Quantity::seeds("twice the row loss", &percent(&at_column, 0, 2.0), 1),
                0.0,
            ),
        );
    }
    if !at_row.is_empty() {
        claim(
            "Control (an addition): near 0° it is the rows that lose more.",
            verdict::greater_paired(
                &Quantity::seeds("row loss", &percent(&at_row, 0, 1.0), 1),
                &Quantity::seeds("column loss", &percent(&at_row, 1, 1.0), 1),
                0.0,
            ),
        );
    }
}

fn notes(all: &[Runs], recipe: &Recipe) -> Vec<String> {
    let mut notes = vec![
        "7x7 layers pad by reflection once (made for 3x3) and by two zeros inside the converted convolution; the last \
         1x1 convolution becomes 3x3 and is masked too (discrepancy D16 of the specification)."
            .to_owned(),
        "log2 p is kept at or above its minimum on the parameter between backward and step, as the authors do (D3)."
            .to_owned(),
        "An ablated channel has its mask set to 0 and gives its bias only; the paper does not say how it ablates (E10)."
            .to_owned(),
    ];
    if recipe.tap_threshold > 0.0 {
        notes.push(format!(
            "Not the paper's computation: taps whose mask is below {} of the layer's largest, in every channel, were left \
             out (tap_threshold; 0 is exact). Figures of masks show them all the same.",
            recipe.tap_threshold
        ));
    }
    if recipe.givens_max > 0 {
        notes.push(format!(
            "Puzzles are made easier than the originals: blanks are filled from the solution until there are {} to {} \
             givens, because a small net trained for minutes fills no board of 34 givens.",
            recipe.givens_min, recipe.givens_max
        ));
    }
    let unfinished = all.iter().flat_map(|r| &r.trials).filter(|t| t.done.is_none()).count();
    if unfinished > 0 {
        notes.push(format!(
            "{unfinished} started trials are not finished and count in curves only."
        ));
    }
    let unknown = all.iter().filter(|r| r.condition.parse::<Condition>().is_err()).count();
    if unknown > 0 {
        notes.push(format!("{unknown} folders have conditions this program does not know."));
    }
    notes
}
