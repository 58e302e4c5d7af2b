//! Makes a report with every kind of figure from invented data, to be looked at:
//! `cargo run --example figure_gallery -- DIRECTORY`.

use std::path::PathBuf;

use std::time::Duration;

use anyhow::Context;
use xtask::report::figure::{
    Axis, Bar, Cloud, ColorScale, Curve, Figure, Gallery, Group, Ink, Matrix, Panel, Shape,
};
use xtask::report::verdict::{at_least, close, greater, greater_paired};
use xtask::report::{Cell, Claim, Emphasis, Number, Quantity, Report, RunInfo, Scale, Table};

fn main() -> anyhow::Result<()> {
    let directory =
        PathBuf::from(std::env::args().nth(1).context("name the directory to write to")?);
    let mut noise = Noise(7);
    let mut report = Report::new(
        "Sudoku with Lp-convolution (invented data)",
        Scale::Small,
        "A picture of every kind of figure, table and verdict that a report can hold. All numbers are made up by this \
         example, so that the layout can be judged without running an experiment.",
        run_info(),
    );
    claims().into_iter().for_each(|claim| report.claim(claim));
    report.figure(training_curves(&mut noise), "Fig. 4b: test measures by epoch.");
    report.figure(ablation(&mut noise), "Fig. 10: accuracies while masks around 90° are ablated.");
    report.figure(shapes(), "Fig. 1e and 14: shapes of masks by p and C.");
    report.figure(
        conformation(&mut noise),
        "Fig. 5: scale, distortion and rotation of trained masks by layer.",
    );
    report.figure(all_masks(&mut noise), "Fig. 9: all 256 masks in each of the ten layers.");
    report.figure(comparison(&mut noise), "Bars, boxes, points, histograms and a matrix.");
    report.figure(gaps(), "What is missing or broken shows as such.");
    report.table("top1", top1_table(&mut noise));
    report.note("D16: the 7 × 7 convolution pads by reflection once and with zeros twice, as the authors' code does.");
    report.note("The paper gives no numbers for Fig. 4b; the comparison is one of direction.");
    println!("{}", report.save(&directory)?.display());
    Ok(())
}

fn run_info() -> RunInfo {
    let pairs =
        |list: &[(&str, &str)]| list.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
    RunInfo {
        command: "cargo run --example figure_gallery -- DIRECTORY".into(),
        recipe: pairs(&[
            ("Model", "6 blocks × 64 channels"),
            ("Data", "10,000 generated puzzles, 2,000 for testing"),
        ]),
        seeds: vec![0, 1, 2],
        duration: Duration::from_secs(3723),
        versions: pairs(&[("Program", env!("CARGO_PKG_VERSION"))]),
        machine: "2 cores".into(),
    }
}

fn claims() -> Vec<Claim> {
    let solved = |name: &str, n| Quantity::counts(name, n, 2000, 1);
    let [base, lpf256, large, lp2] =
        [("base", 610), ("lpf256", 622), ("large", 1004), ("lp2", 1034)]
            .map(|(name, n)| solved(name, n));
    let highest = [&base, &lpf256, &large].map(|other| greater(&lp2, other, 0.0));
    let seeds = |name: &str, values: [f64; 3]| Quantity::seeds(name, &values, 2);
    let (row, column) =
        (seeds("row loss", [12.0, 14.5, 13.1]), seeds("column loss", [9.0, 10.2, 9.5]));
    let params = (Quantity::exact("ours (M)", 57.823, 3), Quantity::exact("paper (M)", 57.82, 2));
    vec![
        Claim::new(
            "Lp2 has by far the highest Sudoku accuracy.",
            at_least(3, &highest),
            Scale::Small,
        ),
        Claim::new("Lp2 beats the base model.", greater(&lp2, &base, 0.0), Scale::Small),
        Claim::new(
            "Frozen masks with p = 256 equal the base model within 2 points.",
            close(&lpf256, &base, 2.0),
            Scale::Small,
        ),
        Claim::new(
            "Ablating 90° costs columns more than rows.",
            greater_paired(&column, &row, 0.0),
            Scale::Small,
        ),
        Claim::new(
            "AlexNet has 57.82 M parameters.",
            close(&params.0, &params.1, 0.005),
            Scale::Small,
        ),
    ]
}

