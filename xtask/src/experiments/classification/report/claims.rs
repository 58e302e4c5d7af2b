//! What of the paper the trials show, by the rules of the specification ("reproduced if").

use anyhow::Result;
use neuro::stats::pearson;

use super::{
    Page,
    exponents::{distortions, frozen_layers, printed},
    paper::figures,
    trials::{Column, Trial},
};
use crate::{
    experiments::{ScaleName, classification::recipe::ImageData},
    report::{Claim, Comparison, Quantity, verdict},
};

/// The claims of a table.
pub(in crate::experiments) type Claims = fn(&Page) -> Result<Vec<Claim>>;

fn claim(page: &Page, text: impl Into<String>, comparison: Comparison) -> Claim {
    Claim::new(text, comparison, page.scale.scale())
}

/// `a − b > margin`, by seeds that both have.
fn paired(page: &Page, column: &Column, a: &str, b: &str, margin: f64) -> Option<Comparison> {
    let (ours, others) = page.trials.pairs(column, a, b);
    (!ours.is_empty()).then(|| {
        verdict::greater_paired(
            &Quantity::seeds(a, &ours, 2),
            &Quantity::seeds(b, &others, 2),
            margin,
        )
    })
}

/// E5 with E2 and E13.
pub(in crate::experiments) fn table_1(page: &Page) -> Result<Vec<Claim>> {
    let mut claims = match page.scale {
        ScaleName::Paper => table_1_at_its_scale(page)?,
        _ => directions(page),
    };
    claims.extend(masks(page)?);
    Ok(claims)
}

/// E7: RepLKNet gains 0.9 points.
pub(in crate::experiments) fn table_3(page: &Page) -> Result<Vec<Claim>> {
    let mut claims = gains(
        page,
        0.0,
        "Masks on RepLKNet's own kernels raise its accuracy (+0.9 points in Table 3)",
    );
    claims.extend(frozen(page));
    Ok(claims)
}

/// E14: four more nets gain 1.3 to 3.8 points.
pub(in crate::experiments) fn table_9(page: &Page) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    if page.scale == ScaleName::Paper {
        let printed = figures(page.study.table, "top1_pct")?;
        let of = |model: &str, condition: &str| {
            printed.iter().find(|f| f.model == model && f.condition == condition).map(|f| f.mean)
        };
        for column in &page.trials.columns {
            let model = page.printed_model(&column.model);
            let (Some(lp2), Some(base)) = (of(&model, "lp2"), of(&model, "base")) else { continue };
            let half = (lp2 - base) / 2.0;
            if let Some(comparison) = paired(page, column, "lp2", "base", half) {
                let text = format!(
                    "{model}: lp2 gains at least half of the {:.2} points of Table 9.",
                    lp2 - base
                );
                claims.push(claim(page, text, comparison));
            }
        }
    } else {
        claims = gains(
            page,
            0.0,
            "Enlarged kernels with masks that start from p = 2 raise the accuracy of other architectures (Table 9)",
        );
    }
    claims.extend(frozen(page));
    Ok(claims)
}

fn gains(page: &Page, margin: f64, text: &str) -> Vec<Claim> {
    let of = |column: &Column| {
        let comparison = paired(page, column, "lp2", "base", margin)?;
        Some(claim(page, format!("{text}: {}.", page.printed_model(&column.model)), comparison))
    };
    page.trials.columns.iter().filter_map(of).collect()
}

/// What small nets can show of Table 1: directions.
fn directions(page: &Page) -> Vec<Claim> {
    let mut claims = Vec::new();
    for column in &page.trials.columns {
        let model = page.printed_model(&column.model);
        let mut compare = |a: &str, b: &str, text: &str| {
            if let Some(comparison) = paired(page, column, a, b, 0.0) {
                claims.push(claim(page, format!("{model}: {text}"), comparison));
            }
        };
        compare(
            "lp2",
            "base",
            "large kernels with masks that start from p = 2 beat small ones (9 of 10 columns of Table 1).",
        );
        compare("lp2", "large", "masks beat the same kernels without (all columns of Table 1).");
        if column.model.starts_with("alexnet") || column.model.starts_with("vgg") {
            compare(
                "base",
                "large",
                "large kernels without a mask are worse than small ones (AlexNet and VGG-16 in Table 1).",
            );
        } else if column.model.starts_with("resnet") {
            compare(
                "large",
                "base",
                "large kernels without a mask are better than small ones (ResNets in Table 1).",
            );
        }
    }
    claims
}

