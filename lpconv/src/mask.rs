//! [`LpMask`]: the trainable window of a convolution's kernel, and the two differentiable ops it is made of.

use autograd::{
    Op, OpInfo, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};
use nn::{
    Context, Init, Module, Param,
    layers::{Conv2dOptions, Effective, Parametrization},
};
use tensor::Tensor;

/// From which point the offsets of a kernel's taps are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offset {
    /// From the middle, `(k - 1) / 2`, in pixels: the reference code's, and the default.
    #[default]
    Center,
    /// From `k / 2`, as the paper prints it: half a pixel off. For curiosity only.
    Paper,
}

impl Offset {
    /// The point itself, for a kernel of `[height, width]` taps.
    pub fn center(self, kernel: [usize; 2]) -> [f64; 2] {
        kernel.map(|k| match self {
            Offset::Center => (k as f64 - 1.0) / 2.0,
            Offset::Paper => k as f64 / 2.0,
        })
    }
}

/// How a mask starts and what of it is trained.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskConfig {
    /// Initial exponent p of every channel, any positive number. Default 2.
    pub p_init: f64,
    /// Whether p is trained. Default true.
    pub train_p: bool,
    /// Whether C is trained. Default true.
    pub train_c: bool,
    /// Where offsets count from. Default the center.
    pub offset: Offset,
    /// Whether `C = L L^T` with a lower triangular `L` of positive diagonal, so that it stays positive definite. An
    /// extension: the paper writes of it, its experiments did not use it. The parameter is then `L` (its diagonal through
    /// softplus) in place of `C`. Default false.
    pub positive_definite: bool,
    /// Taps whose mask is below this part of the layer's largest value, in every output channel, count as 0: they have no
    /// gradient, and a border of such taps is not computed. An extension for speed that changes results, by at most
    /// `tap_threshold * max(M) * sum |weight| |x|` over the taps left out. Between 0 and 1; default 0: exact.
    pub tap_threshold: f64,
}

impl MaskConfig {
    /// What `tap_threshold` may be.
    pub(crate) const TAP_THRESHOLD: &str = "at least 0 and below 1";

    pub(crate) fn tap_threshold_is_possible(&self) -> bool {
        (0.0..1.0).contains(&self.tap_threshold)
    }
}

impl Default for MaskConfig {
    fn default() -> Self {
        MaskConfig {
            p_init: 2.0,
            train_p: true,
            train_c: true,
            offset: Offset::Center,
            positive_definite: false,
            tap_threshold: 0.0,
        }
    }
}

impl MaskConfig {
    /// A trained mask that starts with exponent `p_init`.
    pub fn trained(p_init: f64) -> Self {
        MaskConfig { p_init, ..Default::default() }
    }

    /// A mask that stays as it starts: with `p_init = 256` the old small window (exactly so for kernels of up to 7 taps).
    pub fn frozen(p_init: f64) -> Self {
        MaskConfig { p_init, train_p: false, train_c: false, ..Default::default() }
    }
}

/// The mask `M[o, m, n] = exp(-(|z_0|^p + |z_1|^p))`, `z = C_o d(m, n)`, `p = 2^log2p_o`, of a convolution with `O` output
/// channels: the parametrization `weight * M`, shared by all input channels. Paper section 3.
///
/// Adds 5 parameters a channel to the layer's state dict, under the reference code's names `log2p [O]` and `C [O, 2, 2]`.
/// `C` starts as `diag(1 / (k / 2 + 1e-4))` with `k` the kernel before it was enlarged: the mask's radius is the old
/// kernel's. Taps on the border whose mask is exactly 0 in every channel are left out of the convolution, which changes
/// no bit of the result; with [`MaskConfig::tap_threshold`], which does, also those of tiny masks.
#[derive(Module)]
pub struct LpMask {
    /// `[O]`: log2 of the exponent.
    pub log2p: Param,
    /// `[O, 2, 2]`, rows and columns in the order (row, column) of an image.
    #[module(rename = "C")]
    pub c: Option<Param>,
    /// `[O, 2, 2]` in place of `C` for a positive definite mask.
    #[module(rename = "L")]
    pub l: Option<Param>,
    #[module(skip)]
    offset: Offset,
    #[module(skip)]
    tap_threshold: f64,
}

