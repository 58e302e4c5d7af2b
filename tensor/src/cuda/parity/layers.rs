//! Products, normalizations, losses, cells, optimizers, masks.

use super::{Case, draw::Draw};
use crate::{AdamStep, RecurrentCell, SgdStep, Shape, Targets, Tensor};

fn axis(d: &mut Draw, shape: Shape) -> isize {
    d.int(0, shape.rank() - 1) as isize
}

/// Activations of a normalization `[N, C, ..]`, sometimes many.
fn normalized(d: &mut Draw) -> Shape {
    let c = d.pick(&[1, 3, 8, 40]);
    match d.int(0, 2) {
        0 => [d.int(2, 70), c].into(),
        1 => [d.int(1, 3), c, d.int(2, 30)].into(),
        _ => [d.int(1, 3), c, d.int(2, 12), d.int(1, 12)].into(),
    }
}

fn cell(d: &mut Draw) -> (RecurrentCell, usize, usize) {
    (d.pick(&[RecurrentCell::Gru, RecurrentCell::Lstm]), d.int(1, 5), d.pick(&[1, 4, 9]))
}

/// A shape of rows, sometimes of so long ones that a block shares one.
fn rows(d: &mut Draw) -> Shape {
    if d.int(0, 3) == 0 {
        [d.int(1, 3), d.pick(&[1023, 1024, 2500])].into()
    } else {
        d.full_shape(1, 4)
    }
}

/// A matrix `[m, n]` of any strides among batches `batch`.
fn matrix_sides(d: &mut Draw) -> [usize; 3] {
    // Edges and insides of tiles.
    let side = |d: &mut Draw| d.pick(&[1, 3, 16, 40, 64, 65, 130]);
    [side(d), side(d), d.pick(&[0, 1, 5, 16, 17, 40])]
}

fn scaled(t: &Tensor) -> Tensor {
    t.mul_scalar(0.3)
}

