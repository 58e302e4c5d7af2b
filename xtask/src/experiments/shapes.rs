//! E3, shape galleries (Fig 14, 1e, 5a): what p, C, scale, distortion and rotation do to a mask. No data, no training.

use std::path::{Path, PathBuf};

use lpconv::{Conformation, lp_mask, lp_mask_area};

use super::{Experiment, ScaleName, run_info, without_options};
use crate::report::{
    Claim, Number, Quantity, Report, Scale, Table,
    figure::{ColorScale, Figure, Gallery, Matrix, Panel},
    verdict,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: "shapes",
    paper: "Fig 14, 1e, 5a (E3): galleries of masks",
    data: "none",
    demo: "a second",
    trials: |request| without_options("shapes", "draws masks from formulas", request),
    has_trials: false,
    can_shorten: false,
    run: |_| Ok(()),
    report,
};

/// Taps along an edge of a mask in the galleries: enough to look smooth.
const SIZE: usize = 49;
/// Taps per unit length there: the picture shows 4 units, so that `C = 1` fills half of it.
const TAPS_PER_UNIT: f64 = SIZE as f64 / 4.0;
const IDENTITY: [[f64; 2]; 2] = [[1.0, 0.0], [0.0, 1.0]];

/// The mask of `C` in units of which the picture shows four.
fn picture(p: f64, c: [[f64; 2]; 2]) -> Matrix {
    let per_tap = c.map(|row| row.map(|v| v / TAPS_PER_UNIT));
    let values = lp_mask(p, &per_tap, SIZE, SIZE).iter().map(|&v| v as f32).collect();
    Matrix::new(SIZE, SIZE, values)
}

fn figure(id: &str, title: &str, gallery: Gallery) -> Figure {
    Figure::new(id, title)
        .panel(Panel::gallery("", gallery))
        .columns(1)
        .without_letters()
        .color_scale(ColorScale::new("mask", 0.0, 1.0))
}

/// Fig 14: from cross over diamond to disk.
fn fig14() -> Figure {
    let exponents = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0];
    let gallery =
        Gallery::new(exponents.len(), exponents.iter().map(|&p| picture(p, IDENTITY)).collect());
    let captions = exponents.map(|p| format!("p = {p}"));
    figure("fig14", "Masks for p up to 2", gallery.column_captions(captions))
}

/// Fig 1e: exponents by matrices.
fn fig1e() -> Figure {
    let exponents = [1.0, 2.0, 4.0, 16.0, 256.0];
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let matrices = [
        ("isotropic", IDENTITY),
        ("stretched", [[1.6, 0.0], [0.0, 0.8]]),
        ("rotated", [[1.6 * cos, -1.6 * sin], [0.8 * sin, 0.8 * cos]]),
    ];
    let cells =
        matrices.iter().flat_map(|(_, c)| exponents.iter().map(|&p| picture(p, *c))).collect();
    let gallery = Gallery::new(exponents.len(), cells)
        .column_captions(exponents.map(|p| format!("p = {p}")))
        .row_captions(matrices.map(|(name, _)| name));
    figure("fig1e", "Masks by exponent p and matrix C", gallery)
}

/// Fig 5a: one row each for scale, distortion and rotation, the other two fixed.
fn fig5a() -> anyhow::Result<Figure> {
    let alphas = [0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8];
    let gammas = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0];
    let thetas = [0.0, 30.0, 60.0, 90.0, 120.0, 150.0, 180.0];
    let shape = |scale, distortion, rotation_deg| -> anyhow::Result<Matrix> {
        Ok(picture(2.0, Conformation { scale, distortion, rotation_deg }.to_c()?))
    };
    let mut cells = Vec::new();
    for alpha in alphas {
        cells.push(shape(alpha, 1.0, 0.0)?);
    }
    for gamma in gammas {
        cells.push(shape(1.2, gamma, 0.0)?);
    }
    for theta in thetas {
        cells.push(shape(1.4, 3.0, theta)?);
    }
    let rows = ["scale α 0.6 – 1.8", "distortion γ 1 – 5", "rotation θ 0° – 180°"];
    Ok(figure(
        "fig5a",
        "Masks (p = 2) by scale, distortion and rotation",
        Gallery::new(alphas.len(), cells).row_captions(rows),
    ))
}

