//! Maps of the plane, to the last bit as Pillow computes them: nearest in fixed point, bilinear and bicubic in f64.

use crate::datasets::Image;

/// How a pixel between others is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// The pixel it falls into.
    Nearest,
    /// Linear between four pixels.
    Bilinear,
    /// Cubic (`a = -1`) between sixteen pixels.
    Bicubic,
}

/// `into(y, x) = from(d x + e y + f, a x + b y + c)` for `[a, b, c, d, e, f]`, places outside filled with a color.
///
/// As Pillow's `Image.transform(size, AFFINE, …)`; `into` takes the size of `from`.
pub(super) fn affine(
    from: &Image,
    into: &mut Image,
    matrix: [f64; 6],
    how: Interpolation,
    fill: [u8; 3],
) {
    into.reshape(from.height(), from.width());
    match how {
        // Without rotation Pillow adds up in f64, else in fixed point.
        Interpolation::Nearest if matrix[1] == 0.0 && matrix[3] == 0.0 => {
            scaled(from, into, matrix, fill);
        }
        Interpolation::Nearest => fixed_point(from, into, matrix, fill),
        Interpolation::Bilinear => sampled::<2>(from, into, matrix, fill),
        Interpolation::Bicubic => sampled::<4>(from, into, matrix, fill),
    }
}

fn scaled(from: &Image, into: &mut Image, [a, _, c, _, e, f]: [f64; 6], fill: [u8; 3]) {
    let inside = |v: f64, len: usize| (v >= 0.0 && (v as usize) < len).then_some(v as usize);
    let (height, width) = (from.height(), from.width());
    let mut y_in = f + e * 0.5;
    for row in into.pixels_mut().chunks_exact_mut(width * 3) {
        let mut x_in = c + a * 0.5;
        for pixel in row.chunks_exact_mut(3) {
            let place = inside(y_in, height).zip(inside(x_in, width));
            pixel.copy_from_slice(&place.map_or(fill, |(y, x)| from.pixel(y, x)));
            x_in += a;
        }
        y_in += e;
    }
}

fn fixed_point(from: &Image, into: &mut Image, m: [f64; 6], fill: [u8; 3]) {
    let fix = |v: f64| (v * 65536.0 + 0.5).floor() as i64;
    let (height, width) = (from.height() as i64, from.width() as i64);
    let [a, b, d, e] = [m[0], m[1], m[3], m[4]].map(fix);
    let mut x_start = fix(m[2] + m[0] * 0.5 + m[1] * 0.5);
    let mut y_start = fix(m[5] + m[3] * 0.5 + m[4] * 0.5);
    for row in into.pixels_mut().chunks_exact_mut(width as usize * 3) {
        let (mut xx, mut yy) = (x_start, y_start);
        for pixel in row.chunks_exact_mut(3) {
            let (x, y) = (xx >> 16, yy >> 16);
            let inside = (0..width).contains(&x) && (0..height).contains(&y);
            let color = if inside { from.pixel(y as usize, x as usize) } else { fill };
            pixel.copy_from_slice(&color);
            (xx, yy) = (xx + a, yy + d);
        }
        (x_start, y_start) = (x_start + b, y_start + e);
    }
}

/// Two taps along each axis are bilinear, four bicubic.
fn sampled<const TAPS: usize>(from: &Image, into: &mut Image, m: [f64; 6], fill: [u8; 3]) {
    let (height, width) = (from.height(), from.width());
    let rows = into.pixels_mut().chunks_exact_mut(width * 3);
    for (y, row) in rows.enumerate() {
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let x_in = m[0] * x + m[1] * y + m[2];
            let y_in = m[3] * x + m[4] * y + m[5];
            let inside = |v: f64, len: usize| v >= 0.0 && v < len as f64;
            let color = match inside(x_in, width) && inside(y_in, height) {
                true => sample::<TAPS>(from, y_in - 0.5, x_in - 0.5),
                false => fill,
            };
            pixel.copy_from_slice(&color);
        }
    }
}

fn sample<const TAPS: usize>(from: &Image, y: f64, x: f64) -> [u8; 3] {
    let (x_floor, y_floor) = (x.floor(), y.floor());
    let (mut rows, mut columns) = ([0; TAPS], [0; TAPS]);
    // Loops, not closures: this is most of the time of augmentation, and they are put in line at any level of optimization.
    for i in 0..TAPS {
        let at = |floor: f64, len: usize| {
            (floor as i64 + i as i64 - (TAPS / 2 - 1) as i64).clamp(0, len as i64 - 1) as usize
        };
        rows[i] = at(y_floor, from.height()) * from.width() * 3;
        columns[i] = at(x_floor, from.width()) * 3;
    }
    // For each channel the values between columns, by row.
    let mut between = [[0.0; TAPS]; 3];
    for (i, &row) in rows.iter().enumerate() {
        let row = &from.pixels()[row..][..from.width() * 3];
        let mut values = [[0.0; TAPS]; 3];
        for (j, &column) in columns.iter().enumerate() {
            let pixel = &row[column..column + 3];
            for channel in 0..3 {
                values[channel][j] = f64::from(pixel[channel]);
            }
        }
        for channel in 0..3 {
            between[channel][i] = blend(&values[channel], x - x_floor);
        }
    }
    let mut color = [0; 3];
    for channel in 0..3 {
        // Towards zero, as Pillow rounds here; bicubic overshoots.
        color[channel] = blend(&between[channel], y - y_floor).clamp(0.0, 255.0) as u8;
    }
    color
}

/// Pillow's own order of additions.
#[inline(always)]
fn blend<const TAPS: usize>(v: &[f64; TAPS], d: f64) -> f64 {
    if TAPS == 2 {
        return v[0] + (v[1] - v[0]) * d;
    }
    let p2 = -v[0] + v[2];
    let p3 = 2.0 * (v[0] - v[1]) + v[2] - v[3];
    let p4 = -v[0] + v[1] - v[2] + v[3];
    v[1] + d * (p2 + d * (p3 + d * p4))
}

/// The image turned by an angle in degrees, counterclockwise, about its center.
///
/// As Pillow's `Image.rotate`, which turns by right angles exactly.
pub(super) fn rotate(
    from: &Image,
    into: &mut Image,
    degrees: f64,
    how: Interpolation,
    fill: [u8; 3],
) {
    let (height, width) = (from.height(), from.width());
    let degrees = degrees.rem_euclid(360.0);
    let turn = |into: &mut Image, place: &dyn Fn(usize, usize) -> (usize, usize)| {
        into.reshape(height, width);
        for (i, pixel) in into.pixels_mut().chunks_exact_mut(3).enumerate() {
            let (y, x) = place(i / width, i % width);
            pixel.copy_from_slice(&from.pixel(y, x));
        }
    };
    match degrees {
        0.0 => return into.copy_from(from),
        180.0 => return turn(into, &|y, x| (height - 1 - y, width - 1 - x)),
        90.0 if height == width => return turn(into, &|y, x| (x, width - 1 - y)),
        270.0 if height == width => return turn(into, &|y, x| (height - 1 - x, y)),
        _ => {}
    }
    let round = |v: f64| (v * 1e15).round_ties_even() / 1e15;
    let angle = -degrees.to_radians();
    let (sin, cos) = (round(angle.sin()), round(angle.cos()));
    let (cx, cy) = (width as f64 / 2.0, height as f64 / 2.0);
    let c = cos * -cx + sin * -cy + cx;
    let f = -sin * -cx + cos * -cy + cy;
    affine(from, into, [cos, sin, c, -sin, cos, f], how, fill);
}
