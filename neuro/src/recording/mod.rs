//! Recordings from files: positions of neurons and responses to images.
//!
//! **Positions** ([`read_positions`]): a table (CSV, or TSV by its ending) with a header. Columns that begin with `dx`, `dy`
//! and, in three dimensions, `dz` are the offsets of inputs from the neuron that receives them, in any unit; `neuron` (or
//! `dataset`, `id`) says which neuron that is, `type` of which kind the input is. The last two may be left out. Or an npy array
//! `[n, 2]` or `[n, 3]`, of one neuron.
//!
//! **Responses** ([`read_responses`]): an npy array `[images, units]` or `[trials, images, units]`; or an npz archive with an
//! array `responses` of that form, and with one number a unit in `animal` (or `session`), if they come from several. Archives
//! of the Allen Neuropixels recordings as they are shipped in `neuro/data` are read as well; with the feature `nwb` also sessions
//! of the observatory's two-photon set (`read_ophys`).

#[cfg(feature = "nwb")]
mod nwb;
mod positions;
mod responses;

#[cfg(feature = "nwb")]
pub use nwb::{RESPONSE_FRAMES, read_ophys};
pub use positions::{Neuron, Positions, read_positions, rossi2020};
pub use responses::{Recording, read_responses};
