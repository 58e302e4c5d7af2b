//! Element types: the run-time [`DType`] and the Rust types that stand behind it.

use std::fmt;

use half::{bf16, f16};

/// The type of a tensor's elements, chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit float: what models are trained in.
    F32,
    /// 64-bit float: what gradients are checked in.
    F64,
    /// 16-bit float with the exponent of `F32` (storage; computed in `F32`).
    BF16,
    /// IEEE 16-bit float (storage; computed in `F32`).
    F16,
    /// 64-bit signed integer: class indices and counters.
    I64,
    /// 8-bit unsigned integer: images, and masks with 0 for false and 1 for true.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 => 4,
            DType::BF16 | DType::F16 => 2,
            DType::U8 => 1,
        }
    }

    /// Whether this is one of the 16-bit floats, which are stored so and computed in f32.
    pub const fn is_half(self) -> bool {
        matches!(self, DType::BF16 | DType::F16)
    }

    /// Whether elements are floating-point numbers, i.e. can carry gradients.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64 | DType::BF16 | DType::F16)
    }
}

impl fmt::Display for DType {
    /// PyTorch's short names: `f32`, `f64`, `bf16`, `f16`, `i64`, `u8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::BF16 => "bf16",
            DType::F16 => "f16",
            DType::I64 => "i64",
            DType::U8 => "u8",
        })
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be the element of a [`Tensor`](crate::Tensor); implemented for the types of [`DType`] only.
pub trait Element:
    sealed::Sealed + bytemuck::Pod + PartialOrd + fmt::Debug + Send + Sync + Default
{
    /// The run-time name of this type.
    const DTYPE: DType;

    /// The nearest value of this type: rounds floats to nearest even, truncates and saturates integers.
    fn from_f64(x: f64) -> Self;

    /// This value as `f64` (exact for all types but large `i64`).
    fn to_f64(self) -> f64;
}

macro_rules! element {
    ($t:ty, $dtype:ident, $from:expr, $to:expr) => {
        impl sealed::Sealed for $t {}
        impl Element for $t {
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn from_f64(x: f64) -> Self {
                ($from)(x)
            }
            #[inline]
            fn to_f64(self) -> f64 {
                ($to)(self)
            }
        }
    };
}

element!(f32, F32, |x| x as f32, |x| x as f64);
element!(f64, F64, |x| x, |x| x);
// By way of f32, as in PyTorch. `from_f64` of these types looks at the upper half of the f64 only: what lies little above
// the middle of two values it takes for the middle, and rounds to the even one.
element!(bf16, BF16, |x| bf16::from_f32(x as f32), bf16::to_f64);
element!(f16, F16, |x| f16::from_f32(x as f32), f16::to_f64);
element!(i64, I64, |x| x as i64, |x| x as f64);
element!(u8, U8, |x| x as u8, |x| x as f64);

/// Runs `$body` with `$T` bound to the Rust type of a floating [`DType`] that kernels compute in (f32 or f64).
macro_rules! with_float {
    ($op:expr, $dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            other => panic!("{}: dtype {other} is not supported; cast to a float first", $op),
        }
    };
}
pub(crate) use with_float;

/// Runs `$body` with `$T` bound to the Rust type of any [`DType`].
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $T = f32;
                $body
            }
            $crate::DType::F64 => {
                type $T = f64;
                $body
            }
            $crate::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            $crate::DType::F16 => {
                type $T = half::f16;
                $body
            }
            $crate::DType::I64 => {
                type $T = i64;
                $body
            }
            $crate::DType::U8 => {
                type $T = u8;
                $body
            }
        }
    };
}
pub(crate) use with_element;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_above_the_middle_rounds_up() {
        // 1 + 2^-8 is the middle between the first two bf16 from 1 on, 1 + 2^-11 that of f16.
        let above = |middle: i32| 1.0 + 2f64.powi(middle) + 2f64.powi(-23);
        assert_eq!(<bf16 as Element>::from_f64(above(-8)).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(<f16 as Element>::from_f64(above(-11)).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(<bf16 as Element>::from_f64(1.0 + 2f64.powi(-8)).to_f64(), 1.0);
    }
}
