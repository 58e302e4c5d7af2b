//! Generates Sudoku puzzles with exactly one solution and writes them as a CSV file.
//!
//! ```text
//! cargo run --release -p vision --example generate_sudoku -- FILE COUNT [FIRST LAST [SEED]]
//! ```
//!
//! COUNT puzzles with FIRST to LAST givens (45 to 55 if not said), gzipped if FILE ends in `.gz`.
//! `RAYON_NUM_THREADS=1` shows the speed of one core; it does not change the puzzles.

use std::time::Instant;

use vision::datasets::sudoku::{Generator, SudokuSet};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, count, rest @ ..] = args.as_slice() else {
        return Err("expected: FILE COUNT [FIRST LAST [SEED]]".into());
    };
    let (givens, seed) = match rest {
        [] => (45..=55, 42),
        [first, last] => (first.parse()?..=last.parse()?, 42),
        [first, last, seed] => (first.parse()?..=last.parse()?, seed.parse()?),
        _ => return Err("expected: FILE COUNT [FIRST LAST [SEED]]".into()),
    };

    let start = Instant::now();
    let set = Generator::new(seed, givens)?.generate(count.parse()?);
    let seconds = start.elapsed().as_secs_f64();
    println!("{} puzzles in {seconds:.2} s, {:.0} a second", set.len(), set.len() as f64 / seconds);

    set.write_csv(file)?;
    let start = Instant::now();
    let read = SudokuSet::read_csv(file)?;
    println!("{file}: read and checked in {:.2} s", start.elapsed().as_secs_f64());
    assert!(read == set, "what was read is not what was written");
    Ok(())
}
