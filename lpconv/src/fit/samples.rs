//! The data of a fit: weighted points and histograms, checked once, and their moments.

use crate::error::{Error, check_finite};

/// Points in `D` dimensions with weights. A weight is a count: a point of weight 2 is the same point given twice.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples<const D: usize> {
    points: Vec<[f64; D]>,
    weights: Vec<f64>,
    total: f64,
}

impl<const D: usize> Samples<D> {
    /// Points of weight 1.
    ///
    /// # Errors
    /// When there are none, or a coordinate is not finite.
    pub fn new(points: Vec<[f64; D]>) -> Result<Self, Error> {
        let weights = vec![1.0; points.len()];
        Samples::weighted(points, weights)
    }

    /// Points with their weights.
    ///
    /// # Errors
    /// When there are no points, the lengths differ, a number is not finite, a weight is negative or all are zero.
    pub fn weighted(points: Vec<[f64; D]>, weights: Vec<f64>) -> Result<Self, Error> {
        if points.is_empty() || D == 0 {
            return Err(Error::Empty { what: "points" });
        }
        if points.len() != weights.len() {
            let (expected, found) = (points.len(), weights.len());
            return Err(Error::Length { what: "weights", expected, found });
        }
        check_finite("points", points.as_flattened().iter().copied())?;
        let total = check_weights(&weights)?;
        Ok(Samples { points, weights, total })
    }

    /// The points.
    pub fn points(&self) -> &[[f64; D]] {
        &self.points
    }

    /// The weight of each point.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// The sum of all weights.
    pub fn total_weight(&self) -> f64 {
        self.total
    }

    /// Weighted mean of each axis.
    pub fn mean(&self) -> [f64; D] {
        self.average(|x, _| x)
    }

    /// Weighted variance of each axis about its mean, dividing by the total weight.
    pub fn variance(&self) -> [f64; D] {
        let mean = self.mean();
        self.average(|x, axis| (x - mean[axis]).powi(2))
    }

    /// Weighted kurtosis of each axis, `E(x − μ)⁴ / (E(x − μ)²)²`: 3 for a Gaussian.
    ///
    /// # Errors
    /// When an axis does not vary.
    pub fn kurtosis(&self) -> Result<[f64; D], Error> {
        Ok(self.standardized()?.average(|x, _| x.powi(4)))
    }

    /// The points shifted and scaled to zero mean and unit variance on each axis (paper, appendix A.2).
    ///
    /// # Errors
    /// When an axis does not vary, or varies beyond the range of `f64`.
    pub fn standardized(&self) -> Result<Self, Error> {
        let (mean, deviation) = self.location_and_deviation()?;
        let points = self.points.iter();
        let points = points
            .map(|x| std::array::from_fn(|axis| (x[axis] - mean[axis]) / deviation[axis]))
            .collect();
        Ok(Samples { points, weights: self.weights.clone(), total: self.total })
    }

    fn location_and_deviation(&self) -> Result<([f64; D], [f64; D]), Error> {
        let (mean, variance) = (self.mean(), self.variance());
        check_finite("variance", variance)?;
        for axis in 0..D {
            let (value, spread) = (mean[axis], variance[axis].sqrt());
            // Equal coordinates may differ from their mean by its rounding.
            if spread <= 4.0 * f64::EPSILON * value.abs() {
                return Err(Error::NoSpread { axis, value });
            }
        }
        Ok((mean, variance.map(f64::sqrt)))
    }

    /// Weighted mean of `value(coordinate, axis)` on each axis.
    pub(super) fn average(&self, value: impl Fn(f64, usize) -> f64) -> [f64; D] {
        let mut sum = [0.0; D];
        for (x, w) in self.points.iter().zip(&self.weights) {
            for axis in 0..D {
                sum[axis] += w * value(x[axis], axis);
            }
        }
        sum.map(|s| s / self.total)
    }

    /// The common point, if all points that count are one.
    pub(crate) fn common_point(&self) -> Option<[f64; D]> {
        let mut counted =
            self.points.iter().zip(&self.weights).filter(|(_, w)| **w > 0.0).map(|(x, _)| x);
        let first = counted.next()?;
        counted.all(|x| x == first).then_some(*first)
    }
}

/// Mass on the cells of an evenly spaced grid in `D` dimensions: counts or probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram<const D: usize> {
    centers: [Vec<f64>; D],
    mass: Vec<f64>,
}

impl<const D: usize> Histogram<D> {
    /// A histogram with cells at `centers` of each axis and `mass` per cell, row-major (the last axis runs fastest).
    ///
    /// # Errors
    /// When an axis has fewer than two centers or they are not evenly spaced in ascending order (relative tolerance
    /// 1e-6), the number of cells differs, a number is not finite, a mass is negative or all are zero.
    pub fn new(centers: [Vec<f64>; D], mass: Vec<f64>) -> Result<Self, Error> {
        for (axis, c) in centers.iter().enumerate() {
            if c.len() < 2 {
                return Err(Error::Length { what: "centers", expected: 2, found: c.len() });
            }
            check_finite("centers", c.iter().copied())?;
            let expected = c[1] - c[0];
            for (index, pair) in c.windows(2).enumerate() {
                let found = pair[1] - pair[0];
                if found <= 0.0 || (found - expected).abs() > 1e-6 * expected {
                    return Err(Error::UnevenGrid { axis, index, expected, found });
                }
            }
        }
        let expected = centers.iter().map(Vec::len).product();
        if mass.len() != expected {
            return Err(Error::Length { what: "mass", expected, found: mass.len() });
        }
        check_weights(&mass)?;
        Ok(Histogram { centers, mass })
    }

    /// The cell centers of each axis.
    pub fn centers(&self) -> &[Vec<f64>; D] {
        &self.centers
    }

