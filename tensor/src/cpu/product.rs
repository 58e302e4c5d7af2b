//! The blocked product under GEMM and convolution: strips of rows of `A` times packed panels of `B`.
//!
//! A *strip* is a set of rows at equal distances in `A` and in `C`, with the list of [`Run`]s of `k` that its rows meet. For a
//! matrix it is a few rows and all of `k`; for a convolution the pixels of one output row, or the images of a batch at one
//! output pixel, and the taps that touch real input there. A task takes a block of strips and a range of panels and walks `k` in
//! chunks, so that the chunk of a panel and the chunk of `A` stay in the L2 cache; between chunks `C` holds the partial sums.
//! Tasks depend on the shapes only and own their part of `C`: the result does not depend on the number of threads.

use crate::cpu::microkernel::{Kernels, Order, Real, Run, Tile};
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use std::ops::Range;

/// Bytes of one column of a chunk of a panel: 1024 `f32` make 128 KiB with 32 columns, an eighth of a 1 MiB L2.
const CHUNK_BYTES: usize = 4096;

/// Rows of a block of strips: their chunk of `A` is at most half of a 1 MiB L2.
pub(crate) const BLOCK_ROWS: usize = 128;

/// Tasks to aim at: enough to balance uneven ones over a few threads.
const TASKS: usize = 32;

/// The largest chunk of `k` for a number type.
pub(crate) fn chunk_len<T>() -> usize {
    CHUNK_BYTES / size_of::<T>()
}

/// Rows of one strip; offsets are in elements, relative to the start of the group's `A` and `C`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip {
    pub(crate) a: isize,
    pub(crate) c: usize,
    pub(crate) rows: usize,
}

/// `C = A · B` (+ bias, or + `C`), see the module's comment.
pub(crate) struct Product<'a, T: Real> {
    pub(crate) kernels: &'static Kernels<T>,
    pub(crate) order: Order,
    pub(crate) a: *const T,
    pub(crate) lda: usize,
    /// Packed panels: `[groups, ⌈columns / width⌉, k, width]`.
    pub(crate) b: *const T,
    pub(crate) k: usize,
    /// Upper limit of a chunk of `k`; see [`chunk_len`].
    pub(crate) chunk: usize,
    pub(crate) columns: usize,
    pub(crate) c: *mut T,
    pub(crate) ldc: usize,
    /// `[groups · columns]`
    pub(crate) bias: Option<&'a [T]>,
    pub(crate) accumulate: bool,
    pub(crate) groups: usize,
    /// Distance of the groups in `A` and in `C`.
    pub(crate) a_group: usize,
    pub(crate) c_group: usize,
    pub(crate) strips: usize,
    /// Strips per block.
    pub(crate) block: usize,
    /// Multiply-adds per row and column, for the decision to run in parallel.
    pub(crate) work: usize,
}

struct SharedProduct<'a, T: Real>(&'a Product<'a, T>);
// SAFETY: the pointers are used under the contract of `Product::run`, disjointly by task.
unsafe impl<T: Real> Sync for SharedProduct<'_, T> {}

impl<'a, T: Real> SharedProduct<'a, T> {
    fn get(&self) -> &'a Product<'a, T> {
        self.0
    }
}

