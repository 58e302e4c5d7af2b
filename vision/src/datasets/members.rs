//! Files of a data set by their names, from an unpacked folder or from the archive as it is downloaded.

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use crate::Error;

/// More than any file of the data sets here has.
const MOST_BYTES: u64 = 512 << 20;

/// The files whose names (without folders) are among `wanted`, in the order of `wanted`; `None` for those that are not there.
///
/// `path` is a folder, of which folders in it are searched too, or a `.tar.gz`.
pub(super) fn read(path: &Path, wanted: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    if path.is_dir() { from_folder(path, wanted) } else { from_tar_gz(path, wanted) }
}

fn from_folder(path: &Path, wanted: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let mut folders = vec![path.to_owned()];
    folders.extend(subfolders(path)?);
    let read = |name: &&str| {
        let found = folders.iter().map(|f| f.join(name)).find(|f| f.is_file());
        found.map(|file| fs::read(&file).map_err(|e| unreadable(&file, e))).transpose()
    };
    wanted.iter().map(read).collect()
}

/// The folders in a folder, by name.
pub(super) fn subfolders(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut folders: Vec<PathBuf> = entries(path)?.into_iter().filter(|p| p.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

/// What is in a folder.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = fs::read_dir(path).and_then(|all| all.map(|e| Ok(e?.path())).collect());
    listed.map_err(|e| unreadable(path, e))
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> Error {
    Error::Open { path: path.to_owned(), source }
}

/// Files in a tar archive, of which nothing but names and lengths is looked at.
fn from_tar_gz(path: &Path, wanted: &[&str]) -> Result<Vec<Option<Vec<u8>>>, Error> {
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    let mut tar = GzDecoder::new(BufReader::new(file));
    let mut found: Vec<Option<Vec<u8>>> = wanted.iter().map(|_| None).collect();
    let malformed = |what: String| Error::Malformed {
        path: path.to_owned(),
        expected: "a folder or a whole .tar.gz".into(),
        found: what,
    };
    let damaged = |e: io::Error| malformed(format!("a damaged or incomplete archive ({e})"));
    loop {
        let mut header = [0; 512];
        tar.read_exact(&mut header).map_err(damaged)?;
        if header.iter().all(|&b| b == 0) {
            return Ok(found);
        }
        let text = |range: std::ops::Range<usize>| {
            let bytes = header[range].split(|&b| b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(bytes).trim().to_owned()
        };
        let length = u64::from_str_radix(&text(124..136), 8).ok().filter(|&n| n <= MOST_BYTES);
        let length = length.ok_or_else(|| malformed("something that is no tar archive".into()))?;
        let name = text(0..100);
        let place = wanted.iter().position(|w| name.rsplit('/').next() == Some(w));
        let mut content = (&mut tar).take(length.next_multiple_of(512));
        match place {
            // '0' and an older NUL are files.
            Some(place) if matches!(header[156], b'0' | 0) => {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).map_err(damaged)?;
                if (bytes.len() as u64) < length {
                    return Err(malformed(format!("an archive that is cut off in {name}")));
                }
                bytes.truncate(length as usize);
                found[place] = Some(bytes);
            }
            _ => drop(io::copy(&mut content, &mut io::sink()).map_err(damaged)?),
        }
    }
}
