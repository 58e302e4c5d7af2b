//! Watching ops as they run: for profiles ([`Profile`](crate::profile::Profile)) and for finding where numbers go bad
//! ([`NanTrace`]).
//!
//! A watch sees the ops of one thread for the time of one call, [`watched`]; what they compute does not depend on it. When
//! nobody watches, an op pays for looking at one flag.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tensor::{Shape, Tensor};

use crate::{Op, Var};

/// What of an op has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The op itself.
    Forward,
    /// Its derivative as a whole; the ops of which it is made are seen before, by themselves.
    Backward,
}

/// An op that has run.
#[derive(Debug)]
pub struct OpEvent<'a> {
    /// The op's name.
    pub name: &'static str,
    /// The op or its derivative.
    pub phase: Phase,
    /// The module that ran the op forward: its path in the model where the context knows it, else its type; empty
    /// outside of modules.
    pub scope: &'a str,
    /// Operands; of a derivative the output's gradient.
    pub inputs: &'a [&'a Tensor],
    /// The result; of a derivative the gradients of the inputs that want one.
    pub outputs: &'a [&'a Tensor],
    /// Multiply-accumulates, see [`Op::macs`]; 0 for derivatives, whose ops count theirs.
    pub macs: u64,
    /// When it began.
    pub begin: Instant,
    /// How long it took.
    pub time: Duration,
    /// How long it took without the ops that ran inside it.
    pub own_time: Duration,
    /// How many derivatives it ran inside of.
    pub depth: usize,
}

impl OpEvent<'_> {
    /// Bytes that were read and written at least: operands and results once each, 0 for views of an operand and for
    /// derivatives made of other ops.
    pub fn bytes(&self) -> u64 {
        let is_view = |t: &Tensor| self.inputs.iter().any(|x| x.shares_storage(t));
        if self.own_time != self.time || self.outputs.iter().all(|t| is_view(t)) {
            return 0;
        }
        let size = |t: &&Tensor| (t.numel() * t.dtype().size()) as u64;
        self.inputs.iter().chain(self.outputs).map(size).sum()
    }
}

/// Someone who is told of every op.
pub trait Watch {
    /// An op, or its derivative, has run.
    fn op(&mut self, event: &OpEvent);

    /// The forward of a module has run.
    fn module(&mut self, _scope: &str, _begin: Instant, _time: Duration) {}
}

/// The watch of this thread.
struct State {
    watch: Rc<RefCell<dyn Watch>>,
    /// Modules whose forwards are running, innermost last.
    scopes: Vec<(Arc<str>, Instant)>,
    /// For each op that is running, outermost first, the time of ops that ran inside it.
    running: Vec<Duration>,
}

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static STATE: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Puts back what was there before, also when the watched call panics.
struct Restore(Option<State>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        ON.set(before.is_some());
        STATE.replace(before);
    }
}

/// Runs `f`; `watch` is told of every op that this thread runs meanwhile. A watch that was there before sees none of them.
pub fn watched<W: Watch + 'static, T>(watch: W, f: impl FnOnce() -> T) -> (T, W) {
    let watch = Rc::new(RefCell::new(watch));
    let state = State { watch: watch.clone(), scopes: Vec::new(), running: Vec::new() };
    let restore = Restore(STATE.replace(Some(state)));
    ON.set(true);
    let result = f();
    drop(restore);
    let watch = Rc::try_unwrap(watch).ok().expect("the state held the only other reference");
    (result, watch.into_inner())
}

/// Whether this thread is watched.
#[inline]
pub fn is_on() -> bool {
    ON.get()
}

/// Says that the forward of a module begins; [`leave`] says that it ends. Called by contexts of models.
pub fn enter(scope: &str) {
    with_state(|state| state.scopes.push((scope.into(), Instant::now())));
}

/// See [`enter`].
pub fn leave() {
    with_state(|state| {
        if let Some((scope, begin)) = state.scopes.pop() {
            state.watch.borrow_mut().module(&scope, begin, begin.elapsed());
        }
    });
}

