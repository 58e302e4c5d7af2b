//! [`Groups`]: which parameters get which weight decay and learning rate.

use std::fmt;

use crate::Param;

/// What one parameter's step uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupOptions {
    /// Factor of the learning rate. Default 1.
    pub lr_scale: f64,
    /// Weight decay. Default 0.
    pub weight_decay: f64,
}

impl Default for GroupOptions {
    fn default() -> Self {
        GroupOptions { lr_scale: 1.0, weight_decay: 0.0 }
    }
}

type Rule = dyn Fn(&str, &Param) -> GroupOptions + Send + Sync;

/// A rule that gives each parameter its options: what PyTorch calls parameter groups, as a function.
pub struct Groups(Box<Rule>);

impl Groups {
    /// Any rule, from a parameter's state-dict name and the parameter.
    pub fn by(rule: impl Fn(&str, &Param) -> GroupOptions + Send + Sync + 'static) -> Self {
        Groups(Box::new(rule))
    }

    /// The same weight decay for all.
    pub fn uniform(weight_decay: f64) -> Self {
        Self::by(move |_, _| GroupOptions { weight_decay, ..Default::default() })
    }

    /// Weight decay for tensors of two or more axes whose name does not end in `.bias`; none for all others (norms,
    /// biases, and whatever else is a vector).
    ///
    /// Same as `timm.optim.param_groups_weight_decay`.
    pub fn timm(weight_decay: f64) -> Self {
        Self::by(move |name, param| {
            let decays = param.shape().rank() >= 2 && !name.ends_with(".bias");
            GroupOptions {
                weight_decay: if decays { weight_decay } else { 0.0 },
                ..Default::default()
            }
        })
    }

    /// The options of a parameter.
    pub fn options(&self, name: &str, param: &Param) -> GroupOptions {
        (self.0)(name, param)
    }
}

impl Default for Groups {
    /// No weight decay.
    fn default() -> Self {
        Self::uniform(0.0)
    }
}

impl fmt::Debug for Groups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Groups(rule)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Init;

    #[test]
    fn timm_decays_tensors_of_two_axes_that_are_no_bias() {
        let decays = |name: &str, dims: &[usize]| {
            let param = Param::new(dims, Init::Constant(0.0));
            Groups::timm(0.05).options(name, &param).weight_decay == 0.05
        };
        // Names and shapes from converted ResNet-18, ConvNeXt-T and ViT-B/32, with timm's verdict.
        assert!(decays("layer1.0.conv1.weight", &[64, 64, 7, 7]));
        assert!(decays("layer1.0.conv1.C", &[64, 2, 2]));
        assert!(decays("features.1.0.layer_scale", &[96, 1, 1]));
        assert!(decays("class_token", &[1, 1, 768]));
        assert!(!decays("layer1.0.conv1.log2p", &[64]));
        assert!(!decays("layer1.0.bn1.weight", &[64]));
        assert!(!decays("fc.bias", &[10]));
        assert!(!decays("encoder.layers.encoder_layer_0.self_attention.in_proj_bias", &[2304]));
        assert!(!decays("relative.bias", &[49, 49]));
    }
}
