//! Averages of weights against timm.

use nn::{Buffer, Ema, Error, Module, ModuleExt, Param};
use tensor::Tensor;

mod close;
use close::assert_close;

#[derive(Module)]
struct Normed {
    bias: Param,
    running_var: Buffer,
    num_batches_tracked: Buffer,
}

fn normed(bias: [f64; 4], running_var: [f64; 4], count: i64) -> Normed {
    Normed {
        bias: Param::from_tensor(Tensor::new(&bias, [4])),
        running_var: Buffer::new(Tensor::new(&running_var, [4])),
        num_batches_tracked: Buffer::new(Tensor::scalar(count)),
    }
}

// timm 1.0, ModelEma with decay 0.9 over Sequential(Linear, BatchNorm1d): 0.bias, 1.running_var and
// 1.num_batches_tracked, three updates.
#[test]
fn averages_are_timms() {
    let start = normed(
        [0.26956223853661215, -0.05300868651068514, 0.08602925456047146, 0.9537440224558148],
        [1.0; 4],
        0,
    );
    let steps = [
        normed(
            [2.2508483772669345, 0.7416766094934024, 2.1391226088459754, 1.4222728376241442],
            [3.0017490695267632, 1.0820044312353425, -0.36502906769360655, 0.8607030668803636],
            1,
        ),
        normed(
            [-0.4144146956718662, 1.3152399947678652, 2.058527876945079, 0.8254829880415393],
            [1.4091605318259277, 2.4476502045331454, 0.2351472010047011, 1.5762572470589096],
            2,
        ),
        normed(
            [1.3612647792309445, 0.19644628137442144, 2.0029658530690835, 0.2386282781763901],
            [0.628136886047898, 0.8451423113611284, 1.1217581540686121, 1.36256410740964],
            3,
        ),
    ];
    let mut ema = Ema::new(&start, 0.9);
    ema.update(&steps[0]);
    let bias = [0.46769085240964436, 0.0264598430897236, 0.29133858998902185, 1.0005969039726477];
    assert_close(&ema.state_dict()[0].1.to_f64_vec(), &bias, 1e-10);
    // Through a checkpoint in the middle.
    let state = ema.state_dict();
    let mut ema = Ema::new(&start, 0.9);
    ema.load_state_dict(state).expect("its own state");
    ema.update(&steps[1]);
    ema.update(&steps[2]);
    let state = ema.state_dict();
    let bias = [0.47765874576443845, 0.1594487005692261, 0.6215483521230731, 0.9086397889592223];
    let var = [1.161779811100791, 1.121445108474159, 0.8327717090141021, 1.0768365113935754];
    assert_close(&state[0].1.to_f64_vec(), &bias, 1e-10);
    assert_close(&state[1].1.to_f64_vec(), &var, 1e-10);
    assert_eq!(state[2].1.to_vec::<i64>(), [0]);
    // The model itself is untouched, and takes the averages as a state dict.
    assert_eq!(start.running_var.get().to_f64_vec(), [1.0; 4]);
    let mut model = normed([0.0; 4], [0.0; 4], 7);
    model.load_state_dict(state).expect("the same kind of model");
    assert_close(&model.bias.value().to_f64_vec(), &bias, 1e-10);
    assert!(matches!(ema.load_state_dict(vec![]), Err(Error::StateDict { .. })));
}

#[test]
fn integers_are_averaged_and_truncated() {
    let mut ema = Ema::new(&normed([0.0; 4], [0.0; 4], 10), 0.5);
    ema.update(&normed([0.0; 4], [0.0; 4], 13));
    assert_eq!(ema.state_dict()[2].1.to_vec::<i64>(), [11]);
}

/// What a training run keeps in its checkpoints.
#[derive(Module)]
struct Averaged {
    #[module(flatten)]
    model: Normed,
    average: Option<Ema>,
}

#[test]
fn an_average_inside_of_a_module_is_part_of_its_state() {
    let averaged = |bias: f64| {
        let model = normed([bias; 4], [1.0; 4], 0);
        let average = Some(Ema::new(&model, 0.75));
        Averaged { model, average }
    };
    let mut run = averaged(0.0);
    run.model.bias.set(Tensor::new(&[8.0; 4], [4]));
    run.average.as_mut().expect("there is one").update(&run.model);
    let state = run.state_dict();
    let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
    let model = ["bias", "running_var", "num_batches_tracked"];
    assert_eq!(names[..3], model);
    assert_eq!(names[3..], model.map(|name| format!("average.{name}")));
    let mut resumed = averaged(-1.0);
    resumed.load_state_dict(state).expect("the same kind of module");
    let average = resumed.average.expect("there is one").state_dict();
    assert_eq!(average[0].1.to_f64_vec(), [2.0; 4]);
    assert_eq!(run.model.bias.value().to_f64_vec(), [8.0; 4]);
}
