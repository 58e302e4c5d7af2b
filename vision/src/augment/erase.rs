//! [`RandomErasing`]: a box of noise in the place of a part of the image (Zhong et al. 2020).

use tensor::Stream;

/// Erases a random box with probability `probability`. After normalization; the box is filled with normal noise, a value a
/// pixel and channel.
///
/// As timm's `RandomErasing(mode="pixel")`.
#[derive(Clone, Debug, PartialEq)]
pub struct RandomErasing {
    /// Default 0.25.
    pub probability: f64,
    /// Least and greatest part of the area. Default 0.02 to 1/3.
    pub area: [f64; 2],
    /// Least ratio of height and width, log-uniform to its inverse. Default 0.3.
    pub least_aspect: f64,
}

impl Default for RandomErasing {
    fn default() -> Self {
        RandomErasing { probability: 0.25, area: [0.02, 1.0 / 3.0], least_aspect: 0.3 }
    }
}

/// Boxes drawn before an image is left as it is.
const TRIES: usize = 10;

impl RandomErasing {
    /// Perhaps erases a box of `x`, `[channels, height, width]`.
    pub fn apply(&self, x: &mut [f32], [height, width]: [usize; 2], stream: &mut Stream) {
        if let Some(area) = self.draw([height, width], stream) {
            erase(x, [height, width], area, || stream.normal() as f32);
        }
    }

    /// `[top, left, height, width]` of a box, if there is to be one.
    fn draw(&self, [height, width]: [usize; 2], stream: &mut Stream) -> Option<[usize; 4]> {
        if stream.uniform() >= self.probability {
            return None;
        }
        let log_aspect = self.least_aspect.ln();
        (0..TRIES).find_map(|_| {
            let part = self.area[0] + (self.area[1] - self.area[0]) * stream.uniform();
            let area = part * (height * width) as f64;
            let aspect = (log_aspect * (1.0 - 2.0 * stream.uniform())).exp();
            let h = (area * aspect).sqrt().round_ties_even() as usize;
            let w = (area / aspect).sqrt().round_ties_even() as usize;
            (h < height && w < width).then(|| {
                let top = stream.below((height - h + 1) as u64) as usize;
                let left = stream.below((width - w + 1) as u64) as usize;
                [top, left, h, w]
            })
        })
    }
}

/// Replaces the box `[top, left, height, width]` of every channel of `x`, `[channels, height, width]`, by what `noise` gives.
///
/// # Panics
/// If the box is not inside.
pub fn erase<T>(
    x: &mut [T],
    [height, width]: [usize; 2],
    [top, left, h, w]: [usize; 4],
    mut noise: impl FnMut() -> T,
) {
    for channel in x.chunks_exact_mut((height * width).max(1)) {
        for row in channel.chunks_exact_mut(width.max(1)).skip(top).take(h) {
            row[left..left + w].iter_mut().for_each(|v| *v = noise());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_images_loses_between_a_fiftieth_and_a_third() {
        let (erasing, mut stream, mut areas) =
            (RandomErasing::default(), Stream::new(1), Vec::new());
        for _ in 0..4000 {
            let mut x = vec![100.0; 3 * 32 * 32];
            erasing.apply(&mut x, [32, 32], &mut stream);
            let erased = x.iter().filter(|&&v| v != 100.0).count();
            assert_eq!(erased % 3, 0);
            if erased > 0 {
                areas.push(erased as f64 / x.len() as f64);
            }
        }
        assert!((900..1100).contains(&areas.len()), "{}", areas.len());
        let (min, max) = areas.iter().fold((1.0f64, 0.0f64), |(a, b), &v| (a.min(v), b.max(v)));
        // Edges are rounded to whole pixels.
        assert!((0.015..0.03).contains(&min) && (0.3..0.36).contains(&max), "{min} {max}");
        let mean = areas.iter().sum::<f64>() / areas.len() as f64;
        assert!((mean - 0.177).abs() < 0.01, "{mean}");
    }
}
