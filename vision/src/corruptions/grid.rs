//! [`Grid`]: pixels as floats, and the filters that several corruptions share.

use crate::datasets::Image;

/// Floats of `channels` values a pixel, row by row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) values: Vec<f64>,
}

/// What stands beyond the border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// The last pixel: `aaa|abcd|ddd`.
    Nearest,
    /// The image again, its last pixel twice: `cba|abcd|dcb`.
    Reflect,
    /// The image again, its last pixel once: `dcb|abcd|cba`.
    Mirror,
}

impl Border {
    /// The index inside `0..n` that stands at `i`.
    pub(super) fn index(self, i: isize, n: usize) -> usize {
        let n = n as isize;
        let folded = match self {
            Border::Nearest => i.clamp(0, n - 1),
            Border::Reflect => {
                let i = i.rem_euclid(2 * n);
                i.min(2 * n - 1 - i)
            }
            Border::Mirror if n == 1 => 0,
            Border::Mirror => {
                let i = i.rem_euclid(2 * n - 2);
                i.min(2 * n - 2 - i)
            }
        };
        folded as usize
    }
}

impl Grid {
    pub(super) fn new(height: usize, width: usize, channels: usize, values: Vec<f64>) -> Self {
        debug_assert_eq!(values.len(), height * width * channels);
        Grid { height, width, channels, values }
    }

    /// One channel, every pixel by a function that is called row by row.
    pub(super) fn plane(height: usize, width: usize, mut f: impl FnMut() -> f64) -> Self {
        Grid::new(height, width, 1, (0..height * width).map(|_| f()).collect())
    }

    /// An image's bytes as 0 to 1.
    pub(super) fn of(image: &Image) -> Self {
        let values = image.pixels().iter().map(|&v| f64::from(v) / 255.0).collect();
        Grid::new(image.height(), image.width(), 3, values)
    }

    pub(super) fn at(&self, y: usize, x: usize, c: usize) -> f64 {
        self.values[(y * self.width + x) * self.channels + c]
    }

    /// The same shape, every value changed.
    pub(super) fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|v| *v = f(*v));
        self
    }

    /// Sums of `kernel[i] * value(y + i - radius)` along one axis (0: down, 1: across).
    fn correlate_axis(&self, axis: usize, kernel: &[f64], border: Border) -> Self {
        let radius = (kernel.len() / 2) as isize;
        let n = if axis == 0 { self.height } else { self.width };
        // Which pixel each tap of each position reads, once for all lines.
        let taps: Vec<usize> = (0..n as isize)
            .flat_map(|i| (0..kernel.len() as isize).map(move |k| i + k - radius))
            .map(|i| border.index(i, n))
            .collect();
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                let taps = &taps[if axis == 0 { y } else { x } * kernel.len()..][..kernel.len()];
                for c in 0..self.channels {
                    let read = |&i: &usize| match axis {
                        0 => self.at(i, x, c),
                        _ => self.at(y, i, c),
                    };
                    values.push(taps.iter().zip(kernel).map(|(i, k)| read(i) * k).sum());
                }
            }
        }
        Grid { values, ..*self }
    }

    /// `scipy.ndimage.gaussian_filter`: a Gaussian cut off at `truncate` times sigma, first down, then across.
    pub(super) fn gaussian(&self, sigma: f64, truncate: f64, border: Border) -> Self {
        let radius = (truncate * sigma + 0.5) as usize;
        if sigma <= 0.0 || radius == 0 {
            return self.clone();
        }
        let kernel = gaussian_kernel(radius, sigma);
        self.correlate_axis(0, &kernel, border).correlate_axis(1, &kernel, border)
    }

    /// Sums over a square kernel of odd size around every pixel (`cv2.filter2D`).
    pub(super) fn filter(&self, kernel: &Grid, border: Border) -> Self {
        let radius = (kernel.height / 2) as isize;
        let at = |i: usize, k: usize, n: usize| border.index(i as isize + k as isize - radius, n);
        let mut taps = Vec::new();
        for ky in 0..kernel.height {
            for kx in 0..kernel.width {
                let weight = kernel.at(ky, kx, 0);
                if weight != 0.0 {
                    taps.push((ky, kx, weight));
                }
            }
        }
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                for c in 0..self.channels {
                    let read = |&(ky, kx, weight): &(usize, usize, f64)| {
                        weight * self.at(at(y, ky, self.height), at(x, kx, self.width), c)
                    };
                    values.push(taps.iter().map(read).sum());
                }
            }
        }
        Grid { values, ..*self }
    }

    /// The value between pixels, linear in both directions.
    pub(super) fn interpolated(&self, y: f64, x: f64, c: usize, border: Border) -> f64 {
        let (top, left) = (y.floor(), x.floor());
        let (down, across) = (y - top, x - left);
        let row = |i: isize| border.index(top as isize + i, self.height);
        let column = |i: isize| border.index(left as isize + i, self.width);
        let line = |y: usize| {
            self.at(y, column(0), c) * (1.0 - across) + self.at(y, column(1), c) * across
        };
        line(row(0)) * (1.0 - down) + line(row(1)) * down
    }

    /// The middle magnified to fill the image: the part that is `1 / factor` as large through `scipy.ndimage.zoom` of order 1.
    pub(super) fn zoomed(&self, factor: f64) -> Self {
        let rows = Zoom::new(self.height, factor);
        let columns = Zoom::new(self.width, factor);
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                for c in 0..self.channels {
                    let (y, x) = (rows.source(y), columns.source(x));
                    values.push(self.interpolated(y, x, c, Border::Nearest));
                }
            }
        }
        Grid { values, ..*self }
    }

    /// Turned by half a turn.
    pub(super) fn rotated(&self) -> Self {
        let pixels = self.values.chunks_exact(self.channels).rev();
        Grid { values: pixels.flatten().copied().collect(), ..*self }
    }

    /// ImageMagick's `-motion-blur`: the mean along a ray of `2 radius + 1` pixels at `degrees`, which weighs by one side of a
    /// Gaussian; 0 to 1, in steps of a byte as its result is a picture.
    pub(super) fn motion_blurred(&self, radius: f64, sigma: f64, degrees: f64) -> Self {
        let length = 2 * radius.ceil() as usize + 1;
        let half: Vec<f64> =
            (0..length).map(|i| (-((i * i) as f64) / (2.0 * sigma * sigma)).exp()).collect();
        let sum: f64 = half.iter().sum();
        let (sin, cos) = degrees.to_radians().sin_cos();
        let step = |i: usize, along: f64| (i as f64 * along - 0.5).ceil() as isize;
        let ray: Vec<(isize, isize, f64)> = half
            .iter()
            .enumerate()
            .map(|(i, weight)| (step(i, sin), step(i, cos), weight / sum))
            .collect();
        let mut values = Vec::with_capacity(self.values.len());
        for y in 0..self.height {
            for x in 0..self.width {
                for c in 0..self.channels {
                    let read = |&(dy, dx, weight): &(isize, isize, f64)| {
                        let y = Border::Nearest.index(y as isize + dy, self.height);
                        weight * self.at(y, Border::Nearest.index(x as isize + dx, self.width), c)
                    };
                    let value: f64 = ray.iter().map(read).sum();
                    values.push((value * 255.0).round().clamp(0.0, 255.0) / 255.0);
                }
            }
        }
        Grid { values, ..*self }
    }
}

