//! Where the time goes: a record of every op with its time, work and memory traffic.

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

use tensor::Shape;

use crate::trace::{OpEvent, Phase, Watch, watched};

/// Runs `f` and returns what it spent its time on, as far as this thread ran ops.
///
/// ```
/// use autograd::{Var, profile::profile};
/// use tensor::Tensor;
///
/// let x = Var::leaf(Tensor::new(&[1.0f32; 6], [2, 3]));
/// let (_, profile) = profile(|| x.matmul(&x.transpose(0, 1)).sum().backward());
/// let product = profile.ops().into_iter().find(|op| op.name == "matmul").unwrap();
/// assert_eq!((product.calls, product.macs), (3, 3 * 2 * 2 * 3));
/// ```
pub fn profile<T>(f: impl FnOnce() -> T) -> (T, Profile) {
    let (result, mut profile) = watched(Profile::new(), f);
    profile.wall = profile.begin.elapsed();
    (result, profile)
}

/// Spans that a trace keeps; a browser shows no more. Totals go on after it.
const MAX_SPANS: usize = 400_000;

/// What one op did in all its calls.
#[derive(Clone, Debug)]
pub struct OpTotal {
    /// The op; with ` (backward)` for what its derivative does beside the ops it is made of.
    pub name: String,
    /// How often.
    pub calls: u64,
    /// How long, ops inside of it not counted.
    pub time: Duration,
    /// Multiply-accumulates.
    pub macs: u64,
    /// Bytes read and written at least, see [`OpEvent::bytes`].
    pub bytes: u64,
}

/// The record; made by [`profile`].
#[derive(Debug)]
pub struct Profile {
    begin: Instant,
    wall: Duration,
    spans: Vec<Span>,
    left_out: usize,
    totals: BTreeMap<(&'static str, bool), OpTotal>,
}

#[derive(Debug)]
struct Span {
    name: String,
    kind: &'static str,
    begin: Duration,
    time: Duration,
    /// Module, shapes and work, as JSON.
    args: String,
}

impl Profile {
    fn new() -> Self {
        Profile {
            begin: Instant::now(),
            wall: Duration::ZERO,
            spans: Vec::new(),
            left_out: 0,
            totals: BTreeMap::new(),
        }
    }

    /// All ops, the one that took most time first.
    pub fn ops(&self) -> Vec<OpTotal> {
        let mut ops: Vec<OpTotal> = self.totals.values().cloned().collect();
        ops.sort_by(|a, b| b.time.cmp(&a.time).then_with(|| a.name.cmp(&b.name)));
        ops
    }

    /// How long the profiled call took.
    pub fn wall_time(&self) -> Duration {
        self.wall
    }

    /// One line per op, the one that took most time first: calls, time, share of the whole, GFLOP/s (two per
    /// multiply-accumulate), GB/s (operands and results once each).
    pub fn table(&self) -> String {
        let wall = self.wall.as_secs_f64().max(1e-12);
        let mut text = format!(
            "{:<32} {:>9} {:>12} {:>7} {:>9} {:>8}\n",
            "op", "calls", "time", "share", "GFLOP/s", "GB/s"
        );
        let mut line = |name: &str, calls: &str, time: Duration, macs: u64, bytes: u64| {
            let seconds = time.as_secs_f64();
            let rate = |n: f64| match n > 0.0 && seconds > 0.0 {
                true => format!("{:.1}", n / seconds / 1e9),
                false => "-".to_owned(),
            };
            let (gflops, gbs) = (rate(2.0 * macs as f64), rate(bytes as f64));
            let (ms, share) = (seconds * 1e3, 100.0 * seconds / wall);
            writeln!(
                text,
                "{name:<32} {calls:>9} {ms:>9.2} ms {share:>5.1} % {gflops:>9} {gbs:>8}"
            )
            .expect("a string takes everything");
        };
        let ops = self.ops();
        for op in &ops {
            line(&op.name, &op.calls.to_string(), op.time, op.macs, op.bytes);
        }
        let inside: Duration = ops.iter().map(|op| op.time).sum();
        line("outside of ops", "", self.wall.saturating_sub(inside), 0, 0);
        line("all", "", self.wall, ops.iter().map(|op| op.macs).sum(), 0);
        text
    }

