//! [`Rsm`]: how alike the responses to each two images are.

use rayon::prelude::*;
use tensor::{DType, Element, Tensor};

use crate::{
    error::{Error, check_length},
    stats::ranks,
};

/// What makes responses to two images alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Similarity {
    /// Pearson's correlation over units. The paper's, and the default.
    #[default]
    Pearson,
    /// Spearman's correlation over units.
    Spearman,
    /// The cosine of the angle between responses.
    Cosine,
    /// Minus the mean over units of the squared difference.
    Euclidean,
}

/// How an [`Rsm`] is computed; the default is the paper's (specification 1.7).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RsmOptions {
    /// What is called alike. Default Pearson.
    pub similarity: Similarity,
    /// Whether every unit's mean over images is subtracted first. Default true.
    pub center: bool,
    /// Added to the standard deviation of an image's responses: with 0 an image whose responses are all equal is an
    /// error, else it is like no other. For Pearson and Spearman. Default 1e-7.
    pub sd_offset: f64,
}

impl Default for RsmOptions {
    fn default() -> Self {
        RsmOptions { similarity: Similarity::Pearson, center: true, sd_offset: 1e-7 }
    }
}

impl RsmOptions {
    /// Of responses as they are, as `rsatoolbox` and `numpy.corrcoef` do.
    pub fn plain(similarity: Similarity) -> Self {
        RsmOptions { similarity, center: false, sd_offset: 0.0 }
    }
}

/// A representational similarity matrix: symmetric, one row an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Rsm {
    images: usize,
    /// All of them, row by row.
    values: Vec<f64>,
    /// Whether values are correlations or cosines, 1 for equal responses; else minus distances.
    bounded: bool,
}

/// Units whose products are summed in the precision of the data before they are added in f64. It bounds the error in f32, and
/// fixes the order of the sum for any number of threads.
const CHUNK: usize = 2048;

impl Rsm {
    /// The similarities of responses `[images, units…]`, f32 or f64; everything behind the first axis counts as units.
    ///
    /// Products of f32 are summed in f32 over 2,048 units, then in f64.
    ///
    /// # Errors
    /// If there are fewer than three images, no units (for Pearson and Spearman fewer than two), a response is not finite,
    /// or, with `sd_offset = 0`, the responses to an image do not vary (for cosine: are all zero).
    ///
    /// # Panics
    /// If the dtype is neither f32 nor f64, or the tensor is not on the CPU.
    #[track_caller]
    pub fn new(responses: &Tensor, options: &RsmOptions) -> Result<Rsm, Error> {
        let &[images, ..] = responses.dims() else {
            let (what, expected) = ("responses".into(), "[images, units…]");
            return Err(Error::Shape { what, expected, found: Vec::new() });
        };
        let few = |of, least, found| Error::TooFew { what: "responses".into(), of, least, found };
        if images < 3 {
            return Err(few("images", 3, images));
        }
        let units = responses.numel() / images;
        let correlates = matches!(options.similarity, Similarity::Pearson | Similarity::Spearman);
        let least = if correlates { 2 } else { 1 };
        if units < least {
            return Err(few("units, of which a similarity is taken,", least, units));
        }
        // The order of the units does not matter: channels last need not be copied.
        let rows = match responses.rank() == 4 && responses.is_channels_last() {
            true => responses.permute(&[0, 2, 3, 1]),
            false => responses.clone(),
        };
        let rows = rows.reshape([images, units]).contiguous();
        match rows.dtype() {
            DType::F32 => Rsm::of_rows(rows.as_slice::<f32>(), images, options),
            DType::F64 => Rsm::of_rows(rows.as_slice::<f64>(), images, options),
            other => panic!("Rsm::new: responses are {other:?}, expected f32 or f64"),
        }
    }

