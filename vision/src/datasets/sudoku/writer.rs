//! Writes a set as CSV, so that a reader never sees half a file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::{Compression, write::GzEncoder};

use super::SudokuSet;
use super::reader::HEADER;

/// Writes `set` to `path` through a temporary file in the same folder (a rename is only atomic
/// within one file system).
pub(super) fn write(path: &Path, set: &SudokuSet) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".sudoku-").suffix(".tmp");
    // A temporary file is private by default; the finished one is to have the usual permissions.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder)?;

    let gzip = path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("gz"));
    if gzip {
        let encoder = GzEncoder::new(BufWriter::new(file.as_file()), Compression::best());
        write_rows(encoder, set)?.finish()?.flush()?;
    } else {
        write_rows(BufWriter::new(file.as_file()), set)?.flush()?;
    }
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The rename itself lasts through a power cut only once the folder is synced as well.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn write_rows<W: Write>(mut to: W, set: &SudokuSet) -> io::Result<W> {
    writeln!(to, "{}", HEADER.join(","))?;
    for puzzle in set {
        // One call a row: the compressor is slow on many small pieces.
        to.write_all(format!("{puzzle}\n").as_bytes())?;
    }
    Ok(to)
}
