//! What the neuroscience experiments share: the natural scenes that come with the repository, as inputs of models, and the
//! trained model that does.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use nn::{Forward, ModuleExt as _};
use tensor::{DType, Device, Interpolate, InterpolateMode, Tensor};
use vision::{
    models::{ModelConfig, create},
    picture,
    weights::{self, Mode},
};

/// How many scenes there are.
pub(super) const SCENES: usize = 118;

/// The shipped file of this path below the repository's root.
pub(super) fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The 118 gray scenes of the Allen Brain Observatory, `[118, 200, 256]` of 0 to 255.
pub(super) fn natural_scenes() -> Result<Tensor> {
    let mosaic =
        picture::read(shipped("neuro/data/allen_natural_scenes/scenes_118_200x256_gray.jpg"))?;
    // 12 rows of 10 tiles; all three colors are the same.
    let gray = mosaic.select(0, 0).select(0, 0);
    ensure!(gray.dims() == [12 * 200, 10 * 256], "the mosaic of scenes is {}", gray.shape());
    let tiles = gray.reshape([12, 200, 10, 256]).permute(&[0, 2, 1, 3]).contiguous();
    Ok(tiles.reshape([120, 200, 256]).narrow(0, 0, SCENES).contiguous())
}

/// Gray images `[n, H, W]` as the paper gives them to models: the left square, bilinear to `size` pixels, each minus its mean
/// and over its standard deviation, repeated for three colors. `[n, 3, size, size]` (specification E11).
pub(super) fn as_input(images: &Tensor, size: usize) -> Tensor {
    let [n, height, width] = images.dims_of::<3>();
    let square = images.narrow(2, 0, height.min(width)).to_dtype(DType::F32);
    let how =
        Interpolate { mode: InterpolateMode::Bilinear, align_corners: false, antialias: false };
    let resized = square.contiguous().reshape([n, 1, height, height.min(width)]);
    let resized = resized.interpolate([size, size], &how);
    let centered = &resized - &resized.mean(&[2, 3], true);
    let deviation = centered.var(&[2, 3], 0, true).sqrt();
    let scaled = &centered / &deviation;
    scaled.broadcast_to([n, 3, size, size]).contiguous()
}

/// A model with the weights of a file, ready for evaluation.
pub(super) fn trained(name: &str, file: &Path) -> Result<Box<dyn Forward>> {
    let mut model = create(name, &ModelConfig::default())?;
    weights::load(&mut *model, file, Mode::Strict)?;
    model.to(DType::F32, Device::Cpu);
    Ok(model)
}

/// The same architecture as it is before training.
pub(super) fn untrained(name: &str, seed: u64) -> Result<Box<dyn Forward>> {
    let mut model = create(name, &ModelConfig::default())?;
    model.initialize(seed, DType::F32, Device::Cpu);
    Ok(model)
}

/// The weights of the first convolution, `[outputs, 3, kh, kw]`.
pub(super) fn first_layer(model: &dyn Forward) -> Result<Tensor> {
    let parameters = model.named_parameters();
    let first = parameters.into_iter().find(|(_, p)| p.shape().len() == 4);
    let (_, parameter) = first.context("the model has no convolution")?;
    Ok(parameter.value().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_are_standardized_squares() {
        let scenes = natural_scenes().unwrap();
        assert_eq!(scenes.dims(), [SCENES, 200, 256]);
        let input = as_input(&scenes.narrow(0, 0, 3), 64);
        assert_eq!(input.dims(), [3, 3, 64, 64]);
        for i in 0..3 {
            let red = input.select(0, i).select(0, 0);
            assert!(red.mean_all().item().abs() < 1e-4);
            assert!((red.var(&[0, 1], 0, false).item() - 1.0).abs() < 1e-3);
            assert_eq!(red.to_f64_vec(), input.select(0, i).select(0, 2).to_f64_vec());
        }
        // The last tiles of the mosaic are black and no scenes.
        let last = scenes.select(0, SCENES - 1);
        assert!(last.mean_all().item() > 20.0);
    }

    #[test]
    fn the_shipped_model_has_the_first_layer_of_its_architecture() {
        let file = shipped("vision/weights/squeezenet1_0/weights.npz");
        let model = trained("squeezenet1_0_caffe", &file).unwrap();
        let trained = first_layer(&*model).unwrap();
        assert_eq!(trained.dims(), [96, 3, 7, 7]);
        let fresh = first_layer(&*untrained("squeezenet1_0_caffe", 3).unwrap()).unwrap();
        assert_eq!(fresh.dims(), trained.dims());
        assert_ne!(fresh.to_f64_vec(), trained.to_f64_vec());
    }
}
