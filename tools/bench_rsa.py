#!/usr/bin/env python3
"""The workloads of `cargo xtask bench` on representational similarity in SciPy and rsatoolbox, to compare with:

    cargo xtask bench --threads 2 --filter tau_b --versus 'python tools/bench_rsa.py --threads 2'

(filters: tau_b, rsm, ssm). Needs `pip install scipy rsatoolbox`. Reads one workload's name a line on standard input, runs one round of it (at
least 0.2 seconds of repetitions) and answers with one line of JSON, as tools/bench_torch.py does.
"""
import argparse
import json
import os
import resource
import sys
import time

ROUND_S = 0.2
IMAGES, BRAINS = 118, 100
# Units of each convolution of ResNet-18 for images of 64 pixels, shortcuts included.
UNITS = [64 * 32 * 32] + [64 * 16 * 16] * 4 + [128 * 8 * 8] * 5 + [256 * 4 * 4] * 5 + [512 * 2 * 2] * 5


def workloads():
    """What each does, by name; numpy is imported only after the number of threads is set."""
    import numpy as np
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import RDMs, calc_rdm, compare
    from scipy.stats import kendalltau

    rng = np.random.default_rng(1)

    def tau_b():
        a = rng.standard_normal(IMAGES * (IMAGES - 1) // 2)
        b = 0.4 * a + rng.standard_normal(a.size)
        return lambda: kendalltau(a, b)

    def rsms():
        layers = [Dataset(rng.standard_normal((IMAGES, n)).astype(np.float32)) for n in UNITS]
        return lambda: [calc_rdm(layer, method="correlation") for layer in layers]

    def ssm():
        rdms = lambda count: RDMs(np.stack([1 - np.corrcoef(rng.standard_normal((IMAGES, 200)))[np.triu_indices(IMAGES, 1)] for _ in range(count)]))
        layers, brains = rdms(len(UNITS)), rdms(BRAINS)
        return lambda: compare(layers, brains, method="tau-b")

    return {"tau_b_6903": tau_b, "rsm_resnet18_64px": rsms, "ssm_resnet18": ssm}


def round_of(step):
    """Mean wall-clock and processor milliseconds of one repetition."""
    count, wall, cpu = 0, time.perf_counter(), time.process_time()
    while True:
        step()
        count += 1
        elapsed = time.perf_counter() - wall
        if elapsed >= ROUND_S:
            return 1e3 * elapsed / count, 1e3 * (time.process_time() - cpu) / count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="threads of numpy's products (default: its choice)")
    args = parser.parse_args()
    if args.threads:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(args.threads)
    try:
        table = workloads()
    except ImportError as error:
        sys.exit(f"{error}: pip install scipy rsatoolbox ({sys.executable})")
    prepared = {}
    for line in sys.stdin:
        name = line.strip()
        if name not in table:
            print(json.dumps({"workload": name, "error": "unknown workload"}), flush=True)
            continue
        if name not in prepared:
            prepared = {name: table[name]()}
            prepared[name]()
        ms, cpu_ms = round_of(prepared[name])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"workload": name, "ms": ms, "cpu_ms": cpu_ms, "peak_rss_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