impl<T: Real> Product<'_, T> {
    /// Computes the product; `plan` describes a strip and appends its runs, ascending and disjoint in `b`.
    ///
    /// # Safety
    /// The kernels' instruction set is available; whatever the strips and runs name lies in live memory, and no two strips
    /// (of any group) share an element of `C`.
    pub(crate) unsafe fn run(&self, plan: impl Fn(usize, &mut Vec<Run>) -> Strip + Sync) {
        let panels = self.columns.div_ceil(self.kernels.columns);
        let blocks = self.strips.div_ceil(self.block);
        if panels == 0 || blocks == 0 || self.groups == 0 {
            return;
        }
        let splits = TASKS.div_ceil(blocks * self.groups).min(panels);
        let panels_per_task = panels.div_ceil(splits);
        let splits = panels.div_ceil(panels_per_task);
        let shared = SharedProduct(self);
        run_tasks(self.groups * blocks * splits, self.work, |task| {
            let product = shared.get();
            let (group, task) = (task / (blocks * splits), task % (blocks * splits));
            let (block, split) = (task / splits, task % splits);
            let strips = block * product.block..((block + 1) * product.block).min(product.strips);
            let first = split * panels_per_task;
            let range = first..(first + panels_per_task).min(panels);
            // SAFETY: the caller's contract; tasks differ in group, strips or panels, so they share no element of C.
            unsafe { product.run_block(group, strips, range, &plan) };
        });
    }

    unsafe fn run_block(
        &self,
        group: usize,
        strips: Range<usize>,
        panels: Range<usize>,
        plan: &impl Fn(usize, &mut Vec<Run>) -> Strip,
    ) {
        let chunks = self.k.div_ceil(self.chunk).max(1);
        let mut block = Block::new(chunks, self.chunk);
        let k_step = if self.order == Order::RowMajor { 1 } else { self.lda };
        for strip in strips {
            block.push(|runs| plan(strip, runs), k_step);
        }
        let total_panels = self.columns.div_ceil(self.kernels.columns);
        for chunk in 0..chunks {
            for panel in panels.clone() {
                // SAFETY: panels are packed as documented, and the caller vouches for A and C.
                unsafe {
                    let width = self.kernels.columns;
                    let at = group * total_panels + panel;
                    let b = self.b.add(at * self.k * width);
                    let first_column = panel * width;
                    let columns = width.min(self.columns - first_column);
                    for (strip, runs, accumulate) in block.chunk(chunk) {
                        let accumulate = accumulate || self.accumulate;
                        if runs.is_empty() && accumulate {
                            continue;
                        }
                        let bias = match self.bias {
                            Some(bias) if !accumulate => {
                                bias[group * self.columns + first_column..].as_ptr()
                            }
                            _ => std::ptr::null(),
                        };
                        let tile = Tile {
                            a: self.a.wrapping_add(group * self.a_group).wrapping_offset(strip.a),
                            lda: self.lda,
                            b,
                            runs,
                            c: self.c.add(group * self.c_group + strip.c + first_column),
                            ldc: self.ldc,
                            columns,
                            accumulate,
                            bias,
                        };
                        self.run_strip(tile, strip.rows);
                    }
                }
            }
        }
    }

    /// Cuts a strip into tiles of nearly equal height: 32 rows as 11 + 11 + 10, not as 14 + 14 + 4.
    unsafe fn run_strip(&self, mut tile: Tile<T>, rows: usize) {
        let tiles = self.kernels.tiles(self.order);
        let count = rows.div_ceil(tiles.len());
        let a_step = if self.order == Order::RowMajor { self.lda } else { 1 };
        for i in 0..count {
            let height = rows / count + usize::from(i < rows % count);
            // SAFETY: the tile's rows belong to the strip.
            unsafe { tiles[height - 1](&tile) };
            tile.a = tile.a.wrapping_add(height * a_step);
            tile.c = tile.c.wrapping_add(height * self.ldc);
        }
    }
}

/// The strips of a task with their runs cut at chunk borders.
struct Block {
    chunks: usize,
    chunk_len: usize,
    strips: Vec<Strip>,
    runs: Vec<Run>,
    /// For strip `s` and chunk `q`: the runs from `ends[s · (chunks + 1) + q]` to the next entry.
    ends: Vec<usize>,
    planned: Vec<Run>,
}

impl Block {
    fn new(chunks: usize, chunk_len: usize) -> Self {
        Self { chunks, chunk_len, strips: vec![], runs: vec![], ends: vec![], planned: vec![] }
    }

    fn push(&mut self, plan: impl FnOnce(&mut Vec<Run>) -> Strip, k_step: usize) {
        self.planned.clear();
        self.strips.push(plan(&mut self.planned));
        self.ends.push(self.runs.len());
        let mut chunk = 0;
        for &planned in &self.planned {
            let mut run = planned;
            while run.len > 0 {
                let at = run.b / self.chunk_len;
                while chunk < at {
                    self.ends.push(self.runs.len());
                    chunk += 1;
                }
                let len = run.len.min((at + 1) * self.chunk_len - run.b);
                self.runs.push(Run { len, ..run });
                run.a += (len * k_step) as isize;
                run.b += len;
                run.len -= len;
            }
        }
        while chunk < self.chunks {
            self.ends.push(self.runs.len());
            chunk += 1;
        }
    }

    /// The strips with something to do in a chunk: runs, and whether `C` already holds a partial sum.
    fn chunk(&self, chunk: usize) -> impl Iterator<Item = (Strip, &[Run], bool)> {
        self.strips.iter().enumerate().filter_map(move |(s, &strip)| {
            let ends = &self.ends[s * (self.chunks + 1)..][..self.chunks + 1];
            let runs = &self.runs[ends[chunk]..ends[chunk + 1]];
            let started = ends[chunk] > ends[0];
            // A strip without any run is written (bias or zero) once, in the last chunk.
            let write_empty = chunk + 1 == self.chunks && !started;
            (strip.rows > 0 && (!runs.is_empty() || write_empty)).then_some((strip, runs, started))
        })
    }
}

/// Packs `B` into panels: `pack(panel, to)` writes panel number `panel` (of `panel_len` elements) to `to`.
pub(crate) fn pack_panels<T: Real>(
    panels: usize,
    panel_len: usize,
    pack: impl Fn(usize, *mut T) + Sync,
) -> Scratch<T> {
    let packed = Scratch::<T>::new(panels * panel_len);
    let start = Shared::new(packed.ptr());
    run_tasks(panels, panels * panel_len, |panel| {
        pack(panel, start.ptr().wrapping_add(panel * panel_len));
    });
    packed
}
