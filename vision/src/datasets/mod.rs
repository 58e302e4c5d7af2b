//! Data sets: readers that check what they read, and generators for where no file is at hand.

pub mod dtd10;
pub mod sudoku;
pub mod transfer;
