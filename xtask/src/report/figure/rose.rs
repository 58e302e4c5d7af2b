//! A histogram of orientations: a half circle, since 0° and 180° are the same.

use std::f64::consts::PI;

use kuva::render::render::TextAnchor;

use super::canvas::{Canvas, TICK, TITLE, TITLE_BASELINE, text_width};
use super::panel::Group;

/// Counts of angles modulo 180 in equal wedges, and how many angles were not finite.
fn count(bins: usize, angles_deg: &[f64]) -> (Vec<usize>, usize) {
    let mut counts = vec![0; bins];
    let finite = angles_deg.iter().filter(|angle| angle.is_finite());
    for angle in finite.clone() {
        counts[((angle.rem_euclid(180.0) / 180.0 * bins as f64) as usize).min(bins - 1)] += 1;
    }
    (counts, angles_deg.len() - finite.count())
}

/// Draws title, wedges and angles with the upper left corner at `(x, y)`.
pub(super) fn draw(
    canvas: &mut Canvas,
    (x, y): (f64, f64),
    (width, height): (f64, f64),
    title: &str,
    bins: usize,
    group: &Group,
) {
    canvas.text(x + width / 2.0, y + TITLE_BASELINE, TextAnchor::Middle, TITLE, title);
    let (counts, dropped) = count(bins, &group.values);
    let radius = ((width - 84.0) / 2.0).min(height - 84.0);
    let (cx, cy) = (x + width / 2.0, y + 50.0 + radius);
    let at = |angle: f64, r: f64| (cx + r * angle.cos(), cy - r * angle.sin());
    let arc = |r: f64| {
        let (from, to) = (at(0.0, r), at(PI, r));
        format!("M {:.2} {:.2} A {r:.2} {r:.2} 0 0 0 {:.2} {:.2}", from.0, from.1, to.0, to.1)
    };

    let most = counts.iter().copied().max().unwrap_or(0);
    let ring = nice_ring(most);
    // Area, not radius, is proportional to the count.
    let scale = |n: usize| radius * (n as f64 / (ring * most.div_ceil(ring).max(1)) as f64).sqrt();
    for degrees in [0, 45, 90, 135, 180] {
        let angle = f64::from(degrees) / 180.0 * PI;
        canvas.line((cx, cy), at(angle, radius), "#dddddd", 0.7);
        let (tx, ty) = at(angle, radius + 6.0);
        let anchor = match degrees {
            0 | 45 => TextAnchor::Start,
            90 => TextAnchor::Middle,
            _ => TextAnchor::End,
        };
        let drop = if degrees % 180 == 0 { f64::from(TICK) * 0.36 } else { 0.0 };
        canvas.text(tx, ty + drop, anchor, TICK, &format!("{degrees}°"));
    }
    if most == 0 {
        canvas.path(arc(radius), None, "#bbbbbb", 0.7);
        canvas.gray(cx, cy - radius / 2.0, TextAnchor::Middle, TICK, "no data");
    }
    for n in 1..=most.div_ceil(ring) {
        canvas.path(arc(scale(n * ring)), None, "#dddddd", 0.7);
    }
    for (i, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let (from, to) = (i as f64 / bins as f64 * PI, (i + 1) as f64 / bins as f64 * PI);
        let r = scale(n);
        let ((ax, ay), (bx, by)) = (at(from, r), at(to, r));
        let wedge =
            format!("M {cx:.2} {cy:.2} L {ax:.2} {ay:.2} A {r:.2} {r:.2} 0 0 0 {bx:.2} {by:.2} Z");
        canvas.path(wedge, Some(group.ink.color()), "#ffffff", 0.6);
    }
    canvas.line((cx - radius, cy), (cx + radius, cy), "#000000", 1.0);
    if most > 0 {
        // From the outermost inward, as long as they do not touch.
        let mut free = f64::INFINITY;
        for n in (1..=most.div_ceil(ring)).rev() {
            let (middle, text) = (cx + scale(n * ring), (n * ring).to_string());
            let half = text_width(&text, TICK) / 2.0;
            if middle + half < free && middle - half > cx {
                canvas.gray(middle, cy + 16.0, TextAnchor::Middle, TICK, &text);
                free = middle - half - 4.0;
            }
        }
        canvas.text(cx - radius / 2.0, cy + 16.0, TextAnchor::Middle, TICK, &group.label);
    }
    if dropped > 0 {
        let note = format!("{dropped} {} not drawn", if dropped == 1 { "angle" } else { "angles" });
        canvas.gray(cx, cy + 30.0, TextAnchor::Middle, TICK, &note);
    }
}

/// Counts between rings: 1, 2 or 5 times a power of ten, so that there are at most three rings.
fn nice_ring(most: usize) -> usize {
    let mut power = 1;
    loop {
        for factor in [1, 2, 5] {
            if factor * power * 3 >= most {
                return factor * power;
            }
        }
        power *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn angles_are_axial() {
        let (counts, dropped) = count(4, &[0.0, 180.0, -1.0, 44.9, 90.0, 359.0, f64::NAN]);
        assert_eq!((counts, dropped), (vec![3, 0, 1, 2], 1));
    }

    #[test]
    fn rings_are_few_and_round() {
        for most in [1, 3, 4, 10, 29, 170, 12_345] {
            let ring = nice_ring(most);
            assert!(most.div_ceil(ring) <= 3, "{most}: every {ring}");
        }
        assert_eq!([nice_ring(3), nice_ring(7), nice_ring(100)], [1, 5, 50]);
    }
}
