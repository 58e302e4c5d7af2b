//! `verify --gradients`: first and second derivatives of every op against central differences, at drawn points.

use std::panic::{AssertUnwindSafe, catch_unwind};

use autograd::{
    OpInfo,
    gradcheck::{ConvCase, Draw, gradgradcheck, properties, thread_independence},
};
use serde::Serialize;

use super::{aligned, panic_message};

/// Every list of ops in the workspace.
fn ops() -> impl Iterator<Item = &'static OpInfo> {
    autograd::OPS.iter().copied().flatten().chain(lpconv::mask::OPS)
}

/// What became of one op.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The op.
    pub op: &'static str,
    /// Its formula.
    pub formula: &'static str,
    /// How many cases were drawn; first and second derivatives are checked at each.
    pub cases: u64,
    /// How many of the cases are of which kind, for convolutions: what they are worth depends on it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<Kind>,
    /// The first failure: which case, and what was wrong.
    pub failure: Option<String>,
}

/// How many cases are of one kind; a case may be of several.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kind {
    /// What it is called.
    pub kind: &'static str,
    /// How many.
    pub cases: u64,
}

/// Ops whose case begins with [`Draw::conv`], so that the geometry can be drawn again.
const CONVOLUTIONS: [&str; 3] = ["conv2d", "conv2d_input_grad", "conv2d_weight_grad"];

/// The kinds of an op's cases; none if it is not a convolution.
fn kinds(op: &'static str, cases: u64) -> Vec<Kind> {
    if !CONVOLUTIONS.contains(&op) {
        return Vec::new();
    }
    let drawn: Vec<ConvCase> = (0..cases).map(|seed| Draw::new(op, seed).conv()).collect();
    let grouped = |c: &ConvCase| c.groups > 1;
    let strided = |c: &ConvCase| c.stride != [1, 1];
    let padded = |c: &ConvCase| c.padding != [0, 0];
    // A kernel of one tap has nothing to spread.
    let dilated = |c: &ConvCase| (0..2).any(|i| c.dilation[i] > 1 && c.weight[2 + i] > 1);
    let count = |kind, is: &dyn Fn(&ConvCase) -> bool| Kind {
        kind,
        cases: drawn.iter().filter(|c| is(c)).count() as u64,
    };
    vec![
        count("grouped", &grouped),
        count("strided", &strided),
        count("padded", &padded),
        count("dilated", &dilated),
        count("all four at once", &|c| grouped(c) && strided(c) && padded(c) && dilated(c)),
        count("with a rectangular kernel", &|c| c.weight[2] != c.weight[3]),
        count("with a rectangular image", &|c| c.input[2] != c.input[3]),
    ]
}

/// One in so many cases is drawn large once more, to compare the bits of several numbers of threads.
const LARGE_EVERY: u64 = 10;

/// Draws `cases` inputs for every op whose name contains `filter` and checks everything that an op must fulfil
/// ([`properties`]) and its second derivative; an op's checks end at its first failure.
pub fn check(filter: &str, cases: u64) -> Vec<Checked> {
    check_ops(ops().filter(|info| info.name.contains(filter)), cases)
}

fn check_ops(ops: impl Iterator<Item = &'static OpInfo>, cases: u64) -> Vec<Checked> {
    ops.map(|info| {
        let failure = (0..cases).find_map(|seed| {
            let run = || {
                let case = (info.case)(&mut Draw::new(info.name, seed));
                properties(&case)?;
                if seed % LARGE_EVERY == 0 {
                    thread_independence(&(info.case)(&mut Draw::large(info.name, seed)))?;
                }
                gradgradcheck(&case.f, &case.inputs).map_err(|e| format!("second derivative: {e}"))
            };
            let result = catch_unwind(AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|panic| Err(panic_message(panic)));
            result.err().map(|e| format!("case {seed}: {e}"))
        });
        let kinds = kinds(info.name, cases);
        Checked { op: info.name, formula: info.formula, cases, kinds, failure }
    })
    .collect()
}

