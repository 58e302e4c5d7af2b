//! Damaged and hostile files of weights: each is an error with a sentence that names the file, none a panic, and none makes
//! the program take much memory.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use vision::weights;

/// The system's allocator, which remembers the largest request.
struct Watching;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own, with the same arguments.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// A file that PyTorch or NumPy wrote.
fn data(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tensor/tests/data");
    fs::read(folder.join(name)).unwrap()
}

/// With `new` in the place of every `old` of the same length.
fn replaced(mut bytes: Vec<u8>, old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> =
        (0..bytes.len() - old.len()).filter(|&at| bytes[at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "there is nothing to replace");
    for at in places {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
    bytes
}

fn cut(mut bytes: Vec<u8>, keep: usize) -> Vec<u8> {
    bytes.truncate(keep);
    bytes
}

fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A zip archive of one stored entry whose directory says that it has `said` bytes.
fn zip(name: &str, contents: &[u8], said: u32) -> Vec<u8> {
    let (n, length) = (name.len() as u16, contents.len() as u32);
    let mut out = Vec::new();
    let sizes = |out: &mut Vec<u8>| {
        out.extend([0; 4]); // time and date
        out.extend([0; 4]); // checksum
        out.extend(length.to_le_bytes());
        out.extend(said.to_le_bytes());
        out.extend(n.to_le_bytes());
    };
    out.extend(b"PK\x03\x04\x14\0\0\0\0\0");
    sizes(&mut out);
    out.extend([0, 0]);
    out.extend(name.as_bytes());
    out.extend(contents);
    let directory = out.len() as u32;
    out.extend(b"PK\x01\x02\x14\0\x14\0\0\0\0\0");
    sizes(&mut out);
    out.extend([0; 12]);
    out.extend([0; 4]); // where the entry begins
    out.extend(name.as_bytes());
    let size = out.len() as u32 - directory;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend(size.to_le_bytes());
    out.extend(directory.to_le_bytes());
    out.extend([0, 0]);
    out
}

fn npy(header: &str) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\0".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes
}

/// Name, contents, and what the message says.
type Case = (&'static str, Vec<u8>, &'static str);

fn of_pytorch() -> Vec<Case> {
    let (state, old) = (|| data("state.pth"), || data("state_old.pth"));
    let other = |old_name: &[u8], new: &[u8]| replaced(old(), old_name, new);
    vec![
        ("empty.pth", Vec::new(), "begins like neither of the formats of torch.save"),
        ("text.pth", b"<html>Not found</html>".to_vec(), "begins like neither"),
        ("cut.pth", cut(state(), 3000), "as a zip archive"),
        ("code.pth", data("hostile.pth"), "asks for posix.system, which no state dict needs"),
        ("expanded.pth", data("expanded.pth"), "repeats its elements"),
        ("type.pth", other(b"FloatStorage", b"EvilsStorage"), "asks for torch.EvilsStorage"),
        (
            "call.pth",
            other(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"),
            "asks for torch._utils._rebuild_tensor_v9",
        ),
        (
            "module.pth",
            other(b"collections\nOrderedDict", b"subprocess.\nOrderedDict"),
            "asks for subprocess..OrderedDict",
        ),
        ("old_cut.pth", cut(old(), 1900), "bytes of data"),
        ("old_pickle.pth", cut(old(), 400), "its pickle is cut off"),
        ("no_pickle.pth", zip("a/b", b"x", 1), "has no entry data.pkl"),
        ("lie.pth", zip("a/data.pkl", b"\x80\x02}.", u32::MAX - 1), "cannot have 4294967294 bytes"),
    ]
}

fn of_safetensors() -> Vec<Case> {
    let tensor = |dtype: &str, shape: &str, offsets: &str, data: usize| {
        let entry =
            format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#);
        safetensors(&entry, data)
    };
    vec![
        ("empty.safetensors", Vec::new(), "shorter than the length of a header"),
        ("length.safetensors", vec![0xff; 64], "a header of 18446744073709551615 bytes"),
        ("json.safetensors", safetensors("{\"w\":", 0), "not a valid safetensors file"),
        (
            "huge.safetensors",
            tensor("F32", "[1000000,1000000]", "[0,4000000000000]", 8),
            "bytes of data",
        ),
        ("shape.safetensors", tensor("F32", "[4]", "[0,8]", 8), "not a valid safetensors file"),
        ("dtype.safetensors", tensor("F99", "[1]", "[0,4]", 4), "not a valid safetensors file"),
    ]
}

fn of_numpy() -> Vec<Case> {
    let huge = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }");
    let object = npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }");
    let honest = |array: &[u8]| zip("w.npy", array, array.len() as u32);
    vec![
        ("cut.npz", cut(data("arrays.npz"), 500), "as a zip archive"),
        ("other.npz", data("state.pth"), "is no npy file"),
        ("huge.npz", honest(&huge), "bytes of data"),
        ("lie.npz", zip("w.npy", &huge, u32::MAX - 1), "cannot have 4294967294 bytes"),
        ("object.npz", honest(&object), "of dtype |O, which is not supported"),
    ]
}

#[test]
fn damaged_and_hostile_files_are_errors_with_a_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [of_pytorch(), of_safetensors(), of_numpy()].concat();
    assert!(cases.len() >= 20);
    for (name, contents, expected) in cases {
        let path: PathBuf = directory.path().join(name);
        fs::write(&path, contents).unwrap();
        LARGEST.store(0, Ordering::Relaxed);
        let result = weights::read(&path);
        let largest = LARGEST.load(Ordering::Relaxed);
        let message = match result {
            Ok(state) => panic!("{name}: {} tensors were read", state.len()),
            Err(error) => error.to_string(),
        };
        assert!(message.contains(name) && message.contains(expected), "{name}: {message}");
        // The files have a few thousand bytes.
        assert!(largest < 1 << 20, "{name}: {largest} bytes were asked for");
    }
}
