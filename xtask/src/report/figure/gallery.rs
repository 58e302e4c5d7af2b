//! Many small matrices in a grid: masks, receptive fields, similarity matrices.
//!
//! In a PNG every entry is a rectangle of the scene. An SVG with a hundred thousand rectangles would be slow to open, so
//! there a gallery becomes one embedded image with the same pixels.

use kuva::plot::ColorMap;
use kuva::render::color::Color;
use kuva::render::render::{Primitive, TextAnchor};

use super::canvas::{Canvas, PIXELS, Raster, TICK, TITLE, TITLE_BASELINE, text_width};

/// Matrices in reading order with captions for rows and columns.
#[derive(Clone, Debug)]
pub struct Gallery {
    matrices: Vec<Matrix>,
    columns: usize,
    row_captions: Vec<String>,
    column_captions: Vec<String>,
    max_cell: f64,
    scale_bar: Option<(f64, String)>,
}

/// A matrix to be shown as an image; row 0 is on top.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    values: Vec<f32>,
}

/// Room for a scale bar.
const SCALE_BAR: f64 = 18.0;

/// What the colors of all galleries of a figure mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ColorScale {
    pub(super) label: String,
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Matrix {
    /// A matrix from its entries, row after row.
    ///
    /// # Panics
    ///
    /// If there are not `rows · columns` entries, or none at all.
    #[track_caller]
    pub fn new(rows: usize, columns: usize, values: Vec<f32>) -> Self {
        assert!(
            rows * columns == values.len() && !values.is_empty(),
            "matrix: {} values do not fill {rows} rows of {columns}",
            values.len()
        );
        Self { rows, columns, values }
    }
}

impl Gallery {
    /// Matrices in reading order, so many in a row.
    ///
    /// # Panics
    ///
    /// If `columns` is 0.
    #[track_caller]
    pub fn new(columns: usize, matrices: Vec<Matrix>) -> Self {
        assert!(columns > 0, "gallery: {} matrices cannot stand in 0 columns", matrices.len());
        Self {
            matrices,
            columns,
            row_captions: Vec::new(),
            column_captions: Vec::new(),
            max_cell: 96.0,
            scale_bar: None,
        }
    }

    /// Names the rows, from the top.
    pub fn row_captions<S: Into<String>>(self, captions: impl IntoIterator<Item = S>) -> Self {
        Self { row_captions: captions.into_iter().map(Into::into).collect(), ..self }
    }

    /// Names the columns, from the left.
    pub fn column_captions<S: Into<String>>(self, captions: impl IntoIterator<Item = S>) -> Self {
        Self { column_captions: captions.into_iter().map(Into::into).collect(), ..self }
    }

    /// Limits the side of one matrix, in scene units (96 by default), so that a few do not fill a whole page.
    pub fn max_cell(self, units: f64) -> Self {
        Self { max_cell: units, ..self }
    }

    /// Draws a bar below the matrices that is `entries` of a matrix long, with what that length is (`100 µm`). All matrices
    /// must have as many columns as the first.
    ///
    /// # Panics
    ///
    /// If the matrices differ in their number of rows or columns.
    #[track_caller]
    pub fn scale_bar(self, entries: f64, label: impl Into<String>) -> Self {
        let size = |m: &Matrix| (m.rows, m.columns);
        let same = self.matrices.windows(2).all(|pair| size(&pair[0]) == size(&pair[1]));
        assert!(same, "gallery: one scale bar cannot serve matrices of different sizes");
        Self { scale_bar: Some((entries, label.into())), ..self }
    }

    fn rows(&self) -> usize {
        self.matrices.len().div_ceil(self.columns)
    }

    fn plan(&self, width: f64, titled: bool) -> Plan {
        let captions = self.row_captions.iter().map(|caption| text_width(caption, TICK));
        let left =
            captions.fold(0.0, f64::max) + if self.row_captions.is_empty() { 6.0 } else { 16.0 };
        let columns = self.columns as f64;
        let room = (width - left - 6.0) / columns;
        let gap = (room * 0.08).clamp(1.0, 8.0).round();
        // Whole device pixels, so that all entries of a matrix come out equally large.
        let cell = (((room - gap) * PIXELS).floor() / PIXELS).clamp(1.0, self.max_cell);
        let rows = self.rows() as f64;
        let (grid_width, grid_height) = (columns * (cell + gap) - gap, rows * (cell + gap) - gap);
        let title = if titled { TITLE_BASELINE + 11.0 } else { 6.0 };
        let head =
            title + if self.column_captions.is_empty() { 0.0 } else { f64::from(TICK) * 1.6 };
        let x = left + ((width - left - 6.0 - grid_width) / 2.0).max(0.0).floor();
        Plan {
            x,
            y: head,
            cell,
            gap,
            grid_width,
            grid_height,
            height: head
                + grid_height.max(0.0)
                + 8.0
                + if self.scale_bar.is_some() { SCALE_BAR } else { 0.0 },
        }
    }