    /// The record as JSON in Chrome's trace event format, for `chrome://tracing` and <https://ui.perfetto.dev>: modules,
    /// derivatives and ops as nested spans, with their shapes and work.
    pub fn chrome_trace(&self) -> String {
        let mut json = String::from("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
        for (i, span) in self.spans.iter().enumerate() {
            let micros = |t: Duration| t.as_nanos() as f64 / 1e3;
            let (begin, time) = (micros(span.begin), micros(span.time));
            let comma = if i == 0 { "" } else { ",\n" };
            write!(
                json,
                "{comma}{{\"name\":{},\"cat\":\"{}\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":{begin:.3},\
                 \"dur\":{time:.3},\"args\":{{{}}}}}",
                quoted(&span.name),
                span.kind,
                span.args
            )
            .expect("a string takes everything");
        }
        write!(json, "\n],\"otherData\":{{\"spans_left_out\":\"{}\"}}}}\n", self.left_out)
            .expect("a string takes everything");
        json
    }

    fn push(&mut self, span: impl FnOnce(Instant) -> Span) {
        if self.spans.len() < MAX_SPANS {
            self.spans.push(span(self.begin));
        } else {
            self.left_out += 1;
        }
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04x}", c as u32).expect("a string takes everything")
            }
            c => out.push(c),
        }
    }
    out + "\""
}

fn name_of(name: &str, is_derivative: bool) -> String {
    if is_derivative { format!("{name} (backward)") } else { name.to_owned() }
}

impl Watch for Profile {
    fn op(&mut self, e: &OpEvent) {
        let is_derivative = e.phase == Phase::Backward;
        let bytes = e.bytes();
        let total = self.totals.entry((e.name, is_derivative)).or_insert_with(|| OpTotal {
            name: name_of(e.name, is_derivative),
            calls: 0,
            time: Duration::ZERO,
            macs: 0,
            bytes: 0,
        });
        total.calls += 1;
        total.time += e.own_time;
        total.macs += e.macs;
        total.bytes += bytes;
        self.push(|origin| {
            let shapes = |tensors: &[&tensor::Tensor]| {
                let one = |t: &&tensor::Tensor| format!("{} {}", Shape::new(t.dims()), t.dtype());
                quoted(&tensors.iter().map(one).collect::<Vec<_>>().join(", "))
            };
            Span {
                name: name_of(e.name, is_derivative),
                kind: if is_derivative { "derivative" } else { "op" },
                begin: e.begin.saturating_duration_since(origin),
                time: e.time,
                args: format!(
                    "\"module\":{},\"inputs\":{},\"outputs\":{},\"macs\":{},\"bytes\":{bytes}",
                    quoted(e.scope),
                    shapes(e.inputs),
                    shapes(e.outputs),
                    e.macs
                ),
            }
        });
    }

    fn module(&mut self, scope: &str, begin: Instant, time: Duration) {
        self.push(|origin| Span {
            name: scope.to_owned(),
            kind: "module",
            begin: begin.saturating_duration_since(origin),
            time,
            args: String::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use tensor::Tensor;

    use super::*;
    use crate::{Var, trace};

    #[test]
    fn a_profile_has_every_op_once_and_a_trace_that_parses() {
        let x = Var::leaf(Tensor::new(&[1.0f32; 6], [2, 3]));
        let ((), profile) = profile(|| {
            trace::enter("a \"quoted\" layer");
            let y = x.exp();
            trace::leave();
            y.sum().backward();
        });
        let ops = profile.ops();
        let names: Vec<&str> = ops.iter().map(|op| op.name.as_str()).collect();
        for name in ["exp", "exp (backward)", "sum_to", "mul", "broadcast_to"] {
            assert!(names.contains(&name), "{name} in {names:?}");
        }
        let inside: Duration = ops.iter().map(|op| op.time).sum();
        assert!(inside <= profile.wall_time());
        let table = profile.table();
        assert_eq!(table.lines().count(), 1 + ops.len() + 2, "{table}");
        let json: serde_json::Value = serde_json::from_str(&profile.chrome_trace()).unwrap();
        let events = json["traceEvents"].as_array().unwrap();
        assert_eq!(events.iter().filter(|e| e["cat"] == "module").count(), 1);
        let exp = events.iter().find(|e| e["name"] == "exp").unwrap();
        assert_eq!(exp["args"]["module"], "a \"quoted\" layer");
        assert_eq!(exp["args"]["inputs"], "[2, 3] f32");
        assert_eq!(exp["args"]["bytes"], 48);
    }
}
