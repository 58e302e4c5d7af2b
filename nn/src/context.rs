//! [`Context`]: everything about a forward pass that is neither model nor input.

use std::{any::TypeId, collections::HashMap};

use autograd::{Var, trace};
use tensor::{DType, Stream};

use crate::{Forward, Module, Param, module};

/// Train or eval mode, whether to record for a backward, the random stream, and who watches.
///
/// ```
/// use nn::Context;
/// use tensor::Stream;
///
/// let evaluate = Context::eval(); // no dropout, running statistics, nothing recorded
/// let train = Context::train(Stream::new(0)); // dropout, batch statistics, recorded
/// assert!(train.is_training() && !evaluate.is_training());
/// ```
pub struct Context<'a> {
    mode: Mode,
    observers: Vec<Observer<'a>>,
}

/// What determines the values that a forward computes: with the same mode the same forward gives the same bits.
#[derive(Clone, Debug)]
pub(crate) struct Mode {
    training: bool,
    recording: bool,
    replaying: bool,
    autocast: Option<DType>,
    stream: Stream,
    draws: u64,
}

/// Address and type: a struct and its first field share an address but not a type.
type Key = (usize, TypeId);

struct Observer<'a> {
    /// Paths in order of definition. More than one only for types without size (`ReLU`), whose values may share an
    /// address: see [`Observer::enter`].
    paths: HashMap<Key, Vec<String>>,
    /// The modules whose forwards are running, innermost last.
    running: Vec<Frame>,
    notify: Box<dyn FnMut(Event<'_>) + 'a>,
}

/// A module whose forward is running.
struct Frame {
    /// `None` for a module that is no part of the model.
    path: Option<String>,
    /// How often it has called the modules of one key.
    calls: HashMap<Key, usize>,
}

impl Observer<'_> {
    /// Notes that the forward of a module begins, and finds its path.
    ///
    /// Modules that cannot be told apart by address are told apart by who calls them: of those below the caller the
    /// nearest, and where there are several (the `ReLU`s of a `Sequential`) the k-th for the k-th call.
    fn enter(&mut self, key: Key) {
        let caller = self.running.iter().rev().find_map(|f| f.path.as_deref()).unwrap_or("");
        let path = match self.paths.get(&key).map_or(&[][..], Vec::as_slice) {
            [] => None,
            [path] => Some(path.clone()),
            several => {
                let below = several.iter().filter_map(|p| Some((p, depth_below(caller, p)?)));
                let nearest = below.clone().map(|(_, depth)| depth).min();
                let near: Vec<_> = below.filter(|(_, d)| Some(*d) == nearest).collect();
                let calls = self.running.last_mut().map(|f| f.calls.entry(key).or_default());
                let k = calls.map_or(0, |calls| std::mem::replace(calls, *calls + 1));
                near.get(k % near.len().max(1)).map(|(path, _)| (*path).clone())
            }
        };
        self.running.push(Frame { path, calls: HashMap::new() });
    }
}

/// How many names `path` has after `parent`; `None` if it does not lie below it.
fn depth_below(parent: &str, path: &str) -> Option<usize> {
    let rest = match parent {
        "" => path,
        _ => path.strip_prefix(parent)?.strip_prefix('.')?,
    };
    Some(rest.split('.').count())
}

fn key<M: Forward + ?Sized>(module: &M) -> Key {
    (module as *const M as *const () as usize, module.type_id())
}

/// One module's forward, as an observer sees it.
#[derive(Debug)]
pub struct Event<'a> {
    /// The module's place in the model, as in the state dict: `layer1.0.conv1`; empty for the model itself.
    pub path: &'a str,
    /// The module's type.
    pub type_name: &'static str,
    /// What it was given.
    pub input: &'a Var,
    /// What it computed.
    pub output: &'a Var,
    /// Multiply-accumulates of the module itself, its children not counted.
    pub macs: u64,
}

impl<'a> Context<'a> {
    /// Training: dropout drops, batch norm uses the batch's statistics, and the graph is recorded.
    pub fn train(stream: Stream) -> Self {
        Self::of(true, stream)
    }

    /// Evaluation: dropout passes, batch norm uses its running statistics, and nothing is recorded.
    pub fn eval() -> Self {
        Self::of(false, Stream::new(0))
    }