    pub(super) fn height(&self, width: f64, titled: bool) -> f64 {
        if self.matrices.is_empty() { 90.0 } else { self.plan(width, titled).height }
    }

    /// Draws title, captions and matrices with the upper left corner at `(x, y)`.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        x: f64,
        y: f64,
        width: f64,
        title: &str,
        scale: &ColorScale,
    ) {
        canvas.text(x + width / 2.0, y + TITLE_BASELINE, TextAnchor::Middle, TITLE, title);
        if self.matrices.is_empty() {
            canvas.gray(x + width / 2.0, y + 56.0, TextAnchor::Middle, TICK, "no data");
            return;
        }
        let plan = self.plan(width, !title.is_empty());
        let (left, top) = (x + plan.x, y + plan.y);
        for (column, caption) in self.column_captions.iter().enumerate().take(self.columns) {
            let center = left + column as f64 * (plan.cell + plan.gap) + plan.cell / 2.0;
            canvas.text(center, top - 5.0, TextAnchor::Middle, TICK, caption);
        }
        for (row, caption) in self.row_captions.iter().enumerate().take(self.rows()) {
            let middle = top + row as f64 * (plan.cell + plan.gap) + plan.cell / 2.0;
            canvas.text(
                left - 8.0,
                middle + f64::from(TICK) * 0.36,
                TextAnchor::End,
                TICK,
                caption,
            );
        }
        self.draw_matrices(canvas, left, top, &plan, scale);
        self.draw_scale_bar(canvas, left.round(), top.round() + plan.grid_height, plan.cell);
    }

    fn draw_scale_bar(&self, canvas: &mut Canvas, left: f64, bottom: f64, cell: f64) {
        let (Some((entries, label)), Some(first)) = (&self.scale_bar, self.matrices.first()) else {
            return;
        };
        let side = cell / first.rows.max(first.columns) as f64;
        let indent = (cell - first.columns as f64 * side) / 2.0;
        let (start, end) = (left + indent, left + indent + entries * side);
        canvas.line((start, bottom + 8.0), (end, bottom + 8.0), "#000000", 3.0);
        let baseline = bottom + 8.0 + f64::from(TICK) * 0.36;
        canvas.text(end + 6.0, baseline, TextAnchor::Start, TICK, label);
    }

    /// The matrices as rectangles, in a group that [`super::svg`] exchanges for the raster made beside it.
    fn draw_matrices(
        &self,
        canvas: &mut Canvas,
        left: f64,
        top: f64,
        plan: &Plan,
        scale: &ColorScale,
    ) {
        let (left, top) = (left.round(), top.round());
        let mut raster = Raster::clear(left, top, plan.grid_width, plan.grid_height);
        let palette = palette();
        let (mut xs, mut ys, mut ws, mut hs, mut fills) = (vec![], vec![], vec![], vec![], vec![]);
        for (i, matrix) in self.matrices.iter().enumerate() {
            let x0 = (i % self.columns) as f64 * (plan.cell + plan.gap);
            let y0 = (i / self.columns) as f64 * (plan.cell + plan.gap);
            let side = plan.cell / matrix.rows.max(matrix.columns) as f64;
            // Entries may differ by a pixel, but none has a blurred edge.
            let edge = |start: f64, n: usize| ((start + n as f64 * side) * PIXELS).round() / PIXELS;
            let indent = |n: usize| (plan.cell - n as f64 * side) / 2.0;
            let (x0, y0) = (x0 + indent(matrix.columns), y0 + indent(matrix.rows));
            for (j, &value) in matrix.values.iter().enumerate() {
                let (row, column) = (j / matrix.columns, j % matrix.columns);
                let (x, y) = (edge(x0, column), edge(y0, row));
                let (w, h) = (edge(x0, column + 1) - x, edge(y0, row + 1) - y);
                let index = scale.index(value);
                raster.fill(x, y, w, h, index);
                xs.push(left + x);
                ys.push(top + y);
                ws.push(w);
                hs.push(h);
                let [r, g, b] = palette[usize::from(index)];
                fills.push(Color::Rgb(r, g, b));
            }
        }
        let mark = raster_mark(canvas.rasters.len());
        canvas.rasters.push(raster);
        canvas.scene.add(Primitive::GroupStart {
            transform: None,
            title: None,
            extra_attrs: Some(mark),
        });
        canvas.scene.add(Primitive::RectBatch { x: xs, y: ys, w: ws, h: hs, fills });
        canvas.scene.add(Primitive::GroupEnd);
    }
}

