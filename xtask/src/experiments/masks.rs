//! Pictures of trained masks: what sudoku, v1 and the classification experiments draw alike.

use lpconv::{Conformation, lp_mask};

use crate::report::figure::{Axis, Figure, Group, Ink, Matrix, Panel, Shape};

/// Taps along an edge of a drawn mask: finer than the kernel, over the same width.
const DRAWN: usize = 23;

/// The mask of a `kernel` x `kernel` convolution with exponent `p` and matrix `c` (row by row, per tap).
pub(in crate::experiments) fn drawn(kernel: usize, p: f64, c: &[f64; 4]) -> Matrix {
    let c = c.map(|v| v * kernel as f64 / DRAWN as f64);
    let mask = lp_mask(p, &[[c[0], c[1]], [c[2], c[3]]], DRAWN, DRAWN);
    Matrix::new(DRAWN, DRAWN, mask.iter().map(|&v| v as f32).collect())
}

/// The conformations of a layer's masks; those that have none (a matrix that is no finite number) are left out.
pub(in crate::experiments) fn shapes(c: &[[f64; 4]]) -> Vec<Conformation> {
    c.iter().filter_map(|c| Conformation::new([[c[0], c[1]], [c[2], c[3]]]).ok()).collect()
}

/// Masks rounder than this have no orientation to speak of.
const ROUND: f64 = 1.2;

/// Scale, distortion and rotation of all masks by layer (Fig 5b, 17); `layers` are the matrices of each.
pub(in crate::experiments) fn conformation(
    figure: Figure,
    condition: &str,
    layers: &[&[[f64; 4]]],
) -> Figure {
    let ink = Ink::condition_or(condition, 0);
    let shapes: Vec<Vec<Conformation>> = layers.iter().map(|c| shapes(c)).collect();
    let panel = |title, unit, shape, value: &dyn Fn(&Conformation) -> Option<f64>| {
        let group = |(i, layer): (usize, &Vec<Conformation>)| {
            Group::new((i + 1).to_string(), ink, layer.iter().filter_map(value).collect())
        };
        let groups = shapes.iter().enumerate().map(group).collect();
        Panel::distributions(title, Axis::new("layer"), unit, shape, groups)
    };
    let rotation = |c: &Conformation| (c.distortion > ROUND).then_some(c.rotation_deg);
    let degrees = Axis::new("θ (degrees)").range(0.0, 180.0).step(45.0);
    let rotations = shapes.iter().flatten().filter_map(rotation).collect();
    figure
        .panel(panel("Scale", Axis::new("α (pixels)"), Shape::Violin, &|c| Some(c.scale)))
        .panel(panel("Distortion", Axis::new("γ"), Shape::Violin, &|c| Some(c.distortion)))
        .panel(panel("Rotation", degrees, Shape::Strip, &rotation))
        .panel(Panel::orientations("All rotations", 18, Group::new(condition, ink, rotations)))
        .columns(2)
}
