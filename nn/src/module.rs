//! [`Module`] and [`Forward`]: the tree of a model, and how it computes.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, HashSet},
};

use autograd::Var;
use tensor::{DType, Device, Shape, Stream, Tensor};

use crate::{Buffer, Context, Error, Param, Result};

/// A node of a model's tree; derive it with `#[derive(Module)]`.
///
/// Everything that only needs names and tensors is in [`ModuleExt`].
pub trait Module: Any + Send + Sync {
    /// The type's name, for summaries.
    fn type_name(&self) -> &'static str;
    /// The children by name, in order of definition.
    fn children(&self) -> Vec<(String, Child<'_>)>;
    /// The children by name, to be changed.
    fn children_mut(&mut self) -> Vec<(String, ChildMut<'_>)>;
}

/// A module that maps one variable to one variable.
pub trait Forward: Module {
    /// Computes the output. Callers use [`call`](Self::call), which also tells observers.
    fn forward(&self, x: &Var, cx: &mut Context) -> Var;

    /// Multiply-accumulates of one forward, children not counted.
    fn macs(&self, _input: &Shape, _output: &Shape) -> u64 {
        0
    }

    /// [`forward`](Self::forward), seen by the context's observer: what PyTorch's `module(x)` is to `module.forward(x)`.
    fn call(&self, x: &Var, cx: &mut Context) -> Var {
        cx.enter(self);
        let y = self.forward(x, cx);
        cx.leave(self, x, &y);
        y
    }
}

/// A named child of a module.
pub enum Child<'a> {
    /// A trainable tensor.
    Param(&'a Param),
    /// A tensor that is state but not trained.
    Buffer(&'a Buffer),
    /// A module.
    Module(&'a dyn Module),
}

/// A named child of a module, to be changed.
pub enum ChildMut<'a> {
    /// A trainable tensor.
    Param(&'a mut Param),
    /// A tensor that is state but not trained.
    Buffer(&'a mut Buffer),
    /// A module.
    Module(&'a mut dyn Module),
}

/// What may be a field of a module: [`Param`], [`Buffer`], a module, `Box<dyn Forward>`, or `Vec` or `Option` of them.
///
/// The derive macro implements it; there is no reason to do so by hand.
pub trait Field {
    /// Adds this field's children under `name` (their own names if `name` is empty).
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>);
    /// As [`collect`](Self::collect), to be changed.
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>);
}

impl Field for Param {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        out.push((name.to_owned(), Child::Param(self)));
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        out.push((name.to_owned(), ChildMut::Param(self)));
    }
}

impl Field for Buffer {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        out.push((name.to_owned(), Child::Buffer(self)));
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        out.push((name.to_owned(), ChildMut::Buffer(self)));
    }
}

impl<T: Field> Field for Vec<T> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        for (i, item) in self.iter().enumerate() {
            item.collect(&join(name, &i.to_string()), out);
        }
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        for (i, item) in self.iter_mut().enumerate() {
            item.collect_mut(&join(name, &i.to_string()), out);
        }
    }
}

impl<T: Field> Field for Option<T> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        if let Some(item) = self {
            item.collect(name, out);
        }
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        if let Some(item) = self {
            item.collect_mut(name, out);
        }
    }
}

impl Field for Box<dyn Forward> {
    fn collect<'a>(&'a self, name: &str, out: &mut Vec<(String, Child<'a>)>) {
        collect_module(&**self, name, out);
    }
    fn collect_mut<'a>(&'a mut self, name: &str, out: &mut Vec<(String, ChildMut<'a>)>) {
        collect_module_mut(&mut **self, name, out);
    }
}

/// Adds a module as a child, or its children if `name` is empty. For the derive macro.
pub fn collect_module<'a>(module: &'a dyn Module, name: &str, out: &mut Vec<(String, Child<'a>)>) {
    if name.is_empty() {
        out.extend(module.children());
    } else {
        out.push((name.to_owned(), Child::Module(module)));
    }
}

/// As [`collect_module`], to be changed. For the derive macro.
pub fn collect_module_mut<'a>(
    module: &'a mut dyn Module,
    name: &str,
    out: &mut Vec<(String, ChildMut<'a>)>,
) {
    if name.is_empty() {
        out.extend(module.children_mut());
    } else {
        out.push((name.to_owned(), ChildMut::Module(module)));
    }
}

fn join(prefix: &str, name: &str) -> String {
    match (prefix, name) {
        ("", name) => name.to_owned(),
        (prefix, "") => prefix.to_owned(),
        (prefix, name) => format!("{prefix}.{name}"),
    }
}

/// Address and type of a module: what tells it from every other module of a model, its own fields included.
pub(crate) fn identity(module: &dyn Module) -> (usize, TypeId) {
    (module as *const dyn Module as *const () as usize, module.type_id())
}

