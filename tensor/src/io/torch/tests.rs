use std::{fs, path::PathBuf};

use proptest::prelude::*;

use super::*;

/// A file that PyTorch wrote; see `make.py` beside it.
fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// `0, 1/4, 2/4, …` less 1.
fn quarters(count: usize) -> Vec<f64> {
    (0..count).map(|i| i as f64 / 4.0 - 1.0).collect()
}

#[test]
fn both_formats_of_pytorch_give_every_tensor() {
    for file in ["state.pth", "state_old.pth"] {
        let state = read_pth(data(file)).unwrap();
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        let expected =
            "plain transposed column shared double half bfloat long int bool byte empty parameter";
        assert_eq!(names, expected.split(' ').collect::<Vec<_>>());
        let check = |name: &str, dtype: DType, shape: &[usize], values: &[f64]| {
            let tensor = &state.iter().find(|(n, _)| n == name).unwrap().1;
            assert_eq!((tensor.dtype(), tensor.dims()), (dtype, shape), "{file}: {name}");
            assert_eq!(tensor.to_f64_vec(), values, "{file}: {name}");
        };
        check("plain", DType::F32, &[2, 3], &quarters(6));
        check("shared", DType::F32, &[4, 6], &quarters(24));
        let at = |row: usize, column: usize| quarters(24)[6 * row + column];
        let transposed: Vec<f64> = (0..24).map(|i| at(i % 4, i / 4)).collect();
        check("transposed", DType::F32, &[6, 4], &transposed);
        let columns: Vec<f64> = (0..8).map(|i| at(i / 2, 2 + i % 2)).collect();
        check("column", DType::F32, &[4, 2], &columns);
        check("double", DType::F64, &[3], &quarters(3));
        check("half", DType::F16, &[3], &quarters(3));
        check("bfloat", DType::BF16, &[3], &quarters(3));
        check("long", DType::I64, &[], &[-7.0]);
        check("int", DType::I64, &[2], &[1.0, -2.0]);
        check("bool", DType::U8, &[3], &[1.0, 0.0, 1.0]);
        check("byte", DType::U8, &[2], &[0.0, 255.0]);
        check("empty", DType::F32, &[0, 3], &[]);
        check("parameter", DType::F32, &[2], &quarters(2));
    }
}

#[test]
fn a_checkpoint_gives_its_model() {
    let state = read_pth(data("checkpoint.pth")).unwrap();
    assert_eq!(state.len(), 13);
    assert_eq!(state[0].0, "module.plain");
}

/// The message, without the path.
fn message(path: &Path) -> String {
    let message = read_pth(path).unwrap_err().to_string();
    message.trim_start_matches(&format!("{}: ", path.display())).to_owned()
}

#[test]
fn code_is_refused_by_name() {
    let message = message(&data("hostile.pth"));
    assert!(message.contains("asks for posix.system, which no state dict needs"), "{message}");
}

#[test]
fn a_tensor_that_repeats_one_element_is_refused() {
    let message = message(&data("expanded.pth"));
    assert!(message.contains("repeats its elements; save a contiguous copy"), "{message}");
}

/// What a pickle says, put into a file of the old format.
fn old_file(object: &[u8], keys: &[u8], storages: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made.pth");
    let mut bytes = MAGIC.to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}.");
    for part in [object, keys, storages] {
        bytes.extend(part);
    }
    fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// `{"w": tensor}` over a storage "0" of `elements` floats.
