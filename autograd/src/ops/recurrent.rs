//! Sequences through gated recurrent cells: one op for all time steps, so that the weight's gradient is one product.

use tensor::{RecurrentCell, Shape, Tensor};

use super::OpInfo;
use crate::{
    Op, Saved, Saver, Var,
    gradcheck::{Case, Draw},
};

/// The states after each step, `[T, N, states · H]`. Inputs: what the input contributes to the gates, `[T, N, gates · H]`;
/// the first state, `[N, states · H]`; `weight_hh` `[gates · H, H]`; and `bias_hh` `[gates · H]`, if any.
///
/// Derivative: backwards through time, the steps' by [`Tensor::recurrent_step_grad`]. Same as `torch.nn.GRU` and
/// `torch.nn.LSTM` of one layer behind the product of the input.
#[derive(Clone, Debug)]
struct Recurrent {
    cell: RecurrentCell,
}

/// Hidden vectors `from..from + count` of each row.
fn hidden(x: &Tensor, size: usize, from: usize, count: usize) -> Tensor {
    x.narrow(-1, from * size, count * size)
}

/// The same of a variable.
fn hidden_var(x: &Var, size: usize, from: usize, count: usize) -> Var {
    x.narrow(-1, from * size, count * size)
}

impl Op for Recurrent {
    fn name(&self) -> &'static str {
        match self.cell {
            RecurrentCell::Gru => "gru",
            RecurrentCell::Lstm => "lstm",
        }
    }

    fn forward(&self, inputs: &[&Tensor], saver: &mut Saver) -> Tensor {
        let (gates, first, weight, bias) =
            (inputs[0], inputs[1], inputs[2], inputs.get(3).copied());
        let (size, states) = (weight.dims()[1], self.cell.states());
        let mut state = first.clone();
        let mut steps = Vec::with_capacity(gates.dims()[0]);
        for t in 0..gates.dims()[0] {
            let from_state = hidden(&state, size, 0, 1).linear(weight, bias);
            let step = gates.select(0, t).recurrent_step(self.cell, &from_state, &state);
            state = hidden(&step, size, 0, states);
            steps.push(step);
        }
        let steps = Tensor::stack(&steps.iter().collect::<Vec<_>>(), 0);
        let states = hidden(&steps, size, 0, states);
        (0..inputs.len()).for_each(|i| saver.input(i));
        saver.output();
        saver.extra(steps);
        states
    }

    fn backward(&self, saved: &Saved, dy: &Var, wanted: &[bool]) -> Vec<Option<Var>> {
        if saved.create_graph() {
            return self.backward_again(saved, dy);
        }
        let (first, weight) = (saved.tensor(1), saved.tensor(2));
        let (states, steps) = (saved.tensor(saved.len() - 2), saved.tensor(saved.len() - 1));
        let (cell, size) = (self.cell, weight.dims()[1]);
        let gates = cell.gates();
        let transposed = weight.transpose(0, 1);
        let mut dsteps = Vec::with_capacity(steps.dims()[0]);
        let mut dstate: Option<Tensor> = None;
        for t in (0..steps.dims()[0]).rev() {
            let dy = dy.value().select(0, t);
            let total = dstate.map_or(dy.clone(), |later| dy.add(&later));
            let before = if t == 0 { first.clone() } else { states.select(0, t - 1) };
            let dstep = total.recurrent_step_grad(cell, &steps.select(0, t), &before);
            let dgates = hidden(&dstep, size, cell.state_gates_from(), gates);
            let through_gates = dgates.linear(&transposed, None);
            let direct = hidden(&dstep, size, cell.state_from(), 1).add(&through_gates);
            dstate = Some(match cell {
                RecurrentCell::Gru => direct,
                RecurrentCell::Lstm => {
                    Tensor::cat(&[&direct, &hidden(&dstep, size, cell.state_from() + 1, 1)], 1)
                }
            });
            dsteps.push(dstep);
        }
        dsteps.reverse();
        let dsteps = Tensor::stack(&dsteps.iter().collect::<Vec<_>>(), 0);
        let dgates = hidden(&dsteps, size, cell.state_gates_from(), gates);
        let dweight = || {
            let last = states.dims()[0] - 1;
            let before = Tensor::cat(&[&first.unsqueeze(0), &states.narrow(0, 0, last)], 0);
            let rows = before.dims()[0] * before.dims()[1];
            let before = hidden(&before, size, 0, 1).reshape([rows, size]);
            dgates.reshape([rows, gates * size]).transpose(0, 1).matmul(&before)
        };
        let mut gradients = vec![
            wanted[0].then(|| hidden(&dsteps, size, 0, gates)),
            dstate.filter(|_| wanted[1]),
            wanted[2].then(dweight),
        ];
        gradients.extend(wanted.get(3).map(|&w| w.then(|| dgates.sum(&[0, 1], false))));
        gradients.into_iter().map(|g| g.map(Var::constant)).collect()
    }

    fn macs(&self, inputs: &[Shape], output: &Shape) -> u64 {
        (output[0] * output[1] * inputs[2].numel()) as u64
    }
}

