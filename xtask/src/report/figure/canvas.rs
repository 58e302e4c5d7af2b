//! The scene under construction: a few words for drawing into it, and rasters that SVG can embed.

use kuva::render::color::Color;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor, TextSpan};

/// Fonts in scene units. At the usual figure width of 960 units on a 17 cm text block, 12 units are 6 points.
pub(super) const TITLE: u32 = 14;
pub(super) const LABEL: u32 = 12;
pub(super) const TICK: u32 = 11;
pub(super) const LETTER: u32 = 17;
/// Where kuva puts the title of a panel, for those that are drawn without it.
pub(super) const TITLE_BASELINE: f64 = 24.5;

/// Device pixels per scene unit in PNG files and embedded rasters.
pub(super) const PIXELS: f64 = 2.0;

pub(super) struct Canvas {
    /// Keeps what this figure defines apart from other figures on the same page.
    id: String,
    clips: usize,
    pub(super) scene: Scene,
    /// What stands in for the elements of each raster group when the scene becomes an SVG.
    pub(super) rasters: Vec<Raster>,
}

/// An indexed image over a rectangle of the scene; index 255 is transparent.
pub(super) struct Raster {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width_px: usize,
    pub(super) height_px: usize,
    pub(super) indices: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(id: &str, width: f64, height: f64) -> Self {
        let mut scene = Scene::new(width, height);
        scene.font_family = Some("DejaVu Sans, Verdana, Liberation Sans, Arial, sans-serif".into());
        scene.text_color = Some("#000000".into());
        Self { id: id.to_owned(), clips: 0, scene, rasters: Vec::new() }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, anchor: TextAnchor, size: u32, text: &str) {
        self.styled_text(x, y, anchor, size, text, None, "#000000");
    }

    /// Bold text; kuva's PNGs know it only as a part of rich text.
    pub(super) fn bold(&mut self, x: f64, y: f64, size: u32, text: &str) {
        let spans = vec![TextSpan { bold: true, ..TextSpan::plain(text) }];
        self.scene.add(Primitive::RichText {
            x,
            y,
            spans,
            size,
            anchor: TextAnchor::Start,
            color: None,
        });
    }

    pub(super) fn gray(&mut self, x: f64, y: f64, anchor: TextAnchor, size: u32, text: &str) {
        self.styled_text(x, y, anchor, size, text, None, "#666666");
    }

    /// Text that reads upward, centered on `(x, y)`.
    pub(super) fn upward(&mut self, x: f64, y: f64, size: u32, text: &str) {
        self.styled_text(x, y, TextAnchor::Middle, size, text, Some(-90.0), "#000000");
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the one place where every property of a text meets"
    )]
    fn styled_text(
        &mut self,
        x: f64,
        y: f64,
        anchor: TextAnchor,
        size: u32,
        text: &str,
        rotate: Option<f64>,
        color: &str,
    ) {
        let (content, color) = (literal(text), Some(Color::from(color)));
        self.scene.add(Primitive::Text { x, y, content, size, anchor, rotate, bold: false, color });
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), color: &str, width: f64) {
        self.polyline(vec![from, to], color.into(), width, None);
    }

    /// A line through points. Dashes become lines of their own: kuva's PNGs begin them anew at every point.
    pub(super) fn polyline(
        &mut self,
        points: Vec<(f64, f64)>,
        stroke: Color,
        width: f64,
        dashes: Option<&str>,
    ) {
        let parts = match dashes {
            Some(dashes) => dashed(&points, dashes),
            None => vec![points],
        };
        for points in parts {
            let (stroke, stroke_width) = (stroke.clone(), width);
            self.scene.add(Primitive::PolyLine {
                points,
                stroke,
                stroke_width,
                stroke_dasharray: None,
            });
        }
    }

    pub(super) fn rect(
        &mut self,
        x: f64,
        y: f64,
        width: f64,
        height: f64,
        fill: &str,
        stroke: Option<&str>,
    ) {
        let stroke_width = stroke.map(|_| 1.0);
        let (fill, stroke) = (fill.into(), stroke.map(Into::into));
        self.scene.add(Primitive::Rect {
            x,
            y,
            width,
            height,
            fill,
            stroke,
            stroke_width,
            opacity: None,
        });
    }

    pub(super) fn circle(&mut self, cx: f64, cy: f64, r: f64, color: &str) {
        let fill = color.into();
        self.scene.add(Primitive::Circle {
            cx,
            cy,
            r,
            fill,
            fill_opacity: None,
            stroke: None,
            stroke_width: None,
        });
    }

    pub(super) fn path(&mut self, d: String, fill: Option<&str>, stroke: &str, width: f64) {
        self.scene.add(Primitive::Path(Box::new(PathData {
            d,
            fill: fill.map(Into::into),
            stroke: stroke.into(),
            stroke_width: width,
            opacity: None,
            stroke_dasharray: None,
        })));
    }

    /// Draws `scene` with its origin at `(x, y)`.
    ///
    /// Its clip paths are numbered by their order in this figure instead of by kuva's counter for the whole process, so that
    /// the same figure is the same bytes, and widened so that a marker on the edge is not cut in half.
    pub(super) fn place(&mut self, scene: Scene, x: f64, y: f64) {
        let transform = Some(format!("translate({x},{y})"));
        self.scene.add(Primitive::GroupStart { transform, title: None, extra_attrs: None });
        for element in scene.elements {
            match element {
                Primitive::ClipStart { x, y, width, height, .. } => self.clip(x, y, width, height),
                Primitive::PolyLine { points, stroke, stroke_width, stroke_dasharray } => {
                    self.polyline(points, stroke, stroke_width, stroke_dasharray.as_deref());
                }
                other => self.scene.add(other),
            }
        }
        self.scene.add(Primitive::GroupEnd);
        let others =
            scene.defs.into_iter().filter(|definition| !definition.starts_with("<clipPath"));
        self.scene.defs.extend(others);
    }

    fn clip(&mut self, x: f64, y: f64, width: f64, height: f64) {
        const ROOM: f64 = 3.0;
        let id = format!("{}-clip-{}", self.id, self.clips);
        self.clips += 1;
        let (x, y, width, height) = (x - ROOM, y - ROOM, width + 2.0 * ROOM, height + 2.0 * ROOM);
        self.scene.defs.push(format!(
            "<clipPath id=\"{id}\"><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/></clipPath>"
        ));
        self.scene.add(Primitive::ClipStart { x, y, width, height, id });
    }
}

