//! [`Tensor`]: a storage shared by views, seen through a layout.

use std::{fmt, sync::Arc};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{
    DType, Device, Element, Shape, cpu::recycle::Buffer, dtype::with_element, half::Half,
    kernels::Kernels, layout::Layout, shape::axis_index,
};

/// The memory behind one or more tensors.
pub(crate) enum Storage {
    /// Host memory, aligned to 64 bytes.
    Cpu(Buffer),
    /// Memory of a GPU.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Buffer),
}

impl Storage {
    /// The bytes of host memory.
    #[track_caller]
    fn host(&self) -> &[u8] {
        match self {
            Storage::Cpu(buffer) => buffer.bytes(),
            #[cfg(feature = "cuda")]
            Storage::Cuda(buffer) => panic!(
                "an op on cpu, or a program that reads elements, was given a tensor on {}; move it with to_device",
                buffer.gpu.device()
            ),
        }
    }
}

/// An n-dimensional array; cheap to clone (clones and views share memory).
///
/// Values never change behind a clone's back: the few in-place methods (`*_mut`) copy first when the memory
/// is shared. Shapes, dtypes and devices that do not fit are programming errors and panic with one sentence
/// that names the op and all shapes.
///
/// ```
/// use tensor::Tensor;
///
/// let x = Tensor::new(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
/// let y = &x.transpose(0, 1) + &Tensor::new(&[10.0f32, 20.0], [2]);
/// assert_eq!(y.dims(), [3, 2]);
/// assert_eq!(y.to_vec::<f32>(), [11.0, 24.0, 12.0, 25.0, 13.0, 26.0]);
/// ```
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    pub(crate) layout: Layout,
    dtype: DType,
    device: Device,
}

impl Tensor {
    // ---- constructors -------------------------------------------------------------------------------------

    /// A CPU tensor with these elements in row-major order; the dtype is that of `T`.
    ///
    /// # Panics
    /// If `data` does not have as many elements as `shape`.
    #[track_caller]
    pub fn new<T: Element>(data: &[T], shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert!(
            data.len() == shape.numel(),
            "tensor: {} elements given, shape {shape} holds {}",
            data.len(),
            shape.numel()
        );
        Self::build::<T>(Layout::contiguous(shape), Device::Cpu, |out| out.copy_from_slice(data))
    }

