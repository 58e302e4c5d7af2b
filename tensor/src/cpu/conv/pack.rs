//! Copies of activations and weights in the order the tiles want to read them.

use crate::cpu::conv::ConvGeometry;
use crate::cpu::microkernel::Real;
use crate::cpu::scratch::{Scratch, Shared, run_tasks};
use crate::cpu::simd::Isa;
use std::ops::Range;

/// Activations with arbitrary distances of images, rows and pixels; channels are contiguous.
pub(super) struct Staged<T> {
    pub(super) start: *const T,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
    /// Zero pixels before column 0.
    pub(super) left: usize,
    /// What keeps `start` alive, if it is not the caller's.
    pub(super) copy: Option<Scratch<T>>,
}

// SAFETY: shared access only yields the raw pointer; who uses it answers for races.
unsafe impl<T: Sync> Sync for Staged<T> {}

/// The sizes of activations in channels-last order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) images: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) channels: usize,
}

/// Activations as they are.
pub(super) fn borrow<T: Real>(src: &[T], sizes: Sizes) -> Staged<T> {
    let row = sizes.columns * sizes.channels;
    Staged {
        start: src.as_ptr(),
        image: sizes.rows * row,
        row,
        pixel: sizes.channels,
        left: 0,
        copy: None,
    }
}

/// Channels cut into blocks of equal size, each group on its own; the last block of a group may be partly zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChannelBlocks {
    pub(super) groups: usize,
    /// Channels of a group.
    pub(super) channels: usize,
    /// Channels of a block.
    pub(super) size: usize,
    /// Blocks of a group.
    pub(super) count: usize,
}

impl ChannelBlocks {
    /// As few blocks as possible of at most `limit` channels.
    pub(super) fn new(groups: usize, channels: usize, limit: usize) -> Self {
        let count = channels.div_ceil(limit).max(1);
        Self { groups, channels, size: channels.div_ceil(count).max(1), count }
    }

    /// One block that is the whole group.
    pub(super) fn whole(groups: usize, channels: usize) -> Self {
        Self { groups, channels, size: channels.max(1), count: 1 }
    }

    /// The channels of a block inside its group.
    pub(super) fn range(&self, block: usize) -> Range<usize> {
        block * self.size..((block + 1) * self.size).min(self.channels)
    }
}

/// A copy in blocks of channels, each block on its own.
pub(super) struct Blocked<T> {
    pub(super) copy: Scratch<T>,
    /// Distances of blocks, images, rows and columns.
    pub(super) block: usize,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) column: usize,
}

/// Copies to `[groups · blocks, N, H, W, channels of the block]`, or `[groups · blocks, H, W, N, …]` with `images_inside`.
pub(super) fn blocked<T: Real>(
    isa: Isa,
    src: &[T],
    sizes: Sizes,
    blocks: ChannelBlocks,
    images_inside: bool,
) -> Blocked<T> {
    let Sizes { images, rows, columns, channels } = sizes;
    let size = blocks.size;
    let block = images * rows * columns * size;
    let (image, row, column) = if images_inside {
        (size, columns * images * size, images * size)
    } else {
        (rows * columns * size, columns * size, size)
    };
    let copy = Scratch::<T>::new(blocks.groups * blocks.count * block);
    let to = Shared::new(copy.ptr());
    let split = T::loops(isa).split;
    run_tasks(rows, src.len(), |r| {
        // Along a row of the source: its lines are read once, in order.
        for (n, w) in (0..images).flat_map(|n| (0..columns).map(move |w| (n, w))) {
            let from = &src[((n * rows + r) * columns + w) * channels..][..channels];
            for group in 0..blocks.groups {
                let from = &from[group * blocks.channels..][..blocks.channels];
                let at = group * blocks.count * block + r * row + w * column + n * image;
                // SAFETY: this pixel's place in the group's blocks; tasks own different rows.
                unsafe { split(from.as_ptr(), from.len(), size, to.ptr().add(at), block) };
            }
        }
    });
    Blocked { copy, block, image, row, column }
}

/// A copy with zero pixels before and after each row; no copy where none are needed.
pub(super) fn padded<T: Real>(src: &[T], sizes: Sizes, [left, right]: [usize; 2]) -> Staged<T> {
    let Sizes { images, rows, columns, channels } = sizes;
    if left == 0 && right == 0 {
        return borrow(src, sizes);
    }
    let row = (left + columns + right) * channels;
    let copy = Scratch::<T>::new(images * rows * row);
    let to = Shared::new(copy.ptr());
    run_tasks(images * rows, src.len(), |r| {
        let from = &src[r * columns * channels..][..columns * channels];
        // SAFETY: row r of the copy has exactly these elements; tasks own different rows.
        let to = unsafe { std::slice::from_raw_parts_mut(to.ptr().add(r * row), row) };
        to[..left * channels].fill(T::ZERO);
        to[left * channels..][..from.len()].copy_from_slice(from);
        to[(left + columns) * channels..].fill(T::ZERO);
    });
    Staged { start: copy.ptr(), image: rows * row, row, pixel: channels, left, copy: Some(copy) }
}

/// Taps of neighboring channels that are packed at once: their places are a short list.
const AT_ONCE: usize = 4096;

/// Weights as panels: `k = (block of contracted channels, tap, channel in the block)`, columns are the channels produced.
pub(super) struct WeightPacking<'a, T> {
    pub(super) weight: &'a [T],
    /// `[O, C / groups, kh, kw]` of the weight.
    pub(super) g: &'a ConvGeometry,
    /// Contract the output channels (input gradient) instead of the input channels (forward).
    pub(super) transposed: bool,
    /// The taps to pack, as rows and columns of the kernel.
    pub(super) window: [Range<usize>; 2],
    pub(super) blocks: ChannelBlocks,
    pub(super) isa: Isa,
    /// Columns of a panel.
    pub(super) width: usize,
}