impl Recurrent {
    /// The same derivative, written with variables.
    fn backward_again(&self, saved: &Saved, dy: &Var) -> Vec<Option<Var>> {
        let inputs = saved.len() - 2;
        let (gates, first, weight) = (saved.var(0), saved.var(1), saved.var(2));
        let bias = (inputs == 4).then(|| saved.var(3));
        let (states, size) = (saved.var(inputs), weight.dims()[1]);
        let mut dgates = Vec::new();
        let (mut dstate, mut dweight, mut dbias): (Option<Var>, Option<Var>, Option<Var>) =
            Default::default();
        let plus = |sum: Option<Var>, x: Var| Some(sum.map_or(x.clone(), |sum| sum + &x));
        for t in (0..gates.dims()[0]).rev() {
            let total = plus(dstate, dy.select(0, t)).expect("a sum of one or two");
            let before = if t == 0 { first.clone() } else { states.select(0, t - 1) };
            let h = hidden_var(&before, size, 0, 1);
            let operands = Step {
                size,
                from_input: gates.select(0, t),
                from_state: h.linear(&weight, bias.as_ref()),
                state: before,
                dstate: total,
            };
            let (dinput, dgate, direct) = match self.cell {
                RecurrentCell::Gru => operands.gru(),
                RecurrentCell::Lstm => operands.lstm(),
            };
            let dh = dgate.matmul(&weight) + &direct[0];
            dstate = Some(match &direct[1..] {
                [dc] => Var::cat(&[&dh, dc], 1),
                _ => dh,
            });
            dweight = plus(dweight, dgate.transpose(0, 1).matmul(&h));
            dbias = plus(dbias, dgate.sum_axes(&[0], false));
            dgates.push(dinput);
        }
        dgates.reverse();
        let dgates = Var::stack(&dgates.iter().collect::<Vec<_>>(), 0);
        let mut gradients = vec![Some(dgates), dstate, dweight];
        if inputs == 4 {
            gradients.push(dbias);
        }
        gradients
    }
}

/// A time step whose derivative is wanted as variables.
struct Step {
    size: usize,
    from_input: Var,
    from_state: Var,
    state: Var,
    dstate: Var,
}

/// `1 - x`.
fn one_minus(x: &Var) -> Var {
    x.affine(-1.0, 1.0)
}

/// Gradients of the input's and of the state's contributions to the gates, and of each part of the state.
type StepGradient = (Var, Var, Vec<Var>);

impl Step {
    fn part(&self, x: &Var, i: usize) -> Var {
        hidden_var(x, self.size, i, 1)
    }

    fn gate(&self, i: usize) -> Var {
        self.part(&self.from_input, i) + self.part(&self.from_state, i)
    }

    fn gru(&self) -> StepGradient {
        let (r, z) = (self.gate(0).sigmoid(), self.gate(1).sigmoid());
        let b = self.part(&self.from_state, 2);
        let n = (self.part(&self.from_input, 2) + &r * &b).tanh();
        let d = &self.dstate;
        let inner = d * one_minus(&z) * one_minus(&n.square());
        let reset = &inner * &b * &r * one_minus(&r);
        let update = d * (&self.state - &n) * &z * one_minus(&z);
        let dinput = Var::cat(&[&reset, &update, &inner], 1);
        let dgate = Var::cat(&[&reset, &update, &(&inner * &r)], 1);
        (dinput, dgate, vec![d * &z])
    }

    fn lstm(&self) -> StepGradient {
        let [i, f, o] = [0, 1, 3].map(|k| self.gate(k).sigmoid());
        let g = self.gate(2).tanh();
        let c = self.part(&self.state, 1);
        let squashed = (&f * &c + &i * &g).tanh();
        let (dh, dc) = (self.part(&self.dstate, 0), self.part(&self.dstate, 1));
        let d = dc + &dh * &o * one_minus(&squashed.square());
        let gates = [
            &d * &g * &i * one_minus(&i),
            &d * &c * &f * one_minus(&f),
            &d * &i * one_minus(&g.square()),
            &dh * &squashed * &o * one_minus(&o),
        ];
        let dgates = Var::cat(&gates.each_ref(), 1);
        (dgates.clone(), dgates, vec![dh.mul_scalar(0.0), d * &f])
    }
}

