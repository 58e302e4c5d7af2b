//! What cameras and programs do to pictures: colors, coarse pixels, and bending.

use tensor::Stream;

use super::{
    Severity,
    grid::{Border, Grid},
};
use crate::{
    augment::{Filter, resize},
    datasets::Image,
};

/// Adds to the value of HSV.
pub(super) fn brightness(x: Grid, severity: Severity) -> Grid {
    let add = severity.of([0.05, 0.1, 0.15, 0.2, 0.3]);
    through_hsv(x, |[h, s, v]| [h, s, (v + add).clamp(0.0, 1.0)])
}

/// Scales the saturation of HSV and adds to it.
pub(super) fn saturate(x: Grid, severity: Severity) -> Grid {
    let (scale, add) = severity.of([(0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)]);
    through_hsv(x, |[h, s, v]| [h, (s * scale + add).clamp(0.0, 1.0), v])
}

fn through_hsv(mut x: Grid, f: impl Fn([f64; 3]) -> [f64; 3]) -> Grid {
    for pixel in x.values.chunks_exact_mut(3) {
        let changed = to_rgb(f(to_hsv([pixel[0], pixel[1], pixel[2]])));
        pixel.copy_from_slice(&changed);
    }
    x
}

/// Hue, saturation and value, each 0 to 1; of equal channels blue decides the hue before green, green before red.
fn to_hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let (most, least) = (r.max(g).max(b), r.min(g).min(b));
    let range = most - least;
    if range == 0.0 {
        return [0.0, 0.0, most];
    }
    let sextant = if most == b {
        4.0 + (r - g) / range
    } else if most == g {
        2.0 + (b - r) / range
    } else {
        (g - b) / range
    };
    [(sextant / 6.0).rem_euclid(1.0), range / most, most]
}

fn to_rgb([h, s, v]: [f64; 3]) -> [f64; 3] {
    let sextant = (h * 6.0).floor();
    let f = h * 6.0 - sextant;
    let (p, q, t) = (v * (1.0 - s), v * (1.0 - f * s), v * (1.0 - (1.0 - f) * s));
    match sextant as u32 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}

/// Draws every channel to its mean.
pub(super) fn contrast(mut x: Grid, severity: Severity) -> Grid {
    let scale = severity.of([0.75, 0.5, 0.4, 0.3, 0.15]);
    let count = (x.height * x.width) as f64;
    for c in 0..3 {
        let mean = x.values.iter().skip(c).step_by(3).sum::<f64>() / count;
        x.values.iter_mut().skip(c).step_by(3).for_each(|v| *v = (*v - mean) * scale + mean);
    }
    x
}

/// Smaller and back, each by means of boxes.
pub(super) fn pixelate(image: &Image, severity: Severity) -> Image {
    let scale = severity.of([0.95, 0.9, 0.85, 0.75, 0.65]);
    let (height, width) = (image.height(), image.width());
    let reduced = |n: usize| (n as f64 * scale) as usize;
    let small = resize(image, reduced(height), reduced(width), Filter::Box);
    resize(&small, height, width, Filter::Box)
}

