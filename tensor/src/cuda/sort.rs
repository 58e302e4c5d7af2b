//! Sorting along rows.

use super::{
    copy::DTYPES,
    launch::{Grid, In, Module, Out, Source, Value, kernels},
    operand::{gpu, input, output, scratch},
};
use crate::{DType, Tensor, layout::Layout};

static SORT: Source = Source { name: "sort", text: include_str!("kernels/sort.cu"), options: &[] };

kernels! { SORT;
    fn sort_tiles(
        x: In, indices: Out, length: u32, padded: u32, tile: u32, descending: u32, k: u32, whole: u32,
    );
    fn sort_step(
        x: In, indices: Out, length: u32, padded: u32, descending: u32, k: u32, j: u32, n: u64,
    );
    fn sort_finish(indices: In, y: Out, length: u32, padded: u32, n: u64);
}

/// Places that a block sorts in its own memory; few in tests, so that longer rows are sorted there too.
const TILE: usize = if cfg!(test) { 64 } else { 1024 };

/// For each row of contiguous `x` the indices that sort it.
pub(super) fn argsort(x: &Tensor, descending: bool) -> Tensor {
    let gpu = gpu(x);
    let (y, out) = output(gpu, Layout::contiguous(x.shape()), DType::I64);
    let n = y.numel();
    if n == 0 {
        return y;
    }
    let length = x.dims().last().copied().unwrap_or(1);
    let (rows, padded) = (n / length, length.next_power_of_two().max(2));
    assert!(padded < 1 << 31, "argsort: rows of {length} elements are too long");
    let tile = padded.min(TILE);
    let indices = scratch(gpu, rows * padded * 4);
    let (defines, from, to) =
        ([("T", Value::Type(x.dtype()))], input(gpu, x), Out(indices.address()));
    let (pairs, descending) = (rows * padded / 2, u32::from(descending));
    let (tiles, steps) = (Grid::blocks(rows * (padded / tile)), Grid::over(pairs, 1));
    let [length, padded, tile] = [length, padded, tile].map(|n| n as u32);
    // SAFETY: x has `rows` rows of `length` elements, the indices `rows` rows of `padded`.
    unsafe {
        sort_tiles(gpu, &defines, tiles, from, to, length, padded, tile, descending, 0, 1);
        let mut k = tile * 2;
        while k <= padded {
            let mut j = k / 2;
            while j >= tile {
                let n = pairs as u64;
                sort_step(gpu, &defines, steps, from, to, length, padded, descending, k, j, n);
                j /= 2;
            }
            sort_tiles(gpu, &defines, tiles, from, to, length, padded, tile, descending, k, 0);
            k *= 2;
        }
        sort_finish(gpu, &defines, Grid::over(n, 1), In(to.0), out, length, padded, n as u64);
    }
    y
}

/// Every way in which the source is compiled.
pub(super) fn modules() -> Vec<Module> {
    DTYPES.map(|t| Module::new(&SORT, &[("T", Value::Type(t))])).into()
}
