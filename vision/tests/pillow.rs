//! Pictures at another size as Pillow makes them; the files were made by `data/make_pillow.py`.

use std::path::Path;

use tensor::{DType, InterpolateMode, Tensor, io::read_npy};
use vision::picture::resized;

/// As in the script.
fn picture(h: usize, w: usize) -> Tensor {
    let value = |c: usize, y: usize, x: usize| ((x * x * 7 + y * 13 + c * 50 + x * y) % 256) as f32;
    let pixels: Vec<f32> =
        (0..3).flat_map(|c| (0..h * w).map(move |i| value(c, i / w, i % w))).collect();
    Tensor::new(&pixels, [1, 3, h, w])
}

/// Pillow's weights have 22 bits: a value next to a half may fall to the other side.
#[test]
fn resized_pictures_are_pillows() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let (mut values, mut differing, mut largest) = (0, 0, 0.0f64);
    for ([h, w], [oh, ow]) in [([20, 30], [7, 11]), ([20, 30], [33, 45]), ([64, 48], [20, 15])] {
        for (name, mode) in
            [("bilinear", InterpolateMode::Bilinear), ("bicubic", InterpolateMode::Bicubic)]
        {
            let ours = resized(&picture(h, w), [oh, ow], mode);
            let file = data.join(format!("pillow_{name}_{h}x{w}_{oh}x{ow}.npy"));
            let expected = read_npy(file).unwrap().to_dtype(DType::F32).permute(&[2, 0, 1]);
            for (a, b) in ours.to_f64_vec().iter().zip(expected.contiguous().to_f64_vec()) {
                values += 1;
                differing += usize::from(*a != b);
                largest = largest.max((a - b).abs());
            }
        }
    }
    println!("{differing} of {values} values differ, by at most {largest}");
    assert!(largest <= 1.0, "{largest}");
    assert!(differing * 20 <= values, "{differing} of {values} differ");
}
