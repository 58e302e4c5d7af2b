//! Published weights: files of several formats and with several conventions of names, loaded into any model.
//!
//! ```no_run
//! use nn::ModuleExt;
//! use tensor::{DType, Device};
//! use vision::{models::{ModelConfig, create}, weights::{self, Mode}};
//!
//! let mut model = create("resnet18", &ModelConfig::default())?;
//! model.initialize(0, DType::F32, Device::Cpu);
//! weights::load(&mut *model, "resnet18-f37072fd.pth", Mode::Strict)?;
//! # Ok::<(), vision::Error>(())
//! ```

use std::{collections::HashMap, path::Path};

use nn::{Loaded, Module, ModuleExt};
use tensor::{
    DType, Tensor,
    io::{SafetensorsFile, read_npz, read_pth},
};

use crate::{Error, imagenet};

/// What happens when a file and a model do not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is an error, which names everything missing, unexpected or of another shape. The default.
    #[default]
    Strict,
    /// What fits is loaded, the rest is told: a new head for other classes stays as it was.
    Lenient,
}

/// Reads all tensors of a file by the ending of its name: `.safetensors`, `.npz`, or one of those that `torch.save` is
/// given, `.pth`, `.pt`, `.bin`, `.ckpt` (no code in it is run; see [`read_pth`]). Names are as in the file.
///
/// # Errors
/// [`Error::WeightsFile`], and [`Error::WeightsFormat`] for another ending.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<(String, Tensor)>, Error> {
    let path = path.as_ref();
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let state = match ending.as_str() {
        "safetensors" => SafetensorsFile::open(path).and_then(|file| file.tensors()),
        "npz" => read_npz(path),
        "pth" | "pt" | "bin" | "ckpt" => read_pth(path),
        _ => {
            let expected = ".safetensors, .npz, .pth, .pt, .bin or .ckpt";
            return Err(Error::WeightsFormat { path: path.to_owned(), expected });
        }
    };
    state.map_err(Error::WeightsFile)
}

/// Loads a file into a model: [`read`], [`renamed`], and by `mode`. In the strict mode nothing is changed on error.
///
/// # Errors
/// As [`read`], and in the strict mode [`Error::Weights`] with all that does not fit.
pub fn load(model: &mut dyn Module, path: impl AsRef<Path>, mode: Mode) -> Result<Loaded, Error> {
    let path = path.as_ref();
    let state = renamed(model, read(path)?);
    match mode {
        Mode::Lenient => Ok(model.load_state_dict_lenient(state)),
        Mode::Strict => {
            let count = state.len();
            let loaded = model.load_state_dict(state);
            loaded.map_err(|source| Error::Weights {
                path: path.to_owned(),
                source: Box::new(source),
            })?;
            Ok(Loaded { count, ..Loaded::default() })
        }
    }
}

/// The tensors under the names of `model`, where they are in one of the conventions known here:
///
/// - all names begin with `module.` (data-parallel training, as the Lp-convolution paper's checkpoints), `_orig_mod.` (compiled
///   models) or `model.`, and the model's do not;
/// - the official ConvNeXt-V2 (`downsample_layers.0.0.weight`, `stages.0.0.dwconv.weight`) for timm's names;
/// - the arrays of SqueezeNet's Caffe release (`conv1_w`, `fire2_squeeze1x1_w`) for torchvision's names, with a first
///   convolution that takes normalized RGB instead of BGR of 0 to 255.
///
/// Anything else stays as it is. Lp-layers need no convention: theirs is the paper's own (`weight`, `bias`, `log2p`, `C`).
pub fn renamed(model: &dyn Module, mut state: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let shapes: HashMap<String, Vec<usize>> = shapes(model);
    for prefix in ["module.", "_orig_mod.", "model."] {
        let all = !state.is_empty() && state.iter().all(|(name, _)| name.starts_with(prefix));
        if all && !shapes.keys().any(|name| name.starts_with(prefix)) {
            for (name, _) in &mut state {
                name.drain(..prefix.len());
            }
        }
    }
    let has = |name: &str| state.iter().any(|(n, _)| n == name);
    if has("downsample_layers.0.0.weight") && shapes.contains_key("stem.0.weight") {
        state.into_iter().map(|(name, t)| convnextv2(&shapes, &name, t)).collect()
    } else if has("conv1_w") && shapes.contains_key("features.3.squeeze.weight") {
        squeezenet(state)
    } else {
        state
    }
}

fn shapes(model: &dyn Module) -> HashMap<String, Vec<usize>> {
    let parameters = model.named_parameters().into_iter();
    parameters.map(|(name, p)| (name, p.shape().to_vec())).collect()
}

