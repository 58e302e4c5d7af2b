//! [`Mmv1Config`]: the size of the predictor.

use super::Error;

/// One convolution of the visual encoder, without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvLayer {
    /// Channels it makes.
    pub channels: usize,
    /// Height and width of its kernel.
    pub kernel: usize,
    /// Pixels between neighboring results.
    pub stride: usize,
}

/// Size of a [`Mmv1`](super::Mmv1); the defaults are those of the published code. The number of frames of a sequence is not
/// part of it: a model takes sequences of any length.
#[derive(Clone, Debug, PartialEq)]
pub struct Mmv1Config {
    /// Recorded neurons: 68, 49 or 32 in the three mice. Default 68.
    pub neurons: usize,
    /// Behavioral variables: 6 measured, 11 with their differences, 66 with all products. Default 6.
    pub behaviors: usize,
    /// Height and width of a frame in pixels. Default 60 and 80.
    pub frame: [usize; 2],
    /// The convolutions, each followed by batch norm, ReLU and dropout. Default three of 7x7 and stride 2 with 128, 64 and
    /// 32 channels.
    pub layers: Vec<ConvLayer>,
    /// Units of the recurrent layer. Default 512.
    pub hidden: usize,
    /// Recurrent layers, one above the other. Default 1.
    pub recurrent_layers: usize,
    /// Whether images are shifted to where the animal looks. Default true.
    pub shifter: bool,
    /// Columns of the behavior that tell where the animal looks. Default 4, 3, 1, 2: theta, phi, pitch, roll.
    pub gaze: Vec<usize>,
    /// The point `(x, y)` in pixels about which images turn. Default (30, 40) as published, where it was meant as (row,
    /// column) (section 6 of the specification), so it is not the middle of the frame.
    pub pivot: [f64; 2],
    /// Probability of a zero behind each convolution in training. Default 0.5.
    pub dropout: f64,
}

impl Default for Mmv1Config {
    fn default() -> Self {
        let layer = |channels| ConvLayer { channels, kernel: 7, stride: 2 };
        Mmv1Config {
            neurons: 68,
            behaviors: 6,
            frame: super::FRAME,
            layers: [128, 64, 32].map(layer).to_vec(),
            hidden: 512,
            recurrent_layers: 1,
            shifter: true,
            gaze: vec![4, 3, 1, 2],
            pivot: [30.0, 40.0],
            dropout: 0.5,
        }
    }
}

impl Mmv1Config {
    /// Height and width of the image behind each convolution.
    ///
    /// # Errors
    /// [`Error::Config`] if a kernel is larger than its image, or a size is 0.
    pub fn sizes(&self) -> Result<Vec<[usize; 2]>, Error> {
        let mut size = self.frame;
        let mut sizes = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let ConvLayer { channels, kernel, stride } = *layer;
            if channels == 0 || kernel == 0 || stride == 0 {
                return Err(Error::Config(format!(
                    "convolution {} has {channels} channels, a kernel of {kernel} and a stride of {stride}; each has to be \
                     at least 1",
                    i + 1
                )));
            }
            if size.iter().any(|&pixels| pixels < kernel) {
                return Err(Error::Config(format!(
                    "convolution {} has a kernel of {kernel}x{kernel}, but its image is only {}x{} pixels; use a larger \
                     frame than {}x{}, smaller kernels or fewer layers",
                    i + 1,
                    size[0],
                    size[1],
                    self.frame[0],
                    self.frame[1]
                )));
            }
            size = size.map(|pixels| (pixels - kernel) / stride + 1);
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// Checks everything that [`Mmv1::new`](super::Mmv1::new) would panic for.
    ///
    /// # Errors
    /// [`Error::Config`] with what does not fit.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |what: String| Err(Error::Config(what));
        let sizes = [
            ("neurons", self.neurons),
            ("behaviors", self.behaviors),
            ("hidden units", self.hidden),
            ("recurrent layers", self.recurrent_layers),
            ("convolutions", self.layers.len()),
            ("rows in a frame", self.frame[0]),
            ("columns in a frame", self.frame[1]),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, n)| *n == 0) {
            return wrong(format!("0 {name}; there has to be at least 1"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong(format!("dropout {} is not at least 0 and below 1", self.dropout));
        }
        if self.shifter && self.gaze.is_empty() {
            return wrong("a shifter without columns of gaze; name some or switch it off".into());
        }
        if let Some(column) = self.gaze.iter().find(|&&c| self.shifter && c >= self.behaviors) {
            return wrong(format!(
                "gaze is column {column} of the behavior, which has only {} columns",
                self.behaviors
            ));
        }
        self.sizes().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_the_published_ones_and_impossible_ones_are_named() {
        let published = Mmv1Config::default();
        assert_eq!(published.sizes().unwrap(), [[27, 37], [11, 16], [3, 5]]);
        published.check().unwrap();
        let refused = |change: &dyn Fn(&mut Mmv1Config), what: &str| {
            let mut config = Mmv1Config::default();
            change(&mut config);
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused(
            &|c| c.frame = [30, 40],
            "convolution 3 has a kernel of 7x7, but its image is only 3x6",
        );
        refused(&|c| c.layers[1].stride = 0, "convolution 2 has 64 channels");
        refused(&|c| c.layers.clear(), "0 convolutions");
        refused(&|c| c.neurons = 0, "0 neurons");
        refused(&|c| c.dropout = 1.0, "dropout 1");
        refused(&|c| c.behaviors = 2, "gaze is column 4");
        refused(&|c| c.gaze.clear(), "without columns of gaze");
    }
}
