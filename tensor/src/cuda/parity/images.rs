//! Ops on images.

use super::{Case, draw::Draw};
use crate::{
    Conv2dOptions, GridSample, Pool2d, SampleMode, SamplePadding, Sampling, Shape, Taps, Unfold,
};

fn axis(d: &mut Draw, shape: Shape) -> isize {
    d.int(0, shape.rank() - 1) as isize
}

fn conv_options(d: &mut Draw, groups: usize) -> Conv2dOptions {
    Conv2dOptions {
        stride: d.pair(1, 2),
        padding: d.pair(0, 2),
        dilation: d.pair(1, 2),
        groups,
        ..Default::default()
    }
}

/// Shapes of an input and a weight of a convolution, and its options: dense, grouped, depthwise, pointwise.
fn conv(d: &mut Draw) -> ([usize; 4], [usize; 4], Conv2dOptions) {
    if d.int(0, 3) == 0 {
        return wide_conv(d);
    }
    let groups = d.pick(&[1, 1, 2, 3]);
    let (inner, outer) = (d.int(1, 4), d.int(1, 4));
    let [kh, kw] = d.pair(1, 4);
    let [h, w] = d.pair(7, 11);
    let x = [d.int(1, 3), groups * inner, h, w];
    (x, [groups * outer, inner, kh, kw], conv_options(d, groups))
}

/// The same with more channels than a tile has, or a depthwise one with a large kernel: the edges of what blocks share.
fn wide_conv(d: &mut Draw) -> ([usize; 4], [usize; 4], Conv2dOptions) {
    let [h, w] = d.pair(9, 13);
    if d.coin() {
        let (groups, inner, outer) = (d.int(1, 2), d.pick(&[5, 17, 33]), d.pick(&[3, 40, 65]));
        let kernel = d.pick(&[1, 2, 3]);
        let x = [d.int(1, 2), groups * inner, h, w];
        return (x, [groups * outer, inner, kernel, kernel], conv_options(d, groups));
    }
    let (channels, shared_by) = (d.pick(&[2, 33]), d.int(1, 2));
    let [kh, kw] = d.pair(5, 9);
    let same = Conv2dOptions { padding: [kh / 2, kw / 2], groups: channels, ..Default::default() };
    let options = if d.coin() { same } else { conv_options(d, channels) };
    let reach = |k: usize, dilation: usize| k + (k - 1) * (dilation - 1);
    let size = [h.max(reach(kh, options.dilation[0])), w.max(reach(kw, options.dilation[1]))];
    ([2, channels, size[0], size[1]], [channels * shared_by, 1, kh, kw], options)
}

fn pool(d: &mut Draw) -> Pool2d {
    let kernel = d.pair(2, 3);
    Pool2d { kernel, stride: d.pair(1, 3), padding: d.pair(0, 1), ceil_mode: d.coin() }
}

fn windows(d: &mut Draw) -> Unfold {
    Unfold {
        kernel: d.pair(1, 3),
        stride: d.pair(1, 2),
        padding: d.pair(0, 2),
        dilation: d.pair(1, 2),
    }
}

fn sampling(d: &mut Draw) -> Sampling {
    let mode = d.pick(&[SampleMode::Nearest, SampleMode::Bilinear, SampleMode::Bicubic]);
    let padding = d.pick(&[SamplePadding::Zeros, SamplePadding::Border, SamplePadding::Reflection]);
    let all = Sampling::new(&GridSample { mode, padding, align_corners: d.coin() });
    if mode != SampleMode::Nearest && d.coin() { all.differentiated(d.int(0, 1)) } else { all }
}

fn image(d: &mut Draw) -> [usize; 4] {
    [d.int(1, 3), d.int(1, 5), d.int(3, 9), d.int(3, 9)]
}

