//! [`MultiheadAttention`].

use autograd::{Attention, Var};
use tensor::Shape;

use super::Linear;
use crate::{Context, Forward, Init, Module, Param};

/// Attention in several subspaces at once: `concat_h(softmax(q_h k_h^T / sqrt(E/heads)) v_h) W_o^T + b_o`, with queries, keys
/// and values linear in the inputs.
///
/// Inputs and output `[N, L, E]`. State: `in_proj_weight` `[3E, E]` (queries, keys, values; uniform in
/// `±sqrt(6 / 4E)`), `in_proj_bias` `[3E]` (0), `out_proj.weight` `[E, E]`, `out_proj.bias` `[E]` (0). Source: Vaswani et
/// al. 2017, section 3.2.2; same as `torch.nn.MultiheadAttention(E, heads, batch_first=True)` with keys and values as
/// wide as queries.
#[derive(Module)]
pub struct MultiheadAttention {
    /// `[3E, E]`.
    pub in_proj_weight: Param,
    /// `[3E]`.
    pub in_proj_bias: Param,
    /// From the joined heads to the output.
    pub out_proj: Linear,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    dropout: f64,
}

impl MultiheadAttention {
    /// For vectors of length `embed_dim`, without dropout.
    ///
    /// # Panics
    /// If `embed_dim` is not divisible by `heads`.
    #[track_caller]
    pub fn new(embed_dim: usize, heads: usize) -> Self {
        assert!(
            heads > 0 && embed_dim.is_multiple_of(heads),
            "MultiheadAttention: embed_dim {embed_dim} is not divisible by {heads} heads"
        );
        let bound = (6.0 / (4 * embed_dim) as f64).sqrt();
        let mut out_proj = Linear::new(embed_dim, embed_dim);
        if let Some(bias) = &mut out_proj.bias {
            bias.set_init(Init::Constant(0.0));
        }
        MultiheadAttention {
            in_proj_weight: Param::new(
                [3 * embed_dim, embed_dim],
                Init::Uniform { low: -bound, high: bound },
            ),
            in_proj_bias: Param::new([3 * embed_dim], Init::Constant(0.0)),
            out_proj,
            heads,
            dropout: 0.0,
        }
    }

    /// With dropout of attention weights, in training.
    ///
    /// # Panics
    /// If `p` is not in `0..=1`.
    #[track_caller]
    pub fn with_dropout(mut self, p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "MultiheadAttention: {p} is not a probability");
        self.dropout = p;
        self
    }

    fn embed_dim(&self) -> usize {
        self.in_proj_weight.shape()[1]
    }

    /// Queries `[N, L, E]` attend to keys and values `[N, S, E]`; masks broadcast to `[N, heads, L, S]`.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[track_caller]
    pub fn attend(
        &self,
        [query, key, value]: [&Var; 3],
        options: &Attention<'_>,
        cx: &mut Context,
    ) -> Var {
        let e = self.embed_dim();
        for (name, x) in [("query", query), ("key", key), ("value", value)] {
            assert!(
                x.dims().len() == 3 && x.dims()[2] == e,
                "MultiheadAttention: {name} {} is not [N, L, {e}]",
                x.shape()
            );
        }
        let is_to_itself = std::ptr::eq(query, key) && std::ptr::eq(key, value);
        let operand = |x: &Var| cx.product_operand(x);
        let [query, key, value] = &[query, key, value].map(operand);
        let [weight, bias] =
            [&self.in_proj_weight, &self.in_proj_bias].map(|p| operand(&cx.var(p)));
        let parts = if is_to_itself {
            // Attention to itself: one product for all three.
            let all = query.linear(&weight, Some(&bias));
            [0, 1, 2].map(|i| all.narrow(2, i * e, e))
        } else {
            let part = |i: usize| {
                let x = [query, key, value][i];
                x.linear(&weight.narrow(0, i * e, e), Some(&bias.narrow(0, i * e, e)))
            };
            [0, 1, 2].map(part)
        };
        // [N, heads, L, E / heads]
        let [q, k, v] = parts.map(|x| {
            let [n, len] = [x.dims()[0], x.dims()[1]];
            x.reshape([n, len, self.heads, e / self.heads]).transpose(1, 2)
        });
        let mut weights = q.attention_weights(&k, options);
        if cx.is_training() && self.dropout > 0.0 {
            weights = weights.dropout(self.dropout, &mut cx.next_stream());
        }
        let heads = weights.matmul(&v).transpose(1, 2);
        let joined = heads.reshape([query.dims()[0], query.dims()[1], e]);
        self.out_proj.call(&joined, cx)
    }
}

impl Forward for MultiheadAttention {
    /// Attention of a sequence to itself.
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        self.attend([x, x, x], &Attention::default(), cx)
    }

    fn macs(&self, input: &Shape, _output: &Shape) -> u64 {
        let (tokens, e) = (input[0] * input[1], self.embed_dim());
        // The three projections; scores and weighted sums. out_proj counts its own.
        (tokens * (3 * e * e + 2 * input[1] * e)) as u64
    }
}
