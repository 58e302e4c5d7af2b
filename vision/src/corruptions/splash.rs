//! Drops of water as OpenCV's filters shape them: edges (Canny), distances to them, and a filter that lights one side.

use std::collections::VecDeque;

use super::grid::{Border, Grid};

/// How much light drops add, 0 to 1; `liquid` is 0 where it is dry. All 0 if there are none.
pub(super) fn drops(liquid: &Grid) -> Grid {
    let liquid = liquid.clone().map(|v| (v * 255.0).floor().clamp(0.0, 255.0));
    let edges = canny(&liquid, 50.0, 150.0);
    let near = distances(&liquid, &edges).map(|d| d.min(20.0));
    let even = equalized(&mean(&near).map(f64::floor));
    let light = Grid::new(3, 3, 1, vec![-2.0, -1.0, 0.0, -1.0, 1.0, 1.0, 0.0, 1.0, 2.0]);
    let lit = even.filter(&light, Border::Mirror).map(|v| v.clamp(0.0, 255.0));
    let lit = mean(&lit).map(f64::round_ties_even);
    let values: Vec<f64> = liquid.values.iter().zip(&lit.values).map(|(a, b)| a * b).collect();
    let most = values.iter().copied().fold(0.0, f64::max);
    let scale = if most > 0.0 { most.recip() } else { 0.0 };
    Grid { values, ..lit }.map(|v| v * scale)
}

/// The mean of 3 x 3 pixels.
fn mean(x: &Grid) -> Grid {
    x.filter(&Grid::new(3, 3, 1, vec![1.0; 9]), Border::Mirror).map(|v| v / 9.0)
}

/// Edges by Canny's method: the steepest pixels across an edge, steeper than `high` or joined to such by ones steeper than
/// `low`. Steepness is `|dx| + |dy|` of Sobel's filters.
fn canny(x: &Grid, low: f64, high: f64) -> Vec<bool> {
    let (height, width) = (x.height, x.width);
    let sobel =
        |kernel: [f64; 9]| x.filter(&Grid::new(3, 3, 1, kernel.to_vec()), Border::Nearest).values;
    let dx = sobel([-1.0, 0.0, 1.0, -2.0, 0.0, 2.0, -1.0, 0.0, 1.0]);
    let dy = sobel([-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]);
    let steep = |y: isize, x: isize| {
        let inside = (0..height as isize).contains(&y) && (0..width as isize).contains(&x);
        let i = y * width as isize + x;
        if inside { dx[i as usize].abs() + dy[i as usize].abs() } else { 0.0 }
    };
    // 22.5 and 67.5 degrees.
    let (flat, upright) = (std::f64::consts::SQRT_2 - 1.0, std::f64::consts::SQRT_2 + 1.0);
    let thin = |i: usize| {
        let (y, x) = ((i / width) as isize, (i % width) as isize);
        let own = steep(y, x);
        let (across, down) = (dx[i].abs(), dy[i].abs());
        // Of two equal neighbors along a row or a column one is taken.
        if down < flat * across {
            own > steep(y, x - 1) && own >= steep(y, x + 1)
        } else if down > upright * across {
            own > steep(y - 1, x) && own >= steep(y + 1, x)
        } else {
            let side = if (dx[i] < 0.0) != (dy[i] < 0.0) { -1 } else { 1 };
            own > steep(y - 1, x - side) && own > steep(y + 1, x + side)
        }
    };
    let own = |i: usize| steep((i / width) as isize, (i % width) as isize);
    let candidate: Vec<bool> = (0..height * width).map(|i| own(i) > low && thin(i)).collect();
    let mut edge: Vec<bool> = (0..height * width).map(|i| candidate[i] && own(i) > high).collect();
    let mut reached: VecDeque<usize> = (0..height * width).filter(|&i| edge[i]).collect();
    while let Some(i) = reached.pop_front() {
        let (y, x) = (i / width, i % width);
        for y in y.saturating_sub(1)..(y + 2).min(height) {
            for x in x.saturating_sub(1)..(x + 2).min(width) {
                let j = y * width + x;
                if candidate[j] && !edge[j] {
                    edge[j] = true;
                    reached.push_back(j);
                }
            }
        }
    }
    edge
}

