//! What `bench` prints: a line for every workload, as text or JSON, and a summary of a comparison.

use serde::Serialize;

use super::{peer::Reading, probe::Peak, workloads::Agreement};
use crate::failure::say;

/// One workload's figures. Times are in milliseconds of one repetition; absent is what was not measured or has no meaning.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    workload: String,
    threads: usize,
    rounds: usize,
    /// Medians and quartiles over rounds, of wall-clock time.
    ms: f64,
    ms_q1: f64,
    ms_q3: f64,
    /// Processor time of all threads: where a machine is shared, the number to trust on one thread.
    #[serde(flatten)]
    ours: Ours,
    #[serde(flatten)]
    other: Option<Other>,
    #[serde(flatten)]
    pair: Option<Pair>,
}

/// A workload beside the one that computes the same with less work.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Pair {
    /// The other's name.
    twin: String,
    /// Its time over this one's, of medians.
    twin_ratio: f64,
    /// Whether all results have the same bits.
    identical: bool,
    /// The same for each of them.
    agreement: Vec<Agreement>,
}

impl Pair {
    /// `twin` beside `line`, from their figures and what a comparison found.
    pub(super) fn new(twin: &Line, line: &Line, agreement: Vec<Agreement>) -> Pair {
        Pair {
            twin: twin.workload.clone(),
            twin_ratio: twin.ms / line.ms,
            identical: agreement.iter().all(|a| a.differing == 0),
            agreement,
        }
    }

    /// Both in a sentence; `name` is the workload's.
    fn text(&self, name: &str) -> String {
        let of = |a: &Agreement| match a.differing {
            0 => format!("{} {}", a.what, a.values),
            n => format!("{} {n} of {} DIFFER", a.what, a.values),
        };
        let each: Vec<String> = self.agreement.iter().map(of).collect();
        format!(
            "time of {} / {name}: {:.3}; bits {} ({})",
            self.twin,
            self.twin_ratio,
            if self.identical { "equal" } else { "DIFFERENT" },
            each.join(", ")
        )
    }
}

#[derive(Clone, Debug, Serialize)]
struct Ours {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_rss_mib: Option<f64>,
    /// Operations of the dense nominal computation a second, and their share of the measured peak.
    #[serde(skip_serializing_if = "Option::is_none")]
    gflops: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_peak: Option<f64>,
    /// For what memory limits: bytes a second, and their share of the rate of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    gb_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_copy: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Other {
    other_ms: f64,
    other_ms_q1: f64,
    other_ms_q3: f64,
    /// `ms / other_ms`; the quartiles are of the ratios of neighboring rounds.
    ratio: f64,
    ratio_q1: f64,
    ratio_q3: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_cpu_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    other_rss_mib: Option<f64>,
}

impl Line {
    /// From the rounds of ours and of the other program (none without one); `ours` is not empty.
    pub(super) fn new(
        workload: &str,
        threads: usize,
        ours: &[Reading],
        other: &[Reading],
        peak: Peak,
    ) -> Line {
        let [ms_q1, ms, ms_q3] = quartiles(ours.iter().map(|r| r.ms));
        let cpu_ms = median(ours.iter().map(|r| r.cpu_ms));
        let rate = |amount: Option<f64>| amount.map(|a| a / 1e6 / ms);
        let last = ours.last();
        let gflops = rate(last.and_then(|r| r.flop));
        let gb_per_s = rate(last.and_then(|r| r.bytes));
        let other = (!other.is_empty()).then(|| {
            let [other_ms_q1, other_ms, other_ms_q3] = quartiles(other.iter().map(|r| r.ms));
            let [ratio_q1, _, ratio_q3] =
                quartiles(ours.iter().zip(other).map(|(a, b)| a.ms / b.ms));
            let other_cpu_ms = median(other.iter().map(|r| r.cpu_ms));
            Other {
                other_ms,
                other_ms_q1,
                other_ms_q3,
                ratio: ms / other_ms,
                ratio_q1,
                ratio_q3,
                other_cpu_ms,
                cpu_ratio: cpu_ms.zip(other_cpu_ms).map(|(a, b)| a / b),
                other_rss_mib: other.last().and_then(|r| r.peak_rss_mib),
            }
        });
        let ours_figures = Ours {
            cpu_ms,
            peak_rss_mib: last.and_then(|r| r.peak_rss_mib),
            gflops,
            share_of_peak: gflops.map(|g| g / peak.gflops),
            gb_per_s,
            share_of_copy: gb_per_s.map(|g| g / peak.copy_gb_per_s),
        };
        let (workload, rounds) = (workload.to_owned(), ours.len());
        Line { workload, threads, rounds, ms, ms_q1, ms_q3, ours: ours_figures, other, pair: None }
    }

    /// The line with its twin's figures.
    pub(super) fn beside(self, pair: Pair) -> Line {
        Line { pair: Some(pair), ..self }
    }
}

