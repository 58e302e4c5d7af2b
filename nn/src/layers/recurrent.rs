//! Recurrent layers: [`Gru`], [`Lstm`] and their cells.

use autograd::Var;
use tensor::{RecurrentCell, Shape, Tensor};

use crate::{
    Context, Forward, Init, Module, Param,
    module::{Child, ChildMut, Field},
};

/// The options of [`Gru`] and [`Lstm`]; the defaults are PyTorch's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecurrentOptions {
    /// Layers one above the other. Default 1.
    pub num_layers: usize,
    /// Whether there are biases. Default true.
    pub bias: bool,
    /// Whether sequences are `[N, T, …]` instead of `[T, N, …]`. Default false.
    pub batch_first: bool,
    /// Probability of a zero in what a layer but the last hands on, in training. Default 0.
    pub dropout: f64,
    /// Whether each layer also runs backwards through time, beside its forward run. Default false.
    pub bidirectional: bool,
}

impl Default for RecurrentOptions {
    fn default() -> Self {
        let (num_layers, bias, batch_first) = (1, true, false);
        RecurrentOptions { num_layers, bias, batch_first, dropout: 0.0, bidirectional: false }
    }
}

/// The parameters of one layer in one direction.
struct Weights {
    /// What PyTorch appends to their names.
    suffix: String,
    /// `[gates · H, I]`.
    weight_ih: Param,
    /// `[gates · H, H]`.
    weight_hh: Param,
    /// `[gates · H]`.
    bias_ih: Option<Param>,
    /// `[gates · H]`.
    bias_hh: Option<Param>,
}

impl Weights {
    fn new(cell: RecurrentCell, input: usize, hidden: usize, bias: bool, suffix: String) -> Self {
        let gates = cell.gates() * hidden;
        let param = |shape: Shape| Param::new(shape, Init::fan_in_uniform(hidden));
        let vector = || bias.then(|| param([gates].into()));
        Weights {
            suffix,
            weight_ih: param([gates, input].into()),
            weight_hh: param([gates, hidden].into()),
            bias_ih: vector(),
            bias_hh: vector(),
        }
    }

    fn hidden_size(&self) -> usize {
        self.weight_hh.shape()[1]
    }

    /// The states after each step of `x` `[T, N, I]` from the first one `[N, H]`, and the cells of an LSTM.
    fn run(
        &self,
        cell: RecurrentCell,
        x: &Var,
        first: [Var; 2],
        cx: &Context,
    ) -> (Var, Option<Var>) {
        let [bias_ih, bias_hh] =
            [&self.bias_ih, &self.bias_hh].map(|b| b.as_ref().map(|b| cx.var(b)));
        let gates = x.linear(&cx.var(&self.weight_ih), bias_ih.as_ref());
        let (weight, [h0, c0]) = (cx.var(&self.weight_hh), first);
        match cell {
            RecurrentCell::Gru => (gates.gru(&h0, &weight, bias_hh.as_ref()), None),
            RecurrentCell::Lstm => {
                let (h, c) = gates.lstm(&h0, &c0, &weight, bias_hh.as_ref());
                (h, Some(c))
            }
        }
    }

    /// One step from `x` `[N, I]`.
    fn step(
        &self,
        cell: RecurrentCell,
        x: &Var,
        first: [Var; 2],
        cx: &Context,
    ) -> (Var, Option<Var>) {
        let (h, c) = self.run(cell, &x.unsqueeze(0), first, cx);
        (h.squeeze(0), c.map(|c| c.squeeze(0)))
    }

    /// Multiply-accumulates of one step of one sample.
    fn macs(&self) -> usize {
        self.weight_ih.shape().numel() + self.weight_hh.shape().numel()
    }
}

impl Field for Weights {
    fn collect<'a>(&'a self, _name: &str, out: &mut Vec<(String, Child<'a>)>) {
        let suffix = &self.suffix;
        self.weight_ih.collect(&format!("weight_ih{suffix}"), out);
        self.weight_hh.collect(&format!("weight_hh{suffix}"), out);
        self.bias_ih.collect(&format!("bias_ih{suffix}"), out);
        self.bias_hh.collect(&format!("bias_hh{suffix}"), out);
    }
    fn collect_mut<'a>(&'a mut self, _name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        let suffix = &self.suffix;
        self.weight_ih.collect_mut(&format!("weight_ih{suffix}"), out);
        self.weight_hh.collect_mut(&format!("weight_hh{suffix}"), out);
        self.bias_ih.collect_mut(&format!("bias_ih{suffix}"), out);
        self.bias_hh.collect_mut(&format!("bias_hh{suffix}"), out);
    }
}

/// Zeros `[N, H]` like `x`.
fn zeros(x: &Var, n: usize, hidden: usize) -> Var {
    Var::constant(Tensor::zeros([n, hidden], x.dtype(), x.value().device()))
}

