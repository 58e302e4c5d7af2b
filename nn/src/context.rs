//! [`Context`]: everything about a forward pass that is neither model nor input.

use std::{any::TypeId, collections::HashMap};

use autograd::Var;
use tensor::Stream;

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
    training: bool,
    recording: bool,
    stream: Stream,
    draws: u64,
    observer: Option<Observer<'a>>,
}

struct Observer<'a> {
    /// Paths by address and type: a struct and its first field share an address but not a type.
    paths: HashMap<(usize, TypeId), String>,
    notify: Box<dyn FnMut(Event<'_>) + 'a>,
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
        Context { training: true, recording: true, stream, draws: 0, observer: None }
    }

    /// Evaluation: dropout passes, batch norm uses its running statistics, and nothing is recorded.
    pub fn eval() -> Self {
        Context {
            training: false,
            recording: false,
            stream: Stream::new(0),
            draws: 0,
            observer: None,
        }
    }

    /// The same with recording switched on or off (a gradient in eval mode; statistics without one).
    pub fn with_recording(mut self, recording: bool) -> Self {
        self.recording = recording;
        self
    }

    /// The same with an observer that is told of every [`Forward::call`] inside `model`.
    ///
    /// Modules are known by their address: `model` must not move before the forward.
    pub fn with_observer(mut self, model: &dyn Module, notify: impl FnMut(Event<'_>) + 'a) -> Self {
        let mut paths = HashMap::new();
        module::for_each_module(model, &mut |path, m| {
            paths.insert(module::identity(m), path.to_owned());
        });
        self.observer = Some(Observer { paths, notify: Box::new(notify) });
        self
    }

    /// Whether dropout drops and batch norm uses the batch's statistics.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether parameters are recorded as leaves.
    pub fn is_recording(&self) -> bool {
        self.recording
    }

    /// The variable of a parameter: its leaf where gradients are wanted, else a constant.
    ///
    /// # Panics
    /// If the parameter has no values yet.
    #[track_caller]
    pub fn var(&self, param: &Param) -> Var {
        let leaf = param.leaf();
        if self.recording && param.requires_grad() { leaf.clone() } else { leaf.detach() }
    }

    /// A fresh random stream for one use in this forward: the k-th call gets the k-th stream.
    pub fn next_stream(&mut self) -> Stream {
        self.draws += 1;
        self.stream.derive_index(self.draws)
    }

    /// Tells the observer, if any.
    pub(crate) fn emit<M: Forward + ?Sized>(&mut self, module: &M, input: &Var, output: &Var) {
        let Some(observer) = &mut self.observer else { return };
        let key = (module as *const M as *const () as usize, module.type_id());
        if let Some(path) = observer.paths.get(&key) {
            let macs = module.macs(&input.shape(), &output.shape());
            let type_name = module.type_name();
            (observer.notify)(Event { path, type_name, input, output, macs });
        }
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("training", &self.training)
            .field("recording", &self.recording)
            .field("observed", &self.observer.is_some())
            .finish_non_exhaustive()
    }
}
