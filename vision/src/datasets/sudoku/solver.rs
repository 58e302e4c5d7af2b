//! A solver on bit masks: naked and hidden singles, then a guess at the cell with the fewest
//! candidates.
//!
//! Sets of digits are `u16`s, bit `d - 1` for digit `d`. Per row, column and box the board keeps
//! the set of digits that stand there; a cell's candidates are what its three units lack. A board
//! is small enough (135 bytes) to be copied at every guess, so that nothing has to be undone.

use super::Grid;
use super::puzzle::{ALL, UNITS, UNITS_OF};

/// What [`solve`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No board keeps the givens and the rules.
    Impossible,
    /// Exactly one board does: this.
    Unique(Grid),
    /// More than one does.
    Ambiguous,
}

/// Solves a quiz and tells whether the solution is the only one.
///
/// Puzzles such as those of the data set take some microseconds. Hard ones need guesses, and a
/// quiz made to defeat guessing can take much longer.
///
/// ```
/// use vision::datasets::sudoku::{Outcome, SudokuSet, solve};
///
/// let set = SudokuSet::embedded();
/// assert_eq!(solve(set[0].quiz()), Outcome::Unique(*set[0].solution()));
/// assert_eq!(solve(&[0; 81]), Outcome::Ambiguous);
/// ```
///
/// # Panics
///
/// When a cell is above 9.
#[track_caller]
pub fn solve(quiz: &Grid) -> Outcome {
    check_digits("solve", quiz);
    let mut search = Search { limit: 2, count: 0, first: None };
    if let Some(board) = Board::new(quiz) {
        search.run(board);
    }
    match (search.count, search.first) {
        (0, _) | (_, None) => Outcome::Impossible,
        (1, Some(solution)) => Outcome::Unique(solution),
        _ => Outcome::Ambiguous,
    }
}

/// Number of solutions of a quiz, counted up to `limit` (the search ends there).
///
/// ```
/// use vision::datasets::sudoku::count_solutions;
///
/// assert_eq!(count_solutions(&[0; 81], 1000), 1000);
/// ```
///
/// # Panics
///
/// When a cell is above 9.
#[track_caller]
pub fn count_solutions(quiz: &Grid, limit: u64) -> u64 {
    check_digits("count_solutions", quiz);
    let mut search = Search { limit, count: 0, first: None };
    if let Some(board) = Board::new(quiz) {
        search.run(board);
    }
    search.count
}

#[track_caller]
fn check_digits(op: &str, quiz: &Grid) {
    if let Some(cell) = quiz.iter().position(|&value| value > 9) {
        panic!("{op}: cell {cell} holds {}, expected 0 (blank) to 9", quiz[cell]);
    }
}

/// The digits of a set, smallest first.
pub(super) fn digits(mut set: u16) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let digit = (set != 0).then(|| set.trailing_zeros() as u8 + 1);
        set &= set.wrapping_sub(1);
        digit
    })
}

pub(super) fn bit(digit: u8) -> u16 {
    1 << (digit - 1)
}

/// A partly filled board without conflicts.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) cells: Grid,
    /// Per unit the digits that stand in it.
    used: [u16; 27],
}

/// Where the singles lead.
pub(super) enum Step {
    /// The rules cannot be kept.
    Contradiction,
    /// No blank is left.
    Full,
    /// A blank with the fewest candidates (at least two), and these.
    Guess { cell: usize, candidates: u16 },
}

impl Board {
    pub(super) const EMPTY: Self = Self { cells: [0; 81], used: [0; 27] };

    /// The board of a quiz, `None` if two givens are in conflict.
    pub(super) fn new(quiz: &Grid) -> Option<Self> {
        let mut board = Self::EMPTY;
        for (cell, &digit) in quiz.iter().enumerate().filter(|&(_, &digit)| digit != 0) {
            if board.candidates(cell) & bit(digit) == 0 {
                return None;
            }
            board.place(cell, digit);
        }
        Some(board)
    }

    /// Digits that stand neither in the cell's row nor in its column nor in its box.
    #[inline]
    pub(super) fn candidates(&self, cell: usize) -> u16 {
        let [row, column, square] = UNITS_OF[cell];
        let used = &self.used;
        ALL & !(used[row as usize] | used[column as usize] | used[square as usize])
    }

