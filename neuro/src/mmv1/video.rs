//! [`Frames`]: the pictures of a recording, in memory or read from a file when they are needed.

use std::{path::Path, sync::Arc};

use tensor::{Tensor, io::NpyFile};

use super::Error;

/// Frames read at once while the range of a file is measured: 5 MB of 60x80 pixels in f32.
const BLOCK: usize = 256;

/// Pictures of one size with values from 0 to 1.
#[derive(Clone, Debug)]
pub struct Frames {
    source: Source,
    /// Height and width in the source.
    size: [usize; 2],
    count: usize,
    /// Pixels along an edge that become one.
    shrink: usize,
}

#[derive(Clone, Debug)]
enum Source {
    Memory(Arc<[f32]>),
    /// A file, its smallest value, and what the others are divided by once that is subtracted.
    File(Arc<NpyFile>, f32, f32),
}

impl Frames {
    /// Pictures in memory, `[frames, height, width]` one after the other, with values as they are.
    ///
    /// # Errors
    /// [`Error::Shape`] if they do not fill whole frames, [`Error::Values`] if a value is not finite.
    pub fn new(values: Vec<f32>, size: [usize; 2]) -> Result<Self, Error> {
        let pixels = size[0] * size[1];
        if pixels == 0 || values.is_empty() || !values.len().is_multiple_of(pixels) {
            return Err(Error::Shape {
                path: "frames".into(),
                expected: format!("a multiple of {} x {} values", size[0], size[1]),
                found: format!("{} values", values.len()),
            });
        }
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            let what = format!("holds the value {bad}; video has to be finite");
            return Err(Error::Values { path: "frames".into(), what });
        }
        let count = values.len() / pixels;
        Ok(Frames { source: Source::Memory(values.into()), size, count, shrink: 1 })
    }

    /// The frames `[frames, height, width]` of an npy file, which stays on disk: the file is read once now, to find its
    /// smallest and largest value, which become 0 and 1 as in the published code (all 0 if there is only one value), and
    /// frame by frame later.
    ///
    /// # Errors
    /// If it cannot be read, has other axes, no frames, or values that are not finite.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = NpyFile::open(path)?;
        let &[count, height, width] = file.dims() else {
            return Err(Error::Shape {
                path: path.to_owned(),
                expected: "[frames, height, width]".into(),
                found: format!("{:?}", file.dims()),
            });
        };
        if count * height * width == 0 {
            let what = "holds no pixels".to_owned();
            return Err(Error::Values { path: path.to_owned(), what });
        }
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for start in (0..count).step_by(BLOCK) {
            for v in floats(&file.rows(start..count.min(start + BLOCK))?) {
                if !v.is_finite() {
                    let what = format!(
                        "holds the value {v} in frames {start} to {}; video has to be finite",
                        count.min(start + BLOCK) - 1
                    );
                    return Err(Error::Values { path: path.to_owned(), what });
                }
                (low, high) = (low.min(v), high.max(v));
            }
        }
        let range = if high > low { high - low } else { 1.0 };
        let source = Source::File(Arc::new(file), low, range);
        Ok(Frames { source, size: [height, width], count, shrink: 1 })
    }

    /// The same with squares of so many pixels averaged into one; rows and columns left over at the end are cut off.
    ///
    /// # Errors
    /// [`Error::Config`] if no pixel is left.
    pub fn shrunk(&self, shrink: usize) -> Result<Self, Error> {
        if shrink == 0 || self.size.iter().any(|&n| n < shrink) {
            return Err(Error::Config(format!(
                "frames of {}x{} pixels cannot be shrunk by {shrink}",
                self.size[0], self.size[1]
            )));
        }
        Ok(Frames { shrink, ..self.clone() })
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Height and width of a frame as it is read.
    pub fn size(&self) -> [usize; 2] {
        self.size.map(|n| n / self.shrink)
    }

    /// Appends a frame, row after row.
    ///
    /// # Errors
    /// If the file cannot be read.
    ///
    /// # Panics
    /// If there is no such frame.
    #[track_caller]
    pub fn append(&self, frame: usize, out: &mut Vec<f32>) -> Result<(), Error> {
        assert!(frame < self.count, "Frames: frame {frame} of {}", self.count);
        let pixels = self.size[0] * self.size[1];
        match &self.source {
            Source::Memory(values) => {
                self.append_shrunk(&values[frame * pixels..][..pixels], out);
            }
            Source::File(file, low, range) => {
                let values = floats(&file.rows(frame..frame + 1)?);
                let values: Vec<f32> = values.iter().map(|v| (v - low) / range).collect();
                self.append_shrunk(&values, out);
            }
        }
        Ok(())
    }

    fn append_shrunk(&self, values: &[f32], out: &mut Vec<f32>) {
        if self.shrink == 1 {
            out.extend(values);
            return;
        }
        let ([rows, columns], width, n) = (self.size(), self.size[1], self.shrink);
        for row in 0..rows {
            for column in 0..columns {
                let corner = row * n * width + column * n;
                let square = (0..n).flat_map(|r| &values[corner + r * width..][..n]);
                out.push(square.sum::<f32>() / (n * n) as f32);
            }
        }
    }
}

/// All elements in f32.
pub(super) fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(tensor::DType::F32).to_vec::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::io::write_npy;

    #[test]
    fn files_are_scaled_to_one_and_frames_shrink() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.npy");
        let values: Vec<u8> = (0..2 * 4 * 5).map(|i| 10 + i as u8).collect();
        write_npy(&path, &Tensor::new(&values, [2, 4, 5])).unwrap();
        let frames = Frames::open(&path).unwrap();
        assert_eq!((frames.count(), frames.size()), (2, [4, 5]));
        let mut out = Vec::new();
        frames.append(0, &mut out).unwrap();
        frames.append(1, &mut out).unwrap();
        let expected: Vec<f32> = (0..40).map(|i| i as f32 / 39.0).collect();
        assert_eq!(out, expected);
        let small = frames.shrunk(2).unwrap();
        assert_eq!(small.size(), [2, 2]);
        let mut out = Vec::new();
        small.append(0, &mut out).unwrap();
        // Pixels 0, 1, 5, 6.
        assert!((out[0] - 3.0 / 39.0).abs() < 1e-6 && out.len() == 4, "{out:?}");
        assert!(frames.shrunk(9).is_err());
    }

    #[test]
    fn what_is_no_video_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.npy");
        let refused = |tensor: Tensor, what: &str| {
            write_npy(&path, &tensor).unwrap();
            let error = Frames::open(&path).unwrap_err().to_string();
            assert!(error.contains("v.npy") && error.contains(what), "{error}");
        };
        refused(Tensor::new(&[0.0f32; 6], [2, 3]), "[frames, height, width]");
        refused(Tensor::new(&[0.0f32, f32::NAN], [1, 1, 2]), "NaN");
        refused(Tensor::new::<f32>(&[], [0, 3, 3]), "no pixels");
        assert!(Frames::new(vec![0.0; 7], [2, 3]).is_err());
        assert!(Frames::new(vec![f32::NAN; 6], [2, 3]).is_err());
        let black = Tensor::new(&[3.0f32; 4], [1, 2, 2]);
        write_npy(&path, &black).unwrap();
        let mut out = Vec::new();
        Frames::open(&path).unwrap().append(0, &mut out).unwrap();
        assert_eq!(out, [0.0; 4]);
    }
}