/// The area where a mask is above 1/e, counted in taps of a fine grid and by the formula.
fn areas() -> (Table, f64, f64) {
    let mut table = Table::new(
        "Area of the mask above 1/e, C = 1",
        ["p", "counted", "4 Γ(1+1/p)² / Γ(1+2/p)", "difference in %"],
    );
    // 1001 taps on 4 units: a tap is 1.6e-5 of the area.
    let (size, unit) = (1001, 1001.0 / 4.0);
    let c = IDENTITY.map(|row| row.map(|v| v / unit));
    let (mut worst, mut largest_p): (f64, f64) = (0.0, f64::NAN);
    for p in [0.5, 1.0, 1.5, 2.0, 4.0, 16.0, 256.0, f64::INFINITY] {
        let above = lp_mask(p, &c, size, size).iter().filter(|&&v| v > (-1f64).exp()).count();
        let counted = above as f64 / (unit * unit);
        let exact = lp_mask_area(p, &IDENTITY);
        let percent = 100.0 * (counted / exact - 1.0);
        worst = worst.max(percent.abs());
        if p == 256.0 {
            largest_p = counted;
        }
        table.push([
            p.to_string().into(),
            Number::new(counted, 4).into(),
            Number::new(exact, 4).into(),
            Number::new(percent, 2).into(),
        ]);
    }
    (table, worst, largest_p)
}

/// The largest deviation of a rotated, stretched mask from its mirror image through the center, over exponents.
fn asymmetry() -> f64 {
    let (sin, cos) = 30f64.to_radians().sin_cos();
    let c = [[0.16 * cos, -0.16 * sin], [0.08 * sin, 0.08 * cos]];
    [0.25, 1.0, 2.0, 16.0, 256.0]
        .iter()
        .flat_map(|&p| {
            let mask = lp_mask(p, &c, SIZE, SIZE);
            let mirrored: Vec<f64> = mask.iter().rev().copied().collect();
            mask.into_iter().zip(mirrored).map(|(a, b)| (a - b).abs())
        })
        .fold(0.0, f64::max)
}

fn report(folder: &Path, _: ScaleName) -> anyhow::Result<PathBuf> {
    // Formulas are the same at every scale: these are the paper's own.
    let mut report = Report::new(
        "Shapes of Lp-masks (Fig 14, 1e, 5a)",
        Scale::Paper,
        "An Lp-mask is exp(−|C d|ₚᵖ) over the offsets d of a kernel's taps. The exponent p takes it from a cross over a \
         diamond and an ellipse to a box; the matrix C gives it a scale, a distortion and a rotation. All pictures are \
         computed from the formula; nothing here is trained.",
        run_info(folder, &[], &[], std::time::Duration::ZERO)?,
    );
    let (table, worst, box_area) = areas();
    let exactly = |name: &str, value: f64| Quantity::exact(name, value, 4);
    report.claim(Claim::new(
        "Self-check: the area of a drawn mask above 1/e is 4 Γ(1+1/p)² / (Γ(1+2/p) |det C|).",
        verdict::close(&exactly("largest difference in %", worst), &exactly("0", 0.0), 0.5),
        Scale::Paper,
    ));
    report.claim(Claim::new(
        "Self-check: masks are symmetric, M(d) = M(−d).",
        verdict::close(&exactly("largest difference", asymmetry()), &exactly("0", 0.0), 1e-12),
        Scale::Paper,
    ));
    report.claim(Claim::new(
        "As p grows the mask becomes the box |C d|∞ < 1, whose area is 4.",
        verdict::close(
            &exactly("area above 1/e at p = 256, counted", box_area),
            &exactly("4", 4.0),
            0.01,
        ),
        Scale::Paper,
    ));
    report.figure(fig14(), "Fig 14. p = 1 is a diamond, p < 1 a cross, p = 2 a disk (C = 1).");
    report.figure(fig1e(), "Fig 1e. Rows: the matrix C; columns: the exponent p.");
    report.figure(
        fig5a()?,
        "Fig 5a. First row: scale α (γ = 1). Second: distortion γ (α = 1.2, θ = 0). Third: rotation θ (α = 1.4, γ = 3); \
         0° is long along the width, 90° along the height.",
    );
    report.table("areas", table);
    report.note(
        "Rotation is measured from the column axis towards the row axis (downwards), as section 1.6 of the specification \
         defines it; the paper's own formula takes the sine of a vector.",
    );
    Ok(report.save(folder)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_areas_match_the_formula_and_masks_their_mirror_image() {
        assert!(areas().1 < 0.5);
        assert!(asymmetry() < 1e-12);
    }

    #[test]
    fn the_report_holds_its_figures() {
        let dir = tempfile::tempdir().unwrap();
        let page = report(dir.path(), ScaleName::Demo).unwrap();
        let html = std::fs::read_to_string(page).unwrap();
        for id in ["fig14", "fig1e", "fig5a"] {
            assert!(dir.path().join(format!("{id}.png")).exists());
            assert!(html.contains(&format!("{id}.svg")));
        }
        assert!(!html.contains("not reproduced"));
    }
}
