//! Weights and images that are functions of their names: whole models are compared without a weight file.
//!
//! A parameter's i-th number comes from a splitmix64 stream seeded by the FNV-1a hash of `salt:name`; its range follows
//! from the last part of its state-dict name. The README of the vectors has the rules.

use anyhow::{Context as _, Result, ensure};
use nn::{Module, ModuleExt};
use tensor::{Shape, Tensor};

use super::manifest::Manifest;

/// 64-bit FNV-1a.
pub fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

/// The numbers in `[0, 1)` that belong to a name.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'a> {
    salt: &'a str,
}

/// What scales the ranges of weights, so that activations neither vanish nor explode.
#[derive(Clone, Copy, Debug)]
pub struct Gains {
    /// For every weight.
    pub all: f64,
    /// For the kernels of layers with a mask, which takes most of their energy, in addition.
    pub masked: f64,
}

impl<'a> Hashed<'a> {
    /// The numbers of a manifest's salt.
    ///
    /// # Errors
    /// If they are not those of the manifest's check values.
    pub fn of(manifest: &'a Manifest) -> Result<Self> {
        let (hashed, check) = (Hashed { salt: &manifest.salt }, &manifest.hash_check);
        let expected = u64::from_str_radix(&check.fnv1a, 16)
            .with_context(|| format!("hash_check: fnv1a {:?} is not hexadecimal", check.fnv1a))?;
        let found = hashed.seed(&check.name);
        ensure!(found == expected, "hash_check: {found:016x} instead of {expected:016x}");
        for (i, &u) in check.uniform01.iter().enumerate() {
            let found = hashed.uniform01(&check.name, i);
            // Decimal fractions may be read a unit in the last place off.
            ensure!((found - u).abs() < 1e-15, "hash_check: number {i} is {found} instead of {u}");
        }
        Ok(hashed)
    }

    fn seed(&self, name: &str) -> u64 {
        fnv1a(self.salt.bytes().chain(*b":").chain(name.bytes()))
    }

    /// Number `i` of a name, in `[0, 1)`.
    pub fn uniform01(&self, name: &str, i: usize) -> f64 {
        uniform01(self.seed(name), i)
    }

    /// A tensor of numbers in `[low, high)`, computed in f64 and rounded to f32.
    pub fn tensor(&self, name: &str, shape: Shape, [low, high]: [f64; 2]) -> Tensor {
        let seed = self.seed(name);
        let value = |i| (low + (high - low) * uniform01(seed, i)) as f32;
        Tensor::new(&(0..shape.numel()).map(value).collect::<Vec<f32>>(), shape)
    }

    /// Images `[N, C, H, W]`: 8x8 coarse blocks in `[-2, 2)` plus fine noise in `[-1, 1)`, rounded to f32.
    pub fn images(&self, [n, c, h, w]: [usize; 4]) -> Tensor {
        let (coarse, fine) = (self.seed("input.coarse"), self.seed("input.fine"));
        let mut values = Vec::with_capacity(n * c * h * w);
        for plane in 0..n * c {
            for row in 0..h {
                for column in 0..w {
                    let block = (plane * 8 + row * 8 / h) * 8 + column * 8 / w;
                    let noise = -1.0 + 2.0 * uniform01(fine, values.len());
                    values.push((-2.0 + 4.0 * uniform01(coarse, block) + noise) as f32);
                }
            }
        }
        Tensor::new(&values, [n, c, h, w])
    }

    /// Overwrites every parameter and buffer of a model that is initialized in f32. A mask's `C` keeps its initial
    /// diagonal `d` and becomes `d_i (delta_ij + v)` with `v` in ±0.3, all in f32.
    ///
    /// # Errors
    /// If the model does not take its own state dict back.
    pub fn fill(&self, model: &mut dyn Module, gains: Gains) -> Result<()> {
        let state = model.state_dict();
        let has = |name: &str| state.iter().any(|(n, _)| n == name);
        let filled = state.iter().map(|(name, old)| {
            let shape = old.shape();
            if leaf(name) == "C" {
                return (name.clone(), self.mask_matrix(name, old));
            }
            let masked = name.strip_suffix("weight").is_some_and(|layer| has(&format!("{layer}C")));
            let gain = gains.all * if masked { gains.masked } else { 1.0 };
            let value = match range(name, &shape, gain) {
                Some(range) => self.tensor(name, shape, range),
                None => old.zeros_like(),
            };
            (name.clone(), value)
        });
        model.load_state_dict(filled.collect())?;
        Ok(())
    }

    fn mask_matrix(&self, name: &str, old: &Tensor) -> Tensor {
        let noise = self.tensor(name, old.shape(), [-0.3, 0.3]).to_vec::<f32>();
        let old = old.to_vec::<f32>();
        let values = noise.iter().enumerate().map(|(i, v)| {
            let (row, column) = (i / 2 % 2, i % 2);
            let (d, delta) = (old[3 * row], if row == column { 1.0f32 } else { 0.0 });
            d * (delta + v)
        });
        Tensor::new(&values.collect::<Vec<f32>>(), [old.len() / 4, 2, 2])
    }
}

fn uniform01(seed: u64, i: usize) -> f64 {
    let mut z = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^= z >> 31;
    (z >> 11) as f64 * 2f64.powi(-53)
}

fn leaf(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// The range of a parameter or buffer by its name and shape; `None` for zero.
fn range(name: &str, shape: &Shape, gain: f64) -> Option<[f64; 2]> {
    Some(match leaf(name) {
        "num_batches_tracked" => return None,
        "running_mean" => [-0.1, 0.1],
        "running_var" => [0.5, 1.5],
        "layer_scale" => [0.2, 0.6],
        "class_token" | "pos_embedding" => [-0.5, 0.5],
        "log2p" => [1.0, 3.0],
        leaf => match shape.rank() {
            2.. => {
                let fan_in: usize = shape[1..].iter().product();
                let a = (6.0 * gain / fan_in as f64).sqrt();
                [-a, a]
            }
            1 if leaf.starts_with("weight") => [0.5, 1.5],
            _ => [-0.1, 0.1],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::manifest::Goldens;

    #[test]
    fn the_check_values_are_reproduced() {
        let goldens = Goldens::embedded().unwrap();
        let mut manifest = goldens.manifest().clone();
        let hashed = Hashed::of(&manifest).unwrap();
        assert_eq!(hashed.seed("conv1.weight"), 0xdb27_c171_b4d9_eb91);
        assert_eq!(hashed.uniform01("conv1.weight", 0), 0.9475140608525204);
        manifest.salt.push('x');
        let error = Hashed::of(&manifest).unwrap_err().to_string();
        assert!(error.starts_with("hash_check: "), "{error}");
    }

    #[test]
    fn ranges_follow_the_names() {
        let of = |name, dims: &[usize]| range(name, &Shape::new(dims), 2.0);
        assert_eq!(of("bn1.num_batches_tracked", &[]), None);
        assert_eq!(of("bn1.running_var", &[4]), Some([0.5, 1.5]));
        assert_eq!(of("bn1.weight", &[4]), Some([0.5, 1.5]));
        assert_eq!(of("fc.bias", &[4]), Some([-0.1, 0.1]));
        assert_eq!(of("conv.weight", &[8, 3, 2, 2]), Some([-1.0, 1.0]));
        assert_eq!(of("conv.log2p", &[8]), Some([1.0, 3.0]));
    }
}