/// Calls `f` with the path of `module` (empty) and of every module below it, parents first.
pub fn for_each_module<'a>(module: &'a dyn Module, f: &mut dyn FnMut(&str, &'a dyn Module)) {
    fn walk<'a>(path: &str, module: &'a dyn Module, f: &mut dyn FnMut(&str, &'a dyn Module)) {
        f(path, module);
        for (name, child) in module.children() {
            if let Child::Module(child) = child {
                walk(&join(path, &name), child, f);
            }
        }
    }
    walk("", module, f);
}

/// Calls `f` with the path of `module` (empty) and of every module below it, children before parents, to be changed.
pub fn for_each_module_mut(module: &mut dyn Module, f: &mut dyn FnMut(&str, &mut dyn Module)) {
    fn walk(path: &str, module: &mut dyn Module, f: &mut dyn FnMut(&str, &mut dyn Module)) {
        for (name, child) in module.children_mut() {
            if let ChildMut::Module(child) = child {
                walk(&join(path, &name), child, f);
            }
        }
        f(path, module);
    }
    walk("", module, f);
}

enum Tensors<'a> {
    Param(&'a Param),
    Buffer(&'a Buffer),
}

enum TensorsMut<'a> {
    Param(&'a mut Param),
    Buffer(&'a mut Buffer),
}

impl TensorsMut<'_> {
    fn shape(&self) -> Shape {
        match self {
            TensorsMut::Param(p) => p.shape(),
            TensorsMut::Buffer(b) => b.get().shape(),
        }
    }

    /// Takes the value, in the dtype and on the device of the old one, if there is one.
    fn set(self, value: Tensor) {
        match self {
            TensorsMut::Param(p) if p.is_initialized() => {
                let (dtype, device) = (p.value().dtype(), p.value().device());
                p.set(value.to_dtype(dtype).to_device(device));
            }
            TensorsMut::Param(p) => p.set(value),
            TensorsMut::Buffer(b) => {
                let old = b.get();
                b.set(value.to_dtype(old.dtype()).to_device(old.device()));
            }
        }
    }
}

/// What a lenient load found: [`ModuleExt::load_state_dict_lenient`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Number of tensors loaded.
    pub count: usize,
    /// Names the model has and the state dict lacks.
    pub missing: Vec<String>,
    /// Names the state dict has and the model lacks.
    pub unexpected: Vec<String>,
    /// Tensors of another shape: (name, expected, found).
    pub mismatched: Vec<(String, String, String)>,
}

impl Loaded {
    /// Whether everything fitted.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }
}

fn tensors<'a, M: Module + ?Sized>(module: &'a M) -> Vec<(String, Tensors<'a>)> {
    let mut out = Vec::new();
    for (name, child) in module.children() {
        match child {
            Child::Param(p) => out.push((name, Tensors::Param(p))),
            Child::Buffer(b) => out.push((name, Tensors::Buffer(b))),
            Child::Module(m) => {
                out.extend(tensors(m).into_iter().map(|(n, t)| (join(&name, &n), t)));
            }
        }
    }
    out
}

fn tensors_mut<'a, M: Module + ?Sized>(module: &'a mut M) -> Vec<(String, TensorsMut<'a>)> {
    let mut out = Vec::new();
    for (name, child) in module.children_mut() {
        match child {
            ChildMut::Param(p) => out.push((name, TensorsMut::Param(p))),
            ChildMut::Buffer(b) => out.push((name, TensorsMut::Buffer(b))),
            ChildMut::Module(m) => {
                out.extend(tensors_mut(m).into_iter().map(|(n, t)| (join(&name, &n), t)));
            }
        }
    }
    out
}

/// What follows from a module's tree. Implemented for every [`Module`].
pub trait ModuleExt: Module {
    /// All parameters with their state-dict names, in order of definition.
    fn named_parameters(&self) -> Vec<(String, &Param)> {
        let params = tensors(self).into_iter().filter_map(|(name, t)| match t {
            Tensors::Param(p) => Some((name, p)),
            Tensors::Buffer(_) => None,
        });
        params.collect()
    }

    /// All parameters with their state-dict names, to be changed.
    fn named_parameters_mut(&mut self) -> Vec<(String, &mut Param)> {
        let params = tensors_mut(self).into_iter().filter_map(|(name, t)| match t {
            TensorsMut::Param(p) => Some((name, p)),
            TensorsMut::Buffer(_) => None,
        });
        params.collect()
    }

    /// Draws every parameter from its [`Init`](crate::Init), by streams keyed by `seed` and its name; buffers move to
    /// `dtype` (floats) and `device`.
    fn initialize(&mut self, seed: u64, dtype: DType, device: Device) {
        let root = Stream::new(seed);
        for (name, t) in tensors_mut(self) {
            match t {
                TensorsMut::Param(p) => p.initialize(dtype, device, &mut root.derive(&name)),
                TensorsMut::Buffer(b) => b.set(converted(&b.get(), dtype, device)),
            }
        }
    }

