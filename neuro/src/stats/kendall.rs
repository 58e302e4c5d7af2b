//! Kendall's rank correlation by Knight's method, `O(n log n)`.

use super::{Correlation, two_sided_normal};
use crate::error::{Error, check_length, check_values};

/// A list with its order, so that it can be compared with many others without being sorted again.
#[derive(Clone, Debug, PartialEq)]
pub struct Ordered {
    /// The places of the values, ascending; equal values in the order of their places.
    order: Vec<u32>,
    /// The rank of each value from 0, equal values having equal ranks.
    rank: Vec<u32>,
    /// How often the values occur that occur more than once.
    ties: Vec<u32>,
}

impl Ordered {
    /// Sorts `values`.
    ///
    /// # Errors
    /// If there are fewer than two, or more than 2³², or one is not finite.
    pub fn new(values: &[f64]) -> Result<Self, Error> {
        check_values("a", values, 2)?;
        if u32::try_from(values.len()).is_err() {
            let (name, value) = ("the number of values", values.len() as f64);
            return Err(Error::Parameter { name, value, expected: "below 2^32" });
        }
        // Pairs of key and place sort faster than places that look up their keys.
        let mut keyed: Vec<(u64, u32)> =
            values.iter().zip(0..).map(|(v, i)| (sortable(*v), i)).collect();
        keyed.sort_unstable();
        let (mut rank, mut ties) = (vec![0; values.len()], Vec::new());
        let (mut current, mut run) = (0, 1);
        for i in 0..keyed.len() {
            if i > 0 && keyed[i].0 == keyed[i - 1].0 {
                run += 1;
            } else if i > 0 {
                current += 1;
                push_run(&mut ties, run);
                run = 1;
            }
            rank[keyed[i].1 as usize] = current;
        }
        push_run(&mut ties, run);
        Ok(Ordered { order: keyed.into_iter().map(|(_, i)| i).collect(), rank, ties })
    }

    /// The number of values.
    #[expect(clippy::len_without_is_empty, reason = "there are always two or more")]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Kendall's tau-b, see [`kendall_tau_b`].
    ///
    /// # Errors
    /// If the lists differ in length or one is constant.
    pub fn tau_b(&self, other: &Ordered) -> Result<f64, Error> {
        Pairs::new(self, other)?.tau_b()
    }

    /// Kendall's tau-a, see [`kendall_tau_a`].
    ///
    /// # Errors
    /// If the lists differ in length.
    pub fn tau_a(&self, other: &Ordered) -> Result<f64, Error> {
        let pairs = Pairs::new(self, other)?;
        Ok(pairs.concordant_minus_discordant() as f64 / pairs.all as f64)
    }

    /// Pairs that are equal.
    fn tied_pairs(&self) -> i64 {
        self.ties.iter().map(|&t| i64::from(t) * (i64::from(t) - 1) / 2).sum()
    }
}

fn push_run(ties: &mut Vec<u32>, run: u32) {
    if run > 1 {
        ties.push(run);
    }
}

