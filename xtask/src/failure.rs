//! How the program ends when something is wrong: one sentence and an exit code.

use std::fmt;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// The command line asks for something that does not exist or cannot be: exit code 2.
    Usage(String),
    /// Something went wrong on the way: exit code 1.
    Run(anyhow::Error),
    /// Stopped by Ctrl-C or SIGTERM after saving where it was: exit code 130, which job systems read as "run me again".
    Interrupted(String),
}

/// More threads than any machine has cores: a typing error.
const MOST_THREADS: usize = 1024;

/// The value of `--threads`.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_threads(text: &str) -> Result<usize, String> {
    let n = text.parse().ok().filter(|n| (1..=MOST_THREADS).contains(n));
    n.ok_or_else(|| format!("--threads {text}: expected a whole number from 1 to {MOST_THREADS}"))
}

/// The result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The process's exit code.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Run(_) => 1,
            Failure::Interrupted(_) => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) => write!(f, "error: {message}"),
            // The whole chain on one line: `reading x: no such file`.
            Failure::Run(error) => write!(f, "error: {error:#}"),
            Failure::Interrupted(message) => write!(f, "interrupted: {message}"),
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Run(error.into())
    }
}

/// Prints a line to standard output like `println!`, but does not panic when nobody reads on (`list | head`).
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arg)*);
    }};
}
pub(crate) use say;

/// The known word nearest to a mistyped one, if any is near.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::levenshtein(word, k), k))
        .filter(|(d, k)| *d <= (k.len() / 3).max(1))
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(nearest("sudko", ["sudoku", "shapes"]), Some("sudoku"));
        assert_eq!(nearest("epoch", ["epochs", "channels"]), Some("epochs"));
        assert_eq!(nearest("imagenet", ["sudoku", "shapes"]), None);
    }
}
