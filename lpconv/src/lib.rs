//! lpconv