/// `2 radius + 1` values of a Gaussian that sum to 1.
pub(super) fn gaussian_kernel(radius: usize, sigma: f64) -> Vec<f64> {
    let distance = |i: usize| i as f64 - radius as f64;
    let bell = |i: usize| (-0.5 * distance(i) * distance(i) / (sigma * sigma)).exp();
    let sum: f64 = (0..=2 * radius).map(bell).sum();
    (0..=2 * radius).map(|i| bell(i) / sum).collect()
}

/// One axis of [`Grid::zoomed`].
struct Zoom {
    /// First pixel of the part.
    first: usize,
    /// New pixels that are cut off before the first.
    trimmed: usize,
    step: f64,
    last: f64,
}

impl Zoom {
    fn new(n: usize, factor: f64) -> Self {
        let part = (n as f64 / factor).ceil() as usize;
        let size = (part as f64 * factor).round_ties_even() as usize;
        Zoom {
            first: (n - part) / 2,
            trimmed: (size - n) / 2,
            step: (part - 1) as f64 / (size - 1).max(1) as f64,
            last: (part - 1) as f64,
        }
    }

    fn source(&self, i: usize) -> f64 {
        self.first as f64 + ((i + self.trimmed) as f64 * self.step).min(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_continue_the_image() {
        let line = |border: Border| -> String {
            (-4..8).map(|i| char::from(b"abcd"[border.index(i, 4)])).collect()
        };
        assert_eq!(line(Border::Nearest), "aaaaabcddddd");
        assert_eq!(line(Border::Reflect), "dcbaabcddcba");
        assert_eq!(line(Border::Mirror), "cdcbabcdcbab");
        assert_eq!(Border::Mirror.index(5, 1), 0);
    }

    #[test]
    fn a_motion_smears_a_point_along_its_ray() {
        let mut point = Grid::plane(9, 9, || 0.0);
        point.values[4 * 9 + 4] = 1.0;
        // At 0 degrees a pixel reads what is to its right: the point is seen from its left.
        let across = point.motion_blurred(3.0, 1.0, 0.0);
        let seen: Vec<(usize, usize)> =
            (0..81).filter(|&i| across.values[i] > 0.0).map(|i| (i / 9, i % 9)).collect();
        assert!(seen.iter().all(|&(y, x)| y == 4 && x <= 4), "{seen:?}");
        let weights = [1.0, (-0.5f64).exp(), (-2.0f64).exp()];
        let sum: f64 = (0..7).map(|i| (-f64::from(i * i) / 2.0).exp()).sum();
        for (i, weight) in weights.iter().enumerate() {
            assert!((across.at(4, 4 - i, 0) - weight / sum).abs() <= 0.5 / 255.0);
        }
        let down = point.motion_blurred(3.0, 1.0, 90.0);
        assert!((0..9).all(|y| (down.at(y, 4, 0) > 0.0) == (1..=4).contains(&y)));
    }

    #[test]
    fn a_zoom_keeps_the_middle() {
        let ramp = Grid::new(1, 33, 1, (0..33).map(f64::from).collect());
        let column = Grid { height: 33, width: 1, ..ramp };
        let zoomed = column.zoomed(1.1);
        assert!((zoomed.values[16] - 16.0).abs() <= 0.5 && zoomed.values[0] > 0.5);
        assert_eq!(column.zoomed(1.0), column);
    }
}
