//! Positions of presynaptic neurons.

use std::{collections::HashMap, path::Path};

use lpconv::Samples;
use tensor::{Tensor, io::read_npy};

use crate::error::Error;

/// Where the inputs of some neurons come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Positions {
    /// Axes of the offsets: 2 or 3.
    pub axes: usize,
    /// The neurons, in the order in which they first occur.
    pub neurons: Vec<Neuron>,
}

/// The inputs of one neuron.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Neuron {
    /// Its name; empty if the file gives none.
    pub name: String,
    /// The kind of each input (`EX`, `IN`); empty if the file gives none.
    pub kinds: Vec<String>,
    /// The offset of each input from the neuron; the third is 0 where there are two axes.
    pub offsets: Vec<[f64; 3]>,
}

impl Neuron {
    /// The first `D` axes of the inputs' offsets, of one kind or of all.
    ///
    /// # Errors
    /// If there are none.
    pub fn samples<const D: usize>(&self, kind: Option<&str>) -> Result<Samples<D>, Error> {
        let of_kind = |k: &String| kind.is_none_or(|kind| kind == k);
        let chosen = self.kinds.iter().zip(&self.offsets).filter(|(k, _)| of_kind(k));
        let points = chosen.map(|(_, x)| std::array::from_fn(|i| x[i])).collect();
        let what = format!("neuron {}", self.name);
        Samples::new(points).map_err(|source| Error::Fit { what, source })
    }
}

/// The 17 neurons of layer 2/3 of mouse V1 whose presynaptic neurons Rossi, Harris and Carandini traced (Nature 588:648,
/// 2020): the paper's own data. Offsets in µm: medio-lateral, antero-posterior, depth below the neuron; kinds `EX` and `IN`.
///
/// # Panics
/// Never: a test reads the embedded tables.
pub fn rossi2020() -> Positions {
    const INPUTS: &str = include_str!("../../data/rossi2020/presynaptic.csv");
    const NEURONS: &str = include_str!("../../data/rossi2020/postsynaptic.csv");
    let path = Path::new("rossi2020 (part of the program)");
    let whole = "the embedded tables are whole";
    let inputs = Table::parse(path, INPUTS.as_bytes(), b',').expect(whole);
    let neurons = Table::parse(path, NEURONS.as_bytes(), b',').expect(whole);
    let column = |table: &Table, name: &str| table.position(&[name], false).expect(whole);
    let number = |text: &str| text.parse::<f64>().expect(whole);
    let (name, depth) = (column(&neurons, "dataset"), column(&neurons, "depth_um"));
    let depths: HashMap<&str, f64> =
        neurons.rows.iter().map(|(_, r)| (r[name].as_str(), number(&r[depth]))).collect();
    let of_inputs = ["dataset", "type", "dx_um_ML", "dy_um_AP", "depth_um"];
    let [name, kind, dx, dy, depth] = of_inputs.map(|c| column(&inputs, c));
    let mut positions = Positions { axes: 3, neurons: Vec::new() };
    for (_, row) in &inputs.rows {
        let below = number(&row[depth]) - depths[row[name].as_str()];
        positions.push(&row[name], &row[kind], [number(&row[dx]), number(&row[dy]), below]);
    }
    positions
}

/// Reads positions from a CSV, TSV or npy file; see the [module](super).
///
/// # Errors
/// If the file cannot be read or understood, with the line.
pub fn read_positions(path: impl AsRef<Path>) -> Result<Positions, Error> {
    let path = path.as_ref();
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    if ending == "npy" {
        return of_array(path, &read_npy(path)?);
    }
    let bytes = std::fs::read(path).map_err(|e| wrong(path, None, e.to_string()))?;
    let separator = if ending == "tsv" { b'\t' } else { b',' };
    of_table(path, &Table::parse(path, &bytes, separator)?)
}

fn of_array(path: &Path, array: &Tensor) -> Result<Positions, Error> {
    let &[_, axes @ (2 | 3)] = array.dims() else {
        let (what, expected) = (path.display().to_string(), "[n, 2] or [n, 3]");
        return Err(Error::Shape { what, expected, found: array.dims().to_vec() });
    };
    let mut positions = Positions { axes, neurons: Vec::new() };
    for (i, row) in array.to_f64_vec().chunks(axes).enumerate() {
        if let Some(axis) = row.iter().position(|v| !v.is_finite()) {
            let (what, index) = (path.display().to_string(), vec![i, axis]);
            return Err(Error::NonFinite { what, index, value: row[axis] });
        }
        positions.push("", "", [row[0], row[1], row.get(2).copied().unwrap_or(0.0)]);
    }
    positions.checked(path)
}

fn of_table(path: &Path, table: &Table) -> Result<Positions, Error> {
    let axis = |prefix: &str| table.position(&[prefix], true);
    let (Some(dx), Some(dy)) = (axis("dx"), axis("dy")) else {
        let found = table.header.join(", ");
        let reason = format!(
            "no columns dx and dy (their names may go on, as dx_um) among: {found}; these are the offsets of the inputs"
        );
        return Err(wrong(path, Some(1), reason));
    };
    let dz = axis("dz");
    let name = table.position(&["neuron", "dataset", "id"], false);
    let kind = table.position(&["type"], false);
    let axes: Vec<usize> = [dx, dy].into_iter().chain(dz).collect();
    let mut positions = Positions { axes: axes.len(), neurons: Vec::new() };
    for (line, row) in &table.rows {
        let mut offset = [0.0; 3];
        for (value, &column) in offset.iter_mut().zip(&axes) {
            let text = row[column].trim();
            *value = text.parse().ok().filter(|v: &f64| v.is_finite()).ok_or_else(|| {
                let reason =
                    format!("{} is {text:?}, expected a finite number", table.header[column]);
                wrong(path, Some(*line), reason)
            })?;
        }
        let text = |column: Option<usize>| column.map_or("", |c| row[c].trim());
        positions.push(text(name), text(kind), offset);
    }
    positions.checked(path)
}

