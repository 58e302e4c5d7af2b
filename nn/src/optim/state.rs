//! Reading an optimizer's saved state: `parameter.field` to the fields of each parameter.

use std::collections::{BTreeMap, HashMap};

use tensor::{Shape, Tensor};

use crate::{Error, Module, ModuleExt, Result};

/// The number of steps a parameter has made; a scalar, unlike all other fields, which look like the parameter.
pub(super) const STEP: &str = "step";

/// The saved fields of each parameter, in the order of `fields`, checked against `model` and converted to the dtype and
/// device of its values.
pub(super) fn by_parameter<const N: usize>(
    model: &dyn Module,
    state: Vec<(String, Tensor)>,
    fields: [&str; N],
) -> Result<BTreeMap<String, [Tensor; N]>> {
    let params: HashMap<_, _> = model.named_parameters().into_iter().collect();
    let (mut missing, mut unexpected, mut mismatched) = (Vec::new(), Vec::new(), Vec::new());
    let mut found: BTreeMap<String, [Option<Tensor>; N]> = BTreeMap::new();
    for (key, value) in state {
        let known = key.rsplit_once('.').and_then(|(name, field)| {
            Some((name, fields.iter().position(|f| *f == field)?, params.get(name)?))
        });
        let Some((name, field, param)) = known else {
            unexpected.push(key);
            continue;
        };
        let is_step = fields[field] == STEP;
        let expected = if is_step { Shape::new(&[]) } else { param.shape() };
        if value.shape() != expected {
            mismatched.push((key, expected.to_string(), value.shape().to_string()));
            continue;
        }
        let value = match param.is_initialized() && !is_step {
            true => value.to_dtype(param.value().dtype()).to_device(param.value().device()),
            false => value,
        };
        found.entry(name.to_owned()).or_insert([const { None }; N])[field] = Some(value);
    }
    for (name, values) in &found {
        let gaps = fields.iter().zip(values).filter(|(_, v)| v.is_none());
        missing.extend(gaps.map(|(f, _)| format!("{name}.{f}")));
    }
    if !(missing.is_empty() && unexpected.is_empty() && mismatched.is_empty()) {
        return Err(Error::OptimizerState { missing, unexpected, mismatched });
    }
    let complete = |values: [Option<Tensor>; N]| values.map(|v| v.expect("gaps are errors"));
    Ok(found.into_iter().map(|(name, values)| (name, complete(values))).collect())
}
