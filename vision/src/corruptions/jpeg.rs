//! What a JPEG file of half-size colors makes of an image, to the rounding of libjpeg: everything but the lossless coding, which
//! changes no pixel. (Encoders and decoders at hand round and enlarge colors in other ways, and end up to 17 of 255 away.)

use super::Severity;
use crate::datasets::Image;

/// Annex K of ITU-T T.81, row by row.
const LUMA: [i32; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113,
    92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA: [i32; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// The image as it comes back from a file of the severity's quality.
pub(super) fn compressed(image: &Image, severity: Severity) -> Image {
    let quality = severity.of([80, 65, 58, 50, 40]);
    let [luma, blue, red] = planes(image);
    let luma = luma.coded(&scaled(&LUMA, quality));
    let color = |plane: Plane| plane.halved().coded(&scaled(&CHROMA, quality)).doubled();
    let (blue, red) = (color(blue), color(red));
    let mut pixels = Vec::with_capacity(image.pixels().len());
    for y in 0..image.height() {
        for x in 0..image.width() {
            let (l, b, r) = (luma.at(y, x), blue.at(y, x) - 128, red.at(y, x) - 128);
            // Sixteen bits behind the point.
            let add = |sum: i32| (l + ((sum + 0x8000) >> 16)).clamp(0, 255) as u8;
            pixels.extend([add(91881 * r), add(-22554 * b - 46802 * r), add(116130 * b)]);
        }
    }
    Image::new(image.height(), image.width(), pixels)
}

/// A table of divisors for a quality of 1 to 100, as libjpeg scales it.
fn scaled(table: &[i32; 64], quality: i32) -> [i32; 64] {
    let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    table.map(|q| ((q * percent + 50) / 100).clamp(1, 255))
}

/// One component; beyond its edges it goes on as at the edge.
struct Plane {
    height: usize,
    width: usize,
    values: Vec<i32>,
}

impl Plane {
    fn at(&self, y: usize, x: usize) -> i32 {
        self.values[y.min(self.height - 1) * self.width + x.min(self.width - 1)]
    }

    /// The mean of 2 x 2 pixels; a half is rounded down and up in turns.
    fn halved(&self) -> Plane {
        let (height, width) = (self.height.div_ceil(2), self.width.div_ceil(2));
        let mut values = Vec::with_capacity(height * width);
        for y in 0..height {
            for x in 0..width {
                let at = |dy, dx| self.at(2 * y + dy, 2 * x + dx);
                let sum = at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1);
                values.push((sum + 1 + (x % 2) as i32) >> 2);
            }
        }
        Plane { height, width, values }
    }

    /// Twice as high and wide: a new pixel is nine parts of the nearest old one, three of each neighbor beside, one across.
    fn doubled(&self) -> Plane {
        let (height, width) = (2 * self.height, 2 * self.width);
        let neighbor =
            |i: usize| if i.is_multiple_of(2) { (i / 2).saturating_sub(1) } else { i / 2 + 1 };
        let mut values = Vec::with_capacity(height * width);
        for y in 0..height {
            let column = |x: usize| 3 * self.at(y / 2, x) + self.at(neighbor(y), x);
            for x in 0..width {
                let bias = if x.is_multiple_of(2) { 8 } else { 7 };
                values.push((3 * column(x / 2) + column(neighbor(x)) + bias) >> 4);
            }
        }
        Plane { height, width, values }
    }

    /// Through cosines, division and back, in blocks of 8 x 8.
    fn coded(&self, divisors: &[i32; 64]) -> Plane {
        let mut values = vec![0; self.values.len()];
        let cosines = cosines();
        for top in (0..self.height).step_by(8) {
            for left in (0..self.width).step_by(8) {
                let pixel = |i: usize| f64::from(self.at(top + i / 8, left + i % 8) - 128);
                let frequencies = forward(&cosines, &std::array::from_fn(pixel));
                let kept = std::array::from_fn(|i| {
                    f64::from(divided(frequencies[i], divisors[i]) * divisors[i])
                });
                let back = backward(&cosines, &kept);
                for (i, value) in back.iter().enumerate() {
                    let (y, x) = (top + i / 8, left + i % 8);
                    if y < self.height && x < self.width {
                        values[y * self.width + x] = (value.round() as i32 + 128).clamp(0, 255);
                    }
                }
            }
        }
        Plane { values, ..*self }
    }
}

/// Luma and the two colors; a half of the colors is rounded down.
fn planes(image: &Image) -> [Plane; 3] {
    let rows = [
        ([19595, 38470, 7471], 0x8000),
        ([-11059, -21709, 32768], (128 << 16) + 0x7fff),
        ([32768, -27439, -5329], (128 << 16) + 0x7fff),
    ];
    rows.map(|(row, bias)| {
        let sum = |pixel: &[u8]| {
            row.iter().zip(pixel).map(|(&k, &v)| k * i32::from(v)).sum::<i32>() + bias
        };
        let values = image.pixels().chunks_exact(3).map(|pixel| sum(pixel) >> 16).collect();
        Plane { height: image.height(), width: image.width(), values }
    })
}

/// `[k][i]`: the value at i of the cosine of frequency k, of norm 1.
fn cosines() -> [[f64; 8]; 8] {
    std::array::from_fn(|k| {
        let norm = if k == 0 { 0.125f64.sqrt() } else { 0.5 };
        std::array::from_fn(|i| {
            norm * (std::f64::consts::PI * (2 * i + 1) as f64 * k as f64 / 16.0).cos()
        })
    })
}

fn forward(cosines: &[[f64; 8]; 8], block: &[f64; 64]) -> [f64; 64] {
    let sum = |values: &dyn Fn(usize) -> f64, k: usize| {
        (0..8).map(|i| values(i) * cosines[k][i]).sum::<f64>()
    };
    let across: [f64; 64] = std::array::from_fn(|j| sum(&|i| block[j / 8 * 8 + i], j % 8));
    std::array::from_fn(|j| sum(&|i| across[i * 8 + j % 8], j / 8))
}

fn backward(cosines: &[[f64; 8]; 8], block: &[f64; 64]) -> [f64; 64] {
    let sum = |values: &dyn Fn(usize) -> f64, i: usize| {
        (0..8).map(|k| values(k) * cosines[k][i]).sum::<f64>()
    };
    let down: [f64; 64] = std::array::from_fn(|j| sum(&|k| block[k * 8 + j % 8], j / 8));
    std::array::from_fn(|j| sum(&|k| down[j / 8 * 8 + k], j % 8))
}

/// Rounded to an eighth, divided, and rounded away from zero at a half.
fn divided(frequency: f64, divisor: i32) -> i32 {
    let eighths = (frequency * 8.0).round() as i32;
    eighths.signum() * ((eighths.abs() + 4 * divisor) / (8 * divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_there_and_back_are_the_same_block() {
        let block: [f64; 64] = std::array::from_fn(|i| f64::from((i * 37 % 256) as u8) - 128.0);
        let frequencies = forward(&cosines(), &block);
        let back = backward(&cosines(), &frequencies);
        assert!(block.iter().zip(back).all(|(a, b)| (a - b).abs() < 1e-9));
        assert!((frequencies[0] - block.iter().sum::<f64>() / 8.0).abs() < 1e-9);
    }

    #[test]
    fn tables_are_those_of_libjpeg() {
        // The first divisors of a file of Pillow's at quality 80.
        assert_eq!(scaled(&LUMA, 80)[..8], [6, 4, 4, 6, 10, 16, 20, 24]);
        assert_eq!(scaled(&CHROMA, 80)[..8], [7, 7, 10, 19, 40, 40, 40, 40]);
        assert_eq!(scaled(&LUMA, 50), LUMA);
    }

    #[test]
    fn one_color_stays_nearly_itself() {
        for (height, width) in [(16, 16), (9, 21)] {
            let image = Image::filled(height, width, [200, 90, 30]);
            let back = compressed(&image, Severity::new(1).unwrap());
            let off = back.pixels().iter().zip(image.pixels()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off.is_some_and(|off| off <= 6), "{off:?}");
            assert!(back.pixels().chunks_exact(3).all(|p| p == &back.pixels()[..3]));
        }
    }
}
