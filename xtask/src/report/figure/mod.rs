//! Figures: panels with axes, galleries of masks, one legend and one color bar for all.
//!
//! Everything is drawn into one scene of the `kuva` crate, which becomes an SVG and a PNG; kuva itself draws the axes and
//! what stands on them. No other module knows kuva, so that it can be exchanged here.
//!
//! ```
//! use xtask::report::figure::{Axis, Curve, Figure, Ink, Panel};
//!
//! let epochs = [1.0, 2.0, 3.0];
//! let runs = [vec![2.1, 1.4, 1.1], vec![2.0, 1.5, 1.0]];
//! let curve = Curve::over_runs("lp2", Ink::Lp2, &epochs, &runs);
//! let panel = Panel::lines("Test loss", Axis::new("epoch"), Axis::new("cross entropy"), vec![curve]);
//! let figure = Figure::new("loss", "Sudoku").panel(panel);
//! assert!(figure.svg().unwrap().contains("cross entropy"));
//! ```

mod axes;
mod canvas;
mod gallery;
mod ink;
mod marks;
mod panel;
mod photos;
mod pixels;
mod rose;
mod svg;

use std::path::{Path, PathBuf};

use kuva::render::render::TextAnchor;
use tensor::io::write_atomic;

use canvas::{Canvas, LABEL, LETTER, text_width};
pub use gallery::{ColorScale, Gallery, Matrix};
pub use ink::Ink;
use panel::Content;
pub use panel::{Axis, Bar, Cloud, Curve, Group, Panel, Shape};
pub use photos::{Photo, SIDE, photos_png};

/// Panels in a grid under one title, with one legend.
#[derive(Clone, Debug)]
pub struct Figure {
    id: String,
    title: String,
    panels: Vec<Panel>,
    columns: usize,
    width: f64,
    aspect: f64,
    letters: bool,
    color_scale: ColorScale,
}

/// Where [`Figure::save`] put a figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FigureFiles {
    /// The figure for print and for zooming.
    pub svg: PathBuf,
    /// The figure at two pixels per unit.
    pub png: PathBuf,
}

/// A figure could not be drawn or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FigureError {
    /// The picture could not be made, most likely because it is too large.
    #[error("figure {id:?} ({width} × {height} units): cannot encode it: {reason}")]
    Encode {
        /// The figure.
        id: String,
        /// Its width in scene units.
        width: f64,
        /// Its height in scene units.
        height: f64,
        /// The encoder's words.
        reason: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] tensor::Error),
}

/// Space around the figure and between its panels, in scene units.
const MARGIN: f64 = 12.0;
const SPACING: f64 = 14.0;
/// Room for the color bar.
const COLOR_BAR: f64 = 92.0;

impl Figure {
    /// A figure without panels, 960 units wide.
    ///
    /// `id` names its files and what its SVG defines, so it must be unique within a report.
    ///
    /// # Panics
    ///
    /// If `id` is empty or has other characters than ASCII letters, digits, `-` and `_`.
    #[track_caller]
    pub fn new(id: impl Into<String>, title: impl Into<String>) -> Self {
        let id = id.into();
        assert!(
            is_plain_name(&id),
            "figure: {id:?} cannot name files and SVG elements; use ASCII letters, digits, - and _"
        );
        Self {
            id,
            title: title.into(),
            panels: Vec::new(),
            columns: 3,
            width: 960.0,
            aspect: 0.74,
            letters: true,
            color_scale: ColorScale::new("mask value", 0.0, 1.0),
        }
    }

    /// Appends a panel.
    pub fn panel(mut self, panel: Panel) -> Self {
        self.panels.push(panel);
        self
    }

    /// Appends panels.
    pub fn panels(mut self, panels: impl IntoIterator<Item = Panel>) -> Self {
        self.panels.extend(panels);
        self
    }

    /// Sets how many panels stand beside each other (3 by default; never more than there are).
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    pub fn columns(self, columns: usize) -> Self {
        assert!(columns > 0, "figure {:?}: panels cannot stand in 0 columns", self.id);
        Self { columns, ..self }
    }

    /// Sets the width in scene units. Fonts do not grow with it: a wider figure has smaller print on paper.
    pub fn width(self, units: f64) -> Self {
        Self { width: units.max(200.0), ..self }
    }

