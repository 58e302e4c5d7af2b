//! The arithmetic of gated recurrent cells: everything of a time step but its matrix products.

use super::check_same;
use crate::{Shape, Tensor};

/// Which cell; the names and the order of the gates are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecurrentCell {
    /// Gated recurrent unit, gates `r, z, n`: `h' = (1 - z) n + z h` with `n = tanh(a_n + r b_n)`, where `a` is what the
    /// input and `b` what the state contributes. State `h`.
    Gru,
    /// Long short-term memory, gates `i, f, g, o`: `c' = f c + i g`, `h' = o tanh(c')`. State `h, c`.
    Lstm,
}

impl RecurrentCell {
    /// Number of gates: 3 or 4.
    pub fn gates(self) -> usize {
        match self {
            RecurrentCell::Gru => 3,
            RecurrentCell::Lstm => 4,
        }
    }

    /// Number of hidden vectors in the state: 1 or 2.
    pub fn states(self) -> usize {
        match self {
            RecurrentCell::Gru => 1,
            RecurrentCell::Lstm => 2,
        }
    }

    /// What a step keeps behind the state for its derivative: the gates and `b_n`, or the gates and `tanh(c')`.
    pub(crate) fn kept(self) -> usize {
        self.gates() + 1
    }

    /// Where in a step's gradient that of the state's contribution begins. An LSTM adds both contributions, so that it is
    /// that of the input's.
    pub fn state_gates_from(self) -> usize {
        match self {
            RecurrentCell::Gru => 3,
            RecurrentCell::Lstm => 0,
        }
    }

    /// Where in a step's gradient that of the state begins; also the number of hidden vectors before it.
    pub fn state_from(self) -> usize {
        match self {
            RecurrentCell::Gru => 6,
            RecurrentCell::Lstm => 4,
        }
    }

    fn name(self) -> &'static str {
        match self {
            RecurrentCell::Gru => "gru",
            RecurrentCell::Lstm => "lstm",
        }
    }

    /// The size of a hidden vector, from the operands of a step or its derivative: a name, the operand, its width.
    #[track_caller]
    fn hidden(self, operands: [(&str, &Tensor, usize); 3]) -> [usize; 2] {
        check_same(self.name(), &operands.map(|(_, t, _)| t));
        let (_, state, states) = operands[2];
        let hidden = state.dims().last().map_or(0, |n| n / states);
        let n = state.dims().first().copied().unwrap_or(0);
        for (name, t, width) in operands {
            assert!(
                t.dims() == [n, width * hidden],
                "{}: {name} {} is not [{n}, {width} · {hidden}], what a state {} asks for",
                self.name(),
                t.shape(),
                state.shape()
            );
        }
        [n, hidden]
    }
}

impl Tensor {
    /// One time step for a batch, from what the input contributes to the gates (`self`, `[N, gates · H]`), what the state
    /// contributes to them (`[N, gates · H]`) and the state `[N, states · H]`.
    ///
    /// The first `states · H` columns of the result are the new state; the others are what the derivative needs.
    ///
    /// # Panics
    /// If shapes do not fit, dtypes or devices differ, or the dtype is no float.
    #[track_caller]
    pub fn recurrent_step(
        &self,
        cell: RecurrentCell,
        from_state: &Tensor,
        state: &Tensor,
    ) -> Tensor {
        let gates = cell.gates();
        let operands = [
            ("input gates", self, gates),
            ("state gates", from_state, gates),
            ("state", state, cell.states()),
        ];
        let [n, hidden] = cell.hidden(operands);
        let shape = Shape::new(&[n, (cell.states() + cell.kept()) * hidden]);
        self.kernels().recurrent_step(cell, self, from_state, state, shape)
    }

    /// The derivative of [`recurrent_step`](Self::recurrent_step) from the gradient of the new state (`self`,
    /// `[N, states · H]`), the step's result and the old state.
    ///
    /// Columns: the gradient of the input's contribution; from [`RecurrentCell::state_gates_from`] hidden vectors on that
    /// of the state's; from [`RecurrentCell::state_from`] on that of the old state.
    ///
    /// # Panics
    /// As [`recurrent_step`](Self::recurrent_step).
    #[track_caller]
    pub fn recurrent_step_grad(
        &self,
        cell: RecurrentCell,
        step: &Tensor,
        state: &Tensor,
    ) -> Tensor {
        let states = cell.states();
        let operands = [
            ("gradient", self, states),
            ("step", step, states + cell.kept()),
            ("state", state, states),
        ];
        let [n, hidden] = cell.hidden(operands);
        let shape = Shape::new(&[n, (cell.state_from() + states) * hidden]);
        self.kernels().recurrent_step_grad(cell, self, step, state, shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Stream};

    fn randn(shape: [usize; 2], stream: &mut Stream) -> Tensor {
        Tensor::randn(shape, DType::F64, Device::Cpu, stream)
    }

    #[test]
    fn a_gru_is_its_formula_for_any_strides() {
        let mut s = Stream::new(1);
        let (a, b, h) = (randn([3, 15], &mut s), randn([3, 15], &mut s), randn([3, 5], &mut s));
        let part = |t: &Tensor, i: usize| t.narrow(1, 5 * i, 5);
        let r = part(&a, 0).add(&part(&b, 0)).sigmoid();
        let z = part(&a, 1).add(&part(&b, 1)).sigmoid();
        let n = part(&a, 2).add(&r.mul(&part(&b, 2))).tanh();
        let want = n.add(&z.mul(&h.sub(&n))).to_f64_vec();
        let turned = |t: &Tensor| t.transpose(0, 1).contiguous().transpose(0, 1);
        for f in [Tensor::clone, turned] {
            let y = f(&a).recurrent_step(RecurrentCell::Gru, &f(&b), &f(&h)).narrow(1, 0, 5);
            for (y, want) in y.to_f64_vec().iter().zip(&want) {
                assert!((y - want).abs() < 1e-14);
            }
        }
    }

    #[test]
    #[should_panic(
        expected = "lstm: input gates [2, 9] is not [2, 4 · 3], what a state [2, 6] asks for"
    )]
    fn gates_must_fit_the_state() {
        let t = |n| Tensor::zeros([2, n], DType::F32, Device::Cpu);
        t(9).recurrent_step(RecurrentCell::Lstm, &t(12), &t(6));
    }
}
