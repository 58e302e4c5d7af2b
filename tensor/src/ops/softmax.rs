//! Softmax and cross entropy, with their derivatives.

use super::{check_devices, check_same, check_statistics};
use crate::{DType, Tensor, kernels::Classes, shape::axis_index};

/// What a cross entropy compares logits `[N, K]` or `[N, K, d1, ..]` with.
#[derive(Clone, Copy, Debug)]
pub enum Targets<'a> {
    /// The class of each row as `I64` `[N]` or `[N, d1, ..]`, with label smoothing `e` in `0..=1`: the target gives
    /// `1 - e + e / K` to the class and `e / K` to all others.
    Classes {
        /// Class indices in `0..K`.
        index: &'a Tensor,
        /// Label smoothing; 0 for none.
        smoothing: f64,
    },
    /// A probability for each class, in the shape and dtype of the logits (as mixup makes them).
    Probabilities(&'a Tensor),
}

/// `x` with `axis` moved last, in contiguous memory, and the permutation that moves it back.
fn rows_along(x: &Tensor, axis: usize) -> (Tensor, Vec<usize>) {
    let last = x.rank() - 1;
    let mut order: Vec<usize> = (0..x.rank()).filter(|&a| a != axis).collect();
    order.push(axis);
    let mut back: Vec<usize> = (0..last).collect();
    back.insert(axis, last);
    (x.permute(&order).contiguous(), back)
}

impl Tensor {
    #[track_caller]
    fn softmax_op(&self, op: &str, axis: isize, log: bool) -> Tensor {
        let axis = axis_index(op, axis, &self.shape());
        let (rows, back) = rows_along(self, axis);
        self.kernels().softmax(&rows, log).permute(&back)
    }

    /// `e^x / sum(e^x)` along `axis` (negative: from the end), computed from `x - max(x)`.
    ///
    /// The result has `axis` innermost in memory, so logits `[N, K, H, W]` become channels last.
    /// Same as `torch.softmax`.
    ///
    /// # Panics
    /// If the axis does not exist or the dtype is no float.
    #[track_caller]
    pub fn softmax(&self, axis: isize) -> Tensor {
        self.softmax_op("softmax", axis, false)
    }

    /// `x - log(sum(e^x))` along `axis`; memory as with [`softmax`](Self::softmax). Same as `torch.log_softmax`.
    ///
    /// # Panics
    /// If the axis does not exist or the dtype is no float.
    #[track_caller]
    pub fn log_softmax(&self, axis: isize) -> Tensor {
        self.softmax_op("log_softmax", axis, true)
    }

    #[track_caller]
    fn softmax_grad_op(&self, op: &str, dy: &Tensor, axis: isize, log: bool) -> Tensor {
        let axis = axis_index(op, axis, &self.shape());
        check_same(op, &[self, dy]);
        assert!(
            self.shape() == dy.shape(),
            "{op}: gradient {} does not have the shape {} of the output",
            dy.shape(),
            self.shape()
        );
        let (y, back) = rows_along(self, axis);
        let (dy, _) = rows_along(dy, axis);
        self.kernels().softmax_grad(&y, &dy, log).permute(&back)
    }

    /// The input's gradient of [`softmax`](Self::softmax) from its output `y` (`self`) and the gradient `dy` of that:
    /// `y * (dy - sum(dy * y))`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ or the axis does not exist.
    #[track_caller]
    pub fn softmax_grad(&self, dy: &Tensor, axis: isize) -> Tensor {
        self.softmax_grad_op("softmax_grad", dy, axis, false)
    }

    /// The input's gradient of [`log_softmax`](Self::log_softmax) from its output `y` (`self`) and the gradient `dy`
    /// of that: `dy - e^y * sum(dy)`.
    ///
    /// # Panics
    /// As [`softmax_grad`](Self::softmax_grad).
    #[track_caller]
    pub fn log_softmax_grad(&self, dy: &Tensor, axis: isize) -> Tensor {
        self.softmax_grad_op("log_softmax_grad", dy, axis, true)
    }