    /// Sets the height of panels with axes as a share of their width (0.74 by default).
    pub fn aspect(self, aspect: f64) -> Self {
        Self { aspect: aspect.clamp(0.2, 3.0), ..self }
    }

    /// Leaves out the letters a, b, c, … of the panels; a single panel never has one.
    pub fn without_letters(self) -> Self {
        Self { letters: false, ..self }
    }

    /// Sets what the colors of the galleries mean (mask values from 0 to 1 by default).
    pub fn color_scale(self, color_scale: ColorScale) -> Self {
        Self { color_scale, ..self }
    }

    /// The name of the figure's files.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The figure as an SVG document without XML declaration, which may also stand in an HTML page.
    ///
    /// # Errors
    ///
    /// [`FigureError::Encode`] if a gallery cannot be encoded.
    pub fn svg(&self) -> Result<String, FigureError> {
        let canvas = self.draw();
        let (width, height) = (canvas.scene.width, canvas.scene.height);
        svg::render(canvas).map_err(|error| self.encode_error(width, height, error))
    }

    /// The figure as PNG bytes at two pixels per scene unit.
    ///
    /// # Errors
    ///
    /// [`FigureError::Encode`] if the picture cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, FigureError> {
        let Canvas { scene, .. } = self.draw();
        pixels::scene_png(&scene)
            .map_err(|error| self.encode_error(scene.width, scene.height, error))
    }

    /// Writes `<id>.svg` and `<id>.png` to `directory`, each atomically.
    ///
    /// # Errors
    ///
    /// [`FigureError`] if the figure cannot be encoded or a file not be written.
    pub fn save(&self, directory: &Path) -> Result<FigureFiles, FigureError> {
        let files = FigureFiles {
            svg: directory.join(format!("{}.svg", self.id)),
            png: directory.join(format!("{}.png", self.id)),
        };
        let (svg, png) = (self.svg()?, self.png()?);
        write_atomic(&files.svg, |file| file.write_all(svg.as_bytes()))?;
        write_atomic(&files.png, |file| file.write_all(&png))?;
        Ok(files)
    }

    fn encode_error(&self, width: f64, height: f64, reason: pixels::Failure) -> FigureError {
        FigureError::Encode { id: self.id.clone(), width, height, reason: reason.to_string() }
    }

    /// The whole figure as a scene.
    fn draw(&self) -> Canvas {
        let columns = self.columns.min(self.panels.len()).max(1);
        let bar = if self.panels.iter().any(Panel::is_gallery) { COLOR_BAR } else { 0.0 };
        let room = self.width - 2.0 * MARGIN - bar - (columns - 1) as f64 * SPACING;
        let panel_width = (room / columns as f64).max(40.0).floor();
        let heights: Vec<f64> = self
            .panels
            .chunks(columns)
            .map(|row| {
                row.iter().map(|panel| self.panel_height(panel, panel_width)).fold(0.0, f64::max)
            })
            .collect();
        let legend = self.legend_rows();
        let title_height = if self.title.is_empty() { 0.0 } else { 30.0 };
        let top = MARGIN + title_height;
        let grid_height = match heights.is_empty() {
            true => 120.0,
            false => heights.iter().sum::<f64>() + (heights.len() - 1) as f64 * SPACING,
        };
        let legend_height =
            if legend.is_empty() { 0.0 } else { legend.len() as f64 * LEGEND_ROW + 8.0 };
        let height = (top + grid_height + legend_height + MARGIN).ceil();

        let mut canvas = Canvas::new(&self.id, self.width, height);
        canvas.text(self.width / 2.0, MARGIN + 15.0, TextAnchor::Middle, 16, &self.title);
        if self.panels.is_empty() {
            canvas.gray(
                self.width / 2.0,
                top + grid_height / 2.0,
                TextAnchor::Middle,
                LABEL,
                "no data",
            );
        }
        let mut y = top;
        for (row, (panels, &row_height)) in self.panels.chunks(columns).zip(&heights).enumerate() {
            for (column, panel) in panels.iter().enumerate() {
                let x = MARGIN + column as f64 * (panel_width + SPACING);
                self.draw_panel(&mut canvas, panel, (x, y), (panel_width, row_height));
                if self.letters && self.panels.len() > 1 {
                    canvas.bold(x, y + f64::from(LETTER), LETTER, &letter(row * columns + column));
                }
            }
            y += row_height + SPACING;
        }
        if bar > 0.0 {
            let bar_height = (grid_height - 30.0).clamp(60.0, 220.0);
            let bar_y = top + (grid_height - bar_height) / 2.0;
            self.color_scale.draw(
                &mut canvas,
                self.width - COLOR_BAR + 6.0,
                bar_y.round(),
                bar_height,
            );
        }
        draw_legend(&mut canvas, &legend, top + grid_height + 8.0);
        canvas
    }

    fn panel_height(&self, panel: &Panel, width: f64) -> f64 {
        match &panel.content {
            Content::Gallery(gallery) => gallery.height(width, !panel.title.is_empty()).ceil(),
            Content::Rose { .. } => (width / 2.0 + 60.0).min(width * self.aspect).round(),
            _ => (width * self.aspect).round(),
        }
    }

    fn draw_panel(
        &self,
        canvas: &mut Canvas,
        panel: &Panel,
        (x, y): (f64, f64),
        (width, height): (f64, f64),
    ) {
        match &panel.content {
            Content::Gallery(gallery) => {
                gallery.draw(canvas, x, y, width, &panel.title, &self.color_scale)
            }
            Content::Rose { bins, group } => {
                rose::draw(canvas, (x, y), (width, height), &panel.title, *bins, group);
            }
            _ => panel.draw_axes(canvas, x, y, width, height),
        }
    }

    /// What the legend explains, each once in the order of appearance, broken into rows that fit the width.
    ///
    /// Empty if there is nothing to tell apart: no labels, or a single one.
    fn legend_rows(&self) -> Vec<Vec<(&str, Ink, bool)>> {
        let mut entries: Vec<(&str, Ink, bool)> = Vec::new();
        for entry in self.panels.iter().flat_map(Panel::legend) {
            if !entry.0.is_empty() && !entries.contains(&entry) {
                entries.push(entry);
            }
        }
        if entries.len() < 2 {
            return Vec::new();
        }
        let mut rows: Vec<Vec<_>> = vec![Vec::new()];
        let mut used = 0.0;
        for entry in entries {
            let width = entry_width(entry.0);
            if used + width > self.width - 2.0 * MARGIN && used > 0.0 {
                rows.push(Vec::new());
                used = 0.0;
            }
            used += width;
            rows.last_mut().expect("there is always a row").push(entry);
        }
        rows
    }
}

