//! Sudoku puzzles: the data, the rules and the scores of the paper's Sudoku experiment (Fig. 4).
//!
//! A board is a [`Grid`], 81 cells in row-major order, `0` for a blank. The parts:
//!
//! - [`SudokuSet`] holds [`Puzzle`]s: read from the CSV of the "1 million Sudoku games" set
//!   ([`SudokuSet::read_csv`]), or the first 20,000 of them, which come with this crate
//!   ([`SudokuSet::embedded`]).
//! - [`Generator`] makes further puzzles with exactly one solution, without any file.
//! - [`solve`] and [`count_solutions`] are the solver behind it.
//! - [`BoardMetrics`] and [`BoardCounts`] score predicted boards.
//!
//! ```
//! use vision::datasets::sudoku::{BoardCounts, SudokuSet};
//!
//! let (train, test) = SudokuSet::embedded().take(100).split(0.8, 42);
//! assert_eq!((train.len(), test.len()), (80, 20));
//!
//! // A model that leaves the quiz as it is gets the givens right and nothing else.
//! let mut counts = BoardCounts::default();
//! for puzzle in test.iter() {
//!     counts.record(puzzle.quiz(), puzzle.solution());
//! }
//! let metrics = counts.mean().unwrap();
//! assert!(metrics.number > 0.35 && metrics.number < 0.46);
//! assert_eq!(metrics.solved, 0.0);
//! ```

mod generator;
mod metrics;
mod puzzle;
mod reader;
mod set;
mod solver;
mod writer;

pub use generator::Generator;
pub use metrics::{BoardCounts, BoardMetrics};
pub use puzzle::{Grid, Puzzle, PuzzleError};
pub use set::SudokuSet;
pub use solver::{Outcome, count_solutions, solve};