/// A random affine map, and waves after it. (OpenCV rounds places between pixels to 1/32 in the former, which is not done here.)
pub(super) fn elastic(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (amplitude, smooth, affine) = severity.of([
        (0.0, 0.0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ]);
    let (height, width) = (x.height, x.width);
    let size = height.min(width);
    let side = size as f64;
    let (cy, cx, arm) = ((height / 2) as f64, (width / 2) as f64, (size / 3) as f64);
    let from = [[cx + arm, cy + arm], [cx + arm, cy - arm], [cx - arm, cy - arm]];
    let mut jitter = || (2.0 * stream.uniform() - 1.0) * affine * side;
    let to = from.map(|[px, py]| [px + jitter(), py + jitter()]);
    let back = affine_map(to, from);
    let mut bent = Vec::with_capacity(x.values.len());
    for row in 0..height {
        for column in 0..width {
            let [sx, sy] = back.at(column as f64, row as f64);
            bent.extend((0..3).map(|c| x.interpolated(sy, sx, c, Border::Mirror)));
        }
    }
    let bent = Grid { values: bent, ..*x };
    let mut wave = || {
        let noise = Grid::plane(height, width, || 2.0 * stream.uniform() - 1.0);
        noise.gaussian(smooth * side, 3.0, Border::Reflect).map(|v| v * amplitude * side)
    };
    let (dx, dy) = (wave(), wave());
    let mut values = Vec::with_capacity(x.values.len());
    for row in 0..height {
        for column in 0..width {
            let (sy, sx) =
                (row as f64 + dy.at(row, column, 0), column as f64 + dx.at(row, column, 0));
            values.extend((0..3).map(|c| bent.interpolated(sy, sx, c, Border::Reflect)));
        }
    }
    Grid { values, ..*x }
}

/// `(x, y) -> origin + x across + y down`.
struct Affine {
    origin: [f64; 2],
    across: [f64; 2],
    down: [f64; 2],
}

impl Affine {
    fn at(&self, x: f64, y: f64) -> [f64; 2] {
        [0, 1].map(|i| self.origin[i] + x * self.across[i] + y * self.down[i])
    }
}

/// The map that takes three points to three others; the identity if the former lie on one line.
fn affine_map(from: [[f64; 2]; 3], to: [[f64; 2]; 3]) -> Affine {
    let less = |a: [f64; 2], b: [f64; 2]| [a[0] - b[0], a[1] - b[1]];
    let (u, v) = (less(from[1], from[0]), less(from[2], from[0]));
    let (p, q) = (less(to[1], to[0]), less(to[2], to[0]));
    let det = u[0] * v[1] - u[1] * v[0];
    if det.abs() < 1e-9 {
        return Affine { origin: [0.0; 2], across: [1.0, 0.0], down: [0.0, 1.0] };
    }
    let across = [0, 1].map(|i| (p[i] * v[1] - q[i] * u[1]) / det);
    let down = [0, 1].map(|i| (q[i] * u[0] - p[i] * v[0]) / det);
    let origin = [0, 1].map(|i| to[0][i] - from[0][0] * across[i] - from[0][1] * down[i]);
    Affine { origin, across, down }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsv_and_back_is_the_same_color() {
        for i in 0..4096 {
            let color = [i % 16, i / 16 % 16, i / 256].map(|v| f64::from(v) / 15.0);
            let back = to_rgb(to_hsv(color));
            assert!(color.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-12), "{color:?}");
        }
        assert_eq!(to_hsv([0.5, 0.25, 0.25]), [0.0, 0.5, 0.5]);
        assert!((to_hsv([0.0, 1.0, 0.0])[0] - 1.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn an_affine_map_takes_points_to_points() {
        let from = [[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]];
        let to = [[25.0, 27.5], [26.5, 4.0], [7.0, 6.25]];
        let map = affine_map(from, to);
        for (a, b) in from.iter().zip(to) {
            let found = map.at(a[0], a[1]);
            assert!((found[0] - b[0]).abs() < 1e-9 && (found[1] - b[1]).abs() < 1e-9);
        }
        assert_eq!(affine_map([[1.0, 1.0]; 3], to).at(3.0, 4.0), [3.0, 4.0]);
    }

    #[test]
    fn bending_keeps_a_flat_color_and_moves_a_ramp_a_little() {
        let flat = Grid::of(&Image::filled(32, 32, [90, 120, 30]));
        let ramp = Grid::new(32, 32, 3, (0..3072).map(|i| f64::from(i / 3 % 32) / 31.0).collect());
        for level in 1..=5 {
            let severity = Severity::new(level).unwrap();
            let bent = elastic(&flat, severity, &mut Stream::new(1));
            assert!(bent.values.iter().zip(&flat.values).all(|(a, b)| (a - b).abs() < 1e-12));
            let bent = elastic(&ramp, severity, &mut Stream::new(1));
            let moved = bent.values.iter().zip(&ramp.values).map(|(a, b)| (a - b).abs() * 31.0);
            let mean = moved.sum::<f64>() / 3072.0;
            assert!((0.1..6.0).contains(&mean), "severity {level}: {mean} pixels");
        }
    }
}
