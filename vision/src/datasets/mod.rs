//! Data sets: readers that check what they read, and generators for where no file is at hand.

pub mod sudoku;
