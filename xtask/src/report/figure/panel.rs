//! What a figure shows, as plain data.

use super::gallery::Gallery;
use super::ink::Ink;

/// One set of axes, or one gallery, of a figure.
#[derive(Clone, Debug)]
pub struct Panel {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) content: Content,
    pub(super) brackets: Vec<Bracket>,
}

/// A bracket over two categories with a word above it, as significance is shown.
#[derive(Clone, Debug)]
pub(super) struct Bracket {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: String,
}

/// The label of an axis, and its range if the data should not decide.
#[derive(Clone, Debug, Default)]
pub struct Axis {
    pub(super) label: String,
    pub(super) range: Option<(f64, f64)>,
    pub(super) step: Option<f64>,
    pub(super) log: bool,
}

/// A line through points, with a band around it.
#[derive(Clone, Debug)]
pub struct Curve {
    pub(super) label: String,
    pub(super) ink: Ink,
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    pub(super) spread: Option<Vec<f64>>,
}

/// All values of one category, such as the masks of one layer.
#[derive(Clone, Debug)]
pub struct Group {
    pub(super) label: String,
    pub(super) ink: Ink,
    pub(super) values: Vec<f64>,
}

/// How [`Panel::distributions`] draws a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A density on both sides of a box of quartiles; needs some twenty values a group to mean something.
    Violin,
    /// A box of quartiles with whiskers, and every value as a point.
    Box,
    /// Every value as a point.
    Strip,
}

/// One bar: a height, an error and the points behind it.
#[derive(Clone, Debug)]
pub struct Bar {
    pub(super) label: String,
    pub(super) ink: Ink,
    pub(super) height: f64,
    pub(super) error: Option<f64>,
    pub(super) points: Vec<f64>,
}

/// Points in the plane with one meaning.
#[derive(Clone, Debug)]
pub struct Cloud {
    pub(super) label: String,
    pub(super) ink: Ink,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    Lines(Vec<Curve>),
    Distributions(Shape, Vec<Group>),
    Bars(Vec<Bar>),
    Scatter(Vec<Cloud>),
    Histogram { bins: usize, groups: Vec<Group> },
    Rose { bins: usize, group: Group },
    Gallery(Gallery),
}

impl Panel {
    /// Curves over a common x axis. Curves of at most 25 points get markers; a value that is not finite leaves a gap.
    pub fn lines(title: impl Into<String>, x: Axis, y: Axis, curves: Vec<Curve>) -> Self {
        Self { title: title.into(), x, y, content: Content::Lines(curves), brackets: Vec::new() }
    }

    /// One distribution for each group, side by side. The x axis names the groups; only its label is used.
    pub fn distributions(
        title: impl Into<String>,
        x: Axis,
        y: Axis,
        shape: Shape,
        groups: Vec<Group>,
    ) -> Self {
        Self {
            title: title.into(),
            x,
            y,
            content: Content::Distributions(shape, groups),
            brackets: Vec::new(),
        }
    }

    /// Bars from zero with error bars and points. The x axis names the bars; only its label is used.
    pub fn bars(title: impl Into<String>, x: Axis, y: Axis, bars: Vec<Bar>) -> Self {
        Self { title: title.into(), x, y, content: Content::Bars(bars), brackets: Vec::new() }
    }

    /// Points in the plane.
    pub fn scatter(title: impl Into<String>, x: Axis, y: Axis, clouds: Vec<Cloud>) -> Self {
        Self { title: title.into(), x, y, content: Content::Scatter(clouds), brackets: Vec::new() }
    }

    /// Histograms of several groups over each other, with `bins` equal bins over the range of the x axis or of the data.
    ///
    /// # Panics
    ///
    /// If `bins` is 0.
    #[track_caller]
    pub fn histogram(
        title: impl Into<String>,
        x: Axis,
        y: Axis,
        bins: usize,
        groups: Vec<Group>,
    ) -> Self {
        assert!(bins > 0, "histogram: 0 bins cannot hold values; at least 1 is needed");
        Self {
            title: title.into(),
            x,
            y,
            content: Content::Histogram { bins, groups },
            brackets: Vec::new(),
        }
    }

