//! Makes puzzles with exactly one solution: fill a board at random, then take digits away as long
//! as the solution stays the only one.

use std::ops::RangeInclusive;

use rayon::prelude::*;
use tensor::Stream;

use super::puzzle::{UNITS, UNITS_OF};
use super::solver::{Board, Step, bit, digits};
use super::{Grid, Puzzle, SudokuSet};
use crate::Error;

/// Makes puzzles with exactly one solution, as many as wanted.
///
/// Puzzle `i` depends on the seed, the range and `i` alone, so a set is the same for any number of
/// threads and a longer set begins with the shorter one. The number of givens is drawn evenly from
/// the range for each puzzle. Boards are not drawn evenly from all valid ones, but none is
/// excluded, nor are symmetric patterns preferred.
///
/// For the paper's experiment: `29..=37` is the range of the real set (where, other than here, most
/// puzzles have 33 to 35), `45..=55` makes easy puzzles for small models. One core makes about
/// 50,000 puzzles a second with 45 to 55 givens, 25,000 with 29 to 37, and some 500 with 23
/// (measured with `examples/generate_sudoku.rs`, release build, one thread, AMD EPYC).
///
/// ```
/// use vision::datasets::sudoku::{Generator, Outcome, solve};
///
/// let generator = Generator::new(42, 29..=37).unwrap();
/// let puzzle = generator.puzzle(0);
/// assert!((29..=37).contains(&puzzle.givens()));
/// assert_eq!(solve(puzzle.quiz()), Outcome::Unique(*puzzle.solution()));
/// assert_eq!(generator.generate(10)[0], puzzle);
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    stream: Stream,
    givens: RangeInclusive<usize>,
}

impl Generator {
    /// The widest range of givens.
    ///
    /// No puzzle with fewer than 17 givens has one solution; those with fewer than 23 are so rare
    /// among randomly thinned boards that finding them is not this generator's business.
    pub const GIVENS: RangeInclusive<usize> = 23..=81;

    /// A generator of puzzles whose number of givens lies in `givens`.
    ///
    /// # Errors
    ///
    /// [`Error::GivensRange`] when the range is empty or reaches out of [`GIVENS`](Self::GIVENS).
    pub fn new(seed: u64, givens: RangeInclusive<usize>) -> Result<Self, Error> {
        let widest = Self::GIVENS;
        if givens.is_empty() || !widest.contains(givens.start()) || !widest.contains(givens.end()) {
            return Err(Error::GivensRange { expected: widest, found: givens });
        }
        Ok(Self { stream: Stream::new(seed).derive("sudoku"), givens })
    }

    /// Puzzle `index` of this generator.
    pub fn puzzle(&self, index: u64) -> Puzzle {
        let mut stream = self.stream.derive_index(index);
        let (least, most) = (*self.givens.start(), *self.givens.end());
        let givens = least + stream.below((most - least + 1) as u64) as usize;
        loop {
            let solution = random_solution(&mut stream);
            if let Some(quiz) = thin_out(&solution, givens, &mut stream) {
                return Puzzle::new(quiz, solution).expect("a quiz is a part of its solution");
            }
            // This board has no more to take away: another one, towards the same number of
            // givens, so that hard ones are not rarer than the range says.
        }
    }

    /// Puzzles 0 to `n - 1`, made on all of rayon's threads.
    pub fn generate(&self, n: usize) -> SudokuSet {
        let puzzles: Vec<Puzzle> =
            (0..n as u64).into_par_iter().map(|index| self.puzzle(index)).collect();
        SudokuSet::from(puzzles)
    }
}

/// A random full board.
fn random_solution(stream: &mut Stream) -> Grid {
    let mut board = Board::EMPTY;
    // The boxes on the diagonal share no row or column: any three permutations can be completed.
    for unit in [18, 22, 26] {
        let mut digits = [1, 2, 3, 4, 5, 6, 7, 8, 9];
        stream.shuffle(&mut digits);
        for (&cell, digit) in UNITS[unit].iter().zip(digits) {
            board.place(cell.into(), digit);
        }
    }
    complete(board, stream).expect("three diagonal boxes can always be completed")
}

/// A random completion of `board`, if there is one.
fn complete(mut board: Board, stream: &mut Stream) -> Option<Grid> {
    match board.propagate() {
        Step::Contradiction => None,
        Step::Full => Some(board.cells),
        Step::Guess { cell, candidates } => {
            let mut order = [0; 9];
            let mut count = 0;
            for digit in digits(candidates) {
                order[count] = digit;
                count += 1;
            }
            let order = &mut order[..count];
            stream.shuffle(order);
            order.iter().find_map(|&digit| {
                let mut next = board.clone();
                next.place(cell, digit);
                complete(next, stream)
            })
        }
    }
}

