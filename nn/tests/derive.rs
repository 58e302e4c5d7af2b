//! `#[derive(Module)]` and what follows from the tree of names.

use autograd::Var;
use nn::{
    Buffer, Context, Error, Forward, Init, Module, ModuleExt, Param,
    layers::Sequential,
    module::{Field, for_each_module, for_each_module_mut},
};
use tensor::{DType, Device, Tensor};

/// Multiplies by its weight.
#[derive(Module)]
struct Scale {
    weight: Param,
}

impl Scale {
    fn new(n: usize) -> Self {
        Scale { weight: Param::new([n], Init::Uniform { low: -1.0, high: 1.0 }) }
    }
}

impl Forward for Scale {
    fn forward(&self, x: &Var, cx: &mut Context) -> Var {
        x * &cx.var(&self.weight)
    }
}

/// Everything a field may be.
#[derive(Module)]
struct Everything {
    stem: Scale,
    layers: Vec<Scale>,
    #[module(rename = "se")]
    squeeze: Option<Scale>,
    absent: Option<Scale>,
    boxed: Box<dyn Forward>,
    boxes: Vec<Box<dyn Forward>>,
    #[module(flatten)]
    inlined: Scale,
    r#type: Param,
    params: Vec<Param>,
    bias: Option<Param>,
    running_mean: Buffer,
    #[module(skip)]
    width: usize,
    #[module(rename = "0")]
    sequence: Sequential,
}

fn everything() -> Everything {
    let constant = |n: usize| Param::new([n], Init::Constant(n as f64));
    Everything {
        stem: Scale::new(2),
        layers: vec![Scale::new(3), Scale::new(4)],
        squeeze: Some(Scale::new(5)),
        absent: None,
        boxed: Box::new(Scale::new(6)),
        boxes: vec![Box::new(Scale::new(7)), Box::new(Empty)],
        inlined: Scale::new(8),
        r#type: constant(1),
        params: vec![constant(2), constant(3)],
        bias: None,
        running_mean: Buffer::new(Tensor::zeros([2], DType::F32, Device::Cpu)),
        width: 4,
        sequence: Sequential::new().with(Scale::new(9)).with(Empty),
    }
}

/// A unit struct: a module without children.
#[derive(Module)]
struct Empty;

impl Forward for Empty {
    fn forward(&self, x: &Var, _cx: &mut Context) -> Var {
        x.clone()
    }
}

/// A generic module.
#[derive(Module)]
struct Twice<M: Forward + Field> {
    inner: M,
}

const NAMES: [&str; 12] = [
    "stem.weight",
    "layers.0.weight",
    "layers.1.weight",
    "se.weight",
    "boxed.weight",
    "boxes.0.weight",
    "weight",
    "type",
    "params.0",
    "params.1",
    "running_mean",
    "0.0.weight",
];

fn initialized(seed: u64) -> Everything {
    let mut m = everything();
    m.initialize(seed, DType::F32, Device::Cpu);
    m
}

fn values(m: &dyn Module) -> Vec<(String, Vec<f64>)> {
    m.state_dict().into_iter().map(|(name, t)| (name, t.to_f64_vec())).collect()
}

#[test]
fn state_dict_names_follow_the_fields_in_order() {
    let m = initialized(0);
    let names: Vec<String> = m.state_dict().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, NAMES);
    let params: Vec<String> = m.named_parameters().into_iter().map(|(name, _)| name).collect();
    let without_buffer: Vec<&str> = NAMES.into_iter().filter(|n| *n != "running_mean").collect();
    assert_eq!(params, without_buffer);
    assert_eq!(m.num_parameters(), 2 + 3 + 4 + 5 + 6 + 7 + 8 + 1 + 2 + 3 + 9);
    assert_eq!((m.type_name(), m.width), ("Everything", 4));
    let twice = Twice { inner: Scale::new(1) };
    assert_eq!(twice.type_name(), "Twice");
    assert_eq!(twice.named_parameters()[0].0, "inner.weight");
}

