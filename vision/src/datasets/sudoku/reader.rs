//! Reads the CSV of the "1 million Sudoku games" set, plain or gzip, as a stream.
//!
//! Nothing a file can hold makes this panic: every fault becomes an [`Error`] that names the line.

use std::io::{self, Cursor, Read};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder, Terminator};
use flate2::read::MultiGzDecoder;

use super::{Grid, Puzzle, PuzzleError, SudokuSet};
use crate::Error;

/// The header of the format.
pub(super) const HEADER: [&str; 2] = ["quizzes", "solutions"];

/// The first bytes of every gzip stream (RFC 1952).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads a whole set from `source`; `path` is only for the messages.
pub(super) fn read(path: &Path, mut source: impl Read) -> Result<SudokuSet, Error> {
    let mut start = Vec::with_capacity(2);
    source.by_ref().take(2).read_to_end(&mut start).map_err(|source| Error::Read {
        path: path.into(),
        line: 1,
        source,
    })?;
    let gzip = start == GZIP_MAGIC;
    let whole = Cursor::new(start).chain(source);
    if gzip {
        read_text(path, MultiGzDecoder::new(whole), gzip)
    } else {
        read_text(path, whole, gzip)
    }
}

fn read_text(path: &Path, text: impl Read, gzip: bool) -> Result<SudokuSet, Error> {
    let mut rows = Rows::new(path, text, gzip);
    let header_text = HEADER.join(",");
    let Some((line, header)) = rows.next()? else {
        return Err(Error::Empty {
            path: path.into(),
            expected: format!("the header {header_text:?} and one puzzle a line"),
            found: "an empty file".into(),
        });
    };
    if !is_header(header) {
        return Err(Error::Header {
            path: path.into(),
            line,
            expected: header_text,
            found: excerpt(header),
        });
    }

    let mut puzzles = Vec::new();
    while let Some((line, row)) = rows.next()? {
        puzzles.push(parse_row(row).map_err(|fault| fault.at(path, line))?);
    }
    if puzzles.is_empty() {
        return Err(Error::Empty {
            path: path.into(),
            expected: "one puzzle a line below the header".into(),
            found: "only the header".into(),
        });
    }
    puzzles.shrink_to_fit();
    Ok(SudokuSet::from(puzzles))
}

fn is_header(row: &ByteRecord) -> bool {
    let mut fields: Vec<&[u8]> = row.iter().map(<[u8]>::trim_ascii).collect();
    // The csv crate removes a byte order mark only if its first read brings more than that.
    fields[0] = fields[0].strip_prefix("\u{feff}".as_bytes()).unwrap_or(fields[0]);
    fields == HEADER.map(str::as_bytes)
}

/// The lines of a CSV file that are not blank, with their numbers.
struct Rows<'a, R> {
    path: &'a Path,
    gzip: bool,
    reader: csv::Reader<io::Chain<R, &'static [u8]>>,
    record: ByteRecord,
}

impl<'a, R: Read> Rows<'a, R> {
    fn new(path: &'a Path, text: R, gzip: bool) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            // No field is ever quoted; one stray quote would swallow the rest of the file.
            .quoting(false)
            // By default a record ends at `\r` and the `\n` counts to the next one, which puts
            // the line numbers of such files one too low.
            .terminator(Terminator::Any(b'\n'))
            // With a newline after the last row each record ends in one, so that the number of
            // its line is always the number of the line after it, less one.
            .from_reader(text.chain(&b"\n"[..]));
        Self { path, gzip, reader, record: ByteRecord::new() }
    }

