//! The report of a table of classifiers: a page of claims, figures and tables, from what trials left in their folders.

mod claims;
mod exponents;
mod figures;
mod paper;
mod robustness;
mod tables;
mod trials;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;

use super::{Study, nets, pace};
use crate::{
    experiments::{ScaleName, run_info},
    report::Report,
};
pub(in crate::experiments) use claims::{Claims, table_1, table_3, table_9};
use paper::Printed;
pub(super) use robustness::write as robustness;
pub(super) use trials::percent;
use trials::{Column, Trials};

/// What a page is about.
pub(in crate::experiments) struct Page<'a> {
    study: &'a Study,
    scale: ScaleName,
    trials: &'a Trials,
}

impl Page<'_> {
    /// Whether our figures are of the paper's nets, data and recipe.
    fn is_paper(&self) -> bool {
        self.scale == ScaleName::Paper
    }

    /// A model as the paper prints it, or by its own name.
    fn printed_model(&self, name: &str) -> String {
        let found = self.study.printed.iter().find(|(ours, _)| *ours == name);
        found.map_or(name, |(_, printed)| printed).to_owned()
    }

    /// A column in words.
    fn title(&self, column: &Column) -> String {
        format!("{}, {}", self.printed_model(&column.model), column.dataset.printed())
    }

    /// The paper's accuracy of a cell.
    fn paper(&self, column: &Column, condition: &str) -> anyhow::Result<Option<Printed>> {
        let (model, data) = (self.printed_model(&column.model), column.dataset.printed());
        let all = paper::figures(self.study.table, "top1_pct")?;
        Ok(all
            .into_iter()
            .find(|f| f.model == model && f.dataset == data && f.condition == condition))
    }
}

/// Writes the report of a folder.
pub(super) fn write(study: &Study, folder: &Path, scale: ScaleName) -> anyhow::Result<PathBuf> {
    let trials = Trials::read(folder)?;
    let first = trials
        .all
        .first()
        .ok_or_else(|| anyhow!("{}: no trial has been started here", folder.display()))?;
    let seconds: f64 = trials.all.iter().filter_map(|t| t.done.as_ref()).map(|d| d.seconds).sum();
    let spec = &first.spec;
    let mut rows = vec![("scale".to_owned(), scale.name().to_owned())];
    rows.push(("training images".into(), spec.train_images.to_string()));
    rows.push(("test images".into(), spec.test_images.to_string()));
    if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&spec.recipe) {
        rows.extend(fields.into_iter().map(|(k, v)| match v {
            serde_json::Value::String(s) => (k, s),
            other => (k, other.to_string()),
        }));
    }
    let run = run_info(folder, &rows, &trials.seeds(), Duration::from_secs_f64(seconds))?;
    let page = Page { study, scale, trials: &trials };
    let mut report = Report::new(study.title, scale.scale(), summary(&page), run);
    for claim in (study.claims)(&page)? {
        report.claim(claim);
    }
    tables::add(&mut report, &page)?;
    exponents::add(&mut report, &page)?;
    figures::add(&mut report, &page);
    if let Some(from) = spec.shortened_from {
        let epochs = spec.recipe.epochs;
        report.note(format!(
            "Shortened: {epochs} epochs in place of {from}. {}",
            pace::said(folder)?.unwrap_or_default()
        ));
    }
    for note in study.notes {
        report.note(*note);
    }
    Ok(report.save(folder)?)
}

fn summary(page: &Page) -> String {
    let spec = &page.trials.all[0].spec;
    let mut text = page.study.question.to_owned();
    let models: Vec<String> = spec
        .recipe
        .models()
        .iter()
        .filter_map(|name| Some(format!("{name} ({})", nets::about(name)?)))
        .collect();
    if !models.is_empty() {
        text += &format!(" Nets: {}.", models.join("; "));
    }
    if page.scale != ScaleName::Paper {
        text += &format!(
            " This is a small-scale run with other nets than the paper's, {} training images, {} epochs and lighter \
             augmentation; its figures are not those of the paper.",
            spec.train_images, spec.recipe.epochs
        );
    }
    if let Some(from) = spec.shortened_from {
        text +=
            &format!(" The schedule was shortened from {from} epochs to fit the time there was.");
    }
    text
}