pub(super) const CASES: &[Case] = &[
    Case {
        method: "recurrent_step",
        draw: |d| {
            let (cell, n, hidden) = cell(d);
            let gates = || [n, cell.gates() * hidden];
            let (i, s, state) =
                (d.tensor(gates()), d.tensor(gates()), d.tensor([n, cell.states() * hidden]));
            (vec![i, s, state], Box::new(move |t| vec![t[0].recurrent_step(cell, &t[1], &t[2])]))
        },
    },
    Case {
        method: "recurrent_step_grad",
        draw: |d| {
            let (cell, n, hidden) = cell(d);
            let gates = || [n, cell.gates() * hidden];
            let (i, s, state) =
                (d.tensor(gates()), d.tensor(gates()), d.tensor([n, cell.states() * hidden]));
            let dstate = d.tensor([n, cell.states() * hidden]);
            (
                vec![i, s, state, dstate],
                Box::new(move |t| {
                    let step = t[0].recurrent_step(cell, &t[1], &t[2]);
                    vec![t[3].recurrent_step_grad(cell, &step, &t[2])]
                }),
            )
        },
    },
    Case {
        method: "linear",
        draw: |d| {
            let [m, n, k] = matrix_sides(d);
            let (x, w, b) = (d.tensor([m, k]), d.tensor([n, k]), d.tensor([n]));
            (
                vec![x, w, b],
                Box::new(|t| vec![t[0].linear(&t[1], Some(&t[2])), t[0].linear(&t[1], None)]),
            )
        },
    },
    Case {
        method: "batch_stats",
        draw: |d| {
            let shape = normalized(d);
            (
                vec![d.tensor(shape)],
                Box::new(|t| {
                    let (mean, var) = t[0].batch_norm_stats();
                    vec![mean, var]
                }),
            )
        },
    },
    Case {
        method: "batch_norm",
        draw: |d| {
            let shape = normalized(d);
            let mut vector = || d.plain([shape[1]]);
            let (mean, invstd, weight, bias) = (vector(), vector(), vector(), vector());
            (
                vec![d.tensor(shape), mean, invstd, weight, bias],
                Box::new(|t| {
                    let [x, mean, invstd, weight, bias] = t else { unreachable!("five operands") };
                    vec![
                        x.batch_norm(mean, invstd, Some(weight), Some(bias)),
                        x.batch_norm(mean, invstd, None, None),
                        x.batch_norm(mean, invstd, Some(weight), None),
                    ]
                }),
            )
        },
    },
    Case {
        method: "batch_norm_grad",
        draw: |d| {
            let shape = normalized(d);
            let weight = d.plain([shape[1]]);
            let (training, wants_dx, weighted) = (d.coin(), d.int(0, 3) > 0, d.coin());
            (
                vec![d.tensor(shape), d.tensor(shape), weight],
                Box::new(move |t| {
                    let (mean, var) = t[0].batch_norm_stats();
                    let invstd = var.add_scalar(0.1).rsqrt();
                    let weight = weighted.then_some(&t[2]);
                    let g = t[0].batch_norm_grad(&t[1], &mean, &invstd, weight, training, wants_dx);
                    assert_eq!(g.dx.is_some(), wants_dx);
                    [g.dx, Some(g.dweight), Some(g.dbias)].into_iter().flatten().collect()
                }),
            )
        },
    },
    Case {
        method: "channel_sums",
        draw: |d| {
            let shape = normalized(d);
            (vec![d.tensor(shape)], Box::new(|t| vec![t[0].channel_sums()]))
        },
    },
    Case {
        method: "layer_norm",
        draw: |d| {
            let shape = rows(d);
            let axes = d.int(1, shape.rank());
            let normalized = &shape[shape.rank() - axes..];
            let (weight, bias) = (d.plain(normalized), d.plain(normalized));
            (
                vec![d.tensor(shape), weight, bias],
                Box::new(move |t| {
                    let (y, stats) = t[0].layer_norm(axes, Some(&t[1]), Some(&t[2]), 1e-2);
                    let (z, _) = t[0].layer_norm(axes, None, None, 1e-2);
                    vec![y, stats, z]
                }),
            )
        },
    },
    Case {
        method: "layer_norm_grad",
        draw: |d| {
            let shape = rows(d);
            let axes = d.int(1, shape.rank());
            let weight = d.plain(&shape[shape.rank() - axes..]);
            let weighted = d.coin();
            (
                vec![d.tensor(shape), d.tensor(shape), weight],
                Box::new(move |t| {
                    let weight = weighted.then_some(&t[2]);
                    let (_, stats) = t[0].layer_norm(axes, weight, None, 1e-2);
                    let g = t[0].layer_norm_grad(axes, &t[1], &stats, weight);
                    vec![g.dx, g.dweight, g.dbias]
                }),
            )
        },
    },
    Case {
        method: "softmax",
        draw: |d| {
            let shape = rows(d);
            let axis = axis(d, shape);
            (
                vec![d.tensor(shape)],
                Box::new(move |t| vec![t[0].softmax(axis), t[0].log_softmax(axis)]),
            )
        },
    },
    Case {
        method: "softmax_grad",
        draw: |d| {
            let shape = rows(d);
            let axis = axis(d, shape);
            (
                vec![d.tensor(shape), d.tensor(shape)],
                Box::new(move |t| {
                    let (y, log) = (t[0].softmax(axis), t[0].log_softmax(axis));
                    vec![y.softmax_grad(&t[1], axis), log.log_softmax_grad(&t[1], axis)]
                }),
            )
        },
    },
    Case {
        method: "cross_entropy",
        draw: |d| {
            let (n, k) = (d.pick(&[1, 4, 70]), d.pick(&[2, 10, 300, 1500]));
            let (logits, index) = (d.tensor([n, k]), d.index([n], k));
            let p = d.tensor([n, k]);
            let p = d.map(p, |t| t.abs());
            let (smoothing, soft) = (d.pick(&[0.0, 0.1]), d.coin());
            (
                vec![logits, index, p],
                Box::new(move |t| {
                    let targets = match soft {
                        true => Targets::Probabilities(&t[2]),
                        false => Targets::Classes { index: &t[1], smoothing },
                    };
                    let (loss, lse) = t[0].cross_entropy(targets);
                    vec![loss, lse]
                }),
            )
        },
    },
    Case {
        method: "cross_entropy_grad",
        draw: |d| {
            let (n, k) = (d.pick(&[1, 4, 70]), d.pick(&[2, 10, 300, 1500]));
            let (logits, index, dloss) = (d.tensor([n, k]), d.index([n], k), d.tensor([n]));
            let p = d.tensor([n, k]);
            let p = d.map(p, |t| t.abs());
            let (smoothing, soft) = (d.pick(&[0.0, 0.1]), d.coin());
            (
                vec![logits, index, p, dloss],
                Box::new(move |t| {
                    let targets = match soft {
                        true => Targets::Probabilities(&t[2]),
                        false => Targets::Classes { index: &t[1], smoothing },
                    };
                    let (_, lse) = t[0].cross_entropy(targets);
                    vec![t[0].cross_entropy_grad(targets, &lse, &t[3])]
                }),
            )
        },
    },
    Case {
        method: "sgd_step",
        draw: |d| {
            let shape = d.shape(1, 4);
            let (x, g, v) = (d.tensor(shape), d.tensor(shape), d.tensor(shape));
            let step = SgdStep {
                lr: 0.1,
                momentum: d.pick(&[0.0, 0.9]),
                dampening: d.pick(&[0.0, 0.3]),
                weight_decay: d.pick(&[0.0, 0.2]),
                nesterov: d.coin(),
            };
            (
                vec![x, g, v],
                Box::new(move |t| {
                    let (mut x, mut first, mut velocity) = (t[0].clone(), None, Some(t[2].clone()));
                    x.sgd_step_mut(&t[1], &mut first, &step);
                    x.sgd_step_mut(&t[1], &mut velocity, &step);
                    // What shares memory with the parameter has not changed.
                    [Some(x), first, velocity, Some(t[0].clone())].into_iter().flatten().collect()
                }),
            )
        },
    },
    Case {
        method: "adam_step",
        draw: |d| {
            let shape = d.shape(1, 4);
            let (x, g, m, v) = (d.tensor(shape), d.tensor(shape), d.tensor(shape), d.tensor(shape));
            let v = d.map(v, |t| t.abs());
            let step = AdamStep {
                lr: 0.1,
                betas: [0.9, 0.99],
                eps: 1e-3,
                weight_decay: d.pick(&[0.0, 0.2]),
                decoupled: d.coin(),
                step: d.int(1, 5) as u64,
            };
            (
                vec![x, g, m, v],
                Box::new(move |t| {
                    let [mut x, mut m, mut v] = [0, 2, 3].map(|i| t[i].clone());
                    x.adam_step_mut(&t[1], &mut m, &mut v, &step);
                    vec![x, m, v, t[0].clone()]
                }),
            )
        },
    },
    Case {
        method: "lerp",
        draw: |d| {
            let shape = d.shape(0, 4);
            (
                vec![d.tensor(shape), d.tensor(shape)],
                Box::new(|t| {
                    let mut x = t[0].clone();
                    x.lerp_mut(&t[1], 0.3);
                    vec![x, t[0].clone()]
                }),
            )
        },
    },
    Case {
        method: "sum_of_squares",
        draw: |d| {
            let shape = d.shape(0, 4);
            (
                vec![d.tensor(shape)],
                Box::new(|t| {
                    let sum = crate::sum_of_squares([&t[0]]);
                    vec![Tensor::full(sum, [], t[0].dtype(), t[0].device())]
                }),
            )
        },
    },
    Case {
        method: "lp_mask",
        draw: |d| {
            let (o, kernel) = (d.int(1, 5), d.pair(1, 7));
            let center = [kernel[0] as f64 / 2.0 - 0.5, kernel[1] as f64 / 2.0 - 0.25];
            let (c, log2p) = (d.tensor([o, 2, 2]), d.tensor([o]));
            let (c, log2p) = (d.map(c, scaled), d.map(log2p, |t| t.add_scalar(1.0)));
            (vec![c, log2p], Box::new(move |t| vec![Tensor::lp_mask(&t[0], &t[1], kernel, center)]))
        },
    },
    Case {
        method: "lp_mask_grad",
        draw: |d| {
            let (o, kernel) = (d.int(1, 5), d.pair(1, 7));
            let center = [kernel[0] as f64 / 2.0 - 0.5, kernel[1] as f64 / 2.0 - 0.25];
            let (c, log2p) = (d.tensor([o, 2, 2]), d.tensor([o]));
            let (c, log2p) = (d.map(c, scaled), d.map(log2p, |t| t.add_scalar(1.0)));
            let dmask = d.tensor([o, kernel[0], kernel[1]]);
            (
                vec![c, log2p, dmask],
                Box::new(move |t| {
                    let mask = Tensor::lp_mask(&t[0], &t[1], kernel, center);
                    let (dc, dp) = Tensor::lp_mask_grad(&t[2], &mask, &t[0], &t[1], center);
                    vec![dc, dp]
                }),
            )
        },
    },
    Case {
        method: "masked_weight",
        draw: |d| {
            let (o, i, crop) = (d.int(1, 4), d.int(1, 4), d.pair(0, 1));
            let [kh, kw] = [2 * crop[0] + d.int(1, 5), 2 * crop[1] + d.int(1, 5)];
            let (weight, mask) = (d.tensor([o, i, kh, kw]), d.tensor([o, kh, kw]));
            (vec![weight, mask], Box::new(move |t| vec![t[0].masked_weight(&t[1], crop)]))
        },
    },
    Case {
        method: "masked_weight_grad",
        draw: |d| {
            let (o, i, crop) = (d.int(1, 4), d.int(1, 4), d.pair(0, 1));
            // More taps than a block has threads, too.
            let side = d.pick(&[3, 5, 16]);
            let [kh, kw] = [2 * crop[0] + d.int(1, side), 2 * crop[1] + d.int(1, side)];
            let (weight, mask) = (d.tensor([o, i, kh, kw]), d.tensor([o, kh, kw]));
            let dy = d.tensor([o, i, kh - 2 * crop[0], kw - 2 * crop[1]]);
            let wanted = d.coin();
            (
                vec![weight, mask, dy],
                Box::new(move |t| {
                    let (dw, dm) = t[2].masked_weight_grad(&t[0], &t[1], crop, wanted);
                    assert_eq!(dm.is_some(), wanted);
                    [Some(dw), dm].into_iter().flatten().collect()
                }),
            )
        },
    },
    Case {
        method: "matmul",
        draw: |d| {
            let [m, n, k] = matrix_sides(d);
            let batch: &[usize] = d.pick(&[&[], &[3], &[2, 3]]);
            let sa = Shape::new(&[batch, &[m, k]].concat());
            let sb = Shape::new(&[batch, &[k, n]].concat());
            (vec![d.tensor(sa), d.tensor(sb)], Box::new(|t| vec![t[0].matmul(&t[1])]))
        },
    },
];