    /// The cross entropy `-sum(target * log_softmax(logits))` over the classes (axis 1), not reduced.
    ///
    /// Logits `[N, K]` or `[N, K, d1, ..]`; returns the losses `[N]` or `[N, d1, ..]` and, of the same shape, the
    /// `log(sum(e^logits))` that [`cross_entropy_grad`](Self::cross_entropy_grad) needs. Logits with the classes
    /// innermost in memory (channels last) are not copied.
    /// Same as `torch.nn.functional.cross_entropy(.., reduction="none")`.
    ///
    /// # Panics
    /// If the target's shape, dtype or device does not fit, or a class is not in `0..K`.
    #[track_caller]
    pub fn cross_entropy(&self, targets: Targets) -> (Tensor, Tensor) {
        let (logits, targets) = class_rows("cross_entropy", self, targets);
        let (loss, lse) = self.kernels().cross_entropy(&logits, targets.as_kernel());
        let shape = self.shape().without_axis(1);
        (loss.reshape(shape), lse.reshape(shape))
    }

    /// The logits' gradient of [`cross_entropy`](Self::cross_entropy) from the logits (`self`), the targets, the second
    /// result `lse` and the gradient `dloss` of the losses: `dloss * (softmax(logits) * sum(target) - target)`.
    ///
    /// # Panics
    /// As [`cross_entropy`](Self::cross_entropy), or if `lse` or `dloss` does not have the shape of the losses.
    #[track_caller]
    pub fn cross_entropy_grad(&self, targets: Targets, lse: &Tensor, dloss: &Tensor) -> Tensor {
        const OP: &str = "cross_entropy_grad";
        let (logits, targets) = class_rows(OP, self, targets);
        check_same(OP, &[self, dloss]);
        check_statistics(OP, lse, self);
        let shape = self.shape().without_axis(1);
        assert!(
            lse.shape() == shape && dloss.shape() == shape,
            "{OP}: log-sum-exp {} and gradient {} must have the shape {shape} of the losses of logits {}",
            lse.shape(),
            dloss.shape(),
            self.shape()
        );
        let (lse, dloss) = (lse.contiguous(), dloss.contiguous());
        let kernels = self.kernels();
        let dx = kernels.cross_entropy_grad(&logits, targets.as_kernel(), &lse, &dloss);
        let mut back: Vec<usize> = (0..self.rank() - 1).collect();
        back.insert(1, self.rank() - 1);
        dx.permute(&back)
    }
}

/// Targets in the order of the rows of logits.
enum RowTargets {
    Classes { index: Tensor, smoothing: f64 },
    Probabilities(Tensor),
}

impl RowTargets {
    fn as_kernel(&self) -> Classes<'_> {
        match self {
            RowTargets::Classes { index, smoothing } => {
                Classes::Index { index, smoothing: *smoothing }
            }
            RowTargets::Probabilities(p) => Classes::Probabilities(p),
        }
    }
}

