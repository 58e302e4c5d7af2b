//! E7, RepLKNet (Table 3): do masks help kernels that are as large as the image already?

use super::{
    Experiment, ScaleName,
    classification::{self, Recipe, Study},
    condition::Condition,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: STUDY.name,
    paper: "Table 3 (E7): masks on RepLKNet's own kernels",
    data: "part of TinyImageNet is built in (20 classes); the paper's scale needs all of it (--data FOLDER)",
    demo: "about 2 minutes",
    trials: |request| classification::trials(&STUDY, request),
    has_trials: true,
    can_shorten: true,
    run: |session| classification::run(&STUDY, session),
    report: |folder, scale| classification::report(&STUDY, folder, scale),
};

const STUDY: Study = Study {
    name: "table3",
    title: "RepLKNet with Lp-convolution (Table 3)",
    question: "RepLKNet's kernels are large already: do masks that start from p = 2, as wide as the kernels themselves, still help?",
    table: include_str!("../../paper/table03.tsv"),
    number: 3,
    printed: &[("replknet31t", "RepLKNet")],
    recipe,
    conditions: |_| vec![Condition::Base, Condition::Lp(2.0)],
    seeds,
    masks_only: true,
    claims: classification::table_3,
    notes: &[
        "Kernels keep their size, masks start with a radius of half a kernel, and all weights start afresh; the kernels beside \
         the large ones and the 1x1 ones have masks too. Trained in the form of two branches, which is the one the paper's \
         parameter counts match.",
        "The paper says 150 epochs and nothing else of the recipe: the rest is that of Table 1. Parameters and FLOPs are \
         checked by `reproduce cost`.",
    ],
};

fn recipe(scale: ScaleName) -> Recipe {
    let tiny = |recipe: Recipe| Recipe { datasets: "tinyimagenet".into(), ..recipe };
    match scale {
        ScaleName::Paper => tiny(Recipe {
            models: "replknet31t".into(),
            epochs: 150,
            stochastic_depth: 0.0,
            ..Recipe::paper()
        }),
        ScaleName::Small => tiny(Recipe { models: "replknet_mini".into(), ..Recipe::small() }),
        ScaleName::Demo => Recipe { epochs: 15, evaluate_every: 3, ..recipe(ScaleName::Small) },
    }
}

fn seeds(scale: ScaleName) -> Vec<u64> {
    match scale {
        ScaleName::Paper => vec![0, 1, 2, 3, 4],
        ScaleName::Small => vec![0, 1, 2, 3, 4],
        ScaleName::Demo => vec![0, 1],
    }
}