/// The rules of E5 for the full recipe.
fn table_1_at_its_scale(page: &Page) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let printed = figures(page.study.table, "top1_pct")?;
    let exempt = |c: &Column| c.model == "convnext_tiny" && c.dataset == ImageData::Cifar100;
    let (mut gains, mut levels, mut same) = (Vec::new(), Vec::new(), Vec::new());
    for column in &page.trials.columns {
        let (model, data) = (page.printed_model(&column.model), column.dataset.printed());
        let of = |condition: &str| {
            let mut cells = printed.iter().filter(|f| f.model == model && f.dataset == data);
            cells.find(|f| f.condition == condition)
        };
        if let (Some(lp2), Some(base)) = (of("lp2"), of("base"))
            && ["**", "***"].contains(&lp2.stars.as_str())
        {
            gains.extend(paired(page, column, "lp2", "base", (lp2.mean - base.mean) / 2.0));
        }
        let tolerance = match column.model.as_str() {
            "alexnet" => 1.5,
            "convnext_tiny" if exempt(column) => 6.0,
            _ => 1.0,
        };
        for condition in &page.trials.conditions {
            let ours = page.trials.top1(column, condition);
            if let (Some(cell), false) = (of(condition), ours.is_empty()) {
                levels.push(verdict::close(
                    &Quantity::seeds(format!("{model}, {data}, {condition}"), &ours, 2),
                    &Quantity::exact("paper", cell.mean, 2),
                    tolerance,
                ));
            }
        }
        if ["alexnet", "vgg16_bn"].contains(&column.model.as_str())
            && let Some(comparison) = paired(page, column, "base", "large", 0.0)
        {
            claims.push(claim(
                page,
                format!("{model}, {data}: large is worse than base."),
                comparison,
            ));
        }
        let frozen = page.trials.top1(column, "lpf256");
        if !exempt(column) && !frozen.is_empty() {
            let base = page.trials.top1(column, "base");
            same.push(verdict::close(
                &Quantity::seeds("lpf256", &frozen, 2),
                &Quantity::seeds("base", &base, 2),
                1.0,
            ));
        }
    }
    let all = [
        (
            "lp2 − base has the paper's sign and at least half its size wherever the paper has ** or ***.",
            gains,
        ),
        (
            "Every mean is within 1 point of the paper's (AlexNet 1.5, ConvNeXt-T on CIFAR-100 6).",
            levels,
        ),
        ("Frozen masks of p = 256 are within 1 point of base.", same),
    ];
    for (text, comparisons) in all {
        if !comparisons.is_empty() {
            claims.push(claim(page, text, verdict::at_least(comparisons.len(), &comparisons)));
        }
    }
    Ok(claims)
}

/// E2 and E13.
fn masks(page: &Page) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    for column in &page.trials.columns {
        let model = page.printed_model(&column.model);
        let trained: Vec<&Trial> =
            page.trials.of(column, "lp2").filter(|t| !t.masks.is_empty()).collect();
        if !trained.is_empty() {
            let spread: Vec<f64> = trained
                .iter()
                .filter_map(|t| Some(neuro::stats::median(&distortions(t.masks.first()?))))
                .collect();
            let text = format!(
                "{model}: trained masks of p = 2 are of many shapes (Fig 2f): half of the first layer's are longer than wide by \
                 5 % or more."
            );
            claims.push(claim(
                page,
                text,
                verdict::greater(
                    &Quantity::seeds("median γ", &spread, 3),
                    &Quantity::exact("a round mask's", 1.0, 0),
                    0.05,
                ),
            ));
        }
        claims.extend(apart(page, column));
        if page.is_paper() && column.model == "resnet18" {
            claims.extend(deviations(page, column)?);
        }
    }
    claims.extend(frozen(page));
    claims.extend(unchanged(page));
    Ok(claims)
}

