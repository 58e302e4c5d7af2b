//! E10: what a net loses when masks of one orientation are taken away (Fig 10).

use std::any::Any;

use lpconv::Conformation;
use nn::{Context, layers::Conv2d, module};
use serde::{Deserialize, Serialize};
use tensor::Tensor;
use vision::{datasets::sudoku::SudokuSet, models::SudokuNet};

use super::{recipe::Recipe, train::evaluate};
use crate::{experiments::Session, failure::Outcome};

/// Masks longer than this times their width are orientation-selective (paper A.5).
const DISTORTION: f64 = 3.0;
/// Long along the height: column-selective; the angle the paper ablates.
pub(super) const COLUMN_ANGLE_DEG: f64 = 90.0;
/// Long along the width: row-selective; the control.
pub(super) const ROW_ANGLE_DEG: f64 = 0.0;

/// All ablations of one net.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Ablation {
    /// Puzzles on which it was measured.
    pub(super) puzzles: usize,
    /// Masks of the blocks with a distortion above 3, and masks in all.
    pub(super) selective: usize,
    pub(super) masks: usize,
    pub(super) curves: Vec<Curve>,
}

/// Accuracies against the half-window around one angle, in one range of layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Curve {
    pub(super) angle_deg: f64,
    /// First and last block, counted from 1.
    pub(super) layers: [usize; 2],
    pub(super) points: Vec<Point>,
}

/// One half-window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Point {
    pub(super) radius_deg: f64,
    /// Masks ablated.
    pub(super) ablated: usize,
    pub(super) row: f64,
    pub(super) column: f64,
    #[serde(rename = "box")]
    pub(super) box_: f64,
    pub(super) sudoku: f64,
}

impl Ablation {
    /// What rows and columns lose around an angle, in all layers: the mean over half-windows of 20 to 30 degrees, where
    /// the specification looks.
    pub(super) fn losses(&self, angle_deg: f64) -> Option<[f64; 2]> {
        let curve = self.curves.iter().find(|c| c.angle_deg == angle_deg)?;
        let intact = curve.points.first()?;
        let near: Vec<&Point> =
            curve.points.iter().filter(|p| (20.0..=30.0).contains(&p.radius_deg)).collect();
        if near.is_empty() {
            return None;
        }
        let mean = |score: fn(&Point) -> f64| {
            near.iter().map(|p| score(intact) - score(p)).sum::<f64>() / near.len() as f64
        };
        Some([mean(|p| p.row), mean(|p| p.column)])
    }
}

/// One orientation-selective channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Channel {
    block: usize,
    channel: usize,
}

/// Measures all curves; the net ends as it was.
pub(super) fn run(
    net: &mut SudokuNet,
    recipe: &Recipe,
    test: &SudokuSet,
    session: &Session,
) -> Outcome<Ablation> {
    let puzzles = test.clone().take(recipe.ablation_puzzles);
    let (selective, masks) = orientations(net);
    let blocks = recipe.blocks;
    let mut curves = Vec::new();
    for angle_deg in [COLUMN_ANGLE_DEG, ROW_ANGLE_DEG] {
        for layers in [[1, blocks], [1, blocks.div_ceil(2)], [blocks.div_ceil(2) + 1, blocks]] {
            let mut points: Vec<Point> = Vec::new();
            let mut before: Option<Vec<Channel>> = None;
            for radius in (0..=90).step_by(recipe.ablation_step_deg) {
                session.check_stop()?;
                let radius_deg = radius as f64;
                let chosen: Vec<Channel> = selective
                    .iter()
                    .filter(|(c, theta)| {
                        (layers[0]..=layers[1]).contains(&(c.block + 1))
                            && angle_between(*theta, angle_deg) <= radius_deg
                    })
                    .map(|(c, _)| *c)
                    .collect();
                let point = match (points.last(), &before) {
                    // A wider window with the same masks in it: nothing new to measure.
                    (Some(last), Some(b)) if *b == chosen => Point { radius_deg, ..last.clone() },
                    _ => measure(net, &chosen, &puzzles, radius_deg),
                };
                points.push(point);
                before = Some(chosen);
            }
            curves.push(Curve { angle_deg, layers, points });
        }
    }
    Ok(Ablation { puzzles: puzzles.len(), selective: selective.len(), masks, curves })
}

/// The orientation-selective channels of the blocks with their angles, and the number of masks in all.
fn orientations(net: &SudokuNet) -> (Vec<(Channel, f64)>, usize) {
    let (mut selective, mut masks) = (Vec::new(), 0);
    for_each_block(net, |block, conv| {
        let Some(mask) =
            conv.parametrization().and_then(|p| (p as &dyn Any).downcast_ref::<lpconv::LpMask>())
        else {
            return;
        };
        let c = mask.matrix(&Context::eval()).value().to_f64_vec();
        for (channel, c) in c.chunks(4).enumerate() {
            masks += 1;
            // A singular C has no shape that could be selective.
            let shape = Conformation::new([[c[0], c[1]], [c[2], c[3]]]);
            if let Ok(s) = shape
                && s.distortion > DISTORTION
            {
                selective.push((Channel { block, channel }, s.rotation_deg));
            }
        }
    });
    (selective, masks)
}