const LEGEND_ROW: f64 = 20.0;
const LEGEND_SAMPLE: f64 = 28.0;

fn entry_width(label: &str) -> f64 {
    LEGEND_SAMPLE + 6.0 + text_width(label, LABEL) + 18.0
}

fn draw_legend(canvas: &mut Canvas, rows: &[Vec<(&str, Ink, bool)>], top: f64) {
    for (i, row) in rows.iter().enumerate() {
        let total: f64 = row.iter().map(|(label, ..)| entry_width(label)).sum();
        let mut x = ((canvas.scene.width - total + 18.0) / 2.0).max(MARGIN);
        let y = top + (i as f64 + 0.5) * LEGEND_ROW;
        for (label, ink, is_line) in row {
            let middle = x + LEGEND_SAMPLE / 2.0;
            if *is_line {
                let ends = vec![(x, y), (x + LEGEND_SAMPLE, y)];
                canvas.polyline(ends, ink.color().into(), 2.0, ink.dashes());
            } else {
                canvas.circle(middle, y, 4.0, ink.color());
            }
            let baseline = y + f64::from(LABEL) * 0.36;
            canvas.text(x + LEGEND_SAMPLE + 6.0, baseline, TextAnchor::Start, LABEL, label);
            x += entry_width(label);
        }
    }
}

/// The n-th panel letter: a, b, …, z, aa, ab, ….
fn letter(n: usize) -> String {
    let last = char::from(b'a' + (n % 26) as u8);
    if n < 26 { last.to_string() } else { letter(n / 26 - 1) + &last.to_string() }
}

/// Whether `name` can stand in file names, links and ids without escaping.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

#[cfg(test)]
mod tests;
