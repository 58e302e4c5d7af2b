//! Puzzles as tensors.

use std::path::Path;

use anyhow::{bail, ensure};
use tensor::{Device, Stream, Tensor};
use vision::datasets::sudoku::{Generator, Grid, Puzzle, SudokuSet};

use super::recipe::Recipe;

/// Training and test puzzles.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub(super) train: SudokuSet,
    pub(super) test: SudokuSet,
}

/// Cells of a board.
const CELLS: usize = 81;

/// Reads or generates, splits and, if asked for, eases the puzzles of a recipe.
pub(super) fn load(recipe: &Recipe, file: Option<&Path>) -> anyhow::Result<Data> {
    let wanted = recipe.train.saturating_add(recipe.test);
    let all = match (recipe.source.as_str(), file) {
        ("embedded", _) => SudokuSet::embedded(),
        ("generated", _) => {
            // The range of the 1M set where the recipe does not say another.
            let range = if recipe.givens_max == 0 {
                29..=37
            } else {
                recipe.givens_min..=recipe.givens_max
            };
            Generator::new(recipe.split_seed, range)?.generate(wanted)
        }
        (_, Some(path)) => SudokuSet::read_csv(path)?,
        (source, None) => bail!("source = \"{source}\" needs a file"),
    };
    ensure!(
        all.len() >= wanted,
        "{} training and {} test puzzles are asked for, but the {} set has {} in all; \
         set smaller numbers with --set train=… --set test=…",
        recipe.train,
        recipe.test,
        recipe.source,
        all.len()
    );
    // The paper's split where the numbers fit into it: then a smaller run trains on a part of what a larger one trains
    // on, and tests on a part of what it tests on. Other proportions (18,000 and 2,000) need a split of their own.
    let (train, test) = all.split(0.8, recipe.split_seed);
    let (train, test) = if train.len() >= recipe.train && test.len() >= recipe.test {
        (train, test)
    } else {
        let fraction = recipe.train as f64 / wanted as f64;
        let rejoined: SudokuSet = train.iter().chain(test.iter()).cloned().collect();
        rejoined.split(fraction, recipe.split_seed)
    };
    ensure!(
        train.len() >= recipe.train && test.len() >= recipe.test,
        "the {} puzzles cannot be split into {} and {}",
        wanted,
        recipe.train,
        recipe.test
    );
    Ok(Data {
        train: eased(train.take(recipe.train), recipe, "train"),
        test: eased(test.take(recipe.test), recipe, "test"),
    })
}

/// The same puzzles with blanks filled from the solution until they have as many givens as the recipe says.
fn eased(set: SudokuSet, recipe: &Recipe, name: &str) -> SudokuSet {
    if recipe.givens_max == 0 {
        return set;
    }
    let stream = Stream::new(recipe.split_seed).derive("givens").derive(name);
    set.iter()
        .enumerate()
        .map(|(i, puzzle)| ease(puzzle, recipe, stream.derive_index(i as u64)))
        .collect()
}

fn ease(puzzle: &Puzzle, recipe: &Recipe, mut stream: Stream) -> Puzzle {
    let span = (recipe.givens_max - recipe.givens_min) as u64 + 1;
    let wanted = recipe.givens_min + stream.below(span) as usize;
    let mut quiz = *puzzle.quiz();
    let mut blanks: Vec<usize> = (0..CELLS).filter(|&i| quiz[i] == 0).collect();
    stream.shuffle(&mut blanks);
    for &cell in blanks.iter().take(wanted.saturating_sub(puzzle.givens())) {
        quiz[cell] = puzzle.solution()[cell];
    }
    Puzzle::new(quiz, *puzzle.solution()).expect("givens taken from the solution agree with it")
}

/// A batch as the net takes it: digits / 9 − 0.5 as `[N, 1, 9, 9]`, and the solution's digits − 1 as `[N, 9, 9]` I64.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) input: Tensor,
    pub(super) target: Tensor,
}

impl Batch {
    /// The batch of these puzzles.
    pub(super) fn new<'a>(puzzles: impl IntoIterator<Item = &'a Puzzle>) -> Self {
        let (mut input, mut target) = (Vec::new(), Vec::new());
        for puzzle in puzzles {
            input.extend(puzzle.quiz().iter().map(|&d| f32::from(d) / 9.0 - 0.5));
            target.extend(puzzle.solution().iter().map(|&d| i64::from(d) - 1));
        }
        let n = input.len() / CELLS;
        Batch { input: Tensor::new(&input, [n, 1, 9, 9]), target: Tensor::new(&target, [n, 9, 9]) }
    }

    /// The same on a device.
    pub(super) fn on(&self, device: Device) -> Self {
        Batch { input: self.input.to_device(device), target: self.target.to_device(device) }
    }
}

/// The boards of the largest logits: `[N, 9, 9, 9]` to N grids of digits 1..9.
pub(super) fn boards(logits: &Tensor) -> Vec<Grid> {
    let digits = logits.argmax(1, false).to_vec::<i64>();
    digits.chunks(CELLS).map(|board| std::array::from_fn(|i| board[i] as u8 + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiments::ScaleName;

    #[test]
    fn splits_nest_and_puzzles_are_eased_to_the_asked_number_of_givens() {
        let small = Recipe { train: 200, test: 50, ..Recipe::of(ScaleName::Demo, None) };
        let large = Recipe { train: 400, test: 100, ..small.clone() };
        let (a, b) = (load(&small, None).unwrap(), load(&large, None).unwrap());
        assert!(a.train.iter().zip(b.train.iter()).all(|(x, y)| x == y));
        assert!(a.test.iter().zip(b.test.iter()).all(|(x, y)| x == y));
        assert!(b.train.iter().all(|p| (60..=70).contains(&p.givens())));
        let solutions: std::collections::HashSet<_> =
            b.train.iter().map(|p| *p.solution()).collect();
        assert!(b.test.iter().all(|p| !solutions.contains(p.solution())));
    }

    #[test]
    fn all_puzzles_can_be_used_and_no_more() {
        let base = Recipe::of(ScaleName::Demo, None);
        let all =
            Recipe { train: 18_000, test: 2_000, givens_max: 0, givens_min: 0, ..base.clone() };
        let data = load(&all, None).unwrap();
        assert_eq!((data.train.len(), data.test.len()), (18_000, 2_000));
        let error = load(&Recipe { train: 20_000, ..all }, None).unwrap_err().to_string();
        assert!(error.contains("set has 20000 in all"), "{error}");
    }

    #[test]
    fn a_batch_holds_digits_as_the_net_takes_them() {
        let set = SudokuSet::embedded().take(2);
        let batch = Batch::new(set.iter());
        let x = batch.input.to_vec::<f32>();
        let y = batch.target.to_vec::<i64>();
        for (i, puzzle) in set.iter().enumerate() {
            for cell in 0..CELLS {
                assert_eq!(x[i * CELLS + cell], f32::from(puzzle.quiz()[cell]) / 9.0 - 0.5);
                assert_eq!(y[i * CELLS + cell] + 1, i64::from(puzzle.solution()[cell]));
            }
        }
    }
}
