//! What a forward costs, by the rules of Tables 3 and 10: those of the counter that the paper used (fvcore).
//!
//! One multiplication with its addition counts 1 in convolutions and linear layers (the projections of attention among
//! them), a normalization some operations for each element of its output, the product `C d` of an Lp-mask 4 for each tap.
//! Nothing are activations, additions, pooling, biases, the product of mask and weight, and within attention the
//! products of queries with keys and of weights with values.

use autograd::Var;
use nn::{Context, Forward, ModuleExt, layers::Conv2d};
use serde::{Deserialize, Serialize};
use tensor::{DType, Device, Tensor};

/// What one forward does, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Multiply-accumulates of convolutions.
    pub conv: u64,
    /// Multiply-accumulates of linear layers.
    pub linear: u64,
    /// Elements of the outputs of batch norms.
    pub batch_norm: u64,
    /// Elements of the outputs of layer norms.
    pub layer_norm: u64,
    /// `C d` of all masks: 4 O l² for each layer.
    pub masks: u64,
}

/// Operations that a batch norm is said to need for an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNormCost {
    /// 2: in evaluation, where it is a factor and a summand. Table 3.
    Evaluation,
    /// 5: in training, as a layer norm. Table 10.
    Training,
}

impl Operations {
    /// Multiply-accumulates alone.
    pub fn macs(&self) -> u64 {
        self.conv + self.linear
    }

    /// All by the counter's rules.
    pub fn flops(&self, batch_norm: BatchNormCost) -> u64 {
        let per_element = match batch_norm {
            BatchNormCost::Evaluation => 2,
            BatchNormCost::Training => 5,
        };
        self.macs() + per_element * self.batch_norm + 5 * self.layer_norm + self.masks
    }
}

/// Runs one forward in evaluation mode on zeros and counts.
///
/// # Panics
/// If the model has no values yet or does not take this shape.
#[track_caller]
pub fn count(model: &dyn Forward, input: [usize; 4]) -> Operations {
    let mut found = Operations::default();
    let parameters = model.named_parameters();
    let dtype = parameters.first().map_or(DType::F32, |(_, p)| p.value().dtype());
    let x = Var::constant(Tensor::zeros(input, dtype, Device::Cpu));
    let mut cx = Context::eval().with_observer(model, |event| {
        let elements = event.output.shape().numel() as u64;
        match event.type_name {
            "Conv2d" => found.conv += event.macs,
            "MultiheadAttention" => {
                let [n, l, e] = [0, 1, 2].map(|axis| event.input.dims()[axis] as u64);
                found.linear += event.macs - 2 * n * l * l * e;
            }
            "BatchNorm2d" => found.batch_norm += elements,
            "LayerNorm" | "LayerNorm2d" => found.layer_norm += elements,
            _ => found.linear += event.macs,
        }
    });
    model.call(&x, &mut cx);
    drop(cx);
    nn::module::for_each_module(model, &mut |_, module| {
        let conv = (module as &dyn std::any::Any).downcast_ref::<Conv2d>();
        if let Some(conv) = conv.filter(|c| c.parametrization().is_some()) {
            let [h, w] = conv.kernel_size();
            found.masks += 4 * (conv.out_channels() * h * w) as u64;
        }
    });
    found
}

/// Gives every parameter zeros: values do not matter where operations are counted, and drawing them takes longer.
pub fn fill_with_zeros(model: &mut dyn Forward) {
    for (_, param) in model.named_parameters_mut() {
        param.set(Tensor::zeros(param.shape(), DType::F32, Device::Cpu));
    }
}
