//! Small constants of ops (windows, taps) on the device, uploaded when they are first used and kept.
//!
//! A training step uses the same ones again and again, so after the first it uploads nothing.

use std::{collections::HashMap, sync::Arc};

use bytemuck::Pod;

use super::{gpu::Gpu, launch::In, memory::Buffer, operand::or_panic};

/// Tables by their bytes.
#[derive(Default)]
pub(super) struct Tables {
    known: HashMap<Vec<u8>, Arc<Buffer>>,
    bytes: usize,
}

/// Tables of more bytes in all are forgotten: a program that makes ever new ones does not fill the device.
const MOST: usize = 16 << 20;

/// Constants on the device, for as long as it is held.
pub(super) struct Table(Arc<Buffer>);

impl Table {
    pub(super) fn start(&self) -> In {
        In(self.0.address())
    }
}

impl Gpu {
    /// `values` on the device.
    pub(super) fn table<T: Pod>(&'static self, values: &[T]) -> Table {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let mut tables = self.tables.lock().expect("no thread panics while it holds the tables");
        if let Some(known) = tables.known.get(bytes) {
            return Table(known.clone());
        }
        let buffer = Arc::new(or_panic(self.bind().and_then(|()| self.upload(bytes))));
        if tables.bytes + bytes.len() > MOST {
            *tables = Tables::default();
        }
        tables.bytes += bytes.len();
        tables.known.insert(bytes.to_vec(), buffer.clone());
        Table(buffer)
    }
}
