//! Sorted elements, and the largest of windows of any size: choices by index, whose derivatives are those of `gather`.

use tensor::{DType, Tensor};

use super::OpInfo;
use crate::{Var, gradcheck::Case};

impl Var {
    /// The elements of each line along `axis` in order, and their I64 indices. See [`Tensor::argsort`]. Same as
    /// `torch.sort(stable=True)`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn sort(&self, axis: isize, descending: bool) -> (Var, Tensor) {
        let index = self.value().argsort(axis, descending);
        (self.gather(axis, &index), index)
    }

    /// The `k` largest (or smallest) elements of each line along `axis`, in order, and their I64 indices. See
    /// [`Tensor::argtopk`]. Same as `torch.topk`.
    ///
    /// # Panics
    /// If the axis does not exist or is shorter than `k`.
    #[track_caller]
    pub fn topk(&self, k: usize, axis: isize, largest: bool) -> (Var, Tensor) {
        let index = self.value().argtopk(k, axis, largest);
        (self.gather(axis, &index), index)
    }

    /// The largest element of each of `size[0] x size[1]` windows that share images `[N, C, H, W]` evenly, and its pixel
    /// `row · W + column` as I64, both `[N, C, size[0], size[1]]`.
    ///
    /// Window `i` covers `floor(i H / size)..ceil((i + 1) H / size)`. Of equal maxima the first in row-major order is taken;
    /// NaN is larger than any number. Same as `torch.nn.functional.adaptive_max_pool2d` with `return_indices`.
    ///
    /// # Panics
    /// If the input does not have 4 axes or its images have no pixels.
    #[track_caller]
    pub fn adaptive_max_pool2d(&self, size: [usize; 2]) -> (Var, Tensor) {
        let &[n, c, h, w] = self.dims() else {
            panic!("adaptive_max_pool2d: input {} is not [N, C, H, W]", self.shape())
        };
        assert!(
            h > 0 && w > 0,
            "adaptive_max_pool2d: images of input {} have no pixels",
            self.shape()
        );
        let window = |i: usize, len: usize, out: usize| {
            let start = i * len / out;
            (start, ((i + 1) * len).div_ceil(out) - start)
        };
        let [out_h, out_w] = size;
        let mut pixels = vec![0i64; n * c * out_h * out_w];
        for k in 0..out_h * out_w {
            let ((top, rows), (left, columns)) =
                (window(k / out_w, h, out_h), window(k % out_w, w, out_w));
            let part = self.value().narrow(2, top, rows).narrow(3, left, columns);
            let cells = part.reshape([n * c, rows * columns]).argmax(1, false).to_vec::<i64>();
            for (plane, cell) in cells.into_iter().enumerate() {
                let (row, column) = (cell as usize / columns, cell as usize % columns);
                pixels[plane * out_h * out_w + k] = ((top + row) * w + left + column) as i64;
            }
        }
        let index = Tensor::new(&pixels, [n, c, out_h * out_w]).to_device(self.value().device());
        let y = self.reshape([n, c, h * w]).gather(2, &index);
        (y.reshape([n, c, out_h, out_w]), index.reshape([n, c, out_h, out_w]))
    }

    /// Zeros above diagonal `diagonal` of the last two axes (0 the main one, positive above it). Same as `torch.tril`.
    ///
    /// # Panics
    /// If there are fewer than 2 axes.
    #[track_caller]
    pub fn tril(&self, diagonal: isize) -> Var {
        self.masked_fill(&above("tril", self.value(), diagonal), 0.0)
    }

    /// Zeros below diagonal `diagonal` of the last two axes. Same as `torch.triu`.
    ///
    /// # Panics
    /// If there are fewer than 2 axes.
    #[track_caller]
    pub fn triu(&self, diagonal: isize) -> Var {
        let kept = above("triu", self.value(), diagonal - 1);
        self.masked_fill(&kept.eq(&kept.zeros_like()), 0.0)
    }

    /// Consecutive parts of length `size` along `axis`; the last may be shorter. Same as `torch.split`.
    ///
    /// # Panics
    /// If the axis does not exist or `size` is 0.
    #[track_caller]
    pub fn split(&self, size: usize, axis: isize) -> Vec<Var> {
        assert!(size > 0, "split: parts of length 0 never end");
        let len = self.dims()[self.shape().axis("split", axis)];
        let part = |start| self.narrow(axis, start, size.min(len - start));
        (0..len.max(1)).step_by(size).map(part).collect()
    }

    /// At most `count` parts of equal length along `axis`; the last may be shorter. Same as `torch.chunk`.
    ///
    /// # Panics
    /// If the axis does not exist or `count` is 0.
    #[track_caller]
    pub fn chunk(&self, count: usize, axis: isize) -> Vec<Var> {
        assert!(count > 0, "chunk: no parts");
        let len = self.dims()[self.shape().axis("chunk", axis)];
        self.split(len.div_ceil(count).max(1), axis)
    }

    /// The whole repeated `times[axis]` times along each axis. Same as `torch.Tensor.repeat`, for as many numbers as axes.
    ///
    /// # Panics
    /// If `times` has another length than there are axes.
    #[track_caller]
    pub fn repeat(&self, times: &[usize]) -> Var {
        let dims = self.dims();
        assert!(
            times.len() == dims.len(),
            "repeat: {times:?} does not have one number for each axis of {}",
            self.shape()
        );
        let mut y = self.clone();
        for (axis, &times) in times.iter().enumerate().filter(|(_, times)| **times != 1) {
            let copies = y.unsqueeze(axis as isize);
            let mut shape = copies.dims().to_vec();
            shape[axis] = times;
            let mut joined = y.dims().to_vec();
            joined[axis] *= times;
            y = copies.broadcast_to(shape).reshape(joined);
        }
        y
    }

    /// Elements moved by `shift` along `axis`, those beyond the end to the beginning. Same as `torch.roll`.
    ///
    /// # Panics
    /// If the axis does not exist.
    #[track_caller]
    pub fn roll(&self, shift: isize, axis: isize) -> Var {
        let len = self.dims()[self.shape().axis("roll", axis)];
        if len == 0 {
            return self.clone();
        }
        let first = (-shift).rem_euclid(len as isize) as usize;
        Var::cat(&[&self.narrow(axis, first, len - first), &self.narrow(axis, 0, first)], axis)
    }
}

