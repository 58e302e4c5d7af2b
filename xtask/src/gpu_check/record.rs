//! What a check found: a line on the terminal and in the file as soon as it is known, and a table at the end.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::failure::say;

/// One result.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Row {
    pub(super) section: &'static str,
    pub(super) what: String,
    /// Whether it is right; none where there is nothing to be wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ok: Option<bool>,
    /// The largest difference from the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) difference: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ms: Option<f64>,
    /// Of the device's ceiling: operations, or bytes where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ceiling_percent: Option<f64>,
    /// The same in PyTorch, in turns with ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) torch_ms: Option<f64>,
    /// What else there is to say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) note: String,
}

impl Row {
    /// Our time over PyTorch's.
    fn ratio(&self) -> Option<f64> {
        Some(self.ms? / self.torch_ms?)
    }

    fn line(&self) -> String {
        let number =
            |x: Option<f64>, digits: usize| x.map_or(String::new(), |x| format!("{x:.digits$}"));
        let ok = match self.ok {
            Some(true) => "ok",
            Some(false) => "WRONG",
            None => "",
        };
        let difference = self.difference.map_or(String::new(), |d| format!("{d:.1e}"));
        format!(
            "{:<9} {:<24} {ok:<5} {difference:>8} {:>9} {:>6} {:>9} {:>6}  {}",
            self.section,
            self.what,
            number(self.ms, 3),
            number(self.ceiling_percent, 1),
            number(self.torch_ms, 3),
            number(self.ratio(), 2),
            self.note
        )
        .trim_end()
        .to_owned()
    }
}

const HEAD: &str = "section   what                     ok    off by          ms   % of  torch ms  ratio\n\
     \x20                                                       ceiling";

/// All rows so far, and the file they go to.
#[derive(Clone)]
pub(super) struct Record(Arc<Mutex<(Vec<Row>, File)>>);

impl Record {
    /// Rows go to a new file, one JSON object a line.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("writing {}", path.display()))?;
        Ok(Record(Arc::new(Mutex::new((Vec::new(), file)))))
    }

    /// Says and keeps a row.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn row(&self, row: Row) -> Result<()> {
        say!("{}", row.line());
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (rows, file) = &mut *inner;
        writeln!(file, "{}", serde_json::to_string(&row)?).context("writing the results")?;
        file.flush().context("writing the results")?;
        rows.push(row);
        Ok(())
    }

    /// The table: what is wrong first, then what is slowest beside PyTorch. Says how many are wrong.
    pub(super) fn table(&self) -> usize {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = &inner.0;
        let wrong: Vec<&Row> = rows.iter().filter(|r| r.ok == Some(false)).collect();
        let right = rows.iter().filter(|r| r.ok == Some(true)).count();
        let mut timed: Vec<&Row> =
            rows.iter().filter(|r| r.ok.is_none() && r.ms.is_some()).collect();
        timed.sort_by(|a, b| b.ratio().unwrap_or(0.0).total_cmp(&a.ratio().unwrap_or(0.0)));
        say!("\n{HEAD}");
        wrong.iter().chain(&timed).for_each(|row| say!("{}", row.line()));
        say!("{right} right, {} wrong, {} measured", wrong.len(), timed.len());
        wrong.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        let record = Record::new(&path).unwrap();
        let row = |what: &str, ok| Row { section: "ops", what: what.into(), ok, ..Row::default() };
        record.row(row("unary", Some(true))).unwrap();
        let timed = Row { ms: Some(2.0), torch_ms: Some(4.0), ..row("conv", None) };
        assert_eq!(timed.ratio(), Some(0.5));
        record.row(timed).unwrap();
        record.row(row("sort", Some(false))).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let rows: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0]["ok"], true);
        assert_eq!(record.table(), 1);
    }
}
