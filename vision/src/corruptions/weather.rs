//! Snow, frost, fog, and what splashes on a lens.

use tensor::Stream;

use super::{
    Severity,
    grid::{Border, Grid},
    splash,
};
use crate::{Error, datasets::Image};

/// Flakes that fall, over an image that is paler.
pub(super) fn snow(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (mean, sd, size, threshold, radius, sigma, mix) = severity.of([
        (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
        (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
    ]);
    let noise = Grid::plane(x.height, x.width, || mean + sd * stream.normal());
    let flakes = noise.zoomed(size).map(|v| {
        let v = if v < threshold { 0.0 } else { v.clamp(0.0, 1.0) };
        (v * 255.0).floor() / 255.0
    });
    let fallen = flakes.motion_blurred(radius, sigma, stream.uniform() * 90.0 - 135.0);
    let other = fallen.rotated();
    let layer = fallen.values.iter().zip(&other.values).map(|(a, b)| a + b);
    let pixels = x.values.chunks_exact(3).zip(layer);
    let snowed = |(pixel, layer): (&[f64], f64)| {
        let pale = gray(pixel) * 1.5 + 0.5;
        [0, 1, 2].map(|c| mix * pixel[c] + (1.0 - mix) * pixel[c].max(pale) + layer)
    };
    Grid { values: pixels.flat_map(snowed).collect(), ..*x }
}

/// The luma of JPEG.
fn gray(pixel: &[f64]) -> f64 {
    0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2]
}

/// Part of a photo of frost over the image; there must be one.
pub(super) fn frost(
    x: &Grid,
    severity: Severity,
    stream: &mut Stream,
    photos: &[Image],
) -> Result<Grid, Error> {
    let (a, b) = severity.of([(1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)]);
    if photos.is_empty() {
        return Err(Error::Corruption(
            "frost: expected photos of frost to put over images, found none; give the pictures frost1 to frost5 of \
             the program that made the published sets, or others"
                .into(),
        ));
    }
    let photo = &photos[stream.below(photos.len() as u64) as usize];
    let reduced = |n: usize| (n as f64 * FROST_SCALE).round_ties_even() as usize;
    let (height, width) = (reduced(photo.height()), reduced(photo.width()));
    if height <= x.height || width <= x.width {
        return Err(Error::Corruption(format!(
            "frost: expected photos of more than {} x {} pixels for images of {} x {}, as a fifth of a photo's height and width \
             is used; found {} x {}",
            x.height * 5,
            x.width * 5,
            x.height,
            x.width,
            photo.height(),
            photo.width()
        )));
    }
    let top = stream.below((height - x.height) as u64) as usize;
    let left = stream.below((width - x.width) as u64) as usize;
    let photo = Grid::of(photo);
    // Of the photo made small (OpenCV's bilinear way, which looks at no more than four pixels) only what is needed.
    let source = |i: usize| (i as f64 + 0.5) / FROST_SCALE - 0.5;
    let mut values = Vec::with_capacity(x.values.len());
    for row in 0..x.height {
        for column in 0..x.width {
            for c in 0..3 {
                let (y, x_) = (source(top + row), source(left + column));
                let ice = photo.interpolated(y, x_, c, Border::Nearest);
                let ice = (ice * 255.0).round() / 255.0;
                values.push(a * x.at(row, column, c) + b * ice);
            }
        }
    }
    Ok(Grid { values, ..*x })
}

/// How much smaller photos of frost are made.
const FROST_SCALE: f64 = 0.2;

/// A cloud over the image, which keeps its largest value.
pub(super) fn fog(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (c, decay) = severity.of([(0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)]);
    let most = x.values.iter().copied().fold(0.0, f64::max);
    let size = x.height.max(x.width).next_power_of_two();
    let cloud = plasma(size, decay, stream);
    let mut values = Vec::with_capacity(x.values.len());
    for row in 0..x.height {
        for column in 0..x.width {
            let cloud = c * cloud.at(row, column, 0);
            values.extend((0..3).map(|k| (x.at(row, column, k) + cloud) * most / (most + c)));
        }
    }
    Grid { values, ..*x }
}

/// A height map of 0 to 1 by the diamond-square algorithm; `size` is a power of two, and the map continues at its other side.
fn plasma(size: usize, decay: f64, stream: &mut Stream) -> Grid {
    let mut map = vec![0.0; size * size];
    let (mut step, mut wobble) = (size, 100.0_f64);
    while step >= 2 {
        let half = step / 2;
        let mut wobbled = |sum: f64| sum / 4.0 + wobble * (2.0 * stream.uniform() - 1.0) * wobble;
        let at = |map: &[f64], y: usize, x: usize| map[y % size * size + x % size];
        let places =
            || (0..size).step_by(step).flat_map(|y| (0..size).step_by(step).map(move |x| (y, x)));
        // Middles of squares.
        for (y, x) in places() {
            let corners = [(y, x), (y + step, x), (y, x + step), (y + step, x + step)];
            let sum = corners.iter().map(|&(y, x)| at(&map, y, x)).sum();
            map[(y + half) * size + x + half] = wobbled(sum);
        }
        // Middles of edges: across, then down.
        for (down, across) in [(0, half), (half, 0)] {
            for (y, x) in places() {
                let (y, x) = (y + down, x + across);
                let around =
                    [(y + half, x), (y + size - half, x), (y, x + half), (y, x + size - half)];
                let sum = around.iter().map(|&(y, x)| at(&map, y, x)).sum();
                map[y * size + x] = wobbled(sum);
            }
        }
        step = half;
        wobble /= decay;
    }
    let low = map.iter().copied().fold(f64::INFINITY, f64::min);
    let high = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if high > low { high - low } else { 1.0 };
    Grid::new(size, size, 1, map).map(|v| (v - low) / range)
}

/// Drops of water, or of mud for the upper two severities.
pub(super) fn spatter(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (mean, sd, sigma, threshold, mix, mud) = severity.of([
        (0.62, 0.1, 0.7, 0.7, 0.5, false),
        (0.65, 0.1, 0.8, 0.7, 0.5, false),
        (0.65, 0.3, 1.0, 0.69, 0.5, false),
        (0.65, 0.1, 0.7, 0.69, 0.6, true),
        (0.65, 0.1, 0.5, 0.68, 0.6, true),
    ]);
    let noise = Grid::plane(x.height, x.width, || mean + sd * stream.normal());
    let liquid =
        noise.gaussian(sigma, 4.0, Border::Nearest).map(|v| if v < threshold { 0.0 } else { v });
    let (mask, color, keeps) = if mud {
        let wet = liquid.map(|v| f64::from(u8::from(v > threshold)));
        let mask = wet.gaussian(mix, 4.0, Border::Nearest).map(|v| if v < 0.8 { 0.0 } else { v });
        (mask, [63.0, 42.0, 20.0], false)
    } else {
        (splash::drops(&liquid).map(|v| v * mix), [175.0, 238.0, 238.0], true)
    };
    let pixels = x.values.chunks_exact(3).zip(&mask.values);
    // Water adds to the light, mud covers it.
    let wetted = |(pixel, &m): (&[f64], &f64)| {
        let kept = if keeps { 1.0 } else { 1.0 - m };
        [0, 1, 2].map(|c| pixel[c] * kept + color[c] / 255.0 * m)
    };
    Grid { values: pixels.flat_map(wetted).collect(), ..*x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cloud_is_rough_and_continues_at_its_other_side() {
        let map = plasma(32, 2.0, &mut Stream::new(3));
        let low = map.values.iter().copied().fold(1.0, f64::min);
        let high = map.values.iter().copied().fold(0.0, f64::max);
        assert_eq!((low, high), (0.0, 1.0));
        // Neighbors, those over the border too, are nearer to each other than pixels far apart.
        let mean = |dx: usize| {
            let differences = (0..1024)
                .map(|i| (map.at(i / 32, i % 32, 0) - map.at(i / 32, (i % 32 + dx) % 32, 0)).abs());
            differences.sum::<f64>() / 1024.0
        };
        assert!(mean(1) < 0.5 * mean(16), "{} and {}", mean(1), mean(16));
        let seam = (0..32).map(|y| (map.at(y, 31, 0) - map.at(y, 0, 0)).abs()).sum::<f64>() / 32.0;
        assert!(seam < 0.5 * mean(16), "{seam}");
        // The slower it decays the rougher it is.
        let rough = plasma(32, 1.2, &mut Stream::new(3));
        let roughness = |m: &Grid| m.values.windows(2).map(|w| (w[0] - w[1]).abs()).sum::<f64>();
        assert!(roughness(&rough) > roughness(&map));
    }

    #[test]
    fn frost_is_a_part_of_a_photo() {
        let x = Grid::of(&Image::filled(32, 32, [100; 3]));
        let severity = Severity::new(3).unwrap();
        let photo = [Image::filled(400, 300, [200, 100, 0])];
        let frozen = frost(&x, severity, &mut Stream::new(1), &photo).unwrap();
        for (c, ice) in [200.0, 100.0, 0.0].into_iter().enumerate() {
            assert!((frozen.at(5, 7, c) * 255.0 - (0.9 * 100.0 + 0.4 * ice)).abs() < 1e-9);
        }
        let error = frost(&x, severity, &mut Stream::new(1), &[]).unwrap_err().to_string();
        assert!(error.contains("found none"), "{error}");
        let small = [Image::filled(160, 900, [0; 3])];
        let error = frost(&x, severity, &mut Stream::new(1), &small).unwrap_err().to_string();
        assert!(error.contains("more than 160 x 160") && error.contains("160 x 900"), "{error}");
    }

    #[test]
    fn mud_covers_and_water_adds() {
        for level in 1..=5 {
            let x = Grid::of(&Image::filled(32, 32, [120, 60, 20]));
            let severity = Severity::new(level).unwrap();
            let wet = spatter(&x, severity, &mut Stream::new(4));
            let change: Vec<f64> = wet
                .values
                .iter()
                .zip(&x.values)
                .map(|(a, b)| a - b)
                .filter(|d| d.abs() > 1e-9)
                .collect();
            assert!(!change.is_empty(), "severity {level}");
            assert!(change.iter().all(|&d| (d < 0.0) == (level >= 4)), "severity {level}");
        }
    }
}
