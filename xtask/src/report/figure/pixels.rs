//! PNG bytes: of a whole scene, and of the rasters inside an SVG.

use kuva::backend::png::PngBackend;
use kuva::render::render::Scene;

use super::canvas::{PIXELS, Raster};
use super::gallery::{CLEAR, palette};

/// Why a picture could not be made.
pub(super) type Failure = Box<dyn std::error::Error>;

/// The scene as PNG at [`PIXELS`] per unit.
///
/// kuva draws at twice that and every pixel is the mean of four: thin lines keep their width, and turned text, whose edges
/// kuva does not smooth, does not look bold.
pub(super) fn scene_png(scene: &Scene) -> Result<Vec<u8>, Failure> {
    rgb_png(&scene_pixels(scene)?)
}

/// Red, green and blue of every pixel, row by row.
pub(super) struct Pixels {
    pub(super) width: usize,
    pub(super) rgb: Vec<u8>,
}

/// What [`scene_png`] encodes.
pub(super) fn scene_pixels(scene: &Scene) -> Result<Pixels, Failure> {
    let fine = PngBackend::new().with_scale(2.0 * PIXELS as f32).render_scene(scene)?;
    let mut reader = png::Decoder::new(std::io::Cursor::new(fine)).read_info()?;
    let size = reader.output_buffer_size().ok_or("the picture does not fit into memory")?;
    let mut pixels = vec![0; size];
    let frame = reader.next_frame(&mut pixels)?;
    if (frame.color_type, frame.bit_depth) != (png::ColorType::Rgba, png::BitDepth::Eight) {
        return Err(format!(
            "expected 8-bit RGBA but got {:?} {:?}",
            frame.bit_depth, frame.color_type
        )
        .into());
    }
    let (width, height) = (frame.width as usize / 2, frame.height as usize / 2);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let (upper, lower) =
            (&pixels[2 * y * frame.line_size..], &pixels[(2 * y + 1) * frame.line_size..]);
        for x in 0..width {
            for channel in 0..3 {
                let at = 8 * x + channel;
                let four = [upper[at], upper[at + 4], lower[at], lower[at + 4]];
                rgb.push(((four.iter().map(|&v| u32::from(v)).sum::<u32>() + 2) / 4) as u8);
            }
        }
    }
    Ok(Pixels { width, rgb })
}

/// Pixels as PNG.
pub(super) fn rgb_png(pixels: &Pixels) -> Result<Vec<u8>, Failure> {
    let (width, height) = (pixels.width, pixels.rgb.len() / (3 * pixels.width.max(1)));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels.rgb)?;
    writer.finish()?;
    Ok(bytes)
}

/// Copies a picture of `width` pixels a row into a square of `side` pixels whose upper left corner is at `at`, as large as it
/// fits, each pixel the nearest of the picture.
pub(super) fn paste(page: &mut Pixels, at: [usize; 2], rgb: &[u8], width: usize, side: usize) {
    let height = rgb.len() / (3 * width.max(1));
    let longer = width.max(height);
    if longer == 0 {
        return;
    }
    for y in 0..side * height / longer {
        for x in 0..side * width / longer {
            let from = 3 * ((y * longer / side) * width + x * longer / side);
            let to = 3 * ((at[1] + y) * page.width + at[0] + x);
            page.rgb[to..to + 3].copy_from_slice(&rgb[from..from + 3]);
        }
    }
}

/// A raster with the palette of the galleries.
pub(super) fn indexed_png(raster: &Raster) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let mut encoder =
        png::Encoder::new(&mut bytes, raster.width_px as u32, raster.height_px as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette().concat());
    let mut alpha = [255; 256];
    alpha[usize::from(CLEAR)] = 0;
    encoder.set_trns(alpha.to_vec());
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&raster.indices)?;
    writer.finish()?;
    Ok(bytes)
}