/// Added to half a kernel by the reference code, so that taps on the rim of an odd kernel lie strictly inside.
const RADIUS_MARGIN: f64 = 1e-4;

impl LpMask {
    /// The mask of a layer with `out_channels` whose kernel was `[height, width]` before it was enlarged.
    ///
    /// # Panics
    /// If `p_init` is not positive and finite, or `tap_threshold` not at least 0 and below 1.
    #[track_caller]
    pub fn new(out_channels: usize, base_kernel: [usize; 2], config: &MaskConfig) -> Self {
        let p = config.p_init;
        assert!(p > 0.0 && p.is_finite(), "LpMask: p_init = {p} is not a positive finite number");
        let tap_threshold = config.tap_threshold;
        assert!(
            config.tap_threshold_is_possible(),
            "LpMask: tap_threshold = {tap_threshold} is not {}",
            MaskConfig::TAP_THRESHOLD
        );
        let mut log2p = Param::new([out_channels], Init::Constant(p.log2()));
        log2p.set_requires_grad(config.train_p);
        let [ch, cw] = base_kernel.map(|k| 1.0 / (k as f64 / 2.0 + RADIUS_MARGIN));
        let per_channel = |values: [f64; 4]| {
            let mut param =
                Param::new([out_channels, 2, 2], Init::Values(values.repeat(out_channels)));
            param.set_requires_grad(config.train_c);
            param
        };
        let (c, l) = if config.positive_definite {
            // softplus(x) = sqrt(c) at the start.
            let inverse_softplus = |y: f64| y.exp_m1().ln();
            let diagonal = [ch, cw].map(|c| inverse_softplus(c.sqrt()));
            (None, Some(per_channel([diagonal[0], 0.0, 0.0, diagonal[1]])))
        } else {
            (Some(per_channel([ch, 0.0, 0.0, cw])), None)
        };
        LpMask { log2p, c, l, offset: config.offset, tap_threshold }
    }

    /// The matrix C of every channel, `[O, 2, 2]`.
    pub fn matrix(&self, cx: &Context) -> Var {
        match (&self.c, &self.l) {
            (Some(c), _) => cx.var(c),
            (None, Some(l)) => cholesky_product(&cx.var(l)),
            (None, None) => unreachable!("new() makes one of both"),
        }
    }

    /// The masks of a kernel of `[height, width]` taps, `[O, height, width]`; 0 where `tap_threshold` drops a tap.
    pub fn mask(&self, kernel: [usize; 2], cx: &Context) -> Var {
        let center = self.offset.center(kernel);
        self.dropping(lp_mask(&self.matrix(cx), &cx.var(&self.log2p), kernel, center))
    }

    /// Sets masks to 0 where `tap_threshold` drops a tap.
    fn dropping(&self, mask: Var) -> Var {
        if self.tap_threshold == 0.0 {
            return mask;
        }
        let largest = mask.value().amax(&[0], true); // [1, height, width]
        let threshold = largest.amax(&[1, 2], true).mul_scalar(self.tap_threshold);
        mask.masked_fill(&largest.lt(&threshold), 0.0)
    }

    /// See [`MaskConfig::tap_threshold`].
    pub fn tap_threshold(&self) -> f64 {
        self.tap_threshold
    }
}

/// `L L^T` of `[[softplus(a), 0], [b, softplus(c)]]`.
fn cholesky_product(raw: &Var) -> Var {
    let pattern = |values: [f64; 4]| {
        let t = Tensor::new(&values, [1, 2, 2]);
        Var::constant(t.to_dtype(raw.dtype()).to_device(raw.value().device()))
    };
    let diagonal = &raw.softplus() * &pattern([1.0, 0.0, 0.0, 1.0]);
    let l = &diagonal + &(raw * &pattern([0.0, 0.0, 1.0, 0.0]));
    l.matmul(&l.transpose(1, 2))
}

