//! What the trials of a folder have left.

use std::path::Path;

use neuro::stats::mean;

use crate::{
    experiments::{
        classification::{
            masks::LayerMasks,
            recipe::ImageData,
            train::{Done, MASKS, TrialSpec},
        },
        epochs::{Epoch, epochs},
    },
    results::{TrialFolder, read_json},
};

/// A trial with what it has left so far.
pub(in crate::experiments::classification) struct Trial {
    pub(super) name: String,
    pub(super) spec: TrialSpec,
    pub(super) epochs: Vec<Epoch>,
    pub(super) done: Option<Done>,
    /// Of a finished trial, of every masked layer.
    pub(super) masks: Vec<LayerMasks>,
}

impl Trial {
    pub(super) fn is_of(&self, column: &Column, condition: &str) -> bool {
        let spec = &self.spec;
        spec.dataset == column.dataset && spec.model == column.model && spec.condition == condition
    }

    /// Percent of right answers after the last epoch, of a finished trial.
    pub(super) fn top1(&self) -> Option<f64> {
        self.done.as_ref().map(|d| percent(d.last.top1, d.test_images))
    }
}

pub(in crate::experiments::classification) fn percent(right: u64, of: u64) -> f64 {
    100.0 * right as f64 / of.max(1) as f64
}

/// A model on a data set: a column of the paper's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::experiments::classification) struct Column {
    pub(super) dataset: ImageData,
    pub(super) model: String,
}

/// Everything in a folder, conditions in the order of the paper's tables.
pub(in crate::experiments::classification) struct Trials {
    pub(super) all: Vec<Trial>,
    pub(super) columns: Vec<Column>,
    pub(super) conditions: Vec<String>,
}

/// The conditions in the order of Table 1.
const ORDER: [&str; 7] = ["base", "large", "lpf256", "lp16", "lp8", "lp4", "lp2"];

impl Trials {
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for (name, trial) in TrialFolder::all(folder) {
            let done = if trial.is_done() { Some(trial.done()?) } else { None };
            let masks = if trial.is_done() { read_json(&trial.file(MASKS))? } else { Vec::new() };
            let epochs = epochs(&trial.file("metrics.jsonl"))?;
            all.push(Trial { name, spec: trial.recipe()?, epochs, done, masks });
        }
        all.sort_by_key(|t| t.spec.seed);
        let mut conditions: Vec<String> = all.iter().map(|t| t.spec.condition.clone()).collect();
        let place = |name: &String| ORDER.iter().position(|k| k == name).unwrap_or(ORDER.len());
        conditions.sort_by_key(|name| (place(name), name.clone()));
        conditions.dedup();
        // As the recipe names them.
        let mut columns: Vec<((ImageData, usize), Column)> = Vec::new();
        for t in &all {
            let column = Column { dataset: t.spec.dataset, model: t.spec.model.clone() };
            if columns.iter().all(|(_, c)| *c != column) {
                let models = t.spec.recipe.models();
                let model = models.iter().position(|m| *m == column.model).unwrap_or(models.len());
                columns.push(((column.dataset, model), column));
            }
        }
        columns.sort_by_key(|(place, _)| *place);
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        Ok(Trials { all, columns, conditions })
    }

    /// The trials of a cell, by seed.
    pub(super) fn of<'a>(
        &'a self,
        column: &'a Column,
        condition: &'a str,
    ) -> impl Iterator<Item = &'a Trial> {
        self.all.iter().filter(move |t| t.is_of(column, condition))
    }

    pub(super) fn done<'a>(
        &'a self,
        column: &'a Column,
        condition: &'a str,
    ) -> impl Iterator<Item = (&'a Trial, &'a Done)> {
        self.of(column, condition).filter_map(|t| Some((t, t.done.as_ref()?)))
    }

    /// Percent right of each finished seed.
    pub(super) fn top1(&self, column: &Column, condition: &str) -> Vec<f64> {
        self.of(column, condition).filter_map(Trial::top1).collect()
    }

    pub(super) fn mean_top1(&self, column: &Column, condition: &str) -> Option<f64> {
        let values = self.top1(column, condition);
        (!values.is_empty()).then(|| mean(&values))
    }

    /// Percent right of the seeds that both conditions have finished.
    pub(super) fn pairs(&self, column: &Column, a: &str, b: &str) -> (Vec<f64>, Vec<f64>) {
        let of_seed = |seed: u64, condition: &str| {
            let mut trials = self.of(column, condition).filter(|t| t.spec.seed == seed);
            trials.next().and_then(Trial::top1)
        };
        let seeds = self.of(column, a).map(|t| t.spec.seed);
        seeds.filter_map(|seed| Some((of_seed(seed, a)?, of_seed(seed, b)?))).unzip()
    }

    pub(super) fn seeds(&self) -> Vec<u64> {
        let mut seeds: Vec<u64> = self.all.iter().map(|t| t.spec.seed).collect();
        seeds.dedup();
        seeds
    }

    /// Conditions whose masks are trained, with the p they start from.
    pub(super) fn masked(&self) -> Vec<(&str, f64)> {
        let p = |c: &str| c.strip_prefix("lp")?.parse::<f64>().ok();
        self.conditions.iter().filter_map(|c| Some((c.as_str(), p(c)?))).collect()
    }
}
