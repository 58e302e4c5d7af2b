//! Photographs with bars beside them: what a model sees in each.
//!
//! kuva draws shapes, not photographs: the scene leaves their places free, and the pixels are copied into the finished PNG.

use kuva::render::render::TextAnchor;

use super::{
    FigureError,
    canvas::{Canvas, LABEL, PIXELS, TICK, TITLE},
    pixels::{self, paste},
};

/// A photograph and the likeliest classes.
#[derive(Clone, Debug)]
pub struct Photo {
    /// What stands above it.
    pub title: String,
    /// Its pixels, `[height, width, 3]`; shown at most [`SIDE`] units wide and high.
    pub rgb: Vec<u8>,
    /// Pixels of a row.
    pub width: usize,
    /// Class and probability, the likeliest first.
    pub classes: Vec<(String, f64)>,
}

/// Side of a photograph's place, in scene units.
pub const SIDE: usize = 112;
/// Photographs beside each other.
const COLUMNS: usize = 3;
/// Room for a photograph and its classes.
const CELL: (f64, f64) = (390.0, 150.0);

/// All photographs in a grid, as PNG bytes.
///
/// # Errors
/// [`FigureError::Encode`] if the picture cannot be encoded.
pub fn photos_png(title: &str, photos: &[Photo]) -> Result<Vec<u8>, FigureError> {
    let columns = photos.len().clamp(1, COLUMNS);
    let rows = photos.len().div_ceil(columns);
    let (width, height) = (columns as f64 * CELL.0 + 16.0, rows as f64 * CELL.1 + 40.0);
    let mut canvas = Canvas::new("photos", width, height);
    canvas.rect(0.0, 0.0, width, height, "#ffffff", None);
    canvas.text(12.0, 24.0, TextAnchor::Start, TITLE, title);
    let corner = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        (12.0 + column as f64 * CELL.0, 40.0 + row as f64 * CELL.1)
    };
    for (i, photo) in photos.iter().enumerate() {
        let (x, y) = corner(i);
        canvas.gray(x, y + 10.0, TextAnchor::Start, TICK, &shortened(&photo.title, 54));
        let x = x + SIDE as f64 + 12.0;
        for (k, (class, probability)) in photo.classes.iter().take(5).enumerate() {
            let y = y + 18.0 + 22.0 * k as f64;
            canvas.rect(x, y, 240.0 * probability.clamp(0.0, 1.0) + 0.5, 19.0, "#cfe3f2", None);
            let text = format!("{:4.1} %  {}", 100.0 * probability, shortened(class, 30));
            canvas.text(x + 4.0, y + 14.0, TextAnchor::Start, LABEL, &text);
        }
    }
    let encode = |error: pixels::Failure| FigureError::Encode {
        id: title.to_owned(),
        width,
        height,
        reason: error.to_string(),
    };
    let mut page = pixels::scene_pixels(&canvas.scene).map_err(encode)?;
    for (i, photo) in photos.iter().enumerate() {
        let (x, y) = corner(i);
        let at = [x, y + 18.0].map(|v| (v * PIXELS) as usize);
        paste(&mut page, at, &photo.rgb, photo.width, (SIDE as f64 * PIXELS) as usize);
    }
    pixels::rgb_png(&page).map_err(encode)
}

/// As many characters as have room.
fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() {
        n if n <= most => text.to_owned(),
        _ => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_photograph_stands_beside_its_classes() {
        // Left half red, right half blue.
        let row = [[255u8, 0, 0].repeat(20), [0u8, 0, 255].repeat(20)].concat();
        let photo = Photo {
            title: "half.png".into(),
            rgb: row.repeat(30),
            width: 40,
            classes: vec![("a very long name of a class that has no room".into(), 0.75)],
        };
        let bytes = photos_png("What is it?", &[photo]).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        let at = |x: usize, y: usize| {
            let i = y * frame.line_size + 3 * x;
            [pixels[i], pixels[i + 1], pixels[i + 2]]
        };
        let (x, y) = (24, 116);
        assert_eq!((at(x + 4, y + 40), at(x + 200, y + 40)), ([255, 0, 0], [0, 0, 255]));
        // The bar of the class begins right of it.
        assert_eq!(at(x + 2 * SIDE + 26, y + 4), [0xcf, 0xe3, 0xf2]);
    }
}
