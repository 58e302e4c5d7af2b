//! The product shared by the forward pass and the input gradient: every output pixel gathers the taps it meets.

use crate::cpu::conv::axis::Axis;
use crate::cpu::conv::pack::{self, Sizes};
use crate::cpu::gemm::even_chunk;
use crate::cpu::microkernel::{Order, Real, Run};
use crate::cpu::product::{BLOCK_ROWS, Product, Strip, chunk_len};
use crate::cpu::scratch::Scratch;
use crate::cpu::simd::Isa;

/// `out[n, i, j, ·] = bias + Σ_taps src[n, i', j', ·] · weights[tap]` over two [`Axis`]es.
pub(super) struct Sliding {
    pub(super) images: usize,
    pub(super) axes: [Axis; 2],
    /// Width of the kernel: tap `(r, s)` is number `r · kernel_width + s` in the panels.
    pub(super) kernel_width: usize,
    pub(super) taps: usize,
    /// Channels of the source and of the output, all groups together.
    pub(super) src_channels: usize,
    pub(super) out_channels: usize,
    pub(super) groups: usize,
    pub(super) macs: usize,
}

/// What the rows of a tile are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rows {
    /// The images of a batch at one output pixel: no tap on padding is ever multiplied, in either direction.
    Images,
    /// The pixels of one output row (and phase) of one image: rows of taps on padding are skipped, columns are not.
    Pixels,
}

impl Sliding {
    /// Runs the product; `panels` are packed weights with `k = (tap, source channel)`.
    pub(super) fn run<T: Real>(
        &self,
        isa: Isa,
        src: &[T],
        panels: &Scratch<T>,
        bias: Option<&[T]>,
        out: &mut [T],
    ) {
        match self.rows(T::kernels(isa).row_major.len()) {
            Rows::Images => self.by_images(isa, src, panels, bias, out),
            Rows::Pixels => self.by_pixels(isa, src, panels, bias, out),
        }
    }