impl Positions {
    /// The number of inputs of all neurons.
    pub fn inputs(&self) -> usize {
        self.neurons.iter().map(|n| n.offsets.len()).sum()
    }

    fn push(&mut self, name: &str, kind: &str, offset: [f64; 3]) {
        // Tables list neuron after neuron, as a rule: look at the last one first.
        let place = self.neurons.iter().rposition(|n| n.name == name).unwrap_or_else(|| {
            self.neurons.push(Neuron { name: name.to_owned(), ..Neuron::default() });
            self.neurons.len() - 1
        });
        self.neurons[place].kinds.push(kind.to_owned());
        self.neurons[place].offsets.push(offset);
    }

    fn checked(self, path: &Path) -> Result<Self, Error> {
        match self.neurons.is_empty() {
            true => Err(wrong(path, None, "it holds no position".into())),
            false => Ok(self),
        }
    }
}

fn wrong(path: &Path, line: Option<u64>, reason: String) -> Error {
    Error::File { path: path.to_owned(), line, reason }
}

/// A text table with a header.
struct Table {
    header: Vec<String>,
    /// Each with its line.
    rows: Vec<(u64, Vec<String>)>,
}

impl Table {
    fn parse(path: &Path, bytes: &[u8], separator: u8) -> Result<Table, Error> {
        let mut reader = csv::ReaderBuilder::new().delimiter(separator).from_reader(bytes);
        let line = |e: &csv::Error| e.position().map(csv::Position::line);
        let failed = |e: csv::Error| wrong(path, line(&e), e.to_string());
        let header =
            reader.headers().map_err(failed)?.iter().map(|c| c.trim().to_owned()).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(failed)?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record.iter().map(str::to_owned).collect()));
        }
        Ok(Table { header, rows })
    }

    /// The first column of one of these names, or that begins with one.
    fn position(&self, names: &[&str], begins: bool) -> Option<usize> {
        let fits = |column: &String, name: &str| match begins {
            true => column.to_lowercase().starts_with(name),
            false => column == name,
        };
        names.iter().find_map(|name| self.header.iter().position(|c| fits(c, name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Positions, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        read_positions(&path)
    }

    #[test]
    fn the_embedded_recording_is_the_papers() {
        let positions = rossi2020();
        assert_eq!((positions.axes, positions.neurons.len(), positions.inputs()), (3, 17, 1500));
        let of_kind = |kind: &str| {
            positions.neurons.iter().flat_map(|n| &n.kinds).filter(|k| *k == kind).count()
        };
        assert_eq!((of_kind("EX"), of_kind("IN")), (957, 543));
        // Its first row: depth 177.9195 of a neuron at 130.
        let first = positions.neurons[0].offsets[0];
        assert_eq!(first[..2], [-189.9889, -112.1361]);
        assert!((first[2] - 47.9195).abs() < 1e-9);
        let samples: Samples<3> = positions.neurons[0].samples(Some("IN")).unwrap();
        assert_eq!(samples.points().len(), 9);
    }

    #[test]
    fn tables_may_have_few_columns_or_many() {
        let plain = read("p.csv", "dx,dy\n1,2\n3,4.5\n").unwrap();
        assert_eq!((plain.axes, plain.neurons.len()), (2, 1));
        assert_eq!(plain.neurons[0].offsets[1], [3.0, 4.5, 0.0]);
        let text =
            "type\tdZ_um\tneuron\tdy_um\tdx_um\nE\t7\tb\t2\t1\nI\t8\ta\t4\t3\nE\t9\tb\t6\t5\n";
        let full = read("p.tsv", text).unwrap();
        assert_eq!(full.axes, 3);
        assert_eq!(full.neurons[0].name, "b");
        assert_eq!(full.neurons[0].offsets, [[1.0, 2.0, 7.0], [5.0, 6.0, 9.0]]);
        assert_eq!(full.neurons[1].kinds, ["I"]);
        assert!(full.neurons[1].samples::<2>(Some("E")).is_err());
    }

    #[test]
    fn arrays_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.npy");
        tensor::io::write_npy(&path, &Tensor::new(&[1.0, 2.0, 3.0, 4.0], [2, 2])).unwrap();
        assert_eq!(read_positions(&path).unwrap().neurons[0].offsets[1], [3.0, 4.0, 0.0]);
        tensor::io::write_npy(&path, &Tensor::new(&[1.0, f64::NAN], [1, 2])).unwrap();
        assert!(read_positions(&path).unwrap_err().to_string().contains("[0, 1] is NaN"));
        tensor::io::write_npy(&path, &Tensor::new(&[1.0, 2.0], [2])).unwrap();
        assert!(read_positions(&path).unwrap_err().to_string().contains("expected [n, 2]"));
    }

    #[test]
    fn damaged_tables_are_errors_that_name_the_line() {
        let message = |text: &str| read("p.csv", text).unwrap_err().to_string();
        assert!(message("x,y\n1,2\n").contains(":1: no columns dx and dy"));
        assert!(
            message("dx,dy\n1,2\n3,nan\n").ends_with(":3: dy is \"nan\", expected a finite number")
        );
        assert!(message("dx,dy\n1,2\n3\n").contains(":3: "));
        assert!(message("dx,dy\n").ends_with("it holds no position"));
        assert!(
            read_positions("no/such.csv").unwrap_err().to_string().starts_with("no/such.csv: ")
        );
    }
}
