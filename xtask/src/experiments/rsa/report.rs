//! The page: what was compared with what, and what that can say.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use neuro::stats::{mean, spearman};

use super::{
    FILE,
    brain::{AREAS, PAPER_AREAS},
    figures,
    similarity::{ModelSsm, Similarities},
};
use crate::{
    experiments::{ScaleName, run_info},
    report::{Cell, Claim, Number, Quantity, Report, Scale, Table, verdict},
    results::read_json,
};

pub(super) fn write(folder: &Path, _: ScaleName) -> anyhow::Result<PathBuf> {
    let found: Similarities = read_json(&folder.join(FILE))?;
    // No model here was trained with masks: whatever is measured says nothing about the paper's models.
    let scale = Scale::Demo;
    let mut report = Report::new(
        "Representational similarity to mouse visual cortex (Fig 6, 11)",
        scale,
        summary(&found),
        run_info(
            folder,
            &[
                ("Models".into(), "SqueezeNet 1.0, trained on ImageNet and before training".into()),
                (
                    "Similarity".into(),
                    "Kendall's tau-b of Pearson RSMs over the noise ceiling".into(),
                ),
            ],
            &[],
            Duration::from_secs_f64(found.seconds),
        )?,
    );
    for claim in claims(&found, scale)? {
        report.claim(claim);
    }
    figures::add(&mut report, &found)?;
    report.table("best", best(&found));
    report.table("differences", differences(&found));
    report.table("areas", areas(&found));
    report.table("ssm", all(&found));
    for note in NOTES {
        report.note(*note);
    }
    if !found.single_trials {
        report.note(
            "The shipped recordings are sums over odd and even trials: two RSMs and one ceiling an area instead of the paper's \
             100 and 50 random halves. With single trials (--data FOLDER with files AREA_SESSION.npz) the paper's numbers are \
             taken.",
        );
    }
    Ok(report.save(folder)?)
}

const NOTES: &[&str] = &[
    "What this can say: how similar the layers of a trained network, of the same network before training, and of both under \
     Lp-masks are to six areas of mouse visual cortex, for these 118 scenes. What it cannot say: whether training with masks of p near \
     2 makes networks more similar, the paper's claim. None of these networks was trained with masks; the masks only weight \
     kernels that were trained without them.",
    "Converted models have the old kernels under the mask and zeros around them, so that lp16 computes nearly what base does.",
    "The recordings are spikes of the Visual Coding Neuropixels set; the paper uses two-photon calcium of the same observatory and \
     the same scenes. Area RL (VISrl) is none of the paper's five and left out of maxima; session 769360779 of LM is left out, since its halves hardly agree. Responses are in the window and of the sessions that the source of \
     the data chose, so that ceilings are somewhat high.",
    "Scenes are shown from copies of 200 x 256 pixels: the left square of 200 pixels, bilinear to the models' input (the paper's \
     224 with --scale small), minus mean, over standard deviation.",
    "Models are in evaluation mode; the paper's script leaves batch norm in training mode (D15), which SqueezeNet does not have.",
    "The ceiling is the similarity of two halves of the trials, without correction for their half length, as in the paper; a layer may \
     exceed 1, since an RSM of half the trials is compared with a model without noise.",
    "Intervals by bootstrap: 200 samples of the scenes for V1; those across animals, 50 samples of scenes and animals.",
];

fn summary(found: &Similarities) -> String {
    let group = |name: &str| found.models.iter().find(|m| m.group == name && m.seed == 0);
    let told = |name: &str| match group(name) {
        Some(m) => {
            let (place, ssm) = m.best(0);
            let [_, low, high] = m.layers[place].v1_scenes;
            format!("{ssm:.2} ({low:.2} to {high:.2}, {})", m.layers[place].path)
        }
        None => "not computed".into(),
    };
    format!(
        "Similarity to V1 of the best layer, in units of V1's own reliability (95 % interval over scenes): trained network {}, \
         under masks of p = 2 {}, untrained {}; pixels {:.2}. A demonstration of the method on real recordings: no network here \
         was trained with masks, so that it cannot test the paper's claim.",
        told("trained base"),
        told("trained lp2"),
        told("untrained base"),
        found.pixels.first().copied().unwrap_or(f64::NAN)
    )
}

/// The paper's claim, which a demo cannot judge, and what must hold of the pipeline.
fn claims(found: &Similarities, scale: Scale) -> anyhow::Result<Vec<Claim>> {
    let of_group = |name: &str| -> Vec<f64> {
        let models = found.models.iter().filter(|m| m.group == name);
        models.map(|m| m.maximum()).collect()
    };
    let quantity = |name: &str| Quantity::seeds(name, &of_group(name), 3);
    let lp: Vec<&ModelSsm> = found.models.iter().filter(|m| m.trained && m.p.is_some()).collect();
    let exponents: Vec<f64> = lp.iter().filter_map(|m| m.p).collect();
    let maxima: Vec<f64> = lp.iter().map(|m| m.maximum()).collect();
    let trend = Quantity::seeds(
        "Spearman correlation of p with the maximum SSM",
        &[spearman(&exponents, &maxima)?.statistic],
        2,
    )
    .of_each("network");
    let ceilings: Vec<f64> = found.areas.iter().map(|a| a.ceiling).collect();
    let least = ceilings.iter().copied().fold(f64::INFINITY, f64::min);
    let order = found.models.iter().filter(|m| m.trained && m.p.is_none());
    let permutations = order.flat_map(|m| m.layers.iter().filter_map(|l| l.v1_permutation));
    let worst = permutations.fold(0.0, f64::max);
    Ok(vec![
        Claim::new(
            "The closer p is to 2, the higher the maximum similarity (Fig 6b).",
            verdict::greater(&Quantity::exact("none", 0.0, 0), &trend, 0.0),
            scale,
        ),
        Claim::new(
            "Networks with masks that start from p = 2 are at least as similar as those without (Fig 6b).",
            verdict::greater(&quantity("untrained lp2"), &quantity("untrained base"), 0.0),
            scale,
        ),
        Claim::new(
            "Self-check: every area is reliable, so that there is something to explain.",
            verdict::greater(
                &Quantity::exact("lowest ceiling of an area", least, 3),
                &Quantity::exact("0.1", 0.1, 1),
                0.0,
            ),
            scale,
        ),
        Claim::new(
            "Self-check: scenes and responses are in the same order: shuffled, the trained network's best layer is \
             never as similar to V1.",
            verdict::close(
                &Quantity::exact("p-value by 999 permutations", worst, 3),
                &Quantity::exact("none", 0.0, 0),
                0.005,
            ),
            scale,
        ),
    ])
}

