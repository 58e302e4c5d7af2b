//! The trimmed vectors as a test, and that wrong ones and bad input are noticed.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::*;

/// What passes today. Raise it when operations arrive; never lower it.
const PASSED: usize = 399;

#[test]
fn the_embedded_vectors_pass() {
    let summary = verify(&Goldens::embedded().unwrap(), "").unwrap();
    assert_eq!(summary.failed(), 0, "{}", summary.text());
    assert!(summary.passed() >= PASSED, "{}", summary.text());
}

/// A folder with one case and its file.
fn folder(manifest: &str, tensors: &[(&str, Vec<usize>, Vec<f64>)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((key, shape, _), bytes)| {
        let dtype = safetensors::Dtype::F64;
        (*key, safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    fs::write(directory.path().join("t.safetensors"), file).unwrap();
    fs::write(directory.path().join("manifest.json"), manifest).unwrap();
    directory
}

const HEAD: &str = r#""format":1,"salt":"golden-1","hash_check":{"name":"conv1.weight","fnv1a":"db27c171b4d9eb91","uniform01":[]}"#;

/// A Laplacian density in one dimension: `exp(-|s|) / 2`.
fn density_case(op: &str, attrs: &str, density: f64) -> TempDir {
    let entry = |role: &str, shape: &str| {
        format!(r#""{role}":{{"key":"{role}","dtype":"float64","shape":{shape}}}"#)
    };
    let tensors = [
        entry("in.C", "[1,1]"),
        entry("in.points", "[1,1]"),
        entry("out.integral", "[]"),
        entry("out.density", "[1]"),
    ];
    let manifest = format!(
        r#"{{{HEAD},"cases":[{{"name":"stats/mpnd/one","op":"{op}","file":"t.safetensors","attrs":{attrs},
        "tol":{{"f64":1e-9,"f32":1e-4,"elementwise":true}},"tensors":{{{}}}}}]}}"#,
        tensors.join(",")
    );
    let values = [
        ("in.C", vec![1, 1], vec![1.0]),
        ("in.points", vec![1, 1], vec![0.0]),
        ("out.integral", vec![], vec![2.0]),
        ("out.density", vec![1], vec![density]),
    ];
    folder(&manifest, &values)
}

fn run_folder(directory: &TempDir) -> Summary {
    verify(&Goldens::open(directory.path()).unwrap(), "").unwrap()
}

#[test]
fn a_right_value_passes_and_a_wrong_one_is_named() {
    let attrs = r#"{"p":1.0,"d":1}"#;
    let right = run_folder(&density_case("mpnd", attrs, 0.5));
    assert_eq!((right.passed(), right.failed()), (1, 0), "{}", right.text());
    // Half way between the tolerances of both precisions: only f64 fails.
    let wrong = run_folder(&density_case("mpnd", attrs, 0.50001));
    assert_eq!((wrong.passed(), wrong.failed()), (0, 1));
    let failures: Vec<String> = wrong.failures.iter().map(ToString::to_string).collect();
    assert_eq!(failures.len(), 1);
    let expected =
        "stats/mpnd/one (f64) out.density: at [0]: 5e-1 instead of 5.0001e-1 (off by 1.000e-5";
    assert!(failures[0].starts_with(expected), "{}", failures[0]);
    let nan = run_folder(&density_case("mpnd", attrs, f64::NAN));
    assert_eq!((nan.failed(), nan.failures.len()), (1, 2));
}