fn top1_table(noise: &mut Noise) -> Table {
    let mut table = Table::new(
        "Top-1 accuracy in percent (small scale, invented)",
        ["model", "base", "large", "lp16", "lp2", "verdict"],
    );
    for model in ["AlexNet", "VGG-16", "ResNet-18", "ConvNeXt-T"] {
        let mut number =
            |mean: f64| Number::new(mean + noise.normal(), 2).sd(0.4 + 0.1 * noise.uniform());
        table.push([
            model.into(),
            number(52.0).into(),
            if model == "VGG-16" { Cell::Empty } else { number(48.0).stars("**").into() },
            number(53.0).stars("*").emphasis(Emphasis::Second).into(),
            number(55.0).stars("***").emphasis(Emphasis::Best).into(),
            greater(&Quantity::exact("lp2", 55.0, 0), &Quantity::exact("base", 52.0, 0), 0.0)
                .verdict()
                .into(),
        ]);
    }
    table.note("Mean ± standard deviation of 5 seeds; stars by Welch's t-test against base.");
    table
}

/// Like Fig. 4b: six measures over epochs for five conditions.
fn training_curves(noise: &mut Noise) -> Figure {
    let epochs: Vec<f64> = (1..=20).map(f64::from).collect();
    let measures = ["loss", "number", "row", "column", "box", "sudoku"];
    let panels = measures.iter().enumerate().map(|(m, measure)| {
        let curves =
            ["base", "large", "lpf256", "lp2", "lp16"].iter().enumerate().map(|(c, name)| {
                let runs: Vec<Vec<f64>> = (0..3)
                    .map(|_| {
                        let best = 55.0 + 5.0 * ((c * 7 + m * 3) % 9) as f64;
                        let value = |epoch: &f64| best * (1.0 - (-epoch / (2.0 + c as f64)).exp());
                        let scaled = |y: f64| if m == 0 { 2.2 - y / 60.0 } else { y };
                        epochs
                            .iter()
                            .map(|epoch| scaled(value(epoch) + 1.5 * noise.normal()))
                            .collect()
                    })
                    .collect();
                Curve::over_runs(*name, Ink::condition(name).expect("a condition"), &epochs, &runs)
            });
        let label = if m == 0 { "cross entropy" } else { "accuracy (%)" };
        Panel::lines(
            *measure,
            Axis::new("epoch").range(0.0, 20.0),
            Axis::new(label),
            curves.collect(),
        )
    });
    Figure::new("training_curves", "Sudoku: test measures by epoch, mean ± sd of 3 seeds")
        .panels(panels)
}

/// Like Fig. 10: accuracies against the half-window of ablated orientations.
fn ablation(noise: &mut Noise) -> Figure {
    let r: Vec<f64> = (0..=18).map(|i| f64::from(i) * 5.0).collect();
    let panels = ["layers 1–10", "layers 1–5", "layers 6–10"].map(|layers| {
        let curves = ["row", "column", "box", "sudoku"].iter().enumerate().map(|(i, name)| {
            let slope = [0.2, 1.6, 0.3, 1.9][i];
            let run = |noise: &mut Noise| {
                r.iter()
                    .map(|r| (95.0 - slope * r / 2.0 + 2.0 * noise.normal()).clamp(0.0, 100.0))
                    .collect()
            };
            let runs = [run(noise), run(noise), run(noise)];
            Curve::over_runs(*name, Ink::Category(i), &r, &runs)
        });
        let x = Axis::new("half-window r around 90° (degrees)").range(0.0, 90.0).step(30.0);
        Panel::lines(layers, x, Axis::new("accuracy (%)").range(0.0, 100.0), curves.collect())
    });
    Figure::new("ablation", "Ablation of masks by orientation").panels(panels)
}

fn mask(side: usize, p: f64, c: [[f64; 2]; 2]) -> Matrix {
    let middle = (side - 1) as f64 / 2.0;
    let values = (0..side * side).map(|i| {
        let d = [(i / side) as f64 - middle, (i % side) as f64 - middle];
        let z = |row: [f64; 2]| (row[0] * d[0] + row[1] * d[1]).abs().powf(p);
        (-(z(c[0]) + z(c[1]))).exp() as f32
    });
    Matrix::new(side, side, values.collect())
}

fn turned(scale: [f64; 2], degrees: f64) -> [[f64; 2]; 2] {
    let (sin, cos) = degrees.to_radians().sin_cos();
    [[cos / scale[0], sin / scale[0]], [-sin / scale[1], cos / scale[1]]]
}

