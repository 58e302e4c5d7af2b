//! The board, its 27 units, and the pair of quiz and solution.

use std::fmt;

/// A board of 81 cells in row-major order: digits 1 to 9, `0` for a blank.
pub type Grid = [u8; 81];

/// The set of all nine digits, bit `d - 1` for digit `d`.
pub(super) const ALL: u16 = 0x1ff;

/// The 27 units as lists of cells: rows 0 to 8, then columns, then boxes.
pub(super) const UNITS: [[u8; 9]; 27] = units();

/// For every cell the unit numbers of its row, column and box.
pub(super) const UNITS_OF: [[u8; 3]; 81] = units_of();

const fn units() -> [[u8; 9]; 27] {
    let mut units = [[0; 9]; 27];
    let mut cell = 0;
    while cell < 81 {
        let (row, column) = (cell / 9, cell % 9);
        units[row][column] = cell as u8;
        units[9 + column][row] = cell as u8;
        units[18 + row / 3 * 3 + column / 3][row % 3 * 3 + column % 3] = cell as u8;
        cell += 1;
    }
    units
}

const fn units_of() -> [[u8; 3]; 81] {
    let mut of = [[0; 3]; 81];
    let mut cell = 0;
    while cell < 81 {
        let (row, column) = (cell / 9, cell % 9);
        of[cell] = [row as u8, 9 + column as u8, 18 + (row / 3 * 3 + column / 3) as u8];
        cell += 1;
    }
    of
}

/// Whether the cells of `unit` hold each of 1 to 9 exactly once; other values make it false.
pub(super) fn unit_holds_all(grid: &Grid, unit: &[u8; 9]) -> bool {
    // Nine cells can only cover nine digits when no digit occurs twice.
    unit.iter().fold(0, |seen, &cell| seen | digit_bit(grid[cell as usize])) == ALL
}

/// Bit of a digit, no bit for anything that is not 1 to 9.
fn digit_bit(value: u8) -> u16 {
    if (1..=9).contains(&value) { 1 << (value - 1) } else { 0 }
}

/// A quiz with its solution: the solution is valid and agrees with the givens, always.
///
/// That the quiz has no *other* solution is not part of the promise (checking it costs a search);
/// ask [`solve`](super::solve), or take puzzles from a [`Generator`](super::Generator), which
/// makes sure of it.
///
/// ```
/// use vision::datasets::sudoku::{Puzzle, SudokuSet};
///
/// let known = SudokuSet::embedded();
/// let (quiz, solution) = (*known[0].quiz(), *known[0].solution());
/// let puzzle = Puzzle::new(quiz, solution).unwrap();
/// assert_eq!(puzzle.givens(), 35);
///
/// let mut wrong = solution;
/// wrong.swap(0, 1);
/// let error = Puzzle::new(quiz, wrong).unwrap_err();
/// assert!(error.to_string().starts_with("the solution's column 1 "));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Puzzle {
    quiz: Grid,
    solution: Grid,
}

impl Puzzle {
    /// Pairs a quiz with its solution.
    ///
    /// # Errors
    ///
    /// [`PuzzleError`] when a cell of the quiz is above 9, a row, column or box of the solution
    /// does not hold each of 1 to 9 exactly once, or a given differs from the solution.
    pub fn new(quiz: Grid, solution: Grid) -> Result<Self, PuzzleError> {
        if let Some(cell) = quiz.iter().position(|&value| value > 9) {
            return Err(PuzzleError::NotADigit { cell, found: quiz[cell] });
        }
        if let Some(unit) = UNITS.iter().position(|unit| !unit_holds_all(&solution, unit)) {
            let found = UNITS[unit].map(|cell| solution[cell as usize]);
            return Err(PuzzleError::InvalidSolution { unit, found });
        }
        match (0..81).find(|&cell| quiz[cell] != 0 && quiz[cell] != solution[cell]) {
            Some(cell) => {
                Err(PuzzleError::Disagree { cell, expected: quiz[cell], found: solution[cell] })
            }
            None => Ok(Self { quiz, solution }),
        }
    }

    /// The board to fill, `0` for a blank.
    pub fn quiz(&self) -> &Grid {
        &self.quiz
    }

