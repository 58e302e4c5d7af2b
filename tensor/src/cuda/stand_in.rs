//! Tests without a GPU: the stand-in's devices.

use std::sync::OnceLock;

use crate::Device;

/// The stand-in's devices, which run threads in different orders; none, with a printed reason, where it cannot be built.
pub(super) fn devices() -> Vec<Device> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let built = cuda_stand_in::build().map_err(|error| error.to_string())?;
        super::use_libraries([built.driver, built.compiler]);
        Ok(())
    });
    match built {
        Ok(()) => {
            (0..cuda_stand_in::DEVICES).map(|i| Device::cuda(i).expect("it has four")).collect()
        }
        Err(reason) => {
            println!("skipped: {reason}");
            Vec::new()
        }
    }
}