impl Var {
    /// The hidden states `[T, N, H]` of a gated recurrent unit after each step, from what the input contributes to its gates
    /// (this variable, `[T, N, 3H]`: `x weight_ih^T + bias_ih`), the first state `[N, H]`, and `weight_hh` `[3H, H]` and
    /// `bias_hh` `[3H]`.
    ///
    /// Gates `r, z, n`: `h' = (1 - z) n + z h`, `n = tanh(a_n + r (W_hn h + b_hn))`. Same as `torch.nn.GRU`.
    ///
    /// # Panics
    /// If shapes do not fit or there is no step.
    #[track_caller]
    pub fn gru(&self, h0: &Var, weight_hh: &Var, bias_hh: Option<&Var>) -> Var {
        self.recurrent(RecurrentCell::Gru, h0, weight_hh, bias_hh)
    }

    /// The states `[T, N, H]`, hidden ones and cells, of a long short-term memory after each step; operands as of
    /// [`gru`](Self::gru) with four gates, and the first cell `c0` `[N, H]`.
    ///
    /// Gates `i, f, g, o`: `c' = f c + i g`, `h' = o tanh(c')`. Same as `torch.nn.LSTM`.
    ///
    /// # Panics
    /// If shapes do not fit or there is no step.
    #[track_caller]
    pub fn lstm(&self, h0: &Var, c0: &Var, weight_hh: &Var, bias_hh: Option<&Var>) -> (Var, Var) {
        let first = Var::cat(&[h0, c0], -1);
        let states = self.recurrent(RecurrentCell::Lstm, &first, weight_hh, bias_hh);
        let size = weight_hh.dims()[1];
        (hidden_var(&states, size, 0, 1), hidden_var(&states, size, 1, 1))
    }

    #[track_caller]
    fn recurrent(&self, cell: RecurrentCell, first: &Var, weight: &Var, bias: Option<&Var>) -> Var {
        let op = Recurrent { cell };
        let name = op.name();
        let &[t, n, width] = self.dims() else {
            panic!("{name}: gates {} do not have the 3 axes of [T, N, gates · H]", self.shape())
        };
        let size = width / cell.gates();
        assert!(t > 0, "{name}: gates {} have no time step", self.shape());
        let given = (weight.dims(), first.dims());
        let expected = ([width, size], [n, cell.states() * size]);
        assert!(
            width == cell.gates() * size && given == (&expected.0[..], &expected.1[..]),
            "{name}: weight_hh {} and first state {} do not fit gates {}, which expect {:?} and {:?}",
            weight.shape(),
            first.shape(),
            self.shape(),
            expected.0,
            expected.1
        );
        let inputs: Vec<&Var> = [self, first, weight].into_iter().chain(bias).collect();
        Var::apply(op, &inputs)
    }
}

pub(super) const INFO: &[OpInfo] = &[
    OpInfo {
        name: "gru",
        formula: "h = (1 - z) n + z h, step by step",
        case: |d| {
            let inputs = draw(d, RecurrentCell::Gru);
            Case::new(inputs, |v| v[0].gru(&v[1], &v[2], v.get(3)))
        },
    },
    OpInfo {
        name: "lstm",
        formula: "h = o tanh(c), c = f c + i g, step by step",
        case: |d| {
            let inputs = draw(d, RecurrentCell::Lstm);
            Case::new(inputs, |v| {
                let size = v[2].dims()[1];
                let (h0, c0) = (hidden_var(&v[1], size, 0, 1), hidden_var(&v[1], size, 1, 1));
                let (h, c) = v[0].lstm(&h0, &c0, &v[2], v.get(3));
                h + c * 0.7
            })
        },
    },
];

/// Gates, first state, weight and perhaps a bias.
fn draw(d: &mut Draw, cell: RecurrentCell) -> Vec<Tensor> {
    let [t, n, size] = [d.len(1..=3, 3..=5), d.len(0..=3, 60..=90), d.len(1..=3, 50..=70)];
    let width = cell.gates() * size;
    let mut inputs =
        vec![d.normal([t, n, width]), d.normal([n, cell.states() * size]), d.normal([width, size])];
    if d.flag() {
        inputs.push(d.normal([width]));
    }
    inputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(
        expected = "gru: weight_hh [9, 3] and first state [2, 4] do not fit gates [1, 2, 12], which expect [12, 4] and [2, 4]"
    )]
    fn a_weight_that_does_not_fit_is_named() {
        let mut d = Draw::new("gru", 0);
        let [gates, h, weight] =
            [d.normal([1, 2, 12]), d.normal([2, 4]), d.normal([9, 3])].map(Var::constant);
        gates.gru(&h, &weight, None);
    }
}
