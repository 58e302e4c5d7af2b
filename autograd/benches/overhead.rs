//! What an op costs beside its kernel: `cargo bench -p autograd --bench overhead`.
//!
//! Sixteen numbers are added: the kernel needs some nanoseconds, the rest is checks, allocation and recording.

use std::hint::black_box;
use std::time::Instant;

use autograd::Var;
use tensor::Tensor;

/// Nanoseconds of one run: the fastest of twenty batches, for other programs only ever slow one down.
fn nanoseconds(mut run: impl FnMut()) -> f64 {
    const BATCH: u32 = 20_000;
    let batch = |run: &mut dyn FnMut()| {
        let begin = Instant::now();
        (0..BATCH).for_each(|_| run());
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH)
    };
    (0..20).map(|_| batch(&mut run)).fold(f64::INFINITY, f64::min)
}

fn main() {
    let a = Tensor::new(&[1.0f32; 16], [16]);
    let (leaf, constant) = (Var::leaf(a.clone()), Var::constant(a.clone()));
    let report = |what: &str, ns: f64| println!("{what:<40} {ns:7.0} ns");
    report("tensor add", nanoseconds(|| drop(black_box(a.add(&a)))));
    report("var add, not recorded", nanoseconds(|| drop(black_box(&constant + &constant))));
    report("var add, recorded", nanoseconds(|| drop(black_box(&leaf + &leaf))));
    report("var mul, recorded (saves both)", nanoseconds(|| drop(black_box(&leaf * &leaf))));
    let seed = a.full_like(1.0);
    report(
        "mul, forward and backward",
        nanoseconds(|| drop(black_box((&leaf * &leaf).backward_with(&seed)))),
    );
}