    fn of_rows<T: Element>(rows: &[T], images: usize, options: &RsmOptions) -> Result<Rsm, Error> {
        let units = rows.len() / images;
        let sums: Vec<f64> = rows.par_chunks(units).map(sum).collect();
        if let Some(image) = sums.iter().position(|s| !s.is_finite()) {
            let row = &rows[image * units..][..units];
            // A sum of finite numbers may overflow only where they are as good as infinite.
            let unit = row.iter().position(|v| !v.to_f64().is_finite()).unwrap_or(0);
            let (what, value) = ("responses".into(), row[unit].to_f64());
            return Err(Error::NonFinite { what, index: vec![image, unit], value });
        }
        let RsmOptions { similarity, center, sd_offset } = *options;
        match similarity {
            Similarity::Spearman => {
                let centered = if center { without_mean_image(rows, units) } else { doubles(rows) };
                let ranked: Vec<f64> = centered.par_chunks(units).flat_map_iter(ranks).collect();
                let means = vec![(units as f64 + 1.0) / 2.0; images];
                let products = gram(&ranked, units, &means, false);
                Rsm::correlations(products, images, units, sd_offset)
            }
            Similarity::Pearson => {
                let mut means: Vec<f64> = sums.iter().map(|s| s / units as f64).collect();
                if center {
                    // Of what remains behind the mean image.
                    let grand = means.iter().sum::<f64>() / images as f64;
                    means.iter_mut().for_each(|m| *m -= grand);
                }
                let products = gram(rows, units, &means, center);
                Rsm::correlations(products, images, units, sd_offset)
            }
            Similarity::Cosine => {
                let products = gram(rows, units, &vec![0.0; images], center);
                Rsm::correlations(products, images, units, 0.0)
            }
            Similarity::Euclidean => {
                // Distances do not depend on the mean image: without it fewer digits cancel.
                let g = gram(rows, units, &vec![0.0; images], true);
                let square = |i: usize, j: usize| {
                    let distance = g[i * images + i] + g[j * images + j] - 2.0 * g[i * images + j];
                    if i == j { 0.0 } else { -distance.max(0.0) / units as f64 }
                };
                let values = (0..images * images).map(|k| square(k / images, k % images));
                Ok(Rsm { images, values: values.collect(), bounded: false })
            }
        }
    }

    /// Correlations from products of centered rows.
    fn correlations(
        products: Vec<f64>,
        images: usize,
        units: usize,
        sd_offset: f64,
    ) -> Result<Rsm, Error> {
        let largest = (0..images).map(|i| products[i * images + i]).fold(0.0, f64::max);
        let mut deviations = Vec::with_capacity(images);
        for i in 0..images {
            let variance = products[i * images + i].max(0.0) / units as f64;
            // What is left of equal responses when their mean is subtracted is rounding.
            if sd_offset <= 0.0 && variance * units as f64 <= 1e-24 * largest {
                let what = format!("image {i}: the list of its responses over units");
                let consequence = "its similarity to others is not defined; leave the image out, \
                                   or set sd_offset above 0 to make it like none";
                return Err(Error::Constant { what, consequence });
            }
            deviations.push(variance.sqrt() + sd_offset);
        }
        let values = products.iter().enumerate().map(|(k, product)| {
            product / units as f64 / (deviations[k / images] * deviations[k % images])
        });
        Ok(Rsm { images, values: values.collect(), bounded: true })
    }

    /// Takes similarities computed elsewhere: a square matrix, row by row, of which the diagonal is 1 if `bounded`
    /// (correlations) and 0 otherwise (minus distances).
    ///
    /// # Errors
    /// If it is not square of three or more rows, not finite or not symmetric (within 1e-6 of the largest entry).
    pub fn from_matrix(values: Vec<f64>, images: usize, bounded: bool) -> Result<Rsm, Error> {
        if images < 3 {
            let (what, of) = ("the matrix".into(), "rows");
            return Err(Error::TooFew { what, of, least: 3, found: images });
        }
        check_length("the matrix", "entries", values.len(), "its square", images * images)?;
        if let Some(k) = values.iter().position(|v| !v.is_finite()) {
            let (what, index) = ("the matrix".into(), vec![k / images, k % images]);
            return Err(Error::NonFinite { what, index, value: values[k] });
        }
        let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for k in 0..images * images {
            let (i, j) = (k / images, k % images);
            let difference = (values[k] - values[j * images + i]).abs();
            if difference > 1e-6 * largest {
                let (name, expected) = ("entry minus its mirror image", "0: a symmetric matrix");
                return Err(Error::Parameter { name, value: difference, expected });
            }
        }
        Ok(Rsm { images, values, bounded })
    }

    /// The number of images.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The whole matrix, row by row.
    pub fn matrix(&self) -> &[f64] {
        &self.values
    }

