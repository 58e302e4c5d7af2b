//! Data sets in the formats of their authors: small ones written here, read back, and damaged.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use image::{ColorType, ImageFormat};
use vision::datasets::{Image, Split, cifar10, cifar100, image_folder, tiny_imagenet};

/// Planes of red, green and blue: pixel i of image n is `[n, i, 255 - i]`, modulo 256.
fn planes(n: u8) -> Vec<u8> {
    let plane = |f: &dyn Fn(usize) -> u8| (0..1024).map(f).collect::<Vec<u8>>();
    [plane(&|_| n), plane(&|i| i as u8), plane(&|i| 255 - i as u8)].concat()
}

#[track_caller]
fn is_image(image: &Image, n: u8) {
    assert_eq!((image.height(), image.width()), (32, 32));
    assert_eq!(image.pixel(0, 5), [n, 5, 250]);
    assert_eq!(image.pixel(3, 1), [n, 97, 158]);
}

fn names(count: usize) -> String {
    (0..count).map(|i| format!("class {i}\n")).collect()
}

/// `(name, content)` as files of a folder.
fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    dir
}

fn tar_gz(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    for (name, content) in files {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[156] = b'0';
        gz.write_all(&header).unwrap();
        gz.write_all(content).unwrap();
        gz.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()]).unwrap();
    }
    gz.write_all(&[0; 1024]).unwrap();
    gz.finish().unwrap()
}

/// The coarse label is no class.
fn binary100() -> Vec<(&'static str, Vec<u8>)> {
    let record = |n: u8| [vec![19, 90 + n], planes(n)].concat();
    vec![
        ("cifar-100-binary/train.bin", [record(0), record(1), record(2)].concat()),
        ("cifar-100-binary/test.bin", record(7)),
        ("cifar-100-binary/fine_label_names.txt", names(100).into_bytes()),
    ]
}

#[test]
fn cifar_100_is_read_from_its_folder_and_its_archive() {
    let dir = folder(&binary100());
    let archive = dir.path().join("cifar-100-binary.tar.gz");
    fs::write(&archive, tar_gz(&binary100())).unwrap();
    for path in [dir.path(), &dir.path().join("cifar-100-binary"), &archive] {
        let train = cifar100(path, Split::Train).unwrap();
        assert_eq!((train.len(), train.label(2), train.classes().len()), (3, 92, 100));
        assert_eq!(train.classes()[92], "class 92");
        is_image(&train.get(2).unwrap().0, 2);
        let test = cifar100(path, Split::Test).unwrap();
        assert_eq!((test.len(), test.label(0)), (1, 97));
    }
}

#[test]
fn cifar_10_is_five_files_in_order() {
    let files = ["1", "2", "3", "4", "5"].map(|n| format!("data_batch_{n}.bin"));
    let record = |n: u8| [vec![n], planes(n)].concat();
    let mut all: Vec<(&str, Vec<u8>)> =
        files.iter().map(|f| f.as_str()).zip((0..).map(record)).collect();
    // The list of names ends with an empty line.
    all.push(("batches.meta.txt", (names(10) + "\n").into_bytes()));
    let dir = folder(&all);
    let train = cifar10(dir.path(), Split::Train).unwrap();
    assert_eq!(train.len(), 5);
    for (n, item) in train.iter().enumerate() {
        let (image, label) = item.unwrap();
        assert_eq!(label, n);
        is_image(&image, n as u8);
    }
    let missing = cifar10(dir.path(), Split::Test).unwrap_err().to_string();
    assert!(missing.contains("CIFAR-10, found no test_batch.bin"), "{missing}");
}

/// A pickle as Python 2 wrote those of CIFAR: protocol 2, texts and bytes by the same operations, an array of NumPy.
fn pickle(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"\x80\x02}(".to_vec();
    for (key, value) in entries {
        out.extend(short(key));
        out.extend(value);
    }
    out.extend(b"u.");
    out
}

fn short(text: &str) -> Vec<u8> {
    [b"U", &[text.len() as u8][..], text.as_bytes()].concat()
}