    /// Fills a blank with one of its candidates.
    #[inline]
    pub(super) fn place(&mut self, cell: usize, digit: u8) {
        debug_assert!(self.cells[cell] == 0 && self.candidates(cell) & bit(digit) != 0);
        self.cells[cell] = digit;
        for unit in UNITS_OF[cell] {
            self.used[unit as usize] |= bit(digit);
        }
    }

    /// Makes a filled cell blank and returns its digit.
    pub(super) fn clear(&mut self, cell: usize) -> u8 {
        let digit = std::mem::take(&mut self.cells[cell]);
        for unit in UNITS_OF[cell] {
            self.used[unit as usize] &= !bit(digit);
        }
        digit
    }

    /// Fills in all that follows without a guess.
    pub(super) fn propagate(&mut self) -> Step {
        loop {
            let mut placed = false;
            let mut fewest = 10;
            let mut guess = Step::Full;
            for cell in 0..81 {
                if self.cells[cell] != 0 {
                    continue;
                }
                let candidates = self.candidates(cell);
                match candidates.count_ones() {
                    0 => return Step::Contradiction,
                    1 => {
                        self.place(cell, candidates.trailing_zeros() as u8 + 1);
                        placed = true;
                    }
                    count if count < fewest => {
                        fewest = count;
                        guess = Step::Guess { cell, candidates };
                    }
                    _ => {}
                }
            }
            // Naked singles are the cheaper kind: only where they end, hidden ones are looked for.
            if placed {
                continue;
            }
            match self.place_hidden_singles() {
                None => return Step::Contradiction,
                Some(true) => continue,
                Some(false) => return guess,
            }
        }
    }

    /// Places digits that have one cell left in some unit; whether there was any, or `None` if
    /// some digit has no cell left.
    fn place_hidden_singles(&mut self) -> Option<bool> {
        let mut placed = false;
        for (index, unit) in UNITS.iter().enumerate() {
            let (mut once, mut twice) = (0, 0);
            for &cell in unit {
                if self.cells[cell as usize] == 0 {
                    let candidates = self.candidates(cell as usize);
                    twice |= once & candidates;
                    once |= candidates;
                }
            }
            if once | self.used[index] != ALL {
                return None;
            }
            for digit in digits(once & !twice) {
                // The sets were taken at the unit's start: an earlier single of the same unit may
                // have taken this one's cell.
                let cell = unit.iter().map(|&cell| cell as usize).find(|&cell| {
                    self.cells[cell] == 0 && self.candidates(cell) & bit(digit) != 0
                })?;
                self.place(cell, digit);
                placed = true;
            }
        }
        Some(placed)
    }

    /// Whether the board can be filled with anything but `digit` in the blank `cell`.
    pub(super) fn has_solution_without(&self, cell: usize, digit: u8) -> bool {
        let mut search = Search { limit: 1, count: 0, first: None };
        for other in digits(self.candidates(cell) & !bit(digit)) {
            let mut next = self.clone();
            next.place(cell, other);
            search.run(next);
        }
        search.count > 0
    }
}

struct Search {
    limit: u64,
    count: u64,
    first: Option<Grid>,
}

