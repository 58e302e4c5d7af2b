//! [`Sequential`].

use autograd::Var;

use crate::{Context, Forward, Module};

/// Layers one after another, named `0`, `1`, … as in `torch.nn.Sequential`.
#[derive(Module)]
pub struct Sequential {
    #[module(flatten)]
    layers: Vec<Box<dyn Forward>>,
}

impl Sequential {
    /// An empty sequence: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new() }
    }

    /// With one more layer at the end.
    pub fn with(mut self, layer: impl Forward) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// Number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }

    /// The layers in order.
    pub fn iter(&self) -> impl Iterator<Item = &dyn Forward> {
        self.layers.iter().map(|l| &**l)
    }
}

impl Default for Sequential {
    fn default() -> Self {
        Self::new()
    }
}

impl Forward for Sequential {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.call(&y, cx);
        }
        y
    }
}
