//! `fit-rf` and `rsa` as a user runs them on recordings of their own, good and damaged ones.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use lpconv::Mpnd;
use tensor::{DType, Device, Shape, Stream, Tensor, io::write_npy};

fn xtask(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).output().expect("the program starts")
}

#[track_caller]
fn prints(args: &[&str]) -> String {
    let output = xtask(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// A failed run: exit code and a message that holds `expected`; never a panic.
#[track_caller]
fn fails(args: &[&str], code: i32, expected: &str) {
    let output = xtask(args);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {message}");
    assert!(message.contains(expected) && !message.contains("panicked"), "{args:?}: {message}");
}

fn noise(shape: &[usize], seed: u64) -> Tensor {
    Tensor::randn(Shape::new(shape), DType::F32, Device::Cpu, &mut Stream::new(seed))
}

fn path(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().expect("a name of text").to_owned()
}

#[test]
fn positions_are_fitted_neuron_by_neuron() {
    let directory = tempfile::tempdir().unwrap();
    let file = path(directory.path(), "p.csv");
    let gaussian = Mpnd::<2>::isotropic(2.0, 100.0).unwrap();
    let mut random = Stream::new(1);
    let mut text = "neuron,dx_um,dy_um\n".to_owned();
    for _ in 0..150 {
        let [x, y] = gaussian.sample(&mut random);
        text += &format!("a,{x},{y}\n");
    }
    text += "b,1,2\nb,3,4\n";
    fs::write(&file, text).unwrap();
    let args = ["fit-rf", "--positions", &file, "--samples", "40"];
    let printed = prints(&args);
    let line = printed.lines().find(|l| l.starts_with("a ")).expect("a line of neuron a");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1], "150");
    assert!((words[2].parse::<f64>().unwrap() - 2.0).abs() < 0.6, "{line}");
    assert!(
        printed.contains("neuron b has 2 points") || printed.contains("b has 2 points"),
        "{printed}"
    );
    assert_eq!(prints(&args), printed);
    fails(&["fit-rf", "--positions", &file, "--axes", "3"], 2, "the positions have 2");
    fails(&["fit-rf", "--positions", &file, "--type", "EX"], 1, "no neuron");
    fails(&["fit-rf", "--positions", "no/such.csv"], 1, "no/such.csv");
    fs::write(&file, "dx,dy\n1,2\n3,NaN\n").unwrap();
    fails(&["fit-rf", "--positions", &file], 1, "p.csv:3: dy is \"NaN\"");
}

#[test]
fn a_model_is_compared_with_a_recording() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| path(directory.path(), name);
    let (responses, images) = (file("r.npy"), file("i.npy"));
    write_npy(&responses, &noise(&[4, 12, 30], 1)).unwrap();
    write_npy(&images, &noise(&[12, 24, 24], 2)).unwrap();
    let run = |responses: &str, images: &str, more: &[&str]| -> Vec<String> {
        let args =
            ["rsa", "--responses", responses, "--images", images, "--model", "squeezenet1_1"];
        let rest = ["--input", "33", "--samples", "9", "--permutations", "9"];
        args.iter().chain(&rest).chain(more).map(|a| (*a).to_owned()).collect()
    };
    let good = run(&responses, &images, &[]);
    let printed = prints(&good.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(printed.contains("12 images, 30 units, 4 trials, 1 animals"), "{printed}");
    assert!(printed.contains("noise ceiling by halves"), "{printed}");
    assert!(printed.lines().any(|l| l.starts_with("features.0 ")), "{printed}");

    let check = |args: Vec<String>, code: i32, expected: &str| {
        fails(&args.iter().map(String::as_str).collect::<Vec<_>>(), code, expected);
    };
    check(
        run(&responses, &images, &["--layer", "features.99"]),
        2,
        "features.99: the model has none",
    );
    check(run(&responses, &images, &["--compare", "tau"]), 2, "expected one of tau-b");
    let bad = |name: &str, t: &Tensor| {
        let file = file(name);
        write_npy(&file, t).unwrap();
        file
    };
    let mut values = noise(&[12, 30], 3).to_vec::<f32>();
    values[5 * 30 + 7] = f32::NAN;
    let nan = bad("nan.npy", &Tensor::new(&values, [12, 30]));
    check(run(&nan, &images, &[]), 1, "[5, 7] is NaN");
    let one = bad("one.npy", &noise(&[12, 1], 4));
    check(run(&one, &images, &[]), 1, "has 1 units");
    let other = bad("other.npy", &noise(&[13, 24, 24], 5));
    check(run(&responses, &other, &[]), 1, "13 images, but responses to 12");
    let flat = bad("flat.npy", &Tensor::ones([12, 24, 24], DType::F32, Device::Cpu));
    check(run(&responses, &flat, &[]), 1, "image 0 has the same value everywhere");
    check(run(&responses, &images, &["--events", "e.npz"]), 2, "--events belong to a session");
    fs::write(file("cut.nwb"), b"\x89HDF\r\n").unwrap();
    check(run(&file("cut.nwb"), &images, &[]), 1, "cut.nwb: ");
    fs::write(file("cut.npy"), &fs::read(&responses).unwrap()[..300]).unwrap();
    check(run(&file("cut.npy"), &images, &[]), 1, "cut.npy: ");
    fs::write(file("cut.npz"), b"PK\x03\x04").unwrap();
    check(run(&file("cut.npz"), &images, &[]), 1, "cut.npz");
}