/// 1 above a diagonal of the last two axes, else 0.
#[track_caller]
fn above(op: &str, x: &Tensor, diagonal: isize) -> Tensor {
    assert!(x.rank() >= 2, "{op}: shape {} is no matrix", x.shape());
    let (rows, columns) = (x.dim(-2), x.dim(-1));
    let line = |n| Tensor::arange(n, x.device()).to_dtype(DType::F64);
    line(columns).gt(&line(rows).add_scalar(diagonal as f64).unsqueeze(-1))
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "sort",
        formula: "x in order along an axis",
        case: |d| {
            let shape = d.shape(1..=4);
            let (axis, descending) = (d.int(0..=shape.rank() - 1) as isize, d.flag());
            Case::new(vec![d.distinct(shape)], move |v| v[0].sort(axis, descending).0)
        },
    },
    OpInfo {
        name: "topk",
        formula: "the k largest along an axis",
        case: |d| {
            let shape = d.shape(1..=4);
            let axis = d.int(0..=shape.rank() - 1);
            let (k, largest) = (d.int(0..=shape[axis]), d.flag());
            Case::new(vec![d.distinct(shape)], move |v| v[0].topk(k, axis as isize, largest).0)
        },
    },
    OpInfo {
        name: "adaptive_max_pool2d",
        formula: "max over even shares",
        case: |d| {
            let size = [d.int(1..=4), d.int(1..=4)];
            let shape = super::pool::adaptive_input(d);
            Case::new(vec![d.distinct(shape)], move |v| v[0].adaptive_max_pool2d(size).0)
        },
    },
    OpInfo {
        name: "tril",
        formula: "x on and below a diagonal",
        case: |d| {
            let (shape, upper) = (d.shape(2..=4), d.flag());
            let diagonal = d.int(0..=6) as isize - 3;
            Case::new(vec![d.normal(shape)], move |v| match upper {
                true => v[0].triu(diagonal),
                false => v[0].tril(diagonal),
            })
        },
    },
    OpInfo {
        name: "repeat",
        formula: "x several times along each axis",
        case: |d| {
            let shape = d.shape(0..=3);
            let times: Vec<usize> = (0..shape.rank()).map(|_| d.int(0..=3)).collect();
            Case::new(vec![d.normal(shape)], move |v| v[0].repeat(&times))
        },
    },
    OpInfo {
        name: "roll",
        formula: "x moved along an axis",
        case: |d| {
            let shape = d.shape(1..=4);
            let (axis, shift) = (d.int(0..=shape.rank() - 1) as isize, d.int(0..=12) as isize - 6);
            Case::new(vec![d.normal(shape)], move |v| v[0].roll(shift, axis))
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_consecutive() {
        let x = Var::constant(Tensor::new(&[0.0f64, 1.0, 2.0, 3.0, 4.0], [5]));
        let values = |parts: Vec<Var>| -> Vec<Vec<f64>> {
            parts.iter().map(|p| p.value().to_vec()).collect()
        };
        assert_eq!(values(x.split(2, 0)), [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
        // As torch.chunk, which gives fewer parts where they would be empty.
        assert_eq!(values(x.chunk(4, -1)), [vec![0.0, 1.0], vec![2.0, 3.0], vec![4.0]]);
    }
}
