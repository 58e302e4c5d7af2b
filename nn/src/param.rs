//! [`Param`] and [`Buffer`]: the tensors a module owns.

use std::sync::{Mutex, MutexGuard};

use autograd::Var;
use tensor::{DType, Device, Shape, Stream, Tensor};

use crate::Init;

/// A trainable tensor of a module.
///
/// A new parameter knows its shape and how it starts, but has no values yet:
/// [`ModuleExt::initialize`](crate::ModuleExt::initialize) draws them, or a state dict brings them. Using it before is
/// a programming error with a message that says so.
#[derive(Debug)]
pub struct Param {
    shape: Shape,
    init: Init,
    value: Option<Var>,
    requires_grad: bool,
}

impl Param {
    /// A parameter of this shape that will start from `init`.
    pub fn new(shape: impl Into<Shape>, init: Init) -> Self {
        Param { shape: shape.into(), init, value: None, requires_grad: true }
    }

    /// A parameter with these values.
    pub fn from_tensor(value: Tensor) -> Self {
        Param {
            shape: value.shape(),
            init: Init::Constant(0.0),
            value: Some(Var::leaf(value)),
            requires_grad: true,
        }
    }

    /// Axis lengths.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// How it starts.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// Sets how it will start at the next [`initialize`](Self::initialize).
    pub fn set_init(&mut self, init: Init) {
        self.init = init;
    }

    /// Draws the values.
    pub fn initialize(&mut self, dtype: DType, device: Device, stream: &mut Stream) {
        self.set(self.init.draw(self.shape, dtype, device, stream));
    }

    /// Whether the parameter has values.
    pub fn is_initialized(&self) -> bool {
        self.value.is_some()
    }

    /// The leaf variable, whose gradient [`Gradients`](autograd::Gradients) holds.
    ///
    /// # Panics
    /// If the parameter has no values yet.
    #[track_caller]
    pub fn leaf(&self) -> &Var {
        self.value.as_ref().unwrap_or_else(|| {
            panic!(
                "a parameter of shape {} has no values yet: call model.initialize(seed, dtype, device) \
                 or load a state dict first",
                self.shape
            )
        })
    }

    /// The values.
    ///
    /// # Panics
    /// As [`leaf`](Self::leaf).
    #[track_caller]
    pub fn value(&self) -> &Tensor {
        self.leaf().value()
    }

    /// The values, to be changed in place; the leaf stays the same.
    ///
    /// # Panics
    /// As [`leaf`](Self::leaf).
    #[track_caller]
    pub fn value_mut(&mut self) -> &mut Tensor {
        self.leaf();
        self.value.as_mut().expect("leaf() has checked it").value_mut()
    }

    /// Replaces the values (and the shape, if another is given).
    pub fn set(&mut self, value: Tensor) {
        self.shape = value.shape();
        self.value = Some(Var::leaf(value));
    }

    /// Whether the parameter is trained.
    pub fn requires_grad(&self) -> bool {
        self.requires_grad
    }

    /// Freezes (`false`) or unfreezes the parameter: a frozen one gets no gradient and no update.
    pub fn set_requires_grad(&mut self, requires_grad: bool) {
        self.requires_grad = requires_grad;
    }
}

/// A tensor that belongs to a module's state but is not trained: running statistics.
///
/// A forward in training mode replaces it through a shared reference, hence the lock.
#[derive(Debug)]
pub struct Buffer {
    value: Mutex<Tensor>,
}

impl Buffer {
    /// A buffer with these values.
    pub fn new(value: Tensor) -> Self {
        Buffer { value: Mutex::new(value) }
    }

    fn lock(&self) -> MutexGuard<'_, Tensor> {
        // A panic elsewhere cannot leave a tensor half written: it is replaced whole.
        self.value.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The values.
    pub fn get(&self) -> Tensor {
        self.lock().clone()
    }

    /// Replaces the values.
    pub fn set(&self, value: Tensor) {
        *self.lock() = value;
    }

    /// The values, to be changed in place.
    pub fn get_mut(&mut self) -> &mut Tensor {
        self.value.get_mut().unwrap_or_else(|e| e.into_inner())
    }
}
