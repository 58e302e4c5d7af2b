//! Intervals and verdicts beside those of SciPy and of the literature.

use super::*;

fn seeds(values: &[f64]) -> Quantity {
    Quantity::seeds("x", values, 2)
}

fn about(actual: f64, expected: f64, tolerance: f64) {
    assert!((actual - expected).abs() <= tolerance, "{actual} is not {expected} ± {tolerance}");
}

/// `scipy.stats.ttest_ind([5.1,4.9,5.6,5.8,6.0],[4.0,4.4,5.2], equal_var=False).confidence_interval(0.95)`
#[test]
fn welch_interval_equals_scipys() {
    let (a, b) = (seeds(&[5.1, 4.9, 5.6, 5.8, 6.0]), seeds(&[4.0, 4.4, 5.2]));
    let d = independent(&a, &b).unwrap();
    about(d.seen, 0.946_666_666_7, 1e-9);
    about(d.low, -0.269_434_896, 1e-6);
    about(d.high, 2.162_768_230, 1e-6);
}

/// Agresti & Caffo's definition by hand: p = 57/102 and 41/102, difference .15686, se = .06906.
#[test]
fn counts_interval_is_agresti_and_caffos() {
    let (a, b) = (Quantity::counts("a", 56, 100, 1), Quantity::counts("b", 40, 100, 1));
    let d = independent(&a, &b).unwrap();
    about(d.seen, 16.0, 1e-9);
    let (p, q) = (57.0 / 102.0, 41.0 / 102.0);
    let half = 1.959_963_985 * f64::sqrt((p * (1.0 - p) + q * (1.0 - q)) / 102.0);
    about(d.low, 100.0 * (p - q - half), 1e-6);
    about(d.high, 100.0 * (p - q + half), 1e-6);
}

#[test]
fn greater_has_three_outcomes() {
    let (high, low) = (seeds(&[9.0, 9.1, 8.9]), seeds(&[5.0, 5.1, 4.9]));
    assert_eq!(greater(&high, &low, 0.0).verdict(), Verdict::Reproduced);
    assert_eq!(greater(&low, &high, 0.0).verdict(), Verdict::NotReproduced);
    assert_eq!(greater(&high, &low, 4.0).verdict(), Verdict::TooSmallToSay);
    let noisy = seeds(&[1.0, 5.2, 9.9]);
    assert_eq!(greater(&noisy, &low, 0.0).verdict(), Verdict::TooSmallToSay);
}

#[test]
fn close_has_three_outcomes() {
    let (a, b) = (Quantity::counts("a", 5_000, 10_000, 1), Quantity::counts("b", 5_050, 10_000, 1));
    assert_eq!(close(&a, &b, 5.0).verdict(), Verdict::Reproduced);
    assert_eq!(close(&a, &b, 1.0).verdict(), Verdict::TooSmallToSay);
    let far = Quantity::counts("c", 9_000, 10_000, 1);
    assert_eq!(close(&a, &far, 5.0).verdict(), Verdict::NotReproduced);
}

#[test]
fn pairing_removes_what_the_seeds_share() {
    let a = seeds(&[60.4, 70.5, 80.3]);
    let b = seeds(&[60.0, 70.0, 80.0]);
    assert_eq!(greater(&a, &b, 0.0).verdict(), Verdict::TooSmallToSay);
    assert_eq!(greater_paired(&a, &b, 0.0).verdict(), Verdict::Reproduced);
}

#[test]
fn what_cannot_be_judged_says_why() {
    let good = seeds(&[1.0, 2.0]);
    for (bad, why) in [
        (seeds(&[]), "x was not measured"),
        (seeds(&[1.0]), "x has a single seed"),
        (seeds(&[1.0, f64::NAN, f64::INFINITY]), "2 of 3 values of x are not finite"),
        (Quantity::counts("x", 0, 0, 1), "x was tried on no case"),
        (Quantity::exact("x", f64::NAN, 1), "x is not a number"),
    ] {
        for comparison in [greater(&bad, &good, 0.0), close(&good, &bad, 1e9)] {
            assert_eq!(comparison.verdict, Verdict::TooSmallToSay);
            assert!(comparison.reason.starts_with(why), "{}", comparison.reason);
        }
    }
}

#[test]
fn zero_of_n_is_still_uncertain() {
    let (none, few) = (Quantity::counts("none", 0, 10, 1), Quantity::counts("few", 1, 10, 1));
    assert_eq!(greater(&few, &none, 0.0).verdict(), Verdict::TooSmallToSay);
}

#[test]
fn several_comparisons_are_judged_together() {
    let exact = |a, b| greater(&Quantity::exact("a", a, 0), &Quantity::exact("b", b, 0), 0.0);
    let open = greater(&seeds(&[1.0]), &seeds(&[1.0]), 0.0);
    let (yes, no) = (exact(2.0, 1.0), exact(1.0, 2.0));
    let judge = |k, list: &[&Comparison]| {
        at_least(k, &list.iter().map(|&c| c.clone()).collect::<Vec<_>>()).verdict()
    };
    assert_eq!(judge(2, &[&yes, &yes, &no]), Verdict::Reproduced);
    assert_eq!(judge(2, &[&yes, &no, &no]), Verdict::NotReproduced);
    assert_eq!(judge(2, &[&yes, &no, &open]), Verdict::TooSmallToSay);
    assert_eq!(judge(3, &[&yes, &no, &open]), Verdict::NotReproduced);
}

#[test]
fn quantities_that_several_comparisons_share_are_named_once() {
    let [a, b, c] =
        [("a", 3.0), ("b", 2.0), ("c", 1.0)].map(|(name, x)| Quantity::exact(name, x, 0));
    let claim = Claim::new(
        "a is highest",
        at_least(2, &[greater(&a, &b, 0.0), greater(&a, &c, 0.0)]),
        Scale::Demo,
    );
    assert_eq!(claim.measured(), "a 3; b 2; c 1");
    assert_eq!(
        claim.reason(),
        "2 of 2 hold, 0 fail, 2 needed: a − b = +1, claimed above 0; a − c = +2, claimed above 0"
    );
}

#[test]
fn a_demo_run_only_judges_exact_claims() {
    let trained = greater(&seeds(&[9.0, 9.1]), &seeds(&[5.0, 5.1]), 0.0);
    let counted =
        close(&Quantity::exact("params", 57.823, 3), &Quantity::exact("paper", 57.82, 2), 0.005);
    let verdict =
        |comparison: &Comparison, scale| Claim::new("c", comparison.clone(), scale).verdict();
    assert_eq!(verdict(&trained, Scale::Small), Verdict::Reproduced);
    assert_eq!(verdict(&trained, Scale::Demo), Verdict::TooSmallToSay);
    assert_eq!(verdict(&counted, Scale::Demo), Verdict::Reproduced);
    assert_eq!(verdict(&counted, Scale::Paper), Verdict::Reproduced);
}

#[test]
fn texts_carry_the_numbers() {
    let a = Quantity::seeds("lp2", &[54.0, 55.0, 56.0], 1);
    let b = Quantity::counts("base", 1, 4, 0);
    let claim = Claim::new("lp2 beats base", greater(&a, &b, 0.0), Scale::Small);
    assert_eq!(claim.measured(), "lp2 55.0 ± 1.0 (3 seeds); base 25 % (1 of 4)");
    assert!(claim.reason().starts_with("lp2 − base = +30.0 (95 % interval "), "{}", claim.reason());
    assert!(claim.reason().ends_with("claimed above 0"), "{}", claim.reason());
}
