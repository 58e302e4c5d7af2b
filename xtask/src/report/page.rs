//! One HTML page for an experiment: what the paper claims, what was measured, and how.
//!
//! The page stands alone: style and figures are inside it, and it asks no other machine for anything. The figures and tables
//! also lie beside it as files, to which it links.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use tensor::io::write_atomic;

use super::figure::{Figure, FigureError, is_plain_name};
use super::table::Table;
use super::verdict::{Claim, Scale, Verdict};

/// Everything that is shown of an experiment.
#[derive(Clone, Debug)]
pub struct Report {
    title: String,
    scale: Scale,
    summary: String,
    run: RunInfo,
    claims: Vec<Claim>,
    figures: Vec<(Figure, String)>,
    tables: Vec<(String, Table)>,
    notes: Vec<String>,
}

/// How the numbers came about, so that they can come about again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    /// The command line that repeats the run.
    pub command: String,
    /// Settings by name: model, data, epochs, learning rate, ….
    pub recipe: Vec<(String, String)>,
    /// The seeds of the trials.
    pub seeds: Vec<u64>,
    /// Time the trials took in all.
    pub duration: Duration,
    /// Versions by name: this program, the compiler, libraries that matter.
    pub versions: Vec<(String, String)>,
    /// Processor, cores, device.
    pub machine: String,
}

/// A report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The directory of the report could not be made.
    #[error("{}: cannot make the directory of the report: {source}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A figure could not be drawn or written.
    #[error(transparent)]
    Figure(#[from] FigureError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] tensor::Error),
}

/// Name of the files that hold the claims as a table.
const CLAIMS: &str = "claims";

impl Report {
    /// A report without claims, figures and tables; `summary` is one paragraph for someone in a hurry.
    pub fn new(
        title: impl Into<String>,
        scale: Scale,
        summary: impl Into<String>,
        run: RunInfo,
    ) -> Self {
        Self {
            title: title.into(),
            scale,
            summary: summary.into(),
            run,
            claims: Vec::new(),
            figures: Vec::new(),
            tables: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Appends a claim.
    pub fn claim(&mut self, claim: Claim) {
        self.claims.push(claim);
    }

    /// Appends a figure with a caption.
    ///
    /// # Panics
    ///
    /// If the report already has a figure of this id.
    #[track_caller]
    pub fn figure(&mut self, figure: Figure, caption: impl Into<String>) {
        let taken = self.figures.iter().any(|(other, _)| other.id() == figure.id());
        assert!(!taken, "report {:?}: two figures cannot both be {:?}", self.title, figure.id());
        self.figures.push((figure, caption.into()));
    }

    /// Appends a table, which is written to files named `stem`.
    ///
    /// # Panics
    ///
    /// If `stem` has other characters than ASCII letters, digits, `-` and `_`, or is taken; `claims` always is.
    #[track_caller]
    pub fn table(&mut self, stem: impl Into<String>, table: Table) {
        let stem = stem.into();
        assert!(
            is_plain_name(&stem),
            "table: {stem:?} cannot name files; use ASCII letters, digits, - and _"
        );
        let taken = stem == CLAIMS || self.tables.iter().any(|(other, _)| *other == stem);
        assert!(!taken, "report {:?}: two tables cannot both be {stem:?}", self.title);
        self.tables.push((stem, table));
    }

    /// Appends an open question or a deviation from the paper.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The claims as a table.
    pub fn claims_table(&self) -> Table {
        let title = format!("{}: claims ({} scale)", self.title, self.scale);
        let mut table = Table::new(title, ["paper", "measured", "verdict", "reason"]);
        for claim in &self.claims {
            table.push([
                claim.paper().into(),
                claim.measured().into(),
                claim.verdict().into(),
                claim.reason().into(),
            ]);
        }
        table
    }

    /// Writes `index.html`, figures (SVG, PNG) and tables (TSV, Markdown) to `directory`, making it if need be, and returns
    /// the path of the page.
    ///
    /// The page comes last, so it never links to a file that is not there yet. Each file is written atomically; files of an
    /// earlier report that this one lacks stay.
    ///
    /// # Errors
    ///
    /// [`ReportError`] with the path that could not be written.
    pub fn save(&self, directory: &Path) -> Result<PathBuf, ReportError> {
        std::fs::create_dir_all(directory)
            .map_err(|source| ReportError::Directory { path: directory.to_owned(), source })?;
        for (figure, _) in &self.figures {
            figure.save(directory)?;
        }
        for (stem, table) in &self.tables {
            table.save(directory, stem)?;
        }
        self.claims_table().save(directory, CLAIMS)?;
        let (page, html) = (directory.join("index.html"), self.html()?);
        write_atomic(&page, |file| file.write_all(html.as_bytes()))?;
        Ok(page)
    }

    /// The page.
    ///
    /// # Errors
    ///
    /// [`FigureError`] if a figure cannot be drawn.
    pub fn html(&self) -> Result<String, FigureError> {
        let figures = self.figures.iter().map(illustration).collect::<Result<Vec<_>, _>>()?;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(include_str!("page.css"))) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        p { span.scale { (self.scale) " scale" } " " (scale_meaning(self.scale)) }
                        p.summary { (self.summary) }
                    }
                    main {
                        h2 { "Claims" }
                        (self.claims_section())
                        @if !figures.is_empty() {
                            h2 { "Figures" }
                            @for figure in &figures { (figure) }
                        }
                        @if !self.tables.is_empty() {
                            h2 { "Tables" }
                            @for (stem, table) in &self.tables { (table.to_html()) (table_links(stem)) }
                        }
                        h2 { "How it was run" }
                        (self.run.to_html())
                        @if !self.notes.is_empty() {
                            h2 { "Open notes" }
                            ul { @for note in &self.notes { li { (note) } } }
                        }
                    }
                }
            }
        };
        Ok(page.into_string())
    }

    fn claims_section(&self) -> Markup {
        let count = |verdict| self.claims.iter().filter(|claim| claim.verdict() == verdict).count();
        html! {
            @if self.claims.is_empty() {
                p.missing { "This report judges no claim of the paper." }
            } @else {
                p {
                    @for verdict in [Verdict::Reproduced, Verdict::NotReproduced, Verdict::TooSmallToSay] {
                        @if count(verdict) > 0 { span.count { (count(verdict)) " × " (verdict.to_html()) } }
                    }
                }
                div.scroll {
                    table.claims {
                        thead { tr { th scope="col" { "The paper says" } th scope="col" { "Measured" } th scope="col" { "Verdict" } } }
                        tbody {
                            @for claim in &self.claims {
                                tr {
                                    td { (claim.paper()) }
                                    td { (claim.measured()) span.reason { (claim.reason()) } }
                                    td { (claim.verdict().to_html()) }
                                }
                            }
                        }
                    }
                }
                (table_links(CLAIMS))
            }
        }
    }
}