    /// Chooses by the multiplications left and the height of the tiles.
    fn rows(&self, tallest: usize) -> Rows {
        // A step of k in a tile of r rows costs about r + 2: two loads and the loop beside the rows' multiplications.
        let cost = |rows: usize| {
            let height = rows.div_ceil(rows.div_ceil(tallest).max(1)) as f64;
            (height + 2.0) / height
        };
        let columns = &self.axes[1];
        let padding = columns.taps_total().max(1) as f64 / columns.taps_inside().max(1) as f64;
        let by_pixels = cost(columns.count(0).max(1)) * padding;
        // Sorting the batch by pixels moves each source number twice, some twenty multiplications' worth.
        let uses =
            self.taps * self.out_channels / self.groups / (columns.src_step * columns.src_step);
        let by_images = cost(self.images) * (1.0 + 20.0 / uses.max(1) as f64);
        if by_images < by_pixels { Rows::Images } else { Rows::Pixels }
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            images: self.images,
            rows: self.axes[0].src_len,
            columns: self.axes[1].src_len,
            channels: self.src_channels,
        }
    }

    fn by_images<T: Real>(
        &self,
        isa: Isa,
        src: &[T],
        panels: &Scratch<T>,
        bias: Option<&[T]>,
        out: &mut [T],
    ) {
        let staged = pack::images_inside(src, self.sizes());
        let [rows, columns] = &self.axes;
        let k = self.src_channels / self.groups;
        let parts = Parts::new(self.images);
        let positions = rows.out_len * columns.out_len;
        let out_image = positions * self.out_channels;
        let product = Product {
            a: staged.start,
            lda: staged.image,
            ldc: out_image,
            strips: positions * parts.count,
            block: (BLOCK_ROWS / parts.longest()).max(1),
            ..self.product(isa, panels, bias, out)
        };
        // SAFETY: `taps` only names source pixels that exist; each strip owns some images of one output pixel.
        unsafe {
            product.run(|strip, runs| {
                let (position, part) = (strip / parts.count, strip % parts.count);
                let (first, count) = parts.range(part);
                for (r, h) in rows.taps(position / columns.out_len) {
                    for (s, w) in columns.taps(position % columns.out_len) {
                        let a = h * staged.row + w * staged.pixel;
                        push_run(
                            runs,
                            Run { a: a as isize, b: (r * self.kernel_width + s) * k, len: k },
                            1,
                        );
                    }
                }
                let a = (first * staged.image) as isize;
                Strip { a, c: position * self.out_channels + first * out_image, rows: count }
            });
        }
    }

    fn by_pixels<T: Real>(
        &self,
        isa: Isa,
        src: &[T],
        panels: &Scratch<T>,
        bias: Option<&[T]>,
        out: &mut [T],
    ) {
        let [rows, columns] = &self.axes;
        let staged = pack::padded(src, self.sizes(), columns.overhang());
        let k = self.src_channels / self.groups;
        let phases = columns.out_step;
        let parts = Parts::new(columns.count(0));
        let product = Product {
            a: staged.start,
            lda: columns.src_step * staged.pixel,
            ldc: columns.out_step * self.out_channels,
            strips: self.images * rows.out_len * phases * parts.count,
            block: (BLOCK_ROWS / parts.longest()).max(1),
            ..self.product(isa, panels, bias, out)
        };
        // SAFETY: rows of taps exist by `Axis::taps`, columns reach at most `overhang` out of the source, which is padded by
        // as much; each strip owns some pixels of one phase of one output row.
        unsafe {
            product.run(|strip, runs| {
                let (strip, part) = (strip / parts.count, strip % parts.count);
                let (strip, phase) = (strip / phases, strip % phases);
                let (image, row) = (strip / rows.out_len, strip % rows.out_len);
                let (first, count) = parts.range(part);
                let count = count.min(columns.count(phase).saturating_sub(first));
                for (r, h) in rows.taps(row) {
                    for &(s, offset) in &columns.phases[phase] {
                        let offset = offset + (first * columns.src_step) as isize;
                        if columns.inside(offset, count).is_empty() {
                            continue;
                        }
                        let at = (offset + staged.left as isize) * staged.pixel as isize;
                        let a = at + (image * staged.image + h * staged.row) as isize;
                        push_run(runs, Run { a, b: (r * self.kernel_width + s) * k, len: k }, 1);
                    }
                }
                let pixel = (image * rows.out_len + row) * columns.out_len;
                let c = (pixel + phase + first * columns.out_step) * self.out_channels;
                Strip { a: 0, c, rows: count }
            });
        }
    }

    fn product<'a, T: Real>(
        &self,
        isa: Isa,
        panels: &Scratch<T>,
        bias: Option<&'a [T]>,
        out: &mut [T],
    ) -> Product<'a, T> {
        let k = self.src_channels / self.groups;
        let limit = chunk_len::<T>();
        Product {
            kernels: T::kernels(isa),
            order: Order::RowMajor,
            a: std::ptr::null(),
            lda: 0,
            b: panels.ptr(),
            k: self.taps * k,
            // Whole taps, or equal parts of one.
            chunk: if k <= limit { (limit / k.max(1) * k).max(1) } else { even_chunk(k, limit) },
            columns: self.out_channels / self.groups,
            c: out.as_mut_ptr(),
            ldc: 0,
            bias,
            accumulate: false,
            groups: self.groups,
            a_group: k,
            c_group: self.out_channels / self.groups,
            strips: 0,
            block: 1,
            work: self.macs,
        }
    }
}

/// Appends a run, or prolongs the last one where it ends: the taps of a kernel row are often one stretch of memory.
pub(super) fn push_run(runs: &mut Vec<Run>, run: Run, k_step: usize) {
    if let Some(last) = runs.last_mut()
        && last.a + (last.len * k_step) as isize == run.a
        && last.b + last.len == run.b
    {
        last.len += run.len;
        return;
    }
    runs.push(run);
}

/// Rows cut into nearly equal parts that fit a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    total: usize,
    pub(super) count: usize,
}

impl Parts {
    pub(super) fn new(total: usize) -> Self {
        Self { total, count: total.div_ceil(BLOCK_ROWS).max(1) }
    }

    pub(super) fn longest(&self) -> usize {
        self.total.div_ceil(self.count).max(1)
    }

    /// First row and number of rows of a part.
    pub(super) fn range(&self, part: usize) -> (usize, usize) {
        let first = (part * self.longest()).min(self.total);
        (first, self.longest().min(self.total - first))
    }
}
