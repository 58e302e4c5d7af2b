//! A scene as SVG text that stands alone in a file or inside a page.

use kuva::backend::svg::SvgBackend;
use kuva::render::render::{Primitive, Scene};

use super::canvas::{Canvas, PIXELS, Raster};
use super::gallery::raster_mark;
use super::pixels::{Failure, indexed_png};
use crate::report::base64;

/// The SVG of a canvas.
pub(super) fn render(mut canvas: Canvas) -> Result<String, Failure> {
    empty_raster_groups(&mut canvas.scene);
    let (width, height) = (canvas.scene.width, canvas.scene.height);
    let mut svg = SvgBackend::new().render_scene(&canvas.scene);
    for (n, raster) in canvas.rasters.iter().enumerate() {
        let mark = raster_mark(n);
        svg = svg.replacen(&format!("<g {mark}></g>"), &image(raster)?, 1);
    }
    // kuva gives a size but no view box, without which a browser cuts instead of scaling.
    Ok(svg.replacen("<svg ", &format!("<svg viewBox=\"0 0 {width} {height}\" "), 1))
}

/// Drops the rectangles that an embedded image will stand for.
fn empty_raster_groups(scene: &mut Scene) {
    let mut inside = false;
    scene.elements.retain(|element| match element {
        Primitive::GroupStart { extra_attrs: Some(mark), .. }
            if mark.starts_with("data-raster") =>
        {
            inside = true;
            true
        }
        Primitive::GroupEnd => {
            inside = false;
            true
        }
        _ => !inside,
    });
}

fn image(raster: &Raster) -> Result<String, Failure> {
    let Raster { x, y, width_px, height_px, .. } = raster;
    let (width, height) = (*width_px as f64 / PIXELS, *height_px as f64 / PIXELS);
    // Smoothed as browsers do by default: a gallery shown smaller than it is would lose every other gap otherwise, and one
    // shown larger has enough pixels an entry for its edges to stay clear.
    Ok(format!(
        "<image x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{}\"/>",
        base64::encode(&indexed_png(raster)?)
    ))
}
