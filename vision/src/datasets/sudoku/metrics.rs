//! The five accuracies of the paper's Fig. 4b, and the share of boards solved.

use std::iter::Sum;
use std::ops::AddAssign;

use super::Grid;
use super::puzzle::{UNITS, unit_holds_all};

/// Scores of predicted boards, each from 0 to 1; of one board, or the mean over many.
///
/// Rows, columns and boxes are scored by the rules alone, as in the paper: neither the givens nor
/// the solution are looked at. `solved` is an addition to the paper's five.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoardMetrics {
    /// Share of the 81 cells that equal the solution.
    pub number: f64,
    /// Share of the 9 rows that hold each of 1 to 9 exactly once.
    pub row: f64,
    /// Share of the 9 columns that hold each of 1 to 9 exactly once.
    pub column: f64,
    /// Share of the 9 boxes that hold each of 1 to 9 exactly once.
    pub box_: f64,
    /// 1 if all 27 units hold each of 1 to 9 exactly once, else 0.
    pub sudoku: f64,
    /// 1 if all 81 cells equal the solution, else 0.
    pub solved: f64,
}

impl BoardMetrics {
    /// Scores one board, digits 1 to 9; any other value is a wrong cell and spoils its units.
    ///
    /// ```
    /// use vision::datasets::sudoku::{BoardMetrics, SudokuSet};
    ///
    /// let set = SudokuSet::embedded();
    /// let solution = set[0].solution();
    /// let mut predicted = *solution;
    /// predicted.swap(0, 3); // two cells of the first row, in different boxes
    ///
    /// let metrics = BoardMetrics::new(&predicted, solution);
    /// assert_eq!(metrics.number, 79.0 / 81.0);
    /// assert_eq!(metrics.row, 1.0);
    /// assert_eq!((metrics.column, metrics.box_), (7.0 / 9.0, 7.0 / 9.0));
    /// assert_eq!((metrics.sudoku, metrics.solved), (0.0, 0.0));
    /// ```
    pub fn new(predicted: &Grid, solution: &Grid) -> Self {
        let mut counts = BoardCounts::default();
        counts.record(predicted, solution);
        counts.mean().expect("one board was counted")
    }
}

/// Adds up scores over boards, for [`mean`](Self::mean).
///
/// Whole numbers: the mean does not depend on the order of the boards, nor on how they were
/// divided among threads whose counts are added up afterwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoardCounts {
    /// Boards seen.
    pub boards: u64,
    /// Cells that equal the solution.
    pub cells: u64,
    /// Correct rows.
    pub rows: u64,
    /// Correct columns.
    pub columns: u64,
    /// Correct boxes.
    pub boxes: u64,
    /// Boards with all 27 units correct.
    pub sudokus: u64,
    /// Boards that equal the solution.
    pub solved: u64,
}

impl BoardCounts {
    /// Counts one more board (see [`BoardMetrics::new`]).
    pub fn record(&mut self, predicted: &Grid, solution: &Grid) {
        let units = |kind: usize| {
            let units = &UNITS[9 * kind..9 * (kind + 1)];
            units.iter().filter(|unit| unit_holds_all(predicted, unit)).count() as u64
        };
        let (rows, columns, boxes) = (units(0), units(1), units(2));
        let cells = predicted.iter().zip(solution).filter(|(p, s)| p == s).count() as u64;
        *self += Self {
            boards: 1,
            cells,
            rows,
            columns,
            boxes,
            sudokus: (rows + columns + boxes == 27).into(),
            solved: (cells == 81).into(),
        };
    }

    /// The mean over all boards counted, `None` if there was none.
    pub fn mean(&self) -> Option<BoardMetrics> {
        let per = |count: u64, of: u64| count as f64 / (of * self.boards) as f64;
        (self.boards > 0).then(|| BoardMetrics {
            number: per(self.cells, 81),
            row: per(self.rows, 9),
            column: per(self.columns, 9),
            box_: per(self.boxes, 9),
            sudoku: per(self.sudokus, 1),
            solved: per(self.solved, 1),
        })
    }
}

impl AddAssign for BoardCounts {
    fn add_assign(&mut self, other: Self) {
        self.boards += other.boards;
        self.cells += other.cells;
        self.rows += other.rows;
        self.columns += other.columns;
        self.boxes += other.boxes;
        self.sudokus += other.sudokus;
        self.solved += other.solved;
    }
}

