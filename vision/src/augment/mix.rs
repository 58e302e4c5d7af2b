//! [`Mix`]: batches mixed with themselves in reverse order, Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019); and their
//! targets, with label smoothing (Szegedy et al. 2016).

use tensor::Stream;

/// Mixes a whole batch by one random number.
///
/// As timm's `Mixup(mode="batch", prob=1)`. Default: the recipe of DeiT.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix {
    /// `alpha` of Mixup's Beta distribution. Default 0.8.
    pub mixup_alpha: f64,
    /// `alpha` of CutMix's Beta distribution. Default 1.
    pub cutmix_alpha: f64,
    /// Probability of CutMix; else it is Mixup. Default 0.5.
    pub cutmix_probability: f64,
    /// Part of the target that all classes share. Default 0.1.
    pub smoothing: f64,
}

impl Default for Mix {
    fn default() -> Self {
        Mix { mixup_alpha: 0.8, cutmix_alpha: 1.0, cutmix_probability: 0.5, smoothing: 0.1 }
    }
}

impl Mix {
    /// Mixes `images`, `[N, channels, height, width]`, and returns their targets `[N, classes]`.
    ///
    /// # Panics
    /// If a label is no class, or `images` are not as many as `labels` of this size.
    #[track_caller]
    pub fn apply(
        &self,
        images: &mut [f32],
        [height, width]: [usize; 2],
        labels: &[usize],
        classes: usize,
        stream: &mut Stream,
    ) -> Vec<f32> {
        let lambda = if stream.uniform() < self.cutmix_probability {
            let lambda = beta(self.cutmix_alpha, stream);
            let area = cutmix_box([height, width], lambda, stream);
            cutmix(images, labels.len(), [height, width], area)
        } else {
            let lambda = beta(self.mixup_alpha, stream);
            mixup(images, labels.len(), lambda as f32);
            lambda
        };
        targets(labels, classes, lambda, self.smoothing)
    }
}

/// Each image times `lambda`, plus `1 - lambda` times the one at its place in the reversed batch of `n`.
pub fn mixup(images: &mut [f32], n: usize, lambda: f32) {
    mirrored(images, n, |a, b| {
        for (a, b) in a.iter_mut().zip(b) {
            (*a, *b) = (*a * lambda + *b * (1.0 - lambda), *b * lambda + *a * (1.0 - lambda));
        }
    });
}

/// Exchanges the box `[top, bottom, left, right]` (the ends excluded) of each image with the one at its place in the reversed
/// batch of `n`; returns the part of the area that stays.
///
/// # Panics
/// If the box is not inside.
pub fn cutmix(
    images: &mut [f32],
    n: usize,
    [height, width]: [usize; 2],
    [top, bottom, left, right]: [usize; 4],
) -> f64 {
    mirrored(images, n, |a, b| {
        let plane = (height * width).max(1);
        for (a, b) in a.chunks_exact_mut(plane).zip(b.chunks_exact_mut(plane)) {
            for y in top..bottom {
                let row = y * width + left..y * width + right;
                a[row.clone()].swap_with_slice(&mut b[row]);
            }
        }
    });
    1.0 - ((bottom - top) * (right - left)) as f64 / (height * width) as f64
}

/// Calls `f` with each image of the first half and its partner; the one in the middle has itself, which changes nothing.
fn mirrored(images: &mut [f32], n: usize, mut f: impl FnMut(&mut [f32], &mut [f32])) {
    let size = images.len() / n.max(1);
    for i in 0..n / 2 {
        let (first, second) = images.split_at_mut((n - 1 - i) * size);
        f(&mut first[i * size..][..size], &mut second[..size]);
    }
}

/// A box of sides `sqrt(1 - lambda)` about a random pixel, cut off at the borders: `[top, bottom, left, right]`.
fn cutmix_box([height, width]: [usize; 2], lambda: f64, stream: &mut Stream) -> [usize; 4] {
    let ratio = (1.0 - lambda).sqrt();
    let mut axis = |len: usize| {
        let cut = (len as f64 * ratio) as usize;
        let center = stream.below(len as u64) as usize;
        [center.saturating_sub(cut / 2), (center + cut.div_ceil(2)).min(len)]
    };
    let ([top, bottom], [left, right]) = (axis(height), axis(width));
    [top, bottom, left, right]
}