/// Like Fig. 1e and 14: shapes by p and C.
fn shapes() -> Figure {
    let ps = [0.25, 0.5, 1.0, 2.0, 4.0, 16.0, 256.0];
    let cs = [
        ([7.0, 7.0], 0.0, "isotropic"),
        ([11.0, 4.0], 0.0, "stretched"),
        ([11.0, 4.0], 35.0, "rotated"),
    ];
    let masks =
        cs.iter().flat_map(|(s, angle, _)| ps.map(|p| mask(31, p, turned(*s, *angle)))).collect();
    let gallery = Gallery::new(ps.len(), masks)
        .row_captions(cs.map(|(.., name)| name))
        .column_captions(ps.map(|p| format!("p = {p}")));
    Figure::new("shapes", "Shapes of Lp-masks").panel(Panel::gallery("", gallery))
}

/// Like Fig. 5: a gallery beside the distributions of what it shows.
fn conformation(noise: &mut Noise) -> Figure {
    let layers: Vec<String> = (1..=10).map(|layer| layer.to_string()).collect();
    let mut groups = |value: &dyn Fn(f64, f64) -> f64| -> Vec<Group> {
        let values = |layer: usize, noise: &mut Noise| {
            (0..256).map(|_| value(layer as f64, noise.normal())).collect()
        };
        layers
            .iter()
            .enumerate()
            .map(|(i, name)| Group::new(name, Ink::Lp2, values(i, noise)))
            .collect()
    };
    let alpha = groups(&|layer, n| 1.6 + 0.12 * layer + 0.2 * n);
    let gamma = groups(&|layer, n| 1.0 + (0.2 * layer + 0.4) * n.abs());
    let theta = groups(&|_, n| {
        let nearest = if (n * 1000.0).rem_euclid(2.0) < 1.2 { 90.0 } else { 0.0 };
        (nearest + 15.0 * n).rem_euclid(180.0)
    });
    let all: Vec<f64> = theta.iter().flat_map(|group| group.values().to_vec()).collect();
    let masks = (0..25).map(|i| {
        mask(7, 2.0, turned([0.8 + f64::from(i / 5) * 0.5, 1.5], f64::from(i % 5) * 36.0))
    });
    let gallery = Gallery::new(5, masks.collect()).max_cell(36.0);
    let layer = || Axis::new("layer");
    Figure::new("conformation", "Conformation of the masks of Lp2")
        .panel(Panel::gallery("Masks", gallery))
        .panel(Panel::distributions("Scale", layer(), Axis::new("α"), Shape::Violin, alpha))
        .panel(Panel::distributions(
            "Distortion",
            layer(),
            Axis::new("γ").log(),
            Shape::Violin,
            gamma,
        ))
        .panel(Panel::distributions(
            "Rotation",
            layer(),
            Axis::new("θ (degrees)").range(0.0, 180.0).step(45.0),
            Shape::Strip,
            theta,
        ))
        .panel(Panel::histogram(
            "Rotation, all layers",
            Axis::new("θ (degrees)").range(0.0, 180.0).step(45.0),
            Axis::new("masks"),
            36,
            vec![Group::new("trained", Ink::Lp2, all.clone())],
        ))
        .panel(Panel::orientations("Rotation, all layers", 18, Group::new("masks", Ink::Lp2, all)))
}

/// Like Fig. 9: 256 masks in each of ten layers.
fn all_masks(noise: &mut Noise) -> Figure {
    let panels = (1..=10).map(|layer| {
        let masks = (0..256).map(|_| {
            let long = 1.2 + f64::from(layer) * 0.25 * noise.normal().abs();
            mask(7, 2.0, turned([long, 1.2], if noise.normal() > 0.0 { 90.0 } else { 0.0 }))
        });
        Panel::gallery(format!("layer {layer}"), Gallery::new(16, masks.collect()))
    });
    let figure = Figure::new("all_masks", "All masks of Lp2 after training").panels(panels);
    figure.columns(5).width(1500.0).without_letters()
}

