//! [`Progress`]: how a run tells a human where it is, on standard error.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How a run shows where it is.
///
/// On a terminal a bar with epoch, step, loss, samples per second and the time left for the whole run, and a line for
/// each finished epoch; elsewhere (a log file) the lines alone. Nothing goes to standard output.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    label: String,
    target: Target,
}

#[derive(Clone, Debug, Default)]
enum Target {
    #[default]
    Nowhere,
    Stderr,
    Within(MultiProgress),
}

impl Progress {
    /// Shows nothing: for tests, and `--quiet`.
    pub fn hidden() -> Self {
        Progress::default()
    }

    /// Shows a bar of its own.
    pub fn stderr() -> Self {
        Progress { target: Target::Stderr, ..Default::default() }
    }

    /// Shows a bar below those already in `bars`: a bar over all trials, for example.
    pub fn within(bars: &MultiProgress) -> Self {
        Progress { target: Target::Within(bars.clone()), ..Default::default() }
    }

    /// The same with a name at the beginning of the bar and of each line.
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Begins to show a run of `total` batches in `epochs` epochs, of which `done` were made by an earlier process.
    pub(super) fn start(&self, total: usize, done: usize, epochs: usize) -> Display {
        let bar = ProgressBar::hidden();
        let style = "{prefix}{wide_bar} {percent:>3} % {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
        let prefix = if self.label.is_empty() { String::new() } else { format!("{} ", self.label) };
        bar.set_prefix(prefix.clone());
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        // Only now, or an empty bar is drawn first.
        let bar = match &self.target {
            Target::Nowhere => bar,
            Target::Stderr => {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                bar
            }
            Target::Within(bars) => bars.add(bar),
        };
        // Batches of an earlier process say nothing about this one's speed.
        bar.reset_eta();
        let lines = !matches!(self.target, Target::Nowhere);
        Display { bar, lines, prefix, total, done, here: 0, epochs, started: Instant::now() }
    }
}

/// A run being shown.
pub(super) struct Display {
    bar: ProgressBar,
    lines: bool,
    prefix: String,
    total: usize,
    done: usize,
    /// Batches of this process.
    here: usize,
    epochs: usize,
    started: Instant,
}

impl Display {
    /// A batch is done.
    pub(super) fn batch(&mut self, epoch: usize, step: usize, loss: f64, samples_per_s: f64) {
        self.done += 1;
        self.here += 1;
        if self.bar.is_hidden() {
            return;
        }
        let n = self.epochs;
        self.bar.set_message(format!(
            "epoch {}/{n}  step {step}  loss {}  {samples_per_s:.0} samples/s",
            epoch + 1,
            short(loss)
        ));
        self.bar.set_position(self.done as u64);
    }

    /// An epoch is done; `text` tells how it went.
    pub(super) fn epoch(&self, epoch: usize, text: &str) {
        if !self.lines {
            return;
        }
        let left = match self.total.saturating_sub(self.done) {
            0 => String::new(),
            left => {
                let seconds =
                    self.started.elapsed().as_secs_f64() * left as f64 / self.here.max(1) as f64;
                format!(", about {} left", duration(seconds))
            }
        };
        let line = format!("{}epoch {}/{}: {text}{left}", self.prefix, epoch + 1, self.epochs);
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A metric in few characters, whatever its size.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        x if x != 0.0 && !(1e-3..1e6).contains(&x) => format!("{value:.3e}"),
        _ => format!("{value:.4}"),
    }
}

/// `95` as `1m 35s`.
fn duration(seconds: f64) -> String {
    let s = Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_secs();
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m {s:02}s"),
        (h, m, _) => format!("{h}h {m:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use indicatif::InMemoryTerm;

    use super::*;

    #[test]
    fn a_bar_shows_epoch_step_loss_rate_and_time_left() {
        let terminal = InMemoryTerm::new(10, 120);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        let bars = MultiProgress::with_draw_target(target);
        let total = bars.add(ProgressBar::new(3));
        total.tick();
        let progress = Progress::within(&bars).with_label("lp2 seed 0");
        let mut display = progress.start(100, 40, 10);
        display.batch(4, 41, 0.123456, 2000.4);
        display.epoch(4, "loss 0.1");
        display.bar.tick();
        let shown = terminal.contents();
        assert!(shown.starts_with("lp2 seed 0 epoch 5/10: loss 0.1, about 0s left\n"), "{shown}");
        for part in ["lp2 seed 0 ", " 41 % ", "epoch 5/10  step 41  loss 0.1235  2000 samples/s"] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
        drop(display);
        let rest = terminal.contents();
        assert!(!rest.contains("samples/s") && rest.contains("0/3"), "{rest}");
    }

    #[test]
    fn hidden_shows_nothing() {
        let display = Progress::hidden().start(10, 0, 1);
        assert!(display.bar.is_hidden() && !display.lines);
    }

    #[test]
    fn small_losses_are_not_shown_as_zero() {
        assert_eq!(
            [0.0, 0.25, 12.0, 3.2e-7, -2e8].map(short),
            ["0.0000", "0.2500", "12.0000", "3.200e-7", "-2.000e8"]
        );
    }

    #[test]
    fn durations_have_two_units() {
        let shown = [3.9, 95.0, 7320.0].map(duration);
        assert_eq!(shown, ["3s", "1m 35s", "2h 02m"]);
    }
}
