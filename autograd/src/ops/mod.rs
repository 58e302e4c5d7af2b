//! Every differentiable operation, one file a family.
//!
//! In a family's file stand the ops (`struct` + [`Op`](crate::Op)), the methods of [`Var`](crate::Var) that apply
//! them, and a list `INFO` of the family's [`OpInfo`]s, which [`OPS`] gathers. From that list come the gradient
//! checks below, `cargo xtask verify --gradients`, and the op table.

mod arithmetic;
mod attention;
mod cast;
mod conv;
mod dropout;
mod extremes;
mod index;
mod loss;
mod matmul;
mod norm;
mod order;
mod pad;
mod pool;
mod power;
mod recurrent;
mod reduce;
mod response_norm;
mod sample;
mod scan;
mod shape;
mod softmax;
mod unary;
mod unfold;

pub use attention::Attention;
pub use loss::Reduction;
pub use norm::BatchStats;

use tensor::Tensor;

use crate::gradcheck::{Case, Draw};

/// What is left of an op without its type: for tables, checks and benches.
#[derive(Clone, Copy, Debug)]
pub struct OpInfo {
    /// The op's name, as [`Op::name`](crate::Op::name) gives it.
    pub name: &'static str,
    /// The formula in one line.
    pub formula: &'static str,
    /// Draws an input and a function that applies the op to it, for the checks every op must pass.
    pub case: fn(&mut Draw) -> Case,
}

/// All ops, by family.
pub const OPS: &[&[OpInfo]] = &[
    arithmetic::INFO,
    cast::INFO,
    unary::SMOOTH,
    unary::KINKED,
    power::INFO,
    extremes::INFO,
    reduce::INFO,
    scan::INFO,
    shape::INFO,
    index::INFO,
    order::INFO,
    matmul::INFO,
    conv::INFO,
    pad::INFO,
    pool::INFO,
    unfold::INFO,
    sample::INFO,
    recurrent::INFO,
    norm::INFO,
    response_norm::INFO,
    softmax::INFO,
    attention::INFO,
    loss::INFO,
    dropout::INFO,
];

/// A scalar of the dtype and device of `x`, to compare with or to choose.
fn scalar_like(x: &Tensor, value: f64) -> Tensor {
    Tensor::full(value, [], x.dtype(), x.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Var,
        gradcheck::{gradgradcheck, properties, thread_independence},
    };

    /// Cases drawn for each op; `cargo xtask verify --gradients --cases N` draws more.
    const CASES: u64 = 24;

    #[test]
    fn every_op_has_every_property() {
        let failures: Vec<String> = OPS
            .iter()
            .copied()
            .flatten()
            .flat_map(|info| {
                (0..CASES).filter_map(move |seed| {
                    let case = (info.case)(&mut Draw::new(info.name, seed));
                    properties(&case).err().map(|e| format!("{} (seed {seed}): {e}", info.name))
                })
            })
            .collect();
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    /// Elements of cheap work that are split over threads (`tensor::cpu::parallel::GRAIN`).
    const GRAIN: usize = 32 * 1024;

    #[test]
    fn every_op_has_the_same_bits_for_any_number_of_threads() {
        let mut failures = Vec::new();
        for info in OPS.iter().copied().flatten() {
            let cases = (0..6).map(|seed| (info.case)(&mut Draw::large(info.name, seed)));
            let mut most = 0;
            for case in cases {
                let constants: Vec<_> = case.inputs.iter().cloned().map(Var::constant).collect();
                let output = (case.f)(&constants).value().numel();
                most = case.inputs.iter().map(Tensor::numel).chain([output]).fold(most, usize::max);
                failures.extend(
                    thread_independence(&case).err().map(|e| format!("{}: {e}", info.name)),
                );
            }
            // Gates and products do much for each element.
            let enough =
                if ["gru_cell", "lstm_cell", "matmul"].contains(&info.name) { 8 } else { 1 };
            if most * enough <= GRAIN {
                failures.push(format!("{}: {most} elements are not split", info.name));
            }
        }
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    #[test]
    fn every_op_has_a_second_derivative() {
        let check = |info: &'static OpInfo, seed| {
            let case = (info.case)(&mut Draw::new(info.name, seed));
            let error = gradgradcheck(&case.f, &case.inputs).err()?;
            Some(format!("{} (seed {seed}): {error}", info.name))
        };
        let all = OPS.iter().copied().flatten();
        let failures: Vec<String> =
            all.flat_map(|info| (100..106).filter_map(move |seed| check(info, seed))).collect();
        assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    }

    /// Every name that an `impl Op` of this folder gives must stand in the list: an op that is forgotten is not checked.
    #[test]
    fn no_op_is_missing_from_the_list() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ops");
        let listed: Vec<&str> = OPS.iter().copied().flatten().map(|i| i.name).collect();
        let mut missing = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // This file has no ops, only this search for them.
            if path.ends_with("mod.rs") {
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            for implementation in text.split("impl Op for ").skip(1) {
                let body = implementation.split("fn forward").next().unwrap();
                let names = body.split('"').skip(1).step_by(2);
                missing.extend(names.filter(|n| !listed.contains(n)).map(str::to_owned));
            }
        }
        assert!(missing.is_empty(), "not in OPS: {missing:?}");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = OPS.iter().copied().flatten().map(|i| i.name).collect();
        names.sort_unstable();
        let n = names.len();
        names.dedup();
        assert_eq!(names.len(), n);
    }
}