/// All layers of a [`Gru`] or [`Lstm`].
struct Stack {
    name: &'static str,
    cell: RecurrentCell,
    /// By layer, then forwards and backwards.
    weights: Vec<Weights>,
    options: RecurrentOptions,
}

/// The outputs and, per layer and direction, the last state and cell: `[layers · directions, N, H]`.
type Ran = (Var, Var, Option<Var>);

impl Stack {
    #[track_caller]
    fn new(
        name: &'static str,
        cell: RecurrentCell,
        [input, hidden]: [usize; 2],
        options: RecurrentOptions,
    ) -> Self {
        assert!(
            hidden > 0 && options.num_layers > 0,
            "{name}: {} layers of {hidden} hidden units compute nothing",
            options.num_layers
        );
        assert!(
            (0.0..=1.0).contains(&options.dropout),
            "{name}: dropout {} is not a probability",
            options.dropout
        );
        let directions: &[&str] = if options.bidirectional { &["", "_reverse"] } else { &[""] };
        let mut weights = Vec::new();
        for layer in 0..options.num_layers {
            let input = if layer == 0 { input } else { directions.len() * hidden };
            for direction in directions {
                let suffix = format!("_l{layer}{direction}");
                weights.push(Weights::new(cell, input, hidden, options.bias, suffix));
            }
        }
        Stack { name, cell, weights, options }
    }

    #[track_caller]
    fn run(&self, x: &Var, first: [Option<&Var>; 2], cx: &mut Context) -> Ran {
        let time_first =
            |x: &Var| if self.options.batch_first { x.transpose(0, 1) } else { x.clone() };
        let (hidden, input) = (self.weights[0].hidden_size(), self.weights[0].weight_ih.shape()[1]);
        assert!(
            x.dims().len() == 3 && x.dims()[2] == input,
            "{}: input {} is not {}",
            self.name,
            x.shape(),
            if self.options.batch_first {
                format!("[N, T, {input}]")
            } else {
                format!("[T, N, {input}]")
            }
        );
        let mut y = time_first(x);
        let n = y.dims()[1];
        let expected = [self.weights.len(), n, hidden];
        for state in first.iter().flatten() {
            assert!(
                state.dims() == expected,
                "{}: first state {} is not {expected:?}, one for each layer, direction and sample",
                self.name,
                state.shape()
            );
        }
        let first =
            |k: usize| first.map(|s| s.map_or_else(|| zeros(x, n, hidden), |s| s.select(0, k)));
        let directions = self.weights.len() / self.options.num_layers;
        let (mut last_h, mut last_c) = (Vec::new(), Vec::new());
        for (layer, weights) in self.weights.chunks(directions).enumerate() {
            if layer > 0 && self.options.dropout > 0.0 && cx.is_training() {
                y = y.dropout(self.options.dropout, &mut cx.next_stream());
            }
            let mut outputs = Vec::new();
            for (direction, weights) in weights.iter().enumerate() {
                let backwards = |v: &Var| if direction == 1 { v.flip(&[0]) } else { v.clone() };
                let k = layer * directions + direction;
                let (h, c) = weights.run(self.cell, &backwards(&y), first(k), cx);
                last_h.push(h.narrow(0, h.dims()[0] - 1, 1));
                last_c.extend(c.map(|c| c.narrow(0, c.dims()[0] - 1, 1)));
                outputs.push(backwards(&h));
            }
            y = match &outputs[..] {
                [one] => one.clone(),
                several => Var::cat(&several.iter().collect::<Vec<_>>(), 2),
            };
        }
        let join = |states: &[Var]| Var::cat(&states.iter().collect::<Vec<_>>(), 0);
        let cells = (!last_c.is_empty()).then(|| join(&last_c));
        (time_first(&y), join(&last_h), cells)
    }

    fn macs(&self, output: &Shape) -> u64 {
        let per_step: usize = self.weights.iter().map(Weights::macs).sum();
        (output[0] * output[1] * per_step) as u64
    }
}

impl Field for Stack {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        self.weights.iter().for_each(|w| w.collect(name, out));
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        self.weights.iter_mut().for_each(|w| w.collect_mut(name, out));
    }
}

/// Gated recurrent units over sequences: `h' = (1 - z) n + z h` with
/// `r, z = σ(W_i x + b_i + W_h h + b_h)` and `n = tanh(W_in x + b_in + r (W_hn h + b_hn))`.
///
/// Input `[T, N, I]`, output `[T, N, H]` (`[N, T, …]` with `batch_first`; `2H` if bidirectional): the states of the last
/// layer after each step. State: `weight_ih_l0` `[3H, I]`, `weight_hh_l0` `[3H, H]`, `bias_ih_l0`, `bias_hh_l0` `[3H]`,
/// then `…_l0_reverse`, `…_l1`, … , gates in the order r, z, n, all uniform in `±1/sqrt(H)` at the start. Same as
/// `torch.nn.GRU`.
#[derive(Module)]
pub struct Gru {
    #[module(flatten)]
    stack: Stack,
}

