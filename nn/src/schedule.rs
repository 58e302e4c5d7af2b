//! Learning-rate schedules: pure functions of the time.
//!
//! Time is a count of epochs or of steps, whichever the training loop counts; a schedule's own lengths are in the same
//! unit. Being functions, schedules have no state: nothing to save, nothing to resume.

use std::f64::consts::PI;

/// The learning rate at each time.
pub trait Schedule: Send + Sync {
    /// The learning rate to use during epoch (or step) `t`, counted from 0.
    fn lr(&self, t: usize) -> f64;
}

/// Any function is a schedule.
impl<F: Fn(usize) -> f64 + Send + Sync> Schedule for F {
    fn lr(&self, t: usize) -> f64 {
        self(t)
    }
}

/// Always the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant(
    /// The learning rate.
    pub f64,
);

impl Schedule for Constant {
    fn lr(&self, _t: usize) -> f64 {
        self.0
    }
}

/// Half a cosine from `lr` to `min_lr`, after a linear warm-up that takes the place of its beginning.
///
/// ```text
/// t < warmup_epochs:   warmup_lr + t (lr - warmup_lr) / warmup_epochs
/// t < epochs:          min_lr + (lr - min_lr) (1 + cos(π t / epochs)) / 2
/// later (cool-down):   min_lr
/// ```
///
/// The cosine counts from 0, not from the end of the warm-up. Same as `CosineLRScheduler` of timm, stepped by epochs,
/// with one cycle and without `warmup_prefix`; timm's cool-down epochs are those from `epochs` on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    /// The highest learning rate.
    pub lr: f64,
    /// Where the cosine ends.
    pub min_lr: f64,
    /// Length of the cosine, warm-up included, cool-down not.
    pub epochs: usize,
    /// Length of the warm-up; 0 for none.
    pub warmup_epochs: usize,
    /// Where the warm-up starts.
    pub warmup_lr: f64,
}

impl Schedule for Cosine {
    fn lr(&self, t: usize) -> f64 {
        if t < self.warmup_epochs {
            ramp(self.warmup_lr, self.lr, t, self.warmup_epochs)
        } else if t < self.epochs {
            let phase = PI * t as f64 / self.epochs as f64;
            self.min_lr + 0.5 * (self.lr - self.min_lr) * (1.0 + phase.cos())
        } else {
            self.min_lr
        }
    }
}

/// `lr · factor^(t / every)`, rounded down. Same as `torch.optim.lr_scheduler.StepLR`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The learning rate at the beginning.
    pub lr: f64,
    /// How long each stair is.
    pub every: usize,
    /// From stair to stair; 0.1 is common.
    pub factor: f64,
}

impl Schedule for Step {
    fn lr(&self, t: usize) -> f64 {
        let stairs = t / self.every.max(1);
        self.lr * self.factor.powf(stairs as f64)
    }
}

/// A straight line from `start_lr` up to another schedule's beginning, which then starts from its own 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearWarmup<S> {
    /// Length of the warm-up; 0 for none.
    pub epochs: usize,
    /// The learning rate at time 0.
    pub start_lr: f64,
    /// What follows.
    pub then: S,
}

impl<S: Schedule> Schedule for LinearWarmup<S> {
    fn lr(&self, t: usize) -> f64 {
        if t < self.epochs {
            ramp(self.start_lr, self.then.lr(0), t, self.epochs)
        } else {
            self.then.lr(t - self.epochs)
        }
    }
}

/// Another schedule one epoch late: `lr(max(t - 1, 0))`.
///
/// What a loop trains with that steps a timm scheduler *after* each epoch with the finished epoch's number, as DeiT's
/// does: epochs 0 and 1 both run at the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lagged<S>(
    /// The schedule as it should have been.
    pub S,
);

impl<S: Schedule> Schedule for Lagged<S> {
    fn lr(&self, t: usize) -> f64 {
        self.0.lr(t.saturating_sub(1))
    }
}

/// Point `t` of a line that is at `from` at 0 and at `to` at `length`.
fn ramp(from: f64, to: f64, t: usize, length: usize) -> f64 {
    from + t as f64 * ((to - from) / length as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &impl Schedule, expected: &[(usize, f64)]) {
        for &(t, lr) in expected {
            let actual = schedule.lr(t);
            assert!((actual - lr).abs() <= 1e-15, "at {t}: {actual:e} instead of {lr:e}");
        }
    }

    // timm 1.0, create_scheduler with sched="cosine", epochs=300, warmup_lr=1e-6, min_lr=1e-5, cooldown_epochs=10;
    // lr=1e-3 with 5 warm-up epochs, and lr=2.5e-4 with none. Values after `step(epoch)`.
    const DEIT: Cosine =
        Cosine { lr: 1e-3, min_lr: 1e-5, epochs: 300, warmup_epochs: 5, warmup_lr: 1e-6 };
    const NO_WARMUP: Cosine = Cosine { lr: 2.5e-4, warmup_epochs: 0, ..DEIT };

    #[test]
    fn cosine_is_timms() {
        check(
            &DEIT,
            &[
                (0, 1e-06),
                (1, 0.00020080000000000003),
                (4, 0.0008002000000000002),
                (5, 0.000999321619703514),
                (7, 0.0009986706662261067),
                (149, 0.0005101835331375417),
                (150, 0.000505),
                (299, 1.002714116407149e-05),
                (300, 1e-05),
                (309, 1e-05),
            ],
        );
        check(
            &NO_WARMUP,
            &[
                (0, 0.00025),
                (1, 0.0002499934203238615),
                (7, 0.00024967773726693496),
                (151, 0.00012874338590605053),
                (299, 1.0006579676138544e-05),
                (300, 1e-05),
            ],
        );
    }

    #[test]
    fn lagged_is_what_a_loop_trains_with_that_steps_after_the_epoch() {
        check(
            &Lagged(DEIT),
            &[(0, 1e-06), (1, 1e-06), (2, 0.00020080000000000003), (6, 0.000999321619703514)],
        );
        check(&Lagged(NO_WARMUP), &[(0, 0.00025), (1, 0.00025), (2, 0.0002499934203238615)]);
    }

    #[test]
    fn steps_warm_up_and_functions() {
        let step = Step { lr: 1.0, every: 30, factor: 0.1 };
        check(&step, &[(0, 1.0), (29, 1.0), (30, 0.1), (60, 0.01)]);
        let warm = LinearWarmup { epochs: 4, start_lr: 0.0, then: step };
        check(&warm, &[(0, 0.0), (1, 0.25), (4, 1.0), (33, 1.0), (34, 0.1)]);
        check(&LinearWarmup { epochs: 0, start_lr: 0.0, then: Constant(0.3) }, &[(0, 0.3)]);
        check(&|t: usize| 1.0 / (1 + t) as f64, &[(3, 0.25)]);
    }
}