/// Takes digits away in random order down to `givens`, keeping the solution unique; `None` if the
/// board cannot spare so many.
///
/// One pass is enough: a digit that cannot be spared now cannot be spared with fewer others left.
fn thin_out(solution: &Grid, givens: usize, stream: &mut Stream) -> Option<Grid> {
    let mut order: [u8; 81] = std::array::from_fn(|cell| cell as u8);
    stream.shuffle(&mut order);
    let mut board = Board::new(solution).expect("a solution has no conflict");
    let mut left = 81;
    for cell in order.map(usize::from) {
        if left == givens {
            break;
        }
        let digit = board.clear(cell);
        if is_forced(&board, cell, digit) || !board.has_solution_without(cell, digit) {
            left -= 1;
        } else {
            board.place(cell, digit);
        }
    }
    (left == givens).then_some(board.cells)
}

/// Whether the blank `cell` must hold `digit` by a naked or hidden single.
///
/// It decides most cases without the search that decides them all.
fn is_forced(board: &Board, cell: usize, digit: u8) -> bool {
    if board.candidates(cell) == bit(digit) {
        return true;
    }
    UNITS_OF[cell].iter().any(|&unit| {
        UNITS[unit as usize].iter().map(|&other| other as usize).all(|other| {
            other == cell || board.cells[other] != 0 || board.candidates(other) & bit(digit) == 0
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::{Outcome, count_solutions, solve};
    use super::*;

    #[test]
    fn puzzles_have_one_solution_and_givens_over_the_whole_range() {
        for range in [45..=55, 29..=37, 23..=25, 81..=81] {
            let set = Generator::new(1, range.clone()).unwrap().generate(300);
            let mut seen = HashSet::new();
            for puzzle in &set {
                assert_eq!(solve(puzzle.quiz()), Outcome::Unique(*puzzle.solution()));
                seen.insert(puzzle.givens());
            }
            assert_eq!(seen, HashSet::from_iter(range));
        }
    }

    #[test]
    fn the_thread_count_changes_nothing() {
        let generator = Generator::new(5, 29..=37).unwrap();
        let one_by_one: SudokuSet = (0..100).map(|index| generator.puzzle(index)).collect();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| generator.generate(100)), one_by_one);
        }
        assert_eq!(generator.generate(40), one_by_one.take(40));
    }

    #[test]
    fn the_first_puzzle_stays_the_same() {
        // Sets are named by their seed: a change here makes results of older runs irreproducible.
        let puzzle = Generator::new(42, 29..=37).unwrap().puzzle(0);
        assert_eq!(
            puzzle.to_string(),
            "002000600060408002000620081590080006600000708000010039900504000400000000250173000,\
             842731695169458372375629481591387246623945718784216539917564823436892157258173964"
        );
    }

    #[test]
    fn seeds_and_indices_give_different_boards() {
        let boards: HashSet<Grid> = (0..4)
            .map(|seed| Generator::new(seed, 50..=50).unwrap())
            .flat_map(|generator| (0..100).map(move |index| *generator.puzzle(index).solution()))
            .collect();
        assert_eq!(boards.len(), 400);
    }

    #[test]
    fn givens_and_digits_are_spread_over_the_board() {
        let set = Generator::new(11, 40..=40).unwrap().generate(2000);
        for cell in 0..81 {
            let given = set.iter().filter(|p| p.quiz()[cell] != 0).count();
            // Expected 2000 * 40/81 = 988, standard deviation 22.
            assert!((870..1110).contains(&given), "cell {cell} is given {given} times");
            for digit in 1..=9 {
                let count = set.iter().filter(|p| p.solution()[cell] == digit).count();
                // Expected 222, standard deviation 14.
                assert!((145..300).contains(&count), "digit {digit} in cell {cell}: {count} times");
            }
        }
    }

    #[test]
    fn ranges_out_of_reach_are_errors() {
        #[expect(clippy::reversed_empty_ranges)]
        for range in [22..=30, 30..=82, 40..=39] {
            let message = Generator::new(0, range.clone()).unwrap_err().to_string();
            assert_eq!(
                message,
                format!(
                    "sudoku generator: givens {}..={} asked for, expected a non-empty range \
                     within 23..=81",
                    range.start(),
                    range.end()
                )
            );
        }
    }

    proptest! {
        /// The shortcut may miss, but must never claim what the search denies.
        #[test]
        fn forced_cells_are_forced(seed: u64, givens in 23usize..70, cell in 0usize..81) {
            let puzzle = Generator::new(seed, givens..=givens).unwrap().puzzle(0);
            let mut board = Board::new(puzzle.quiz()).unwrap();
            if board.cells[cell] != 0 {
                let digit = board.clear(cell);
                let forced = is_forced(&board, cell, digit);
                let unique = count_solutions(&board.cells, 2) == 1;
                prop_assert!(unique || !forced);
                prop_assert_eq!(unique, !board.has_solution_without(cell, digit));
            }
        }
    }
}