    /// The mass of each cell, row-major.
    pub fn mass(&self) -> &[f64] {
        &self.mass
    }

    /// The volume of a cell (length, area) in the units of the centers.
    pub fn cell_volume(&self) -> f64 {
        self.centers.iter().map(|c| c[1] - c[0]).product()
    }

    /// The cells as weighted points.
    pub fn samples(&self) -> Samples<D> {
        let points = (0..self.mass.len()).map(|cell| {
            let index = self.index(cell);
            std::array::from_fn(|axis| self.centers[axis][index[axis]])
        });
        let total = self.mass.iter().sum();
        Samples { points: points.collect(), weights: self.mass.clone(), total }
    }

    /// The histogram with its grid shifted and scaled so that the mass has zero mean and unit variance on each axis.
    ///
    /// # Errors
    /// When all mass is in one row of cells.
    pub fn standardized(&self) -> Result<Self, Error> {
        let (mean, deviation) = self.samples().location_and_deviation()?;
        let centers = std::array::from_fn(|axis| {
            self.centers[axis].iter().map(|c| (c - mean[axis]) / deviation[axis]).collect()
        });
        Ok(Histogram { centers, mass: self.mass.clone() })
    }

    /// The position on each axis of a cell given by its flat index.
    pub(crate) fn index(&self, cell: usize) -> [usize; D] {
        let mut rest = cell;
        let mut index = [0; D];
        for axis in (0..D).rev() {
            index[axis] = rest % self.centers[axis].len();
            rest /= self.centers[axis].len();
        }
        index
    }
}

/// Checks weights and returns their sum.
fn check_weights(weights: &[f64]) -> Result<f64, Error> {
    check_finite("weights", weights.iter().copied())?;
    if let Some((index, &weight)) = weights.iter().enumerate().find(|(_, w)| **w < 0.0) {
        return Err(Error::NegativeWeight { index, value: weight });
    }
    let total: f64 = weights.iter().sum();
    check_finite("total weight", [total])?;
    if total > 0.0 { Ok(total) } else { Err(Error::ZeroWeight { points: weights.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_a_count() {
        let twice = Samples::new(vec![[1.0, 0.0], [4.0, 5.0], [4.0, 5.0], [0.0, 1.0]]).unwrap();
        let weighted =
            Samples::weighted(vec![[1.0, 0.0], [4.0, 5.0], [0.0, 1.0]], vec![1.0, 2.0, 1.0])
                .unwrap();
        assert_eq!(twice.mean(), [2.25, 2.75]);
        assert_eq!(weighted.mean(), twice.mean());
        assert_eq!(weighted.variance(), twice.variance());
        assert_eq!(weighted.kurtosis(), twice.kurtosis());
    }

    #[test]
    fn standardized_data_have_unit_variance() {
        let points = (0..50).map(|i| [f64::from(i * i), 3.0 - 0.01 * f64::from(i)]).collect();
        let samples = Samples::new(points).unwrap().standardized().unwrap();
        for axis in 0..2 {
            assert!(samples.mean()[axis].abs() < 1e-12);
            assert!((samples.variance()[axis] - 1.0).abs() < 1e-12);
        }
        let histogram = Histogram::new(
            [vec![0.0, 1.0, 2.0], vec![5.0, 7.0]],
            vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        );
        let histogram = histogram.unwrap().standardized().unwrap();
        for (mean, variance) in
            histogram.samples().mean().into_iter().zip(histogram.samples().variance())
        {
            assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn histogram_cells_are_row_major() {
        let centers = [vec![0.0, 1.0], vec![10.0, 12.0, 14.0]];
        let histogram = Histogram::new(centers, vec![0.0, 0.0, 1.0, 0.0, 1.0, 0.0]).unwrap();
        let samples = histogram.samples();
        assert_eq!(samples.points()[2], [0.0, 14.0]);
        assert_eq!(samples.points()[4], [1.0, 12.0]);
        assert_eq!(histogram.cell_volume(), 2.0);
    }

    #[test]
    fn unusable_data_are_errors_that_say_what_was_found() {
        let message = |e: Error| e.to_string();
        assert_eq!(Samples::<2>::new(vec![]).unwrap_err(), Error::Empty { what: "points" });
        let nan = Samples::new(vec![[0.0, 1.0], [2.0, f64::NAN]]).unwrap_err();
        assert_eq!(message(nan), "points[3] is NaN: every value must be finite");
        let negative = Samples::weighted(vec![[0.0], [1.0]], vec![1.0, -2.0]).unwrap_err();
        assert_eq!(negative, Error::NegativeWeight { index: 1, value: -2.0 });
        let zero = Samples::weighted(vec![[0.0], [1.0]], vec![0.0, 0.0]).unwrap_err();
        assert_eq!(zero, Error::ZeroWeight { points: 2 });
        let lengths = Samples::weighted(vec![[0.0], [1.0]], vec![1.0]).unwrap_err();
        assert_eq!(message(lengths), "weights has 1 values, expected 2");
        let flat = Samples::new(vec![[0.1, 0.3], [0.2, 0.3], [0.7, 0.3]]).unwrap().standardized();
        assert!(matches!(flat.unwrap_err(), Error::NoSpread { axis: 1, .. }));
        let uneven = Histogram::new([vec![0.0, 1.0, 2.5]], vec![1.0; 3]).unwrap_err();
        assert_eq!(uneven, Error::UnevenGrid { axis: 0, index: 1, expected: 1.0, found: 1.5 });
        assert!(Histogram::new([vec![0.0, 1.0]], vec![1.0; 3]).is_err());
        assert!(Histogram::new([vec![0.0]], vec![1.0]).is_err());
    }
}