pub(super) const CASES: &[Case] = &[
    Case {
        method: "pad2d",
        draw: |d| {
            let shape = image(d);
            let mut side = || d.int(0, 4) as isize - 2;
            let padding = [side(), side(), side(), side()];
            (
                vec![d.images(shape)],
                Box::new(move |t| vec![t[0].pad2d(padding), t[0].constant_pad2d(padding, 0.5)]),
            )
        },
    },
    Case {
        method: "reflection_pad2d",
        draw: |d| {
            let shape = image(d);
            let padding = [d.int(0, 2), d.int(0, 2), d.int(0, 2), d.int(0, 2)];
            (vec![d.images(shape)], Box::new(move |t| vec![t[0].reflection_pad2d(padding)]))
        },
    },
    Case {
        method: "reflection_pad2d_grad",
        draw: |d| {
            let [n, c, h, w] = image(d);
            let padding = [d.int(0, 2), d.int(0, 2), d.int(0, 2), d.int(0, 2)];
            let dy = d.images([n, c, h + padding[2] + padding[3], w + padding[0] + padding[1]]);
            (vec![dy], Box::new(move |t| vec![t[0].reflection_pad2d_grad(padding)]))
        },
    },
    Case {
        method: "max_pool2d",
        draw: |d| {
            let (shape, pool) = (image(d), pool(d));
            (
                vec![d.images(shape)],
                Box::new(move |t| {
                    let (y, cells) = t[0].max_pool2d(&pool);
                    vec![y, cells]
                }),
            )
        },
    },
    Case {
        method: "max_pool2d_grad",
        draw: |d| {
            let (shape, pool) = (image(d), pool(d));
            (
                vec![d.images(shape)],
                Box::new(move |t| {
                    let (y, cells) = t[0].max_pool2d(&pool);
                    vec![y.max_pool2d_grad(&cells, shape, &pool)]
                }),
            )
        },
    },
    Case {
        method: "avg_pool2d",
        draw: |d| {
            let (shape, pool, counts, size) = (image(d), pool(d), d.coin(), d.pair(1, 3));
            (
                vec![d.images(shape)],
                Box::new(move |t| {
                    vec![t[0].avg_pool2d(&pool, counts), t[0].adaptive_avg_pool2d(size)]
                }),
            )
        },
    },
    Case {
        method: "avg_pool2d_grad",
        draw: |d| {
            let (shape, pool, counts, size) = (image(d), pool(d), d.coin(), d.pair(1, 3));
            (
                vec![d.images(shape)],
                Box::new(move |t| {
                    let (y, z) = (t[0].avg_pool2d(&pool, counts), t[0].adaptive_avg_pool2d(size));
                    vec![y.avg_pool2d_grad(shape, &pool, counts), z.adaptive_avg_pool2d_grad(shape)]
                }),
            )
        },
    },
    Case {
        method: "grid_sample",
        draw: |d| {
            let (shape, sampling) = (image(d), sampling(d));
            let places = d.pair(1, 6);
            let grid = d.tensor([shape[0], places[0], places[1], 2]);
            (
                vec![d.images(shape), grid],
                Box::new(move |t| vec![t[0].grid_sample_with(&t[1], &sampling)]),
            )
        },
    },
    Case {
        method: "grid_sample_transpose",
        draw: |d| {
            let ([n, c, h, w], sampling) = (image(d), sampling(d));
            let places = d.pair(1, 6);
            let (dy, grid) =
                (d.images([n, c, places[0], places[1]]), d.tensor([n, places[0], places[1], 2]));
            (
                vec![dy, grid],
                Box::new(move |t| vec![t[0].grid_sample_transpose(&t[1], [h, w], &sampling)]),
            )
        },
    },
    Case {
        method: "conv2d",
        draw: |d| {
            let (x, weight, options) = conv(d);
            let (x, w, b) = (d.images(x), d.tensor(weight), d.tensor([weight[0]]));
            (
                vec![x, w, b],
                Box::new(move |t| {
                    vec![
                        t[0].conv2d(&t[1], Some(&t[2]), &options),
                        t[0].conv2d(&t[1], None, &options),
                    ]
                }),
            )
        },
    },
    Case {
        method: "conv2d_input_grad",
        draw: |d| {
            let (x, weight, options) = conv(d);
            let output = crate::ops::conv2d_shape("conv2d", x.into(), weight.into(), &options);
            let (dy, w) = (d.images(output[..].try_into().expect("4 axes")), d.tensor(weight));
            (vec![dy, w], Box::new(move |t| vec![t[0].conv2d_input_grad(&t[1], x, &options)]))
        },
    },
    Case {
        method: "conv2d_weight_grad",
        draw: |d| {
            let (x, weight, options) = conv(d);
            let output = crate::ops::conv2d_shape("conv2d", x.into(), weight.into(), &options);
            let (x, dy) = (d.images(x), d.images(output[..].try_into().expect("4 axes")));
            (vec![x, dy], Box::new(move |t| vec![t[0].conv2d_weight_grad(&t[1], weight, &options)]))
        },
    },
    Case {
        method: "unfold",
        draw: |d| {
            let (shape, windows) = (image(d), windows(d));
            let shape = shape.map(|n| n + 3);
            (vec![d.images(shape)], Box::new(move |t| vec![t[0].unfold(&windows)]))
        },
    },
    Case {
        method: "fold",
        draw: |d| {
            let (shape, windows) = (image(d).map(|n| n + 3), windows(d));
            (
                vec![d.images(shape)],
                Box::new(move |t| vec![t[0].unfold(&windows).fold([shape[2], shape[3]], &windows)]),
            )
        },
    },
    Case {
        method: "resample",
        draw: |d| {
            let shape = d.full_shape(1, 4);
            let (axis, outputs) = (axis(d, shape), d.int(1, 7));
            let len = shape[axis as usize];
            let rows = (0..outputs)
                .map(|_| {
                    let start = d.int(0, len - 1);
                    let weights =
                        (0..d.int(1, (len - start).min(4))).map(|_| d.stream.normal()).collect();
                    (start, weights)
                })
                .collect();
            let taps = Taps::new(len, rows);
            (vec![d.tensor(shape)], Box::new(move |t| vec![t[0].resample(axis, &taps)]))
        },
    },
];