impl Search {
    fn run(&mut self, mut board: Board) {
        if self.count >= self.limit {
            return;
        }
        match board.propagate() {
            Step::Contradiction => {}
            Step::Full => {
                self.count += 1;
                self.first.get_or_insert(board.cells);
            }
            Step::Guess { cell, candidates } => {
                for digit in digits(candidates) {
                    let mut next = board.clone();
                    next.place(cell, digit);
                    self.run(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::puzzle::tests::simple_solution;
    use super::super::{Generator, SudokuSet};
    use super::*;

    /// Plain backtracking in cell order, without any of the solver's reasoning.
    fn count_plainly(grid: &mut Grid, limit: u64) -> u64 {
        let Some(cell) = grid.iter().position(|&value| value == 0) else { return 1 };
        let mut count = 0;
        for digit in 1..=9 {
            let clash = UNITS_OF[cell].iter().any(|&unit| {
                UNITS[unit as usize].iter().any(|&other| grid[other as usize] == digit)
            });
            if !clash && count < limit {
                grid[cell] = digit;
                count += count_plainly(grid, limit - count);
                grid[cell] = 0;
            }
        }
        count
    }

    fn grid(text: &str) -> Grid {
        Grid::try_from(text.as_bytes()).unwrap().map(|byte| byte - b'0')
    }

    #[test]
    fn every_embedded_puzzle_has_exactly_its_solution() {
        for (index, puzzle) in SudokuSet::embedded().iter().enumerate() {
            let outcome = solve(puzzle.quiz());
            assert_eq!(outcome, Outcome::Unique(*puzzle.solution()), "puzzle {index}");
        }
    }

    #[test]
    fn a_hard_quiz_with_17_givens_is_solved() {
        // Needs guesses: singles alone place little.
        let quiz = grid(
            "000000010400000000020000000000050407008000300001090000300400200050100000000806000",
        );
        let Outcome::Unique(solution) = solve(&quiz) else { panic!("not unique") };
        assert_eq!(
            solution,
            grid(
                "693784512487512936125963874932651487568247391741398625319475268856129743274836159"
            )
        );
    }

    #[test]
    fn conflicts_and_dead_ends_are_impossible() {
        let mut conflict = [0; 81];
        (conflict[0], conflict[8]) = (5, 5);
        assert_eq!(solve(&conflict), Outcome::Impossible);
        // No conflict, but the cell at row 1, column 9 has no candidate left.
        let mut dead_end = [0; 81];
        dead_end[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
        dead_end[8 + 3 * 9] = 9;
        assert_eq!(solve(&dead_end), Outcome::Impossible);
        assert_eq!(count_solutions(&dead_end, 10), 0);
    }

    #[test]
    fn a_swappable_rectangle_has_two_solutions() {
        let full = SudokuSet::embedded()[0];
        // Two rows of one band, two columns of different bands with the same two digits.
        let solution = full.solution();
        let mut quiz = *solution;
        let corners = (0..81usize)
            .flat_map(|a| (a + 1..81).map(move |b| (a, b)))
            .filter(|(a, b)| a / 9 == b / 9 && a % 9 / 3 != b % 9 / 3)
            .flat_map(|(a, b)| [9, 18].map(|down| [a, b, a + down, b + down]))
            .find(|&[a, b, c, d]| {
                d < 81
                    && a / 27 == d / 27
                    && solution[a] == solution[d]
                    && solution[b] == solution[c]
            });
        // Not every board has such a rectangle; this one has.
        for cell in corners.expect("a rectangle") {
            quiz[cell] = 0;
        }
        assert_eq!(solve(&quiz), Outcome::Ambiguous);
        assert_eq!(count_solutions(&quiz, 10), 2);
    }

    #[test]
    fn counting_ends_at_the_limit() {
        for limit in [0, 1, 7] {
            assert_eq!(count_solutions(&[0; 81], limit), limit);
        }
        assert_eq!(count_solutions(&simple_solution(), 5), 1);
    }

    #[test]
    #[should_panic(expected = "solve: cell 80 holds 10, expected 0 (blank) to 9")]
    fn values_above_nine_are_refused() {
        let mut quiz = [0; 81];
        quiz[80] = 10;
        solve(&quiz);
    }

    proptest! {
        /// Blanks anywhere in a board, and sometimes one wrong given: the count is that of plain
        /// backtracking.
        #[test]
        fn counts_agree_with_plain_backtracking(
            seed: u64,
            blanks in proptest::collection::vec(0usize..81, 0..55),
            wrong in proptest::option::of((0usize..81, 1u8..=9)),
        ) {
            let mut quiz = *Generator::new(seed, 81..=81).unwrap().puzzle(0).solution();
            for cell in blanks {
                quiz[cell] = 0;
            }
            if let Some((cell, digit)) = wrong {
                quiz[cell] = digit;
            }
            let expected = match Board::new(&quiz) {
                Some(_) => count_plainly(&mut quiz.clone(), 50),
                None => 0,
            };
            prop_assert_eq!(count_solutions(&quiz, 50), expected);
        }
    }
}