    fn next(&mut self) -> Result<Option<(u64, &ByteRecord)>, Error> {
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(error) => return Err(self.broken(error)),
            }
            if self.record.len() != 1 || !self.record[0].trim_ascii().is_empty() {
                return Ok(Some((self.reader.position().line() - 1, &self.record)));
            }
        }
    }

    fn broken(&self, error: csv::Error) -> Error {
        let (path, line) = (self.path.into(), self.reader.position().line());
        let source = match error.into_kind() {
            csv::ErrorKind::Io(source) => source,
            // Bytes need not be UTF-8 and rows may differ in length, so nothing else is left.
            other => io::Error::other(format!("{other:?}")),
        };
        if self.gzip {
            Error::CorruptGzip { path, line, source }
        } else {
            Error::Read { path, line, source }
        }
    }
}

/// What is wrong with a row, before it is known where the row stands.
enum Fault {
    Form { expected: String, found: String },
    Rule(PuzzleError),
}

impl Fault {
    fn at(self, path: &Path, line: u64) -> Error {
        match self {
            Self::Form { expected, found } => {
                Error::Row { path: path.into(), line, expected, found }
            }
            Self::Rule(source) => Error::Puzzle { path: path.into(), line, source },
        }
    }
}

fn parse_row(row: &ByteRecord) -> Result<Puzzle, Fault> {
    if row.len() != HEADER.len() {
        return Err(Fault::Form {
            expected: "2 fields, quiz and solution".into(),
            found: format!("{} ({:?})", plural(row.len(), "field"), excerpt(row)),
        });
    }
    let quiz = parse_grid(&row[0], quiz_value, "a quiz of 81 digits or '.'")?;
    let solution = parse_grid(&row[1], solution_value, "a solution of 81 digits from 1 to 9")?;
    Puzzle::new(quiz, solution).map_err(Fault::Rule)
}

/// The value of a quiz's character, above 9 for one that does not belong there.
fn quiz_value(byte: u8) -> u8 {
    if byte == b'.' { 0 } else { byte.wrapping_sub(b'0') }
}

/// The value of a solution's character, above 9 for one that does not belong there.
fn solution_value(byte: u8) -> u8 {
    if byte == b'0' { u8::MAX } else { byte.wrapping_sub(b'0') }
}

fn parse_grid(field: &[u8], value: impl Fn(u8) -> u8, expected: &str) -> Result<Grid, Fault> {
    let field = field.trim_ascii();
    let found = match field.iter().position(|&byte| value(byte) > 9) {
        Some(at) => format!("{:?} as character {}", text(&field[at..=at]), at + 1),
        None => match Grid::try_from(field) {
            Ok(cells) => return Ok(cells.map(value)),
            Err(_) => format!("{} characters", field.len()),
        },
    };
    Err(Fault::Form { expected: expected.into(), found })
}

