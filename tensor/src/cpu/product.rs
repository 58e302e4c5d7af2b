//! The blocked product under GEMM and convolution: strips of rows of `A` times packed panels of `B`.
//!
//! A *strip* is a set of rows at equal distances in `A` and in `C`, with the list of [`Run`]s of `k` that its rows meet. For a
//! matrix it is a few rows and all of `k`; for a convolution the pixels of one output row, or the images of a batch at one
//! output pixel, and the taps that touch real input there. A task takes a block of strips and a range of panels and walks `k` in
//! chunks, so that the chunk of a panel and the chunk of `A` stay in the L2 cache; between chunks `C` holds the partial sums.
//! Tasks depend on the shapes only and own their part of `C`: the result does not depend on the number of threads.

use crate::cpu::microkernel::{Kernels, Order, Real, Run, Tile};
use crate::cpu::scratch::{List, Scratch, run_tasks};
use crate::cpu::simd::finish_streams;
use std::ops::Range;

/// Bytes of one column of a chunk of a panel: 1024 `f32` make 128 KiB with 32 columns, an eighth of a 1 MiB L2.
const CHUNK_BYTES: usize = 4096;

/// Rows of a block of strips: their chunk of `A` is at most half of a 1 MiB L2.
pub(crate) const BLOCK_ROWS: usize = 256;

/// Tasks to aim at: enough to balance uneven ones over a few threads.
const TASKS: usize = 32;

/// Steps of `k` after which an element of a column-major `A` is used: some 400 cycles.
const STEPS_AHEAD: usize = 16;

const LINE_BYTES: usize = 64;

/// Whether so many elements would fill the caches of the whole processor, or most of them.
pub(crate) fn is_large<T>(elements: usize) -> bool {
    elements * size_of::<T>() > 32 << 20
}

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
    /// The number of its list of runs. Lists are made anew where the number differs from that of the strip before.
    pub(crate) list: usize,
}

/// How the chunks of a sum come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Join {
    /// Each chunk is summed from zero and added: rounding errors grow with the chunk, not with the whole sum.
    Add,
    /// Each chunk goes on where the one before ended: the result does not depend on where chunks begin, nor on products with
    /// zero that are left out.
    Continue,
}

/// Where the panels of `B` come from; a panel is `[repeats · k, width]`.
#[derive(Clone, Copy)]
pub(crate) enum Panels<'a, T> {
    /// Packed before: `[groups, ⌈columns / width⌉, repeats · k, width]`.
    Packed(*const T),
    /// Packed by each task, chunk by chunk: `pack(panels, rows, to, distance)` packs some of the `repeats · k` rows of
    /// neighboring panels (counted over all groups), panels `distance` apart.
    /// Right where the rows of `C` do not make many tasks: then `B` is read about once and never written back to memory.
    Local(&'a (dyn Fn(Range<usize>, Range<usize>, *mut T, usize) + Sync)),
}

/// `C = A · B` (+ bias, or + `C`), see the module's comment.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a, T: Real> {
    pub(crate) kernels: &'static Kernels<T>,
    pub(crate) order: Order,
    pub(crate) a: *const T,
    pub(crate) lda: usize,
    pub(crate) b: Panels<'a, T>,
    /// `k` that the runs of a strip cover.
    pub(crate) k: usize,
    /// The runs are repeated this many times, each time `a_repeat` elements further in `A` and `k` rows further in `B`.
    pub(crate) repeats: usize,
    pub(crate) a_repeat: usize,
    /// Length of a chunk: whole repeats, or (with one repeat) part of `k`; see [`chunk_len`].
    pub(crate) chunk: usize,
    /// Panels that a strip meets one after the other, while its chunk of `A` is in the cache; the next strip meets them again.
    pub(crate) panel_group: usize,
    pub(crate) columns: usize,
    pub(crate) c: *mut T,
    pub(crate) ldc: usize,
    /// `[groups · columns]`
    pub(crate) bias: Option<&'a [T]>,
    /// Add to what `C` holds at first.
    pub(crate) accumulate: bool,
    /// How the chunks of a sum come together.
    pub(crate) join: Join,
    pub(crate) groups: usize,
    /// Whether `A` comes from memory, and not from a cache: then it is asked for ahead of its use.
    pub(crate) far: bool,
    /// Whether `C` is [larger than the caches](is_large), and would only push other things out of them.
    pub(crate) large: bool,
    /// Distance of the groups in `A` and in `C`.
    pub(crate) a_group: usize,
    pub(crate) c_group: usize,
    pub(crate) strips: usize,
    /// Strips per block.
    pub(crate) block: usize,
    /// Multiply-adds of the whole product, for the decision to run in parallel.
    pub(crate) work: usize,
}

// SAFETY: the pointers are used under the contract of `Product::run`, disjointly by task.
unsafe impl<T: Real> Sync for Product<'_, T> {}

