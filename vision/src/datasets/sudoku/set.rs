//! A set of puzzles in memory: choose, divide, iterate.

use std::ops::Index;
use std::path::Path;

use tensor::Stream;

use super::{Puzzle, reader, writer};
use crate::Error;

/// The first 20,000 puzzles of the "1 million Sudoku games" set; `data/sudoku/README.md` says
/// where they are from.
static EMBEDDED: &[u8] = include_bytes!("../../../data/sudoku/sudoku_20k.csv.gz");

/// Puzzles in memory, 162 bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SudokuSet {
    puzzles: Vec<Puzzle>,
}

impl SudokuSet {
    /// The 20,000 real puzzles that come with this crate, in the order of their source.
    ///
    /// They are the start of K. Park's "1 million Sudoku games" set: 29 to 37 givens, 33.8 on
    /// average, each with exactly one solution, none twice. Decompressed and checked on every
    /// call (tens of milliseconds in a release build), by the same reader as
    /// [`read_csv`](Self::read_csv).
    pub fn embedded() -> Self {
        reader::read(Path::new("sudoku_20k.csv.gz (part of the program)"), EMBEDDED)
            .expect("the embedded file is read by this crate's tests")
    }

    /// Reads a CSV file in the format of the "1 million Sudoku games" set
    /// (kaggle.com, bryanpark/sudoku): the header `quizzes,solutions`, then one puzzle a line,
    /// 81 digits each, `0` or `.` for a blank.
    ///
    /// Plain or gzip, told apart by the first two bytes, not by the name. Lines may end in
    /// `\n` or `\r\n`; blank lines are skipped. The file is streamed: memory is that of the set.
    /// A million rows take about a second, gzipped two (release build, one core of an AMD EPYC).
    ///
    /// A plain file that was cut off exactly between two lines cannot be told from a shorter
    /// one: compare [`len`](Self::len) with what you expect.
    ///
    /// # Errors
    ///
    /// [`Error`] with path, line, what was expected and what was found, when the file is missing,
    /// unreadable, empty, has another header, a row of another form, a gzip stream that is damaged
    /// or cut off, or a solution that is invalid or disagrees with its quiz.
    pub fn read_csv(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        match std::fs::File::open(path) {
            Ok(file) => reader::read(path, file),
            Err(source) => Err(Error::Open { path: path.into(), source }),
        }
    }

    /// Writes the set as a CSV file that [`read_csv`](Self::read_csv) reads back, gzipped if the
    /// name ends in `.gz`.
    ///
    /// Atomic ([`write_atomic`](tensor::io::write_atomic)): `path` holds the whole set or what it
    /// held before. The same set gives the same bytes. An empty set gives a file that has only a
    /// header.
    ///
    /// ```
    /// use vision::datasets::sudoku::{Generator, SudokuSet};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("easy.csv.gz");
    /// let set = Generator::new(7, 45..=55)?.generate(20);
    /// set.write_csv(&path)?;
    /// assert_eq!(SudokuSet::read_csv(&path)?, set);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Write`] when the folder is missing or full, or may not be written to.
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        Ok(writer::write(path.as_ref(), self)?)
    }

    /// Number of puzzles.
    pub fn len(&self) -> usize {
        self.puzzles.len()
    }

    /// Whether there is no puzzle.
    pub fn is_empty(&self) -> bool {
        self.puzzles.is_empty()
    }

    /// Puzzle `index`, or `None` past the end.
    pub fn get(&self, index: usize) -> Option<&Puzzle> {
        self.puzzles.get(index)
    }

    /// All puzzles in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Puzzle> {
        self.puzzles.iter()
    }

    /// Only the first `n` puzzles, all if there are fewer.
    pub fn take(mut self, n: usize) -> Self {
        self.puzzles.truncate(n);
        self.puzzles.shrink_to_fit();
        self
    }

    /// Divides the set at random into `(train, test)`, the first with `train_fraction` of the
    /// puzzles (rounded to the nearest whole number).
    ///
    /// The paper splits 80/20 with seed 42: `split(0.8, 42)`. The seed gives the same division on
    /// every machine, though not scikit-learn's, whose `shuffle` the authors used.
    ///
    /// # Panics
    ///
    /// When `train_fraction` is not within 0 to 1.
    #[track_caller]
    pub fn split(mut self, train_fraction: f64, seed: u64) -> (Self, Self) {
        assert!(
            (0.0..=1.0).contains(&train_fraction),
            "split: train_fraction is {train_fraction}, expected 0 to 1"
        );
        Stream::new(seed).derive("split").shuffle(&mut self.puzzles);
        let train = (self.len() as f64 * train_fraction).round() as usize;
        let test = self.puzzles.split_off(train);
        (self, Self { puzzles: test })
    }
}

impl Index<usize> for SudokuSet {
    type Output = Puzzle;

    /// Puzzle `index`.
    ///
    /// # Panics
    ///
    /// When `index` is past the end; [`get`](SudokuSet::get) does not.
    #[track_caller]
    fn index(&self, index: usize) -> &Puzzle {
        &self.puzzles[index]
    }
}

impl FromIterator<Puzzle> for SudokuSet {
    fn from_iter<I: IntoIterator<Item = Puzzle>>(puzzles: I) -> Self {
        Self::from(Vec::from_iter(puzzles))
    }
}

impl From<Vec<Puzzle>> for SudokuSet {
    fn from(puzzles: Vec<Puzzle>) -> Self {
        Self { puzzles }
    }
}