    /// The similarity of two images.
    ///
    /// # Panics
    /// If there are fewer images.
    #[track_caller]
    pub fn at(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.images && j < self.images, "Rsm: ({i}, {j}) of {} images", self.images);
        self.values[i * self.images + j]
    }

    /// The similarities of all pairs `i < j`, row by row: `(0, 1), (0, 2), …`, as `scipy.spatial.distance.squareform`.
    pub fn pairs(&self) -> Vec<f64> {
        let n = self.images;
        (0..n).flat_map(|i| self.values[i * n + i + 1..(i + 1) * n].iter().copied()).collect()
    }

    /// `1 − similarity`, or the distance, of all [`pairs`](Self::pairs): `rsatoolbox`'s RDM.
    pub fn dissimilarities(&self) -> Vec<f64> {
        let most = if self.bounded { 1.0 } else { 0.0 };
        self.pairs().into_iter().map(|s| most - s).collect()
    }

    /// The RSM of the images `which`, each as often as it occurs there.
    ///
    /// # Panics
    /// If one is not there.
    #[track_caller]
    pub fn select(&self, which: &[usize]) -> Rsm {
        let values = which.iter().flat_map(|&i| which.iter().map(move |&j| self.at(i, j)));
        Rsm { images: which.len(), values: values.collect(), bounded: self.bounded }
    }

    /// The mean of RSMs of the same images: an animal of several recordings.
    ///
    /// # Errors
    /// If there is none, or their sizes differ.
    pub fn mean(rsms: &[Rsm]) -> Result<Rsm, Error> {
        let Some(first) = rsms.first() else {
            let (what, of) = ("the list".into(), "RSMs");
            return Err(Error::TooFew { what, of, least: 1, found: 0 });
        };
        let mut values = vec![0.0; first.values.len()];
        for rsm in rsms {
            check_length("an RSM", "images", rsm.images, "the first", first.images)?;
            values.iter_mut().zip(&rsm.values).for_each(|(sum, v)| *sum += v);
        }
        values.iter_mut().for_each(|v| *v /= rsms.len() as f64);
        Ok(Rsm { values, ..first.clone() })
    }
}

/// Eight sums side by side, so that the processor need not wait for each addition.
fn sum<T: Element>(values: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    let (blocks, rest) = values.as_chunks::<8>();
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value.to_f64();
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|v| v.to_f64()).sum::<f64>()
}

fn doubles<T: Element>(rows: &[T]) -> Vec<f64> {
    rows.iter().map(|v| v.to_f64()).collect()
}

fn without_mean_image<T: Element>(rows: &[T], units: usize) -> Vec<f64> {
    let mean = mean_image(rows, units, 0, units);
    rows.chunks(units).flat_map(|row| row.iter().zip(&mean).map(|(v, m)| v.to_f64() - m)).collect()
}

/// The mean over images of the units `start..start + width`.
fn mean_image<T: Element>(rows: &[T], units: usize, start: usize, width: usize) -> Vec<f64> {
    let mut mean = vec![0.0; width];
    for row in rows.chunks(units) {
        for (m, v) in mean.iter_mut().zip(&row[start..start + width]) {
            *m += v.to_f64();
        }
    }
    let images = rows.len() / units;
    mean.iter_mut().for_each(|m| *m /= images as f64);
    mean
}

