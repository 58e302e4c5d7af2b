//! What stands on the axes of a panel: its data as kuva's plots.

use kuva::plot::scatter::MarkerShape;
use kuva::plot::{BandPlot, BarPlot, BoxPlot, LinePlot, LineStyle, ScatterPlot, StripPlot};
use kuva::render::plots::Plot;

use super::canvas::literal;
use super::ink::Ink;
use super::panel::{Axis, Bar, Cloud, Content, Curve, Group, Panel, Shape};

/// Curves of at most so many points have a marker at each: beyond, the markers would hide the line.
const MARKED: usize = 25;

/// The marks of a panel and what its axes must know of them.
pub(super) struct Marks {
    /// In drawing order; empty if there is nothing to draw.
    pub(super) plots: Vec<Plot>,
    /// Densities, which lie under the plots.
    pub(super) violins: Vec<Violin>,
    /// How many values have no place on the axes: not finite, not positive on a
    /// logarithmic one, outside the bins of a histogram.
    pub(super) dropped: usize,
    /// Range of the data, meaningless if there is nothing to draw.
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
}

/// A density on both sides of the `center`-th category.
pub(super) struct Violin {
    pub(super) center: f64,
    /// Value and half width (in categories), by ascending value.
    pub(super) outline: Vec<(f64, f64)>,
    pub(super) fill: String,
    pub(super) stroke: &'static str,
}

impl Marks {
    pub(super) fn new(panel: &Panel) -> Self {
        match &panel.content {
            Content::Lines(curves) => lines(curves, panel),
            Content::Distributions(shape, groups) => distributions(*shape, groups, &panel.y),
            Content::Bars(bars) => bar_plots(bars, &panel.y),
            Content::Scatter(clouds) => scatter(clouds, &panel.x, &panel.y),
            Content::Histogram { bins, groups } => histogram(*bins, groups, &panel.x),
            Content::Rose { .. } | Content::Gallery(_) => {
                unreachable!("these are not drawn on axes")
            }
        }
    }

    fn empty() -> Self {
        let nothing = (f64::INFINITY, f64::NEG_INFINITY);
        Self { plots: Vec::new(), violins: Vec::new(), dropped: 0, x: nothing, y: nothing }
    }

    /// Widens the ranges to hold these points.
    fn cover(&mut self, points: impl IntoIterator<Item = (f64, f64)>) {
        for (x, y) in points {
            self.x = (self.x.0.min(x), self.x.1.max(x));
            self.y = (self.y.0.min(y), self.y.1.max(y));
        }
    }
}

fn lines(curves: &[Curve], panel: &Panel) -> Marks {
    let mut marks = Marks::empty();
    for curve in curves {
        for (run, spread) in bands(curve, panel) {
            let (x, y) = (|| run.iter().map(|&i| curve.x[i]), || run.iter().map(|&i| curve.y[i]));
            let low: Vec<f64> = y().zip(&spread).map(|(y, s)| y - s).collect();
            let high: Vec<f64> = y().zip(&spread).map(|(y, s)| y + s).collect();
            marks.cover(x().zip(low.iter().copied()).chain(x().zip(high.iter().copied())));
            let band =
                BandPlot::new(x(), low, high).with_color(curve.ink.color()).with_opacity(0.18);
            marks.plots.push(Plot::Band(band));
        }
    }
    for curve in curves {
        let visible = |i: &usize| panel.x.can_show(curve.x[*i]) && panel.y.can_show(curve.y[*i]);
        for run in stretches(curve.x.len(), visible) {
            let points: Vec<(f64, f64)> = run.iter().map(|&i| (curve.x[i], curve.y[i])).collect();
            marks.cover(points.iter().copied());
            if run.len() > 1 {
                let style = curve
                    .ink
                    .dashes()
                    .map_or(LineStyle::Solid, |dashes| LineStyle::Custom(dashes.into()));
                let line = LinePlot::new().with_data(points.clone()).with_color(curve.ink.color());
                marks.plots.push(Plot::Line(line.with_stroke_width(1.8).with_line_style(style)));
            }
            if run.len() == 1 || curve.x.len() <= MARKED {
                marks.plots.push(dots(points, curve.ink, 2.4, 1.0));
            }
        }
        marks.dropped += (0..curve.x.len()).filter(|i| !visible(i)).count();
    }
    marks
}