    /// The filled board, digits 1 to 9.
    pub fn solution(&self) -> &Grid {
        &self.solution
    }

    /// Number of cells that the quiz gives, 0 to 81.
    pub fn givens(&self) -> usize {
        self.quiz.iter().filter(|&&value| value != 0).count()
    }
}

/// As a row of the CSV: 81 digits, a comma, 81 digits.
impl fmt::Display for Puzzle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |grid: &Grid| grid.map(|value| (b'0' + value) as char);
        f.write_str(&String::from_iter(text(&self.quiz)))?;
        f.write_str(",")?;
        f.write_str(&String::from_iter(text(&self.solution)))
    }
}

impl fmt::Debug for Puzzle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Puzzle({self})")
    }
}

/// The rule that a quiz and a board break which were said to belong together.
///
/// Cells count from 0 in row-major order, units are rows 0 to 8, then columns, then boxes; the
/// messages count rows, columns and boxes from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PuzzleError {
    /// A cell of the quiz is neither blank nor a digit.
    #[error("the quiz has {found} at {}, expected 0 (blank) to 9", place(*cell))]
    NotADigit {
        /// The cell, 0 to 80.
        cell: usize,
        /// Its value.
        found: u8,
    },

    /// A unit of the solution does not hold every digit.
    #[error("the solution's {} holds {found:?}, expected each of 1 to 9 once", unit_name(*unit))]
    InvalidSolution {
        /// The first unit at fault, 0 to 26.
        unit: usize,
        /// Its nine values.
        found: [u8; 9],
    },

    /// The solution changes a given.
    #[error("the quiz gives {expected} at {}, but the solution has {found}", place(*cell))]
    Disagree {
        /// The cell, 0 to 80.
        cell: usize,
        /// The quiz's digit.
        expected: u8,
        /// The solution's digit.
        found: u8,
    },
}

fn place(cell: usize) -> String {
    format!("row {}, column {}", cell / 9 + 1, cell % 9 + 1)
}

fn unit_name(unit: usize) -> String {
    format!("{} {}", ["row", "column", "box"][unit / 9], unit % 9 + 1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A valid board without search: row r is 1..9 rotated by 3r + r/3.
    pub(in super::super) fn simple_solution() -> Grid {
        std::array::from_fn(|cell| ((cell / 9 * 3 + cell / 27 + cell % 9) % 9) as u8 + 1)
    }

    #[test]
    fn every_cell_is_in_its_row_column_and_box() {
        for (cell, units) in UNITS_OF.iter().enumerate() {
            let holding: Vec<usize> =
                (0..27).filter(|&u| UNITS[u].contains(&(cell as u8))).collect();
            assert_eq!(holding, units.map(usize::from));
        }
        assert_eq!(UNITS[18 + 5], [33, 34, 35, 42, 43, 44, 51, 52, 53]);
    }

    #[test]
    fn a_unit_needs_each_digit_once() {
        let mut grid = simple_solution();
        assert!(UNITS.iter().all(|unit| unit_holds_all(&grid, unit)));
        for wrong in [0, 10, 200, 255, grid[1]] {
            grid[0] = wrong;
            let failing: Vec<usize> =
                (0..27).filter(|&u| !unit_holds_all(&grid, &UNITS[u])).collect();
            assert_eq!(failing, [0, 9, 18], "first cell {wrong}");
        }
    }

    #[test]
    fn faults_are_named() {
        let solution = simple_solution();
        let check = |cell: usize, quiz: u8, answer: u8| {
            let (mut q, mut s) = ([0; 81], solution);
            (q[cell], s[cell]) = (quiz, answer);
            Puzzle::new(q, s).unwrap_err().to_string()
        };
        assert_eq!(
            check(80, 10, solution[80]),
            "the quiz has 10 at row 9, column 9, expected 0 (blank) to 9"
        );
        assert_eq!(
            check(3, 0, 1),
            "the solution's row 1 holds [1, 2, 3, 1, 5, 6, 7, 8, 9], expected each of 1 to 9 once"
        );
        assert_eq!(check(10, 9, 5), "the quiz gives 9 at row 2, column 2, but the solution has 5");
    }
}
