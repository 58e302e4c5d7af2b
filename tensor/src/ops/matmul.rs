//! Matrix products with PyTorch's rules for vectors and batches.

use super::check_same;
use crate::{Shape, Tensor};

/// The shape of `a · b` for operands of at least two axes, or `None` where they do not fit.
fn matmul_shape(a: &Shape, b: &Shape) -> Option<Shape> {
    let ([a_batch @ .., m, k], [b_batch @ .., rows, n]) = (&a[..], &b[..]) else { return None };
    let batch = Shape::new(a_batch).broadcast(&Shape::new(b_batch))?;
    (k == rows).then(|| Shape::from([&batch[..], &[*m, *n]].concat()))
}

impl Tensor {
    /// Matrix product `self · other`. Like `torch.matmul`.
    ///
    /// The last two axes are the matrices `[m, k]` and `[k, n]`, axes before them are batches and broadcast. A vector on
    /// the left is a row, on the right a column, and its axis is missing in the result. Transposed and other strided
    /// operands are read where they lie. f32 or f64.
    ///
    /// ```
    /// use tensor::Tensor;
    ///
    /// let a = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0], [2, 2]);
    /// let x = Tensor::new(&[1.0f32, 10.0], [2]);
    /// assert_eq!(a.matmul(&x).to_vec::<f32>(), [21.0, 43.0]);
    /// assert_eq!(a.transpose(0, 1).matmul(&x).to_vec::<f32>(), [31.0, 42.0]);
    /// ```
    ///
    /// # Panics
    /// If an operand is a scalar, the inner lengths differ, the batch axes do not broadcast, or dtypes or devices differ
    /// or are not f32 or f64.
    #[track_caller]
    pub fn matmul(&self, other: &Tensor) -> Tensor {
        check_same("matmul", &[self, other]);
        assert!(
            self.rank() > 0 && other.rank() > 0,
            "matmul: shapes {} and {} must have at least one axis",
            self.shape(),
            other.shape()
        );
        let a = if self.rank() == 1 { self.unsqueeze(0) } else { self.clone() };
        let b = if other.rank() == 1 { other.unsqueeze(1) } else { other.clone() };
        let shape = matmul_shape(&a.shape(), &b.shape()).unwrap_or_else(|| {
            panic!(
                "matmul: shapes {} and {} do not fit; the last axis of the first must be as long as the \
                 last but one of the second, and batch axes must broadcast",
                self.shape(),
                other.shape()
            )
        });
        let y = product(&a, &b, shape);
        let y = if self.rank() == 1 { y.squeeze(-2) } else { y };
        if other.rank() == 1 { y.squeeze(-1) } else { y }
    }

    /// Products of `[batch, m, k]` and `[batch, k, n]`. Like `torch.bmm`: [`matmul`](Self::matmul) without broadcasting.
    ///
    /// # Panics
    /// If the operands do not have three axes each, the batch or inner lengths differ, or dtypes or devices differ or
    /// are not f32 or f64.
    #[track_caller]
    pub fn bmm(&self, other: &Tensor) -> Tensor {
        assert!(
            self.rank() == 3 && other.rank() == 3 && self.dims()[0] == other.dims()[0],
            "bmm: shapes {} and {} are not [batch, m, k] and [batch, k, n]",
            self.shape(),
            other.shape()
        );
        self.matmul(other)
    }
}

fn product(a: &Tensor, b: &Tensor, shape: Shape) -> Tensor {
    let rank = shape.rank();
    let (m, k, n) = (shape[rank - 2], a.dims()[a.rank() - 1], shape[rank - 1]);
    // One matrix for every batch of rows (a linear layer): all rows are one product.
    if b.rank() == 2 && a.rank() > 2 {
        let rows: usize = a.dims()[..a.rank() - 1].iter().product();
        if let Some(flat) = a.layout.reshape([rows, k].into()) {
            let y = a.kernels().matmul(&a.view(flat), b, [rows, n].into());
            return y.reshape(shape);
        }
    }
    let full =
        |t: &Tensor, matrix: [usize; 2]| t.broadcast_to([&shape[..rank - 2], &matrix].concat());
    a.kernels().matmul(&full(a, [m, k]), &full(b, [k, n]), shape)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{DType, Device, Stream};

    fn randn(shape: &[usize], stream: &mut Stream) -> Tensor {
        Tensor::randn(shape, DType::F64, Device::Cpu, stream)
    }

    /// `sum_k a[.., m, k, 1] * b[.., 1, k, n]`.
    fn naive(a: &Tensor, b: &Tensor) -> Tensor {
        a.unsqueeze(-1).mul(&b.unsqueeze(-3)).sum(&[-2], false)
    }

    fn assert_close(got: &Tensor, want: &Tensor) {
        assert_eq!(got.dims(), want.dims());
        for (g, w) in got.to_f64_vec().iter().zip(want.to_f64_vec()) {
            assert!((g - w).abs() < 1e-10, "{g}, not {w}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn batches_broadcast_and_any_strides_do(
            batch in prop::collection::vec(0usize..4, 0..3),
            a_ones in 0usize..4,
            b_ones in 0usize..4,
            (m, k, n) in (0usize..7, 0usize..7, 0usize..7),
            kinds in (0usize..3, 0usize..3),
            seed: u64,
        ) {
            let mut stream = Stream::new(seed);
            let mut operand = |ones: usize, kind: usize, rows: usize, columns: usize| {
                let mut dims: Vec<usize> = batch.clone();
                for (i, d) in dims.iter_mut().enumerate() {
                    if ones >> i & 1 == 1 {
                        *d = 1;
                    }
                }
                match kind {
                    0 => randn(&[&dims[..], &[rows, columns]].concat(), &mut stream),
                    1 => randn(&[&dims[..], &[columns, rows]].concat(), &mut stream).transpose(-1, -2),
                    _ => randn(&[&[rows][..], &dims, &[1]].concat(), &mut stream)
                        .permute(&(1..=dims.len()).chain([0, dims.len() + 1]).collect::<Vec<_>>())
                        .broadcast_to([&dims[..], &[rows, columns]].concat()),
                }
            };
            let (a, b) = (operand(a_ones, kinds.0, m, k), operand(b_ones, kinds.1, k, n));
            assert_close(&a.matmul(&b), &naive(&a, &b));
        }
    }

    #[test]
    fn vectors_lose_their_axis() {
        let mut s = Stream::new(1);
        let (a, b, v) = (randn(&[3, 5, 2], &mut s), randn(&[2], &mut s), randn(&[2, 4], &mut s));
        assert_close(&a.matmul(&b), &a.mul(&b).sum(&[-1], false));
        assert_close(&b.matmul(&v), &b.unsqueeze(1).mul(&v).sum(&[0], false));
        assert_close(&b.matmul(&b), &b.square().sum_all());
        assert_eq!(a.matmul(&v).dims(), [3, 5, 4]);
    }

    #[test]
    fn attention_shaped_products_of_permuted_heads() {
        let mut s = Stream::new(2);
        let heads = |s: &mut Stream| randn(&[2, 40, 3, 33], s).permute(&[0, 2, 1, 3]);
        let (q, k) = (heads(&mut s), heads(&mut s));
        assert_close(&q.matmul(&k.transpose(-1, -2)), &naive(&q, &k.transpose(-1, -2)));
    }

    #[test]
    #[should_panic(expected = "matmul: shapes [2, 3] and [4, 5] do not fit")]
    fn inner_lengths_must_agree() {
        let mut s = Stream::new(1);
        randn(&[2, 3], &mut s).matmul(&randn(&[4, 5], &mut s));
    }
}