impl Gru {
    /// One layer, time first.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self::with_options(input_size, hidden_size, RecurrentOptions::default())
    }

    /// With other options.
    ///
    /// # Panics
    /// If there are no layers or hidden units, or the dropout is no probability.
    #[track_caller]
    pub fn with_options(input_size: usize, hidden_size: usize, options: RecurrentOptions) -> Self {
        let sizes = [input_size, hidden_size];
        Gru { stack: Stack::new("Gru", RecurrentCell::Gru, sizes, options) }
    }

    /// The output, and the last state of each layer and direction `[layers · directions, N, H]`, from the first states
    /// of that shape (zeros if `None`).
    ///
    /// # Panics
    /// If shapes do not fit or there is no time step.
    #[track_caller]
    pub fn run(&self, x: &Var, h0: Option<&Var>, cx: &mut Context) -> (Var, Var) {
        let (y, h, _) = self.stack.run(x, [h0, None], cx);
        (y, h)
    }
}

impl Forward for Gru {
    /// From zeros; the last states are dropped.
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.run(x, None, cx).0
    }

    fn macs(&self, _input: &Shape, output: &Shape) -> u64 {
        self.stack.macs(output)
    }
}

/// Long short-term memory over sequences: `c' = f c + i g`, `h' = o tanh(c')` with
/// `i, f, o = σ(W_i x + b_i + W_h h + b_h)` and `g` the same with tanh.
///
/// Shapes, names and starting values as [`Gru`], with four gates in the order i, f, g, o. Same as `torch.nn.LSTM`
/// without projections.
#[derive(Module)]
pub struct Lstm {
    #[module(flatten)]
    stack: Stack,
}

impl Lstm {
    /// One layer, time first.
    #[track_caller]
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        Self::with_options(input_size, hidden_size, RecurrentOptions::default())
    }

    /// With other options.
    ///
    /// # Panics
    /// As [`Gru::with_options`].
    #[track_caller]
    pub fn with_options(input_size: usize, hidden_size: usize, options: RecurrentOptions) -> Self {
        let sizes = [input_size, hidden_size];
        Lstm { stack: Stack::new("Lstm", RecurrentCell::Lstm, sizes, options) }
    }

    /// The output, and the last states and cells, from the first ones (zeros if `None`); shapes as of [`Gru::run`].
    ///
    /// # Panics
    /// If shapes do not fit or there is no time step.
    #[track_caller]
    pub fn run(&self, x: &Var, first: Option<(&Var, &Var)>, cx: &mut Context) -> (Var, (Var, Var)) {
        let (y, h, c) = self.stack.run(x, [first.map(|f| f.0), first.map(|f| f.1)], cx);
        (y, (h, c.expect("an LSTM has cells")))
    }
}

impl Forward for Lstm {
    /// From zeros; the last states are dropped.
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.run(x, None, cx).0
    }

    fn macs(&self, _input: &Shape, output: &Shape) -> u64 {
        self.stack.macs(output)
    }
}

/// One step of a [`Gru`]. State: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`. Same as `torch.nn.GRUCell`.
#[derive(Module)]
pub struct GruCell {
    #[module(flatten)]
    weights: Weights,
}

impl GruCell {
    /// With biases.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let weights =
            Weights::new(RecurrentCell::Gru, input_size, hidden_size, true, String::new());
        GruCell { weights }
    }

    /// The state `[N, H]` after the input `[N, I]`, from the one before it.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[track_caller]
    pub fn step(&self, x: &Var, h: &Var, cx: &Context) -> Var {
        self.weights.step(RecurrentCell::Gru, x, [h.clone(), h.clone()], cx).0
    }
}

/// One step of an [`Lstm`]. State: `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`. Same as `torch.nn.LSTMCell`.
#[derive(Module)]
pub struct LstmCell {
    #[module(flatten)]
    weights: Weights,
}

impl LstmCell {
    /// With biases.
    pub fn new(input_size: usize, hidden_size: usize) -> Self {
        let weights =
            Weights::new(RecurrentCell::Lstm, input_size, hidden_size, true, String::new());
        LstmCell { weights }
    }

    /// The state and the cell, each `[N, H]`, after the input `[N, I]`, from those before it.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[track_caller]
    pub fn step(&self, x: &Var, (h, c): (&Var, &Var), cx: &Context) -> (Var, Var) {
        let (h, c) = self.weights.step(RecurrentCell::Lstm, x, [h.clone(), c.clone()], cx);
        (h, c.expect("an LSTM has cells"))
    }
}
