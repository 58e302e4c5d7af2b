//! Colors, to the last bit as Pillow's `ImageOps` and `ImageEnhance` change them.

use crate::datasets::Image;

/// Replaces every byte of every channel by what a table says.
fn map(image: &mut Image, tables: &[[u8; 256]; 3]) {
    for pixel in image.pixels_mut().chunks_exact_mut(3) {
        for (value, table) in pixel.iter_mut().zip(tables) {
            *value = table[usize::from(*value)];
        }
    }
}

fn map_all(image: &mut Image, f: impl Fn(u8) -> u8) {
    image.pixels_mut().iter_mut().for_each(|v| *v = f(*v));
}

/// How often each value occurs in each channel.
fn histograms(image: &Image) -> [[usize; 256]; 3] {
    let mut counts = [[0; 256]; 3];
    for pixel in image.pixels().chunks_exact(3) {
        for (&value, count) in pixel.iter().zip(&mut counts) {
            count[usize::from(value)] += 1;
        }
    }
    counts
}

const IDENTITY: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = i as u8;
        i += 1;
    }
    table
};

/// Stretches each channel to 0..=255 (`ImageOps.autocontrast`).
pub(super) fn auto_contrast(image: &mut Image) {
    let tables = histograms(image).map(|counts| {
        let low = counts.iter().position(|&n| n > 0).unwrap_or(0);
        let high = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        if high <= low {
            return IDENTITY;
        }
        let scale = 255.0 / (high - low) as f64;
        let offset = -(low as f64) * scale;
        std::array::from_fn(|i| (i as f64 * scale + offset) as u8)
    });
    map(image, &tables);
}

/// Makes each channel's values about equally frequent (`ImageOps.equalize`).
pub(super) fn equalize(image: &mut Image) {
    let tables = histograms(image).map(|counts| {
        let last = counts.iter().rposition(|&n| n > 0).unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - counts[last]) / 255;
        if step == 0 {
            return IDENTITY;
        }
        let mut n = step / 2;
        std::array::from_fn(|i| {
            let value = (n / step).min(255) as u8;
            n += counts[i];
            value
        })
    });
    map(image, &tables);
}

/// `255 - v`.
pub(super) fn invert(image: &mut Image) {
    map_all(image, |v| 255 - v);
}

/// Keeps the upper bits.
pub(super) fn posterize(image: &mut Image, bits: u32) {
    let mask = (0xff_u32 << (8 - bits.min(8))) as u8;
    map_all(image, |v| v & mask);
}

/// Inverts values from a threshold on, of 0 to 256.
pub(super) fn solarize(image: &mut Image, threshold: u32) {
    map_all(image, |v| if u32::from(v) < threshold { v } else { 255 - v });
}

/// Adds to values below 128.
pub(super) fn solarize_add(image: &mut Image, add: u8) {
    map_all(image, |v| if v < 128 { v.saturating_add(add) } else { v });
}

/// Luma, as Pillow's mode `L` has it.
fn luma(&[r, g, b]: &[u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

/// `from + factor (to - from)` in f32, clipped, towards zero (`Image.blend`).
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (i32::from(from), i32::from(to));
    (from as f32 + factor * (to - from) as f32).clamp(0.0, 255.0) as u8
}

/// Between gray (0) and the image (1), and beyond (`ImageEnhance.Color`).
pub(super) fn saturate(image: &mut Image, factor: f64) {
    for pixel in image.pixels_mut().chunks_exact_mut(3) {
        let gray = luma(&[pixel[0], pixel[1], pixel[2]]);
        pixel.iter_mut().for_each(|v| *v = blend(gray, *v, factor as f32));
    }
}

/// Between the mean gray and the image (`ImageEnhance.Contrast`).
pub(super) fn contrast(image: &mut Image, factor: f64) {
    let grays = image.pixels().chunks_exact(3).map(|p| u64::from(luma(&[p[0], p[1], p[2]])));
    let count = (image.height() * image.width()).max(1);
    let mean = (grays.sum::<u64>() as f64 / count as f64 + 0.5) as u8;
    map_all(image, |v| blend(mean, v, factor as f32));
}

/// Between black and the image (`ImageEnhance.Brightness`).
pub(super) fn brightness(image: &mut Image, factor: f64) {
    map_all(image, |v| blend(0, v, factor as f32));
}

/// Between a smoothed image and the image (`ImageEnhance.Sharpness`); the border stays as it is.
pub(super) fn sharpness(from: &Image, into: &mut Image, factor: f64) {
    into.copy_from(from);
    let (height, width) = (from.height(), from.width());
    if height < 3 || width < 3 {
        return;
    }
    let row = width * 3;
    let (edge, center) = (1.0_f32 / 13.0, 5.0_f32 / 13.0);
    let (pixels, out) = (from.pixels(), into.pixels_mut());
    for y in 1..height - 1 {
        for at in y * row + 3..(y + 1) * row - 3 {
            let sum = |at: usize, middle: f32| {
                let v = |i: usize| f32::from(pixels[i]);
                v(at - 3) * edge + v(at) * middle + v(at + 3) * edge
            };
            let smooth = 0.5 + sum(at + row, edge) + sum(at, center) + sum(at - row, edge);
            out[at] = blend(smooth.clamp(0.0, 255.0) as u8, pixels[at], factor as f32);
        }
    }
}