/// Targets `[N, classes]`: of each label `1 - smoothing + smoothing / classes` on it and `smoothing / classes` elsewhere,
/// `lambda` of that and `1 - lambda` of the label at its place in the reversed batch.
///
/// # Panics
/// If a label is no class.
#[track_caller]
pub fn targets(labels: &[usize], classes: usize, lambda: f64, smoothing: f64) -> Vec<f32> {
    let off = smoothing / classes as f64;
    let on = 1.0 - smoothing + off;
    let mut targets = vec![off as f32; labels.len() * classes];
    for (row, (&a, &b)) in
        targets.chunks_exact_mut(classes).zip(labels.iter().zip(labels.iter().rev()))
    {
        assert!(a < classes, "targets: label {a} of {classes} classes");
        let extra = on - off;
        row[a] = (off + extra * lambda) as f32;
        row[b] = match a == b {
            true => on as f32,
            false => (off + extra * (1.0 - lambda)) as f32,
        };
    }
    targets
}

/// A number of Beta(alpha, alpha).
fn beta(alpha: f64, stream: &mut Stream) -> f64 {
    let (a, b) = (gamma(alpha, stream), gamma(alpha, stream));
    // Both can underflow where alpha is tiny.
    if a + b > 0.0 { a / (a + b) } else { 0.5 }
}

/// A number of Gamma(alpha, 1), by Marsaglia and Tsang (2000).
fn gamma(alpha: f64, stream: &mut Stream) -> f64 {
    if alpha < 1.0 {
        let u = 1.0 - stream.uniform();
        return gamma(alpha + 1.0, stream) * u.powf(1.0 / alpha);
    }
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - stream.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_has_its_mean_and_variance() {
        for alpha in [0.3, 0.8, 1.0, 2.5] {
            let stream = &mut Stream::new(7);
            let x: Vec<f64> = (0..40_000).map(|_| beta(alpha, stream)).collect();
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let var = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / x.len() as f64;
            assert!((mean - 0.5).abs() < 0.01, "{alpha}: {mean}");
            let expected = 0.25 / (2.0 * alpha + 1.0);
            assert!((var / expected - 1.0).abs() < 0.03, "{alpha}: {var}, not {expected}");
        }
    }

    #[test]
    fn boxes_are_inside_and_as_large_as_they_should_be_on_average() {
        let stream = &mut Stream::new(2);
        let (mut clipped, mut whole) = (0, 0);
        for _ in 0..2000 {
            let [top, bottom, left, right] = cutmix_box([32, 24], 0.75, stream);
            assert!(top <= bottom && bottom <= 32 && left <= right && right <= 24);
            match (bottom - top, right - left) {
                (16, 12) => whole += 1,
                _ => clipped += 1,
            }
        }
        // A quarter of the area fits at (1 - 1/2)^2 of the places, and one more for the even sides.
        assert!((450..650).contains(&whole) && clipped > 0, "{whole}");
    }

    /// One number for the whole batch, and the target says how much of which image there is.
    #[test]
    fn targets_say_what_was_mixed() {
        let mix = Mix { smoothing: 0.0, ..Mix::default() };
        let mut cut = 0;
        for seed in 0..40 {
            // Image i is i everywhere.
            let mut images: Vec<f32> = (0..4).flat_map(|i| [i as f32; 3 * 8 * 8]).collect();
            let targets = mix.apply(&mut images, [8, 8], &[0, 1, 2, 3], 4, &mut Stream::new(seed));
            for (image, target) in images.chunks_exact(3 * 64).zip(targets.chunks_exact(4)) {
                let mean = image.iter().sum::<f32>() / image.len() as f32;
                let said: f32 = target.iter().enumerate().map(|(i, t)| i as f32 * t).sum();
                assert!((mean - said).abs() < 1e-5, "{mean} {said}");
                assert!((target.iter().sum::<f32>() - 1.0).abs() < 1e-6);
            }
            cut += usize::from(images.iter().all(|v| v.fract() == 0.0));
        }
        assert!((10..30).contains(&cut), "{cut}");
    }
}
