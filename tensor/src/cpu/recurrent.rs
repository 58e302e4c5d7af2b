//! Time steps of recurrent cells, row by row.

use super::{
    float::Float,
    parallel::{GRAIN, for_each_chunk},
};
use crate::{Shape, Tensor, dtype::with_float, layout::Layout, ops::RecurrentCell};

/// Work of one output in elements: about one exponential each.
const WORK: usize = 8;

/// A matrix whose rows are contiguous.
struct Matrix {
    tensor: Tensor,
    stride: usize,
}

impl Matrix {
    fn new(x: &Tensor) -> Self {
        let columns_apart = x.dims()[1] > 1 && x.strides()[1] != 1;
        let tensor = if columns_apart { x.contiguous() } else { x.clone() };
        Matrix { stride: tensor.strides()[0], tensor }
    }

    fn row<T: Float>(&self, i: usize) -> &[T] {
        let start = self.tensor.layout.offset + i * self.stride;
        &self.tensor.storage_slice::<T>()[start..start + self.tensor.dims()[1]]
    }
}

/// Row `i` of the result from row `i` of each operand, all rows in parallel.
fn rows<T: Float>(
    shape: Shape,
    operands: [&Tensor; 3],
    f: impl Fn(&mut [T], [&[T]; 3]) + Sync,
) -> Tensor {
    let matrices = operands.map(Matrix::new);
    Tensor::build::<T>(Layout::contiguous(shape), operands[0].device(), |y| {
        let width = shape[1];
        if y.is_empty() {
            return;
        }
        for_each_chunk(y, width * (GRAIN / (width * WORK)).max(1), |start, y| {
            for (i, y) in y.chunks_mut(width).enumerate() {
                f(y, [0, 1, 2].map(|k| matrices[k].row::<T>(start / width + i)));
            }
        });
    })
}

/// `K` consecutive vectors of length `n`.
#[inline(always)]
fn split<T, const K: usize>(x: &[T], n: usize) -> [&[T]; K] {
    std::array::from_fn(|k| &x[k * n..][..n])
}

/// The same, to be written.
#[inline(always)]
fn split_mut<T, const K: usize>(x: &mut [T], n: usize) -> [&mut [T]; K] {
    let mut parts = x.chunks_exact_mut(n);
    std::array::from_fn(|_| parts.next().expect("K vectors"))
}

#[inline(always)]
fn sigmoid<T: Float>(x: T) -> T {
    // The argument stays negative, so that the exponential cannot overflow.
    let e = (-x.abs()).exp();
    let small = e / (T::ONE + e);
    if x < T::ZERO { small } else { T::ONE - small }
}

pub(super) fn recurrent_step(
    cell: RecurrentCell,
    from_input: &Tensor,
    from_state: &Tensor,
    state: &Tensor,
    shape: Shape,
) -> Tensor {
    let operands = [from_input, from_state, state];
    with_float!("recurrent_step", state.dtype(), T => match cell {
        RecurrentCell::Gru => rows::<T>(shape, operands, gru_row),
        RecurrentCell::Lstm => rows::<T>(shape, operands, lstm_row),
    })
}

pub(super) fn recurrent_step_grad(
    cell: RecurrentCell,
    dstate: &Tensor,
    step: &Tensor,
    state: &Tensor,
    shape: Shape,
) -> Tensor {
    let operands = [dstate, step, state];
    with_float!("recurrent_step_grad", state.dtype(), T => match cell {
        RecurrentCell::Gru => rows::<T>(shape, operands, gru_grad_row),
        RecurrentCell::Lstm => rows::<T>(shape, operands, lstm_grad_row),
    })
}

/// `h', r, z, n, b_n`.
fn gru_row<T: Float>(y: &mut [T], [a, b, h]: [&[T]; 3]) {
    let len = h.len();
    let (a, b) = (split::<T, 3>(a, len), split::<T, 3>(b, len));
    let [new, r, z, n, kept] = split_mut::<T, 5>(y, len);
    for i in 0..len {
        r[i] = sigmoid(a[0][i] + b[0][i]);
        z[i] = sigmoid(a[1][i] + b[1][i]);
        n[i] = (a[2][i] + r[i] * b[2][i]).tanh();
        kept[i] = b[2][i];
        new[i] = n[i] + z[i] * (h[i] - n[i]);
    }
}

/// `da_r, da_z, da_n, db_r, db_z, db_n, dh`.
fn gru_grad_row<T: Float>(y: &mut [T], [dnew, step, h]: [&[T]; 3]) {
    let len = h.len();
    let [_, r, z, n, b] = split::<T, 5>(step, len);
    let [da_r, da_z, da_n, db_r, db_z, db_n, dh] = split_mut::<T, 7>(y, len);
    for i in 0..len {
        let d = dnew[i];
        let inner = d * (T::ONE - z[i]) * (T::ONE - n[i] * n[i]);
        let reset = inner * b[i] * r[i] * (T::ONE - r[i]);
        let update = d * (h[i] - n[i]) * z[i] * (T::ONE - z[i]);
        (da_r[i], db_r[i]) = (reset, reset);
        (da_z[i], db_z[i]) = (update, update);
        (da_n[i], db_n[i]) = (inner, inner * r[i]);
        dh[i] = d * z[i];
    }
}

/// `h', c', i, f, g, o, tanh(c')`.
fn lstm_row<T: Float>(y: &mut [T], [a, b, state]: [&[T]; 3]) {
    let len = state.len() / 2;
    let (a, b, c) = (split::<T, 4>(a, len), split::<T, 4>(b, len), &state[len..]);
    let [h, new, i, f, g, o, squashed] = split_mut::<T, 7>(y, len);
    for k in 0..len {
        i[k] = sigmoid(a[0][k] + b[0][k]);
        f[k] = sigmoid(a[1][k] + b[1][k]);
        g[k] = (a[2][k] + b[2][k]).tanh();
        o[k] = sigmoid(a[3][k] + b[3][k]);
        new[k] = f[k] * c[k] + i[k] * g[k];
        squashed[k] = new[k].tanh();
        h[k] = o[k] * squashed[k];
    }
}

/// `d_i, d_f, d_g, d_o, dh, dc`; the old `h` acts through the gates only.
fn lstm_grad_row<T: Float>(y: &mut [T], [dnew, step, state]: [&[T]; 3]) {
    let len = state.len() / 2;
    let ([dh_new, dc_new], c) = (split::<T, 2>(dnew, len), &state[len..]);
    let [_, _, i, f, g, o, squashed] = split::<T, 7>(step, len);
    let [d_i, d_f, d_g, d_o, dh, dc] = split_mut::<T, 6>(y, len);
    for k in 0..len {
        let d = dc_new[k] + dh_new[k] * o[k] * (T::ONE - squashed[k] * squashed[k]);
        d_i[k] = d * g[k] * i[k] * (T::ONE - i[k]);
        d_f[k] = d * c[k] * f[k] * (T::ONE - f[k]);
        d_g[k] = d * i[k] * (T::ONE - g[k] * g[k]);
        d_o[k] = dh_new[k] * squashed[k] * o[k] * (T::ONE - o[k]);
        dh[k] = T::ZERO;
        dc[k] = d * f[k];
    }
}