impl Line {
    /// Whether the workload seems to do more than the machine can.
    fn is_above_the_limit(&self) -> bool {
        self.ours.share_of_peak.or(self.ours.share_of_copy).is_some_and(|share| share > 1.0)
    }
}

/// The quartiles and the median between them, by linear interpolation.
fn quartiles(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    [0.25, 0.5, 0.75].map(|q| {
        let at = q * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        low + (high - low) * at.fract()
    })
}

/// The median of what every round has; nothing if one has it not.
fn median(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Option<Vec<f64>> = values.collect();
    values.map(|v| quartiles(v.into_iter())[1])
}

/// Prints lines as they come.
pub(super) struct Report {
    json: bool,
    peak: Peak,
    lines: Vec<Line>,
}

impl Report {
    /// Prints the head: the limits of the machine, and the names of the columns.
    pub(super) fn new(json: bool, threads: usize, peak: Peak, versus: bool) -> Report {
        let report = Report { json, peak, lines: Vec::new() };
        report.tell(&format!(
            "{threads} thread{}; at most {} GFLOP/s (f32 multiply-adds, {}) and {} GB/s (copy, read + written)",
            if threads == 1 { "" } else { "s" },
            digits(peak.gflops),
            peak.instructions,
            digits(peak.copy_gb_per_s),
        ));
        if !json {
            say!("{}", row(&head(versus)));
        }
        report
    }

    /// The limits of the machine.
    pub(super) fn peak(&self) -> Peak {
        self.peak
    }

    /// The line of a workload that was measured already.
    pub(super) fn find(&self, workload: &str) -> Option<&Line> {
        self.lines.iter().find(|l| l.workload == workload)
    }

    /// Prints a workload's figures.
    pub(super) fn line(&mut self, line: Line) {
        if self.json {
            say!("{}", serde_json::to_string(&line).expect("plain numbers"));
        } else {
            say!("{}", row(&cells(&line)));
        }
        self.lines.push(line);
    }

    /// Prints what became of pairs, and the geometric mean and the worst of the ratios, if there are any.
    pub(super) fn summary(&self) {
        for (line, pair) in self.lines.iter().filter_map(|l| Some((l, l.pair.as_ref()?))) {
            self.tell(&pair.text(&line.workload));
        }
        if self.lines.iter().any(Line::is_above_the_limit) {
            self.tell(
                "more than 100 % of peak: work that is counted but left out (taps on padding or zeros of a mask, other algorithms), \
                 or memory that stays in caches",
            );
        }
        let ratios: Vec<(f64, &str)> = self
            .lines
            .iter()
            .filter_map(|l| Some((l.other.as_ref()?.ratio, l.workload.as_str())))
            .collect();
        let Some((worst, name)) = ratios.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return;
        };
        let mean = (ratios.iter().map(|(r, _)| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
        self.tell(&format!(
            "time of ours / other (ratio of medians): geometric mean {mean:.3} of {}, worst {worst:.3} ({name})",
            ratios.len()
        ));
    }

    /// What is not a workload's line: not on standard output if that is for a program.
    fn tell(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            say!("{text}");
        }
    }
}

/// The names of the columns.
fn head(versus: bool) -> Vec<String> {
    let ours = ["workload", "ms", "quartiles", "cpu ms", "GFLOP/s", "of peak", "RSS MiB"];
    let other = ["other ms", "quartiles", "cpu ms", "RSS MiB", "ratio", "quartiles"];
    let other = if versus { &other[..] } else { &[] };
    ours.iter().chain(other).map(|&c| c.to_owned()).collect()
}

fn cells(line: &Line) -> Vec<String> {
    let number = |v: Option<f64>| v.map_or("-".to_owned(), digits);
    let range = |a: f64, b: f64| format!("{}..{}", digits(a), digits(b));
    let Ours { cpu_ms, peak_rss_mib, gflops, share_of_peak, gb_per_s, share_of_copy } = &line.ours;
    let rate = match gb_per_s {
        Some(rate) => format!("{} GB/s", digits(*rate)),
        None => number(*gflops),
    };
    let share = share_of_peak.or(*share_of_copy);
    let mut cells = vec![
        line.workload.clone(),
        digits(line.ms),
        range(line.ms_q1, line.ms_q3),
        number(*cpu_ms),
        rate,
        share.map_or("-".to_owned(), |s| format!("{:.0} %", s * 100.0)),
        number(*peak_rss_mib),
    ];
    if let Some(o) = &line.other {
        cells.extend([
            digits(o.other_ms),
            range(o.other_ms_q1, o.other_ms_q3),
            number(o.other_cpu_ms),
            number(o.other_rss_mib),
            format!("{:.3}", o.ratio),
            format!("{:.3}..{:.3}", o.ratio_q1, o.ratio_q3),
        ]);
    }
    cells
}