/// The stretches of a curve on which its band can be drawn, with the spread there.
fn bands(curve: &Curve, panel: &Panel) -> Vec<(Vec<usize>, Vec<f64>)> {
    let Some(spread) = &curve.spread else { return Vec::new() };
    let visible = |i: &usize| {
        let (low, high) = (curve.y[*i] - spread[*i], curve.y[*i] + spread[*i]);
        panel.x.can_show(curve.x[*i]) && panel.y.can_show(low) && panel.y.can_show(high)
    };
    let runs = stretches(curve.x.len(), visible).filter(|run| run.len() > 1);
    runs.map(|run| (run.clone(), run.iter().map(|&i| spread[i]).collect())).collect()
}

/// The maximal runs of `0..n` on which `keep` holds.
fn stretches(n: usize, keep: impl Fn(&usize) -> bool) -> impl Iterator<Item = Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = vec![Vec::new()];
    for i in 0..n {
        match keep(&i) {
            true => runs.last_mut().expect("there is always an open run").push(i),
            false => runs.push(Vec::new()),
        }
    }
    runs.into_iter().filter(|run| !run.is_empty())
}

fn dots(points: Vec<(f64, f64)>, ink: Ink, radius: f64, opacity: f64) -> Plot {
    let plot = ScatterPlot::new().with_data(points).with_color(ink.color()).with_size(radius);
    Plot::Scatter(plot.with_marker(MarkerShape::Circle).with_marker_opacity(opacity))
}

fn distributions(shape: Shape, groups: &[Group], y: &Axis) -> Marks {
    let kept: Vec<Vec<f64>> = groups
        .iter()
        .map(|group| group.values.iter().copied().filter(|&v| y.can_show(v)).collect())
        .collect();
    let mut marks = Marks::empty();
    marks.dropped = groups.iter().map(|group| group.values.len()).sum::<usize>()
        - kept.iter().map(Vec::len).sum::<usize>();
    marks.cover(
        kept.iter()
            .enumerate()
            .flat_map(|(i, values)| values.iter().map(move |&v| (i as f64 + 1.0, v))),
    );
    let most = kept.iter().map(Vec::len).max().unwrap_or(0);
    if most == 0 {
        return marks;
    }
    let colors = || groups.iter().map(|group| group.ink.color());
    // Hundreds of points in a slot must be smaller and paler to show where they are dense.
    let (radius, opacity) = if most > 60 { (1.2, 0.35) } else { (2.0, 0.75) };
    let mut strip = StripPlot::new()
        .with_group_colors(colors())
        .with_marker_opacity(opacity)
        .with_point_size(radius);
    let mut boxes = BoxPlot::new();
    for (group, values) in groups.iter().zip(&kept) {
        strip = strip.with_group(literal(&group.label), values.iter().copied());
        boxes = boxes.with_group(literal(&group.label), values.iter().copied());
    }
    match shape {
        Shape::Strip => marks.plots.push(Plot::Strip(strip.with_jitter(0.5))),
        Shape::Box => {
            let boxes =
                boxes.with_width(0.5).with_group_colors(colors().map(|color| tint(color, 0.35)));
            marks.plots = vec![Plot::Box(boxes), Plot::Strip(strip.with_jitter(0.3))];
        }
        Shape::Violin => {
            marks.plots.push(Plot::Box(boxes.with_width(0.14).with_color("#333333")));
            for (i, (group, values)) in groups.iter().zip(&kept).enumerate() {
                let center = i as f64 + 1.0;
                match density(values, y.log) {
                    Some(outline) => {
                        let (fill, stroke) = (tint(group.ink.color(), 0.45), group.ink.color());
                        marks.violins.push(Violin { center, outline, fill, stroke });
                    }
                    // Equal values have no density: show the value itself.
                    None if !values.is_empty() => {
                        marks.plots.push(dots(vec![(center, values[0])], group.ink, 3.0, 1.0));
                    }
                    None => {}
                }
            }
        }
    }
    marks
}

