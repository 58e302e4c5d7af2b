//! Optimizers and clipping against PyTorch; saving and loading their state.

use autograd::{Gradients, Var};
use nn::{
    Error, Module, Param,
    optim::{
        Adam, AdamOptions, AdamW, GroupOptions, Groups, Optimizer, Sgd, SgdOptions, clip_grad_norm,
        missing_gradients,
    },
};
use tensor::{DType, Device, Tensor};

mod close;
use close::assert_close;

// ---- steps ----------------------------------------------------------------------------------------------------

/// A matrix and a vector, as the goldens have them.
#[derive(Module)]
struct Point {
    w: Param,
    b: Param,
}

impl Point {
    fn new(values: &[f64], dtype: DType) -> Self {
        let t =
            |v: &[f64], shape: &[usize]| Param::from_tensor(Tensor::new(v, shape).to_dtype(dtype));
        Point { w: t(&values[..9], &[3, 3]), b: t(&values[9..], &[3]) }
    }

    fn values(&self) -> Vec<f64> {
        [self.w.value().to_f64_vec(), self.b.value().to_f64_vec()].concat()
    }

    /// Gradients of `sum(curvature / 2 · (x - goal)²)`.
    fn gradients(&self) -> Gradients {
        let constant = |v: &[f64], like: &Param| {
            Var::constant(Tensor::new(v, like.shape()).to_dtype(like.value().dtype()))
        };
        let minus: Vec<f64> = GOAL.iter().map(|v| -v).collect();
        let half: Vec<f64> = CURVATURE.iter().map(|v| v / 2.0).collect();
        let loss = |x: &Param, at: std::ops::Range<usize>| {
            let d = x.leaf() + &constant(&minus[at.clone()], x);
            (&(&d * &d) * &constant(&half[at], x)).sum()
        };
        (&loss(&self.w, 0..9) + &loss(&self.b, 9..12)).backward()
    }
}

/// Where the goldens are after steps 1 and 5.
type Ends = [[f64; 12]; 2];