/// Exponents of neighboring starts do not meet.
fn apart(page: &Page, column: &Column) -> Option<Claim> {
    let mut starts = page.trials.masked();
    starts.sort_by(|a, b| a.1.total_cmp(&b.1));
    let extreme = |t: &Trial, of: fn(f64, f64) -> f64| {
        t.masks.iter().flat_map(|l| l.p.iter().copied()).reduce(of)
    };
    let mut gaps = Vec::new();
    for pair in starts.windows(2) {
        for low in page.trials.of(column, pair[0].0) {
            let high = page.trials.of(column, pair[1].0).find(|t| t.spec.seed == low.spec.seed);
            let gap =
                high.and_then(|high| Some(extreme(high, f64::min)? - extreme(low, f64::max)?));
            gaps.extend(gap);
        }
    }
    (!gaps.is_empty()).then(|| {
        let text = format!(
            "{}: exponents stay near their start: those of different starts never overlap (Fig 15, 16).",
            page.printed_model(&column.model)
        );
        let gap = Quantity::seeds("smallest p of the higher start − largest of the lower", &gaps, 2);
        claim(page, text, verdict::greater(&gap, &Quantity::exact("none", 0.0, 0), 0.0))
    })
}

/// Medians of p by layer deviate from the start as the paper's do.
fn deviations(page: &Page, column: &Column) -> Result<Option<Claim>> {
    let paper = printed(page, column)?;
    let mut correlations = Vec::new();
    for seed in page.trials.seeds() {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for (condition, p) in page.trials.masked() {
            let Some(trial) = page.trials.of(column, condition).find(|t| t.spec.seed == seed)
            else {
                continue;
            };
            for (i, layer) in trial.masks.iter().enumerate() {
                let cell =
                    paper.iter().find(|f| f.layer == Some(i + 1) && f.condition == condition);
                if let Some(cell) = cell {
                    ours.push(neuro::stats::median(&layer.p) / p - 1.0);
                    theirs.push(cell.mean / p - 1.0);
                }
            }
        }
        correlations.extend(pearson(&ours, &theirs).ok().map(|c| c.statistic));
    }
    Ok((!correlations.is_empty()).then(|| {
        claim(
            page,
            "ResNet-18: medians of p by layer deviate from their start as in Tables 6 and 7: correlation above 0.5.",
            verdict::greater(
                &Quantity::seeds("correlation", &correlations, 2),
                &Quantity::exact("half", 0.5, 1),
                0.0,
            ),
        )
    }))
}

/// Section 1.3: exact, so a demo can say it too.
fn frozen(page: &Page) -> Option<Claim> {
    let layers: Vec<_> = page.trials.all.iter().flat_map(frozen_layers).map(|(l, _)| l).collect();
    (!layers.is_empty()).then(|| {
        let moved: usize = layers.iter().map(|l| l.p_moved + l.c_moved).sum();
        let masks: usize = layers.iter().map(|l| l.p.len()).sum();
        claim(
            page,
            format!(
                "Where only the middle tap of a mask matters (1x1 kernels of large p, images of a single pixel, frozen masks), p \
                 stays to the last bit and C changes by weight decay alone ({masks} masks)."
            ),
            verdict::close(
                &Quantity::exact("masks that differ", moved as f64, 0),
                &Quantity::exact("expected", 0.0, 0),
                0.0,
            ),
        )
    })
}

/// Frozen masks of p = 256 compute what base computes.
fn unchanged(page: &Page) -> Option<Claim> {
    let mut largest: Option<f64> = None;
    for column in &page.trials.columns {
        for (trial, done) in page.trials.done(column, "lpf256") {
            let mut base = page.trials.done(column, "base");
            let same = base.find(|(t, _)| t.spec.seed == trial.spec.seed);
            if let Some((_, base)) = same {
                let difference = (done.loss - base.loss).abs();
                largest = Some(largest.map_or(difference, |l| l.max(difference)));
            }
        }
    }
    largest.map(|largest| {
        claim(
            page,
            "Frozen masks of p = 256 are the control: training goes as that of base.",
            verdict::close(
                &Quantity::exact(
                    "largest difference of the last epoch's training loss",
                    largest,
                    6,
                ),
                &Quantity::exact("expected", 0.0, 0),
                0.0,
            ),
        )
    })
}
