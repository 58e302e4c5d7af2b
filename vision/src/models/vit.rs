//! [`Vit`], the vision transformer, and its encoder layer.

use autograd::Var;
use nn::{
    Context, Forward, Init, Module, Param,
    layers::{Conv2d, Dropout, GELU, LayerNorm, Linear, MultiheadAttention, Sequential},
};

use super::stem::{Numbered, linear, step};

/// Size of a [`Vit`]; the default is ViT-B/16 for ImageNet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitConfig {
    /// Height and width of images in pixels. Default 224.
    pub image_size: usize,
    /// Height and width of patches in pixels. Default 16.
    pub patch_size: usize,
    /// Encoder layers. Default 12.
    pub depth: usize,
    /// Attention heads. Default 12.
    pub heads: usize,
    /// Length of the vectors. Default 768.
    pub hidden: usize,
    /// Hidden units of the layers' perceptrons. Default 3072.
    pub mlp: usize,
    /// Number of logits. Default 1000.
    pub classes: usize,
    /// Probability of a zero behind the position embedding, attention and each layer of the perceptrons. Default 0.
    pub dropout: f64,
}

impl Default for VitConfig {
    fn default() -> Self {
        VitConfig {
            image_size: 224,
            patch_size: 16,
            depth: 12,
            heads: 12,
            hidden: 768,
            mlp: 3072,
            classes: 1000,
            dropout: 0.0,
        }
    }
}

impl VitConfig {
    /// ViT-Ti (Touvron et al. 2021, table 1).
    pub fn tiny() -> Self {
        VitConfig { heads: 3, hidden: 192, mlp: 768, ..Self::default() }
    }

    /// ViT-S (Touvron et al. 2021, table 1).
    pub fn small() -> Self {
        VitConfig { heads: 6, hidden: 384, mlp: 1536, ..Self::default() }
    }
}

/// Added to variances by every layer norm.
const EPS: f64 = 1e-6;

/// Attention and a perceptron, each behind a layer norm and with a way around it: Dosovitskiy et al. 2021, fig. 1.
///
/// Input and output `[N, L, E]`. State dict as torchvision's `EncoderBlock`.
#[derive(Module)]
struct EncoderLayer {
    ln_1: LayerNorm,
    self_attention: MultiheadAttention,
    #[module(skip)]
    dropout: Dropout,
    ln_2: LayerNorm,
    mlp: Sequential,
}

impl EncoderLayer {
    fn new(config: &VitConfig) -> Self {
        let VitConfig { heads, hidden, mlp, dropout, .. } = *config;
        // Weights uniform by both fans (Glorot & Bengio 2010), biases next to 0.
        let fc = |inputs, outputs| {
            let bound = (6.0 / (inputs + outputs) as f64).sqrt();
            let weight = Init::Uniform { low: -bound, high: bound };
            linear(inputs, outputs, weight, Init::Normal { mean: 0.0, std: 1e-6 })
        };
        EncoderLayer {
            ln_1: LayerNorm::with_eps([hidden], EPS),
            self_attention: MultiheadAttention::new(hidden, heads),
            dropout: Dropout::new(dropout),
            ln_2: LayerNorm::with_eps([hidden], EPS),
            mlp: Sequential::new()
                .with(fc(hidden, mlp))
                .with(GELU)
                .with(Dropout::new(dropout))
                .with(fc(mlp, hidden))
                .with(Dropout::new(dropout)),
        }
    }
}

impl Forward for EncoderLayer {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = self.ln_1.call(x, cx);
        let y = self.self_attention.call(&y, cx);
        let x = x + &self.dropout.forward(&y, cx);
        let y = self.ln_2.call(&x, cx);
        &x + &self.mlp.call(&y, cx)
    }
}

/// The layers by the names of torchvision: `encoder_layer_0`, ….
#[derive(Module)]
struct Layers {
    #[module(flatten)]
    layers: Numbered<EncoderLayer>,
}

impl Forward for Layers {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.layers.layers.iter().fold(x.clone(), |y, layer| layer.call(&y, cx))
    }
}

