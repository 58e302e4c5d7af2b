//! Writes a set as CSV, so that a reader never sees half a file.

use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use tensor::io::write_atomic;

use super::SudokuSet;
use super::reader::HEADER;

/// Writes `set` to `path`, gzipped if the name says so.
pub(super) fn write(path: &Path, set: &SudokuSet) -> Result<(), tensor::Error> {
    let gzip = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gz"));
    write_atomic(path, |file| {
        if gzip {
            write_rows(GzEncoder::new(file, Compression::best()), set)?.finish()?;
        } else {
            write_rows(file, set)?;
        }
        Ok(())
    })
}

fn write_rows<W: Write>(mut to: W, set: &SudokuSet) -> io::Result<W> {
    writeln!(to, "{}", HEADER.join(","))?;
    for puzzle in set {
        // One call a row: the compressor is slow on many small pieces.
        to.write_all(format!("{puzzle}\n").as_bytes())?;
    }
    Ok(to)
}