fn numbers(values: &[u8]) -> Vec<u8> {
    let items = values.iter().flat_map(|&v| [b'K', v]);
    [b"](".to_vec(), items.collect(), b"e".to_vec()].concat()
}

fn array(rows: u8, bytes: &[u8]) -> Vec<u8> {
    [
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR".to_vec(),
        // State: version, shape, dtype (itself built), order, bytes.
        [
            b"(K\x01K".to_vec(),
            vec![rows],
            b"M\x00\x0c\x86cnumpy\ndtype\n(U\x02u1K\x00K\x01tR".to_vec(),
        ]
        .concat(),
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T".to_vec(),
        (bytes.len() as u32).to_le_bytes().to_vec(),
        bytes.to_vec(),
        b"tb".to_vec(),
    ]
    .concat()
}

fn python100(labels: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let texts = (0..100).flat_map(|i| short(&format!("class {i}"))).collect();
    let names = [b"](".to_vec(), texts, b"e".to_vec()].concat();
    let train = pickle(&[
        ("data", array(2, &[planes(200), planes(201)].concat())),
        ("coarse_labels", numbers(&[1, 2])),
        ("fine_labels", numbers(labels)),
    ]);
    vec![("train", train), ("meta", pickle(&[("fine_label_names", names)]))]
}

#[test]
fn the_python_version_is_read_without_python() {
    let dir = folder(&python100(&[44, 99]));
    let set = cifar100(dir.path(), Split::Train).unwrap();
    assert_eq!((set.len(), set.label(1), &set.classes()[99][..]), (2, 99, "class 99"));
    is_image(&set.get(0).unwrap().0, 200);
    is_image(&set.get(1).unwrap().0, 201);
}

#[track_caller]
fn refused(files: &[(&str, Vec<u8>)], expected: &str) {
    let dir = folder(files);
    let message = cifar100(dir.path(), Split::Train).unwrap_err().to_string();
    assert!(message.contains(expected), "{message}");
}

#[test]
fn damaged_cifars_are_refused_with_a_reason() {
    let mut files = binary100();
    files[0].1.pop();
    refused(&files, "expected records of 3074 bytes, found 9221 bytes");
    files = binary100();
    files[0].1[1] = 100;
    refused(&files, "expected labels below 100, as CIFAR-100 has, found label 100");
    files = binary100();
    files[2].1.truncate(50);
    refused(&files, "expected the 100 classes of CIFAR-100, found 7 names");
    refused(&files[..1], "found no fine_label_names.txt");
    refused(&python100(&[1]), "found 6144 bytes and 1 numbers");
    refused(&python100(&[1, 100]), "found label 100");
    let mut files = python100(&[1, 2]);
    files[0].1 = b"\x80\x02cos\nsystem\nU\x02ls\x85R.".to_vec();
    refused(&files, "asks for os.system");
    files[0].1 = python100(&[1, 2])[0].1[..5000].to_vec();
    refused(&files, "its pickle announces");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cifar.tar.gz");
    let whole = tar_gz(&binary100());
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "a damaged or incomplete archive"),
        (&b"<html>"[..], "a damaged or incomplete archive"),
    ] {
        fs::write(&path, bytes).unwrap();
        let message = cifar100(&path, Split::Train).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let message = cifar100(dir.path().join("none"), Split::Train).unwrap_err().to_string();
    assert!(message.contains("none: No such file"), "{message}");
}

fn picture(value: u8, name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let format = ImageFormat::from_path(&path).unwrap();
    // Gray, as some of TinyImageNet are.
    image::save_buffer_with_format(&path, &[value; 64 * 64], 64, 64, ColorType::L8, format)
        .unwrap();
    fs::read(path).unwrap()
}