impl RunInfo {
    fn to_html(&self) -> Markup {
        let seeds: BTreeSet<u64> = self.seeds.iter().copied().collect();
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        html! {
            dl {
                dt { "Command" } dd { code { (self.command) } }
                @for (name, value) in &self.recipe { dt { (name) } dd { (value) } }
                @if !seeds.is_empty() { dt { "Seeds" } dd { (seeds.join(", ")) } }
                dt { "Duration" } dd { (in_words(self.duration)) }
                dt { "Machine" } dd { (self.machine) }
                @for (name, value) in &self.versions { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn illustration((figure, caption): &(Figure, String)) -> Result<Markup, FigureError> {
    let (id, svg) = (figure.id(), figure.svg()?);
    Ok(html! {
        figure id=(id) {
            div.drawing role="img" aria-label=(if figure.title().is_empty() { caption } else { figure.title() }) {
                (PreEscaped(svg))
            }
            figcaption {
                (caption)
                p.files { "Files: " a href=(format!("{id}.svg")) { "SVG" } " · " a href=(format!("{id}.png")) { "PNG" } }
            }
        }
    })
}

fn table_links(stem: &str) -> Markup {
    html! {
        p.files { "Files: " a href=(format!("{stem}.tsv")) { "TSV" } " · " a href=(format!("{stem}.md")) { "Markdown" } }
    }
}

fn scale_meaning(scale: Scale) -> &'static str {
    match scale {
        Scale::Demo => "shows that the pipeline works; its numbers say nothing about the paper.",
        Scale::Small => {
            "uses smaller models or data than the paper: compare directions, not values."
        }
        Scale::Paper => "uses the paper's models, data and recipe.",
    }
}

/// `1 h 02 min 03 s`, without leading parts that are zero; below ten seconds with a decimal.
fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0..10) => format!("{:.1} s", duration.as_secs_f64()),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s:02} s"),
        (h, m, s) => format!("{h} h {m:02} min {s:02} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verdict::{Quantity, close, greater};
    use super::*;
    use crate::report::figure::{Axis, Curve, Ink, Panel};
    use crate::report::table::Cell;

    fn sample() -> Report {
        let run = RunInfo {
            command: "cargo xtask reproduce sudoku --scale small".into(),
            recipe: vec![("Blocks".into(), "6 × 64 <channels>".into())],
            seeds: vec![2, 0, 1, 1],
            duration: Duration::from_secs(3723),
            versions: vec![("Compiler".into(), "rustc 1.95".into())],
            machine: "2 cores".into(),
        };
        let mut report = Report::new("Sudoku & masks", Scale::Small, "Do masks <help>?", run);
        let (lp2, base) =
            (Quantity::seeds("lp2", &[0.6, 0.7], 2), Quantity::seeds("base", &[0.1, 0.2], 2));
        report.claim(Claim::new("lp2 > base", greater(&lp2, &base, 0.0), Scale::Small));
        let (ours, paper) = (Quantity::exact("ours", 3.0, 0), Quantity::exact("paper", 1.0, 0));
        report.claim(Claim::new("3 is 1", close(&ours, &paper, 0.5), Scale::Small));
        let curve = Curve::new("lp2", Ink::Lp2, &[1.0, 2.0], &[0.5, 0.4]);
        let panel = Panel::lines("loss", Axis::new("epoch"), Axis::new("nats"), vec![curve]);
        report.figure(
            Figure::new("loss", "Loss \"by\" epoch").panel(panel),
            "Fig. 4b at small scale",
        );
        let mut table = Table::new("Accuracy", ["condition", "box"]);
        table.push(["lp2".into(), Cell::number(0.5, 2)]);
        report.table("accuracy", table);
        report.note("p > 2 & so on");
        report
    }

    #[test]
    fn the_page_shows_everything_escaped() {
        let html = sample().html().unwrap();
        for expected in [
            "<title>Sudoku &amp; masks</title>",
            "small scale",
            "Do masks &lt;help&gt;?",
            "<td>lp2 &gt; base</td>",
            "✗ not reproduced",
            "aria-label=\"Loss &quot;by&quot; epoch\"",
            "<a href=\"loss.svg\">SVG</a>",
            "<a href=\"accuracy.tsv\">TSV</a>",
            "6 × 64 &lt;channels&gt;",
            "0, 1, 2",
            "1 h 02 min 03 s",
            "p &gt; 2 &amp; so on",
        ] {
            assert!(html.contains(expected), "no {expected:?} in {html}");
        }
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let html = sample().html().unwrap().replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        for forbidden in ["http:", "https:", "<script", "<link", "@import", "url(http", " src="] {
            assert!(!html.contains(forbidden), "{forbidden:?} in {html}");
        }
    }

    #[test]
    fn every_link_leads_to_a_file_that_save_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let page = sample().save(&directory.path().join("new/report")).unwrap();
        let html = std::fs::read_to_string(&page).unwrap();
        let links: Vec<&str> =
            html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(
            links,
            ["claims.tsv", "claims.md", "loss.svg", "loss.png", "accuracy.tsv", "accuracy.md"]
        );
        for link in links {
            let length = std::fs::metadata(page.with_file_name(link)).unwrap().len();
            assert!(length > 0, "{link} is empty");
        }
    }

    #[test]
    fn a_report_of_nothing_says_so() {
        let report = Report::new("Empty", Scale::Demo, "", RunInfo::default());
        let html = report.html().unwrap();
        assert!(html.contains("judges no claim"), "{html}");
        assert!(html.contains("demo scale"), "{html}");
        assert_eq!(report.claims_table().rows().len(), 0);
    }

    #[test]
    fn the_same_report_is_the_same_bytes() {
        assert_eq!(sample().html().unwrap(), sample().html().unwrap());
    }

    #[test]
    #[should_panic(expected = "two tables cannot both be \"accuracy\"")]
    fn a_name_is_taken_once() {
        sample().table("accuracy", Table::new("again", ["x"]));
    }

    #[test]
    fn durations_read_well() {
        let words = [0.24, 59.0, 61.0, 7200.0].map(|s| in_words(Duration::from_secs_f64(s)));
        assert_eq!(words, ["0.2 s", "59 s", "1 min 01 s", "2 h 00 min 00 s"]);
    }
}
