//! Element types as files have them, and their way into tensors.

use std::io::{self, Read};

use half::{bf16, f16};

use crate::{DType, Device, Element, Shape, Tensor, layout::Layout};

/// An element type of a file. Tensors have fewer: the small integers become I64, truth values U8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    U32,
    I16,
    U16,
    I8,
    U8,
    Bool,
}

impl Stored {
    /// Bytes of one element in the file.
    pub(super) fn size(self) -> usize {
        match self {
            Stored::F64 | Stored::I64 => 8,
            Stored::F32 | Stored::I32 | Stored::U32 => 4,
            Stored::F16 | Stored::BF16 | Stored::I16 | Stored::U16 => 2,
            Stored::I8 | Stored::U8 | Stored::Bool => 1,
        }
    }

    /// The dtype of a tensor read from it.
    pub(super) fn dtype(self) -> DType {
        match self {
            Stored::F64 => DType::F64,
            Stored::F32 => DType::F32,
            Stored::F16 => DType::F16,
            Stored::BF16 => DType::BF16,
            Stored::U8 | Stored::Bool => DType::U8,
            _ => DType::I64,
        }
    }

    /// Bytes of a tensor in the file, if that is a number.
    pub(super) fn bytes(self, dims: &[usize]) -> Option<u64> {
        let size = dims.iter().try_fold(self.size(), |n, &d| n.checked_mul(d))?;
        // The zero of an empty tensor must not hide lengths whose product overflows.
        dims.iter().filter(|&&d| d != 0).try_fold(8usize, |n, &d| n.checked_mul(d))?;
        u64::try_from(size).ok()
    }

    /// A contiguous tensor from the next elements of `reader`. The caller has checked that there are so many.
    pub(super) fn read(self, reader: &mut dyn Read, shape: Shape) -> io::Result<Tensor> {
        match self {
            Stored::F64 => plain::<f64>(reader, shape),
            Stored::F32 => plain::<f32>(reader, shape),
            Stored::F16 => plain::<f16>(reader, shape),
            Stored::BF16 => plain::<bf16>(reader, shape),
            Stored::I64 => plain::<i64>(reader, shape),
            Stored::U8 => plain::<u8>(reader, shape),
            Stored::Bool => {
                // Any byte but 0 is true; a mask must hold 1 then.
                converted::<u8, u8>(reader, shape, |b| u8::from(b != 0))
            }
            Stored::I32 => converted::<i32, i64>(reader, shape, i64::from),
            Stored::U32 => converted::<u32, i64>(reader, shape, i64::from),
            Stored::I16 => converted::<i16, i64>(reader, shape, i64::from),
            Stored::U16 => converted::<u16, i64>(reader, shape, i64::from),
            Stored::I8 => converted::<i8, i64>(reader, shape, i64::from),
        }
    }
}

fn build<T: Element>(
    shape: Shape,
    fill: impl FnOnce(&mut [T]) -> io::Result<()>,
) -> io::Result<Tensor> {
    let mut result = Ok(());
    let layout = Layout::contiguous(shape);
    let tensor = Tensor::build::<T>(layout, Device::Cpu, |out| result = fill(out));
    result.map(|()| tensor)
}

fn plain<T: Element>(reader: &mut dyn Read, shape: Shape) -> io::Result<Tensor> {
    build::<T>(shape, |out| reader.read_exact(bytemuck::cast_slice_mut(out)))
}

fn converted<S: bytemuck::Pod, T: Element>(
    reader: &mut dyn Read,
    shape: Shape,
    convert: impl Fn(S) -> T,
) -> io::Result<Tensor> {
    build::<T>(shape, |out| {
        const BLOCK: usize = 16 * 1024;
        let mut block = vec![S::zeroed(); BLOCK.min(out.len())];
        for out in out.chunks_mut(BLOCK) {
            let block = &mut block[..out.len()];
            reader.read_exact(bytemuck::cast_slice_mut(block))?;
            for (o, &s) in out.iter_mut().zip(&*block) {
                *o = convert(s);
            }
        }
        Ok(())
    })
}