/// Logits and targets with the classes innermost, after all checks.
#[track_caller]
fn class_rows(op: &str, logits: &Tensor, targets: Targets) -> (Tensor, RowTargets) {
    let shape = logits.shape();
    assert!(shape.rank() >= 2, "{op}: logits {shape} must be [N, K] or [N, K, ..]");
    let (rows, _) = rows_along(logits, 1);
    let (Targets::Classes { index: target, .. } | Targets::Probabilities(target)) = targets;
    check_devices(op, &[logits, target]);
    let targets = match targets {
        Targets::Classes { index, smoothing } => {
            let expected = shape.without_axis(1);
            assert!(
                index.dtype() == DType::I64 && index.shape() == expected,
                "{op}: target {} of dtype {} does not fit logits {shape}; it must be {expected} of dtype i64",
                index.shape(),
                index.dtype()
            );
            assert!(
                index.device() == logits.device(),
                "{op}: logits are on {}, the target on {}; move one of them",
                logits.device(),
                index.device()
            );
            assert!(
                (0.0..=1.0).contains(&smoothing),
                "{op}: label smoothing {smoothing} is not between 0 and 1"
            );
            RowTargets::Classes { index: index.contiguous(), smoothing }
        }
        Targets::Probabilities(p) => {
            check_same(op, &[logits, p]);
            assert!(
                p.shape() == shape,
                "{op}: target probabilities {} do not have the shape of logits {shape}",
                p.shape()
            );
            RowTargets::Probabilities(rows_along(p, 1).0)
        }
    };
    (rows, targets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    #[test]
    fn large_logits_stay_finite() {
        let x = Tensor::new(&[1000.0f32, 999.0, -1000.0], [1, 3]);
        let y = x.softmax(1).to_f64_vec();
        assert!((y[0] - 1.0 / (1.0 + (-1.0f64).exp())).abs() < 1e-6 && y[2] == 0.0);
        let log = x.log_softmax(-1).to_f64_vec();
        assert!((log[2] + 2000.0 + (1.0 + (-1.0f64).exp()).ln()).abs() < 1e-3);
    }

    #[test]
    fn any_axis_gives_the_values_of_the_last_one() {
        let x = Tensor::arange(24, Device::Cpu).to_dtype(DType::F64).sin().reshape([2, 3, 4]);
        for axis in 0..3 {
            let moved = x.transpose(axis, -1).contiguous().softmax(-1).transpose(axis, -1);
            assert_eq!(x.softmax(axis).to_f64_vec(), moved.to_f64_vec());
        }
    }

    #[test]
    fn smoothed_classes_equal_their_probabilities() {
        let x = Tensor::arange(2 * 4 * 3, Device::Cpu).to_dtype(DType::F64).sin();
        let x = x.reshape([2, 4, 3]);
        let classes = [0i64, 3, 1, 2, 2, 0];
        let index = Tensor::new(&classes, [2, 3]);
        let (e, mut p) = (0.3, vec![0.3 / 4.0; 24]);
        for (cell, &class) in classes.iter().enumerate() {
            p[cell / 3 * 12 + class as usize * 3 + cell % 3] += 1.0 - e;
        }
        let p = Tensor::new(&p, [2, 4, 3]);
        let hard = Targets::Classes { index: &index, smoothing: e };
        let (a, lse) = x.cross_entropy(hard);
        let (b, _) = x.cross_entropy(Targets::Probabilities(&p));
        assert_eq!(a.dims(), [2, 3]);
        let close = |a: &Tensor, b: &Tensor| {
            a.to_f64_vec().iter().zip(b.to_f64_vec()).all(|(a, b)| (a - b).abs() < 1e-12)
        };
        assert!(close(&a, &b), "{a:?} {b:?}");
        let dloss = lse.cos();
        let (da, db) = (
            x.cross_entropy_grad(hard, &lse, &dloss),
            x.cross_entropy_grad(Targets::Probabilities(&p), &lse, &dloss),
        );
        assert!(close(&da, &db), "{da:?} {db:?}");
    }

    #[test]
    #[should_panic(expected = "cross_entropy: class 5 of row 1 is not in 0..3")]
    fn classes_out_of_range_are_named() {
        let x = Tensor::zeros([2, 3], DType::F32, Device::Cpu);
        let index = Tensor::new(&[0i64, 5], [2]);
        x.cross_entropy(Targets::Classes { index: &index, smoothing: 0.0 });
    }

    #[test]
    #[should_panic(
        expected = "cross_entropy: target [3] of dtype i64 does not fit logits [2, 3]; it must be [2] of dtype i64"
    )]
    fn wrong_target_shape_is_named() {
        let x = Tensor::zeros([2, 3], DType::F32, Device::Cpu);
        let index = Tensor::new(&[0i64, 1, 2], [3]);
        x.cross_entropy(Targets::Classes { index: &index, smoothing: 0.0 });
    }
}
