//! Resizing to the last bit as Pillow does it: separable filters in fixed point, widened where an image shrinks.

use crate::datasets::Image;

/// The shape of a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The pixel in whose middle a new one falls.
    Nearest,
    /// The mean of what a new pixel covers.
    Box,
    /// A triangle.
    Bilinear,
    /// Cubic, `a = -0.5`.
    Bicubic,
}

impl Filter {
    /// Half its width in pixels of the larger image.
    fn support(self) -> f64 {
        match self {
            Filter::Nearest | Filter::Box => 0.5,
            Filter::Bilinear => 1.0,
            Filter::Bicubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            Filter::Nearest | Filter::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Filter::Bilinear => (1.0 - distance).max(0.0),
            Filter::Bicubic if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Filter::Bicubic if distance < 2.0 => {
                (((distance - 5.0) * distance + 8.0) * distance - 4.0) * A
            }
            Filter::Bicubic => 0.0,
        }
    }
}

/// Bits behind the point of Pillow's weights: 32 less 8 of a value and 2 of overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// For each new position the first old one and the weights from there on.
#[derive(Clone, Debug)]
struct Taps {
    first: Vec<usize>,
    /// `most` for each new position.
    weights: Vec<i32>,
    most: usize,
}

impl Taps {
    /// Of an axis of `from` pixels that become `into`.
    fn new(from: usize, into: usize, filter: Filter) -> Self {
        let scale = from as f64 / into as f64;
        let stretch = scale.max(1.0);
        let support = filter.support() * stretch;
        let most = support.ceil() as usize * 2 + 1;
        let (mut first, mut weights) = (Vec::new(), vec![0; most * into]);
        for (i, weights) in weights.chunks_exact_mut(most).enumerate() {
            let center = (i as f64 + 0.5) * scale;
            let low = ((center - support + 0.5).max(0.0)) as usize;
            let high = ((center + support + 0.5) as usize).min(from);
            let at = |j: usize| filter.at(((low + j) as f64 - center + 0.5) / stretch);
            let sum: f64 = (0..high - low).map(at).sum();
            for (j, weight) in weights[..high - low].iter_mut().enumerate() {
                let w = at(j) / if sum == 0.0 { 1.0 } else { sum } * f64::from(1 << PRECISION);
                *weight = (w + 0.5f64.copysign(w)) as i32;
            }
            first.push(low);
        }
        Taps { first, weights, most }
    }

    fn weights(&self, i: usize) -> &[i32] {
        &self.weights[i * self.most..][..self.most]
    }

    /// A line of pixels in its new length, appended to `into`.
    fn across(&self, line: &[u8], into: &mut Vec<u8>) {
        for (i, &first) in self.first.iter().enumerate() {
            let mut sums = [HALF; 3];
            for (pixel, weight) in line[first * 3..].chunks_exact(3).zip(self.weights(i)) {
                sums.iter_mut().zip(pixel).for_each(|(s, &v)| *s += i32::from(v) * weight);
            }
            into.extend(sums.map(rounded));
        }
    }

    /// New line `i` of the lines of `rows`; some bytes of all of them at a time, which the compiler does at once.
    fn down(&self, i: usize, rows: &[u8], line: &mut [u8]) {
        let stride = line.len();
        for (block, part) in line.chunks_mut(BLOCK).enumerate() {
            let mut sums = [HALF; BLOCK];
            let lines = rows[self.first[i] * stride..].chunks_exact(stride);
            for (from, &weight) in lines.zip(self.weights(i)) {
                let from = &from[block * BLOCK..][..part.len()];
                sums.iter_mut().zip(from).for_each(|(s, &v)| *s += i32::from(v) * weight);
            }
            part.iter_mut().zip(sums).for_each(|(value, sum)| *value = rounded(sum));
        }
    }
}

/// What rounding adds.
const HALF: i32 = 1 << (PRECISION - 1);
/// Bytes whose sums are kept at a time.
const BLOCK: usize = 64;

fn rounded(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The image in another size.
///
/// As Pillow's `Image.resize((width, height), filter)`.
///
/// # Panics
/// If the image or the size has no pixels.
#[track_caller]
pub fn resize(image: &Image, height: usize, width: usize, filter: Filter) -> Image {
    let whole = [0, 0, image.height(), image.width()];
    let mut into = Image::default();
    resize_part(image, whole, [height, width], filter, &mut Vec::new(), &mut into);
    into
}

/// The part `[top, left, height, width]` of an image in another size `[height, width]`, in the memory of `into`; `rows` is
/// memory for between.
///
/// As Pillow's `Image.crop` and `Image.resize` after it.
///
/// # Panics
/// If the part is empty or not inside, or the size has no pixels.
#[track_caller]
pub(super) fn resize_part(
    image: &Image,
    [top, left, part_height, part_width]: [usize; 4],
    [height, width]: [usize; 2],
    filter: Filter,
    rows: &mut Vec<u8>,
    into: &mut Image,
) {
    let inside = top + part_height <= image.height() && left + part_width <= image.width();
    assert!(
        inside && part_height * part_width * height * width > 0,
        "resize: {part_height} x {part_width} at ({top}, {left}) of {} x {} to {height} x {width}",
        image.height(),
        image.width()
    );
    into.reshape(height, width);
    let (source, row) = (image.pixels(), image.width() * 3);
    if filter == Filter::Nearest {
        let nearest = |i: usize, from: usize, to: usize| {
            ((i as f64 + 0.5) * (from as f64 / to as f64)) as usize
        };
        for (i, pixel) in into.pixels_mut().chunks_exact_mut(3).enumerate() {
            let y = top + nearest(i / width, part_height, height);
            let x = left + nearest(i % width, part_width, width);
            pixel.copy_from_slice(&source[y * row + x * 3..][..3]);
        }
        return;
    }
    // Each axis only where it changes; rows first, rounded to bytes between.
    let across = (width != part_width).then(|| Taps::new(part_width, width, filter));
    rows.clear();
    for y in top..top + part_height {
        let line = &source[y * row + left * 3..][..part_width * 3];
        match &across {
            None => rows.extend_from_slice(line),
            Some(taps) => taps.across(line, rows),
        }
    }
    if height == part_height {
        return into.pixels_mut().copy_from_slice(rows);
    }
    let down = Taps::new(part_height, height, filter);
    for (y, line) in into.pixels_mut().chunks_exact_mut(width * 3).enumerate() {
        down.down(y, rows, line);
    }
}