/// Position embedding, encoder layers, layer norm.
#[derive(Module)]
struct Encoder {
    /// `[1, 1 + patches, E]`.
    pos_embedding: Param,
    #[module(skip)]
    dropout: Dropout,
    layers: Layers,
    ln: LayerNorm,
}

impl Forward for Encoder {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let y = x + &cx.var(&self.pos_embedding);
        let y = self.dropout.forward(&y, cx);
        let y = self.layers.call(&y, cx);
        self.ln.call(&y, cx)
    }
}

/// The linear layer behind the class token.
#[derive(Module)]
struct Heads {
    head: Linear,
}

/// A transformer over the patches of an image and one more vector, the class token, from whose end the logits come.
///
/// `[N, 3, image_size, image_size]` to logits `[N, classes]`. The head starts at 0, as in torchvision. State dict as
/// torchvision's `vit_b_16`: `class_token`, `conv_proj.weight`, `conv_proj.bias`, `encoder.pos_embedding`,
/// `encoder.layers.encoder_layer_0.ln_1.weight`, …, `heads.head.bias`. Source: Dosovitskiy et al. 2021, *An image is worth
/// 16x16 words*.
///
/// ```
/// use nn::ModuleExt;
/// use vision::models::{Vit, VitConfig};
///
/// assert_eq!(Vit::new(&VitConfig::default()).num_parameters(), 86_567_656);
/// ```
#[derive(Module)]
pub struct Vit {
    /// `[1, 1, E]`.
    class_token: Param,
    conv_proj: Conv2d,
    encoder: Encoder,
    heads: Heads,
    #[module(skip)]
    image_size: usize,
}

impl Vit {
    /// A net of this size.
    ///
    /// # Panics
    /// If images are not divisible into patches, the vectors not into heads, or `dropout` is no probability.
    #[track_caller]
    pub fn new(config: &VitConfig) -> Self {
        let VitConfig { image_size, patch_size, depth, hidden, classes, dropout, .. } = *config;
        assert!(
            patch_size > 0 && image_size.is_multiple_of(patch_size),
            "Vit: images of {image_size} pixels are not divisible into patches of {patch_size}"
        );
        let patches = (image_size / patch_size).pow(2);
        let zero = || Init::Constant(0.0);
        let mut conv_proj = Conv2d::with_options(3, hidden, [patch_size; 2], step(patch_size, 0));
        let std = 1.0 / ((3 * patch_size * patch_size) as f64).sqrt();
        conv_proj.weight.set_init(Init::Normal { mean: 0.0, std });
        if let Some(bias) = &mut conv_proj.bias {
            bias.set_init(zero());
        }
        let layers = (0..depth).map(|_| EncoderLayer::new(config)).collect();
        let position = Init::Normal { mean: 0.0, std: 0.02 };
        Vit {
            class_token: Param::new([1, 1, hidden], zero()),
            conv_proj,
            encoder: Encoder {
                pos_embedding: Param::new([1, 1 + patches, hidden], position),
                dropout: Dropout::new(dropout),
                layers: Layers { layers: Numbered { word: "encoder_layer_", first: 0, layers } },
                ln: LayerNorm::with_eps([hidden], EPS),
            },
            heads: Heads { head: linear(hidden, classes, zero(), zero()) },
            image_size,
        }
    }
}

impl Forward for Vit {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        assert!(
            x.dims().len() == 4 && x.dims()[2..] == [self.image_size; 2],
            "Vit: input {} is not [N, 3, {size}, {size}], the size its positions are for",
            x.shape(),
            size = self.image_size
        );
        let y = self.conv_proj.call(x, cx);
        // [N, E, h, w] to [N, h·w, E]
        let patches = y.flatten(2).transpose(1, 2);
        let [n, _, e] = [patches.dims()[0], patches.dims()[1], patches.dims()[2]];
        let class = cx.var(&self.class_token).to_dtype(patches.dtype()).broadcast_to([n, 1, e]);
        let y = Var::cat(&[&class, &patches], 1);
        let y = self.encoder.call(&y, cx);
        self.heads.head.call(&y.select(1, 0), cx)
    }
}