/// Runs `f` as if it were an op called `name` of so many multiply-accumulates: for kernels that are called without a graph,
/// and for optimizers, which a profile would else count as time outside of ops.
pub fn kernel<T>(name: &'static str, macs: u64, f: impl FnOnce() -> T) -> T {
    let Some(begin) = begin() else { return f() };
    let result = f();
    let time = begin.elapsed();
    let scope = scope().unwrap_or_else(|| "".into());
    end(OpEvent {
        name,
        phase: Phase::Forward,
        scope: &scope,
        inputs: &[],
        outputs: &[],
        macs,
        begin,
        time,
        own_time: time,
        depth: 0,
    });
    result
}

fn with_state<T>(f: impl FnOnce(&mut State) -> T) -> Option<T> {
    STATE.with_borrow_mut(|state| state.as_mut().map(f))
}

/// Before an op or a derivative.
#[inline]
pub(crate) fn begin() -> Option<Instant> {
    if !is_on() {
        return None;
    }
    with_state(|state| state.running.push(Duration::ZERO));
    Some(Instant::now())
}

/// The module that is running, to be remembered for the derivative.
#[inline]
pub(crate) fn scope() -> Option<Arc<str>> {
    if !is_on() {
        return None;
    }
    with_state(|state| state.scopes.last().map(|(scope, _)| scope.clone())).flatten()
}

/// After an op that began at `begin`.
#[cold]
pub(crate) fn forward(op: &dyn Op, inputs: &[&Tensor], output: &Tensor, begin: Instant) {
    let time = begin.elapsed();
    let shapes: Vec<Shape> = inputs.iter().map(|t| t.shape()).collect();
    let scope = scope().unwrap_or_else(|| "".into());
    end(OpEvent {
        name: op.name(),
        phase: Phase::Forward,
        scope: &scope,
        inputs,
        outputs: &[output],
        macs: op.macs(&shapes, &output.shape()),
        begin,
        time,
        own_time: time,
        depth: 0,
    });
}

/// After the derivative of an op that a module of name `scope` had run.
#[cold]
pub(crate) fn backward(
    name: &'static str,
    scope: Option<&str>,
    dy: &Var,
    gradients: &[Option<Var>],
    begin: Instant,
) {
    let time = begin.elapsed();
    let outputs: Vec<&Tensor> = gradients.iter().flatten().map(Var::value).collect();
    end(OpEvent {
        name,
        phase: Phase::Backward,
        scope: scope.unwrap_or(""),
        inputs: &[dy.value()],
        outputs: &outputs,
        macs: 0,
        begin,
        time,
        own_time: time,
        depth: 0,
    });
}

fn end(mut event: OpEvent) {
    let watch = with_state(|state| {
        let inside = state.running.pop().unwrap_or_default();
        event.own_time = event.time.saturating_sub(inside);
        event.depth = state.running.len();
        if let Some(outer) = state.running.last_mut() {
            *outer += event.time;
        }
        state.watch.clone()
    });
    // The state is free again: a watch may run ops of its own on tensors.
    if let Some(watch) = watch {
        watch.borrow_mut().op(&event);
    }
}

/// Where a number that is not finite came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadNumber {
    /// The op.
    pub op: &'static str,
    /// The op or its derivative.
    pub phase: Phase,
    /// See [`OpEvent::scope`].
    pub scope: String,
    /// Whether there is a NaN among its results; else there is an infinity.
    pub is_nan: bool,
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_nan { "NaN" } else { "infinity" };
        let what = match self.phase {
            Phase::Forward => "the output of",
            Phase::Backward => "the gradient of",
        };
        write!(f, "the first {kind} is in {what} {}", self.op)?;
        match &self.scope[..] {
            "" => Ok(()),
            scope => write!(f, " in module \"{scope}\""),
        }
    }
}

/// Looks for the first op, forward or backward, that makes a NaN or an infinity of numbers that are none.
///
/// `masked_fill` may: attention masks are infinities. Every result is read once more, so a traced run is slower.
///
/// ```
/// use autograd::{Var, trace::{NanTrace, Phase, watched}};
/// use tensor::Tensor;
///
/// let x = Var::leaf(Tensor::new(&[0.0f64, 1.0], [2]));
/// let (_, trace) = watched(NanTrace::default(), || x.sqrt().sum().backward());
/// let found = trace.found().unwrap();
/// assert_eq!((found.op, found.phase), ("sqrt", Phase::Backward));
/// ```
#[derive(Debug, Default)]
pub struct NanTrace {
    found: Option<BadNumber>,
}

