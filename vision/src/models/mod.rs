//! Architectures, one file each, with the state-dict names of their published definitions.

mod sudoku;

pub use sudoku::{SudokuNet, SudokuNetConfig};