impl<'a> IntoIterator for &'a SudokuSet {
    type Item = &'a Puzzle;
    type IntoIter = std::slice::Iter<'a, Puzzle>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;

    use proptest::prelude::*;

    use super::super::Generator;
    use super::*;

    fn generated(n: usize) -> SudokuSet {
        Generator::new(3, 50..=81).unwrap().generate(n)
    }

    #[test]
    fn the_embedded_set_is_what_its_readme_says() {
        let set = SudokuSet::embedded();
        assert_eq!(set.len(), 20_000);
        assert_eq!(
            set[0].to_string(),
            "004300209005009001070060043006002087190007400050083000600000105003508690042910300,\
             864371259325849761971265843436192587198657432257483916689734125713528694542916378"
        );
        let givens: Vec<usize> = set.iter().map(Puzzle::givens).collect();
        assert_eq!(givens.iter().min(), Some(&29));
        assert_eq!(givens.iter().max(), Some(&37));
        assert_eq!(givens.iter().sum::<usize>(), 676_216);
        let different: HashSet<_> = set.iter().map(Puzzle::quiz).collect();
        assert_eq!(different.len(), set.len());
    }

    #[test]
    fn a_puzzle_takes_162_bytes() {
        assert_eq!(size_of::<Puzzle>(), 162);
    }

    #[test]
    fn the_default_split_is_80_to_20_and_stays_the_same() {
        let whole = SudokuSet::embedded();
        let (train, test) = whole.clone().split(0.8, 42);
        assert_eq!((train.len(), test.len()), (16_000, 4_000));
        // Splits are named by their seed: a change here makes results of older runs incomparable.
        let place = |puzzle| whole.iter().position(|other| other == puzzle).unwrap();
        assert_eq!([place(&train[0]), place(&test[0]), place(&test[3999])], [11881, 8516, 9909]);
        // Rows of one part come from all over the file.
        let late = test.iter().filter(|puzzle| place(puzzle) >= 10_000).count();
        assert!((1800..2200).contains(&late), "{late} of 4000 from the second half");
    }

    #[test]
    #[should_panic(expected = "split: train_fraction is 1.5, expected 0 to 1")]
    fn a_fraction_above_one_is_refused() {
        generated(2).split(1.5, 0);
    }

    #[test]
    fn take_get_and_index_agree() {
        let set = generated(5);
        assert_eq!(set.get(4), Some(&set[4]));
        assert_eq!(set.get(5), None);
        assert_eq!(set.clone().take(9), set);
        assert_eq!(set.clone().take(2).iter().collect::<Vec<_>>(), [&set[0], &set[1]]);
        assert!(set.take(0).is_empty());
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.csv");
        let error = SudokuSet::read_csv(&path).unwrap_err();
        assert!(matches!(&error, Error::Open { path: p, .. } if *p == path));
        let message = error.to_string();
        assert!(message.starts_with(&format!("cannot open {}: ", path.display())), "{message}");
        // A folder can be opened on some systems, but not read.
        assert!(SudokuSet::read_csv(folder.path()).is_err());
    }

    #[test]
    fn files_are_written_whole_and_read_back_by_content() {
        let folder = tempfile::tempdir().unwrap();
        let set = generated(30);
        for (name, gzip) in [("a.csv", false), ("a.csv.gz", true), ("A.GZ", true), ("gz", false)] {
            let path = folder.path().join(name);
            fs::write(&path, "older").unwrap();
            set.write_csv(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.starts_with(&[0x1f, 0x8b]), gzip, "{name}");
            assert_eq!(SudokuSet::read_csv(&path).unwrap(), set, "{name}");
            set.write_csv(&path).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes, "{name}: the same bytes again");
            // The name says nothing to the reader.
            let renamed = folder.path().join("renamed.csv.gz.csv");
            fs::rename(&path, &renamed).unwrap();
            assert_eq!(SudokuSet::read_csv(&renamed).unwrap(), set, "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "temporary files are left");
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none").join("a.csv");
        let error = generated(1).write_csv(&path).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(&format!("cannot write {}: ", path.display())), "{message}");
        // The target is a folder: the rename fails when all is written.
        fs::create_dir(folder.path().join("b.csv")).unwrap();
        fs::write(folder.path().join("b.csv/file"), "").unwrap();
        generated(1).write_csv(folder.path().join("b.csv")).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_written_file_has_the_usual_permissions() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (usual, ours) = (folder.path().join("usual"), folder.path().join("ours"));
        fs::write(&usual, "").unwrap();
        generated(1).write_csv(&ours).unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&usual));
    }

    proptest! {
        #[test]
        fn a_split_keeps_every_puzzle_once(n in 0usize..40, fraction in 0.0..=1.0, seed: u64) {
            let whole = generated(n);
            let (train, test) = whole.clone().split(fraction, seed);
            prop_assert_eq!(train.len(), (n as f64 * fraction).round() as usize);
            prop_assert_eq!(whole.clone().split(fraction, seed), (train.clone(), test.clone()));
            let sorted = |set: Vec<Puzzle>| {
                let mut texts: Vec<String> = set.iter().map(Puzzle::to_string).collect();
                texts.sort();
                texts
            };
            let parts = train.iter().chain(&test).copied().collect();
            prop_assert_eq!(sorted(parts), sorted(whole.iter().copied().collect()));
        }
    }
}