    /// A scalar (shape `[]`) on the CPU.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::new(&[value], [])
    }

    /// All elements equal to `value`, converted to `dtype`.
    pub fn full(value: f64, shape: impl Into<Shape>, dtype: DType, device: Device) -> Self {
        Self::filled(value, Layout::contiguous(shape.into()), dtype, device)
    }

    /// All elements 0.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType, device: Device) -> Self {
        Self::full(0.0, shape, dtype, device)
    }

    /// All elements 1.
    pub fn ones(shape: impl Into<Shape>, dtype: DType, device: Device) -> Self {
        Self::full(1.0, shape, dtype, device)
    }

    /// Zeros of the shape, dtype, device and memory order of `self`.
    pub fn zeros_like(&self) -> Self {
        self.full_like(0.0)
    }

    /// `value` everywhere, in the shape, dtype, device and memory order of `self`.
    pub fn full_like(&self, value: f64) -> Self {
        Self::filled(value, self.layout.dense_like(), self.dtype, self.device)
    }

    fn filled(value: f64, layout: Layout, dtype: DType, device: Device) -> Self {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(_) = device {
            return cuda::full(cuda::gpu_of(device), value, layout, dtype);
        }
        with_element!(dtype, T => {
            Self::build::<T>(layout, device, |out| out.fill(T::from_f64(value)))
        })
    }

    /// The integers `0..n` as `I64`, shape `[n]`.
    pub fn arange(n: usize, device: Device) -> Self {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(_) = device {
            return cuda::arange(cuda::gpu_of(device), n);
        }
        Self::build::<i64>(Layout::contiguous([n].into()), device, |out| {
            for (i, o) in out.iter_mut().enumerate() {
                *o = i as i64;
            }
        })
    }

    /// A new tensor of a dense layout whose memory `fill` writes (all of it: its old contents are unspecified); made on the
    /// host and brought to `device`.
    pub(crate) fn build<T: Element>(
        layout: Layout,
        device: Device,
        fill: impl FnOnce(&mut [T]),
    ) -> Self {
        debug_assert!(layout.is_dense() && layout.offset == 0);
        let mut buffer = Buffer::new(layout.shape.numel() * size_of::<T>());
        fill(bytemuck::cast_slice_mut(buffer.bytes_mut()));
        Self::from_host(buffer, layout, T::DTYPE).to_device(device)
    }

    fn from_host(buffer: Buffer, layout: Layout, dtype: DType) -> Self {
        Tensor { storage: Arc::new(Storage::Cpu(buffer)), layout, dtype, device: Device::Cpu }
    }

    /// A tensor of a dense layout that begins where `buffer` begins.
    #[cfg(feature = "cuda")]
    pub(crate) fn from_cuda(buffer: cuda::Buffer, layout: Layout, dtype: DType) -> Self {
        let device = buffer.gpu.device();
        Tensor { storage: Arc::new(Storage::Cuda(buffer)), layout, dtype, device }
    }

    /// The device memory behind the tensor; `None` on the CPU.
    #[cfg(feature = "cuda")]
    pub(crate) fn cuda_buffer(&self) -> Option<&cuda::Buffer> {
        match &*self.storage {
            Storage::Cuda(buffer) => Some(buffer),
            Storage::Cpu(_) => None,
        }
    }

    /// Whether no other tensor shares the memory.
    #[cfg(feature = "cuda")]
    pub(crate) fn owns_storage(&mut self) -> bool {
        Arc::get_mut(&mut self.storage).is_some()
    }

    // ---- properties ---------------------------------------------------------------------------------------

    /// Axis lengths.
    pub fn shape(&self) -> Shape {
        self.layout.shape
    }

    /// Axis lengths as a slice.
    pub fn dims(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Axis lengths as an array of a known rank.
    ///
    /// # Panics
    /// If the tensor has another number of axes.
    #[track_caller]
    pub fn dims_of<const N: usize>(&self) -> [usize; N] {
        self.dims()
            .try_into()
            .unwrap_or_else(|_| panic!("dims_of: shape {} does not have {N} axes", self.shape()))
    }

    /// Length of `axis` (negative: from the end).
    #[track_caller]
    pub fn dim(&self, axis: isize) -> usize {
        self.dims()[axis_index("dim", axis, &self.shape())]
    }

    /// Number of axes.
    pub fn rank(&self) -> usize {
        self.layout.shape.rank()
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.layout.shape.numel()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the elements live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Steps between neighbors along each axis, in elements.
    pub fn strides(&self) -> &[usize] {
        self.layout.strides()
    }

    /// Whether memory is in row-major order without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// Whether a `[N, C, H, W]` tensor lies in memory as N, H, W, C without gaps.
    pub fn is_channels_last(&self) -> bool {
        self.layout.is_channels_last()
    }

    /// Whether `other` shares memory with this tensor.
    pub fn shares_storage(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage)
    }

    /// Address and size in bytes of the memory this tensor keeps alive: the whole of it, however little a view shows.
    /// Equal for views of one memory.
    pub fn storage_extent(&self) -> (usize, usize) {
        match &*self.storage {
            Storage::Cpu(buffer) => (buffer.bytes().as_ptr() as usize, buffer.bytes().len()),
            #[cfg(feature = "cuda")]
            Storage::Cuda(buffer) => (buffer.address() as usize, buffer.len()),
        }
    }

    /// What computes ops on this tensor: its device, with conversions around it for 16-bit floats.
    pub(crate) fn kernels(&self) -> &'static dyn Kernels {
        if self.dtype.is_half() { &Half } else { self.device.kernels() }
    }

    // ---- reading ------------------------------------------------------------------------------------------

    /// The elements in row-major order.
    ///
    /// # Panics
    /// If `T` is not the tensor's dtype.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Vec<T> {
        self.contiguous().to_device(Device::Cpu).dense_slice::<T>().to_vec()
    }

    /// The elements in row-major order, converted to f64.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        self.to_dtype(DType::F64).to_vec()
    }

    /// The only element of a tensor with one element, as f64.
    ///
    /// # Panics
    /// If there is not exactly one element.
    #[track_caller]
    pub fn item(&self) -> f64 {
        assert!(
            self.numel() == 1,
            "item: shape {} has {} elements, not 1",
            self.shape(),
            self.numel()
        );
        self.to_f64_vec()[0]
    }

    /// The elements of a row-major tensor on the CPU without a copy.
    ///
    /// # Panics
    /// If the tensor is not contiguous (call [`contiguous`](Self::contiguous) first) or not on the CPU, or `T` is not its
    /// dtype.
    #[track_caller]
    pub fn as_slice<T: Element>(&self) -> &[T] {
        assert!(
            self.is_contiguous(),
            "as_slice: a view of shape {} is not contiguous",
            self.shape()
        );
        self.dense_slice()
    }

    /// The whole storage; offsets of the layout index into it.
    #[track_caller]
    pub(crate) fn storage_slice<T: Element>(&self) -> &[T] {
        assert!(T::DTYPE == self.dtype, "tensor of dtype {} read as {}", self.dtype, T::DTYPE);
        bytemuck::cast_slice(self.storage.host())
    }

    /// The elements of a dense tensor in memory order.
    #[track_caller]
    pub(crate) fn dense_slice<T: Element>(&self) -> &[T] {
        debug_assert!(self.layout.is_dense());
        &self.storage_slice()[self.layout.offset..][..self.numel()]
    }

    /// Raw bytes of a dense tensor on the CPU in memory order (for files).
    pub(crate) fn dense_bytes(&self) -> &[u8] {
        let size = self.dtype.size();
        &self.storage.host()[self.layout.offset * size..][..self.numel() * size]
    }

    // ---- writing ------------------------------------------------------------------------------------------

    /// Mutable elements of a dense tensor in memory order; copies first if the memory is shared or has gaps.
    ///
    /// # Panics
    /// If `T` is not the tensor's dtype.
    #[track_caller]
    pub(crate) fn dense_slice_mut<T: Element>(&mut self) -> &mut [T] {
        assert!(T::DTYPE == self.dtype, "tensor of dtype {} written as {}", self.dtype, T::DTYPE);
        if !self.layout.is_dense() || Arc::get_mut(&mut self.storage).is_none() {
            *self = self.device.kernels().copy(self, self.layout.dense_like());
        }
        let (offset, n) = (self.layout.offset, self.numel());
        match Arc::get_mut(&mut self.storage).expect("a fresh copy has one owner") {
            Storage::Cpu(buffer) => {
                &mut bytemuck::cast_slice_mut(buffer.bytes_mut())[offset..offset + n]
            }
            #[cfg(feature = "cuda")]
            Storage::Cuda(buffer) => panic!(
                "an op on cpu was given a tensor on {}; move one of them with to_device",
                buffer.gpu.device()
            ),
        }
    }

    // ---- views --------------------------------------------------------------------------------------------

    /// This storage seen through another layout.
    pub(crate) fn view(&self, layout: Layout) -> Self {
        Tensor { layout, ..self.clone() }
    }

    /// The same elements under another shape; a view where strides allow, else a copy. Like `torch.reshape`.
    ///
    /// # Panics
    /// If the number of elements differs.
    #[track_caller]
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        assert!(
            shape.numel() == self.numel(),
            "reshape: shape {} has {} elements, {shape} has {}",
            self.shape(),
            self.numel(),
            shape.numel()
        );
        match self.layout.reshape(shape) {
            Some(layout) => self.view(layout),
            None => self.contiguous().reshape(shape),
        }
    }

    /// Axes in another order (a view). Like `torch.permute`.
    ///
    /// # Panics
    /// If `axes` is not a permutation of all axes.
    #[track_caller]
    pub fn permute(&self, axes: &[usize]) -> Self {
        let mut seen = [false; crate::MAX_RANK];
        let valid = axes.len() == self.rank()
            && axes.iter().all(|&a| a < self.rank() && !std::mem::replace(&mut seen[a], true));
        assert!(valid, "permute: {axes:?} is not an order of the axes of shape {}", self.shape());
        self.view(self.layout.permute(axes))
    }

    /// Two axes exchanged (a view; negative: from the end). Like `torch.transpose`.
    #[track_caller]
    pub fn transpose(&self, a: isize, b: isize) -> Self {
        let mut axes: Vec<usize> = (0..self.rank()).collect();
        let shape = self.shape();
        axes.swap(axis_index("transpose", a, &shape), axis_index("transpose", b, &shape));
        self.permute(&axes)
    }

    /// `len` elements of `axis` from `start` (a view). Like `torch.narrow`.
    ///
    /// # Panics
    /// If the range does not lie inside the axis.
    #[track_caller]
    pub fn narrow(&self, axis: isize, start: usize, len: usize) -> Self {
        self.slice(axis, start, start + len, 1)
    }

    /// Elements `start, start + step, ..` before `end` of `axis` (a view). Like `x[start:end:step]`.
    ///
    /// # Panics
    /// If the range does not lie inside the axis or `step` is 0.
    #[track_caller]
    pub fn slice(&self, axis: isize, start: usize, end: usize, step: usize) -> Self {
        let axis = axis_index("slice", axis, &self.shape());
        assert!(
            start <= end && end <= self.dims()[axis] && step > 0,
            "slice: {start}..{end} in steps of {step} does not lie in axis {axis} of shape {}",
            self.shape()
        );
        self.view(self.layout.slice(axis, start, end, step))
    }

    /// Index `index` of `axis`, with the axis removed (a view). Like `torch.select`.
    #[track_caller]
    pub fn select(&self, axis: isize, index: usize) -> Self {
        self.narrow(axis, index, 1).squeeze(axis)
    }

    /// Without `axis`, which must have length 1 (a view).
    #[track_caller]
    pub fn squeeze(&self, axis: isize) -> Self {
        let shape = self.shape();
        let axis = axis_index("squeeze", axis, &shape);
        assert!(
            shape[axis] == 1,
            "squeeze: axis {axis} of shape {shape} has length {}",
            shape[axis]
        );
        self.reshape(shape.without_axis(axis))
    }

    /// With a new axis of length 1 at `axis` (a view; `-1` puts it last).
    #[track_caller]
    pub fn unsqueeze(&self, axis: isize) -> Self {
        let mut dims = self.dims().to_vec();
        let at = if axis < 0 { axis + self.rank() as isize + 1 } else { axis };
        assert!(
            (0..=self.rank() as isize).contains(&at),
            "unsqueeze: axis {axis} is out of range for shape {}",
            self.shape()
        );
        dims.insert(at as usize, 1);
        self.reshape(dims)
    }

    /// Repeated along axes of length 1 and new leading axes, without a copy. Like `torch.broadcast_to`.
    ///
    /// # Panics
    /// If the shape does not broadcast to `shape`.
    #[track_caller]
    pub fn broadcast_to(&self, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let layout = self.layout.broadcast_to(shape).unwrap_or_else(|| {
            panic!("broadcast_to: shape {} does not broadcast to {shape}", self.shape())
        });
        self.view(layout)
    }

    /// This tensor in row-major memory; itself if it is already.
    pub fn contiguous(&self) -> Self {
        if self.is_contiguous() {
            return self.clone();
        }
        self.device.kernels().copy(self, Layout::contiguous(self.shape()))
    }

    /// A `[N, C, H, W]` tensor in N, H, W, C memory; itself if it is already.
    ///
    /// # Panics
    /// If the tensor does not have 4 axes.
    #[track_caller]
    pub fn channels_last(&self) -> Self {
        assert!(self.rank() == 4, "channels_last: shape {} does not have 4 axes", self.shape());
        if self.is_channels_last() {
            return self.clone();
        }
        self.device.kernels().copy(self, Layout::channels_last(self.shape()))
    }

    // ---- conversion ---------------------------------------------------------------------------------------

    /// Elements converted to `dtype`; itself if it has it already. Floats to integers truncate toward zero.
    pub fn to_dtype(&self, dtype: DType) -> Self {
        if self.dtype == dtype {
            return self.clone();
        }
        self.device.kernels().cast(self, dtype)
    }

    /// This tensor on `device`, in the same memory order; itself if it is there already.
    ///
    /// # Panics
    /// If the device cannot be used (ask [`Device::cuda`] first) or has no memory left.
    #[track_caller]
    pub fn to_device(&self, device: Device) -> Self {
        match (self.device, device) {
            (from, to) if from == to => self.clone(),
            #[cfg(feature = "cuda")]
            (Device::Cpu, Device::Cuda(_)) => {
                let x = self.dense();
                let buffer = cuda::gpu_of(device).upload(x.dense_bytes());
                let buffer = buffer.unwrap_or_else(|error| panic!("to_device: {error}"));
                Self::from_cuda(buffer, x.layout.dense_like(), x.dtype)
            }
            #[cfg(feature = "cuda")]
            (Device::Cuda(_), Device::Cpu) => {
                let (x, size) = (self.dense(), self.dtype.size());
                let mut buffer = Buffer::new(x.numel() * size);
                if let Some(from) = x.cuda_buffer() {
                    let at = from.address() + (x.layout.offset * size) as u64;
                    let copied = from.gpu.download(at, buffer.bytes_mut());
                    copied.unwrap_or_else(|error| panic!("to_device: {error}"));
                }
                Self::from_host(buffer, x.layout.dense_like(), x.dtype)
            }
            // From one GPU to another by way of the host.
            #[cfg(feature = "cuda")]
            _ => self.to_device(Device::Cpu).to_device(device),
            #[cfg(not(feature = "cuda"))]
            _ => self.clone(),
        }
    }

    /// This tensor, or where it has gaps a dense copy of it.
    #[cfg(feature = "cuda")]
    fn dense(&self) -> Self {
        if self.layout.is_dense() {
            return self.clone();
        }
        self.device.kernels().copy(self, self.layout.dense_like())
    }
}

impl fmt::Debug for Tensor {
    /// Shape, dtype and up to eight elements: `Tensor [2, 3] f32 [1.0, 2.0, …]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "Tensor {} {} [", self.shape(), self.dtype)?;
        let flat = self.reshape([self.numel()]);
        let head = flat.narrow(0, 0, self.numel().min(SHOWN)).to_f64_vec();
        for (i, v) in head.iter().enumerate() {
            write!(f, "{}{v}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "{}]", if self.numel() > SHOWN { ", …" } else { "" })
    }
}