/// Integers in the order of the numbers; zeros of both signs are equal.
fn sortable(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

/// How the `n (n − 1) / 2` pairs of places are ordered in two lists.
struct Pairs {
    all: i64,
    tied_a: i64,
    tied_b: i64,
    tied_both: i64,
    discordant: i64,
}

impl Pairs {
    fn new(a: &Ordered, b: &Ordered) -> Result<Pairs, Error> {
        check_length("b", "values", b.len(), "a", a.len())?;
        let n = a.len() as i64;
        // The ranks of b in the order of a; where a is tied, in their own order, so that such pairs are no inversions.
        let mut sequence: Vec<u32> = a.order.iter().map(|&i| b.rank[i as usize]).collect();
        let mut tied_both = 0;
        if !a.ties.is_empty() {
            let rank = |k: usize| a.rank[a.order[k] as usize];
            let mut first = 0;
            while first < sequence.len() {
                let mut end = first + 1;
                while end < sequence.len() && rank(end) == rank(first) {
                    end += 1;
                }
                if end - first > 1 {
                    sequence[first..end].sort_unstable();
                    tied_both += sequence[first..end]
                        .chunk_by(|a, b| a == b)
                        .map(|run| run.len() as i64 * (run.len() as i64 - 1) / 2)
                        .sum::<i64>();
                }
                first = end;
            }
        }
        let discordant = inversions(&mut sequence) as i64;
        let (tied_a, tied_b) = (a.tied_pairs(), b.tied_pairs());
        Ok(Pairs { all: n * (n - 1) / 2, tied_a, tied_b, tied_both, discordant })
    }

    fn concordant_minus_discordant(&self) -> i64 {
        self.all - self.tied_a - self.tied_b + self.tied_both - 2 * self.discordant
    }

    fn tau_b(&self) -> Result<f64, Error> {
        for (what, tied) in [("a", self.tied_a), ("b", self.tied_b)] {
            if tied == self.all {
                let consequence = "tau-b is not defined";
                return Err(Error::Constant { what: what.into(), consequence });
            }
        }
        let [a, b] = [self.tied_a, self.tied_b].map(|tied| (self.all - tied) as f64);
        Ok((self.concordant_minus_discordant() as f64 / (a.sqrt() * b.sqrt())).clamp(-1.0, 1.0))
    }
}

/// Runs of this length are sorted by insertion before they are merged.
const RUN: usize = 16;

/// The number of pairs `i < j` with `values[i] > values[j]`; `values` comes back sorted.
fn inversions(values: &mut [u32]) -> u64 {
    let mut count = 0u64;
    for run in values.chunks_mut(RUN) {
        for i in 1..run.len() {
            let value = run[i];
            let mut j = i;
            while j > 0 && run[j - 1] > value {
                run[j] = run[j - 1];
                j -= 1;
            }
            run[j] = value;
            count += (i - j) as u64;
        }
    }
    let mut other = vec![0; values.len()];
    let (mut from, mut to): (&mut [u32], &mut [u32]) = (values, &mut other);
    let mut width = RUN;
    let mut merges = 0;
    while width < from.len() {
        for (piece, merged) in from.chunks(2 * width).zip(to.chunks_mut(2 * width)) {
            let (left, right) = piece.split_at(width.min(piece.len()));
            count += merge(left, right, merged);
        }
        (from, to) = (to, from);
        width *= 2;
        merges += 1;
    }
    if merges % 2 == 1 {
        to.copy_from_slice(from);
    }
    count
}

/// Merges two sorted lists and counts the pairs of which the left value is larger. No branch depends on the values.
fn merge(left: &[u32], right: &[u32], merged: &mut [u32]) -> u64 {
    let (mut i, mut j, mut count) = (0, 0, 0u64);
    let n = left.len();
    let both = left.len().min(right.len());
    let mut k = 0;
    // While no list can have run out: as many steps as the shorter rest is long.
    let mut safe = both;
    while safe > 0 {
        for place in &mut merged[k..k + safe] {
            let (a, b) = (left[i], right[j]);
            let from_right = b < a;
            *place = if from_right { b } else { a };
            count += if from_right { (n - i) as u64 } else { 0 };
            j += usize::from(from_right);
            i += usize::from(!from_right);
        }
        k += safe;
        safe = (n - i).min(right.len() - j);
    }
    let rest = n - i;
    merged[k..k + rest].copy_from_slice(&left[i..]);
    merged[k + rest..].copy_from_slice(&right[j..]);
    count
}

/// Kendall's tau-b: concordant minus discordant pairs over `√((n₀ − n₁)(n₀ − n₂))`, `n₁` and `n₂` the tied pairs.
///
/// The p-value is exact without ties for up to 33 values (and where hardly any pair is out of order), else that of a normal
/// distribution with the variance for ties. Same as `scipy.stats.kendalltau`.
///
/// # Errors
/// If the lists differ in length, have fewer than two values, one is not finite, or a list is constant.
pub fn kendall_tau_b(a: &[f64], b: &[f64]) -> Result<Correlation, Error> {
    let (a, b) = (Ordered::new(a)?, Ordered::new(b)?);
    let pairs = Pairs::new(&a, &b)?;
    let statistic = pairs.tau_b()?;
    Ok(Correlation { statistic, p_value: p_value(&pairs, &a, &b) })
}

/// Kendall's tau-a: concordant minus discordant pairs over all pairs. Its p-value is that of [`kendall_tau_b`].
///
/// What `rsatoolbox` calls `tau-a`: for models that predict ties, which tau-b favors.
///
/// # Errors
/// As [`kendall_tau_b`].
pub fn kendall_tau_a(a: &[f64], b: &[f64]) -> Result<Correlation, Error> {
    let (a, b) = (Ordered::new(a)?, Ordered::new(b)?);
    let pairs = Pairs::new(&a, &b)?;
    pairs.tau_b()?;
    let statistic = pairs.concordant_minus_discordant() as f64 / pairs.all as f64;
    Ok(Correlation { statistic, p_value: p_value(&pairs, &a, &b) })
}

/// Up to how many values SciPy counts permutations.
const EXACT: usize = 33;

fn p_value(pairs: &Pairs, a: &Ordered, b: &Ordered) -> f64 {
    let discordant = pairs.discordant;
    let few = discordant.min(pairs.all - discordant);
    if a.ties.is_empty() && b.ties.is_empty() && (a.len() <= EXACT || few <= 1) {
        return exact_p(a.len(), few as usize, pairs.all as usize);
    }
    let n = a.len() as f64;
    let m = n * (n - 1.0);
    let sum = |list: &Ordered, f: fn(f64) -> f64| -> f64 {
        list.ties.iter().map(|&t| f(f64::from(t))).sum()
    };
    let spread = |list| sum(list, |t| t * (t - 1.0) * (2.0 * t + 5.0));
    let triples = |list| sum(list, |t| t * (t - 1.0) * (t - 2.0));
    let mut variance = (m * (2.0 * n + 5.0) - spread(a) - spread(b)) / 18.0
        + 2.0 * pairs.tied_a as f64 * pairs.tied_b as f64 / m;
    if n > 2.0 {
        variance += triples(a) * triples(b) / (9.0 * m * (n - 2.0));
    }
    two_sided_normal(pairs.concordant_minus_discordant() as f64 / variance.sqrt())
}

/// Twice the share of permutations of `n` values with at most `few` inversions (Kendall 1970).
fn exact_p(n: usize, few: usize, all: usize) -> f64 {
    if 2 * few == all {
        return 1.0;
    }
    // Shares instead of counts: inserting the j-th value adds 0 to j − 1 inversions, all equally likely.
    let mut share = vec![0.0; few + 1];
    share[0] = 1.0;
    for j in 2..=n {
        let mut cumulative = 0.0;
        let before = share.clone();
        for k in 0..=few {
            cumulative += before[k];
            if k >= j {
                cumulative -= before[k - j];
            }
            share[k] = cumulative / j as f64;
        }
    }
    (2.0 * share.iter().sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensor::Stream;

    /// The definition, pair by pair.
    fn by_definition(a: &[f64], b: &[f64]) -> Option<(f64, f64)> {
        let (mut s, mut of_a, mut of_b, mut all) = (0.0, 0.0, 0.0, 0.0);
        for j in 0..a.len() {
            for i in 0..j {
                let sign = |x: &[f64]| (x[i] - x[j]).partial_cmp(&0.0).unwrap() as i32 as f64;
                let (x, y) = (sign(a), sign(b));
                s += x * y;
                of_a += x * x;
                of_b += y * y;
                all += 1.0;
            }
        }
        (of_a > 0.0 && of_b > 0.0).then(|| (s / f64::sqrt(of_a * of_b), s / all))
    }

    proptest::proptest! {
        #[test]
        fn any_lists_have_the_tau_of_the_definition(
            pairs in proptest::collection::vec((-6i32..6, -6i32..6), 2..120),
            scale in 1..400i32,
        ) {
            // A scale above 12 leaves the first list without ties.
            let a: Vec<f64> = pairs.iter().enumerate().map(|(i, p)| f64::from(p.0) + if scale > 12 { i as f64 * 0.01 } else { 0.0 }).collect();
            let b: Vec<f64> = pairs.iter().map(|p| f64::from(p.1)).collect();
            match by_definition(&a, &b) {
                Some((tau_b, tau_a)) => {
                    proptest::prop_assert!((kendall_tau_b(&a, &b).unwrap().statistic - tau_b).abs() < 1e-12);
                    proptest::prop_assert!((kendall_tau_a(&a, &b).unwrap().statistic - tau_a).abs() < 1e-12);
                }
                None => proptest::prop_assert!(kendall_tau_b(&a, &b).is_err()),
            }
        }

        #[test]
        fn inversions_are_counted(values in proptest::collection::vec(0u32..50, 0..300)) {
            let slow = (0..values.len())
                .map(|j| values[..j].iter().filter(|&&v| v > values[j]).count() as u64)
                .sum::<u64>();
            let mut sorted = values.clone();
            proptest::prop_assert_eq!(inversions(&mut sorted), slow);
            proptest::prop_assert!(sorted.is_sorted());
        }
    }

    /// scipy 1.17: `kendalltau` without ties (exact), with ties (normal), of many values, of almost sorted ones.
    #[test]
    fn p_values_are_scipys() {
        let about = |found: f64, expected: f64| {
            assert!((found - expected).abs() <= 1e-11 * expected, "{found} is not {expected}");
        };
        let a = [0.3, 1.2, -0.7, 2.2, 0.9, 3.1, -1.4, 0.1];
        let b = [1.0, 0.4, -0.2, 1.7, 2.0, 1.1, -0.9, 0.2];
        about(kendall_tau_b(&a, &b).unwrap().p_value, 0.03115079365079365);
        let (c, d) = ([1.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0], [2.0, 1.0, 2.0, 4.0, 3.0, 3.0, 4.0]);
        about(kendall_tau_b(&c, &d).unwrap().p_value, 0.08053426829941146);
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let y: Vec<f64> = (0..50).map(|i| f64::from((i * 7) % 50)).collect();
        about(kendall_tau_b(&x, &y).unwrap().p_value, 0.6818954220320396);
        let mut swapped = x.clone();
        swapped.swap(10, 11);
        assert!(kendall_tau_b(&x, &swapped).unwrap().p_value < 1e-60);
    }

    #[test]
    fn an_order_is_found_once_and_used_often() {
        let mut random = Stream::new(3);
        let lists: Vec<Vec<f64>> =
            (0..3).map(|_| (0..500).map(|_| random.normal()).collect()).collect();
        let ordered: Vec<Ordered> = lists.iter().map(|l| Ordered::new(l).unwrap()).collect();
        for i in 0..3 {
            for j in 0..3 {
                let direct = kendall_tau_b(&lists[i], &lists[j]).unwrap().statistic;
                assert_eq!(ordered[i].tau_b(&ordered[j]).unwrap(), direct);
            }
        }
        assert_eq!(ordered[0].tau_a(&ordered[0]).unwrap(), 1.0);
    }

    #[test]
    fn hostile_lists_are_errors() {
        assert!(kendall_tau_b(&[1.0, f64::NAN], &[1.0, 2.0]).is_err());
        assert!(kendall_tau_b(&[1.0, 2.0, 3.0], &[1.0, 2.0]).is_err());
        assert!(kendall_tau_b(&[], &[]).is_err());
        let error = kendall_tau_b(&[1.0, 2.0], &[0.0, -0.0]).unwrap_err().to_string();
        assert_eq!(error, "b is constant: tau-b is not defined");
    }
}
