//! Images at other sizes and at given places.

use anyhow::{Result, bail, ensure};
use tensor::{GridSample, Interpolate, InterpolateMode, SampleMode, SamplePadding};

use super::{Run, Runner};

const fn ops(op: &'static str, run: fn(&Run) -> Result<()>) -> Runner {
    Runner { prefix: "ops/", op, run }
}

pub(super) const RUNNERS: &[Runner] = &[
    ops("interpolate", interpolate),
    ops("grid_sample", grid_sample),
    ops("affine_grid", affine_grid),
];

fn interpolate(run: &Run) -> Result<()> {
    let mode = match run.attr::<String>("mode")?.as_str() {
        "nearest" => InterpolateMode::Nearest,
        "bilinear" => InterpolateMode::Bilinear,
        "bicubic" => InterpolateMode::Bicubic,
        mode => bail!("mode {mode}"),
    };
    let how = Interpolate {
        mode,
        align_corners: run.attr("align_corners")?,
        antialias: run.attr("antialias")?,
    };
    run.output("y", run.var("x")?.interpolate(run.attr("size")?, &how));
    Ok(())
}

fn grid_sample(run: &Run) -> Result<()> {
    let (mode, padding): (String, String) = (run.attr("mode")?, run.attr("padding")?);
    ensure!(mode == "bilinear" && padding == "zeros", "mode {mode} with padding {padding}");
    let options = GridSample {
        mode: SampleMode::Bilinear,
        padding: SamplePadding::Zeros,
        align_corners: run.attr("align_corners")?,
    };
    run.output("y", run.var("x")?.grid_sample(&run.var("grid")?, &options));
    Ok(())
}

fn affine_grid(run: &Run) -> Result<()> {
    let [_, _, h, w]: [usize; 4] = run.attr("size")?;
    run.output("y", run.var("theta")?.affine_grid([h, w], run.attr("align_corners")?));
    Ok(())
}