#[test]
fn modules_are_visited_with_their_paths() {
    let mut paths = Vec::new();
    for_each_module(&everything(), &mut |path, m| paths.push(format!("{path}:{}", m.type_name())));
    assert_eq!(
        paths,
        [
            ":Everything",
            "stem:Scale",
            "layers.0:Scale",
            "layers.1:Scale",
            "se:Scale",
            "boxed:Scale",
            "boxes.0:Scale",
            "boxes.1:Empty",
            "0:Sequential",
            "0.0:Scale",
            "0.1:Empty",
        ]
    );
    let mut mutable = Vec::new();
    for_each_module_mut(&mut everything(), &mut |path, m| {
        mutable.push(format!("{path}:{}", m.type_name()));
    });
    assert_eq!(mutable.last().map(String::as_str), Some(":Everything"), "children come first");
    mutable.sort();
    paths.sort();
    assert_eq!(mutable, paths);
}

#[test]
fn a_state_dict_goes_round() {
    let (a, mut b) = (initialized(1), initialized(2));
    a.running_mean.set(Tensor::new(&[3.0f32, 4.0], [2]));
    assert_ne!(values(&a), values(&b));
    b.load_state_dict(a.state_dict()).expect("same model");
    assert_eq!(values(&a), values(&b));
    // Into a model without values, and into one of another dtype.
    let mut empty = everything();
    empty.load_state_dict(a.state_dict()).expect("same model");
    assert_eq!(values(&a), values(&empty));
    let mut double = initialized(3);
    double.to(DType::F64, Device::Cpu);
    double.load_state_dict(a.state_dict()).expect("same model");
    assert_eq!(values(&a), values(&double));
    assert!(double.state_dict().iter().all(|(_, t)| t.dtype() == DType::F64));
}

#[test]
fn a_state_dict_that_does_not_fit_is_described_and_changes_nothing() {
    let mut m = initialized(1);
    let before = values(&m);
    let mut state = m.state_dict();
    state.remove(0);
    state[0].1 = Tensor::zeros([7], DType::F32, Device::Cpu);
    state.push(("fc.weight".into(), Tensor::zeros([1], DType::F32, Device::Cpu)));
    let error = m.load_state_dict(state).expect_err("three things are wrong");
    let Error::StateDict { missing, unexpected, mismatched } = &error else { panic!("{error}") };
    assert_eq!(
        (&missing[..], &unexpected[..]),
        (&["stem.weight".into()][..], &["fc.weight".into()][..])
    );
    assert_eq!(mismatched[0].0, "layers.0.weight");
    assert_eq!(
        error.to_string(),
        "state dict does not fit the model: missing \"stem.weight\"; unexpected \"fc.weight\"; \
         other shape: \"layers.0.weight\" (expected [3], found [7])"
    );
    assert_eq!(values(&m), before);
}

#[test]
fn initial_values_depend_on_seed_and_name_only() {
    let m = initialized(5);
    assert_eq!(values(&m), values(&initialized(5)));
    assert_ne!(values(&m)[0], values(&initialized(6))[0]);
    // Another model with a parameter of this name and shape starts it from the same numbers.
    #[derive(Module)]
    struct Other {
        stem: Scale,
    }
    let mut other = Other { stem: Scale::new(2) };
    other.initialize(5, DType::F32, Device::Cpu);
    assert_eq!(values(&m)[0], values(&other)[0]);
}

#[test]
#[should_panic(expected = "a parameter of shape [2] has no values yet: call model.initialize")]
fn using_a_model_without_values_says_what_to_do() {
    everything().state_dict();
}

#[test]
fn frozen_parameters_get_no_gradient() {
    let mut m = Sequential::new().with(Scale::new(2)).with(Scale::new(2));
    m.initialize(0, DType::F64, Device::Cpu);
    m.set_requires_grad(false, |name| name.starts_with("0."));
    let x = Var::constant(Tensor::new(&[1.0, 2.0], [2]));
    let mut cx = Context::train(tensor::Stream::new(0));
    let gradients = m.call(&x, &mut cx).sum().backward();
    let got: Vec<bool> =
        m.named_parameters().iter().map(|(_, p)| gradients.get(p.leaf()).is_some()).collect();
    assert_eq!(got, [false, true]);
}