/// Calls `f` with the number (from 0) and the convolution of every block; the last 1x1 convolution is none.
fn for_each_block<'a>(net: &'a SudokuNet, mut f: impl FnMut(usize, &'a Conv2d)) {
    let mut block = 0;
    module::for_each_module(net, &mut |path, m| {
        if let Some(conv) = (m as &dyn Any).downcast_ref::<Conv2d>()
            && path.starts_with("conv_layers.")
        {
            f(block, conv);
            block += 1;
        }
    });
}

/// The smaller angle between two axes, 0 to 90 degrees.
pub(super) fn angle_between(a: f64, b: f64) -> f64 {
    let d = (a - b).rem_euclid(180.0);
    d.min(180.0 - d)
}

/// Accuracies with the masks of `channels` set to 0: those channels give their bias only.
fn measure(
    net: &mut SudokuNet,
    channels: &[Channel],
    puzzles: &SudokuSet,
    radius_deg: f64,
) -> Point {
    let kept = silence(net, channels);
    let (counts, _) = evaluate(net, puzzles);
    restore(net, kept);
    let mean = counts.mean().expect("the recipe has test puzzles");
    Point {
        radius_deg,
        ablated: channels.len(),
        row: mean.row,
        column: mean.column,
        box_: mean.box_,
        sudoku: mean.sudoku,
    }
}

/// Sets the kernels of `channels` to 0, which is what a mask of zeros does; returns the weights as they were.
fn silence(net: &mut SudokuNet, channels: &[Channel]) -> Vec<(usize, Tensor)> {
    let mut kept = Vec::new();
    for_each_block_mut(net, |block, conv| {
        let mine: Vec<usize> =
            channels.iter().filter(|c| c.block == block).map(|c| c.channel).collect();
        if mine.is_empty() {
            return;
        }
        let old = conv.weight.value().clone();
        let mut keep = vec![1.0f32; old.dims()[0]];
        for channel in mine {
            keep[channel] = 0.0;
        }
        let keep = Tensor::new(&keep, [keep.len(), 1, 1, 1]).to_dtype(old.dtype());
        *conv.weight.value_mut() = &old * &keep;
        kept.push((block, old));
    });
    kept
}

fn restore(net: &mut SudokuNet, kept: Vec<(usize, Tensor)>) {
    for_each_block_mut(net, |block, conv| {
        if let Some((_, old)) = kept.iter().find(|(b, _)| *b == block) {
            *conv.weight.value_mut() = old.clone();
        }
    });
}

/// As [`for_each_block`], to be changed.
fn for_each_block_mut(net: &mut SudokuNet, mut f: impl FnMut(usize, &mut Conv2d)) {
    let mut block = 0;
    module::for_each_module_mut(net, &mut |path, m| {
        if let Some(conv) = (m as &mut dyn Any).downcast_mut::<Conv2d>()
            && path.starts_with("conv_layers.")
        {
            f(block, conv);
            block += 1;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::{
        ScaleName,
        sudoku::{recipe::Condition, train::model},
    };
    use nn::ModuleExt;
    use tensor::Device;

    #[test]
    fn angles_are_measured_between_axes() {
        assert_eq!(angle_between(179.0, 0.0), 1.0);
        assert_eq!(angle_between(45.0, 90.0), 45.0);
        assert_eq!(angle_between(0.0, 90.0), 90.0);
    }

    /// Silences the second channel of block 2: its output must be the bias, all others stay, and all comes back.
    #[test]
    fn silenced_channels_give_their_bias_and_come_back() {
        let recipe = Recipe { blocks: 2, channels: 4, ..Recipe::of(ScaleName::Demo, None) };
        let mut net = model(&recipe, Condition::Lp(2.0), 0, Device::Cpu).unwrap();
        let before = net.state_dict();
        let kept = silence(&mut net, &[Channel { block: 1, channel: 1 }]);
        let after = net.state_dict();
        for ((name, b), (_, a)) in before.iter().zip(&after) {
            let (b, a) = (b.to_f64_vec(), a.to_f64_vec());
            if name == "conv_layers.1.net.1.weight" {
                let each = b.len() / 4;
                assert!(a[each..2 * each].iter().all(|&v| v == 0.0));
                assert_eq!(a[..each], b[..each]);
                assert_eq!(a[2 * each..], b[2 * each..]);
            } else {
                assert_eq!(a, b, "{name}");
            }
        }
        restore(&mut net, kept);
        for ((_, b), (_, a)) in before.iter().zip(&net.state_dict()) {
            assert_eq!(a.to_f64_vec(), b.to_f64_vec());
        }
    }
}
