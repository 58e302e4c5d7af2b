//! From a recording of one's own to predicted activity: a folder in the general form is written (here from a real session
//! that comes with the crate), read back, put into bins, learned from for two epochs, and the prediction scored.
//!
//! `cargo run --release -p neuro --example v1_own_recording`

use std::{error::Error, sync::Arc};

use neuro::mmv1::{
    Activity, BehaviorSet, ConvLayer, Mmv1, Mmv1Config, RawRecording, Sample, Score, Split,
    Windows, loss, park, predict,
};
use nn::{
    ModuleExt,
    data::{DataLoader, LoaderOptions, Order},
    optim::{Adam, AdamOptions, Groups},
    schedule::Constant,
    train::{StepOutput, TrainOptions, Trainer},
};
use tensor::{DType, Device};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("v1_recording_{}", std::process::id()));
    park::session("mrcuts29")?.save(&folder, &park::BINS)?;

    // From here on as with any folder; neuro::mmv1::folder says which files it has.
    let (raw, bins) = RawRecording::open(&folder)?;
    let recording = Arc::new(raw.bin(&bins)?.scaled());
    let windows = |split| Windows::new(&recording, split, 2, BehaviorSet::All);
    let (train, test) = (Arc::new(windows(Split::Train)?), windows(Split::Test)?);

    let layer = |channels| ConvLayer { channels, kernel: 5, stride: 2 };
    let mut model = Mmv1::new(&Mmv1Config {
        neurons: recording.units.len(),
        behaviors: train.behaviors(),
        frame: recording.frame(),
        layers: vec![layer(8), layer(8)],
        hidden: 32,
        shifter: false,
        ..Mmv1Config::default()
    });
    model.initialize(0, DType::F32, Device::Cpu);
    let options = LoaderOptions { batch_size: 64, order: Order::Shuffle, ..Default::default() };
    let collate = train.clone();
    let loader = DataLoader::new(train, options, move |samples: Vec<Sample>, _| {
        Ok(collate.batch(samples, Device::Cpu))
    });
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::uniform(0.0));
    let trainer = Trainer::new(TrainOptions { epochs: 2, ..Default::default() });
    trainer.run(&mut model, &mut optimizer, &Constant(3e-3), &loader, |batch, model, cx| {
        StepOutput::new(loss(model, batch, recording.response, 1.0, cx), batch.responses.dims()[0])
    })?;

    let predicted = predict(&model, &test, 256, Device::Cpu).map_err(|e| e as Box<dyn Error>)?;
    let score = Score::new(&predicted, &Activity::new(test.responses(), predicted.neurons()), 5)?;
    println!("{}: cc {:.3}, MSE {:.3}", recording.name, score.mean_cc(), score.mean_mse());
    assert!(score.mean_cc() > 0.0, "two epochs teach something");
    std::fs::remove_dir_all(folder)?;
    Ok(())
}
