//! [`Device`]: where a tensor's elements live and its ops are computed.

use std::fmt;

use crate::{cpu, kernels::Kernels};

/// Where a tensor lives. More devices will be added; match with a wildcard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Device {
    /// The machine's processors, used through rayon's thread pool.
    #[default]
    Cpu,
}

impl Device {
    /// The device's implementation of every op.
    pub(crate) fn kernels(self) -> &'static dyn Kernels {
        match self {
            Device::Cpu => &cpu::Cpu,
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
        }
    }
}
