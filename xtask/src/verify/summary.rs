//! What became of all cases.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{aligned, compare::Difference, manifest::Case};

/// Counts by family, what is not supported, and every failure.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Counts, in the order of the manifest.
    pub families: Vec<Family>,
    /// Operations (or single cases of one that is supported otherwise) that are not supported, with how many cases.
    pub not_supported: BTreeMap<String, usize>,
    /// Every tensor that is wrong and every case that could not be run.
    pub failures: Vec<Failure>,
}

/// How many cases of a family did what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Family {
    /// `ops/conv2d`: the first two parts of the cases' names.
    pub family: String,
    /// Everything within tolerance, in every precision.
    pub passed: usize,
    /// Something was not.
    pub failed: usize,
    /// Nobody has written the operation.
    pub not_supported: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The case.
    pub case: String,
    /// `f64` or `f32`.
    pub precision: String,
    /// The tensor, unless the whole case could not be run.
    pub role: Option<String>,
    /// What is wrong.
    pub problem: Problem,
}

/// A wrong tensor, or a sentence.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Problem {
    /// A tensor is not as expected.
    Difference(Difference),
    /// The case could not be run.
    Error(String),
}

impl From<Difference> for Problem {
    fn from(difference: Difference) -> Self {
        Problem::Difference(difference)
    }
}

impl From<String> for Problem {
    fn from(error: String) -> Self {
        Problem::Error(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.case, self.precision)?;
        if let Some(role) = &self.role {
            write!(f, " {role}")?;
        }
        match &self.problem {
            Problem::Difference(difference) => write!(f, ": {difference}"),
            Problem::Error(error) => write!(f, ": {error}"),
        }
    }
}

impl Summary {
    /// Counts a case that was run.
    pub(super) fn ran(&mut self, case: &Case, failures: Vec<Failure>) {
        match failures.is_empty() {
            true => self.family(case).passed += 1,
            false => self.family(case).failed += 1,
        }
        self.failures.extend(failures);
    }

    /// Counts a case that nothing can run; under its own name if other cases of its operation can be run.
    pub(super) fn not_supported(&mut self, case: &Case, by_name: bool) {
        self.family(case).not_supported += 1;
        let name = if by_name { case.name.clone() } else { case.op.clone() };
        *self.not_supported.entry(name).or_default() += 1;
    }

    /// The counts of a case's family: the first two parts of its name, or `family/op` where there is only one.
    fn family(&mut self, case: &Case) -> &mut Family {
        let parts: Vec<&str> = case.name.split('/').collect();
        let second = if parts.len() > 2 { parts[1] } else { &case.op };
        let name = format!("{}/{second}", parts[0]);
        let i = self.families.iter().position(|f| f.family == name).unwrap_or_else(|| {
            self.families.push(Family { family: name, ..Default::default() });
            self.families.len() - 1
        });
        &mut self.families[i]
    }

    fn count(&self, of: impl Fn(&Family) -> usize) -> usize {
        self.families.iter().map(of).sum()
    }

    /// How many cases passed.
    pub fn passed(&self) -> usize {
        self.count(|f| f.passed)
    }

    /// How many cases failed.
    pub fn failed(&self) -> usize {
        self.count(|f| f.failed)
    }

    /// How many cases there are.
    pub fn total(&self) -> usize {
        self.count(|f| f.passed + f.failed + f.not_supported)
    }

    /// Tables for people.
    pub fn text(&self) -> String {
        let row = |f: &Family| {
            let counts = [f.passed, f.failed, f.not_supported].map(|n| n.to_string());
            let [passed, failed, not_supported] = counts;
            [f.family.clone(), passed, failed, not_supported]
        };
        let mut rows = vec![["family", "passed", "failed", "not supported"].map(String::from)];
        rows.extend(self.families.iter().map(row));
        let (passed, failed) = (self.passed(), self.failed());
        let not_supported = self.total() - passed - failed;
        rows.push(row(&Family { family: "all".into(), passed, failed, not_supported }));
        let mut text = aligned(&rows);
        if !self.not_supported.is_empty() {
            let names = self.not_supported.iter().map(|(name, n)| format!("{name} {n}"));
            text += &format!("\nnot supported: {}\n", names.collect::<Vec<_>>().join(", "));
        }
        if !self.failures.is_empty() {
            text += "\nfailures:\n";
            for failure in &self.failures {
                text += &format!("{failure}\n");
            }
        }
        text
    }
}