/// The beginning of a row for a message; a row of a wrong file may be megabytes long.
fn excerpt(row: &ByteRecord) -> String {
    const MOST: usize = 60;
    let mut shown = String::new();
    for (index, field) in row.iter().enumerate() {
        if index > 0 {
            shown.push(',');
        }
        let field = field.trim_ascii();
        shown.push_str(&text(&field[..field.len().min(MOST)]));
        if shown.len() > MOST || field.len() > MOST {
            return shown.chars().take(MOST).chain("...".chars()).collect();
        }
    }
    shown
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn plural(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::super::puzzle::tests::simple_solution;
    use super::*;

    const QUIZ: &str =
        "004300209005009001070060043006002087190007400050083000600000105003508690042910300";
    const SOLUTION: &str =
        "864371259325849761971265843436192587198657432257483916689734125713528694542916378";

    fn read_bytes(bytes: &[u8]) -> Result<SudokuSet, Error> {
        read(Path::new("some.csv"), bytes)
    }

    fn message(text: impl AsRef<[u8]>) -> String {
        read_bytes(text.as_ref()).unwrap_err().to_string()
    }

    /// The message for a file whose third line is `row`.
    fn row_message(row: &str) -> String {
        message(format!("quizzes,solutions\n{QUIZ},{SOLUTION}\n{row}\n"))
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn two_rows() -> String {
        let simple = Puzzle::new([0; 81], simple_solution()).unwrap();
        format!("quizzes,solutions\n{QUIZ},{SOLUTION}\n{simple}\n")
    }

    #[test]
    fn every_spelling_of_a_file_reads_the_same() {
        let text = two_rows();
        let expected = read_bytes(text.as_bytes()).unwrap();
        assert_eq!(expected.len(), 2);
        assert_eq!(expected[0].to_string(), format!("{QUIZ},{SOLUTION}"));
        assert_eq!(expected[1].givens(), 0);
        for (what, other) in [
            ("no newline at the end", text.trim_end().to_owned()),
            ("Windows line ends", text.replace('\n', "\r\n")),
            ("blank lines", format!("\n{}\r\n\n", text.replace('\n', "\n\n"))),
            ("dots", text.replace(QUIZ, &QUIZ.replace('0', "."))),
            ("byte order mark", format!("\u{feff}{text}")),
            ("spaces", text.replace(',', " , ")),
        ] {
            assert_eq!(read_bytes(other.as_bytes()).unwrap(), expected, "{what}");
            assert_eq!(read_bytes(&gzip(other.as_bytes())).unwrap(), expected, "{what}, gzip");
        }
        let (first, second) = text.split_at(300);
        let members = [gzip(first.as_bytes()), gzip(second.as_bytes())].concat();
        assert_eq!(read_bytes(&members).unwrap(), expected, "a gzip file of two members");
    }

    #[test]
    fn empty_files_are_told_from_header_only() {
        let nothing = "some.csv: expected the header \"quizzes,solutions\" and one puzzle a line, \
                       found an empty file";
        for empty in ["", "\n", "\r\n\n"] {
            assert_eq!(message(empty), nothing);
            assert_eq!(message(gzip(empty.as_bytes())), nothing);
        }
        assert_eq!(
            message("quizzes,solutions\n"),
            "some.csv: expected one puzzle a line below the header, found only the header"
        );
    }

    #[test]
    fn another_header_is_refused() {
        let expected = "expected the header \"quizzes,solutions\", found";
        for (text, found) in [
            ("puzzle,solution\n", "\"puzzle,solution\""),
            ("quizzes\n", "\"quizzes\""),
            ("quizzes,solutions,level\n", "\"quizzes,solutions,level\""),
            ("PK\u{3}\u{4}\0\n", "\"PK\\u{3}\\u{4}\\0\""),
        ] {
            assert_eq!(message(text), format!("some.csv, line 1: {expected} {found}"));
        }
        let no_header = format!("{QUIZ},{SOLUTION}\n");
        let shown = format!("some.csv, line 1: {expected} \"{}...\"", &QUIZ[..60]);
        assert_eq!(message(no_header), shown);
    }

    #[test]
    fn rows_of_another_form_are_refused() {
        let fields = "some.csv, line 3: expected 2 fields, quiz and solution, found";
        assert_eq!(row_message("12"), format!("{fields} 1 field (\"12\")"));
        assert_eq!(row_message("1,2,3"), format!("{fields} 3 fields (\"1,2,3\")"));
        let quiz = "some.csv, line 3: expected a quiz of 81 digits or '.', found";
        assert_eq!(
            row_message(&format!("{},{SOLUTION}", &QUIZ[1..])),
            format!("{quiz} 80 characters")
        );
        assert_eq!(row_message(&format!("{QUIZ}0,{SOLUTION}")), format!("{quiz} 82 characters"));
        let x = QUIZ.replacen('3', "x", 1);
        assert_eq!(row_message(&format!("{x},{SOLUTION}")), format!("{quiz} \"x\" as character 4"));
        let solution = "some.csv, line 3: expected a solution of 81 digits from 1 to 9, found";
        for (wrong, found) in [
            (SOLUTION.replacen('7', "0", 1), "\"0\" as character 5"),
            (SOLUTION.replacen('7', "é", 1), "\"\u{fffd}\" as character 5"),
            (format!("\"{SOLUTION}\""), "\"\\\"\" as character 1"),
            (String::new(), "0 characters"),
        ] {
            assert_eq!(row_message(&format!("{QUIZ},{wrong}")), format!("{solution} {found}"));
        }
    }

    #[test]
    fn a_cut_off_last_row_is_refused() {
        let text = two_rows();
        let last_row = text.rfind("\n0").unwrap() + 1;
        for cut in last_row + 1..text.len() - 1 {
            let message = message(&text[..cut]);
            assert!(message.starts_with("some.csv, line 3: expected "), "{message}");
        }
    }

    #[test]
    fn solutions_that_break_the_rules_are_refused() {
        let swapped: String = SOLUTION[..2].chars().rev().chain(SOLUTION[2..].chars()).collect();
        assert_eq!(
            row_message(&format!("{QUIZ},{swapped}")),
            "some.csv, line 3: the solution's column 1 holds [6, 3, 9, 4, 1, 2, 6, 7, 5], \
             expected each of 1 to 9 once"
        );
        let other = format!("1{}", &QUIZ[1..]);
        assert_eq!(
            row_message(&format!("{other},{SOLUTION}")),
            "some.csv, line 3: the quiz gives 1 at row 1, column 1, but the solution has 8"
        );
    }

    #[test]
    fn line_numbers_hold_with_any_line_ends() {
        for text in [
            format!("quizzes,solutions\r\n{QUIZ},{SOLUTION}\r\n\r\n\nbad\r\n{QUIZ},{SOLUTION}\r\n"),
            format!("quizzes,solutions\n{QUIZ},{SOLUTION}\n\n\nbad"),
        ] {
            let message = message(&text);
            assert!(message.starts_with("some.csv, line 5: "), "{message}");
        }
    }

    #[test]
    fn gzip_streams_cut_anywhere_are_refused() {
        let stream = gzip(two_rows().as_bytes());
        for cut in 2..stream.len() {
            let error = read_bytes(&stream[..cut]).unwrap_err();
            assert!(matches!(error, Error::CorruptGzip { .. }), "cut at {cut}: {error}");
        }
        let text = message(&stream[..stream.len() - 8]);
        assert!(
            text.starts_with("some.csv: the gzip stream is damaged or cut off at line"),
            "{text}"
        );
        assert!(text.ends_with("incomplete download: fetch it again"), "{text}");
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let mut stream = gzip(two_rows().as_bytes());
        let checksum = stream.len() - 8;
        stream[checksum] ^= 1;
        let error = read_bytes(&stream).unwrap_err();
        assert!(matches!(error, Error::CorruptGzip { line: 4, .. }), "{error:?}");
    }

    #[test]
    fn a_failing_disk_is_reported_with_the_line() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let error = read(Path::new("a.csv"), two_rows().as_bytes().chain(Failing)).unwrap_err();
        assert_eq!(error.to_string(), "cannot read a.csv at line 4: bad sector");
        let error = read(Path::new("a.csv"), Failing).unwrap_err();
        assert_eq!(error.to_string(), "cannot read a.csv at line 1: bad sector");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            for text in [bytes.clone(), [b"quizzes,solutions\n", &bytes[..]].concat()] {
                let _ = read_bytes(&text).map(|set| assert!(!set.is_empty()));
                let _ = read_bytes(&gzip(&text)).map(|set| assert!(!set.is_empty()));
                let _ = read_bytes(&[&GZIP_MAGIC[..], &text].concat());
            }
        }

        /// One changed byte of a good file: an error, or puzzles that keep the rules.
        #[test]
        fn damaged_files_never_panic(at: prop::sample::Index, byte: u8, compressed: bool) {
            let text = two_rows().into_bytes();
            let mut bytes = if compressed { gzip(&text) } else { text };
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for puzzle in read_bytes(&bytes).iter().flatten() {
                prop_assert_eq!(Puzzle::new(*puzzle.quiz(), *puzzle.solution()), Ok(*puzzle));
            }
        }
    }
}
