//! Counter-based random streams: the same numbers on every device and for any number of threads.
//!
//! A [`Stream`] is a key and a position; the numbers are Philox4x32-10 of the two, so a stream can be saved as two
//! integers and a tensor can be filled in parallel, each element from its own index. Whoever needs randomness
//! gets a stream as an argument; streams for parts (a layer, a worker, an epoch) are derived by name or index,
//! so that adding one part does not change the numbers of another.
//!
//! Logarithm, sine and cosine are taken from `libm`, not from the system, for the same bits everywhere.

use std::f64::consts::TAU;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{
    DType, Device, Element, Shape, Tensor,
    cpu::parallel::for_each_chunk,
    dtype::{with_element, with_float},
    layout::Layout,
};

/// One block of Philox4x32-10: four random words from a 128-bit counter and a 64-bit key.
///
/// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.2; constants from Random123.
fn philox(mut counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const M: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const W: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let mut k = key;
    for _ in 0..10 {
        let p0 = M[0] * u64::from(counter[0]);
        let p1 = M[1] * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ k[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ k[1],
            p0 as u32,
        ];
        k = [k[0].wrapping_add(W[0]), k[1].wrapping_add(W[1])];
    }
    counter
}

fn block(key: u64, index: u64) -> [u32; 4] {
    philox([index as u32, (index >> 32) as u32, 0, 0], [key as u32, (key >> 32) as u32])
}

fn join(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// The top 53 bits as a number in `[0, 1)`.
fn unit_f64(bits: u64) -> f64 {
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// Two independent standard normals from two uniforms in `[0, 1)` (Box and Muller 1958).
fn box_muller(u: f64, v: f64) -> [f64; 2] {
    // 1 - u lies in (0, 1]: the logarithm is finite.
    let r = (-2.0 * libm::log(1.0 - u)).sqrt();
    let (sin, cos) = libm::sincos(TAU * v);
    [r * cos, r * sin]
}

/// FNV-1a over a parent's key, a tag and the child's name, with the finalizer of MurmurHash3.
fn child_key(key: u64, tag: u8, name: &[u8]) -> u64 {
    let mut h = 0xCBF2_9CE4_8422_2325_u64;
    for &byte in key.to_le_bytes().iter().chain([&tag]).chain(name) {
        h = (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    h = (h ^ (h >> 33)).wrapping_mul(0xFF51_AFD7_ED55_8CCD);
    h = (h ^ (h >> 33)).wrapping_mul(0xC4CE_B9FE_1A85_EC53);
    h ^ (h >> 33)
}

/// A sequence of random numbers: Philox4x32-10 with a 64-bit key, and how far it has been read.
///
/// ```
/// use tensor::Stream;
///
/// let root = Stream::new(42);
/// let mut a = root.derive("dropout").derive_index(3);
/// let mut b = Stream::from_state(a.state());
/// assert_eq!(a.next_u64(), b.next_u64());
/// assert_ne!(root.derive("augment").next_u64(), root.derive("dropout").next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct Stream {
    key: u64,
    /// Words of 32 bits read so far; word `i` is lane `i % 4` of block `i / 4`.
    position: u64,
    /// The block that holds word `position - 1`, meaningless at a multiple of 4.
    current: [u32; 4],
}

impl Stream {
    /// The stream of this seed, at its beginning.
    pub fn new(seed: u64) -> Self {
        Stream::from_state([seed, 0])
    }

    /// An independent stream for the part called `name`; does not depend on how far `self` has been read.
    pub fn derive(&self, name: &str) -> Self {
        Stream::new(child_key(self.key, b'n', name.as_bytes()))
    }

    /// An independent stream for part number `index`; does not depend on how far `self` has been read.
    pub fn derive_index(&self, index: u64) -> Self {
        Stream::new(child_key(self.key, b'i', &index.to_le_bytes()))
    }

    /// Key and position: everything there is to save in a checkpoint.
    pub fn state(&self) -> [u64; 2] {
        [self.key, self.position]
    }

    /// The stream that goes on where [`state`](Self::state) was taken.
    pub fn from_state([key, position]: [u64; 2]) -> Self {
        let current = if position % 4 == 0 { [0; 4] } else { block(key, position / 4) };
        Stream { key, position, current }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        let lane = (self.position % 4) as usize;
        if lane == 0 {
            self.current = block(self.key, self.position / 4);
        }
        self.position = self.position.wrapping_add(1);
        self.current[lane]
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let low = self.next_u32();
        join(low, self.next_u32())
    }

    /// A number in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        unit_f64(self.next_u64())
    }

    /// A number from the normal distribution of mean 0 and variance 1.
    pub fn normal(&mut self) -> f64 {
        let u = self.uniform();
        // The second normal is dropped: keeping it would be state that a checkpoint has to know of.
        box_muller(u, self.uniform())[0]
    }

    /// An integer in `0..n`, each equally likely.
    ///
    /// Source: Lemire 2019, "Fast random integer generation in an interval".
    ///
    /// # Panics
    /// If `n` is 0.
    #[track_caller]
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "below: there is no integer below 0");
        // 2^64 mod n products are one too many: reject those.
        let surplus = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            if product as u64 >= surplus {
                return (product >> 64) as u64;
            }
        }
    }

    /// Puts `items` in a random order, each equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// The integers `0..n` in a random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Self) -> bool {
        self.state() == other.state()
    }
}

