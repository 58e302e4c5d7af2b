//! Where a number first went bad.

use autograd::Var;
use tensor::{DType, Device, Stream, Tensor};

use crate::{Context, Module, ModuleExt};

/// Whether every element is finite.
pub(super) fn is_finite(tensor: &Tensor) -> bool {
    let tensor = tensor.to_device(Device::Cpu).contiguous();
    match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().iter().all(|x| x.is_finite()),
        _ => tensor.to_f64_vec().iter().all(|x| x.is_finite()),
    }
}

/// The name of the first parameter that is not finite.
pub(super) fn bad_parameter(model: &dyn Module) -> Option<String> {
    let params = model.named_parameters().into_iter();
    params.map(|(name, p)| (name, p.value())).find(|(_, x)| !is_finite(x)).map(|(name, _)| name)
}

/// Runs a forward again and says where the first value that is not finite comes from.
///
/// `forward` is what gave a bad loss, `stream` the one it was given.
pub(super) fn locate(
    model: &dyn Module,
    stream: Stream,
    forward: impl FnOnce(&mut Context) -> Var,
) -> String {
    if let Some(name) = bad_parameter(model) {
        return format!("the parameter \"{name}\" was not finite before this step");
    }
    let mut first = None;
    let mut cx = Context::train(stream).with_recording(false).with_observer(model, |event| {
        if first.is_none() && !is_finite(event.output.value()) {
            let module = match event.path {
                "" => format!("the model ({})", event.type_name),
                path => format!("module \"{path}\" ({})", event.type_name),
            };
            first = Some(match is_finite(event.input.value()) {
                true => format!("the first output that is not finite is that of {module}"),
                false => format!(
                    "the first value that is not finite is the input of {module}: look at the data \
                     and at the code between the modules"
                ),
            });
        }
    });
    forward(&mut cx);
    drop(cx);
    first.unwrap_or_else(|| "the outputs of all modules are finite: look at the loss".to_owned())
}