    fn of(training: bool, stream: Stream) -> Self {
        let mode = Mode {
            training,
            recording: training,
            replaying: false,
            autocast: None,
            stream,
            draws: 0,
        };
        Context { mode, observers: Vec::new() }
    }

    /// A context that repeats a forward which began in this mode: the same random numbers, recorded, nobody watching.
    pub(crate) fn replaying(mode: &Mode) -> Self {
        let mode = Mode { recording: true, replaying: true, ..mode.clone() };
        Context { mode, observers: Vec::new() }
    }

    /// The mode in which a forward that begins now runs.
    pub(crate) fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The same with recording switched on or off (a gradient in eval mode; statistics without one).
    pub fn with_recording(mut self, recording: bool) -> Self {
        self.mode.recording = recording;
        self
    }

    /// The same with products in 16-bit floats, `BF16` or `F16`; see [`set_autocast`](Self::set_autocast).
    ///
    /// # Panics
    /// As [`set_autocast`](Self::set_autocast).
    #[track_caller]
    pub fn with_autocast(mut self, dtype: DType) -> Self {
        self.set_autocast(Some(dtype));
        self
    }

    /// Mixed precision: convolutions, linear layers and attention convert their f32 operands to this 16-bit dtype,
    /// normalizations convert theirs back, losses are f32, all else follows its input. `None` switches it off.
    ///
    /// Parameters stay f32 and their gradients arrive in f32. Products are accumulated in f32 and rounded once. The policy of
    /// `torch.autocast`, with normalizations in f32 as there on the CPU; gradients of `F16` may underflow, for there is no loss
    /// scaling: `BF16` has the range of f32.
    ///
    /// # Panics
    /// If the dtype is none of `BF16` and `F16`.
    #[track_caller]
    pub fn set_autocast(&mut self, dtype: Option<DType>) {
        if let Some(dtype) = dtype {
            assert!(dtype.is_half(), "autocast: {dtype} is none of bf16 and f16");
        }
        self.mode.autocast = dtype;
    }

    /// The dtype of products in mixed precision; `None` if it is off.
    pub fn autocast(&self) -> Option<DType> {
        self.mode.autocast
    }

    /// An operand of a product, for layers that multiply matrices or convolve: 16-bit in mixed precision, if it is f32.
    pub fn product_operand(&self, x: &Var) -> Var {
        match self.mode.autocast {
            Some(dtype) if x.dtype() == DType::F32 => x.to_dtype(dtype),
            _ => x.clone(),
        }
    }

    /// An operand for layers that need all digits (normalizations, softmax): f32 in mixed precision, if it is 16-bit.
    pub fn full_operand(&self, x: &Var) -> Var {
        match self.mode.autocast {
            Some(_) if x.dtype().is_half() => x.to_dtype(DType::F32),
            _ => x.clone(),
        }
    }

    /// The same with an observer that is told of every [`Forward::call`] inside `model`.
    ///
    /// Modules are known by their address: `model` must not move before the forward. Types without size have none of
    /// their own; they are told apart by their caller and the order of calls, which is wrong only if a module calls
    /// several of one such type in another order than that of definition. There may be several observers.
    pub fn with_observer(mut self, model: &dyn Module, notify: impl FnMut(Event<'_>) + 'a) -> Self {
        let mut paths: HashMap<Key, Vec<String>> = HashMap::new();
        module::for_each_module(model, &mut |path, m| {
            paths.entry(module::identity(m)).or_default().push(path.to_owned());
        });
        let observer = Observer { paths, running: Vec::new(), notify: Box::new(notify) };
        self.observers.push(observer);
        self
    }

    /// The same; what watches ops ([`autograd::trace`]) then hears the modules' paths instead of their types.
    pub fn with_names(self, model: &dyn Module) -> Self {
        self.with_observer(model, |_| {})
    }

    /// Whether dropout drops and batch norm uses the batch's statistics.
    pub fn is_training(&self) -> bool {
        self.mode.training
    }

    /// Whether parameters are recorded as leaves.
    pub fn is_recording(&self) -> bool {
        self.mode.recording
    }

    /// Whether this forward was done before and is repeated for a backward (see [`Checkpoint`](crate::layers::Checkpoint)):
    /// what a forward changes besides computing, as running statistics, has changed already.
    pub fn is_replaying(&self) -> bool {
        self.mode.replaying
    }

    /// Runs `f` without recording.
    pub(crate) fn unrecorded<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let recording = std::mem::replace(&mut self.mode.recording, false);
        let result = f(self);
        self.mode.recording = recording;
        result
    }