    /// Converts all parameters and floating buffers to `dtype` and moves everything to `device`.
    fn to(&mut self, dtype: DType, device: Device) {
        for (_, t) in tensors_mut(self) {
            match t {
                TensorsMut::Param(p) if p.is_initialized() => {
                    p.set(converted(p.value(), dtype, device));
                }
                TensorsMut::Param(_) => {}
                TensorsMut::Buffer(b) => b.set(converted(&b.get(), dtype, device)),
            }
        }
    }

    /// Parameters and buffers by name, in order of definition: PyTorch's `state_dict()`.
    ///
    /// # Panics
    /// If a parameter has no values yet.
    fn state_dict(&self) -> Vec<(String, Tensor)> {
        let value = |t| match t {
            Tensors::Param(p) => p.value().clone(),
            Tensors::Buffer(b) => b.get(),
        };
        tensors(self).into_iter().map(|(name, t)| (name, value(t))).collect()
    }

    /// Loads parameters and buffers by name; values are converted to the dtype and device the model has (or keep their
    /// own where the model has no values yet). Nothing is changed on error.
    ///
    /// # Errors
    /// [`Error::StateDict`] naming everything missing, unexpected or of another shape.
    fn load_state_dict(&mut self, state: Vec<(String, Tensor)>) -> Result<()> {
        let expected = tensors(self).into_iter().map(|(name, t)| match t {
            Tensors::Param(p) => (name, p.shape()),
            Tensors::Buffer(b) => (name, b.get().shape()),
        });
        let mut given = check_state(expected, state)?;
        for (name, t) in tensors_mut(self) {
            t.set(given.remove(&name).expect("every name was found above"));
        }
        Ok(())
    }

    /// Loads what fits of a state dict and tells what did not; else as [`load_state_dict`](Self::load_state_dict). What is
    /// missing keeps the values it has, so initialize first. Same as PyTorch's `strict=False`, which however refuses tensors
    /// of another shape.
    fn load_state_dict_lenient(&mut self, state: Vec<(String, Tensor)>) -> Loaded {
        let mut given: HashMap<String, Tensor> = state.into_iter().collect();
        let mut loaded = Loaded::default();
        for (name, t) in tensors_mut(self) {
            let expected = t.shape();
            match given.remove(&name) {
                None => loaded.missing.push(name),
                Some(value) if value.shape() != expected => {
                    let found = value.shape().to_string();
                    loaded.mismatched.push((name, expected.to_string(), found));
                }
                Some(value) => {
                    t.set(value);
                    loaded.count += 1;
                }
            }
        }
        loaded.unexpected = given.into_keys().collect();
        loaded.unexpected.sort();
        loaded
    }

    /// Number of elements of all parameters (buffers not counted).
    fn num_parameters(&self) -> usize {
        self.named_parameters().iter().map(|(_, p)| p.shape().numel()).sum()
    }

    /// Freezes or unfreezes every parameter for whose name `which` is true.
    fn set_requires_grad(&mut self, requires_grad: bool, which: impl Fn(&str) -> bool)
    where
        Self: Sized,
    {
        for (name, p) in self.named_parameters_mut() {
            if which(&name) {
                p.set_requires_grad(requires_grad);
            }
        }
    }
}

impl<M: Module + ?Sized> ModuleExt for M {}

/// The given tensors by name, if they are the expected ones; else an error that names every difference.
pub(crate) fn check_state(
    expected: impl Iterator<Item = (String, Shape)>,
    given: Vec<(String, Tensor)>,
) -> Result<HashMap<String, Tensor>> {
    let given: HashMap<String, Tensor> = given.into_iter().collect();
    let (mut missing, mut mismatched) = (Vec::new(), Vec::new());
    let mut names = HashSet::new();
    for (name, shape) in expected {
        match given.get(&name) {
            None => missing.push(name.clone()),
            Some(v) if v.shape() != shape => {
                mismatched.push((name.clone(), shape.to_string(), v.shape().to_string()))
            }
            Some(_) => {}
        }
        names.insert(name);
    }
    let mut unexpected: Vec<String> =
        given.keys().filter(|k| !names.contains(*k)).cloned().collect();
    unexpected.sort();
    if missing.is_empty() && unexpected.is_empty() && mismatched.is_empty() {
        Ok(given)
    } else {
        Err(Error::StateDict { missing, unexpected, mismatched })
    }
}

fn converted(t: &Tensor, dtype: DType, device: Device) -> Tensor {
    let t = t.to_device(device);
    if t.dtype().is_float() { t.to_dtype(dtype) } else { t }
}
