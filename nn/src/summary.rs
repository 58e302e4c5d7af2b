//! [`summary`]: what a model is made of, layer by layer.

use std::{collections::HashMap, fmt};

use autograd::Var;
use tensor::{DType, Device, Shape, Tensor};

use crate::{
    Context, Forward, ModuleExt,
    module::{Child, for_each_module},
};

/// One module of a model in a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its place in the model, as in the state dict; empty for the model itself.
    pub path: String,
    /// Its type.
    pub type_name: &'static str,
    /// The shape of its (last) output; `None` if the forward did not call it.
    pub output: Option<Shape>,
    /// Elements of its own parameters, its children's not counted.
    pub parameters: usize,
    /// Multiply-accumulates of all its calls in one forward, its children's not counted.
    pub macs: u64,
}

/// The modules of a model in order of definition, and what they add up to.
///
/// Displays as an aligned table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// All modules, parents before their children.
    pub rows: Vec<Row>,
    /// Elements of all parameters, each counted once; buffers are not parameters.
    pub parameters: usize,
    /// Those of them that are trained.
    pub trainable: usize,
    /// Multiply-accumulates of one forward.
    pub macs: u64,
}

/// Runs one forward in eval mode on zeros of `input_shape` and tells what every module is, gives and costs.
///
/// The input has the dtype and device of the model's first parameter. MACs are for the whole batch: take a batch of 1
/// for the numbers papers print. What `torchinfo.summary` and `nnx.tabulate` do.
///
/// # Panics
/// If the model has no values yet or does not take this shape.
#[track_caller]
pub fn summary(model: &dyn Forward, input_shape: impl Into<Shape>) -> Summary {
    let parameters = model.named_parameters();
    let (dtype, device) = parameters
        .first()
        .map_or((DType::F32, Device::Cpu), |(_, p)| (p.value().dtype(), p.value().device()));
    let count = |p: &crate::Param| p.shape().numel();

    let mut seen: HashMap<String, (Shape, u64)> = HashMap::new();
    let x = Var::constant(Tensor::zeros(input_shape, dtype, device));
    let mut cx = Context::eval().with_observer(model, |event| {
        let (shape, macs) = seen.entry(event.path.to_owned()).or_insert((event.output.shape(), 0));
        *shape = event.output.shape();
        *macs += event.macs;
    });
    model.call(&x, &mut cx);
    drop(cx);

    let mut rows = Vec::new();
    for_each_module(model, &mut |path, module| {
        let own = module.children().into_iter().filter_map(|(_, child)| match child {
            Child::Param(p) => Some(count(p)),
            Child::Buffer(_) | Child::Module(_) => None,
        });
        let called = seen.get(path);
        rows.push(Row {
            path: path.to_owned(),
            type_name: module.type_name(),
            output: called.map(|(shape, _)| *shape),
            parameters: own.sum(),
            macs: called.map_or(0, |(_, macs)| *macs),
        });
    });
    Summary {
        parameters: rows.iter().map(|r| r.parameters).sum(),
        trainable: parameters
            .iter()
            .filter(|(_, p)| p.requires_grad())
            .map(|(_, p)| count(p))
            .sum(),
        macs: rows.iter().map(|r| r.macs).sum(),
        rows,
    }
}

/// `1234567` as `1,234,567`.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = |r: &Row| {
            [
                if r.path.is_empty() { "(model)".to_owned() } else { r.path.clone() },
                r.type_name.to_owned(),
                r.output.map_or("-".to_owned(), |s| s.to_string()),
                grouped(r.parameters as u64),
                grouped(r.macs),
            ]
        };
        let head = ["path", "type", "output", "parameters", "MACs"].map(str::to_owned);
        let total = [
            "total".to_owned(),
            String::new(),
            String::new(),
            grouped(self.parameters as u64),
            grouped(self.macs),
        ];
        let mut table = vec![head];
        table.extend(self.rows.iter().map(cells));
        table.push(total);
        let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let w: [usize; 5] = std::array::from_fn(width);
        for [path, kind, output, parameters, macs] in &table {
            writeln!(
                f,
                "{path:<0$}  {kind:<1$}  {output:<2$}  {parameters:>3$}  {macs:>4$}",
                w[0], w[1], w[2], w[3], w[4]
            )?;
        }
        write!(f, "{} parameters are trained", grouped(self.trainable as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Buffer, Init, Module, Param, layers::Sequential};

    /// `x * weight`, with a buffer that must not be counted.
    #[derive(Module)]
    struct Scale {
        weight: Param,
        count: Buffer,
    }

    impl Scale {
        fn new(n: usize) -> Self {
            Scale {
                weight: Param::new([n], Init::Constant(1.0)),
                count: Buffer::new(Tensor::zeros([1], DType::F32, Device::Cpu)),
            }
        }
    }

    impl Forward for Scale {
        fn forward(&self, x: &Var, cx: &mut Context) -> Var {
            x * &cx.var(&self.weight)
        }
        fn macs(&self, _input: &Shape, output: &Shape) -> u64 {
            output.numel() as u64
        }
    }

    /// Calls `twice` two times and never calls `unused`; has a parameter of its own.
    #[derive(Module)]
    struct Net {
        bias: Param,
        twice: Sequential,
        unused: Scale,
    }

    impl Forward for Net {
        fn forward(&self, x: &Var, cx: &mut Context) -> Var {
            let y = self.twice.call(x, cx);
            &self.twice.call(&y, cx) + &cx.var(&self.bias)
        }
    }

    fn net() -> Net {
        let mut net = Net {
            bias: Param::new([1], Init::Constant(0.0)),
            twice: Sequential::new().with(Scale::new(1200)),
            unused: Scale::new(7),
        };
        net.initialize(0, DType::F32, Device::Cpu);
        net.set_requires_grad(false, |name| name.starts_with("unused"));
        net
    }

    #[test]
    fn parameters_are_counted_once_and_macs_for_every_call() {
        let s = summary(&net(), [2, 1200]);
        assert_eq!((s.parameters, s.trainable, s.macs), (1208, 1201, 4800));
        let of = |path: &str| s.rows.iter().find(|r| r.path == path).expect(path);
        assert_eq!((of("").parameters, of("").output), (1, Some([2, 1200].into())));
        assert_eq!((of("twice").parameters, of("twice").macs), (0, 0));
        assert_eq!((of("twice.0").parameters, of("twice.0").macs), (1200, 4800));
        assert_eq!((of("unused").parameters, of("unused").output), (7, None));
    }

    #[test]
    fn displays_as_an_aligned_table() {
        let expected = "\
path     type        output     parameters   MACs
(model)  Net         [2, 1200]           1      0
twice    Sequential  [2, 1200]           0      0
twice.0  Scale       [2, 1200]       1,200  4,800
unused   Scale       -                   7      0
total                                1,208  4,800
1,201 parameters are trained";
        assert_eq!(summary(&net(), [2, 1200]).to_string(), expected);
    }
}
