//! Panels with axes: ranges, ticks and labels around the [`marks`](super::marks), drawn by kuva.

use kuva::render::layout::{AxisLabelOverlap, ComputedLayout, Layout};
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor, render_multiple};

use super::canvas::{Canvas, LABEL, TICK, TITLE, TITLE_BASELINE, literal, text_width};
use super::marks::{Marks, Violin};
use super::panel::{Axis, Content, Panel};

/// kuva leaves a wide gap above the label of the x axis; the label moves up by this much.
const LABEL_LIFT: f64 = 8.0;

/// Room for a bracket as a share of the axis below the brackets.
const BRACKET_STEP: f64 = 0.1;

impl Panel {
    /// Draws title, axes and data with the upper left corner at `(x, y)`.
    pub(super) fn draw_axes(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64, height: f64) {
        let marks = Marks::new(self);
        if marks.plots.is_empty() {
            self.draw_nothing(canvas, x, y, width, height);
        } else {
            canvas.place(self.render(marks, width, height + LABEL_LIFT), x, y);
        }
    }

    fn render(&self, marks: Marks, width: f64, height: f64) -> Scene {
        let mut layout = Layout::auto_from_plots(&marks.plots)
            .with_width(width)
            .with_height(height)
            .with_title(literal(&self.title))
            .with_x_label(literal(&self.x.label))
            .with_y_label(literal(&self.y.label))
            .with_title_size(TITLE)
            .with_label_size(LABEL)
            .with_tick_size(TICK)
            .with_grid_line_width(0.6);
        layout.show_legend = false;
        layout.theme.grid_color = "#dddddd".into();
        if marks.dropped > 0 {
            let values = if marks.dropped == 1 { "value" } else { "values" };
            layout = layout
                .with_subtitle(format!("{} {values} not drawn", marks.dropped))
                .with_subtitle_size(TICK);
        }
        let category_labels = self.category_labels();
        let mut lift = LABEL_LIFT;
        if category_labels.is_empty() {
            let (low, high) =
                self.x.range.unwrap_or_else(|| padded(marks.x, &self.x, self.padding(&marks).0));
            layout = layout.with_x_axis_min(low).with_x_axis_max(high);
        } else {
            let widest =
                category_labels.iter().map(|label| text_width(label, TICK)).fold(0.0, f64::max);
            let slot = (width - 75.0) / category_labels.len() as f64;
            if widest > 1.9 * slot {
                layout = layout.with_x_tick_rotate(-40.0);
                lift = 0.0;
            } else if widest > 0.95 * slot {
                layout = layout.with_x_label_overlap(AxisLabelOverlap::Stagger);
            }
        }
        let (low, high) =
            self.y.range.unwrap_or_else(|| padded(marks.y, &self.y, self.padding(&marks).1));
        // Brackets stand above the data, each a step above the one before.
        let top = high;
        let level = |n: usize| {
            let share = BRACKET_STEP * n as f64;
            match self.y.log {
                true => top * (share * (top / low).ln()).exp(),
                false => top + share * (top - low),
            }
        };
        let high = if self.brackets.is_empty() { high } else { level(self.brackets.len() + 1) };
        layout = layout.with_y_axis_min(low).with_y_axis_max(high).with_x_label_offset(0.0, -lift);
        if let Some(step) = self.x.step {
            layout = layout.with_x_tick_step(step);
        }
        if let Some(step) = self.y.step {
            layout = layout.with_y_tick_step(step);
        }
        if self.x.log {
            layout = layout.with_log_x();
        }
        if self.y.log {
            layout = layout.with_log_y();
        }
        let computed = ComputedLayout::from_layout(&layout);
        let mut scene = render_multiple(marks.plots, layout);
        let first_mark = scene
            .elements
            .iter()
            .position(|element| matches!(element, Primitive::ClipStart { .. }));
        let under = first_mark.map_or(0, |clip| clip + 1);
        scene
            .elements
            .splice(under..under, marks.violins.iter().map(|violin| outline(violin, &computed)));
        for (n, bracket) in self.brackets.iter().enumerate() {
            let ends = [bracket.from, bracket.to].map(|i| computed.map_x(i as f64 + 1.0));
            draw_bracket(&mut scene, ends, computed.map_y(level(n)), &bracket.label);
        }
        scene
    }

    /// Room left between the data and the ends of the x and the y axis, as a share of the data's range.
    fn padding(&self, marks: &Marks) -> (Padding, Padding) {
        let both = Padding { low: 0.05, high: 0.05 };
        match self.content {
            // Bars stand on the axis.
            Content::Bars(_) => (
                both,
                Padding {
                    low: if marks.y.0 < 0.0 { 0.05 } else { 0.0 },
                    high: if marks.y.1 > 0.0 { 0.05 } else { 0.0 },
                },
            ),
            Content::Lines(_) => (Padding { low: 0.02, high: 0.02 }, both),
            Content::Histogram { .. } => {
                (Padding { low: 0.0, high: 0.0 }, Padding { low: 0.0, high: 0.05 })
            }
            _ => (both, both),
        }
    }