    /// A histogram of orientations on a half circle: angles in degrees, taken modulo 180, in `bins` wedges.
    ///
    /// The area of a wedge, not its radius, is proportional to the count.
    ///
    /// # Panics
    ///
    /// If `bins` is 0.
    #[track_caller]
    pub fn orientations(title: impl Into<String>, bins: usize, group: Group) -> Self {
        assert!(bins > 0, "orientations: 0 bins cannot hold angles; at least 1 is needed");
        let none = Axis::default;
        Self {
            title: title.into(),
            x: none(),
            y: none(),
            content: Content::Rose { bins, group },
            brackets: Vec::new(),
        }
    }

    /// Small matrices in a grid, colored by the scale of the figure.
    pub fn gallery(title: impl Into<String>, gallery: Gallery) -> Self {
        let none = Axis::default;
        Self {
            title: title.into(),
            x: none(),
            y: none(),
            content: Content::Gallery(gallery),
            brackets: Vec::new(),
        }
    }

    /// Adds a bracket with a label (`***`, `ns`) over two groups or bars, counted from 0; each stands above the one before.
    ///
    /// # Panics
    ///
    /// If the panel has no such group or bar.
    #[track_caller]
    pub fn bracket(mut self, from: usize, to: usize, label: impl Into<String>) -> Self {
        let categories = match &self.content {
            Content::Distributions(_, groups) => groups.len(),
            Content::Bars(bars) => bars.len(),
            _ => 0,
        };
        assert!(
            from < categories && to < categories,
            "bracket: {from} and {to} of {categories} groups or bars"
        );
        self.brackets.push(Bracket { from, to, label: label.into() });
        self
    }

    pub(super) fn is_gallery(&self) -> bool {
        matches!(self.content, Content::Gallery(_))
    }

    /// Label, ink and whether it is a line, of everything in this panel that a legend must explain.
    pub(super) fn legend(&self) -> Vec<(&str, Ink, bool)> {
        match &self.content {
            Content::Lines(curves) => {
                curves.iter().map(|curve| (curve.label.as_str(), curve.ink, true)).collect()
            }
            Content::Scatter(clouds) => {
                clouds.iter().map(|cloud| (cloud.label.as_str(), cloud.ink, false)).collect()
            }
            Content::Histogram { groups, .. } => {
                groups.iter().map(|group| (group.label.as_str(), group.ink, false)).collect()
            }
            // These have their names on the axis or in the title.
            Content::Distributions(..)
            | Content::Bars(_)
            | Content::Rose { .. }
            | Content::Gallery(_) => Vec::new(),
        }
    }
}

impl Axis {
    /// An axis whose range comes from the data.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Fixes the range.
    ///
    /// # Panics
    ///
    /// If the range is empty, not finite, or on a logarithmic axis outside 1e-9 to 1e15.
    #[track_caller]
    pub fn range(self, low: f64, high: f64) -> Self {
        let axis = Self { range: Some((low, high)), ..self };
        axis.check_range();
        axis
    }

    #[track_caller]
    fn check_range(&self) {
        let Some((low, high)) = self.range else { return };
        assert!(
            low < high && self.can_show(low) && self.can_show(high),
            "axis {:?}: {low} to {high} is no range{}",
            self.label,
            if self.log { " of a logarithmic axis" } else { "" },
        );
    }

    /// Fixes the distance of the ticks, for angles and whole numbers.
    ///
    /// # Panics
    ///
    /// If the distance is not a positive number.
    #[track_caller]
    pub fn step(self, step: f64) -> Self {
        assert!(
            step > 0.0 && step.is_finite(),
            "axis {:?}: ticks cannot be {step} apart",
            self.label
        );
        Self { step: Some(step), ..self }
    }

    /// Makes the axis logarithmic; values outside 1e-9 to 1e15 are not drawn.
    ///
    /// # Panics
    ///
    /// If the axis has a range outside these limits.
    #[track_caller]
    pub fn log(self) -> Self {
        let axis = Self { log: true, ..self };
        axis.check_range();
        axis
    }

    /// Whether this axis has a place for `value`.
    ///
    /// Beyond these limits kuva's ticks overflow, and below 1e-10 it moves everything on a logarithmic axis to 1e-10.
    pub(super) fn can_show(&self, value: f64) -> bool {
        if self.log { (1e-9..=1e15).contains(&value) } else { value.abs() <= 1e100 }
    }
}

impl Curve {
    /// A line through `(x, y)`.
    ///
    /// # Panics
    ///
    /// If `x` and `y` differ in length.
    #[track_caller]
    pub fn new(label: impl Into<String>, ink: Ink, x: &[f64], y: &[f64]) -> Self {
        let label = label.into();
        assert!(
            x.len() == y.len(),
            "curve {label:?}: {} values of x but {} of y",
            x.len(),
            y.len()
        );
        Self { label, ink, x: x.to_vec(), y: y.to_vec(), spread: None }
    }