/// The products of all pairs of rows, of which `row_means` and, if `center`, the mean image are subtracted before.
fn gram<T: Element>(rows: &[T], units: usize, row_means: &[f64], center: bool) -> Vec<f64> {
    let images = row_means.len();
    let starts: Vec<usize> = (0..units).step_by(CHUNK).collect();
    let product = |&start: &usize| -> Tensor {
        let width = CHUNK.min(units - start);
        let mean = if center { mean_image(rows, units, start, width) } else { vec![0.0; width] };
        let mut chunk = Vec::with_capacity(images * width);
        for (row, row_mean) in rows.chunks(units).zip(row_means) {
            let values = row[start..start + width].iter().zip(&mean);
            chunk.extend(values.map(|(v, m)| T::from_f64(v.to_f64() - m - row_mean)));
        }
        let chunk = Tensor::new(&chunk, [images, width]);
        chunk.matmul(&chunk.transpose(0, 1))
    };
    let mut total = vec![0.0; images * images];
    // Some chunks at a time: their products are added in order, whichever is done first.
    for some in starts.chunks(32) {
        let products: Vec<Tensor> = some.par_iter().map(product).collect();
        for product in products {
            for (sum, value) in total.iter_mut().zip(product.as_slice::<T>()) {
                *sum += value.to_f64();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{pearson, spearman};
    use tensor::{Device, Stream};

    fn responses(images: usize, units: usize, seed: u64) -> Tensor {
        Tensor::randn([images, units], DType::F64, Device::Cpu, &mut Stream::new(seed))
    }

    fn row(responses: &Tensor, i: usize) -> Vec<f64> {
        responses.select(0, i).to_f64_vec()
    }

    #[test]
    fn entries_are_the_correlations_of_rows() {
        // More units than a chunk has.
        let x = responses(5, CHUNK + 77, 1);
        for (similarity, of) in [
            (Similarity::Pearson, pearson as fn(&[f64], &[f64]) -> Result<_, Error>),
            (Similarity::Spearman, spearman),
        ] {
            let rsm = Rsm::new(&x, &RsmOptions::plain(similarity)).unwrap();
            for (i, j) in [(0, 1), (4, 2), (3, 3)] {
                let expected = of(&row(&x, i), &row(&x, j)).unwrap().statistic;
                assert!((rsm.at(i, j) - expected).abs() < 1e-12, "{similarity:?} {i} {j}");
            }
        }
        let plain = RsmOptions::plain(Similarity::Pearson);
        let single = Rsm::new(&x.to_dtype(DType::F32), &plain).unwrap();
        let double = Rsm::new(&x, &plain).unwrap();
        for (a, b) in single.matrix().iter().zip(double.matrix()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn centering_takes_the_mean_image_out() {
        let x = responses(6, 40, 2);
        let mean = x.mean(&[0], true);
        let shifted = &x - &mean;
        for similarity in
            [Similarity::Pearson, Similarity::Spearman, Similarity::Cosine, Similarity::Euclidean]
        {
            let center = RsmOptions { center: true, ..RsmOptions::plain(similarity) };
            let a = Rsm::new(&x, &center).unwrap();
            let b = Rsm::new(&shifted, &RsmOptions::plain(similarity)).unwrap();
            for (a, b) in a.matrix().iter().zip(b.matrix()) {
                assert!((a - b).abs() < 1e-12, "{similarity:?}");
            }
        }
    }

    #[test]
    fn distances_and_cosines_are_those_of_their_definitions() {
        let x = Tensor::new(&[1.0, 2.0, 2.0, 3.0, 0.0, 4.0, -1.0, 1.0, 0.5], [3, 3]);
        let distance = Rsm::new(&x, &RsmOptions::plain(Similarity::Euclidean)).unwrap();
        assert!((distance.at(0, 1) + 12.0 / 3.0).abs() < 1e-12);
        assert_eq!(distance.at(1, 1), 0.0);
        assert!((distance.dissimilarities()[0] - 4.0).abs() < 1e-12);
        let cosine = Rsm::new(&x, &RsmOptions::plain(Similarity::Cosine)).unwrap();
        assert!((cosine.at(0, 1) - 11.0 / 15.0).abs() < 1e-12);
        assert!((cosine.dissimilarities()[0] - 4.0 / 15.0).abs() < 1e-12);
    }

    #[test]
    fn the_order_of_units_does_not_matter() {
        let x = Tensor::randn([4, 3, 5, 6], DType::F32, Device::Cpu, &mut Stream::new(3));
        let a = Rsm::new(&x, &RsmOptions::default()).unwrap();
        let b = Rsm::new(&x.channels_last(), &RsmOptions::default()).unwrap();
        for (a, b) in a.matrix().iter().zip(b.matrix()) {
            assert!((a - b).abs() < 1e-6);
        }
    }

    #[test]
    fn images_can_be_chosen_and_rsms_averaged() {
        let a = Rsm::new(&responses(5, 9, 4), &RsmOptions::default()).unwrap();
        let b = Rsm::new(&responses(5, 7, 5), &RsmOptions::default()).unwrap();
        let some = a.select(&[4, 0, 0]);
        assert_eq!(some.pairs(), [a.at(4, 0), a.at(4, 0), a.at(0, 0)]);
        let mean = Rsm::mean(&[a.clone(), b.clone()]).unwrap();
        assert!((mean.at(1, 2) - (a.at(1, 2) + b.at(1, 2)) / 2.0).abs() < 1e-15);
        assert!(Rsm::mean(&[a, b.select(&[0, 1, 2])]).is_err() && Rsm::mean(&[]).is_err());
    }

    #[test]
    fn hostile_responses_are_errors_that_say_where() {
        let message = |x: &Tensor, o: &RsmOptions| Rsm::new(x, o).unwrap_err().to_string();
        let plain = RsmOptions::plain(Similarity::Pearson);
        let mut values = responses(4, 3, 6).to_f64_vec();
        values[7] = f64::NAN;
        let nan = Tensor::new(&values, [4, 3]);
        assert_eq!(
            message(&nan, &plain),
            "responses[2, 1] is NaN: every value must be finite; leave such neurons or images out first"
        );
        assert!(message(&responses(4, 1, 7), &plain).contains("has 1 units"));
        assert!(message(&responses(2, 9, 7), &plain).contains("has 2 images"));
        values[6..9].fill(0.7);
        let constant = Tensor::new(&values, [4, 3]);
        assert!(message(&constant, &plain).starts_with("image 2: the list of its responses"));
        let offset = Rsm::new(&constant, &RsmOptions { sd_offset: 1e-7, ..plain }).unwrap();
        assert!(offset.at(2, 0).abs() < 1e-6 && offset.at(2, 2).abs() < 1e-6);
        assert!(
            Rsm::from_matrix(vec![1.0, 0.5, 0.2, 0.4, 1.0, 0.3, 0.2, 0.3, 1.0], 3, true).is_err()
        );
        assert!(Rsm::from_matrix(vec![1.0; 4], 2, true).is_err());
    }
}