/// How bad the worst number is.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Badness {
    Finite,
    Infinite,
    NaN,
}

impl Badness {
    fn of(tensors: &[&Tensor]) -> Badness {
        let one = |t: &&Tensor| match t.dtype().is_float() {
            false => Badness::Finite,
            true if t.all_finite() => Badness::Finite,
            true if t.to_f64_vec().iter().any(|v| v.is_nan()) => Badness::NaN,
            true => Badness::Infinite,
        };
        tensors.iter().map(one).fold(Badness::Finite, |a, b| if b > a { b } else { a })
    }
}

impl NanTrace {
    /// The first op that made one, if any did.
    pub fn found(&self) -> Option<&BadNumber> {
        self.found.as_ref()
    }
}

impl Watch for NanTrace {
    fn op(&mut self, event: &OpEvent) {
        // The ops of a derivative do not say whose they are: the derivative as a whole, which is seen after them, does.
        if self.found.is_some() || event.depth > 0 || event.name == "masked_fill" {
            return;
        }
        let outputs = Badness::of(event.outputs);
        if outputs > Badness::of(event.inputs) {
            self.found = Some(BadNumber {
                op: event.name,
                phase: event.phase,
                scope: event.scope.to_owned(),
                is_nan: outputs == Badness::NaN,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn leaf(values: &[f64]) -> Var {
        Var::leaf(Tensor::new(values, [values.len()]))
    }

    /// Keeps what it was told.
    #[derive(Default)]
    struct Log(Vec<(&'static str, Phase, String, usize, u64)>);

    impl Watch for Log {
        fn op(&mut self, e: &OpEvent) {
            assert!(e.own_time <= e.time);
            self.0.push((e.name, e.phase, e.scope.to_owned(), e.depth, e.bytes()));
        }
    }

    #[test]
    fn ops_are_seen_forward_and_backward_with_their_modules() {
        let x = leaf(&[1.0, 2.0]);
        let ((), log) = watched(Log::default(), || {
            enter("layer");
            let y = x.exp();
            leave();
            y.reshape([2, 1]).backward_with(&Tensor::new(&[1.0f64, 1.0], [2, 1]));
        });
        let layer = "layer".to_owned();
        let expected = [
            ("exp", Phase::Forward, layer.clone(), 0, 32),
            // A view moves nothing.
            ("reshape", Phase::Forward, String::new(), 0, 0),
            ("reshape", Phase::Forward, String::new(), 1, 0),
            ("reshape", Phase::Backward, String::new(), 0, 0),
            ("mul", Phase::Forward, String::new(), 1, 48),
            ("exp", Phase::Backward, layer, 0, 0),
        ];
        assert_eq!(log.0, expected);
        assert!(!is_on());
    }

    #[test]
    fn a_watch_ends_when_the_call_panics() {
        let x = leaf(&[1.0, 2.0]);
        let panicked =
            catch_unwind(AssertUnwindSafe(|| watched(Log::default(), || x.reshape([3]))));
        assert!(panicked.is_err() && !is_on());
    }

    fn found(f: impl FnOnce()) -> Option<BadNumber> {
        watched(NanTrace::default(), f).1.found().cloned()
    }

    #[test]
    fn the_first_bad_number_is_named() {
        let bad = found(|| {
            enter("head");
            let y = leaf(&[-1.0, 4.0]).sqrt().exp();
            leave();
            let _ = y.log();
        });
        assert_eq!(
            bad.unwrap().to_string(),
            "the first NaN is in the output of sqrt in module \"head\""
        );
        let bad = found(|| drop((leaf(&[1.0, 0.0]).sqrt() * 0.5).sum().backward()));
        assert_eq!(bad.unwrap().to_string(), "the first infinity is in the gradient of sqrt");
        // What was bad before is nobody's fault here, and masks are made of infinities.
        let mask = Tensor::new(&[1u8, 0], [2]);
        let masked = || leaf(&[1.0, 2.0]).masked_fill(&mask, f64::NEG_INFINITY).softmax(0);
        assert_eq!(found(|| drop(masked().sum().backward())), None);
        assert_eq!(found(|| drop(leaf(&[f64::NAN, 1.0]).exp())), None);
    }
}
