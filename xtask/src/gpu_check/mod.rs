//! `cargo xtask gpu-check`: whether everything on a GPU is right, and how fast it is, in one command.
//!
//! Sections run one after the other, a failure never stops the next, and every result is written down at once: killed at any
//! moment the command has shown what it found. With `--stand-in` the same script runs on the stand-in for a GPU, whose times
//! say nothing, with small workloads.

mod gradients;
mod record;
mod training;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use clap::Args;
use tensor::{Conv2dOptions, DType, Device, Stream, Tensor, Unfold, cuda};

use crate::{
    bench::{Comparison, Contest, Place},
    devices,
    failure::{Failure, Outcome, say},
};
use record::{Record, Row};

/// What to check.
#[derive(Args, Debug)]
pub struct GpuCheckArgs {
    /// The GPU: cuda (the first) or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "cuda")]
    device: String,
    /// A Python with PyTorch, to measure it in turns with this program
    #[arg(long, value_name = "PYTHON")]
    torch: Option<String>,
    /// The program beside which --torch measures
    #[arg(long, value_name = "FILE", default_value = "tools/bench_torch.py")]
    torch_program: PathBuf,
    /// Seconds after which nothing new is begun
    #[arg(long, value_name = "SECONDS", default_value_t = 540.0)]
    deadline: f64,
    /// Without a GPU: on the stand-in, with few draws and small workloads
    #[arg(long)]
    stand_in: bool,
    /// Where results are written as they come, one JSON object a line
    #[arg(long, value_name = "FILE", default_value = "gpu-check.jsonl")]
    out: PathBuf,
}

/// Checks, measures, and prints the table.
///
/// # Errors
/// If there is no such GPU, the results cannot be written, or anything is wrong.
pub fn run(args: &GpuCheckArgs) -> Outcome {
    let seconds = Duration::try_from_secs_f64(args.deadline)
        .map_err(|_| Failure::Usage(format!("--deadline {}: expected seconds", args.deadline)))?;
    let mut libraries = Vec::new();
    if args.stand_in {
        let built = cuda_stand_in::build()?;
        libraries = vec![built.driver, built.compiler];
        cuda::use_libraries(libraries.clone());
    }
    let Device::Cuda(index) = devices::parse(&args.device)? else {
        return Err(Failure::Usage("--device cpu: expected cuda or cuda:N".into()));
    };
    let record = Record::new(&args.out)?;
    let on_signal = record.clone();
    // A second handler cannot be set: then a signal ends the program without a table.
    let _ = ctrlc::set_handler(move || {
        on_signal.table();
        std::process::exit(130);
    });
    let place = Place { device: args.device.clone(), libraries };
    let check = Check { args, index, place, record, end: Instant::now() + seconds };
    let sections: [(&'static str, Section<'_>); 6] = [
        ("device", Check::device),
        ("ops", Check::ops),
        ("columns", Check::columns),
        ("gradients", Check::gradients),
        ("training", Check::training),
        ("speed", Check::speed),
    ];
    for (name, section) in sections {
        let outcome = catch_unwind(AssertUnwindSafe(|| section(&check)));
        let failure = match outcome {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => said(&*panic),
        };
        let what = "the section ended early".to_owned();
        check.record.row(Row {
            section: name,
            what,
            ok: Some(false),
            note: failure,
            ..Row::default()
        })?;
    }
    match check.record.table() {
        0 => Ok(()),
        n => Err(anyhow!("{n} results are wrong; all are in {}", args.out.display()).into()),
    }
}

/// What a panic says.
fn said(panic: &dyn std::any::Any) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
}

/// A section: it writes its rows itself.
type Section<'a> = fn(&Check<'a>) -> Result<()>;

struct Check<'a> {
    args: &'a GpuCheckArgs,
    index: usize,
    place: Place,
    record: Record,
    end: Instant,
}

/// What is measured: layers and whole training steps of the paper, the smallest time first.
const WORKLOADS: &[&str] = &[
    "op_overhead",
    "gemm_256x8100x12544",
    "conv3x3_64_32",
    "conv3x3_512_4",
    "conv7x7_64_32_p2",
    "conv7x7_512_4_p2",
    "conv23x23s4_224",
    "dw7_96_56",
    "dw31_64_56",
    "dw27_256_14",
    "adamw_57m",
    "resnet18_cifar_base",
    "resnet18_cifar_lp_p2",
    "alexnet_cifar_base",
    "alexnet_cifar_lp_p2",
    "sudoku_lp_p2",
    "convnext_t_stage",
    "cnn_gru_t4",
];

