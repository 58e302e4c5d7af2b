//! Choosing, joining and rearranging elements.
//!
//! Indices are I64 and count from 0; a negative index is out of range, as in PyTorch's functions of the same names.

use super::{check_devices, check_same, elementwise::broadcast_shape};
use crate::{
    DType, Shape, Tensor,
    shape::{axis_index, resolve_axes},
};

/// Checks that `index` is I64 and that all its elements are in `0..shape[axis]`.
#[track_caller]
fn check_index(op: &str, index: &Tensor, axis: usize, shape: &Shape) {
    assert!(index.dtype() == DType::I64, "{op}: index has dtype {}, not i64", index.dtype());
    if let Some((at, value)) = index.kernels().first_outside(index, shape[axis]) {
        panic!(
            "{op}: index {value} (element {at} of an index of shape {}) is out of range for axis {axis} of \
             shape {shape}",
            index.shape()
        );
    }
}

impl Tensor {
    /// Tensors one behind the other along `axis`, in the memory order of the first. Like `torch.cat`.
    ///
    /// ```
    /// use tensor::Tensor;
    ///
    /// let (a, b) = (Tensor::new(&[1.0f32, 2.0], [1, 2]), Tensor::new(&[3.0f32, 4.0], [1, 2]));
    /// assert_eq!(Tensor::cat(&[&a, &b], 1).to_vec::<f32>(), [1.0, 2.0, 3.0, 4.0]);
    /// ```
    ///
    /// # Panics
    /// If there is no tensor, shapes differ in another axis than `axis`, or dtypes or devices differ.
    #[track_caller]
    pub fn cat(tensors: &[&Tensor], axis: isize) -> Tensor {
        assert!(!tensors.is_empty(), "cat: no tensors given");
        check_same("cat", tensors);
        let shape = tensors[0].shape();
        let axis = axis_index("cat", axis, &shape);
        for t in tensors {
            assert!(
                t.rank() == shape.rank() && t.shape().with_axis(axis, shape[axis]) == shape,
                "cat: shapes {shape} and {} differ in more than axis {axis}",
                t.shape()
            );
        }
        let length = tensors.iter().map(|t| t.dims()[axis]).sum();
        tensors[0].kernels().cat(tensors, axis, length)
    }

    /// Tensors of one shape along a new axis at `axis` (`-1` puts it last). Like `torch.stack`.
    ///
    /// # Panics
    /// If there is no tensor, or shapes, dtypes or devices differ.
    #[track_caller]
    pub fn stack(tensors: &[&Tensor], axis: isize) -> Tensor {
        assert!(!tensors.is_empty(), "stack: no tensors given");
        for t in tensors {
            let (a, b) = (tensors[0].shape(), t.shape());
            assert!(a == b, "stack: shapes {a} and {b} differ");
        }
        let parts: Vec<Tensor> = tensors.iter().map(|t| t.unsqueeze(axis)).collect();
        Tensor::cat(&parts.iter().collect::<Vec<_>>(), axis)
    }

    /// Slices along `axis` in the order of the vector `index`. Like `torch.index_select`.
    ///
    /// # Panics
    /// If `index` is not an I64 vector or one of its elements is out of range.
    #[track_caller]
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Tensor {
        let axis = axis_index("index_select", axis, &self.shape());
        assert!(
            index.rank() == 1,
            "index_select: index of shape {} is not a vector",
            index.shape()
        );
        check_devices("index_select", &[self, index]);
        check_index("index_select", index, axis, &self.shape());
        self.kernels().index_select(self, axis, index)
    }

    /// Rows of a table `[n, features]` for an index of any shape: `[index.., features]`. Like
    /// `torch.nn.functional.embedding`.
    ///
    /// # Panics
    /// If this is not a matrix, `index` is not I64 or one of its elements is out of range.
    #[track_caller]
    pub fn embedding(&self, index: &Tensor) -> Tensor {
        assert!(self.rank() == 2, "embedding: table of shape {} is not a matrix", self.shape());
        check_devices("embedding", &[self, index]);
        check_index("embedding", index, 0, &self.shape());
        let flat = index.reshape([index.numel()]);
        let rows = self.kernels().index_select(self, 0, &flat);
        rows.reshape([index.dims(), &self.dims()[1..]].concat())
    }

