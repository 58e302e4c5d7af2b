//! RSMs of a model's layers.

use autograd::Var;
use nn::{Context, Event, Forward};

use super::{Rsm, RsmOptions};
use crate::error::Error;

/// The RSMs of the outputs of all modules for which `which` is true, with their paths (`layer1.0.conv1`), in the order in
/// which they are computed, in evaluation mode.
///
/// All images go through the model at once, but no activation outlives its layer: only RSMs are kept.
///
/// # Errors
/// As [`Rsm::new`], naming the layer.
///
/// # Panics
/// If the model does not take `images`.
#[track_caller]
pub fn capture_rsms(
    model: &dyn Forward,
    images: &Var,
    options: &RsmOptions,
    which: impl Fn(&Event<'_>) -> bool,
) -> Result<Vec<(String, Rsm)>, Error> {
    let mut rsms = Vec::new();
    let mut failed = None;
    let mut cx = Context::eval().with_observer(model, |event| {
        if failed.is_none() && which(&event) {
            match Rsm::new(event.output.value(), options) {
                Ok(rsm) => rsms.push((event.path.to_owned(), rsm)),
                Err(source) => {
                    failed = Some(Error::Layer {
                        layer: event.path.to_owned(),
                        source: Box::new(source),
                    });
                }
            }
        }
    });
    model.call(images, &mut cx);
    drop(cx);
    match failed {
        Some(error) => Err(error),
        None => Ok(rsms),
    }
}

/// Whether a module is a convolution, Lp or not: the layers that the paper compares with the brain.
pub fn is_convolution(event: &Event<'_>) -> bool {
    event.type_name.rsplit("::").next().is_some_and(|name| name.ends_with("Conv2d"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nn::{
        ModuleExt,
        layers::{Conv2d, ReLU, Sequential},
    };
    use tensor::{DType, Device, Stream, Tensor};

    #[test]
    fn layers_are_captured_by_kind_and_by_name() {
        let mut net =
            Sequential::new().with(Conv2d::new(1, 3, 3)).with(ReLU).with(Conv2d::new(3, 2, 3));
        net.initialize(0, DType::F32, Device::Cpu);
        let images = Tensor::randn([5, 1, 9, 9], DType::F32, Device::Cpu, &mut Stream::new(1));
        let images = Var::constant(images);
        let options = RsmOptions::default();
        let convolutions = capture_rsms(&net, &images, &options, is_convolution).unwrap();
        let names: Vec<&str> = convolutions.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["0", "2"]);
        let output = net.call(&images, &mut Context::eval());
        assert_eq!(convolutions[1].1, Rsm::new(output.value(), &options).unwrap());
        let named = capture_rsms(&net, &images, &options, |e| e.path == "1").unwrap();
        assert_eq!(named.len(), 1);
    }

    #[test]
    fn a_dead_layer_is_named() {
        let mut net = Sequential::new().with(Conv2d::new(1, 3, 3));
        net.initialize(0, DType::F32, Device::Cpu);
        let images = Var::constant(Tensor::full(f64::NAN, [4, 1, 5, 5], DType::F32, Device::Cpu));
        let error = capture_rsms(&net, &images, &RsmOptions::default(), is_convolution);
        assert!(error.unwrap_err().to_string().starts_with("layer 0: responses[0, 0] is NaN"));
    }
}