/// Fig 6b: the maximum over layers and areas, and over layers for each area.
fn best(found: &Similarities) -> Table {
    let names = found.areas.iter().map(|a| a.name.clone());
    let columns = ["model".to_owned(), "seed".into(), "maximum".into(), "best layer for V1".into()];
    let mut table = Table::new(
        "Corrected SSM of the best layer (demo scale)",
        columns.into_iter().chain(names).collect::<Vec<_>>(),
    );
    for model in &found.models {
        let (place, _) = model.best(0);
        let [_, low, high] = model.layers[place].v1_scenes;
        let mut row: Vec<Cell> = vec![
            model.group.as_str().into(),
            (model.seed as usize).into(),
            Cell::number(model.maximum(), 3),
            format!("{} ({low:.2} to {high:.2})", model.layers[place].path).into(),
        ];
        row.extend((0..found.areas.len()).map(|a| {
            let (place, ssm) = model.best(a);
            Number::new(ssm, 3).sd(model.layers[place].error[a]).into()
        }));
        table.push(row);
    }
    let mut row: Vec<Cell> = vec!["pixels".into(), Cell::Empty];
    let of_paper = found.pixels.iter().take(PAPER_AREAS).copied();
    row.push(Cell::number(of_paper.fold(f64::NEG_INFINITY, f64::max), 3));
    row.push(Cell::Empty);
    row.extend(found.pixels.iter().map(|p| Cell::number(*p, 3)));
    table.push(row);
    table.note(
        "±: the paper's error bar, half the standard deviation over RSMs of the area over the ceiling. Maximum: over the \
         paper's five areas. In brackets: 95 % interval over scenes of the layer that is best for these scenes; that it was \
         chosen among 26 is not accounted for.",
    );
    table
}

fn differences(found: &Similarities) -> Table {
    let mut table = Table::new(
        "Differences of the best layers' corrected SSM with V1, on the same samples of scenes",
        ["model", "minus", "difference", "95 % interval"],
    );
    for d in &found.differences {
        let [middle, low, high] = d.interval;
        table.push([
            d.a.as_str().into(),
            d.b.as_str().into(),
            Cell::number(middle, 3),
            format!("{low:+.3} to {high:+.3}").into(),
        ]);
    }
    table
}

fn areas(found: &Similarities) -> Table {
    let mut table = Table::new(
        "Recordings",
        ["area", "paper", "units", "sessions", "trials or halves", "ceiling", "across animals"],
    );
    for area in &found.areas {
        let [low, high] = area.across_animals;
        let paper = AREAS.iter().find(|(name, _)| *name == area.name).map_or("", |(_, p)| p);
        table.push([
            area.name.as_str().into(),
            paper.into(),
            area.units.into(),
            area.sessions.into(),
            area.trials.into(),
            Cell::number(area.ceiling, 3),
            format!("{low:.3} to {high:.3}").into(),
        ]);
    }
    table.note("Ceiling: tau of the RSMs of two halves of the trials, all sessions' units together. Across animals: \
                mean tau of a session to the others, and to all with itself.");
    table
}

/// Everything, for programs: `ssm.tsv` of the specification.
fn all(found: &Similarities) -> Table {
    let mut table = Table::new(
        "Corrected SSM by layer and area",
        ["model", "seed", "depth", "layer", "area", "ssm", "err"],
    );
    for model in &found.models {
        for (depth, layer) in model.layers.iter().enumerate() {
            for (a, area) in found.areas.iter().enumerate() {
                table.push([
                    model.group.as_str().into(),
                    (model.seed as usize).into(),
                    (depth + 1).into(),
                    layer.path.as_str().into(),
                    area.name.as_str().into(),
                    Cell::number(layer.ssm[a], 4),
                    Cell::number(layer.error[a], 4),
                ]);
            }
        }
    }
    table
}

/// The mean over layers of the seeds of a group, by depth, for an area.
pub(super) fn by_depth(found: &Similarities, group: &str, area: usize) -> Vec<Vec<f64>> {
    let models = found.models.iter().filter(|m| m.group == group);
    models.map(|m| m.layers.iter().map(|l| l.ssm[area]).collect()).collect()
}

/// The mean of the maximum over the seeds of a group.
pub(super) fn maxima(found: &Similarities, group: &str) -> Vec<f64> {
    let models = found.models.iter().filter(|m| m.group == group);
    models.map(|m| m.maximum()).collect()
}

/// The groups in the order of the list of models, each once.
pub(super) fn groups(found: &Similarities) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for model in &found.models {
        if !groups.contains(&model.group) {
            groups.push(model.group.clone());
        }
    }
    groups.sort_by(|a, b| mean(&maxima(found, b)).total_cmp(&mean(&maxima(found, a))));
    groups
}