    /// A copy with slice `i` of `src` added to slice `index[i]` of `axis`; the adjoint of
    /// [`index_select`](Self::index_select). Like `torch.index_add`. Sums run in the order of `i`.
    ///
    /// # Panics
    /// If `index` is not an I64 vector, one of its elements is out of range, `src` does not have this shape with
    /// `axis` as long as `index`, or the dtype is no float.
    #[track_caller]
    pub fn index_add(&self, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        let axis = axis_index("index_add", axis, &self.shape());
        check_same("index_add", &[self, src]);
        check_devices("index_add", &[self, index]);
        assert!(index.rank() == 1, "index_add: index of shape {} is not a vector", index.shape());
        let expected = self.shape().with_axis(axis, index.numel());
        assert!(
            src.shape() == expected,
            "index_add: source has shape {}, but shape {} with {} indices along axis {axis} expects {expected}",
            src.shape(),
            self.shape(),
            index.numel()
        );
        check_index("index_add", index, axis, &self.shape());
        self.kernels().index_add(self, axis, index, src)
    }

    /// `y[.., i, ..] = x[.., index[.., i, ..], ..]` with `i` along `axis`; the result has the shape of `index`. Like
    /// `torch.gather`.
    ///
    /// # Panics
    /// If `index` is not I64, has another number of axes or is longer along another axis than `axis`, or one of its
    /// elements is out of range.
    #[track_caller]
    pub fn gather(&self, axis: isize, index: &Tensor) -> Tensor {
        let axis = self.check_lines("gather", axis, index);
        self.kernels().gather(self, axis, index)
    }

    /// A copy with `src[.., i, ..]` added at `[.., index[.., i, ..], ..]`; the adjoint of [`gather`](Self::gather).
    /// Like `torch.scatter_add`, with `src` of the shape of `index`. Sums run in row-major order.
    ///
    /// # Panics
    /// As [`gather`](Self::gather), and if shapes of `src` and `index` differ or the dtype is no float.
    #[track_caller]
    pub fn scatter_add(&self, axis: isize, index: &Tensor, src: &Tensor) -> Tensor {
        check_same("scatter_add", &[self, src]);
        assert!(
            src.shape() == index.shape(),
            "scatter_add: source of shape {} and index of shape {} differ",
            src.shape(),
            index.shape()
        );
        let axis = self.check_lines("scatter_add", axis, index);
        self.kernels().scatter_add(self, axis, index, src)
    }

    #[track_caller]
    fn check_lines(&self, op: &str, axis: isize, index: &Tensor) -> usize {
        let axis = axis_index(op, axis, &self.shape());
        let fits = index.rank() == self.rank()
            && (0..self.rank()).all(|a| a == axis || index.dims()[a] <= self.dims()[a]);
        assert!(
            fits,
            "{op}: index of shape {} does not fit into shape {} beside axis {axis}",
            index.shape(),
            self.shape()
        );
        check_devices(op, &[self, index]);
        check_index(op, index, axis, &self.shape());
        axis
    }

    /// 1 where the last axis equals the index, else 0: shape `[index.., classes]`. Like
    /// `torch.nn.functional.one_hot`, in a dtype of choice.
    ///
    /// # Panics
    /// If this tensor is not I64 or one of its elements is not in `0..classes`.
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Tensor {
        check_index("one_hot", self, 0, &[classes].into());
        self.unsqueeze(-1).eq(&Tensor::arange(classes, self.device())).to_dtype(dtype)
    }

    /// Elements in reverse order along `axes` (a copy). Like `torch.flip`.
    ///
    /// # Panics
    /// If an axis does not exist or occurs twice.
    #[track_caller]
    pub fn flip(&self, axes: &[isize]) -> Tensor {
        let axes = resolve_axes("flip", axes, &self.shape());
        self.kernels().flip(self, &axes)
    }