    /// The mean over several runs with a band of one sample standard deviation, each run one value for each `x`.
    ///
    /// A run that ended early counts as far as it went; where a single run is left there is no band, and where none is left
    /// a gap.
    ///
    /// # Panics
    ///
    /// If a run is longer than `x`.
    #[track_caller]
    pub fn over_runs(label: impl Into<String>, ink: Ink, x: &[f64], runs: &[Vec<f64>]) -> Self {
        let label = label.into();
        for run in runs {
            assert!(
                run.len() <= x.len(),
                "curve {label:?}: a run of {} values for {} of x",
                run.len(),
                x.len()
            );
        }
        let at = |i: usize| runs.iter().filter_map(move |run| run.get(i)).copied();
        let mean = |i: usize| at(i).sum::<f64>() / at(i).count() as f64;
        let spread = |i: usize| match at(i).count() {
            0 | 1 => f64::NAN,
            n => (at(i).map(|y| (y - mean(i)).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt(),
        };
        let points = 0..x.len();
        Self {
            label,
            ink,
            x: x.to_vec(),
            y: points.clone().map(mean).collect(),
            spread: Some(points.map(spread).collect()),
        }
    }
}

impl Group {
    /// `values` under one label; those that are not finite are counted but not drawn.
    pub fn new(label: impl Into<String>, ink: Ink, values: Vec<f64>) -> Self {
        Self { label: label.into(), ink, values }
    }

    /// All values, finite or not.
    pub fn values(&self) -> &[f64] {
        &self.values
    }
}

impl Curve {
    /// Sets the half width of the band around each point.
    ///
    /// # Panics
    ///
    /// If there is not one for each point.
    #[track_caller]
    pub fn with_spread(self, spread: Vec<f64>) -> Self {
        assert!(
            spread.len() == self.x.len(),
            "curve {:?}: {} half widths for {} points",
            self.label,
            spread.len(),
            self.x.len()
        );
        Self { spread: Some(spread), ..self }
    }
}

impl Bar {
    /// A bar of a given height.
    pub fn new(label: impl Into<String>, ink: Ink, height: f64) -> Self {
        Self { label: label.into(), ink, height, error: None, points: Vec::new() }
    }

    /// The mean of `points` with their sample standard deviation as error bar, and the points themselves.
    pub fn of_points(label: impl Into<String>, ink: Ink, points: Vec<f64>) -> Self {
        let n = points.len() as f64;
        let height = points.iter().sum::<f64>() / n;
        let error = (points.len() > 1)
            .then(|| (points.iter().map(|y| (y - height).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
        Self { label: label.into(), ink, height, error, points }
    }

    /// Sets the length of the error bar, drawn up and down.
    pub fn error(self, error: f64) -> Self {
        Self { error: Some(error), ..self }
    }
}

impl Cloud {
    /// Points with one meaning.
    pub fn new(label: impl Into<String>, ink: Ink, points: Vec<(f64, f64)>) -> Self {
        Self { label: label.into(), ink, points }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_different_length_average_over_what_is_there() {
        let curve = Curve::over_runs("c", Ink::Lp2, &[0.0, 1.0, 2.0], &[vec![1.0, 4.0], vec![3.0]]);
        assert_eq!(curve.y[..2], [2.0, 4.0]);
        assert!(curve.y[2].is_nan());
        let spread = curve.spread.unwrap();
        assert!(
            (spread[0] - f64::sqrt(2.0)).abs() < 1e-12 && spread[1].is_nan() && spread[2].is_nan()
        );
    }

    #[test]
    fn bars_of_points_have_mean_and_sample_deviation() {
        let bar = Bar::of_points("b", Ink::Lp2, vec![1.0, 3.0]);
        assert_eq!((bar.height, bar.error), (2.0, Some(f64::sqrt(2.0))));
        assert_eq!(Bar::of_points("b", Ink::Lp2, vec![1.0]).error, None);
    }

    #[test]
    #[should_panic(expected = "axis \"\u{3b1}\": 0 to 1 is no range of a logarithmic axis")]
    fn a_logarithmic_axis_has_no_zero() {
        Axis::new("\u{3b1}").range(0.0, 1.0).log();
    }
}
