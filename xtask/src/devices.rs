//! `cargo xtask devices` and `--device`: what this machine can compute on.

use tensor::{Device, cuda};

use crate::failure::{Failure, Outcome, say};

/// The device of a word: `cpu`, `cuda` for the first GPU, `cuda:N`.
///
/// # Errors
/// [`Failure::Usage`] if it is no device, or one that this machine cannot use, with the reason.
pub fn parse(word: &str) -> Outcome<Device> {
    let index = match word {
        "cpu" => return Ok(Device::Cpu),
        "cuda" => Some(0),
        _ => word.strip_prefix("cuda:").and_then(|n| n.parse().ok()),
    };
    let wrong = |reason: String| Failure::Usage(format!("--device {word}: {reason}"));
    let index = index.ok_or_else(|| wrong("expected cpu, cuda or cuda:N".into()))?;
    Device::cuda(index).map_err(|error| wrong(error.to_string()))
}

/// Lists the processors and the GPUs.
///
/// # Errors
/// If the environment asks for an instruction set that there is not.
pub fn run() -> Outcome {
    let set = tensor::instruction_set().map_err(|error| Failure::Usage(error.to_string()))?;
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    say!("cpu     {cores} cores, kernels for {set}");
    match cuda::available() {
        Err(reason) => say!("cuda    not available: {reason}"),
        Ok(driver) => driver.devices.iter().for_each(|info| describe(driver, info)),
    }
    Ok(())
}

fn describe(driver: &cuda::Driver, info: &cuda::DeviceInfo) {
    let (major, minor) = info.capability;
    let gib = info.memory_bytes as f64 / f64::from(1 << 30);
    say!(
        "cuda:{}  {}, capability {major}.{minor}, {} multiprocessors, {gib:.1} GiB",
        info.index,
        info.name,
        info.multiprocessors
    );
    let ready = Device::cuda(info.index).and_then(|_| cuda::compiler_version());
    match ready {
        Err(reason) => say!("        not usable: {reason}"),
        Ok((nvrtc, _)) => {
            let (major, minor) = driver.version;
            say!("        driver for CUDA {major}.{minor}, kernels compiled by NVRTC {nvrtc}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_none_are_named() {
        assert_eq!(parse("cpu").unwrap(), Device::Cpu);
        for word in ["", "gpu", "cuda:", "cuda:x", "cuda0", "CPU"] {
            let error = parse(word).unwrap_err().to_string();
            assert!(error.contains("expected cpu, cuda or cuda:N"), "{word}: {error}");
        }
    }
}