// torch 2.15: five steps of each optimizer on the loss above, in f64.
const START: [f64; 12] = [
    -1.0895765429324962,
    -0.9405825181394939,
    0.47970689940010813,
    -0.6647138448255826,
    1.5401383890178995,
    0.7110999462352794,
    -0.28257942602492153,
    0.712449142483257,
    1.0362066995270864,
    -1.9825574253562677,
    -1.1685394063947845,
    0.18089444667098048,
];
const GOAL: [f64; 12] = [
    0.5399722956432683,
    -0.23799060738969252,
    -0.5238437016888347,
    -0.7999013890470174,
    -2.1376317886812317,
    -0.7954914098207582,
    0.8592528518608223,
    0.009957391299461825,
    0.043230440846722035,
    0.9343691008462787,
    0.2411089132225316,
    0.3562154414855864,
];
const CURVATURE: [f64; 12] = [
    0.8057584275423708,
    2.1073394581523637,
    1.7488680636797176,
    1.274503089433315,
    2.448371725629027,
    2.290854382740487,
    1.0156252272976691,
    0.3980092470250426,
    0.6092606881315791,
    2.38620345701752,
    2.8317086082324683,
    0.37489524351956083,
];
const ADAMW: Ends = [
    [
        -1.0790317547371902,
        -0.9301122269479644,
        0.46946704600738565,
        -0.6743814873227766,
        1.529368319834496,
        0.7007443962911357,
        -0.27243813639814024,
        0.7020929182696715,
        1.0256885963426174,
        -1.9715661466579566,
        -1.1579551367166392,
        0.19080399792620062,
    ],
    [
        -1.0369344830974914,
        -0.8883542606618777,
        0.42860592015172416,
        -0.7125231439168302,
        1.4863547802931687,
        0.659405026069376,
        -0.2319643282224783,
        0.66078981682267,
        0.9837177779992046,
        -1.9276726662115302,
        -1.1157050381625784,
        0.2300454764676639,
    ],
];
const ADAM: Ends = [
    [
        -1.0795765430086564,
        -0.9305825182070341,
        0.46970689945708566,
        -0.6747138442451893,
        1.530138389029005,
        0.7010999462642533,
        -0.2725794261111527,
        0.7024491428409131,
        1.0262066996923809,
        -1.9725574253706346,
        -1.1585394064198364,
        0.1908944451495361,
    ],
    [
        -1.0396041874308681,
        -0.8906499906234154,
        0.42975288615171214,
        -0.7142086808726189,
        1.4901503751082361,
        0.6611299415067909,
        -0.23261953728790874,
        0.6625166269139786,
        0.9862532076341624,
        -1.932572606073966,
        -1.1185715571094499,
        0.23054256243658888,
    ],
];
const ADAM_L2: Ends = [
    [
        -1.0795765499649372,
        -0.9305825244900756,
        0.4697069049462682,
        -0.6747137503313445,
        1.5301383901097738,
        0.7010999490741784,
        -0.27257943444290744,
        0.702449170985943,
        1.0262067136393596,
        -1.9725574267531816,
        -1.1585394088287224,
        0.19089423675700531,
    ],
    [
        -1.0396336079465505,
        -0.8907118976788216,
        0.42980015026915963,
        -0.7127953402277023,
        1.4901629584466625,
        0.6611608298873854,
        -0.23266455758488958,
        0.6625803561552872,
        0.9862976799186624,
        -1.9325881753517482,
        -1.1186034984133844,
        0.22959314375770493,
    ],
];
const SGD: Ends = [
    [
        -1.023925407443781,
        -0.8665525353144079,
        0.3919530195735563,
        -0.6733286919637387,
        1.0899109631958896,
        0.538530875684284,
        -0.22459574268674534,
        0.6984692318367587,
        1.0059576295939905,
        -1.6345384173217365,
        -0.9689537423327451,
        0.18418079702323614,
    ],
    [
        -0.7867260411887435,
        -0.6406406783714867,
        0.11125075204160371,
        -0.7026370910584268,
        -0.22328034289889043,
        0.024545760260492232,
        -0.020648188374048762,
        0.645276840385162,
        0.8938996737371869,
        -0.6110290529861416,
        -0.41593769654629237,
        0.19672161917752584,
    ],
];
const SGD_MOMENTUM: Ends = [
    [
        -1.023925407443781,
        -0.8665525353144079,
        0.3919530195735563,
        -0.6733286919637387,
        1.0899109631958896,
        0.538530875684284,
        -0.22459574268674534,
        0.6984692318367587,
        1.0059576295939905,
        -1.6345384173217365,
        -0.9689537423327451,
        0.18418079702323614,
    ],
    [
        -0.3059631358736898,
        -0.18902739347752948,
        -0.45253270603299006,
        -0.761805165607518,
        -2.8348948630942528,
        -1.0001806470592385,
        0.39203910494250943,
        0.5371807556878485,
        0.6664682859208212,
        1.4265091959087517,
        0.6765275246157075,
        0.22220998136957415,
    ],
];
const SGD_MOMENTUM_DECAY: Ends = [
    [
        -1.0212014660864497,
        -0.8642010790190592,
        0.39075375232505605,
        -0.6716669073516747,
        1.086060617223345,
        0.5367531258186958,
        -0.22388929412168304,
        0.6966881089805506,
        1.0033671128451727,
        -1.6295820237583458,
        -0.9660323938167581,
        0.1837285609065587,
    ],
    [
        -0.2783933758375074,
        -0.17008628927210767,
        -0.4593454447108777,
        -0.7425935902384811,
        -2.8438776708841553,
        -1.0067372598133448,
        0.3960906298454588,
        0.5160299332543379,
        0.6372181187242686,
        1.452834362232508,
        0.6912870705213436,
        0.21631204359506198,
    ],
];
const SGD_NESTEROV_DECAY: Ends = [
    [
        -0.9647876306181479,
        -0.7998808731022189,
        0.3129517416519382,
        -0.6810504804804499,
        0.6846331233826026,
        0.383184934940942,
        -0.1723970051596506,
        0.6858534709206423,
        0.9786842468359765,
        -1.3212271386129542,
        -0.7892711390551058,
        0.18712991985404936,
    ],
    [
        -0.15371572761332125,
        -0.14156545474093718,
        -0.5437722272237002,
        -0.7756987281703934,
        -2.968697025229852,
        -1.077906416734495,
        0.5081101290571238,
        0.4953518772644856,
        0.5867641189212202,
        1.5508292619633361,
        0.6680475014368525,
        0.23203719658210348,
    ],
];

