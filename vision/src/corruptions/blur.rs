//! Blurs.

use tensor::Stream;

use super::{
    Severity, bytes,
    grid::{Border, Grid, gaussian_kernel},
};

/// A Gaussian, cut off at four sigma.
pub(super) fn gaussian(x: &Grid, severity: Severity) -> Grid {
    x.gaussian(severity.of([0.4, 0.6, 0.7, 0.8, 1.0]), 4.0, Border::Nearest)
}

/// Pixels take the color of a neighbor above or to the left, between two Gaussians.
///
/// "Swapped", the description says. The program that made the published sets assigns views of an array to each other, and the second
/// assignment reads what the first has written: both pixels have the neighbor's color afterwards. So they have here.
pub(super) fn glass(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (sigma, rounds) = severity.of([(0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2)]);
    let blurred = x.gaussian(sigma, 4.0, Border::Nearest).map(|v| v * 255.0);
    let mut pixels = bytes(&blurred);
    let (height, width) = (x.height, x.width);
    for _ in 0..rounds {
        for y in (2..height).rev() {
            for x in (2..width).rev() {
                let (left, up) = (stream.below(2) as usize, stream.below(2) as usize);
                let from = ((y - up) * width + x - left) * 3;
                pixels.copy_within(from..from + 3, (y * width + x) * 3);
            }
        }
    }
    let values = pixels.iter().map(|&v| f64::from(v) / 255.0).collect();
    Grid::new(height, width, 3, values).gaussian(sigma, 4.0, Border::Nearest)
}

/// A disk whose edge is smoothed.
pub(super) fn defocus(x: &Grid, severity: Severity) -> Grid {
    let (radius, smooth) =
        severity.of([(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)]);
    x.filter(&disk(radius, smooth), Border::Mirror)
}

/// A disk on 17 x 17 pixels through a Gaussian of 3 x 3 pixels, in f32 as its users compute it.
fn disk(radius: f64, smooth: f64) -> Grid {
    let place = |i: usize| i as f64 - 8.0;
    let inside = |i: usize| {
        let (y, x) = (place(i / 17), place(i % 17));
        f64::from(u8::from(y * y + x * x <= radius * radius))
    };
    let values: Vec<f64> = (0..17 * 17).map(inside).collect();
    let area: f64 = values.iter().sum();
    let bell = gaussian_kernel(1, smooth);
    let square = (0..9).map(|i| bell[i / 3] * bell[i % 3]).collect();
    let disk = Grid::new(17, 17, 1, values).map(|v| v / area);
    let smooth = disk.filter(&Grid::new(3, 3, 1, square), Border::Mirror);
    smooth.map(|v| f64::from(v as f32))
}

/// ImageMagick's motion blur at an angle of -45 to 45 degrees.
pub(super) fn motion(x: &Grid, severity: Severity, stream: &mut Stream) -> Grid {
    let (radius, sigma) = severity.of([(6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)]);
    x.motion_blurred(radius, sigma, stream.uniform() * 90.0 - 45.0)
}

/// The mean of the image and its enlargements, in f32 as the published sets have it.
pub(super) fn zoom(x: &Grid, severity: Severity) -> Grid {
    let single = |v: f64| f64::from(v as f32);
    let x = x.clone().map(single);
    // As NumPy counts `arange(1, end, 0.01)`: rounding lets the end in, or not.
    let end = severity.of([1.06, 1.11, 1.16, 1.21, 1.26]);
    let (step, count) = (1.01 - 1.0, ((end - 1.0) / 0.01f64).ceil() as usize);
    let mut sum = vec![0.0_f32; x.values.len()];
    for i in 0..count {
        let enlarged = x.zoomed(1.0 + i as f64 * step);
        sum.iter_mut().zip(&enlarged.values).for_each(|(sum, &v)| *sum += v as f32);
    }
    let mean = |(&x, &sum): (&f64, &f32)| f64::from((x as f32 + sum) / (count + 1) as f32);
    let values = x.values.iter().zip(&sum).map(mean).collect();
    Grid { values, ..x }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_keeps_the_brightness() {
        for level in 1..=5 {
            let (radius, smooth) = Severity::new(level).unwrap().of([
                (0.3, 0.4),
                (0.4, 0.5),
                (0.5, 0.6),
                (1.0, 0.2),
                (1.5, 0.1),
            ]);
            let kernel = disk(radius, smooth);
            assert!((kernel.values.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            assert_eq!(kernel, kernel.rotated());
        }
        // Radius 1.5 covers 3 x 3 pixels, and a sigma of 0.1 leaves them alone.
        assert!((disk(1.5, 0.1).at(7, 7, 0) - 1.0 / 9.0).abs() < 1e-6);
        assert!(disk(1.5, 0.1).at(6, 8, 0) < 1e-6);
    }

    #[test]
    fn glass_only_moves_colors_when_it_does_not_blur() {
        // A sigma of 0.05 has no neighbors. Every color is one of the pixel's own neighborhood, and the first two rows stay.
        let values: Vec<f64> = (0..12 * 12 * 3).map(|i| f64::from(i % 251) / 255.0).collect();
        let x = Grid::new(12, 12, 3, values);
        let moved = glass(&x, Severity::new(1).unwrap(), &mut Stream::new(2));
        let byte = |v: f64| (v * 255.0) as i32;
        let mut changed = 0;
        for row in 0..12 {
            for column in 0..12 {
                let same = |y: usize, x_: usize| {
                    (0..3)
                        .all(|c| (byte(moved.at(row, column, c)) - byte(x.at(y, x_, c))).abs() <= 1)
                };
                let near = (0..2).any(|up| {
                    (0..2).any(|left| row >= up && column >= left && same(row - up, column - left))
                });
                assert!(near, "{row}, {column}");
                changed += usize::from(!same(row, column));
                assert!(row >= 2 && column >= 2 || same(row, column));
            }
        }
        // Of 100 pixels three quarters.
        assert!((50..95).contains(&changed), "{changed}");
    }
}