impl Eq for Stream {}

/// A type that random fills produce, with as many random bits as it has digits.
trait Random: Element {
    /// Binary digits of the mantissa: uniform numbers are multiples of two to minus this.
    const RANDOM_BITS: u32;
}

impl Random for f32 {
    const RANDOM_BITS: u32 = f32::MANTISSA_DIGITS;
}
impl Random for f64 {
    const RANDOM_BITS: u32 = f64::MANTISSA_DIGITS;
}

/// Elements of one parallel piece of work; a multiple of the 4 words of a block.
const PIECE: usize = 8 * 1024;

/// Fills a new tensor from a key: `f` turns a block of four words into `PER` consecutive elements.
fn fill<T: Element, const PER: usize>(
    shape: Shape,
    device: Device,
    key: u64,
    f: impl Fn([u32; 4]) -> [T; PER] + Sync,
) -> Tensor {
    Tensor::build::<T>(Layout::contiguous(shape), device, |out| {
        for_each_chunk(out, PIECE, |start, piece| {
            for (i, group) in piece.chunks_mut(PER).enumerate() {
                let values = f(block(key, ((start / PER) + i) as u64));
                group.copy_from_slice(&values[..group.len()]);
            }
        });
    })
}

impl Tensor {
    /// Uniform numbers in `[0, 1)`: multiples of 2⁻²⁴ in f32, of 2⁻⁵³ in f64. Like `torch.rand`.
    ///
    /// One 64-bit key is drawn from `stream`; each element is a function of that key and its row-major index. 16-bit floats
    /// are those of f32, rounded (to 1, it may be).
    ///
    /// # Panics
    /// If the dtype is no float.
    #[track_caller]
    pub fn rand(
        shape: impl Into<Shape>,
        dtype: DType,
        device: Device,
        stream: &mut Stream,
    ) -> Self {
        if dtype.is_half() {
            return Self::rand(shape, DType::F32, device, stream).to_dtype(dtype);
        }
        let (shape, key) = (shape.into(), stream.next_u64());
        with_float!("rand", dtype, T => {
            #[cfg(feature = "cuda")]
            if let Device::Cuda(_) = device {
                let gpu = cuda::gpu_of(device);
                return cuda::draw(gpu, cuda::Distribution::Uniform, shape, dtype, key);
            }
            // One word is enough for 24 digits, 53 take two.
            let unit = |bits: u64| {
                let top = bits >> (64 - T::RANDOM_BITS);
                T::from_f64(top as f64 / (1u64 << T::RANDOM_BITS) as f64)
            };
            match size_of::<T>() {
                4 => fill(shape, device, key, |w| w.map(|w| unit(u64::from(w) << 32))),
                _ => fill(shape, device, key, |[a, b, c, d]| [unit(join(a, b)), unit(join(c, d))]),
            }
        })
    }

    /// Numbers from the normal distribution of mean 0 and variance 1. Like `torch.randn`.
    ///
    /// One 64-bit key is drawn from `stream`; each element is a function of that key and its row-major index.
    /// The largest possible magnitude is 6.7 in f32 and 8.6 in f64; 16-bit floats are those of f32, rounded.
    ///
    /// # Panics
    /// If the dtype is no float.
    #[track_caller]
    pub fn randn(
        shape: impl Into<Shape>,
        dtype: DType,
        device: Device,
        stream: &mut Stream,
    ) -> Self {
        if dtype.is_half() {
            return Self::randn(shape, DType::F32, device, stream).to_dtype(dtype);
        }
        let (shape, key) = (shape.into(), stream.next_u64());
        with_float!("randn", dtype, T => {
            #[cfg(feature = "cuda")]
            if let Device::Cuda(_) = device {
                let gpu = cuda::gpu_of(device);
                return cuda::draw(gpu, cuda::Distribution::Normal, shape, dtype, key);
            }
            let pair = |a: u64, b: u64| box_muller(unit_f64(a), unit_f64(b)).map(T::from_f64);
            match size_of::<T>() {
                4 => fill(shape, device, key, |w| {
                    let [a, b, c, d] = w.map(|w| u64::from(w) << 32);
                    let ([x, y], [z, t]) = (pair(a, b), pair(c, d));
                    [x, y, z, t]
                }),
                _ => fill(shape, device, key, |[a, b, c, d]| pair(join(a, b), join(c, d))),
            }
        })
    }