    /// The variable of a parameter: its leaf where gradients are wanted, else a constant.
    ///
    /// # Panics
    /// If the parameter has no values yet.
    #[track_caller]
    pub fn var(&self, param: &Param) -> Var {
        let leaf = param.leaf();
        if self.mode.recording && param.requires_grad() { leaf.clone() } else { leaf.detach() }
    }

    /// A fresh random stream for one use in this forward: the k-th call gets the k-th stream.
    pub fn next_stream(&mut self) -> Stream {
        self.mode.draws += 1;
        self.mode.stream.derive_index(self.mode.draws)
    }

    /// Before a module's forward.
    pub(crate) fn enter<M: Forward + ?Sized>(&mut self, module: &M) {
        for observer in &mut self.observers {
            observer.enter(key(module));
        }
        if trace::is_on() {
            let path = self.observers.first().and_then(|o| o.running.last()?.path.as_deref());
            // The model itself has an empty path.
            trace::enter(path.filter(|p| !p.is_empty()).unwrap_or(module.type_name()));
        }
    }

    /// After a module's forward: tells the observers, if any.
    pub(crate) fn leave<M: Forward + ?Sized>(&mut self, module: &M, input: &Var, output: &Var) {
        if trace::is_on() {
            trace::leave();
        }
        for observer in &mut self.observers {
            let Some(path) = observer.running.pop().and_then(|frame| frame.path) else { continue };
            let macs = module.macs(&input.shape(), &output.shape());
            let type_name = module.type_name();
            (observer.notify)(Event { path: &path, type_name, input, output, macs });
        }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("training", &self.mode.training)
            .field("recording", &self.mode.recording)
            .field("observers", &self.observers.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tensor::Tensor;

    use super::*;
    use crate::layers::Sequential;

    /// No size, no address.
    #[derive(Module)]
    struct Negate;

    impl Forward for Negate {
        fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
            x * &Var::constant(Tensor::scalar(-1.0f64))
        }
    }

    /// As a block of a ResNet: one activation, used twice.
    #[derive(Module)]
    struct Block {
        act: Negate,
    }

    impl Forward for Block {
        fn forward(&self, x: &Var, cx: &mut Context) -> Var {
            let y = self.act.call(x, cx);
            self.act.call(&y, cx)
        }
    }

    /// `stages` is called layer by layer, `head` as a whole; one activation is its own.
    #[derive(Module)]
    struct Net {
        act: Negate,
        stages: Vec<Block>,
        head: Sequential,
    }

    impl Forward for Net {
        fn forward(&self, x: &Var, cx: &mut Context) -> Var {
            let mut y = x.clone();
            for stage in &self.stages {
                y = stage.call(&y, cx);
            }
            let y = self.act.call(&y, cx);
            self.head.call(&y, cx)
        }
    }

    #[test]
    fn modules_without_an_address_are_told_apart_by_their_caller() {
        let net = Net {
            act: Negate,
            stages: vec![Block { act: Negate }, Block { act: Negate }],
            head: Sequential::new().with(Negate).with(Block { act: Negate }).with(Negate),
        };
        let mut seen = Vec::new();
        let mut cx = Context::eval().with_observer(&net, |event| seen.push(event.path.to_owned()));
        let x = Var::constant(Tensor::scalar(1.0f64));
        for _ in 0..2 {
            net.call(&x, &mut cx);
        }
        drop(cx);
        let once = [
            "stages.0.act",
            "stages.0.act",
            "stages.0",
            "stages.1.act",
            "stages.1.act",
            "stages.1",
            "act",
            "head.0",
            "head.1.act",
            "head.1.act",
            "head.1",
            "head.2",
            "head",
            "",
        ];
        assert_eq!(seen, [once, once].concat());
    }
}