fn check_steps(make: impl Fn() -> Box<dyn Optimizer>, lr: f64, ends: &Ends) {
    for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-4)] {
        let (mut point, mut optimizer) = (Point::new(&START, dtype), make());
        for step in 1..=5 {
            let gradients = point.gradients();
            optimizer.step(&mut point, &gradients, lr);
            if step == 1 {
                assert_close(&point.values(), &ends[0], tolerance);
            }
            // Saving and loading between any two steps changes nothing.
            let state = optimizer.state_dict();
            optimizer = make();
            optimizer.load_state_dict(&point, state).expect("its own state");
        }
        assert_close(&point.values(), &ends[1], tolerance);
    }
}

fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> impl Fn() -> Box<dyn Optimizer> {
    let options = SgdOptions { momentum, nesterov, ..Default::default() };
    move || Box::new(Sgd::new(options, Groups::uniform(weight_decay)))
}

#[test]
fn sgd_is_torchs() {
    check_steps(sgd(0.0, false, 0.0), 0.05, &SGD);
    check_steps(sgd(0.9, false, 0.0), 0.05, &SGD_MOMENTUM);
    check_steps(sgd(0.9, false, 0.05), 0.05, &SGD_MOMENTUM_DECAY);
    check_steps(sgd(0.9, true, 0.0005), 0.05, &SGD_NESTEROV_DECAY);
}

#[test]
fn adam_is_torchs() {
    let adam = || Box::new(Adam::new(AdamOptions::default(), Groups::default()));
    check_steps(|| adam(), 0.01, &ADAM);
    let options = AdamOptions { betas: [0.8, 0.99], eps: 1e-6 };
    check_steps(|| Box::new(Adam::new(options, Groups::uniform(0.1))), 0.01, &ADAM_L2);
}

#[test]
fn adamw_is_torchs() {
    let adamw = || Box::new(AdamW::new(AdamOptions::default(), Groups::uniform(0.05)));
    check_steps(|| adamw(), 0.01, &ADAMW);
}

#[test]
fn groups_scale_learning_rates_and_choose_what_decays() {
    let slow_bias = Groups::by(|name, _| GroupOptions {
        lr_scale: if name == "b" { 0.5 } else { 1.0 },
        weight_decay: 0.0,
    });
    let mut point = Point::new(&START, DType::F64);
    let gradients = point.gradients();
    Sgd::new(SgdOptions::default(), slow_bias).step(&mut point, &gradients, 0.05);
    assert_close(&point.values()[..9], &SGD[0][..9], 1e-12);
    let halfway: Vec<f64> = (9..12).map(|i| (START[i] + SGD[0][i]) / 2.0).collect();
    assert_close(&point.values()[9..], &halfway, 1e-12);

    let mut point = Point::new(&START, DType::F64);
    let gradients = point.gradients();
    AdamW::new(AdamOptions::default(), Groups::timm(0.05)).step(&mut point, &gradients, 0.01);
    assert_close(&point.values()[..9], &ADAMW[0][..9], 1e-10);
    assert_close(&point.values()[9..], &ADAM[0][9..], 1e-10);
}

#[test]
fn frozen_and_unused_parameters_stay_as_they_are() {
    let mut point = Point::new(&START, DType::F64);
    let mut optimizer = AdamW::new(AdamOptions::default(), Groups::uniform(0.5));
    let gradients = point.gradients();
    point.b.set_requires_grad(false);
    optimizer.step(&mut point, &gradients, 0.01);
    assert_eq!(point.b.value().to_f64_vec(), START[9..]);
    assert!(missing_gradients(&point, &gradients).is_empty());

    point.b.set_requires_grad(true);
    let only_w = point.w.leaf().sum().backward();
    assert_eq!(missing_gradients(&point, &only_w), ["b"]);
    let before = point.w.value().to_f64_vec();
    optimizer.step(&mut point, &only_w, 0.01);
    assert_ne!(point.w.value().to_f64_vec(), before);
    assert_eq!(point.b.value().to_f64_vec(), START[9..]);
    let names: Vec<String> = optimizer.state_dict().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["w.exp_avg", "w.exp_avg_sq", "w.step"]);
}

