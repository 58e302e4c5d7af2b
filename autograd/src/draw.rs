//! [`Draw`]: random inputs for checks, the same on every machine.

use tensor::{DType, Device, Shape, Stream, Tensor};

/// A geometry of `conv2d`: everything but the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvCase {
    /// Input `[N, C, H, W]`.
    pub input: [usize; 4],
    /// Weight `[O, C / groups, kh, kw]`.
    pub weight: [usize; 4],
    /// Step of the window, `[h, w]`.
    pub stride: [usize; 2],
    /// Zeros on both sides, `[h, w]`.
    pub padding: [usize; 2],
    /// Spacing of the taps, `[h, w]`.
    pub dilation: [usize; 2],
    /// Blocks of channels that do not see each other.
    pub groups: usize,
}

/// Draws inputs for checks: the same for the same name and seed, on every machine.
#[derive(Clone, Debug)]
pub struct Draw {
    stream: Stream,
    large: bool,
}

/// About how many elements a large shape has: a few times what is worth a second thread.
const LARGE: f64 = 100e3;

impl Draw {
    /// The draws of case `seed` of `name`.
    pub fn new(name: &str, seed: u64) -> Self {
        Draw { stream: Stream::new(seed).derive(name), large: false }
    }

    /// The same with shapes so large that the work is split over threads, for
    /// [`thread_independence`](crate::gradcheck::thread_independence): too large for numeric derivatives.
    pub fn large(name: &str, seed: u64) -> Self {
        Draw { stream: Stream::new(seed).derive(name), large: true }
    }

    /// An integer of `range`, uniform.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn int(&mut self, range: std::ops::RangeInclusive<usize>) -> usize {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "draw: the range {low}..={high} is empty");
        low + self.stream.below((high - low + 1) as u64) as usize
    }

    /// The length of an axis: of `small`, or of `large` where shapes are large.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn len(
        &mut self,
        small: std::ops::RangeInclusive<usize>,
        large: std::ops::RangeInclusive<usize>,
    ) -> usize {
        self.int(if self.large { large } else { small })
    }

    /// True with probability one half.
    pub fn flag(&mut self) -> bool {
        self.int(0..=1) == 1
    }

    /// A shape of `rank` axes of lengths 1 to 4, rarely 0; some 100,000 elements where shapes are large and `rank` is not 0.
    pub fn shape(&mut self, rank: std::ops::RangeInclusive<usize>) -> Shape {
        let rank = self.int(rank);
        if self.large {
            let len = LARGE.powf(1.0 / rank.max(1) as f64);
            let range = (0.8 * len) as usize..=(1.3 * len) as usize;
            return (0..rank).map(|_| self.int(range.clone())).collect::<Vec<_>>().into();
        }
        self.small_shape(rank)
    }

    /// A shape of `rank` axes of lengths 1 to 4, rarely 0.
    pub(crate) fn small_shape(&mut self, rank: usize) -> Shape {
        let empty = self.int(0..=15) == 0;
        let dims: Vec<usize> = (0..rank).map(|_| self.int(usize::from(!empty)..=4)).collect();
        Shape::new(&dims)
    }

    /// Two shapes that broadcast: axes of 1 and missing leading axes on either side.
    pub fn broadcasting_shapes(&mut self) -> (Shape, Shape) {
        let full = self.shape(0..=4);
        let side = |d: &mut Self| {
            let dims: Vec<usize> =
                full.iter().map(|&n| if d.int(0..=2) == 0 { 1 } else { n }).collect();
            let skip = d.int(0..=full.rank()).min(d.int(0..=full.rank()));
            Shape::new(&dims[skip..])
        };
        let a = side(self);
        let b = side(self);
        if self.flag() { (full, a) } else { (a, b) }
    }

    /// Standard normal values, f64.
    pub fn normal(&mut self, shape: impl Into<Shape>) -> Tensor {
        Tensor::randn(shape.into(), DType::F64, Device::Cpu, &mut self.stream)
    }

    /// Uniform values of `low..high`, f64.
    pub fn uniform(&mut self, shape: impl Into<Shape>, low: f64, high: f64) -> Tensor {
        Tensor::rand(shape.into(), DType::F64, Device::Cpu, &mut self.stream)
            .mul_scalar(high - low)
            .add_scalar(low)
    }

    /// Normal values with magnitudes of at least 0.1: away from a kink at 0.
    pub fn away_from_zero(&mut self, shape: impl Into<Shape>) -> Tensor {
        let x = self.normal(shape);
        &x + &x.sign().mul_scalar(0.1)
    }

    /// Distinct values at least 0.1 apart in random order: no ties for a maximum.
    pub fn distinct(&mut self, shape: impl Into<Shape>) -> Tensor {
        let shape = shape.into();
        let order = self.stream.permutation(shape.numel());
        let values: Vec<f64> =
            order.iter().map(|&i| (i as f64 - shape.numel() as f64 / 2.0) * 0.1 + 0.03).collect();
        Tensor::new(&values, shape)
    }

    /// A `conv2d` geometry over the whole grid of stride, padding, dilation, groups and rectangular kernels.
    pub fn conv(&mut self) -> ConvCase {
        let stride = [self.int(1..=3), self.int(1..=3)];
        let padding = [self.int(0..=3), self.int(0..=3)];
        let dilation = [self.int(1..=2), self.int(1..=2)];
        let kernel = [self.int(1..=4), self.int(1..=4)];
        let groups = [1, 1, 2, 3][self.int(0..=3)];
        let (per_group_in, per_group_out) = (self.int(1..=3), self.int(1..=3));
        let mut input = [self.int(1..=3), groups * per_group_in, 0, 0];
        for axis in 0..2 {
            let span = dilation[axis] * (kernel[axis] - 1) + 1;
            let smallest = span.saturating_sub(2 * padding[axis]).max(1);
            input[2 + axis] = smallest + self.len(0..=5, 60..=90);
        }
        let weight = [groups * per_group_out, per_group_in, kernel[0], kernel[1]];
        ConvCase { input, weight, stride, padding, dilation, groups }
    }

    /// The random stream, for draws of other kinds.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}
