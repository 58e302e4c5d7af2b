//! Time steps of recurrent cells.

use super::{
    elementwise::float,
    launch::{Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, output},
};
use crate::{DType, RecurrentCell, Shape, Tensor, layout::Layout};

static RECURRENT: Source =
    Source { name: "recurrent", text: include_str!("kernels/recurrent.cu"), options: &[] };

kernels! { RECURRENT;
    any fn step_of(
        a: In, b: In, c: In, y: Out, rows: u32, len: u32, a_step: u64, b_step: u64, c_step: u64,
    );
}

/// The new state and what its derivative needs.
pub(super) fn step(
    cell: RecurrentCell,
    from_input: &Tensor,
    from_state: &Tensor,
    state: &Tensor,
    shape: Shape,
) -> Tensor {
    let kernel = match cell {
        RecurrentCell::Gru => "gru",
        RecurrentCell::Lstm => "lstm",
    };
    run(kernel, cell, [from_input, from_state, state], shape)
}

/// Gradients of the gates and of the old state.
pub(super) fn step_grad(
    cell: RecurrentCell,
    dstate: &Tensor,
    step: &Tensor,
    state: &Tensor,
    shape: Shape,
) -> Tensor {
    let kernel = match cell {
        RecurrentCell::Gru => "gru_grad",
        RecurrentCell::Lstm => "lstm_grad",
    };
    run(kernel, cell, [dstate, step, state], shape)
}

fn run(kernel: &'static str, cell: RecurrentCell, operands: [&Tensor; 3], shape: Shape) -> Tensor {
    let state = operands[2];
    let (gpu, t) = (gpu(state), float("recurrent_step", state.dtype()));
    operands.iter().for_each(|x| _ = input(gpu, x));
    // Columns of a matrix whose rows are not contiguous are gathered first.
    let rows = |x: &Tensor| {
        if x.dims()[1] > 1 && x.strides()[1] != 1 { x.contiguous() } else { x.clone() }
    };
    let operands = operands.map(rows);
    let (y, out) = output(gpu, Layout::contiguous(shape), state.dtype());
    let [a, b, c] = operands.each_ref().map(|x| input(gpu, x));
    let [a_step, b_step, c_step] = operands.each_ref().map(|x| x.strides()[0] as u64);
    let (rows, len) = (shape[0], state.dims()[1] / cell.states());
    let grid = Grid::over(rows * len, 1);
    let (rows, len) = (rows as u32, len as u32);
    // SAFETY: rows of the operands hold as many vectors of `len` elements as the cell has gates and states.
    unsafe { step_of(gpu, &[t], grid, kernel, a, b, c, out, rows, len, a_step, b_step, c_step) };
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    [DType::F32, DType::F64].map(|t| Module::new(&RECURRENT, &[("T", Value::Type(t))])).into()
}
