//! [`ImageSet`]: images with classes, in memory or on disk.

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use nn::data::{BoxError, Dataset};
use rayon::prelude::*;

use super::Image;
use crate::Error;

/// Images and the class of each.
///
/// Copies and parts share the pixels. Several threads may read at once.
#[derive(Clone, Debug)]
pub struct ImageSet {
    source: Arc<Source>,
    /// Which image of the source, and its class.
    items: Vec<(u32, u32)>,
    classes: Arc<[String]>,
}

/// Where the pixels are.
#[derive(Debug)]
pub(super) enum Source {
    /// In memory, `[n, height, width, 3]`.
    Pixels { height: usize, width: usize, bytes: Vec<u8> },
    /// JPEG or PNG files in memory, one after another: file i ends at `ends[i]`.
    Encoded { origin: PathBuf, bytes: Cow<'static, [u8]>, ends: Vec<usize> },
    /// Files.
    Files(Vec<PathBuf>),
}

impl ImageSet {
    /// From images and their classes, as many of one as of the other.
    pub(super) fn new(source: Source, labels: &[u32], classes: Vec<String>) -> Self {
        let items = (0..).zip(labels.iter().copied()).collect();
        ImageSet { source: Arc::new(source), items, classes: classes.into() }
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The classes' names; a label is an index into them.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn label(&self, index: usize) -> usize {
        self.items[index].1 as usize
    }

    /// Image `index` and its class.
    ///
    /// # Errors
    /// If the image cannot be read or decoded (sets that lie in memory undecoded never fail).
    ///
    /// # Panics
    /// If there is no such image.
    pub fn get(&self, index: usize) -> Result<(Image, usize), Error> {
        let mut image = Image::default();
        self.read_into(index, &mut image)?;
        Ok((image, self.label(index)))
    }

    /// Makes `image` image `index`, in its own memory: a decoded set needs no other.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Panics
    /// If there is no such image.
    pub fn read_into(&self, index: usize, image: &mut Image) -> Result<(), Error> {
        let at = self.items[index].0 as usize;
        match &*self.source {
            Source::Pixels { height, width, bytes } => {
                image.reshape(*height, *width);
                let size = height * width * 3;
                image.pixels_mut().copy_from_slice(&bytes[at * size..][..size]);
            }
            Source::Encoded { origin, bytes, ends } => {
                let start = if at == 0 { 0 } else { ends[at - 1] };
                *image = Image::decode(&bytes[start..ends[at]], origin)?;
            }
            Source::Files(paths) => *image = Image::read(&paths[at])?,
        }
        Ok(())
    }

    /// All images in order, each with its class.
    pub fn iter(&self) -> impl Iterator<Item = Result<(Image, usize), Error>> + '_ {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The images of these indices, in this order; an index may occur again.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn select(&self, indices: &[usize]) -> Self {
        let items = indices.iter().map(|&i| self.items[i]).collect();
        ImageSet { source: self.source.clone(), items, classes: self.classes.clone() }
    }

    /// The first `n` images of every class (all where there are fewer), in order.
    pub fn first_of_each_class(&self, n: usize) -> Self {
        let mut seen = vec![0; self.classes.len()];
        let mut keep = |&(_, class): &(u32, u32)| {
            seen[class as usize] += 1;
            seen[class as usize] <= n
        };
        let items = self.items.iter().filter(|item| keep(item)).copied().collect();
        ImageSet { source: self.source.clone(), items, classes: self.classes.clone() }
    }

    /// The images of a range of classes; labels count from its first.
    ///
    /// # Panics
    /// If there are fewer classes.
    #[track_caller]
    pub fn with_classes(&self, range: std::ops::Range<usize>) -> Self {
        let (first, last) = (range.start as u32, range.end as u32);
        let kept = self.items.iter().filter(|(_, class)| (first..last).contains(class));
        let items = kept.map(|&(at, class)| (at, class - first)).collect();
        ImageSet { source: self.source.clone(), items, classes: self.classes[range].into() }
    }

    /// The same with every image changed and in memory; `f` gets an image's place and the image, several at once.
    ///
    /// # Errors
    /// If an image cannot be read, `f` fails, or images are of another size than the first afterwards.
    pub fn mapped(
        &self,
        f: impl Fn(usize, &Image) -> Result<Image, Error> + Sync,
    ) -> Result<Self, Error> {
        let changed = |index: usize| f(index, &self.get(index)?.0);
        let images: Vec<Image> =
            (0..self.len()).into_par_iter().map(changed).collect::<Result<_, _>>()?;
        let size = |image: &Image| (image.height(), image.width());
        let expected = images.first().map(size).unwrap_or_default();
        if let Some(index) = images.iter().position(|image| size(image) != expected) {
            return Err(Error::ImageSize { index, expected, found: size(&images[index]) });
        }
        let bytes = images.iter().flat_map(Image::pixels).copied().collect();
        let labels: Vec<u32> = self.items.iter().map(|item| item.1).collect();
        let source = Source::Pixels { height: expected.0, width: expected.1, bytes };
        Ok(ImageSet::new(source, &labels, self.classes.to_vec()))
    }

    /// The same with every image decoded into memory.
    ///
    /// # Errors
    /// If one cannot be read, or is of another size than the first.
    pub fn decoded(&self) -> Result<Self, Error> {
        let (mut bytes, mut size, mut image) = (Vec::new(), None, Image::default());
        for index in 0..self.len() {
            self.read_into(index, &mut image)?;
            let found = (image.height(), image.width());
            let expected = *size.get_or_insert(found);
            if found != expected {
                return Err(Error::ImageSize { index, expected, found });
            }
            bytes.extend_from_slice(image.pixels());
        }
        let (height, width) = size.unwrap_or_default();
        let labels: Vec<u32> = self.items.iter().map(|item| item.1).collect();
        let source = Source::Pixels { height, width, bytes };
        Ok(ImageSet::new(source, &labels, self.classes.to_vec()))
    }
}

/// An image and its class.
impl Dataset for ImageSet {
    type Item = (Image, usize);

    fn len(&self) -> usize {
        self.len()
    }

    fn get(&self, index: usize) -> Result<(Image, usize), BoxError> {
        Ok(self.get(index)?)
    }
}
