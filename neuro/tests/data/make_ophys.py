"""Writes ophys.nwb and ophys_events.npz, laid out as a session of the Allen Brain Observatory: `python make_ophys.py` (h5py 3.16)."""
import h5py
import numpy as np

frames = np.array([[40 * i, 40 * i + 7] for i in range(9)])
ids = np.array([0, 1, 2, 3, -1, 3, 2, 1, 0])
events = np.zeros((3, 400), np.float32)
for id_, (start, _) in zip(ids, frames):
    if id_ >= 0:
        events[:, start] = [1, 2, 3]
with h5py.File("ophys.nwb", "w") as f:
    group = f.create_group("stimulus/presentation/natural_scenes_stimulus")
    group["data"] = ids.astype(np.int32)
    group["frame_duration"] = frames.astype(np.int32)
    plane = f.create_group("processing/brain_observatory_pipeline/DfOverF/imaging_plane_1")
    plane.create_dataset("data", data=np.full((3, 400), 0.5, np.float32), chunks=(1, 128), compression="gzip", shuffle=True)
    f.attrs["nwb_version"] = "1.0.6"
np.savez_compressed("ophys_events.npz", ev=events)