    /// 1 with probability `p`, else 0; any dtype (U8 for masks). Probabilities are exact to 2⁻³².
    ///
    /// One 64-bit key is drawn from `stream`; each element is a function of that key and its row-major index.
    ///
    /// # Panics
    /// If `p` is not in `[0, 1]`.
    #[track_caller]
    pub fn bernoulli_mask(
        p: f64,
        shape: impl Into<Shape>,
        dtype: DType,
        device: Device,
        stream: &mut Stream,
    ) -> Self {
        assert!((0.0..=1.0).contains(&p), "bernoulli_mask: {p} is not a probability");
        let (shape, key) = (shape.into(), stream.next_u64());
        let threshold = (p * 2f64.powi(32)).round() as u64;
        #[cfg(feature = "cuda")]
        if let Device::Cuda(_) = device {
            return cuda::bernoulli(cuda::gpu_of(device), threshold, shape, dtype, key);
        }
        with_element!(dtype, T => {
            let (zero, one) = (T::from_f64(0.0), T::from_f64(1.0));
            fill(shape, device, key, |w| w.map(|w| if u64::from(w) < threshold { one } else { zero }))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_known_answers() {
        // The vectors for philox4x32-10 of Random123's kat_vectors.
        assert_eq!(philox([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn a_stream_goes_on_where_its_state_was_taken() {
        for read in 0..9 {
            let mut a = Stream::new(7).derive("a");
            for _ in 0..read {
                a.next_u32();
            }
            let mut b = Stream::from_state(a.state());
            assert_eq!(a, b);
            assert_eq!(a.next_u64(), b.next_u64());
        }
    }

    #[test]
    fn derived_streams_ignore_position_and_differ_by_name_and_index() {
        let mut root = Stream::new(1);
        let before = root.derive("x");
        root.next_u64();
        assert_eq!(before, root.derive("x"));
        let mut keys: Vec<u64> = (0..1000).map(|i| root.derive_index(i).key).collect();
        keys.extend((0..1000).map(|i| root.derive(&i.to_string()).key));
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 2000);
    }

    /// Mean and variance of a sample, each with the distance from the truth in standard errors.
    fn check_moments(xs: &[f64], mean: f64, var: f64, fourth: f64) {
        let n = xs.len() as f64;
        let m = xs.iter().sum::<f64>() / n;
        let v = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        assert!((m - mean).abs() < 4.0 * (var / n).sqrt(), "mean {m}, not {mean}");
        assert!((v - var).abs() < 4.0 * ((fourth - var * var) / n).sqrt(), "var {v}, not {var}");
    }

    #[test]
    fn moments_are_right() {
        let mut s = Stream::new(3);
        let n = 100_000;
        for dtype in [DType::F32, DType::F64] {
            let u = Tensor::rand([n], dtype, Device::Cpu, &mut s).to_f64_vec();
            assert!(u.iter().all(|x| (0.0..1.0).contains(x)));
            check_moments(&u, 0.5, 1.0 / 12.0, 1.0 / 80.0);
            let g = Tensor::randn([n], dtype, Device::Cpu, &mut s).to_f64_vec();
            check_moments(&g, 0.0, 1.0, 3.0);
            let lag: Vec<f64> = g.windows(2).map(|w| w[0] * w[1]).collect();
            check_moments(&lag, 0.0, 1.0, 9.0);
        }
        let u: Vec<f64> = (0..n).map(|_| s.uniform()).collect();
        check_moments(&u, 0.5, 1.0 / 12.0, 1.0 / 80.0);
        let g: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        check_moments(&g, 0.0, 1.0, 3.0);
    }

    #[test]
    fn below_is_uniform_and_bernoulli_has_its_rate() {
        let mut s = Stream::new(5);
        let mut counts = [0f64; 7];
        (0..70_000).for_each(|_| counts[s.below(7) as usize] += 1.0);
        let chi2: f64 = counts.iter().map(|c| (c - 1e4).powi(2) / 1e4).sum();
        assert!(chi2 < 22.5, "{counts:?}"); // 99.9th percentile of chi² with 6 degrees of freedom
        for p in [0.0, 0.3, 1.0] {
            let m = Tensor::bernoulli_mask(p, [100_000], DType::U8, Device::Cpu, &mut s);
            let rate = m.to_f64_vec().iter().sum::<f64>() / 1e5;
            assert!((rate - p).abs() <= 4.0 * (p * (1.0 - p) / 1e5).sqrt(), "{rate}, not {p}");
        }
    }

    #[test]
    fn a_permutation_holds_every_index_once() {
        let mut p = Stream::new(9).permutation(1000);
        assert_ne!(p, (0..1000).collect::<Vec<_>>());
        p.sort_unstable();
        assert_eq!(p, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn fills_are_functions_of_key_and_index() {
        // More than one piece, and a length that is no multiple of a block: the beginning must not change.
        for dtype in [DType::F32, DType::F64] {
            let fill = |n: usize| {
                let mut s = Stream::new(11);
                Tensor::randn([n], dtype, Device::Cpu, &mut s).to_f64_vec()
            };
            let long = fill(3 * PIECE + 3);
            assert_eq!(fill(PIECE + 1), long[..PIECE + 1]);
        }
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool of one");
        let draw = || Tensor::rand([100_003], DType::F32, Device::Cpu, &mut Stream::new(2));
        assert_eq!(one.install(draw).to_vec::<f32>(), draw().to_vec::<f32>());
    }
}