    /// `a` where this U8 condition is not 0, else `b`; all three broadcast. Like `torch.where`.
    ///
    /// # Panics
    /// If the condition is not U8, shapes do not broadcast, or dtypes of `a` and `b` or devices differ.
    #[track_caller]
    pub fn where_(&self, a: &Tensor, b: &Tensor) -> Tensor {
        assert!(
            self.dtype() == DType::U8,
            "where: the condition has dtype {}, not u8",
            self.dtype()
        );
        check_same("where", &[a, b]);
        check_devices("where", &[self, a]);
        let shape = broadcast_shape("where", &a.shape(), &b.shape());
        let shape = broadcast_shape("where", &self.shape(), &shape);
        a.kernels().where_(self, a, b, shape)
    }

    /// `value` where `mask` (U8) is not 0, else the element; the mask broadcasts. Like `torch.masked_fill`.
    ///
    /// # Panics
    /// If the mask is not U8 or does not broadcast to this shape.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Tensor, value: f64) -> Tensor {
        assert!(
            mask.shape().broadcast(&self.shape()) == Some(self.shape()),
            "masked_fill: mask of shape {} does not broadcast to {}",
            mask.shape(),
            self.shape()
        );
        mask.where_(&Tensor::full(value, [], self.dtype(), self.device()), self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Device, Stream};

    fn randn(dims: &[usize], s: &mut Stream) -> Tensor {
        Tensor::randn(dims, DType::F64, Device::Cpu, s)
    }

    fn indices(n: usize, below: usize, s: &mut Stream) -> Tensor {
        let v: Vec<i64> = (0..n).map(|_| s.below(below as u64) as i64).collect();
        Tensor::new(&v, [n])
    }

    /// Contiguous, axes reversed in memory, or with gaps.
    fn forms(x: &Tensor) -> [Tensor; 3] {
        let reversed: Vec<usize> = (0..x.rank()).rev().collect();
        let twice = Tensor::stack(&[x, x], -1);
        [x.clone(), x.permute(&reversed).contiguous().permute(&reversed), twice.select(-1, 1)]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cat_and_narrow_are_inverse(
            dims in prop::collection::vec(0usize..5, 1..4),
            lens in prop::collection::vec(0usize..4, 1..4),
            axis in 0usize..4,
            seed: u64,
        ) {
            let (mut s, axis) = (Stream::new(seed), axis % dims.len());
            let part = |&n: &usize| randn(&Shape::new(&dims).with_axis(axis, n), &mut s);
            let parts: Vec<Tensor> = lens.iter().map(part).collect();
            for form in 0..3 {
                let inputs: Vec<Tensor> = parts.iter().map(|p| forms(p)[form].clone()).collect();
                let y = Tensor::cat(&inputs.iter().collect::<Vec<_>>(), axis as isize);
                let mut start = 0;
                for p in &parts {
                    let n = p.dims()[axis];
                    prop_assert_eq!(y.narrow(axis as isize, start, n).to_f64_vec(), p.to_f64_vec());
                    start += n;
                }
            }
        }

        #[test]
        fn select_add_gather_scatter_agree_with_one_hot_products(
            dims in prop::collection::vec(1usize..5, 2..4),
            axis in 0usize..3,
            n in 0usize..6,
            seed: u64,
        ) {
            let (mut s, axis) = (Stream::new(seed), axis % dims.len());
            let a = axis as isize;
            let x = randn(&dims, &mut s);
            let index = indices(n, dims[axis], &mut s);
            let pick = index.one_hot(dims[axis], DType::F64); // [n, len]
            let wide = x.transpose(a, -1).unsqueeze(-2); // [.., 1, len], axis last
            let want = wide.mul(&pick).sum(&[-1], false).transpose(a, -1);
            let src = randn(&Shape::new(&dims).with_axis(axis, n), &mut s);
            let back = src.transpose(a, -1).unsqueeze(-1).mul(&pick).sum(&[-2], false);
            let added = x.add(&back.transpose(a, -1));
            let grid = index.reshape(Shape::new(&vec![1; dims.len()]).with_axis(axis, n));
            let grid = grid.broadcast_to(Shape::new(&dims).with_axis(axis, n));
            for (x, src) in forms(&x).iter().zip(forms(&src)) {
                prop_assert_eq!(x.index_select(a, &index).to_f64_vec(), want.to_f64_vec());
                prop_assert_eq!(x.gather(a, &grid).to_f64_vec(), want.to_f64_vec());
                for y in [x.index_add(a, &index, &src), x.scatter_add(a, &grid, &src)] {
                    for (g, w) in y.to_f64_vec().iter().zip(added.to_f64_vec()) {
                        prop_assert!((g - w).abs() < 1e-12);
                    }
                }
            }
        }

        #[test]
        fn flip_reverses_each_axis(dims in prop::collection::vec(0usize..5, 0..4), mask in 0usize..16, seed: u64) {
            let axes: Vec<isize> =
                (0..dims.len()).filter(|a| mask >> a & 1 == 1).map(|a| a as isize).collect();
            let x = randn(&dims, &mut Stream::new(seed));
            let mut want = x.clone();
            for &a in &axes {
                let n = want.dim(a);
                let back: Vec<i64> = (0..n as i64).rev().collect();
                want = want.index_select(a, &Tensor::new(&back, [n]));
            }
            for x in if dims.is_empty() { vec![x] } else { forms(&x).to_vec() } {
                prop_assert_eq!(x.flip(&axes).to_f64_vec(), want.to_f64_vec());
            }
        }
    }

