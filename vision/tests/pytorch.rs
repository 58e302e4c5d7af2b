//! Weights that go from PyTorch to here and back; the files were made by `data/make.py`, which also reads what this writes.

use std::path::Path;

use autograd::Var;
use nn::Context;
use tensor::{DType, Tensor, io::read_npy};
use vision::{
    models::{create, find},
    weights::{self, Mode},
};

fn board() -> Var {
    let cells: Vec<f32> = (0..81).map(|i| (i % 10) as f32 / 9.0 - 0.5).collect();
    Var::constant(Tensor::new(&cells, [1, 1, 9, 9]))
}

#[test]
fn a_checkpoint_of_pytorch_gives_its_logits_here_and_in_the_file_written_here() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let expected = read_npy(data.join("logits.npy")).unwrap().to_vec::<f32>();
    let config = find("sudoku_3x16").unwrap().config();
    // Where `make.py` finds it.
    let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sudoku_3x16.safetensors");
    for file in [data.join("sudoku_3x16.pth"), written.clone()] {
        let mut model = create("sudoku_3x16", &config).unwrap();
        let loaded = weights::load(&mut *model, &file, Mode::Strict).unwrap();
        assert!(loaded.is_complete());
        let logits = model.call(&board(), &mut Context::eval());
        assert_eq!(logits.dtype(), DType::F32);
        for (a, b) in logits.value().to_vec::<f32>().iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5, "{}: {a} {b}", file.display());
        }
        nn::save_model(&written, &*model).unwrap();
    }
}
