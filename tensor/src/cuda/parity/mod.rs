//! Every op on a device against the CPU: the same drawn operands in the same memory, the results compared in value, dtype and
//! layout.
//!
//! Tests run it on the stand-in's devices; [`compare_with_cpu`] on any.

mod draw;
mod elements;
mod images;
mod layers;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use draw::{Draw, Operand};

use crate::{DType, Device, Shape, Stream, Tensor};

/// Drawn operands and what is done with them.
type Drawn = (Vec<Operand>, Box<dyn Fn(&[Tensor]) -> Vec<Tensor>>);

/// An op: the method of `Kernels` it is for, and operands for it at random.
struct Case {
    method: &'static str,
    draw: fn(&mut Draw) -> Drawn,
}

/// All ops.
fn cases() -> impl Iterator<Item = &'static Case> {
    [elements::CASES, images::CASES, layers::CASES].into_iter().flatten()
}

/// The largest difference, relative to the larger of 1 and the value. Sums run in other orders, functions have other last
/// digits.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => 2e-5,
        DType::F64 => 1e-12,
        // One step of the type.
        DType::BF16 => 8e-3,
        DType::F16 => 1e-3,
        DType::I64 | DType::U8 => 0.0,
    }
}

/// The largest difference of `got` from `want`, or what is wrong.
fn compare(got: &Tensor, want: &Tensor) -> Result<f64, String> {
    if (got.dtype(), got.shape()) != (want.dtype(), want.shape()) {
        let [g, w] = [got, want].map(|t| format!("{} of {}", t.shape(), t.dtype()));
        return Err(format!("is {g}, not {w}"));
    }
    if !got.layout.same_order(&want.layout) && want.numel() > 0 {
        return Err(format!("has strides {:?}, not {:?}", got.strides(), want.strides()));
    }
    let (g, w) = (got.to_f64_vec(), want.to_f64_vec());
    let difference = |(g, w): (&f64, &f64)| {
        let same = g == w || (g.is_nan() && w.is_nan());
        let off = (g - w).abs() / w.abs().max(1.0);
        // Of a number and NaN, infinite.
        if same {
            0.0
        } else if off.is_nan() {
            f64::INFINITY
        } else {
            off
        }
    };
    let off: Vec<f64> = g.iter().zip(&w).map(difference).collect();
    let wrong = |&d: &f64| d > tolerance(got.dtype());
    let count = off.iter().filter(|d| wrong(d)).count();
    match off.iter().position(wrong) {
        None => Ok(off.into_iter().fold(0.0, f64::max)),
        Some(i) => Err(format!(
            "element {i} of {} is {}, not {}; {count} of {} differ",
            want.shape(),
            g[i],
            w[i],
            w.len()
        )),
    }
}

/// Draws a case and compares: the largest difference, or what is wrong. With `again` the device computes twice, and the bits
/// have to be the same.
fn check(case: &Case, device: Device, dtype: DType, seed: u64, again: bool) -> Result<f64, String> {
    let stream = Stream::new(seed).derive(case.method);
    let mut draw = Draw { stream, dtype };
    let (operands, op) = (case.draw)(&mut draw);
    let on = |device| operands.iter().map(|o| o.on(device)).collect::<Vec<_>>();
    let want = op(&on(Device::Cpu));
    let there = on(device);
    let got = op(&there);
    assert_eq!(got.len(), want.len());
    let shapes: Vec<Shape> = operands.iter().map(Operand::shape).collect();
    let what = |i: usize| {
        format!(
            "{} in {dtype} on {device}, seed {seed}, result {i} of operands {shapes:?}",
            case.method
        )
    };
    let mut largest = 0f64;
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_eq!(got.device(), device, "{}", what(i));
        let off = compare(got, want).map_err(|wrong| format!("{}: {wrong}", what(i)))?;
        largest = largest.max(off);
    }
    if again {
        let bits = |t: &Tensor| t.to_f64_vec().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        for (i, (first, second)) in got.iter().zip(&op(&there)).enumerate() {
            if bits(first) != bits(second) {
                return Err(format!("{}: computed again it is another", what(i)));
            }
        }
    }
    Ok(largest)
}

/// How a device's op agrees with the CPU's.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Agreement {
    /// The op: a method of the list of all that a device computes.
    pub op: &'static str,
    /// How many drawn cases were compared.
    pub cases: usize,
    /// The largest difference in f32, relative to the larger of 1 and the value.
    pub difference: f64,
    /// What was wrong, a sentence for each case.
    pub failures: Vec<String>,
}

/// The ops that [`compare_with_cpu`] compares: all that a device computes.
pub fn ops() -> Vec<&'static str> {
    cases().map(|c| c.method).collect::<BTreeSet<_>>().into_iter().collect()
}

/// An op on a device against the CPU: operands of random shapes, strides and values in f32, f64 and bf16, a set of them for each
/// seed. The device computes each twice, and the bits have to be the same.
///
/// Results with other shapes, dtypes or layouts, differences beyond rounding, and panics are failures.
pub fn compare_with_cpu(op: &str, device: Device, seeds: Range<u64>) -> Agreement {
    let op = cases().map(|c| c.method).find(|&m| m == op).unwrap_or("");
    let mut agreement = Agreement { op, cases: 0, difference: 0.0, failures: Vec::new() };
    for case in cases().filter(|c| c.method == op) {
        for (dtype, seed) in seeds.clone().flat_map(|s| DTYPES.map(|dtype| (dtype, s))) {
            let outcome = catch_unwind(AssertUnwindSafe(|| check(case, device, dtype, seed, true)));
            agreement.cases += 1;
            match outcome {
                Ok(Ok(off)) if dtype == DType::F32 => {
                    agreement.difference = agreement.difference.max(off);
                }
                Ok(Ok(_)) => {}
                Ok(Err(wrong)) => agreement.failures.push(wrong),
                Err(panic) => {
                    let said = panic.downcast_ref::<String>().map_or("panicked", String::as_str);
                    agreement.failures.push(format!("{op} in {dtype}, seed {seed}: {said}"));
                }
            }
        }
    }
    agreement
}

/// 16-bit floats are computed in f32, by the same kernels.
const DTYPES: [DType; 3] = [DType::F32, DType::F64, DType::BF16];