impl Sum for BoardCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        let mut sum = Self::default();
        counts.for_each(|counts| sum += counts);
        sum
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::puzzle::tests::simple_solution;
    use super::*;

    /// Number, row, column, box as counts, and sudoku and solved.
    fn score(change: impl Fn(&mut Grid)) -> (u64, u64, u64, u64, u64, u64) {
        let solution = simple_solution();
        let mut predicted = solution;
        change(&mut predicted);
        let mut counts = BoardCounts::default();
        counts.record(&predicted, &solution);
        let BoardCounts { boards, cells, rows, columns, boxes, sudokus, solved } = counts;
        assert_eq!(boards, 1);
        (cells, rows, columns, boxes, sudokus, solved)
    }

    #[test]
    fn the_solution_scores_one_everywhere() {
        let solution = simple_solution();
        let all = BoardMetrics {
            number: 1.0,
            row: 1.0,
            column: 1.0,
            box_: 1.0,
            sudoku: 1.0,
            solved: 1.0,
        };
        assert_eq!(BoardMetrics::new(&solution, &solution), all);
    }

    #[test]
    fn swaps_spoil_the_units_they_cross() {
        assert_eq!(score(|_| {}), (81, 9, 9, 9, 1, 1));
        assert_eq!(score(|b| b.swap(0, 1)), (79, 9, 7, 9, 0, 0), "same row, same box");
        assert_eq!(score(|b| b.swap(0, 8)), (79, 9, 7, 7, 0, 0), "same row, two boxes");
        assert_eq!(score(|b| b.swap(0, 9)), (79, 7, 9, 9, 0, 0), "same column, same box");
        assert_eq!(score(|b| b.swap(0, 72)), (79, 7, 9, 7, 0, 0), "same column, two boxes");
        assert_eq!(score(|b| b.swap(0, 10)), (79, 7, 7, 9, 0, 0), "same box only");
        assert_eq!(score(|b| b.swap(0, 40)), (79, 7, 7, 7, 0, 0), "nothing in common");
        assert_eq!(score(|b| b[0] = 0), (80, 8, 8, 8, 0, 0), "a blank");
    }

    #[test]
    fn rows_of_one_to_nine_are_no_sudoku() {
        let rows = |board: &mut Grid| *board = std::array::from_fn(|cell| (cell % 9) as u8 + 1);
        let (_, rows, columns, boxes, sudoku, solved) = score(rows);
        assert_eq!((rows, columns, boxes, sudoku, solved), (9, 0, 0, 0, 0));
    }

    #[test]
    fn another_valid_board_is_a_sudoku_but_not_the_solution() {
        // Renaming the digits keeps the rules and changes every cell.
        let renamed = score(|board| board.iter_mut().for_each(|v| *v = *v % 9 + 1));
        assert_eq!(renamed, (0, 9, 9, 9, 1, 0));
    }

    #[test]
    fn the_mean_weighs_every_board_the_same() {
        let solution = simple_solution();
        let mut other = solution;
        other.swap(0, 1);
        assert_eq!(BoardCounts::default().mean(), None);
        let mut counts = BoardCounts::default();
        counts.record(&solution, &solution);
        counts.record(&other, &solution);
        let mean = counts.mean().unwrap();
        assert_eq!((mean.number, mean.row, mean.column), (160.0 / 162.0, 1.0, 16.0 / 18.0));
        assert_eq!((mean.box_, mean.sudoku, mean.solved), (1.0, 0.5, 0.5));
    }

    proptest! {
        #[test]
        fn scores_keep_their_order(
            solution_shift in 0u8..9,
            edits in proptest::collection::vec((0usize..81, any::<u8>()), 0..6),
        ) {
            let solution = simple_solution().map(|v| (v + solution_shift) % 9 + 1);
            let mut predicted = solution;
            for &(cell, value) in &edits {
                predicted[cell] = value;
            }
            let m = BoardMetrics::new(&predicted, &solution);
            let all = [m.number, m.row, m.column, m.box_, m.sudoku, m.solved];
            prop_assert!(all.iter().all(|x| (0.0..=1.0).contains(x)));
            // A solved board is a valid one; a valid one has all units right, and conversely.
            prop_assert!(m.solved <= m.sudoku);
            prop_assert_eq!(m.sudoku == 1.0, m.row == 1.0 && m.column == 1.0 && m.box_ == 1.0);
            prop_assert_eq!(m.solved == 1.0, m.number == 1.0);
            // Each edit touches one cell, one row, one column and one box.
            let most = edits.len() as f64;
            prop_assert!(m.number >= 1.0 - most / 81.0 - 1e-12);
            for share in [m.row, m.column, m.box_] {
                prop_assert!(share >= 1.0 - most / 9.0 - 1e-12);
            }
            // With this few edits a wrong cell always spoils at least one unit.
            if predicted != solution && edits.len() < 4 {
                prop_assert_eq!(m.sudoku, 0.0);
            }
        }

        #[test]
        fn counts_add_in_any_order_and_grouping(
            boards in proptest::collection::vec((0usize..81, 0usize..81), 1..20),
            cut in 0usize..20,
        ) {
            let solution = simple_solution();
            let count = |boards: &[(usize, usize)]| {
                let mut counts = BoardCounts::default();
                for &(a, b) in boards {
                    let mut predicted = solution;
                    predicted.swap(a, b);
                    counts.record(&predicted, &solution);
                }
                counts
            };
            let whole = count(&boards);
            let (left, right) = boards.split_at(cut.min(boards.len()));
            prop_assert_eq!([count(right), count(left)].into_iter().sum::<BoardCounts>(), whole);
        }
    }
}