impl<T: Real> WeightPacking<'_, T> {
    /// Channels that a group produces.
    fn columns(&self) -> usize {
        if self.transposed { self.g.group_inputs() } else { self.g.group_outputs() }
    }

    fn taps(&self) -> usize {
        self.window[0].len() * self.window[1].len()
    }

    /// Rows of a block in a panel.
    pub(super) fn block_rows(&self) -> usize {
        self.taps() * self.blocks.size
    }

    /// All panels of all groups.
    pub(super) fn all(&self) -> Scratch<T> {
        let panels = self.blocks.groups * self.columns().div_ceil(self.width);
        let block_len = self.block_rows() * self.width;
        let count = self.blocks.count;
        let packed = Scratch::<T>::new(panels * count * block_len);
        let start = Shared::new(packed.ptr());
        run_tasks(panels * count, panels * count * block_len, |task| {
            let (panel, block) = (task / count, task % count);
            // SAFETY: the place of this block in this panel, which this task owns.
            unsafe { self.blocks(panel, block..block + 1, start.ptr().add(task * block_len)) };
        });
        packed
    }

    /// Some blocks of a panel (counted over all groups).
    ///
    /// # Safety
    /// `to` has room for `blocks · block_rows() · width` elements.
    pub(super) unsafe fn blocks(&self, panel: usize, blocks: Range<usize>, to: *mut T) {
        let panels = self.columns().div_ceil(self.width);
        let (group, first) = (panel / panels, panel % panels * self.width);
        let columns = first..(first + self.width).min(self.columns());
        let whole = self.taps() == self.g.taps();
        // Channels that follow each other in memory are taken at once.
        let at_once = if self.transposed {
            1
        } else {
            self.blocks.size.min((AT_ONCE / self.g.taps()).max(1))
        };
        let squares = Squares::new(self, columns.len(), if whole { at_once } else { 0 });
        for (i, block) in blocks.enumerate() {
            let to = to.wrapping_add(i * self.block_rows() * self.width);
            let channels = self.blocks.range(block);
            // SAFETY: the rows of this block, `block_rows` of `width` elements each.
            unsafe {
                if columns.len() < self.width || channels.len() < self.blocks.size {
                    (0..self.block_rows() * self.width).for_each(|i| *to.add(i) = T::ZERO);
                }
                if !whole {
                    self.some_taps(group, channels, columns.clone(), to);
                    continue;
                }
                for (i, channel) in channels.clone().enumerate().step_by(at_once) {
                    let (from, _) = self.place(group, channel, columns.start);
                    let (from, to) = (&self.weight[from..], to.add(i * self.width));
                    squares.transpose(self.isa, from, at_once.min(channels.end - channel), to);
                }
            }
        }
    }

    /// Where the weight's element (first column, channel, tap 0) is, and the distance of columns.
    fn place(&self, group: usize, channel: usize, column: usize) -> (usize, usize) {
        let (inputs, outputs, taps) =
            (self.g.group_inputs(), self.g.group_outputs(), self.g.taps());
        if self.transposed {
            (((group * outputs + channel) * inputs + column) * taps, taps)
        } else {
            (((group * outputs + column) * inputs + channel) * taps, inputs * taps)
        }
    }

    /// The taps of the window of some channels, in the order in which the weight lies in memory.
    unsafe fn some_taps(
        &self,
        group: usize,
        channels: Range<usize>,
        columns: Range<usize>,
        start: *mut T,
    ) {
        let [rows, window] = &self.window;
        let used: Vec<usize> =
            rows.clone().flat_map(|r| window.clone().map(move |s| r * self.g.kw + s)).collect();
        let kernel = |channel: usize, column: usize| {
            let (from, _) = self.place(group, channel, column);
            let from = &self.weight[from..][..self.g.taps()];
            let to = (channel - channels.start) * self.width + column - columns.start;
            for (i, &tap) in used.iter().enumerate() {
                // SAFETY: row (tap, channel) of the block.
                unsafe { *start.add(i * self.blocks.size * self.width + to) = from[tap] };
            }
        };
        if self.transposed {
            channels.clone().for_each(|channel| columns.clone().for_each(|c| kernel(channel, c)));
        } else {
            columns.clone().for_each(|c| channels.clone().for_each(|channel| kernel(channel, c)));
        }
    }
}

/// All taps of a few channels as a transpose: which elements of the weight go to which rows of the panel.
struct Squares {
    taps: usize,
    from_rows: Vec<usize>,
    to_rows: Vec<usize>,
}

impl Squares {
    fn new<T: Real>(packing: &WeightPacking<T>, columns: usize, channels: usize) -> Self {
        let taps = packing.g.taps();
        let (_, step) = packing.place(0, 0, 0);
        let to_row =
            |channel: usize, tap: usize| (tap * packing.blocks.size + channel) * packing.width;
        Self {
            taps,
            from_rows: (0..columns).map(|column| column * step).collect(),
            to_rows: (0..channels).flat_map(|c| (0..taps).map(move |tap| to_row(c, tap))).collect(),
        }
    }

    unsafe fn transpose<T: Real>(&self, isa: Isa, from: &[T], channels: usize, to: *mut T) {
        let to_rows = &self.to_rows[..channels * self.taps];
        assert!(from.len() >= self.from_rows.last().unwrap_or(&0) + to_rows.len());
        // SAFETY: the assertion for the weight; the caller vouches for the rows of the panel.
        unsafe { (T::loops(isa).transpose)(from.as_ptr(), &self.from_rows, to, to_rows) };
    }
}
