//! `--set key=value`: every value of a recipe, overridden from the command line.

use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::failure::{Failure, Outcome, nearest};

/// A recipe with some of its fields replaced.
///
/// `overrides` are `key=value` pairs; keys are the recipe's field names, values are read as the field's type.
///
/// # Errors
/// [`Failure::Usage`] for a pair without `=`, an unknown key (with the list of known ones) or a value of another type.
pub fn overridden<R: Serialize + DeserializeOwned>(recipe: &R, overrides: &[String]) -> Outcome<R> {
    let Value::Object(mut fields) = serde_json::to_value(recipe).context("a recipe is a struct")?
    else {
        return Err(anyhow::anyhow!("a recipe is a struct").into());
    };
    let mut seen = Vec::new();
    for pair in overrides {
        let (key, text) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--set {pair}: expected KEY=VALUE")))?;
        if seen.contains(&key.trim()) {
            return Err(Failure::Usage(format!("--set {}: given more than once", key.trim())));
        }
        seen.push(key.trim());
        let value = parsed(&fields, key.trim(), text.trim())?;
        fields.insert(key.trim().to_owned(), value);
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|e| Failure::Usage(format!("--set {}: {e}", overrides.join(" --set "))))
}

/// The value of `text` as the type that field `key` has.
fn parsed(fields: &Map<String, Value>, key: &str, text: &str) -> Outcome<Value> {
    let wrong = |expected: &str| {
        Failure::Usage(format!("--set {key}={text}: expected {expected}, found \"{text}\""))
    };
    match fields.get(key) {
        None => Err(unknown_key(fields, key)),
        Some(Value::Number(n)) if n.is_f64() => {
            let number = text.parse::<f64>().ok().filter(|v| v.is_finite());
            Ok(Value::from(number.ok_or_else(|| wrong("a number"))?))
        }
        Some(Value::Number(_)) => {
            Ok(Value::from(text.parse::<u64>().map_err(|_| wrong("a whole number"))?))
        }
        Some(Value::Bool(_)) => {
            Ok(Value::from(text.parse::<bool>().map_err(|_| wrong("true or false"))?))
        }
        Some(_) => Ok(Value::from(text)),
    }
}

fn unknown_key(fields: &Map<String, Value>, key: &str) -> Failure {
    let known: Vec<&str> = fields.keys().map(String::as_str).collect();
    let hint = match nearest(key, known.iter().copied()) {
        Some(near) => format!("; did you mean \"{near}\"?"),
        None => ".".into(),
    };
    Failure::Usage(format!(
        "--set {key}: this recipe has no \"{key}\"{hint} Known keys: {}",
        known.join(", ")
    ))
}

/// A folder name for a scale with overrides: `demo`, or `demo-epochs=8-lr=0.001`, the same for any order of the pairs.
pub fn label(scale: &str, overrides: &[String]) -> String {
    let mut pairs: Vec<String> = overrides
        .iter()
        .map(|p| p.chars().map(|c| if c == '/' || c.is_whitespace() { '_' } else { c }).collect())
        .collect();
    pairs.sort();
    std::iter::once(scale.to_owned()).chain(pairs).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Recipe {
        epochs: u32,
        lr: f64,
        shuffle: bool,
        source: String,
    }

    fn recipe() -> Recipe {
        Recipe { epochs: 10, lr: 1e-3, shuffle: true, source: "embedded".into() }
    }

    fn set(pairs: &[&str]) -> Result<Recipe, String> {
        let pairs: Vec<String> = pairs.iter().map(|p| p.to_string()).collect();
        overridden(&recipe(), &pairs).map_err(|e| e.to_string())
    }

    #[test]
    fn every_kind_of_field_can_be_set() {
        let r = set(&["epochs=3", "lr=1", "shuffle=false", "source=generated"]).unwrap();
        assert_eq!(r, Recipe { epochs: 3, lr: 1.0, shuffle: false, source: "generated".into() });
    }

    #[test]
    fn mistakes_are_named() {
        let error = set(&["epoch=3"]).unwrap_err();
        assert!(error.contains("did you mean \"epochs\"?"), "{error}");
        assert!(error.contains("Known keys: epochs, lr, shuffle, source"), "{error}");
        assert!(set(&["epochs=-3"]).unwrap_err().contains("expected a whole number, found \"-3\""));
        assert!(set(&["lr=fast"]).unwrap_err().contains("expected a number"));
        assert!(set(&["lr"]).unwrap_err().contains("expected KEY=VALUE"));
        assert!(set(&["lr=1", "lr=2"]).unwrap_err().contains("given more than once"));
    }

    #[test]
    fn labels_do_not_depend_on_the_order_of_overrides() {
        let l = |p: &[&str]| label("demo", &p.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        assert_eq!(l(&[]), "demo");
        assert_eq!(l(&["lr=0.1", "epochs=8"]), "demo-epochs=8-lr=0.1");
        assert_eq!(l(&["epochs=8", "lr=0.1"]), l(&["lr=0.1", "epochs=8"]));
    }
}
