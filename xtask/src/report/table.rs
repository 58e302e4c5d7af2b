//! Tables as values: one table, written as TSV for programs, Markdown and HTML for people.

use std::path::{Path, PathBuf};

use maud::{Markup, html};
use tensor::io::write_atomic;

use super::verdict::Verdict;

/// A rectangular table with typed cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    notes: Vec<String>,
}

/// One entry of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Words: a model, a data set, a condition.
    Text(String),
    /// A measured or printed number.
    Number(Number),
    /// The outcome of a comparison.
    Verdict(Verdict),
    /// Nothing was measured here; not the same as a measurement that failed (`NaN`).
    Empty,
}

/// A number with the precision in which people should read it; programs get all of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    value: f64,
    digits: usize,
    sd: Option<f64>,
    stars: String,
    emphasis: Emphasis,
}

/// How a number stands out among its neighbors; Table 1 of the paper prints the best bold and the second underlined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emphasis {
    /// Plain.
    #[default]
    None,
    /// Bold.
    Best,
    /// Underlined.
    Second,
}

/// Where [`Table::save`] put a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFiles {
    /// Tab-separated values in full precision.
    pub tsv: PathBuf,
    /// Aligned Markdown.
    pub markdown: PathBuf,
}

impl Number {
    /// `value` shown with `digits` decimals.
    pub fn new(value: f64, digits: usize) -> Self {
        Self { value, digits, sd: None, stars: String::new(), emphasis: Emphasis::None }
    }

    /// Adds a standard deviation, shown after `±` with the same decimals and written to its own column in TSV.
    pub fn sd(self, sd: f64) -> Self {
        Self { sd: Some(sd), ..self }
    }

    /// Adds significance stars or `ns`, written to their own column in TSV.
    pub fn stars(self, stars: impl Into<String>) -> Self {
        Self { stars: stars.into(), ..self }
    }

    /// Marks the number as best or second; only people see this.
    pub fn emphasis(self, emphasis: Emphasis) -> Self {
        Self { emphasis, ..self }
    }

    fn text(&self) -> String {
        let mut text = rounded(self.value, self.digits);
        if let Some(sd) = self.sd {
            text += &format!(" ± {}", rounded(sd, self.digits));
        }
        if !self.stars.is_empty() {
            text += &format!(" {}", self.stars);
        }
        text
    }
}

impl Cell {
    /// `value` shown with `digits` decimals.
    pub fn number(value: f64, digits: usize) -> Self {
        Number::new(value, digits).into()
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Number> for Cell {
    fn from(number: Number) -> Self {
        Self::Number(number)
    }
}

impl From<Verdict> for Cell {
    fn from(verdict: Verdict) -> Self {
        Self::Verdict(verdict)
    }
}

impl From<usize> for Cell {
    /// A count. Exact up to 2^53, as in every program that reads TSV numbers as doubles.
    fn from(count: usize) -> Self {
        Self::number(count as f64, 0)
    }
}

impl Table {
    /// A table without rows. The title should name the scale of the run when numbers of the paper stand beside ours.
    pub fn new<C: Into<String>>(
        title: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self {
            title: title.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Appends a row.
    ///
    /// # Panics
    ///
    /// If the row has not one cell for each column.
    #[track_caller]
    pub fn push(&mut self, row: impl IntoIterator<Item = Cell>) {
        let row: Vec<Cell> = row.into_iter().collect();
        assert!(
            row.len() == self.columns.len(),
            "table {:?}: a row of {} cells does not fit its {} columns {:?}",
            self.title,
            row.len(),
            self.columns.len(),
            self.columns,
        );
        self.rows.push(row);
    }

    /// Appends a remark that is printed under the table.
    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The rows, each with one cell for each column.
    pub fn rows(&self) -> &[Vec<Cell>] {
        &self.rows
    }

    /// Tab-separated values: a header and the rows, nothing else.
    ///
    /// Numbers are written in full (the shortest text that reads back as the same `f64`), `NaN`, `inf` and `-inf` as such,
    /// empty cells as nothing. A column in which any number has a standard deviation is followed by `<name>_sd`, one with
    /// stars by `<name>_stars`. In text, tab, line feed, carriage return and backslash become `\t`, `\n`, `\r`, `\\`.
    pub fn to_tsv(&self) -> String {
        let numbers = |column: usize| {
            self.rows.iter().filter_map(move |row| match &row[column] {
                Cell::Number(number) => Some(number),
                _ => None,
            })
        };
        let with_sd: Vec<bool> = (0..self.columns.len())
            .map(|column| numbers(column).any(|number| number.sd.is_some()))
            .collect();
        let with_stars: Vec<bool> = (0..self.columns.len())
            .map(|column| numbers(column).any(|number| !number.stars.is_empty()))
            .collect();

        let mut header = Vec::new();
        for (column, name) in self.columns.iter().enumerate() {
            header.push(escape_tsv(name));
            header.extend(with_sd[column].then(|| escape_tsv(&format!("{name}_sd"))));
            header.extend(with_stars[column].then(|| escape_tsv(&format!("{name}_stars"))));
        }
        let mut tsv = header.join("\t") + "\n";
        for row in &self.rows {
            let mut fields = Vec::with_capacity(header.len());
            for (column, cell) in row.iter().enumerate() {
                let (value, sd, stars) = match cell {
                    Cell::Text(text) => (escape_tsv(text), String::new(), String::new()),
                    Cell::Number(number) => {
                        let sd = number.sd.map(exact).unwrap_or_default();
                        (exact(number.value), sd, escape_tsv(&number.stars))
                    }
                    Cell::Verdict(verdict) => (verdict.to_string(), String::new(), String::new()),
                    Cell::Empty => Default::default(),
                };
                fields.push(value);
                fields.extend(with_sd[column].then_some(sd));
                fields.extend(with_stars[column].then_some(stars));
            }
            tsv += &(fields.join("\t") + "\n");
        }
        tsv
    }

    /// Markdown with the columns padded so that the source reads as a table too.
    ///
    /// Best numbers are bold, second ones underlined.
    pub fn to_markdown(&self) -> String {
        let header: Vec<String> = self.columns.iter().map(|name| escape_markdown(name)).collect();
        let body: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(markdown_cell).collect()).collect();
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                let cells = body.iter().map(|row| &row[column]);
                cells
                    .chain([&header[column]])
                    .map(|text| text.chars().count())
                    .max()
                    .unwrap_or(0)
                    .max(3)
            })
            .collect();
        let right: Vec<bool> = (0..header.len()).map(|column| self.is_numeric(column)).collect();
        let line = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).zip(&right).map(|((text, &width), &right)| {
                if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
            });
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };

        let mut markdown = format!("**{}**\n\n", escape_markdown(&self.title));
        markdown += &line(&header);
        let rule = |(&width, &right): (&usize, &bool)| match right {
            true => format!("{}:", "-".repeat(width - 1)),
            false => "-".repeat(width),
        };
        markdown += &line(&widths.iter().zip(&right).map(rule).collect::<Vec<_>>());
        for row in &body {
            markdown += &line(row);
        }
        for note in &self.notes {
            markdown += &format!("\n{}\n", escape_markdown(note));
        }
        markdown
    }

    /// The table as HTML: a caption, the cells, the notes.
    pub fn to_html(&self) -> Markup {
        let right: Vec<bool> =
            (0..self.columns.len()).map(|column| self.is_numeric(column)).collect();
        html! {
            div.scroll {
                table {
                    caption { (self.title) }
                    thead { tr { @for (name, &right) in self.columns.iter().zip(&right) {
                        th scope="col" .num[right] { (name) }
                    } } }
                    tbody {
                        @for row in &self.rows {
                            tr { @for (cell, &right) in row.iter().zip(&right) { td .num[right] { (html_cell(cell)) } } }
                        }
                        @if self.rows.is_empty() {
                            tr { td.missing colspan=(self.columns.len().max(1)) { "no rows" } }
                        }
                    }
                }
            }
            @for note in &self.notes { p.note { (note) } }
        }
    }

    /// Writes `<stem>.tsv` and `<stem>.md` to `directory`, each atomically.
    ///
    /// # Errors
    ///
    /// [`tensor::Error::Write`] of the file that could not be written.
    pub fn save(&self, directory: &Path, stem: &str) -> Result<TableFiles, tensor::Error> {
        let files = TableFiles {
            tsv: directory.join(format!("{stem}.tsv")),
            markdown: directory.join(format!("{stem}.md")),
        };
        write_atomic(&files.tsv, |file| file.write_all(self.to_tsv().as_bytes()))?;
        write_atomic(&files.markdown, |file| file.write_all(self.to_markdown().as_bytes()))?;
        Ok(files)
    }

    /// Whether a column holds numbers and nothing else but gaps.
    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self
            .rows
            .iter()
            .map(|row| &row[column])
            .filter(|cell| **cell != Cell::Empty)
            .peekable();
        cells.peek().is_some() && cells.all(|cell| matches!(cell, Cell::Number(_)))
    }
}

/// A dash for what was not measured.
const GAP: &str = "–";

fn markdown_cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => escape_markdown(text),
        Cell::Verdict(verdict) => verdict.to_string(),
        Cell::Empty => GAP.to_owned(),
        Cell::Number(number) => {
            let text = escape_markdown(&number.text());
            match number.emphasis {
                Emphasis::None => text,
                Emphasis::Best => format!("**{text}**"),
                Emphasis::Second => format!("<u>{text}</u>"),
            }
        }
    }
}

fn html_cell(cell: &Cell) -> Markup {
    match cell {
        Cell::Text(text) => html! { (text) },
        Cell::Verdict(verdict) => verdict.to_html(),
        Cell::Empty => html! { span.missing { (GAP) } },
        Cell::Number(number) => match number.emphasis {
            Emphasis::None => html! { (number.text()) },
            Emphasis::Best => html! { b { (number.text()) } },
            Emphasis::Second => html! { u { (number.text()) } },
        },
    }
}