#[test]
fn what_a_supported_case_needs_and_nobody_does_is_a_failure() {
    let summary = run_folder(&density_case("mpnd", r#"{"p":1.0,"d":1,"center":3}"#, 0.5));
    assert_eq!(summary.failures[0].to_string(), "stats/mpnd/one (f64): center was not used");
    let summary = run_folder(&density_case("mpnd", r#"{"p":1.0,"d":7}"#, 0.5));
    assert_eq!(summary.failures[0].to_string(), "stats/mpnd/one (f64): 7 dimensions");
    let summary = run_folder(&density_case("mpnd", r#"{"d":1}"#, 0.5));
    assert_eq!(summary.failures[0].to_string(), "stats/mpnd/one (f64): there is no attribute p");
    let unknown = run_folder(&density_case("cauchy", "{}", 0.5));
    assert_eq!((unknown.failed(), unknown.not_supported.get("cauchy")), (0, Some(&1)));
}

/// An input whose rounding to f32 alone moves the result further than the tolerance is no failure of the f32 run; one
/// whose result is wrong in f64 too remains one.
#[test]
fn what_rounding_the_inputs_does_is_allowed_in_f32_and_nothing_else() {
    let goldens = Goldens::embedded().unwrap();
    // ln z at z = 1 - 1e-4.
    let name = "lpconv/mask/k3x5_p16_init";
    let case = goldens.manifest().cases.iter().find(|c| c.name == name).unwrap();
    let runner = cases::runner(case).unwrap();
    assert!(run_case(&goldens, case, runner).is_empty());
    let entry = &case.tensors["in.C"];
    let c = goldens.tensor(case, entry).to_f64_vec();
    assert!(c.iter().any(|&v| f64::from(v as f32) != v), "the inputs are not f32 numbers");

    let mut spoiled = Goldens::embedded().unwrap();
    spoiled.spoil(case, "grad.log2p");
    let failures = run_case(&spoiled, case, runner);
    let precisions: Vec<&str> = failures.iter().map(|f| f.precision.as_str()).collect();
    assert_eq!(precisions, ["f64"], "{failures:?}");
}

/// One case of every operation, every expected tensor in turn: with its first element wrong, the case fails for it.
#[test]
fn every_expected_tensor_is_compared() {
    let mut goldens = Goldens::embedded().unwrap();
    let mut cases: Vec<Case> = goldens.manifest().cases.clone();
    // The last case of an operation: the smallest of the models.
    cases.reverse();
    let mut seen = std::collections::BTreeSet::new();
    for case in cases.iter().filter(|c| cases::runner(c).is_some() && seen.insert(c.op.clone())) {
        for role in case.tensors.keys().filter(|r| r.starts_with("out.") || r.starts_with("grad."))
        {
            goldens.spoil(case, role);
            let failures = run_case(&goldens, case, cases::runner(case).unwrap());
            let found = failures.iter().any(|f| f.role.as_ref() == Some(role));
            assert!(found, "{}: a wrong {role} passes; failures: {failures:?}", case.name);
            goldens.spoil(case, role);
            assert!(run_case(&goldens, case, cases::runner(case).unwrap()).is_empty());
        }
    }
    assert!(seen.len() >= 75, "{} operations", seen.len());
}

fn error_of(directory: &Path) -> String {
    format!("{:#}", Goldens::open(directory).unwrap_err())
}

#[test]
fn bad_input_is_a_sentence() {
    let missing = error_of(Path::new("/no/such/place"));
    assert!(missing.starts_with("/no/such/place is not a directory: --goldens wants"), "{missing}");
    let empty = tempfile::tempdir().unwrap();
    assert!(error_of(empty.path()).starts_with("cannot read "), "{}", error_of(empty.path()));

    let good = density_case("mpnd", "{}", 0.5);
    let manifest = fs::read_to_string(good.path().join("manifest.json")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(manifest.contains(from), "{from}");
        let directory = tempfile::tempdir().unwrap();
        let data = good.path().join("t.safetensors");
        fs::copy(data, directory.path().join("t.safetensors")).unwrap();
        fs::write(directory.path().join("manifest.json"), manifest.replace(from, to)).unwrap();
        error_of(directory.path())
    };
    let cases = [
        ("\"cases\"", "\"cases", "is not a manifest of reference vectors: "),
        ("\"op\"", "\"operation\"", "missing field `op`"),
        ("\"format\":1", "\"format\":9", "format 9 is unknown; this program reads format 1"),
        ("t.safetensors", "u.safetensors", "u.safetensors: No such file"),
        ("t.safetensors", "../t.safetensors", "is not a plain file name"),
        (
            "\"key\":\"in.C\"",
            "\"key\":\"in.D\"",
            "case stats/mpnd/one, in.C: key \"in.D\" of t.safetensors is missing",
        ),
        ("\"shape\":[1]", "\"shape\":[2]", "has shape [1], the manifest says [2]"),
        ("\"shape\":[1]", "\"shape\":[-1]", "invalid value: integer `-1`"),
        ("float64", "float32", "is float64, the manifest says float32"),
        ("elementwise", "elementwize", "unknown field `elementwize`"),
    ];
    for (from, to, expected) in cases {
        let error = with(from, to);
        assert!(error.contains(expected), "{to}: {error}");
    }
    fs::write(good.path().join("t.safetensors"), "not one").unwrap();
    let error = error_of(good.path());
    assert!(error.contains("t.safetensors is not a safetensors file"), "{error}");
}

#[test]
fn a_filter_that_matches_nothing_is_an_error() {
    let error = verify(&Goldens::embedded().unwrap(), "no such case").unwrap_err().to_string();
    assert_eq!(error, "no case's name contains \"no such case\"");
}