impl Check<'_> {
    fn on(&self) -> Device {
        Device::Cuda(self.index)
    }

    /// Whether there is time left; says so once there is none.
    fn goes_on(&self, section: &'static str) -> Result<bool> {
        let left = Instant::now() < self.end;
        if !left {
            let what = "out of time".to_owned();
            self.record.row(Row { section, what, ..Row::default() })?;
        }
        Ok(left)
    }

    /// What the device is, and its ceilings.
    fn device(&self) -> Result<()> {
        let driver = cuda::available()?;
        let info = &driver.devices[self.index];
        let (nvrtc, minor) = cuda::compiler_version()?;
        let facts = format!(
            "{}, {} multiprocessors, {:.1} GiB, driver for CUDA {}.{}, NVRTC {nvrtc}.{minor}",
            info.name,
            info.multiprocessors,
            info.memory_bytes as f64 / f64::from(1 << 30),
            driver.version.0,
            driver.version.1
        );
        let row =
            |what: &str, note| Row { section: "device", what: what.into(), note, ..Row::default() };
        self.record.row(row("facts", facts))?;
        let ceilings = self.ceilings()?;
        let note = format!(
            "{:.0} GB/s copied (read and written), {:.2} TFLOP/s in f32",
            ceilings.bytes_per_s / 1e9,
            ceilings.flop_per_s / 1e12
        );
        self.record.row(row("ceilings", note))
    }

    fn ceilings(&self) -> Result<cuda::Ceilings> {
        Ok(cuda::ceilings(self.index, if self.args.stand_in { 1 << 20 } else { 1 << 30 })?)
    }

    /// Every op against the CPU.
    fn ops(&self) -> Result<()> {
        let seeds = if self.args.stand_in { 0..2 } else { 0..24 };
        for op in cuda::ops() {
            if !self.goes_on("ops")? {
                break;
            }
            let found = cuda::compare_with_cpu(op, self.on(), seeds.clone());
            let note = found.failures.first().cloned().unwrap_or_default();
            self.record.row(Row {
                section: "ops",
                what: op.to_owned(),
                ok: Some(found.failures.is_empty()),
                difference: Some(found.difference),
                note,
                ..Row::default()
            })?;
        }
        Ok(())
    }

    /// Convolutions against columns in memory and a product of matrices, which share no kernel with them.
    fn columns(&self) -> Result<()> {
        for (name, x, weight, stride) in [
            ("3x3", [2, 20, 17, 17], [70, 20, 3, 3], 1),
            ("7x7 stride 2", [2, 3, 33, 31], [64, 3, 7, 7], 2),
        ] {
            let stream = &mut Stream::new(3);
            let mut draw = |shape| Tensor::randn(shape, DType::F64, self.on(), stream);
            let (x, w) = (draw(x), draw(weight));
            let [o, i, kh, kw] = weight;
            let padding = [kh / 2, kw / 2];
            let options = Conv2dOptions { stride: [stride; 2], padding, ..Default::default() };
            let y = x.conv2d(&w, None, &options);
            let windows = Unfold { stride: [stride; 2], padding, ..Unfold::new(kh) };
            let columns = x.unfold(&windows);
            let n = x.dims()[0];
            let w = w.reshape([1, o, i * kh * kw]).broadcast_to([n, o, i * kh * kw]);
            let off = w.matmul(&columns).sub(&y.reshape([n, o, y.numel() / n / o])).abs();
            let off =
                off.amax(&[0, 1, 2], false).item() / y.abs().amax(&[0, 1, 2, 3], false).item();
            self.record.row(Row {
                section: "columns",
                what: name.to_owned(),
                ok: Some(off < 1e-13),
                difference: Some(off),
                ..Row::default()
            })?;
        }
        Ok(())
    }

    /// Gradients against differences.
    fn gradients(&self) -> Result<()> {
        for check in gradients::CHECKS {
            if !self.goes_on("gradients")? {
                break;
            }
            let found = check.run(self.on());
            self.record.row(Row {
                section: "gradients",
                what: check.name.to_owned(),
                ok: Some(found.is_ok()),
                note: found.err().unwrap_or_default(),
                ..Row::default()
            })?;
        }
        Ok(())
    }

    /// A net trained here and on the CPU.
    fn training(&self) -> Result<()> {
        for course in training::COURSES {
            if !self.goes_on("training")? {
                break;
            }
            let off = course.difference(self.on());
            self.record.row(Row {
                section: "training",
                what: course.name.to_owned(),
                ok: Some(off < course.tolerance),
                difference: Some(off),
                ..Row::default()
            })?;
        }
        Ok(())
    }

    /// Layers and training steps, in turns with PyTorch.
    fn speed(&self) -> Result<()> {
        let ceilings = self.ceilings()?;
        // What it had cached is for the processes that are measured.
        cuda::release_cached(self.index)?;
        let program = self.args.torch_program.display();
        let command = self
            .args
            .torch
            .as_ref()
            .map(|python| format!("{python} '{program}' --device {}", self.args.device));
        let left = self.end.saturating_duration_since(Instant::now()).max(Duration::from_secs(10));
        let rounds = if self.args.stand_in { 1 } else { 5 };
        let mut contest = Contest::new(self.place.clone(), command.as_deref(), left, rounds)?;
        let workloads = if self.args.stand_in { &WORKLOADS[..1] } else { WORKLOADS };
        for workload in workloads {
            if !self.goes_on("speed")? {
                break;
            }
            let row = Row { section: "speed", what: (*workload).to_owned(), ..Row::default() };
            let row = match contest.run(workload) {
                Ok(found) => timed(row, &found, &ceilings),
                Err(error) => Row { ok: Some(false), note: format!("{error:#}"), ..row },
            };
            self.record.row(row)?;
        }
        say!(
            "\nTimes are medians of {rounds} rounds of at least 0.2 s, PyTorch's in turns with ours."
        );
        Ok(())
    }
}

fn timed(row: Row, found: &Comparison, ceilings: &cuda::Ceilings) -> Row {
    let seconds = found.ms / 1e3;
    let of_flop = found.flop.map(|f| 100.0 * f / seconds / ceilings.flop_per_s);
    let of_bytes = found.bytes.map(|b| 100.0 * b / seconds / ceilings.bytes_per_s);
    let (torch_ms, note) = match &found.other_ms {
        Some(Ok(ms)) => (Some(*ms), String::new()),
        Some(Err(why)) => (None, format!("PyTorch: {why}")),
        None => (None, String::new()),
    };
    Row { ms: Some(found.ms), ceiling_percent: of_flop.or(of_bytes), torch_ms, note, ..row }
}