fn one_tensor(elements: u8, offset: u8, size: &[u8], stride: &[u8]) -> Vec<u8> {
    let mut p = b"\x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n(".to_vec();
    p.extend(b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu");
    p.extend([b'K', elements, b't', b'Q', b'K', offset]);
    for list in [size, stride] {
        p.push(b'(');
        p.extend(list.iter().flat_map(|&n| [b'K', n]));
        p.push(b't');
    }
    p.extend(b"\x89ccollections\nOrderedDict\n)RtRs.");
    p
}

/// The list `["0"]`, and a storage of `elements` zeros that says it has `said`.
fn one_storage(elements: usize, said: u64) -> (&'static [u8], Vec<u8>) {
    let mut storage = said.to_le_bytes().to_vec();
    storage.extend(vec![0; 4 * elements]);
    (b"\x80\x02]X\x01\0\0\x000a.", storage)
}

#[test]
fn contradictions_are_named() {
    let cases: [(Vec<u8>, usize, u64, &str); 7] = [
        (one_tensor(6, 0, &[2, 3], &[3, 1]), 6, 7, "should have 6 elements and has 7"),
        (one_tensor(6, 0, &[2, 3], &[3, 1]), 5, 6, "20 bytes of data"),
        (one_tensor(6, 1, &[2, 3], &[3, 1]), 6, 6, "leaves its storage of 6"),
        (one_tensor(6, 0, &[2, 3], &[3]), 6, 6, "has 2 axes and 1 strides"),
        (one_tensor(6, 0, &[1; 12], &[1; 12]), 6, 6, "has 12 axes"),
        (one_tensor(6, 0, &[255; 8], &[1; 8]), 6, 6, "leaves its storage of 6"),
        (one_tensor(6, 0, &[6, 6], &[0, 1]), 6, 6, "repeats its elements"),
    ];
    for (object, elements, said, expected) in cases {
        let (keys, storage) = one_storage(elements, said);
        let (_directory, path) = old_file(&object, keys, &storage);
        let message = message(&path);
        assert!(message.contains(expected), "{message}, not {expected}");
    }
    let (_directory, path) = old_file(b"\x80\x02}X\x01\0\0\0wK\x01s.", b"\x80\x02].", b"");
    assert!(message(&path).contains(r#"only ["w"]; save model.state_dict()"#));
    // And without a contradiction it is read.
    let (keys, storage) = one_storage(6, 6);
    let (_directory, path) = old_file(&one_tensor(6, 0, &[2, 3], &[3, 1]), keys, &storage);
    assert_eq!(read_pth(&path).unwrap()[0].1.dims(), [2, 3]);
}

#[test]
fn wrong_pickles_are_errors() {
    let cases: [(&[u8], &str); 10] = [
        (b"\x80\x02K\x01", "cut off"),
        (b"\x80\x02X\xff\xff\xff\x7fab", "announces 2147483647 bytes where"),
        (b"\x80\x020.", "takes from an empty stack"),
        (b"\x80\x02t.", "looks for a mark"),
        (b"\x80\x02h\x07.", "has no memo 7"),
        (b"\x80\x02cbuiltins\neval\n.", "asks for builtins.eval"),
        (b"\x80\x02K\x01K\x02R.", "calls a number"),
        (b"\x80\x02cargparse\nNamespace\nK\x02R.", "a tuple is expected"),
        (b"\x80\x02i", "has the operation 0x69"),
        (b"\x80\x02}X\x01\0\0\0aa.", "appends to a dictionary"),
    ];
    for (object, expected) in cases {
        let (_directory, path) = old_file(object, b"", b"");
        let message = message(&path);
        assert!(message.contains(expected), "{message}, not {expected}");
    }
}

/// A list of 1000 items that is copied by 5 bytes each time.
#[test]
fn copying_without_end_is_refused() {
    let mut object = b"\x80\x02]q\x00(".to_vec();
    object.extend([b'N'; 1000]);
    object.extend(b"eh\x00\x85q\x02ctorch\nSize\nq\x03");
    for _ in 0..20_000 {
        object.extend(b"h\x03h\x02R");
    }
    object.push(b'.');
    let (_directory, path) = old_file(&object, b"", b"");
    assert!(message(&path).contains("copies the same items again and again"));
}

/// A hundred thousand lists, each in the next.
#[test]
fn depth_does_no_harm() {
    let mut object = b"\x80\x02N".to_vec();
    object.extend([0x85; 100_000]);
    object.push(b'.');
    let (_directory, path) = old_file(&object, b"\x80\x02].", b"");
    assert!(message(&path).contains("it holds no dictionary of tensors"));
}

proptest! {
    #[test]
    fn broken_files_give_errors(
        zipped: bool,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut raw = fs::read(data(if zipped { "state.pth" } else { "state_old.pth" })).unwrap();
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        if let Some(keep) = keep {
            raw.truncate(keep.index(raw.len()));
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("broken.pth");
        fs::write(&path, raw).unwrap();
        // A changed element is no error; whatever is one has a sentence.
        if let Err(error) = read_pth(&path) {
            prop_assert!(error.to_string().contains("broken.pth: "));
        }
    }
}
