//! One spatial axis of a convolution: which taps of the kernel an output coordinate meets, and where.

use std::ops::Range;

/// Output coordinates over source coordinates.
///
/// Output `phase + j · out_step` meets, for each `(tap, offset)` of its phase, source `offset + j · src_step`, unless that lies
/// outside `0..src_len`. A forward pass has one phase and steps through the source by the stride; an input gradient has as many
/// phases as the stride, each with the taps that reach it, so that no inserted zero is ever multiplied.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) src_len: usize,
    pub(super) out_len: usize,
    pub(super) out_step: usize,
    pub(super) src_step: usize,
    /// Per phase: taps in ascending order with their offsets.
    pub(super) phases: Vec<Vec<(usize, isize)>>,
}

impl Axis {
    /// The output (`out_len`) over the input (`src_len`).
    pub(super) fn forward(
        src_len: usize,
        out_len: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        let taps = (0..kernel).map(|k| (k, (k * dilation) as isize - padding as isize)).collect();
        Self { src_len, out_len, out_step: 1, src_step: stride, phases: vec![taps] }
    }

    /// The input gradient (`in_len`) over the output gradient (`grad_len`).
    pub(super) fn backward(
        in_len: usize,
        grad_len: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        dilation: usize,
    ) -> Self {
        let step = stride as isize;
        let phase = |phase: usize| {
            let taps =
                (0..kernel).map(|k| (k, (phase + padding) as isize - (k * dilation) as isize));
            taps.filter(|(_, at)| at % step == 0).map(|(k, at)| (k, at / step)).collect()
        };
        let phases = (0..stride).map(phase).collect();
        Self { src_len: grad_len, out_len: in_len, out_step: stride, src_step: 1, phases }
    }

    /// Outputs of a phase.
    pub(super) fn count(&self, phase: usize) -> usize {
        self.out_len.saturating_sub(phase).div_ceil(self.out_step)
    }

    /// The taps that output coordinate `at` meets inside the source, with their source coordinates.
    pub(super) fn taps(&self, at: usize) -> impl Iterator<Item = (usize, usize)> {
        let base = (at / self.out_step * self.src_step) as isize;
        let inside = 0..self.src_len as isize;
        self.phases[at % self.out_step]
            .iter()
            .map(move |&(tap, offset)| (tap, base + offset))
            .filter(move |(_, src)| inside.contains(src))
            .map(|(tap, src)| (tap, src as usize))
    }

    /// The `j` in `0..count` whose source `offset + j · src_step` exists.
    pub(super) fn inside(&self, offset: isize, count: usize) -> Range<usize> {
        let step = self.src_step as isize;
        let reach =
            |limit: isize| ((limit - offset + step - 1).div_euclid(step)).clamp(0, count as isize);
        let (begin, end) = (reach(0), reach(self.src_len as isize));
        begin as usize..end.max(begin) as usize
    }

    /// How far the taps reach out of the source on the left and on the right.
    pub(super) fn overhang(&self) -> [usize; 2] {
        let mut ends = [0; 2];
        for (phase, taps) in self.phases.iter().enumerate() {
            let Some(last) = self.count(phase).checked_sub(1) else { continue };
            for &(_, offset) in taps {
                let right = offset + (last * self.src_step) as isize - self.src_len as isize + 1;
                ends = [ends[0].max(-offset), ends[1].max(right)];
            }
        }
        ends.map(|end| end as usize)
    }

    /// The taps from the first to the last that meets the source anywhere. On small maps the rest of a large kernel only
    /// ever sees padding.
    pub(super) fn used(&self) -> Range<usize> {
        let phases = self.phases.iter().enumerate();
        let used = phases.flat_map(|(phase, taps)| {
            let count = self.count(phase);
            taps.iter().filter(move |tap| !self.inside(tap.1, count).is_empty()).map(|tap| tap.0)
        });
        used.fold(0..0, |range, tap| {
            if range.is_empty() {
                tap..tap + 1
            } else {
                range.start.min(tap)..range.end.max(tap + 1)
            }
        })
    }
}
