//! Densities, decompositions and fits beside those of NumPy and SciPy (`tests/data/README.md`).

use lpconv::{Conformation, FitStatus, Histogram, Mpnd, Svd2, fit_least_squares};
use safetensors::SafeTensors;

const FILE: &[u8] = include_bytes!("data/mpnd.safetensors");

struct Reference<'a>(SafeTensors<'a>);

impl Reference<'_> {
    fn open() -> Self {
        Reference(SafeTensors::deserialize(FILE).expect("the file is part of the repository"))
    }

    fn values(&self, key: &str) -> Vec<f64> {
        let tensor = self.0.tensor(key).unwrap_or_else(|e| panic!("{key}: {e}"));
        assert_eq!(tensor.dtype(), safetensors::Dtype::F64, "{key}");
        let bytes = tensor.data().as_chunks::<8>().0;
        bytes.iter().map(|b| f64::from_le_bytes(*b)).collect()
    }

    /// The names of the cases whose keys begin with `family`.
    fn cases(&self, family: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .names()
            .iter()
            .filter_map(|key| key.strip_suffix("/out.density").or(key.strip_suffix("/out.p_sigma")))
            .filter(|name| name.starts_with(family))
            .map(str::to_owned)
            .collect();
        names.sort();
        names
    }
}

fn rows<const N: usize>(values: &[f64]) -> Vec<[f64; N]> {
    values.as_chunks::<N>().0.to_vec()
}

fn matrices(values: &[f64]) -> Vec<[[f64; 2]; 2]> {
    rows::<2>(values).as_chunks::<2>().0.to_vec()
}

fn assert_near(what: &str, found: f64, expected: f64, tolerance: f64) {
    let error = (found - expected).abs();
    assert!(error <= tolerance, "{what}: found {found}, expected {expected} (off by {error:e})");
}

fn check_density<const D: usize>(reference: &Reference, name: &str, p: f64) {
    let c: [[f64; D]; D] =
        rows::<D>(&reference.values(&format!("{name}/in.C"))).try_into().expect("D rows");
    let mpnd = Mpnd::new(p, c, [0.0; D]).unwrap();
    let integral = reference.values(&format!("{name}/out.integral"))[0];
    assert_near(name, mpnd.integral(), integral, 1e-9 * integral);
    let points = rows::<D>(&reference.values(&format!("{name}/in.points")));
    let densities = reference.values(&format!("{name}/out.density"));
    assert_eq!(points.len(), densities.len());
    for (point, expected) in points.into_iter().zip(densities) {
        assert_near(name, mpnd.density(point), expected, 1e-9 * expected);
    }
}

#[test]
fn densities_in_one_to_three_dimensions() {
    let reference = Reference::open();
    let names = reference.cases("mpnd/");
    assert_eq!(names.len(), 18);
    for name in names {
        let (d, p) = name["mpnd/d".len()..].split_once("_p").expect("mpnd/d{D}_p{P}");
        let p: f64 = p.parse().expect("a number");
        match d {
            "1" => check_density::<1>(&reference, &name, p),
            "2" => check_density::<2>(&reference, &name, p),
            "3" => check_density::<3>(&reference, &name, p),
            _ => panic!("{name}: no such dimension"),
        }
    }
}

#[test]
fn least_squares_fits() {
    let reference = Reference::open();
    let names = reference.cases("mpnd_fit/");
    assert_eq!(names.len(), 6);
    for name in names {
        let centers = reference.values(&format!("{name}/in.centres"));
        let pmf = reference.values(&format!("{name}/in.pmf"));
        let fit =
            fit_least_squares(&Histogram::new([centers.clone(), centers], pmf).unwrap()).unwrap();
        let expected = reference.values(&format!("{name}/out.p_sigma"));
        assert_eq!(fit.status, FitStatus::Converged, "{name}: {fit:?}");
        assert_near(&name, fit.p, expected[0], 1e-4 * expected[0]);
        assert_near(&name, fit.sigma, expected[1], 1e-4 * expected[1]);
        // Where the histogram is exact the error of both is rounding.
        let squared_error = reference.values(&format!("{name}/out.squared_error"))[0];
        assert_near(&name, fit.squared_error, squared_error, 1e-4 * squared_error + 1e-20);
    }
}

#[test]
fn decompositions_and_conformations() {
    let reference = Reference::open();
    let get = |key: &str| reference.values(&format!("svd/lp_shape/{key}"));
    let (c, u, vt) = (matrices(&get("in.C")), matrices(&get("out.U")), matrices(&get("out.Vt")));
    let singular_values = rows::<2>(&get("out.singular_values"));
    let (scale, distortion, rotation) =
        (get("out.scale"), get("out.distortion"), get("out.rotation_deg"));
    assert_eq!(c.len(), 13);
    for (i, &matrix) in c.iter().enumerate() {
        let what = format!("matrix {i}");
        let svd = Svd2::new(matrix);
        for k in 0..2 {
            assert_near(&what, svd.s[k], singular_values[i][k], 1e-8 * singular_values[i][0]);
            for (l, &entry) in matrix[k].iter().enumerate() {
                let rebuilt = (0..2).map(|j| svd.u[k][j] * svd.s[j] * svd.vt[j][l]).sum();
                assert_near(&what, rebuilt, entry, 1e-14 * svd.s[0]);
            }
        }
        let shape = Conformation::new(matrix).unwrap();
        assert_near(&what, shape.scale, scale[i], 1e-8 * scale[i]);
        assert_near(&what, shape.distortion, distortion[i], 1e-8 * distortion[i]);
        if i == 10 {
            assert!(shape.rotation_deg.is_nan(), "{what} is isotropic");
            continue;
        }
        // The same singular vectors, up to a sign that a pair shares.
        for k in 0..2 {
            let along_v: f64 = (0..2).map(|l| svd.vt[k][l] * vt[i][k][l]).sum();
            let along_u: f64 = (0..2).map(|l| svd.u[l][k] * u[i][l][k]).sum();
            assert_near(&what, along_v.abs(), 1.0, 1e-12);
            assert_near(&what, along_u, along_v, 1e-12);
        }
        // The reference counts from the row axis, this crate from the column axis.
        let turn = (shape.rotation_deg - (90.0 - rotation[i])).rem_euclid(180.0);
        assert_near(&what, turn.min(180.0 - turn), 0.0, 1e-8);
    }
}