#[test]
fn state_that_does_not_fit_is_described_and_changes_nothing() {
    let mut point = Point::new(&START, DType::F64);
    let mut optimizer = Adam::new(AdamOptions::default(), Groups::default());
    let gradients = point.gradients();
    optimizer.step(&mut point, &gradients, 0.01);
    let good = optimizer.state_dict();
    let mut state = good.clone();
    state[0].1 = Tensor::zeros([4], DType::F64, Device::Cpu); // b.exp_avg
    state.remove(1); // b.exp_avg_sq
    state.push(("w.momentum_buffer".into(), Tensor::scalar(1.0)));
    state.push(("fc.step".into(), Tensor::scalar(1i64)));
    let error = optimizer.load_state_dict(&point, state).expect_err("four things are wrong");
    let Error::OptimizerState { missing, unexpected, mismatched } = &error else {
        panic!("{error}")
    };
    assert_eq!(missing[..], ["b.exp_avg", "b.exp_avg_sq"]);
    assert_eq!(unexpected[..], ["w.momentum_buffer", "fc.step"]);
    assert_eq!(mismatched[..], [("b.exp_avg".into(), "[3]".into(), "[4]".into())]);
    let same = |a: &[(String, Tensor)], b: &[(String, Tensor)]| {
        let plain = |s: &[(String, Tensor)]| -> Vec<_> {
            s.iter().map(|(name, t)| (name.clone(), t.to_f64_vec())).collect()
        };
        plain(a) == plain(b)
    };
    assert!(same(&optimizer.state_dict(), &good));
}

// ---- clipping -------------------------------------------------------------------------------------------------

#[derive(Module)]
struct Three {
    a: Param,
    b: Param,
    c: Param,
}

/// A model whose gradients are `values`, of shapes [3, 4], [5] and [2, 2, 2]; what clipping leaves; and the norm.
fn clipped(values: &[f64], max_norm: f64) -> (Vec<f64>, f64) {
    let zeros = |shape: &[usize]| Param::from_tensor(Tensor::zeros(shape, DType::F64, Device::Cpu));
    let model = Three { a: zeros(&[3, 4]), b: zeros(&[5]), c: zeros(&[2, 2, 2]) };
    let part = |p: &Param, at: std::ops::Range<usize>| {
        (p.leaf() * &Var::constant(Tensor::new(&values[at], p.shape()))).sum()
    };
    let loss = &(&part(&model.a, 0..12) + &part(&model.b, 12..17)) + &part(&model.c, 17..25);
    let mut gradients = loss.backward();
    let norm = clip_grad_norm(&mut gradients, &model, max_norm);
    let left = [&model.a, &model.b, &model.c].map(|p| gradients.wrt(p.leaf()).to_f64_vec());
    (left.concat(), norm)
}

// torch 2.15: torch.nn.utils.clip_grad_norm_, the gradients of case "active".
#[rustfmt::skip]
const GRADIENTS: [f64; 25] = [
    0.8684391792604478, 4.307885415434763, 1.3014817632562377, 3.4682912683803515, -3.565027117691089,
    3.684132975517387, 0.9764555329939641, 5.0838676316180145, 0.41076464787399036, 0.674517968026901,
    -4.085502163710679, -3.520023476992762, 3.0262015703846146, 0.9365457201483256, 2.9505239900170905,
    5.2245108214316245, 0.5196120784947311, -5.451537649721014, 0.380620750925678, 5.269235389032124,
    1.5517672844042678, -7.700431619963846, -2.3206362205958797, -2.1925182073196834, -3.44902376324187,
];

#[test]
fn clipping_is_torchs() {
    let (left, norm) = clipped(&GRADIENTS, 1.0);
    assert_close(&[norm], &[17.422685265943244], 1e-12);
    let expected = [0.04984530892678802, 0.24725724550613887, 0.0747004074681808];
    assert_close(&left[..3], &expected, 1e-10);
    assert_close(&left[24..], &[-0.19796165244528346], 1e-10);
    let (left, _) = clipped(&GRADIENTS, 1000.0);
    assert_eq!(left, GRADIENTS);
    let mut broken = GRADIENTS;
    broken[3] = f64::NAN;
    let (left, norm) = clipped(&broken, 1.0);
    assert!(norm.is_nan() && left.iter().all(|g| g.is_nan()));
}