/// Where things stand in a gallery of a given width, relative to its upper left corner.
struct Plan {
    x: f64,
    y: f64,
    cell: f64,
    gap: f64,
    grid_width: f64,
    grid_height: f64,
    height: f64,
}

/// The attribute by which the group of the n-th raster is found again.
pub(super) fn raster_mark(n: usize) -> String {
    format!("data-raster=\"{n}\"")
}

/// Index of the color of values that are not numbers.
const NOT_A_NUMBER: u8 = 254;
/// Index of what no matrix covers.
pub(super) const CLEAR: u8 = 255;

/// The 254 colors of the scale, then gray for `NaN`, then white for [`CLEAR`].
pub(super) fn palette() -> Vec<[u8; 3]> {
    let color = |i: usize| match Color::from(ColorMap::Viridis.map(i as f64 / 253.0)) {
        Color::Rgb(r, g, b) => [r, g, b],
        Color::None | Color::Css(_) => unreachable!("kuva's color maps give #rrggbb"),
    };
    (0..254).map(color).chain([[190; 3], [255; 3]]).collect()
}

impl ColorScale {
    /// Values from `low` to `high`; what lies outside gets the color of the end.
    ///
    /// # Panics
    ///
    /// If the range is empty or not finite.
    #[track_caller]
    pub fn new(label: impl Into<String>, low: f64, high: f64) -> Self {
        assert!(low < high && (high - low).is_finite(), "color scale: {low} to {high} is no range");
        Self { label: label.into(), low, high }
    }

    fn index(&self, value: f32) -> u8 {
        if value.is_nan() {
            return NOT_A_NUMBER;
        }
        let share = (f64::from(value) - self.low) / (self.high - self.low);
        (share.clamp(0.0, 1.0) * 253.0).round() as u8
    }

    /// Draws a vertical bar with its ticks and label; `height` is that of the bar alone.
    pub(super) fn draw(&self, canvas: &mut Canvas, x: f64, y: f64, height: f64) {
        const WIDTH: f64 = 13.0;
        let palette = palette();
        let steps = 127;
        let edge = |i: usize| ((i as f64 / steps as f64 * height) * PIXELS).round() / PIXELS;
        for i in 0..steps {
            let [r, g, b] = palette[2 * (steps - 1 - i)];
            // Down to the end, to be covered by the next: edges that only touch show as seams in browsers.
            canvas.rect(
                x,
                y + edge(i),
                WIDTH,
                height - edge(i),
                &format!("#{r:02x}{g:02x}{b:02x}"),
                None,
            );
        }
        canvas.rect(x, y, WIDTH, height, "none", Some("#000000"));
        let mut widest: f64 = 0.0;
        for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
            let tick =
                format!("{}", ((self.low + share * (self.high - self.low)) * 1e6).round() / 1e6);
            let middle = y + (1.0 - share) * height;
            canvas.line((x + WIDTH, middle), (x + WIDTH + 4.0, middle), "#000000", 1.0);
            canvas.text(
                x + WIDTH + 7.0,
                middle + f64::from(TICK) * 0.36,
                TextAnchor::Start,
                TICK,
                &tick,
            );
            widest = widest.max(text_width(&tick, TICK));
        }
        canvas.upward(x + WIDTH + 7.0 + widest + 14.0, y + height / 2.0, TICK, &self.label);
    }
}

impl Raster {
    fn clear(x: f64, y: f64, width: f64, height: f64) -> Self {
        let pixels = |units: f64| (units * PIXELS).round() as usize;
        let (width_px, height_px) = (pixels(width), pixels(height));
        Self { x, y, width_px, height_px, indices: vec![CLEAR; width_px * height_px] }
    }

    fn fill(&mut self, x: f64, y: f64, width: f64, height: f64, index: u8) {
        let pixel = |units: f64, limit: usize| ((units * PIXELS).round() as usize).min(limit);
        let columns = pixel(x, self.width_px)..pixel(x + width, self.width_px);
        for row in pixel(y, self.height_px)..pixel(y + height, self.height_px) {
            self.indices[row * self.width_px..][columns.clone()].fill(index);
        }
    }
}
