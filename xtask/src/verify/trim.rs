//! The part of the reference vectors that belongs into the repository: `verify --goldens FULL --trim xtask/goldens`.
//!
//! Kept are operations, Lp-convolution, optimizers, statistics, augmentation, corrupted images, the predictor of mouse V1 and the
//! quicker ones of the other models; the rest of the models stays outside. The format is that of the full set, the lines of its
//! manifest are copied as they are.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, ensure};
use safetensors::SafeTensors;
use serde_json::value::RawValue;
use tensor::io::write_atomic;

use super::manifest::{Case, Goldens};

/// What the names of the cases to keep begin with.
const KEPT: &[&str] = &[
    "ops/",
    "lpconv/",
    "optim/",
    "models/sudoku_",
    "models/lp2_sudoku_",
    "models/resnet18_cifar100",
    "models/lp2_resnet18_cifar100",
    "models/transfer_resnet18_",
    "models/resnext50_32x4d_cifar100",
    "models/densenet121_cifar100",
    "models/convnextv2_tiny_cifar100",
    "models/vit_t_16_",
    "models/lp2_replknet31t_",
    "models/convnext_tiny_cifar100",
    "models/lp2_convnext_tiny_cifar100",
    "mmv1/",
    "stats/",
    "data/mix/",
    "data/erase/",
    "data/randaugment/",
    "data/resize/",
    "data/normalise/",
    "data/cifar_c/",
];

/// The script that made the vectors, which comes with them. (The README of the copy is its own.)
const PROVENANCE: &str = "generate.py";

fn is_kept(case: &Case) -> bool {
    KEPT.iter().any(|prefix| case.name.starts_with(prefix))
}

/// Writes the trimmed copy of `goldens`, which were opened in `from`, to the folder `to`. Returns how many cases it has.
///
/// # Errors
/// If something cannot be read or written, or `to` is `from`.
pub(super) fn trim(goldens: &Goldens, from: &Path, to: &Path) -> Result<usize> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    ensure!(
        fs::canonicalize(from)? != fs::canonicalize(to)?,
        "{} cannot be trimmed in place",
        from.display()
    );
    let script = from.join(PROVENANCE);
    let bytes = fs::read(&script).with_context(|| format!("cannot read {}", script.display()))?;
    write_atomic(to.join(PROVENANCE), |file| file.write_all(&bytes))?;
    let kept: Vec<&Case> = goldens.manifest().cases.iter().filter(|c| is_kept(c)).collect();
    let mut by_file: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for case in &kept {
        let keys = case.tensors.values().map(|entry| entry.key.as_str());
        by_file.entry(&case.file).or_default().extend(keys);
    }
    for (name, keys) in by_file {
        let file = SafeTensors::deserialize(goldens.file(name))?;
        let views =
            keys.iter().map(|key| Ok((*key, file.tensor(key)?))).collect::<Result<Vec<_>>>()?;
        let bytes = safetensors::serialize(views, None)?;
        write_atomic(to.join(name), |file| file.write_all(&bytes))?;
    }
    let path = from.join("manifest.json");
    let manifest =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let kept_lines = trim_manifest(&manifest)?;
    write_atomic(to.join("manifest.json"), |file| file.write_all(kept_lines.as_bytes()))?;
    Ok(kept.len())
}

/// The head of a manifest and the cases to keep, one a line, every one letter for letter.
fn trim_manifest(manifest: &str) -> Result<String> {
    let all: BTreeMap<String, &RawValue> = serde_json::from_str(manifest)?;
    let (mut head, mut kept) = (Vec::new(), Vec::new());
    for (name, value) in &all {
        if name != "cases" {
            head.push(format!("{}: {value}", serde_json::to_string(name)?));
            continue;
        }
        for line in serde_json::from_str::<Vec<&RawValue>>(value.get())? {
            if is_kept(&serde_json::from_str(line.get())?) {
                kept.push(line.get());
            }
        }
    }
    Ok(format!("{{{},\n\"cases\": [\n{}\n]}}\n", head.join(", "), kept.join(",\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Trimming the embedded copy again gives it back, byte for byte.
    #[test]
    fn the_embedded_copy_is_what_trimming_writes() {
        let embedded = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens");
        let goldens = Goldens::open(&embedded).unwrap();
        let to = tempfile::tempdir().unwrap();
        let kept = trim(&goldens, &embedded, to.path()).unwrap();
        assert_eq!(kept, goldens.manifest().cases.len());
        for file in fs::read_dir(to.path()).unwrap() {
            let name = file.unwrap().file_name();
            let (old, new) = (embedded.join(&name), to.path().join(&name));
            assert!(fs::read(old).unwrap() == fs::read(new).unwrap(), "{} differs", name.display());
        }
        assert!(trim(&goldens, &embedded, &embedded).unwrap_err().to_string().contains("in place"));
    }

    #[test]
    fn other_families_are_left_out() {
        let case = |name: &str| {
            format!(
                r#"{{"name":"{name}","op":"x","file":"f","attrs":{{}},"tol":{{}},"tensors":{{}}}}"#
            )
        };
        let names =
            ["ops/relu", "data/image/base", "models/lp2_sudoku_3x16", "models/lp2_resnet18"];
        let lines = names.map(case).join(",");
        let trimmed = trim_manifest(&format!(r#"{{"seed": 1, "cases": [{lines}]}}"#)).unwrap();
        let kept = [case(names[0]), case(names[2])].join(",\n");
        assert_eq!(trimmed, format!("{{\"seed\": 1,\n\"cases\": [\n{kept}\n]}}\n"));
    }
}