    /// The names along the x axis if it has names instead of numbers.
    fn category_labels(&self) -> Vec<&str> {
        match &self.content {
            Content::Distributions(_, groups) => {
                groups.iter().map(|group| group.label.as_str()).collect()
            }
            Content::Bars(bars) => bars.iter().map(|bar| bar.label.as_str()).collect(),
            _ => Vec::new(),
        }
    }

    /// The frame of a panel that has nothing to show, saying so.
    fn draw_nothing(&self, canvas: &mut Canvas, x: f64, y: f64, width: f64, height: f64) {
        let (left, top, right, bottom) = (48.0, 40.0, 14.0, 44.0);
        let (inner_width, inner_height) = (width - left - right, height - top - bottom);
        canvas.rect(x + left, y + top, inner_width, inner_height, "#fafafa", Some("#bbbbbb"));
        let center = (x + left + inner_width / 2.0, y + top + inner_height / 2.0);
        canvas.text(center.0, y + TITLE_BASELINE, TextAnchor::Middle, TITLE, &self.title);
        canvas.gray(center.0, center.1 + 4.0, TextAnchor::Middle, LABEL, "no data");
        canvas.text(center.0, y + height - 14.0, TextAnchor::Middle, LABEL, &self.x.label);
        canvas.upward(x + 18.0, center.1, LABEL, &self.y.label);
    }
}

/// A line with ends that point down, and its label in the middle above it.
fn draw_bracket(scene: &mut Scene, [x0, x1]: [f64; 2], y: f64, label: &str) {
    const DOWN: f64 = 4.0;
    // Stars hang high in their line; letters stand on it.
    let lift = if label.starts_with('*') { 0.5 } else { 3.5 };
    scene.add(Primitive::PolyLine {
        points: vec![(x0, y + DOWN), (x0, y), (x1, y), (x1, y + DOWN)],
        stroke: "#333333".into(),
        stroke_width: 1.0,
        stroke_dasharray: None,
    });
    scene.add(Primitive::Text {
        x: (x0 + x1) / 2.0,
        y: y - lift,
        content: literal(label),
        size: TICK,
        anchor: TextAnchor::Middle,
        rotate: None,
        bold: false,
        color: Some("#333333".into()),
    });
}

#[derive(Clone, Copy)]
struct Padding {
    low: f64,
    high: f64,
}

/// The range of the data with some room at both ends; never empty.
fn padded((low, high): (f64, f64), axis: &Axis, padding: Padding) -> (f64, f64) {
    if axis.log {
        let room = (high / low).ln();
        if room == 0.0 {
            return (low / 2.0, high * 2.0);
        }
        return (low * (-room * padding.low).exp(), high * (room * padding.high).exp());
    }
    let room = high - low;
    if room == 0.0 {
        let half = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
        return (low - half, high + half);
    }
    (low - room * padding.low, high + room * padding.high)
}

fn outline(violin: &Violin, computed: &ComputedLayout) -> Primitive {
    let side = |sign: f64| {
        violin.outline.iter().map(move |(value, half_width)| {
            (computed.map_x(violin.center + sign * half_width), computed.map_y(*value))
        })
    };
    let points: Vec<(f64, f64)> = side(1.0).chain(side(-1.0).rev()).collect();
    let d = points.iter().map(|(x, y)| format!("{x:.2} {y:.2}")).collect::<Vec<_>>().join(" L ");
    Primitive::Path(Box::new(PathData {
        d: format!("M {d} Z"),
        fill: Some(violin.fill.as_str().into()),
        stroke: violin.stroke.into(),
        stroke_width: 0.8,
        opacity: None,
        stroke_dasharray: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_never_empty() {
        let both = || Padding { low: 0.1, high: 0.1 };
        assert_eq!(padded((0.0, 10.0), &Axis::new(""), both()), (-1.0, 11.0));
        assert_eq!(padded((0.0, 0.0), &Axis::new(""), both()), (-1.0, 1.0));
        assert_eq!(padded((-5.0, -5.0), &Axis::new(""), both()), (-5.5, -4.5));
        assert_eq!(padded((3.0, 3.0), &Axis::new("").log(), both()), (1.5, 6.0));
        let (low, high) = padded((1.0, 100.0), &Axis::new("").log(), both());
        assert!(low > 0.0 && low < 1.0 && high > 100.0, "{low} {high}");
    }
}