impl Parametrization for LpMask {
    fn weight(&self, weight: &Var, layer: &Conv2dOptions, cx: &mut Context) -> Effective {
        let shape = weight.shape();
        cropped(weight, &self.mask([shape[2], shape[3]], cx), layer)
    }
}

/// A layer's weight times its mask, without the border of taps that are 0 in all channels.
fn cropped(weight: &Var, mask: &Var, layer: &Conv2dOptions) -> Effective {
    let border = mask.value().zero_border();
    // The layer pads less by what is cropped, and padding cannot be negative.
    let crop = [0, 1].map(|i| border[i].min(layer.padding[i] / layer.dilation[i]));
    Effective { weight: masked_weight(weight, mask, crop), crop }
}

/// Differentiable [`Tensor::lp_mask`]: masks `[O, kh, kw]` from `C [O, 2, 2]` and `log2p [O]`.
///
/// # Panics
/// If the shapes or dtypes do not fit.
#[track_caller]
pub fn lp_mask(c: &Var, log2p: &Var, kernel: [usize; 2], center: [f64; 2]) -> Var {
    Var::apply(Mask { kernel, center }, &[c, log2p])
}

/// Differentiable [`Tensor::masked_weight`]: `weight [O, I, kh, kw]` times `mask [O, kh, kw]` without a border of `crop`
/// taps, whose mask must be 0.
///
/// # Panics
/// If the shapes or dtypes do not fit.
#[track_caller]
pub fn masked_weight(weight: &Var, mask: &Var, crop: [usize; 2]) -> Var {
    Var::apply(MaskedWeight { crop }, &[weight, mask])
}

/// `exp(-|C d|_p^p)`; derivative: section 1.3 of the specification, see [`Tensor::lp_mask_grad`].
#[derive(Clone, Debug)]
struct Mask {
    kernel: [usize; 2],
    center: [f64; 2],
}

impl Mask {
    /// Offsets of the taps from the center, `[1, 2, kh * kw]` (rows, then columns), in the dtype of `like`.
    fn offsets(&self, like: &Tensor) -> Tensor {
        let [kh, kw] = self.kernel;
        let along = |axis: usize, at: fn(usize, usize) -> usize| {
            (0..kh * kw).map(move |tap| at(tap, kw) as f64 - self.center[axis])
        };
        let values: Vec<f64> = along(0, |t, w| t / w).chain(along(1, |t, w| t % w)).collect();
        Tensor::new(&values, [1, 2, kh * kw]).to_dtype(like.dtype()).to_device(like.device())
    }

    /// The gradients by differentiable ops: the formulas of [`Tensor::lp_mask_grad`], with its zeros.
    fn composed_backward(&self, saved: &Saved, dy: &Var) -> Vec<Option<Var>> {
        let (c, log2p, mask) = (saved.var(0), saved.var(1), saved.var(2));
        let (o, taps) = (c.dims()[0], self.kernel[0] * self.kernel[1]);
        let offsets = Var::constant(self.offsets(c.value()));
        let z = c.matmul(&offsets.broadcast_to([o, 2, taps])); // [O, 2, taps]
        let p = (log2p * std::f64::consts::LN_2).exp().reshape([o, 1, 1]);
        let slope = (dy * &mask).reshape([o, 1, taps]);
        // Where z or the mask is 0 the term is 0; 1 keeps powers and logarithms finite there.
        let zero = Tensor::scalar(0.0f64).to_dtype(c.dtype()).to_device(c.value().device());
        let dead = z.value().mul(&mask.value().reshape([o, 1, taps])).eq(&zero);
        let a = z.abs().masked_fill(&dead, 1.0);
        let (log, power) = (a.log(), a.pow(&p));
        let sign = Var::constant(z.value().sign());
        let dz = (&slope * &p * &power / &a * sign).masked_fill(&dead, 0.0);
        let dc = -dz.matmul(&offsets.transpose(1, 2).broadcast_to([o, taps, 2]));
        let dp = (slope * power * log).masked_fill(&dead, 0.0).sum_axes(&[1, 2], true);
        let dp = (dp * p * -std::f64::consts::LN_2).reshape([o]);
        vec![Some(dc), Some(dp)]
    }
}

