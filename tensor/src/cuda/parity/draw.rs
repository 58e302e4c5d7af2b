//! Operands at random: shapes, values, and the many ways in which a tensor can lie in memory.

use crate::{DType, Device, Shape, Stream, Tensor};

/// A view, by how it is made of what it shows.
#[derive(Clone, Debug)]
enum View {
    Permute(Vec<usize>),
    Slice { axis: usize, start: usize, end: usize, step: usize },
    Broadcast(Shape),
}

/// A tensor that can be made on every device, in the same memory there.
#[derive(Clone, Debug)]
pub(super) struct Operand {
    base: Tensor,
    views: Vec<View>,
}

impl Operand {
    pub(super) fn on(&self, device: Device) -> Tensor {
        self.views.iter().fold(self.base.to_device(device), |t, view| match view {
            View::Permute(axes) => t.permute(axes),
            View::Slice { axis, start, end, step } => t.slice(*axis as isize, *start, *end, *step),
            View::Broadcast(shape) => t.broadcast_to(*shape),
        })
    }

    pub(super) fn shape(&self) -> Shape {
        self.on(Device::Cpu).shape()
    }
}

/// A source of operands; `dtype` is that of floats.
pub(super) struct Draw {
    pub(super) stream: Stream,
    pub(super) dtype: DType,
}

impl Draw {
    /// An integer in `low..=high`.
    pub(super) fn int(&mut self, low: usize, high: usize) -> usize {
        low + self.stream.below((high - low + 1) as u64) as usize
    }

    pub(super) fn pair(&mut self, low: usize, high: usize) -> [usize; 2] {
        [self.int(low, high), self.int(low, high)]
    }

    pub(super) fn coin(&mut self) -> bool {
        self.int(0, 1) == 1
    }

    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.int(0, of.len() - 1)]
    }

    /// A shape of `low..=high` axes. Sometimes one of them is long, seldom one is empty.
    pub(super) fn shape(&mut self, low: usize, high: usize) -> Shape {
        // Often as many axes as can be: that is where walks are longest.
        let rank = if self.coin() { high } else { self.int(low, high) };
        let mut dims: Vec<usize> = (0..rank).map(|_| self.int(1, 6)).collect();
        if rank > 0 && self.int(0, 3) == 0 {
            let axis = self.int(0, rank - 1);
            dims[axis] = self.pick(&[33, 70, 300, 0]);
        }
        Shape::new(&dims)
    }

    /// Without empty axes.
    pub(super) fn full_shape(&mut self, low: usize, high: usize) -> Shape {
        loop {
            let shape = self.shape(low, high);
            if shape.numel() > 0 {
                return shape;
            }
        }
    }

    /// A shape that broadcasts to `shape`.
    pub(super) fn narrowed(&mut self, shape: Shape) -> Shape {
        let from =
            if shape.rank() > 0 && self.int(0, 2) == 0 { self.int(0, shape.rank() - 1) } else { 0 };
        let dims: Vec<usize> =
            shape[from..].iter().map(|&d| if self.int(0, 3) == 0 { 1 } else { d }).collect();
        Shape::new(&dims)
    }

    fn values(&mut self, shape: Shape, dtype: DType) -> Tensor {
        let wide = Tensor::randn(shape, DType::F64, Device::Cpu, &mut self.stream);
        match dtype {
            DType::U8 => wide.abs().mul_scalar(2.0).to_dtype(dtype),
            DType::I64 => wide.mul_scalar(3.0).to_dtype(dtype),
            _ => wide.to_dtype(dtype),
        }
    }

    /// Normal numbers (integers around 0, small counts) of a dtype, in memory of any kind.
    pub(super) fn tensor_of(&mut self, shape: impl Into<Shape>, dtype: DType) -> Operand {
        let shape = shape.into();
        let rank = shape.rank();
        let kind = if rank == 0 { 0 } else { self.int(0, 5) };
        let mut dims = shape.to_vec();
        let mut views = Vec::new();
        match kind {
            // Another order of the axes in memory.
            1 | 2 => {
                let order = self.stream.permutation(rank);
                let base: Vec<usize> = order.iter().map(|&a| shape[a]).collect();
                let mut back = vec![0; rank];
                order.iter().enumerate().for_each(|(i, &a)| back[a] = i);
                dims = base;
                views.push(View::Permute(back));
            }
            // A part of a larger tensor.
            3 | 4 => {
                let axis = self.int(0, rank - 1);
                let (start, step) = (self.int(0, 2), self.int(1, 2));
                let end = start + shape[axis] * step;
                dims[axis] = end + self.int(0, 1);
                views.push(View::Slice { axis, start, end, step });
            }
            // A repeated axis.
            5 => {
                let axis = self.int(0, rank - 1);
                dims[axis] = 1;
                views.push(View::Broadcast(shape));
            }
            _ => {}
        }
        Operand { base: self.values(Shape::new(&dims), dtype), views }
    }

    /// As [`tensor_of`](Self::tensor_of), floats.
    pub(super) fn tensor(&mut self, shape: impl Into<Shape>) -> Operand {
        self.tensor_of(shape, self.dtype)
    }

    /// Contiguous floats.
    pub(super) fn plain(&mut self, shape: impl Into<Shape>) -> Operand {
        Operand { base: self.values(shape.into(), self.dtype), views: Vec::new() }
    }

    /// Floats of which many are equal, and some NaN or infinite.
    pub(super) fn special(&mut self, shape: Shape, dtype: DType) -> Operand {
        let mut x = self.tensor_of(shape, dtype);
        if dtype.is_float() {
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0];
            let values: Vec<f64> = x.base.to_f64_vec();
            let values: Vec<f64> =
                values
                    .into_iter()
                    .map(|v| {
                        if self.int(0, 15) == 0 { self.pick(&odd) } else { (v * 2.0).round() / 2.0 }
                    })
                    .collect();
            x.base = Tensor::new(&values, x.base.shape()).to_dtype(dtype);
        }
        x
    }

    /// Indices in `0..len`.
    pub(super) fn index(&mut self, shape: impl Into<Shape>, len: usize) -> Operand {
        let shape = shape.into();
        let values: Vec<i64> =
            (0..shape.numel()).map(|_| self.stream.below(len as u64) as i64).collect();
        Operand { base: Tensor::new(&values, shape), views: Vec::new() }
    }

    /// Images `[N, C, H, W]` in either memory order.
    pub(super) fn images(&mut self, shape: [usize; 4]) -> Operand {
        let [n, c, h, w] = shape;
        if self.coin() {
            return self.plain(shape);
        }
        Operand {
            base: self.values([n, h, w, c].into(), self.dtype),
            views: vec![View::Permute(vec![0, 3, 1, 2])],
        }
    }

    pub(super) fn map(&mut self, x: Operand, f: impl Fn(&Tensor) -> Tensor) -> Operand {
        Operand { base: f(&x.base), ..x }
    }
}