    #[test]
    fn where_broadcasts_all_three() {
        let c = Tensor::new(&[1u8, 0, 0, 1], [2, 1, 2]);
        let (a, b) = (Tensor::new(&[1i64, 2, 3], [3, 1]), Tensor::new(&[-1i64], []));
        let y = c.where_(&a, &b);
        assert_eq!(y.dims(), [2, 3, 2]);
        assert_eq!(y.to_vec::<i64>(), [1, -1, 2, -1, 3, -1, -1, 1, -1, 2, -1, 3]);
        let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]).transpose(0, 1);
        let y = x.masked_fill(&Tensor::new(&[0u8, 1], [2]), 9.0);
        assert_eq!(y.to_vec::<f32>(), [1.0, 9.0, 2.0, 9.0]);
        assert_eq!(y.strides(), x.strides());
    }

    #[test]
    fn embedding_and_one_hot_have_the_index_shape() {
        let table = Tensor::new(&[0.0f32, 1.0, 10.0, 11.0], [2, 2]);
        let index = Tensor::new(&[1i64, 0, 1], [3, 1]);
        assert_eq!(table.embedding(&index).to_vec::<f32>(), [10.0, 11.0, 0.0, 1.0, 10.0, 11.0]);
        assert_eq!(table.embedding(&index).dims(), [3, 1, 2]);
        let hot = index.one_hot(2, DType::U8);
        assert_eq!((hot.dims(), hot.to_vec::<u8>()), (&[3, 1, 2][..], vec![0, 1, 1, 0, 0, 1]));
    }

    #[test]
    fn channels_last_is_kept_by_cat() {
        let x = randn(&[2, 3, 4, 5], &mut Stream::new(1)).channels_last();
        assert!(Tensor::cat(&[&x, &x], 1).is_channels_last());
    }

    #[test]
    #[should_panic(
        expected = "gather: index 3 (element 1 of an index of shape [1, 2]) is out of range for axis 1 of shape [2, 3]"
    )]
    fn an_index_out_of_range_is_named() {
        let x = Tensor::zeros([2, 3], DType::F32, Device::Cpu);
        x.gather(1, &Tensor::new(&[0i64, 3], [1, 2]));
    }

    #[test]
    #[should_panic(expected = "index -1 (element 0")]
    fn negative_indices_are_out_of_range() {
        let x = Tensor::zeros([2, 3], DType::F32, Device::Cpu);
        x.index_select(0, &Tensor::new(&[-1i64], [1]));
    }
}