/// A Gaussian kernel density as `(value, half width)`, at most 0.45 wide, from the smallest to the largest value.
///
/// Silverman's bandwidth, on the logarithm of the values if `log`. None if all values are equal.
fn density(values: &[f64], log: bool) -> Option<Vec<(f64, f64)>> {
    const STEPS: usize = 80;
    let mut sorted: Vec<f64> = values.iter().map(|&v| if log { v.ln() } else { v }).collect();
    sorted.sort_by(f64::total_cmp);
    let (&low, &high) = (sorted.first()?, sorted.last()?);
    let n = sorted.len() as f64;
    let mean = sorted.iter().sum::<f64>() / n;
    let sd = (sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    let quartile = |q: f64| sorted[(q * (n - 1.0)).round() as usize];
    let iqr = (quartile(0.75) - quartile(0.25)) / 1.34;
    let spread = if iqr > 0.0 { sd.min(iqr) } else { sd };
    if low == high || spread <= 0.0 {
        return None;
    }
    let bandwidth = 0.9 * spread * n.powf(-0.2);
    let at =
        |x: f64| sorted.iter().map(|v| (-0.5 * ((x - v) / bandwidth).powi(2)).exp()).sum::<f64>();
    let points: Vec<(f64, f64)> = (0..=STEPS)
        .map(|i| low + (high - low) * i as f64 / STEPS as f64)
        .map(|x| (if log { x.exp() } else { x }, at(x)))
        .collect();
    let most = points.iter().map(|(_, density)| *density).fold(0.0, f64::max);
    Some(points.into_iter().map(|(value, density)| (value, 0.45 * density / most)).collect())
}

/// `share` of a color on white.
fn tint(color: &str, share: f64) -> String {
    let channel = |i: usize| u8::from_str_radix(&color[i..i + 2], 16).expect("inks are #rrggbb");
    let mixed = [1, 3, 5].map(|i| (255.0 + share * (f64::from(channel(i)) - 255.0)).round() as u8);
    format!("#{:02x}{:02x}{:02x}", mixed[0], mixed[1], mixed[2])
}

fn bar_plots(bars: &[Bar], y: &Axis) -> Marks {
    let mut marks = Marks::empty();
    let height = |bar: &Bar| if y.can_show(bar.height) { bar.height } else { 0.0 };
    let error =
        |bar: &Bar| bar.error.filter(|e| y.can_show(*e) && y.can_show(bar.height)).unwrap_or(0.0);
    let mut above = Vec::new();
    for (i, bar) in bars.iter().enumerate() {
        let (center, n) = (i as f64 + 1.0, bar.points.len() as f64);
        // Spread over a third of the bar in the order of the seeds, so that equal values stay apart.
        let place = |j: usize| center + (j as f64 + 0.5 - n / 2.0) / n * 0.35;
        let points: Vec<(f64, f64)> = bar
            .points
            .iter()
            .enumerate()
            .filter(|(_, v)| y.can_show(**v))
            .map(|(j, &v)| (place(j), v))
            .collect();
        marks.dropped += bar.points.len() - points.len() + usize::from(!y.can_show(bar.height));
        marks.cover(points.iter().copied());
        if y.can_show(bar.height) {
            marks.cover([
                (center, 0.0),
                (center, bar.height - error(bar)),
                (center, bar.height + error(bar)),
            ]);
        }
        if !points.is_empty() {
            above.push(dots(points, bar.ink, 2.2, 1.0));
        }
        if error(bar) > 0.0 {
            let (low, high) = (bar.height - error(bar), bar.height + error(bar));
            let cap = |y: f64| vec![(center - 0.12, y), (center + 0.12, y)];
            for points in [vec![(center, low), (center, high)], cap(low), cap(high)] {
                let line = LinePlot::new().with_data(points).with_color("#222222");
                above.push(Plot::Line(line.with_stroke_width(1.2)));
            }
        }
    }
    if marks.y.0 <= marks.y.1 {
        let plot = BarPlot::new()
            .with_colored_bars(
                bars.iter()
                    .map(|bar| (literal(&bar.label), height(bar), tint(bar.ink.color(), 0.55))),
            )
            .with_width(0.7);
        marks.plots.push(Plot::Bar(plot));
        marks.plots.extend(above);
    }
    marks
}

fn scatter(clouds: &[Cloud], x: &Axis, y: &Axis) -> Marks {
    let mut marks = Marks::empty();
    let total: usize = clouds.iter().map(|cloud| cloud.points.len()).sum();
    let opacity = if total > 300 { 0.45 } else { 0.8 };
    for cloud in clouds {
        let visible = |point: &(f64, f64)| x.can_show(point.0) && y.can_show(point.1);
        let points: Vec<(f64, f64)> = cloud.points.iter().copied().filter(visible).collect();
        marks.dropped += cloud.points.len() - points.len();
        marks.cover(points.iter().copied());
        if !points.is_empty() {
            marks.plots.push(dots(points, cloud.ink, 2.8, opacity));
        }
    }
    marks
}

fn histogram(bins: usize, groups: &[Group], x: &Axis) -> Marks {
    let mut marks = Marks::empty();
    let all = || groups.iter().flat_map(|group| &group.values).copied();
    marks.cover(all().filter(|v| x.can_show(*v)).map(|v| (v, 0.0)));
    if marks.x.0 > marks.x.1 {
        marks.dropped = all().count();
        return marks;
    }
    let (low, high) = x.range.unwrap_or(if marks.x.0 < marks.x.1 {
        marks.x
    } else {
        (marks.x.0 - 0.5, marks.x.0 + 0.5)
    });
    let inside = |v: &f64| (low..=high).contains(v);
    marks.dropped = all().count() - all().filter(inside).count();
    if marks.dropped == all().count() {
        return marks;
    }
    let width = (high - low) / bins as f64;
    for group in groups {
        let mut counts = vec![0usize; bins];
        for value in group.values.iter().filter(|v| inside(v)) {
            counts[(((value - low) / width) as usize).min(bins - 1)] += 1;
        }
        let steps = counts.iter().enumerate().flat_map(|(i, &count)| {
            [(low + i as f64 * width, count as f64), (low + (i + 1) as f64 * width, count as f64)]
        });
        let outline: Vec<(f64, f64)> =
            [(low, 0.0)].into_iter().chain(steps).chain([(high, 0.0)]).collect();
        marks.cover(outline.iter().copied());
        let line =
            LinePlot::new().with_data(outline).with_color(group.ink.color()).with_stroke_width(1.3);
        marks.plots.push(Plot::Line(line.with_fill().with_fill_opacity(0.3)));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_split_a_curve() {
        let runs: Vec<_> = stretches(6, |i| ![0, 3].contains(i)).collect();
        assert_eq!(runs, [vec![1, 2], vec![4, 5]]);
        assert_eq!(stretches(0, |_| true).count(), 0);
    }

    #[test]
    fn densities_end_at_the_data_and_peak_where_it_is_dense() {
        let values: Vec<f64> = (0..=100).map(|i| (f64::from(i) / 50.0 - 1.0).powi(3)).collect();
        let outline = density(&values, false).unwrap();
        assert_eq!((outline[0].0, outline.last().unwrap().0), (-1.0, 1.0));
        let peak = outline.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        assert!(peak.0.abs() < 0.05 && (peak.1 - 0.45).abs() < 1e-12, "{peak:?}");
        assert!(density(&[2.0; 9], false).is_none());
        assert!(density(&[], true).is_none());
    }

    #[test]
    fn histograms_count_every_value_once() {
        let group = Group::new("g", Ink::Neutral, vec![0.0, 0.5, 1.0, 2.0, f64::NAN, 3.0]);
        let marks = histogram(2, &[group], &Axis::new("").range(0.0, 2.0));
        let Plot::Line(line) = &marks.plots[0] else { panic!("a histogram is a stepped line") };
        let heights: Vec<f64> = line.data.iter().map(|point| point.y).collect();
        assert_eq!(heights, [0.0, 2.0, 2.0, 2.0, 2.0, 0.0]);
        assert_eq!(marks.dropped, 2);
    }

    #[test]
    fn tints_mix_with_white() {
        assert_eq!(tint("#000000", 0.5), "#808080");
        assert_eq!(tint("#d55e00", 1.0), "#d55e00");
    }
}