impl Op for Mask {
    fn name(&self) -> &'static str {
        "lp_mask"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        saver.output();
        Tensor::lp_mask(inputs[0], inputs[1], self.kernel, self.center)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            return self.composed_backward(saved, dy);
        }
        let [c, log2p, mask] = [0, 1, 2].map(|i| saved.tensor(i));
        let (dc, dp) = Tensor::lp_mask_grad(dy.value(), mask, c, log2p, self.center);
        vec![wanted[0].then(|| Var::constant(dc)), wanted[1].then(|| Var::constant(dp))]
    }
}

/// `weight * mask`, cropped; derivatives `dy * mask` and `sum_i dy * weight`.
#[derive(Clone, Debug)]
struct MaskedWeight {
    crop: [usize; 2],
}

impl Op for MaskedWeight {
    fn name(&self) -> &'static str {
        "masked_weight"
    }
    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        saver.input(0);
        saver.input(1);
        inputs[0].masked_weight(inputs[1], self.crop)
    }
    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            let (weight, mask) = (saved.var(0), saved.var(1));
            let [top, left] = self.crop.map(|n| n as isize);
            let dy = dy.pad2d([left, left, top, top]);
            return vec![
                wanted[0].then(|| &dy * mask.unsqueeze(1)),
                wanted[1].then(|| (&dy * weight).sum_axes(&[1], false)),
            ];
        }
        let (weight, mask) = (saved.tensor(0), saved.tensor(1));
        let (dw, dm) = dy.value().masked_weight_grad(weight, mask, self.crop, wanted[1]);
        vec![wanted[0].then(|| Var::constant(dw)), dm.map(Var::constant)]
    }
}

/// This crate's differentiable ops, for the checks every op must pass (see [`autograd::OPS`]).
pub const OPS: &[OpInfo] = &[
    OpInfo { name: "lp_mask", formula: "exp(-sum_r |(C d)_r|^p), p = 2^log2p", case: mask_case },
    OpInfo { name: "masked_weight", formula: "weight * mask, cropped", case: masked_weight_case },
];

/// Exponents from below 1 to 32, and matrices for which no component of `C d` is 0 except at the center.
fn mask_case(d: &mut Draw) -> Case {
    let o = d.len(1..=3, 60..=90);
    let kernel = [0; 2].map(|_| d.len(1..=5, 20..=31));
    let center = if d.flag() { Offset::Center } else { Offset::Paper }.center(kernel);
    let c = &d.uniform([o, 2, 2], -0.25, 0.25)
        + &Tensor::new(&[0.7, 0.0, 0.0, 0.6], [1, 2, 2]).broadcast_to([o, 2, 2]);
    let log2p = d.uniform([o], -0.5, 5.0);
    Case::new(vec![c, log2p], move |v| lp_mask(&v[0], &v[1], kernel, center))
}

fn masked_weight_case(d: &mut Draw) -> Case {
    let [o, i] = [0; 2].map(|_| d.len(1..=3, 12..=16));
    let kernel = [0; 2].map(|_| d.len(1..=5, 20..=31));
    let crop = kernel.map(|k| d.int(0..=(k - 1) / 2));
    let inputs = vec![d.normal([o, i, kernel[0], kernel[1]]), d.normal([o, kernel[0], kernel[1]])];
    Case::new(inputs, move |v| masked_weight(&v[0], &v[1], crop))
}

#[cfg(test)]
mod tests;