fn tiny() -> Vec<(&'static str, Vec<u8>)> {
    let annotations = "val_1.JPEG\tn02\t0\t0\t9\t9\nval_0.JPEG\tn01\t0\t0\t9\t9\n";
    let gray = |v| picture(v, "a.jpeg");
    vec![
        ("tiny-imagenet-200/train/n02/images/n02_0.JPEG", gray(20)),
        ("tiny-imagenet-200/train/n02/n02_boxes.txt", b"n02_0.JPEG\t0\t0\t9\t9\n".to_vec()),
        ("tiny-imagenet-200/train/n01/images/n01_1.JPEG", gray(11)),
        ("tiny-imagenet-200/train/n01/images/n01_0.JPEG", gray(10)),
        ("tiny-imagenet-200/val/images/val_0.JPEG", gray(30)),
        ("tiny-imagenet-200/val/images/val_1.JPEG", gray(40)),
        ("tiny-imagenet-200/val/val_annotations.txt", annotations.into()),
        ("tiny-imagenet-200/test/images/test_0.JPEG", gray(50)),
        ("tiny-imagenet-200/words.txt", b"n00\tnothing\nn02\tgoldfish, carp\n".to_vec()),
    ]
}

fn zipped(files: &[(&str, Vec<u8>)], path: &Path) {
    let mut zip = zip::ZipWriter::new(fs::File::create(path).unwrap());
    for (name, content) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap();
}

/// Gray value and label of each image.
fn grays(path: &Path, split: Split) -> Vec<(u8, usize)> {
    let set = tiny_imagenet(path, split).unwrap();
    assert_eq!(set.classes(), ["n01", "goldfish, carp"]);
    let gray = |(image, label): (Image, usize)| (image.pixel(9, 9)[1], label);
    set.iter().map(|item| gray(item.unwrap())).collect()
}

#[test]
fn tiny_imagenet_is_read_from_its_folder_and_its_archive() {
    let dir = folder(&tiny());
    let archive = dir.path().join("tiny.zip");
    zipped(&tiny(), &archive);
    for path in [dir.path(), &dir.path().join("tiny-imagenet-200"), &archive] {
        assert_eq!(grays(path, Split::Train), [(10, 0), (11, 0), (20, 1)]);
        assert_eq!(grays(path, Split::Test), [(30, 0), (40, 1)]);
    }
}

#[test]
fn damaged_tiny_imagenets_are_refused_with_a_reason() {
    let message = |path: &Path| tiny_imagenet(path, Split::Test).unwrap_err().to_string();
    let mut files = tiny();
    files[6].1 = b"../../secret.JPEG\tn01\t0\n".to_vec();
    let dir = folder(&files);
    assert!(message(dir.path()).contains("secret.JPEG\\tn01\\t0\" in line 1"));
    files[6].1 = b"val_0.JPEG\tn09\t0\n".to_vec();
    let path = dir.path().join("other.zip");
    zipped(&files, &path);
    assert!(message(&path).contains("n09"), "{}", message(&path));
    fs::write(&path, b"PK, but no archive").unwrap();
    assert!(message(&path).contains("a damaged archive"));
    let empty = tempfile::tempdir().unwrap();
    assert!(message(empty.path()).contains("found no folder train"));
}

#[test]
fn folders_are_classes_in_order_of_their_names() {
    let dir = folder(&[
        ("zebra/1.png", picture(1, "a.png")),
        ("ant/b.JPG", picture(2, "a.jpg")),
        ("ant/a.jpeg", picture(3, "a.jpeg")),
        ("ant/notes.txt", b"no picture".to_vec()),
        ("empty/notes.txt", b"no picture".to_vec()),
        ("zebra/broken.png", b"no picture".to_vec()),
    ]);
    let set = image_folder(dir.path()).unwrap();
    assert_eq!(set.classes(), ["ant", "zebra"]);
    let labels: Vec<usize> = (0..set.len()).map(|i| set.label(i)).collect();
    assert_eq!(labels, [0, 0, 1, 1]);
    assert_eq!(set.get(0).unwrap().0.pixel(0, 0)[0], 3);
    assert_eq!(set.get(2).unwrap().0.pixel(63, 63), [1; 3]);
    let message = set.get(3).unwrap_err().to_string();
    assert!(message.contains("broken.png: "), "{message}");
    let nothing: PathBuf = dir.path().join("ant");
    let message = image_folder(nothing).unwrap_err().to_string();
    assert!(message.contains("expected folders, one a class"), "{message}");
}
