//! Attention, in terms of other ops.

use tensor::{DType, Tensor};

use super::OpInfo;
use crate::{Var, gradcheck::Case};

/// Which keys a query sees, and how strongly.
#[derive(Clone, Debug, Default)]
pub struct Attention<'a> {
    /// `[.., L, S]` or what broadcasts to it: `U8`, 0 where a key is not seen; or floats that are added to the scores.
    pub mask: Option<&'a Tensor>,
    /// Whether query `i` sees keys `0..=i` only. Default false.
    pub causal: bool,
    /// What products of queries and keys are multiplied by. Default `1 / sqrt(E)`.
    pub scale: Option<f64>,
}

impl Var {
    /// The weights with which each query `[.., L, E]` (this variable) attends to each key `[.., S, E]`: `[.., L, S]`,
    /// `softmax(scale q k^T + mask)`.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[track_caller]
    pub fn attention_weights(&self, key: &Var, options: &Attention<'_>) -> Var {
        let width = self.dims().last().copied().unwrap_or(0);
        let fits = self.dims().len() >= 2 && key.dims().last() == Some(&width);
        assert!(
            fits && self.dims().len() == key.dims().len(),
            "scaled_dot_product_attention: query {} and key {} are not [.., L, E] and [.., S, E]",
            self.shape(),
            key.shape()
        );
        let scale = options.scale.unwrap_or(1.0 / (width as f64).sqrt());
        let mut scores = self.mul_scalar(scale).matmul(&key.transpose(-2, -1));
        if let Some(mask) = options.mask {
            scores = match mask.dtype() {
                DType::U8 => scores.masked_fill(&mask.eq(&mask.zeros_like()), f64::NEG_INFINITY),
                _ => scores + Var::constant(mask.clone()),
            };
        }
        if options.causal {
            let [l, s] = [-2, -1].map(|axis| scores.value().dim(axis));
            let device = scores.value().device();
            let later = Tensor::arange(s, device).gt(&Tensor::arange(l, device).unsqueeze(-1));
            scores = scores.masked_fill(&later, f64::NEG_INFINITY);
        }
        scores.softmax(-1)
    }

    /// `softmax(scale q k^T + mask) v` for queries `[.., L, E]` (this variable), keys `[.., S, E]` and values
    /// `[.., S, F]`: `[.., L, F]`.
    ///
    /// A query that sees no key gets NaN. Same as `torch.nn.functional.scaled_dot_product_attention` without dropout.
    ///
    /// # Panics
    /// If shapes do not fit.
    #[track_caller]
    pub fn scaled_dot_product_attention(
        &self,
        key: &Var,
        value: &Var,
        options: &Attention<'_>,
    ) -> Var {
        self.attention_weights(key, options).matmul(value)
    }
}

pub(super) const INFO: &[OpInfo] = &[OpInfo {
    name: "scaled_dot_product_attention",
    formula: "softmax(q k^T / sqrt(E)) v",
    case: |d| {
        let [n, heads] = [0; 2].map(|_| d.len(1..=3, 3..=4));
        let [l, s, e, f] = [0; 4].map(|_| d.len(1..=3, 30..=60));
        let (causal, masked, additive) = (d.flag(), d.flag(), d.flag());
        let scale = d.flag().then_some(0.7);
        let mut mask = d.normal([l, s]);
        if !additive {
            // Every query sees the first key.
            let first = Tensor::arange(s, mask.device()).to_dtype(DType::F64).neg();
            mask = mask.maximum(&first).ge(&mask.zeros_like());
        }
        let inputs = vec![
            d.normal([n, heads, l, e]),
            d.normal([n, heads, s, e]),
            d.normal([n, heads, s, f]),
        ];
        Case::new(inputs, move |v| {
            let mask = if additive { mask.to_dtype(v[0].dtype()) } else { mask.clone() };
            let options = Attention { mask: masked.then_some(&mask), causal, scale };
            v[0].scaled_dot_product_attention(&v[1], &v[2], &options)
        })
    },
}];
