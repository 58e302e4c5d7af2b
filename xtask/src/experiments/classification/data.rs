//! The images of a trial: those that come with the program, or a whole data set.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use vision::datasets::{
    ImageSet, Split, cifar100, cifar100_part, tiny_imagenet, tiny_imagenet_part,
};

use super::recipe::{ImageData, Recipe};

/// Training and test images.
#[derive(Clone, Debug)]
pub(super) struct Images {
    pub(super) train: ImageSet,
    pub(super) test: ImageSet,
}

impl Images {
    pub(super) fn classes(&self) -> usize {
        self.train.classes().len()
    }
}

/// Names under which a folder may have a data set.
fn names(data: ImageData) -> &'static [&'static str] {
    match data {
        ImageData::Cifar100 => &[
            "cifar-100-binary",
            "cifar-100-python",
            "cifar-100-binary.tar.gz",
            "cifar-100-python.tar.gz",
        ],
        ImageData::TinyImageNet => &["tiny-imagenet-200", "tiny-imagenet-200.zip"],
    }
}

/// Where below `root` the data set is; `root` itself if it has none of the usual names.
fn place(data: ImageData, root: &Path) -> PathBuf {
    let found = names(data).iter().map(|name| root.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| root.to_owned())
}

/// The images a recipe asks for.
pub(super) fn load(
    data: ImageData,
    recipe: &Recipe,
    root: Option<&Path>,
) -> anyhow::Result<Images> {
    let read = |split: Split| -> anyhow::Result<ImageSet> {
        let per_class = match split {
            Split::Train => recipe.train_per_class,
            Split::Test => recipe.test_per_class,
        };
        let whole = match (data, root) {
            (ImageData::Cifar100, None) => cifar100_part(split),
            (ImageData::TinyImageNet, None) => tiny_imagenet_part(split),
            (ImageData::Cifar100, Some(root)) => cifar100(place(data, root), split)?,
            (ImageData::TinyImageNet, Some(root)) => tiny_imagenet(place(data, root), split)?,
        };
        let classes = whole.classes().len();
        ensure!(
            recipe.classes <= classes,
            "classes = {}: {} has {classes} here",
            recipe.classes,
            data.printed()
        );
        let some = match recipe.classes {
            0 => whole,
            n => whole.with_classes(0..n),
        };
        Ok(if per_class == 0 { some } else { some.first_of_each_class(per_class) })
    };
    let images = Images { train: read(Split::Train)?, test: read(Split::Test)? };
    let few = images.train.len();
    ensure!(
        few >= recipe.batch,
        "batch = {}: {} has {few} training images here, and incomplete batches are left out",
        recipe.batch,
        data.printed()
    );
    // What comes with the program is small; the whole of TinyImageNet would be 1.2 GB.
    let decode = |set: ImageSet| if root.is_none() { set.decoded() } else { Ok(set) };
    let context = || format!("reading {}", data.printed());
    Ok(Images {
        train: decode(images.train).with_context(context)?,
        test: decode(images.test).with_context(context)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_chooses_classes_and_images_of_each() {
        let recipe =
            Recipe { classes: 20, train_per_class: 10, test_per_class: 3, ..Recipe::small() };
        for data in ImageData::ALL {
            let images = load(data, &recipe, None).unwrap();
            assert_eq!((images.train.len(), images.test.len(), images.classes()), (200, 60, 20));
        }
        let error = load(ImageData::TinyImageNet, &Recipe { classes: 30, ..recipe.clone() }, None);
        assert!(error.unwrap_err().to_string().contains("TinyImageNet has 20 here"));
        let few = Recipe { train_per_class: 1, ..recipe };
        let error = load(ImageData::Cifar100, &few, None).unwrap_err().to_string();
        assert!(error.contains("has 20 training images"), "{error}");
    }

    #[test]
    fn folders_are_searched_for_the_usual_names() {
        let dir = tempfile::tempdir().unwrap();
        let data = ImageData::TinyImageNet;
        assert_eq!(place(data, dir.path()), dir.path());
        std::fs::create_dir(dir.path().join("tiny-imagenet-200")).unwrap();
        assert_eq!(place(data, dir.path()), dir.path().join("tiny-imagenet-200"));
        let error = load(ImageData::Cifar100, &Recipe::small(), Some(dir.path())).unwrap_err();
        assert!(!error.to_string().is_empty());
    }
}