/// One tensor of the official ConvNeXt-V2 as timm has it.
fn convnextv2(
    shapes: &HashMap<String, Vec<usize>>,
    name: &str,
    tensor: Tensor,
) -> (String, Tensor) {
    let parts: Vec<&str> = name.split('.').collect();
    let new = match parts[..] {
        ["downsample_layers", "0", layer, leaf] => format!("stem.{layer}.{leaf}"),
        ["downsample_layers", stage, layer, leaf] => {
            format!("stages.{stage}.downsample.{layer}.{leaf}")
        }
        ["stages", stage, block, ref rest @ ..] => {
            let rest = match rest {
                ["dwconv", leaf] => format!("conv_dw.{leaf}"),
                ["pwconv1", leaf] => format!("mlp.fc1.{leaf}"),
                ["pwconv2", leaf] => format!("mlp.fc2.{leaf}"),
                ["grn", "gamma"] => "mlp.grn.weight".into(),
                ["grn", "beta"] => "mlp.grn.bias".into(),
                other => other.join("."),
            };
            format!("stages.{stage}.blocks.{block}.{rest}")
        }
        ["norm", leaf] => format!("head.norm.{leaf}"),
        ["head", leaf] => format!("head.fc.{leaf}"),
        _ => name.to_owned(),
    };
    // [1, 1, 1, C] for [C], and linear layers for 1x1 convolutions: only axes of length 1 differ.
    let squeezed = |dims: &[usize]| dims.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
    match shapes.get(&new) {
        Some(shape) if squeezed(shape) == squeezed(tensor.dims()) => {
            let tensor = tensor.reshape(tensor::Shape::new(shape));
            (new, tensor)
        }
        _ => (new, tensor),
    }
}

/// What SqueezeNet's Caffe release subtracts from blue, green and red values of 0 to 255.
const CAFFE_MEAN_BGR: [f64; 3] = [104.0, 117.0, 123.0];

/// SqueezeNet 1.0 as torchvision has it.
fn squeezenet(state: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let place = |fire: usize| fire + 1 + usize::from(fire > 4) + usize::from(fire > 8);
    let torch_name = |name: &str| -> Option<String> {
        let (layer, leaf) = name.rsplit_once('_')?;
        let leaf = match leaf {
            "w" => "weight",
            "b" => "bias",
            _ => return None,
        };
        Some(match layer {
            "conv1" => format!("features.0.{leaf}"),
            "conv_final" => format!("classifier.1.{leaf}"),
            _ => {
                let (fire, part) = layer.strip_prefix("fire")?.split_once('_')?;
                let part = if part == "squeeze1x1" { "squeeze" } else { part };
                format!("features.{}.{part}.{leaf}", place(fire.parse().ok()?))
            }
        })
    };
    let mut state: Vec<(String, Tensor)> = state
        .into_iter()
        .map(|(name, tensor)| (torch_name(&name).unwrap_or(name), tensor))
        .collect();
    let at = |state: &[(String, Tensor)], name: &str| state.iter().position(|(n, _)| n == name);
    let first = (at(&state, "features.0.weight"), at(&state, "features.0.bias"));
    if let (Some(w), Some(b)) = first
        && let (&[o, 3, kh, kw], &[bias]) = (state[w].1.dims(), state[b].1.dims())
        && o == bias
    {
        let (weight, bias) = for_normalized_rgb(&state[w].1, &state[b].1, [o, kh * kw]);
        state[w].1 = weight.reshape([o, 3, kh, kw]);
        state[b].1 = bias;
    }
    state
}

/// The first convolution for `x` with `255 (std x + mean) - caffe_mean` put into it: exact, for it does not pad.
fn for_normalized_rgb(weight: &Tensor, bias: &Tensor, [o, taps]: [usize; 2]) -> (Tensor, Tensor) {
    let (old, mut bias) = (weight.to_f64_vec(), bias.to_f64_vec());
    let mut new = vec![0.0; old.len()];
    for (channel, bias) in bias.iter_mut().enumerate() {
        for rgb in 0..3 {
            let bgr = 2 - rgb;
            let summand = 255.0 * imagenet::MEAN[rgb] - CAFFE_MEAN_BGR[bgr];
            for tap in 0..taps {
                let w = old[(channel * 3 + bgr) * taps + tap];
                new[(channel * 3 + rgb) * taps + tap] = 255.0 * imagenet::STD[rgb] * w;
                *bias += w * summand;
            }
        }
    }
    let f32 = |values: &[f64], n: usize| Tensor::new(values, [n]).to_dtype(DType::F32);
    (f32(&new, o * 3 * taps), f32(&bias, o))
}

#[cfg(test)]
mod tests;