/// Bars with points, boxes, scatter and histograms of p.
fn comparison(noise: &mut Noise) -> Figure {
    let names = ["base", "large", "lpf256", "lp16", "lp8", "lp4", "lp2"];
    let ink = |name: &str| Ink::condition(name).expect("a condition");
    let seeds = |mean: f64, noise: &mut Noise| {
        (0..5).map(|_| mean + 0.8 * noise.normal()).collect::<Vec<_>>()
    };
    let bars = names.iter().enumerate().map(|(i, name)| {
        Bar::of_points(
            *name,
            ink(name),
            seeds(52.0 + [0.0, -11.0, 0.3, 1.5, 2.0, 2.4, 3.0][i], noise),
        )
    });
    let bars = Panel::bars("Top-1", Axis::new("condition"), Axis::new("top-1 (%)"), bars.collect());
    let boxes = names.iter().map(|name| Group::new(*name, ink(name), seeds(0.3, noise))).collect();
    let boxes = Panel::distributions(
        "SSM",
        Axis::new("condition"),
        Axis::new("max SSM"),
        Shape::Box,
        boxes,
    );
    let clouds = ["lp2", "lp16"].map(|name| {
        let points =
            (0..60).map(|_| noise.normal()).map(|x| (x, 0.6 * x + 0.5 * noise_of(x))).collect();
        Cloud::new(name, ink(name), points)
    });
    let cloud = Panel::scatter("Scatter", Axis::new("ours"), Axis::new("paper"), clouds.to_vec());
    let histograms = ["lp2", "lp4", "lp8", "lp16"].iter().map(|name| {
        let start: f64 = name[2..].parse().expect("a number");
        Group::new(
            *name,
            ink(name),
            (0..400).map(|_| start * (1.0 + 0.06 * noise.normal())).collect(),
        )
    });
    let x = Axis::new("p after training").range(0.0, 20.0);
    let p = Panel::histogram("p of all masks", x, Axis::new("masks"), 80, histograms.collect());
    let rsm: Vec<f32> =
        (0..118 * 118).map(|i| (((i / 118) as f32 - (i % 118) as f32) / 9.0).cos()).collect();
    let rsm = Gallery::new(1, vec![Matrix::new(118, 118, rsm)]).max_cell(200.0);
    Figure::new("comparison", "Other kinds of panels")
        .panels([bars, boxes, cloud, p])
        .panel(Panel::gallery("Similarity of 118 images", rsm))
        .color_scale(ColorScale::new("correlation", -1.0, 1.0))
}

fn noise_of(x: f64) -> f64 {
    (x * 1234.5).sin()
}

/// What is missing or broken must be seen as such.
fn gaps() -> Figure {
    let x: Vec<f64> = (0..12).map(f64::from).collect();
    let y: Vec<f64> =
        x.iter().map(|x| if (4.0..6.0).contains(x) { f64::NAN } else { x.sin() }).collect();
    let axes = || (Axis::new("step"), Axis::new("value"));
    let lines = |title: &str, curves| Panel::lines(title, axes().0, axes().1, curves);
    let broken = Matrix::new(2, 2, vec![0.0, f32::NAN, 2.0, 1.0]);
    Figure::new("gaps", "Gaps, constants & <markup> for $5 and $6")
        .panel(lines("NaN leaves a gap", vec![Curve::new("base", Ink::Base, &x, &y)]))
        .panel(lines("nothing", vec![]))
        .panel(lines("one point", vec![Curve::new("lp2", Ink::Lp2, &[3.0], &[0.5])]))
        .panel(Panel::distributions(
            "constant & empty groups",
            axes().0,
            axes().1,
            Shape::Violin,
            vec![
                Group::new("equal", Ink::Lp2, vec![1.0; 20]),
                Group::new("empty", Ink::Lp4, vec![]),
                Group::new("spread", Ink::Lp8, (0..30).map(|i| f64::from(i).sqrt()).collect()),
            ],
        ))
        .panel(Panel::gallery("NaN and out of range", Gallery::new(2, vec![broken]).max_cell(60.0)))
        .panel(Panel::gallery("no masks", Gallery::new(2, vec![])))
        .panel(Panel::orientations("no angles", 12, Group::new("", Ink::Base, vec![f64::NAN])))
        .panel(Panel::bars(
            "a bar that failed",
            Axis::new(""),
            axes().1,
            vec![Bar::new("a", Ink::Base, f64::NAN), Bar::new("b", Ink::Lp2, -2.0).error(0.5)],
        ))
        .panel(Panel::scatter(
            "log axis",
            axes().0.log(),
            axes().1.log(),
            vec![Cloud::new("p", Ink::Neutral, vec![(1.0, 10.0), (100.0, 1e4), (0.0, 1.0)])],
        ))
}

/// Good enough noise for pictures: sums of a linear congruential generator's numbers.
struct Noise(u64);

impl Noise {
    fn uniform(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}
