//! E14, other architectures (Table 9): ConvNeXt-V2, ResNet-50, ResNeXt-50 and DenseNet-121 with masks that start from p = 2.

use super::{
    Experiment, ScaleName,
    classification::{self, Recipe, Study},
    condition::Condition,
};

pub(super) const EXPERIMENT: Experiment = Experiment {
    name: STUDY.name,
    paper: "Table 9 (E14): classification by four more architectures",
    data: "part of CIFAR-100 is built in; the paper's scale needs all of it (--data FOLDER)",
    demo: "about 4 minutes",
    trials: |request| classification::trials(&STUDY, request),
    has_trials: true,
    can_shorten: true,
    run: |session| classification::run(&STUDY, session),
    report: |folder, scale| classification::report(&STUDY, folder, scale),
};

const STUDY: Study = Study {
    name: "table9",
    title: "Other architectures with Lp-convolution (Table 9)",
    question: "Do enlarged kernels with masks that start from p = 2 help bottlenecks, grouped, densely connected and depthwise \
               convolutions too?",
    table: include_str!("../../paper/table09.tsv"),
    number: 9,
    printed: &[
        ("convnextv2_tiny", "ConvNeXt-V2-T"),
        ("resnet50", "ResNet-50"),
        ("resnext50_32x4d", "ResNeXt-50"),
        ("densenet121", "DenseNet-121"),
    ],
    recipe,
    conditions: |_| vec![Condition::Base, Condition::Lp(2.0)],
    seeds,
    masks_only: false,
    claims: classification::table_9,
    notes: &[
        "All 1x1 convolutions are enlarged to 3x3 as well, which makes a ResNet-50 of 23.7 million parameters one of 171.2.",
        "The paper's code has no entry for ConvNeXt-V2; its blocks are never left out here, since the paper does not say that \
         they are.",
    ],
};

fn recipe(scale: ScaleName) -> Recipe {
    let cifar = |models: &str, recipe| Recipe {
        datasets: "cifar100".into(),
        models: models.into(),
        stochastic_depth: 0.0,
        ..recipe
    };
    match scale {
        ScaleName::Paper => {
            cifar("convnextv2_tiny,resnet50,resnext50_32x4d,densenet121", Recipe::paper())
        }
        ScaleName::Small => {
            cifar("convnextv2_mini,resnet11,resnext11,densenet_mini", Recipe::small())
        }
        ScaleName::Demo => Recipe {
            classes: 20,
            epochs: 10,
            evaluate_every: 2,
            ..cifar("resnet11,resnext11", Recipe::small())
        },
    }
}

fn seeds(scale: ScaleName) -> Vec<u64> {
    match scale {
        ScaleName::Paper => vec![0, 1, 2, 3, 4],
        ScaleName::Small => vec![0, 1, 2],
        ScaleName::Demo => vec![0],
    }
}