impl<T: Real> Product<'_, T> {
    /// Panels of a group.
    pub(crate) fn panels(&self) -> usize {
        self.columns.div_ceil(self.kernels.columns)
    }

    /// Chunks that `repeats · k` is cut into; at least one, so that empty sums are written.
    pub(crate) fn chunks(&self) -> usize {
        (self.repeats * self.k).div_ceil(self.chunk).max(1)
    }

    /// Computes the product; `plan` describes a strip, and `list` appends the runs of a list, ascending and disjoint in `b`.
    ///
    /// # Safety
    /// The kernels' instruction set is available; whatever the strips and runs name lies in live memory, and no two strips
    /// (of any group) share an element of `C`.
    pub(crate) unsafe fn run(
        &self,
        plan: impl Fn(usize) -> Strip + Sync,
        list: impl Fn(usize, &mut List<Run>) + Sync,
    ) {
        let panels = self.panels();
        let blocks = self.strips.div_ceil(self.block);
        if panels == 0 || blocks == 0 || self.groups == 0 {
            return;
        }
        let splits = TASKS.div_ceil(blocks * self.groups).min(panels);
        let panels_per_task = panels.div_ceil(splits);
        let splits = panels.div_ceil(panels_per_task);
        run_tasks(self.groups * blocks * splits, self.work, |task| {
            let (group, task) = (task / (blocks * splits), task % (blocks * splits));
            let (block, split) = (task / splits, task % splits);
            let strips = block * self.block..((block + 1) * self.block).min(self.strips);
            let first = split * panels_per_task;
            let part = Part {
                group,
                strips,
                panels: first..(first + panels_per_task).min(panels),
                chunks: 0..self.chunks(),
            };
            // SAFETY: the caller's contract; tasks differ in group, strips or panels, so they share no element of C.
            unsafe { self.run_part(&part, &plan, &list) };
        });
    }

    /// Computes a part of the product on this thread; with only some of the chunks it is a partial sum.
    ///
    /// # Safety
    /// As for [`Product::run`].
    pub(crate) unsafe fn run_part(
        &self,
        part: &Part,
        plan: &impl Fn(usize) -> Strip,
        list: &impl Fn(usize, &mut List<Run>),
    ) {
        let width = self.kernels.columns;
        let mut block = Block::new(self, part.chunks.clone());
        for strip in part.strips.clone() {
            block.push(plan(strip), list);
        }
        let panel_len = self.chunk * width;
        let local = match self.b {
            Panels::Packed(_) => None,
            Panels::Local(_) => Some(Scratch::<T>::new(self.panel_group * panel_len)),
        };
        let stream = self.streams();
        // The rows of the next tile, or the next steps of k.
        let ahead = match self.order {
            Order::RowMajor => self.kernels.rows() * self.lda,
            Order::ColumnMajor => STEPS_AHEAD * self.lda,
        };
        for chunk in part.chunks.clone() {
            // With one repeat the runs are cut at the chunk's borders, with several the chunk is some of them.
            let rows = chunk * self.chunk..((chunk + 1) * self.chunk).min(self.repeats * self.k);
            let repeats =
                if self.repeats == 1 { 0..1 } else { rows.start / self.k..rows.end / self.k };
            let last = chunk + 1 == part.chunks.end;
            for first in part.panels.clone().step_by(self.panel_group) {
                let panels = first..(first + self.panel_group).min(part.panels.end);
                let number = |panel: usize| part.group * self.panels() + panel;
                if let (Panels::Local(pack), Some(scratch)) = (self.b, &local) {
                    let numbers = number(panels.start)..number(panels.end);
                    pack(numbers, rows.clone(), scratch.ptr(), panel_len);
                }
                // Row 0 of the panel, or row 0 of the chunk's first repeat.
                let b = |panel: usize| match (self.b, &local) {
                    (Panels::Packed(start), _) => {
                        let rows = number(panel) * self.repeats + repeats.start;
                        start.wrapping_add(rows * self.k * width)
                    }
                    (Panels::Local(_), local) => {
                        let skipped = if self.repeats == 1 { rows.start * width } else { 0 };
                        let start = local.as_ref().map_or(std::ptr::null_mut(), Scratch::ptr);
                        start
                            .wrapping_add((panel - first) * panel_len)
                            .wrapping_sub(skipped)
                            .cast_const()
                    }
                };
                for (strip, runs, started) in block.chunk(chunk, last) {
                    debug_assert!(!stream || (strip.c * size_of::<T>()).is_multiple_of(LINE_BYTES));
                    let accumulate = started || self.accumulate;
                    if runs.is_empty() && accumulate {
                        continue;
                    }
                    for panel in panels.clone() {
                        let column = panel * width;
                        let c = self.c.wrapping_add(part.group * self.c_group + strip.c + column);
                        let (start, start_step) = match self.bias {
                            _ if accumulate && self.join == Join::Continue => {
                                (c.cast_const(), self.ldc)
                            }
                            Some(bias) if !accumulate => {
                                (bias[part.group * self.columns + column..].as_ptr(), 0)
                            }
                            _ => (std::ptr::null(), 0),
                        };
                        let a = part.group * self.a_group + repeats.start * self.a_repeat;
                        let tile = Tile {
                            a: self.a.wrapping_add(a).wrapping_offset(strip.a),
                            lda: self.lda,
                            b: b(panel),
                            runs,
                            repeats: repeats.len(),
                            a_repeat: self.a_repeat,
                            b_repeat: self.k,
                            c,
                            ldc: self.ldc,
                            columns: width.min(self.columns - column),
                            start,
                            start_step,
                            add: accumulate && self.join == Join::Add,
                            stream,
                            ahead: if self.far && panel == panels.start { ahead } else { 0 },
                        };
                        // SAFETY: the caller vouches for A, B and C.
                        unsafe { self.run_strip(tile, strip.rows) };
                    }
                }
            }
        }
        if stream {
            finish_streams();
        }
    }

    /// Whether `C` is large, and written once and in whole registers: strips begin at multiples of `ldc` or of `c_group`.
    fn streams(&self) -> bool {
        let aligned = |bytes: usize| bytes.is_multiple_of(LINE_BYTES);
        self.large
            && self.chunks() == 1
            && !self.accumulate
            && aligned(self.c.addr())
            && aligned(self.ldc * size_of::<T>())
            && aligned(self.c_group * size_of::<T>())
    }

    /// Cuts a strip into tiles of nearly equal height: 32 rows as 11 + 11 + 10, not as 14 + 14 + 4.
    unsafe fn run_strip(&self, mut tile: Tile<T>, rows: usize) {
        let tiles = self.kernels.tiles(self.order, tile.columns);
        let count = rows.div_ceil(tiles.len());
        let a_step = if self.order == Order::RowMajor { self.lda } else { 1 };
        for i in 0..count {
            let height = rows / count + usize::from(i < rows % count);
            // SAFETY: the tile's rows belong to the strip.
            unsafe { tiles[height - 1](&tile) };
            tile.a = tile.a.wrapping_add(height * a_step);
            tile.c = tile.c.wrapping_add(height * self.ldc);
            tile.start = tile.start.wrapping_add(height * tile.start_step);
        }
    }
}