/// The checks as aligned text.
pub fn text(checked: &[Checked]) -> String {
    let mut rows = vec![["op", "formula", "cases", "result"].map(String::from)];
    for c in checked {
        let result = if c.failure.is_none() { "passed" } else { "FAILED" };
        rows.push([c.op.into(), c.formula.into(), c.cases.to_string(), result.into()]);
    }
    let failures: Vec<_> =
        checked.iter().filter_map(|c| Some((c.op, c.failure.as_ref()?))).collect();
    let drawn: u64 = checked.iter().map(|c| c.cases).sum();
    let mut text = aligned(&rows);
    text += &format!(
        "\n{} ops, {drawn} cases of first and {drawn} of second order, {} failed\n",
        checked.len(),
        failures.len()
    );
    for c in checked.iter().filter(|c| !c.kinds.is_empty()) {
        let kinds: Vec<_> = c.kinds.iter().map(|k| format!("{} {}", k.cases, k.kind)).collect();
        text += &format!("{}: of {} cases {}\n", c.op, c.cases, kinds.join(", "));
    }
    for (op, failure) in failures {
        text += &format!("\n{op}: {failure}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use autograd::{Op, Saved, Saver, Var, gradcheck::Case};
    use tensor::Tensor;

    /// x + x, whose derivative says 1.
    #[derive(Debug)]
    struct Wrong;

    impl Op for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }
        fn forward(&self, x: &[&Tensor], _: &mut Saver) -> Tensor {
            x[0] + x[0]
        }
        fn backward(&self, _: &Saved, dy: &Var, _: &[bool]) -> Vec<Option<Var>> {
            vec![Some(dy.clone())]
        }
    }

    const OPS: &[OpInfo] = &[
        OpInfo {
            name: "right",
            formula: "x + x",
            case: |d| Case::new(vec![d.normal([2])], |v| &v[0] + &v[0]),
        },
        OpInfo {
            name: "wrong",
            formula: "x + x",
            case: |d| Case::new(vec![d.normal([2])], |v| Var::apply(Wrong, &[&v[0]])),
        },
        OpInfo { name: "panics", formula: "", case: |_| panic!("no case") },
    ];

    #[test]
    fn wrong_derivatives_and_panics_are_failures() {
        let checked = check_ops(OPS.iter(), 3);
        let failures: Vec<_> = checked.iter().map(|c| c.failure.as_deref()).collect();
        assert_eq!(failures[0], None);
        let wrong = failures[1].unwrap();
        assert!(wrong.starts_with("case 0: gradient of input 0 at ["), "{wrong}");
        assert_eq!(failures[2], Some("case 0: panicked: no case"));
        assert!(text(&checked).contains("3 ops, 9 cases of first and 9 of second order, 2 failed"));
    }

    /// As many cases as are drawn when nobody says how many.
    #[test]
    fn convolutions_of_every_kind_are_drawn() {
        for op in CONVOLUTIONS {
            assert!(ops().any(|info| info.name == op), "{op}");
            for kind in kinds(op, crate::verify::GRADIENT_CASES) {
                assert!(kind.cases > 0, "{op}: {kind:?}");
            }
        }
        assert_eq!(kinds("add", 5), []);
        let text = text(&check("conv2d_input_grad", 2));
        assert!(text.contains("conv2d_input_grad: of 2 cases "), "{text}");
        assert!(text.contains(" all four at once, ") && text.contains(" grouped, "), "{text}");
    }

    /// Each crate draws more for its own ops; this is that every list is there, and no name twice.
    #[test]
    fn the_workspaces_ops_pass() {
        let checked = check("", 1);
        let mut names: Vec<_> = checked.iter().map(|c| c.op).collect();
        assert!(["add", "conv2d", "lp_mask"].iter().all(|op| names.contains(op)), "{names:?}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), checked.len());
        let failed: Vec<_> = checked.iter().filter(|c| c.failure.is_some()).collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}