/// Columns of fixed width, so that lines can be printed before the last one is known.
fn row(cells: &[String]) -> String {
    let widths = [24, 9, 19, 9, 11, 7, 7, 9, 19, 9, 7, 6, 12];
    let mut text = String::new();
    for (i, (cell, width)) in cells.iter().zip(widths).enumerate() {
        text += &if i == 0 { format!("{cell:<width$}") } else { format!(" {cell:>width$}") };
    }
    text
}

/// Four digits, or all before the point.
fn digits(v: f64) -> String {
    let before = if v.abs() >= 1.0 { v.abs().log10().floor() as i32 + 1 } else { 0 };
    let leading_zeros =
        if v != 0.0 && v.abs() < 1.0 { (-v.abs().log10()).floor() as i32 } else { 0 };
    let after = (4 - before + leading_zeros).clamp(0, 9) as usize;
    format!("{v:.after$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ms: f64) -> Reading {
        let (cpu_ms, flop) = (Some(2.0 * ms), Some(4e6));
        Reading { workload: None, ms, cpu_ms, peak_rss_mib: Some(10.0), flop, bytes: None }
    }

    const PEAK: Peak = Peak { gflops: 8.0, instructions: "", copy_gb_per_s: 1.0 };

    #[test]
    fn a_line_holds_medians_quartiles_and_rates() {
        let ours = [3.0, 1.0, 2.0, 5.0, 4.0].map(reading);
        let line = Line::new("w", 2, &ours, &[], PEAK);
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!((json["ms"].as_f64(), json["ms_q1"].as_f64()), (Some(3.0), Some(2.0)));
        assert_eq!((json["ms_q3"].as_f64(), json["cpu_ms"].as_f64()), (Some(4.0), Some(6.0)));
        assert!(!line.is_above_the_limit());
        let slow = Peak { gflops: 1.0, ..PEAK };
        assert!(Line::new("w", 2, &ours, &[], slow).is_above_the_limit());
        let gflops = json["gflops"].as_f64().unwrap();
        assert!((gflops - 4e-3 / 3e-3).abs() < 1e-12);
        assert!((json["share_of_peak"].as_f64().unwrap() - gflops / 8.0).abs() < 1e-12);
        assert_eq!(json["workload"], "w");
        assert!(json.get("ratio").is_none() && json.get("gb_per_s").is_none());
    }

    #[test]
    fn a_comparison_adds_the_other_and_the_ratio_of_medians() {
        let (ours, other) = ([1.0, 2.0, 4.0].map(reading), [4.0, 4.0, 2.0].map(reading));
        let line = Line::new("w", 1, &ours, &other, PEAK);
        let json = serde_json::to_value(&line).unwrap();
        assert_eq!((json["ratio"].as_f64(), json["other_ms"].as_f64()), (Some(0.5), Some(4.0)));
        // Of the rounds' ratios 0.25, 0.5, 2.
        assert_eq!(json["ratio_q1"].as_f64(), Some(0.375));
        assert_eq!(json["ratio_q3"].as_f64(), Some(1.25));
        assert_eq!(
            (json["cpu_ratio"].as_f64(), json["other_rss_mib"].as_f64()),
            (Some(0.5), Some(10.0))
        );
    }

    #[test]
    fn a_pair_says_the_ratio_and_whether_bits_are_equal() {
        let line = |name, ms| Line::new(name, 1, &[reading(ms)], &[], PEAK);
        let pair = |differing| {
            let agreement = vec![
                Agreement { what: "output", values: 9, differing: 0 },
                Agreement { what: "gradient", values: 7, differing },
            ];
            Pair::new(&line("w", 1.0), &line("w_dense", 4.0), agreement)
        };
        assert_eq!(
            pair(0).text("w_dense"),
            "time of w / w_dense: 0.250; bits equal (output 9, gradient 7)"
        );
        assert_eq!(
            pair(2).text("w_dense"),
            "time of w / w_dense: 0.250; bits DIFFERENT (output 9, gradient 2 of 7 DIFFER)"
        );
        let json = serde_json::to_value(line("w_dense", 4.0).beside(pair(2))).unwrap();
        assert_eq!((&json["twin"], &json["twin_ratio"]), (&"w".into(), &0.25.into()));
        assert_eq!(
            (&json["identical"], &json["agreement"][1]["differing"]),
            (&false.into(), &2.into())
        );
        assert!(serde_json::to_value(line("w", 1.0)).unwrap().get("identical").is_none());
    }

    #[test]
    fn numbers_have_four_digits() {
        for (v, text) in [
            (1234.56, "1235"),
            (123.456, "123.5"),
            (1.0, "1.000"),
            (0.5, "0.5000"),
            (0.00123456, "0.001235"),
            (0.0, "0.0000"),
        ] {
            assert_eq!(digits(v), text);
        }
    }
}
