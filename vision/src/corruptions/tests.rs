use super::*;
use crate::datasets::{Split, cifar100_part};

fn photo() -> Vec<Image> {
    let pixels = (0..300 * 260 * 3).map(|i| (i * 7 % 256) as u8).collect();
    vec![Image::new(300, 260, pixels)]
}

fn severities() -> impl Iterator<Item = Severity> {
    (1..=5).filter_map(Severity::new)
}

/// The mean change of a byte over some images.
fn change(corruption: Corruption, severity: Severity) -> f64 {
    let set = cifar100_part(Split::Test).select(&(0..40).map(|i| i * 50).collect::<Vec<_>>());
    let spoilt = corrupted(&set, corruption, severity, 1, &photo()).unwrap();
    let mut sum = 0.0;
    for i in 0..set.len() {
        let ((a, label), (b, same)) = (set.get(i).unwrap(), spoilt.get(i).unwrap());
        assert_eq!(label, same);
        let pairs = a.pixels().iter().zip(b.pixels());
        sum += pairs.map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()).sum::<f64>();
    }
    sum / (set.len() * 3072) as f64
}

#[test]
fn names_are_those_of_the_files() {
    assert_eq!(Corruption::of("jpeg_compression"), Some(Corruption::JpegCompression));
    assert_eq!(Corruption::of("no_such_thing"), None);
    for corruption in Corruption::ALL {
        assert_eq!(Corruption::of(corruption.name()), Some(corruption));
    }
    assert_eq!((Severity::new(0), Severity::new(6)), (None, None));
}

#[test]
fn every_corruption_changes_images_more_the_severer_it_is() {
    for corruption in Corruption::ALL {
        let changes: Vec<f64> = severities().map(|s| change(corruption, s)).collect();
        assert!(changes[0] > 0.3 && changes[4] < 128.0, "{corruption:?}: {changes:?}");
        // The affine part of bending, which moves pixels most, weakens as its waves get finer.
        let weakens = corruption == Corruption::ElasticTransform;
        assert!(weakens != (changes[4] > changes[0]), "{corruption:?}: {changes:?}");
        // By the published parameters: weaker colors first, then stronger ones; waves in place of an affine map; more but
        // weaker frost; other drops; two rounds of a gentler glass after one of a stronger.
        use Corruption::*;
        let unordered = [Saturate, ElasticTransform, Frost, Spatter, GlassBlur, Snow, MotionBlur];
        if !unordered.contains(&corruption) {
            assert!(changes.is_sorted(), "{corruption:?}: {changes:?}");
        }
    }
}

#[test]
fn an_image_depends_on_its_seed_and_place_alone() {
    let set = cifar100_part(Split::Test).select(&[3, 500, 3]);
    let severity = Severity::new(4).unwrap();
    for corruption in Corruption::ALL {
        let make = |seed| corrupted(&set, corruption, severity, seed, &photo()).unwrap();
        let (one, again, other) = (make(1), make(1), make(2));
        let pixels = |set: &ImageSet, i| set.get(i).unwrap().0;
        assert!((0..3).all(|i| pixels(&one, i) == pixels(&again, i)), "{corruption:?}");
        use Corruption::*;
        let fixed = [
            GaussianBlur,
            DefocusBlur,
            ZoomBlur,
            Brightness,
            Contrast,
            Saturate,
            JpegCompression,
            Pixelate,
        ]
        .contains(&corruption);
        assert_eq!(pixels(&one, 0) == pixels(&other, 0), fixed, "{corruption:?}");
        // The same image in another place.
        assert_eq!(pixels(&one, 0) == pixels(&one, 2), fixed, "{corruption:?}");
        let alone = corrupted(&set.select(&[0]), corruption, severity, 1, &photo()).unwrap();
        assert_eq!(pixels(&alone, 0), pixels(&one, 0), "{corruption:?}");
    }
}

#[test]
fn other_sizes_are_corrupted_too() {
    for (height, width) in [(8, 8), (17, 40), (64, 48)] {
        let pixels = (0..height * width * 3).map(|i| (i * 31 % 256) as u8).collect();
        let image = Image::new(height, width, pixels);
        for corruption in Corruption::ALL {
            for severity in severities() {
                let mut stream = Stream::new(1);
                let values = corrupt_values(&image, corruption, severity, &mut stream, &photo());
                // Half of a 64 x 48 image would need more of the photo than there is.
                let Ok(values) = values else {
                    assert!(corruption.needs_photos() && height == 64);
                    continue;
                };
                assert_eq!(values.len(), height * width * 3);
                assert!(values.iter().all(|v| (0.0..=255.0).contains(v)), "{corruption:?}");
            }
        }
    }
    let small = Image::filled(7, 30, [1, 2, 3]);
    let error =
        corrupt(&small, Corruption::Fog, Severity::new(1).unwrap(), &mut Stream::new(0), &[]);
    assert!(error.unwrap_err().to_string().contains("found 7 x 30"));
}