/// The distance of every pixel to the nearest edge, by steps to neighbors and of a knight (1, 1.4 and 2.1969 long).
fn distances(like: &Grid, edges: &[bool]) -> Grid {
    const STEPS: [(isize, isize, f64); 8] = [
        (-1, 0, 1.0),
        (0, -1, 1.0),
        (-1, -1, 1.4),
        (-1, 1, 1.4),
        (-1, -2, 2.1969),
        (-1, 2, 2.1969),
        (-2, -1, 2.1969),
        (-2, 1, 2.1969),
    ];
    let (height, width) = (like.height as isize, like.width as isize);
    // Farther than any pixel can be from an edge, for images without one.
    let far = (height + width) as f64 * 3.0;
    let mut distance: Vec<f64> = edges.iter().map(|&edge| if edge { 0.0 } else { far }).collect();
    let mut relax = |i: isize, sign: isize| {
        let (y, x) = (i / width, i % width);
        for (dy, dx, length) in STEPS {
            let (y, x) = (y + sign * dy, x + sign * dx);
            if (0..height).contains(&y) && (0..width).contains(&x) {
                let through = distance[(y * width + x) as usize] + length;
                distance[i as usize] = distance[i as usize].min(through);
            }
        }
    };
    (0..height * width).for_each(|i| relax(i, 1));
    (0..height * width).rev().for_each(|i| relax(i, -1));
    Grid { values: distance, ..*like }
}

/// Bytes whose values are about equally frequent (`cv2.equalizeHist`).
fn equalized(x: &Grid) -> Grid {
    let mut counts = [0usize; 256];
    x.values.iter().for_each(|&v| counts[v as usize] += 1);
    let first = counts.iter().position(|&n| n > 0).unwrap_or(0);
    let rest = x.values.len() - counts[first];
    if rest == 0 {
        return x.clone();
    }
    let (mut table, mut sum) = ([0.0; 256], 0);
    for i in first + 1..256 {
        sum += counts[i];
        table[i] = (sum as f64 * 255.0 / rest as f64).round_ties_even();
    }
    x.clone().map(|v| table[v as usize])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A square of 200 on black.
    fn square() -> Grid {
        let mut i = 0;
        Grid::plane(16, 16, || {
            i += 1;
            let (y, x) = ((i - 1) / 16, (i - 1) % 16);
            if (4..12).contains(&y) && (4..12).contains(&x) { 200.0 } else { 0.0 }
        })
    }

    #[test]
    fn edges_are_the_outline() {
        let edges = canny(&square(), 50.0, 150.0);
        let found: Vec<(usize, usize)> =
            (0..256).filter(|&i| edges[i]).map(|i| (i / 16, i % 16)).collect();
        // Middles of the four sides, one pixel wide.
        for i in 6..10 {
            assert_eq!(found.iter().filter(|&&(y, _)| y == i).count(), 2, "{found:?}");
            assert_eq!(found.iter().filter(|&&(_, x)| x == i).count(), 2, "{found:?}");
        }
        assert!(found.iter().all(|&(y, x)| (3..13).contains(&y) && (3..13).contains(&x)));
        // Too gentle to begin with, too gentle at all.
        assert!(!canny(&square().map(|v| v * 0.1), 50.0, 150.0).contains(&true));
    }

    #[test]
    fn distances_are_near_the_straight_ones() {
        let mut edges = vec![false; 256];
        edges[5 * 16 + 6] = true;
        let d = distances(&square(), &edges);
        for y in 0..16_i32 {
            for x in 0..16_i32 {
                let straight = f64::from((y - 5).pow(2) + (x - 6).pow(2)).sqrt();
                let found = d.at(y as usize, x as usize, 0);
                assert!((found - straight).abs() <= 0.03 * straight, "{y}, {x}: {found}");
            }
        }
    }

    #[test]
    fn equalized_values_use_the_whole_range() {
        let x = Grid::new(1, 4, 1, vec![10.0, 11.0, 12.0, 13.0]);
        assert_eq!(equalized(&x).values, [0.0, 85.0, 170.0, 255.0]);
        let flat = Grid::new(1, 2, 1, vec![7.0, 7.0]);
        assert_eq!(equalized(&flat).values, [7.0, 7.0]);
    }

    #[test]
    fn drops_are_where_it_is_wet() {
        let liquid = square().map(|v| v / 255.0);
        let light = drops(&liquid);
        assert_eq!(light.values.iter().copied().fold(0.0, f64::max), 1.0);
        assert!(light.values.iter().zip(&liquid.values).all(|(l, w)| *w > 0.0 || *l == 0.0));
        assert!(drops(&Grid::plane(8, 8, || 0.0)).values.iter().all(|&v| v == 0.0));
    }
}
