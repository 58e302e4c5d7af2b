//! [`Mmv1`]: a predictor of the spikes of mouse visual cortex (V1) from what the animal sees and does.
//!
//! Xu, Hou, Niell and Beyeler 2023, *Multimodal deep learning model unveils behavioral dynamics of V1 activity in freely
//! moving mice*; experiment E12 of the specification.
//!
//! ```text
//! read_published, RawRecording::open, park, SyntheticV1 -> Recording -> Windows -> Batch -> Mmv1 -> Activity -> Score
//! ```
//!
//! [`read_published`] reads the authors' mice; [`folder`] says how to lay out a recording of one's own, which
//! [`RawRecording::bin`] puts into bins; [`park`] is a real recording that comes with the crate, [`SyntheticV1`] a made-up
//! one. [`Windows`] cuts any of them into samples for a `nn::data::DataLoader`, [`loss`] is what is minimized, [`predict`] and
//! [`Score`] evaluate, [`saliency`] and [`preferred`] look into the trained model.

mod behavior;
mod config;
mod error;
mod fields;
pub mod folder;
mod model;
mod objective;
pub mod park;
mod published;
mod raw;
mod recording;
mod score;
mod shifter;
mod synthetic;
mod video;

pub use behavior::BehaviorSet;
pub use config::{ConvLayer, Mmv1Config};
pub use error::Error;
pub use fields::{Ascent, preferred, saliency};
pub use model::Mmv1;
pub use objective::{loss, predict};
pub use published::{PUBLISHED_MICE, PublishedMouse, is_published, read_published};
pub use raw::{BinOptions, RawRecording, RawResponse, Series, Span};
pub use recording::{Batch, Recording, Response, Sample, Segment, Split, Windows};
pub use score::{Activity, Score, tuning};
pub use shifter::{FRAME, Shifter};
pub use synthetic::{KnownNeuron, SyntheticV1};
pub use video::Frames;