/// `value` with `digits` decimals and a real minus sign kept ASCII, never `-0.00`.
fn rounded(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match text.strip_prefix('-') {
        Some(magnitude) if magnitude.bytes().all(|b| matches!(b, b'0' | b'.')) => {
            magnitude.to_owned()
        }
        _ => text,
    }
}

/// The shortest decimal text that reads back as `value`; with an exponent where plain digits would be long.
fn exact(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && magnitude != 0.0 && !(1e-5..1e16).contains(&magnitude) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

fn escape_tsv(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

/// Text that shows as itself inside a cell or a line of Markdown.
///
/// An underscore inside a word is left alone: it means nothing there, and names are full of them.
fn escape_markdown(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let in_word = |i: usize| {
        let is_word =
            |j: Option<usize>| j.and_then(|j| chars.get(j)).is_some_and(|c| c.is_alphanumeric());
        is_word(i.checked_sub(1)) && is_word(Some(i + 1))
    };
    let mut escaped = String::with_capacity(text.len());
    for (i, &c) in chars.iter().enumerate() {
        match c {
            '\\' | '|' | '*' | '`' | '[' | ']' => escaped.extend(['\\', c]),
            '_' if !in_word(i) => escaped.push_str("\\_"),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' => escaped.push_str("<br>"),
            '\t' => escaped.push(' '),
            '\r' => {}
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new("Top-1 (small scale)", ["model", "lp2 %", "verdict"]);
        table.push([
            "ResNet_18".into(),
            Number::new(68.4512345, 2).sd(0.361).stars("***").emphasis(Emphasis::Best).into(),
            Verdict::Reproduced.into(),
        ]);
        table.push(["a|b\tc\nd <i>".into(), Cell::number(f64::NAN, 2), Cell::Empty]);
        table.note("5 seeds; *** p < 0.001");
        table
    }

    #[test]
    fn tsv_is_exact_and_escaped() {
        assert_eq!(
            sample().to_tsv(),
            "model\tlp2 %\tlp2 %_sd\tlp2 %_stars\tverdict\n\
             ResNet_18\t68.4512345\t0.361\t***\treproduced\n\
             a|b\\tc\\nd <i>\tNaN\t\t\t\n"
        );
    }

    #[test]
    fn tsv_numbers_read_back_bit_for_bit() {
        let values =
            [0.1 + 0.2, 1e300, -5e-324, 1.0 / 3.0, 123_456_789.0, 0.0, 9.999e-6, f64::INFINITY];
        let mut table = Table::new("t", ["x"]);
        values.iter().for_each(|&x| table.push([Cell::number(x, 1)]));
        let tsv = table.to_tsv();
        let back: Vec<f64> = tsv.lines().skip(1).map(|line| line.parse().unwrap()).collect();
        assert_eq!(back, values);
        assert!(tsv.lines().all(|line| line.len() < 25), "{tsv}");
    }

    #[test]
    fn markdown_is_aligned_and_escaped() {
        assert_eq!(
            sample().to_markdown(),
            "**Top-1 (small scale)**\n\
             \n\
             | model              |                   lp2 % | verdict    |\n\
             | ------------------ | ----------------------: | ---------- |\n\
             | ResNet_18          | **68.45 ± 0.36 \\*\\*\\*** | reproduced |\n\
             | a\\|b c<br>d &lt;i> |                     NaN | –          |\n\
             \n\
             5 seeds; \\*\\*\\* p &lt; 0.001\n"
        );
    }

    #[test]
    fn html_escapes_text() {
        let html = sample().to_html().into_string();
        assert!(html.contains("d &lt;i&gt;"), "{html}");
        assert!(html.contains("<b>68.45 ± 0.36 ***</b>"), "{html}");
        assert!(html.contains("<caption>Top-1 (small scale)</caption>"), "{html}");
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let table = Table::new("nothing", ["a", "b"]);
        assert_eq!(table.to_tsv(), "a\tb\n");
        assert_eq!(table.to_markdown(), "**nothing**\n\n| a   | b   |\n| --- | --- |\n");
        assert!(table.to_html().into_string().contains("no rows"));
    }

    #[test]
    #[should_panic(
        expected = "table \"t\": a row of 1 cells does not fit its 2 columns [\"a\", \"b\"]"
    )]
    fn a_short_row_panics() {
        Table::new("t", ["a", "b"]).push([Cell::Empty]);
    }

    #[test]
    fn small_negative_numbers_do_not_show_as_minus_zero() {
        assert_eq!(rounded(-0.001, 2), "0.00");
        assert_eq!(rounded(-0.01, 2), "-0.01");
    }

    #[test]
    fn saves_both_files() {
        let directory = tempfile::tempdir().unwrap();
        let files = sample().save(directory.path(), "top1").unwrap();
        assert_eq!(std::fs::read_to_string(files.tsv).unwrap(), sample().to_tsv());
        assert_eq!(std::fs::read_to_string(files.markdown).unwrap(), sample().to_markdown());
    }
}