/// What a task computes of a product.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) group: usize,
    pub(crate) strips: Range<usize>,
    pub(crate) panels: Range<usize>,
    pub(crate) chunks: Range<usize>,
}

/// The strips of a task with their runs, which are cut at chunk borders unless a chunk is made of repeats.
struct Block {
    chunks: Range<usize>,
    chunk_len: usize,
    k_step: usize,
    /// The strips, and where their lists begin in `ends`.
    strips: List<(Strip, usize)>,
    runs: List<Run>,
    /// For each list and chunk number `q` of the part: the runs from the list's entry `q` to the next entry.
    ends: List<usize>,
    planned: List<Run>,
    repeated: bool,
}

impl Block {
    fn new<T: Real>(product: &Product<T>, chunks: Range<usize>) -> Self {
        let repeated = product.repeats > 1;
        Self {
            chunks: if repeated { 0..1 } else { chunks },
            chunk_len: if repeated { product.k } else { product.chunk },
            k_step: if product.order == Order::RowMajor { 1 } else { product.lda },
            strips: List::new(),
            runs: List::new(),
            ends: List::new(),
            planned: List::new(),
            repeated,
        }
    }

    fn push(&mut self, strip: Strip, list: &impl Fn(usize, &mut List<Run>)) {
        if let Some(&(before, ends)) = self.strips.last()
            && before.list == strip.list
        {
            return self.strips.push((strip, ends));
        }
        self.strips.push((strip, self.ends.len()));
        self.planned.clear();
        list(strip.list, &mut self.planned);
        let mut chunk = self.chunks.start;
        self.ends.push(self.runs.len());
        for &planned in self.planned.iter() {
            let mut run = planned;
            while run.len > 0 {
                let at = run.b / self.chunk_len;
                let len = run.len.min((at + 1) * self.chunk_len - run.b);
                if self.chunks.contains(&at) {
                    while chunk < at {
                        self.ends.push(self.runs.len());
                        chunk += 1;
                    }
                    self.runs.push(Run { len, ..run });
                }
                run.a += (len * self.k_step) as isize;
                run.b += len;
                run.len -= len;
            }
        }
        while chunk < self.chunks.end {
            self.ends.push(self.runs.len());
            chunk += 1;
        }
    }

    /// The strips with something to do in a chunk: runs, and whether `C` already holds a partial sum.
    fn chunk(&self, chunk: usize, last: bool) -> impl Iterator<Item = (Strip, &[Run], bool)> {
        let at = if self.repeated { 0 } else { chunk - self.chunks.start };
        self.strips.iter().filter_map(move |&(strip, first)| {
            let ends = &self.ends[first..];
            let runs = &self.runs[ends[at]..ends[at + 1]];
            let started =
                if self.repeated { chunk > 0 && !runs.is_empty() } else { ends[at] > ends[0] };
            // A strip without any run is written (bias or zero) once, in the last chunk.
            let write_empty = last && !started;
            (strip.rows > 0 && (!runs.is_empty() || write_empty)).then_some((strip, runs, started))
        })
    }
}