/// The visible parts of a dashed line; `pattern` alternates lengths of dashes and gaps.
fn dashed(points: &[(f64, f64)], pattern: &str) -> Vec<Vec<(f64, f64)>> {
    let lengths: Vec<f64> =
        pattern.split_whitespace().filter_map(|length| length.parse().ok()).collect();
    if points.is_empty() || lengths.is_empty() || lengths.iter().any(|length| *length <= 0.0) {
        return vec![points.to_vec()];
    }
    let (mut parts, mut open) = (Vec::new(), vec![points[0]]);
    let (mut step, mut left) = (0, lengths[0]);
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let mut done = 0.0;
        while length - done > left {
            done += left;
            let turn = (x0 + (x1 - x0) * done / length, y0 + (y1 - y0) * done / length);
            if step % 2 == 0 {
                open.push(turn);
                parts.push(std::mem::take(&mut open));
            } else {
                open = vec![turn];
            }
            step += 1;
            left = lengths[step % lengths.len()];
        }
        left -= length - done;
        if step % 2 == 0 {
            open.push((x1, y1));
        }
    }
    if open.len() > 1 {
        parts.push(open);
    }
    parts
}

/// `text` as kuva should show it: a pair of dollars would be taken for a formula.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', "\\$")
}

/// About how wide `text` is in the bundled font, rather too much than too little.
///
/// kuva measures exactly but keeps the function to itself; for spacing legends and captions this is enough.
pub(super) fn text_width(text: &str, size: u32) -> f64 {
    let em: f64 = text
        .chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '\'' | '|' => 0.32,
            ' ' | '.' | ',' | ':' | ';' | 'f' | 't' | 'r' | '(' | ')' | '-' | 'I' => 0.42,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
            '=' | '±' | '<' | '>' | '+' => 0.84,
            c if c.is_uppercase() => 0.72,
            c if c.is_ascii() => 0.64,
            c if c.is_alphabetic() => 0.7,
            _ => 1.0,
        })
        .sum();
    em * f64::from(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_run_around_corners() {
        let corner = [(0.0, 0.0), (3.0, 0.0), (3.0, 4.0)];
        assert_eq!(
            dashed(&corner, "2 0.5"),
            [
                vec![(0.0, 0.0), (2.0, 0.0)],
                vec![(2.5, 0.0), (3.0, 0.0), (3.0, 1.5)],
                vec![(3.0, 2.0), (3.0, 4.0)]
            ]
        );
    }

    #[test]
    fn odd_patterns_and_lines_do_no_harm() {
        assert_eq!(dashed(&[(0.0, 0.0), (9.0, 0.0)], "0 0"), [vec![(0.0, 0.0), (9.0, 0.0)]]);
        assert_eq!(dashed(&[(1.0, 1.0), (1.0, 1.0)], "2 2"), [vec![(1.0, 1.0), (1.0, 1.0)]]);
        assert_eq!(dashed(&[], "2 2"), [vec![]]);
    }
}
