//! What is minimized, and what a trained model predicts.

use autograd::Var;
use nn::{
    Context,
    data::{BoxError, Dataset},
    loss::{PoissonNll, Reduction, mse, poisson_nll},
};
use tensor::Device;

use super::{Activity, Batch, Mmv1, Response, Windows};

/// The published loss of a batch: mean Poisson negative log-likelihood (spikes) or mean squared error (fluorescence), plus
/// `penalty` (1 as published) times the mean magnitude of the weights of behavior.
pub fn loss(
    model: &Mmv1,
    batch: &Batch,
    response: Response,
    penalty: f64,
    cx: &mut Context,
) -> Var {
    let [images, behavior] = [&batch.images, &batch.behavior].map(|t| Var::constant(t.clone()));
    let rates = model.forward(&images, &behavior, cx);
    let fit = match response {
        Response::Spikes => {
            let rate = PoissonNll { log_input: false, ..PoissonNll::default() };
            poisson_nll(&rates, &batch.responses, &rate, Reduction::Mean)
        }
        Response::Fluorescence => mse(&rates, &batch.responses, Reduction::Mean),
    };
    fit + cx.var(model.behavior_weight()).abs().mean().mul_scalar(penalty)
}

/// What a model in evaluation mode predicts for all samples, `batch` at a time.
///
/// # Errors
/// If video cannot be read.
///
/// # Panics
/// If `batch` is 0 or the model is of another size.
pub fn predict(
    model: &Mmv1,
    windows: &Windows,
    batch: usize,
    device: Device,
) -> Result<Activity, BoxError> {
    let neurons = windows.recording().units.len();
    let mut values = Vec::with_capacity(windows.len() * neurons);
    for start in (0..windows.len()).step_by(batch) {
        let samples = start..windows.len().min(start + batch);
        let samples = samples.map(|i| windows.get(i)).collect::<Result<Vec<_>, _>>()?;
        let batch = windows.batch(samples, device);
        let [images, behavior] = [batch.images, batch.behavior].map(Var::constant);
        let rates = model.forward(&images, &behavior, &mut Context::eval());
        values.extend(rates.value().to_device(Device::Cpu).to_vec::<f32>());
    }
    Ok(Activity::new(values, neurons))
}
