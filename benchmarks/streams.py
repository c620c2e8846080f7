"""Memory of training on rows that are larger than it is allowed to grow: 1,000,000 x 256 numbers of a file, one pass.

    python benchmarks/streams.py

Each way of reading trains in a process of its own; its peak of memory is compared with that after the imports, and with
the size of the file.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from record import write_record

N, D, BATCH = 1_000_000, 256, 4096
WAYS = ("permutation", "blocks", "buffer")


def write_rows(path: Path) -> None:
    """Sparse combinations of 512 directions, written block by block."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(512, D)).astype(np.float32)
    rows = np.lib.format.open_memmap(path, "w+", np.float32, (N, D))
    for start in range(0, N, 50_000):
        codes = rng.random((50_000, 512), dtype=np.float32)
        codes[codes < 0.98] = 0
        rows[start : start + 50_000] = codes @ directions
    rows.flush()


def peak() -> float:
    """The most memory that this process ever held, in MB. Unlike getrusage's, it does not count the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def train(path: Path, way: str) -> dict[str, float]:
    """One pass; the peak of memory in MB, and that after the imports."""
    from monosemy import SparseAutoencoder, train_on_stream
    from monosemy.data import open_stream
    from monosemy.data.streams import BlockPermuted, Buffered, Permuted

    imported = peak()
    rows = open_stream(path)
    stream = {
        "permutation": lambda: Permuted(rows, 0),
        "blocks": lambda: BlockPermuted(rows, 0, 1024, 64),
        "buffer": lambda: Buffered(rows, 0, 65_536),
    }[way]()
    sae = SparseAutoencoder(256, 8, n_epochs=1, batch_size=BATCH, random_state=0)
    train_on_stream([sae], stream)
    return {"imported": imported, "peak": peak()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write_rows(path)
        size = path.stat().st_size / 2**20
        lines = [
            f"A sparse autoencoder (256 latents, k 8, batch {BATCH:,}) trained for one pass over a file of {N:,} x {D} "
            f"float32 = {size:,.0f} MB.",
            "",
            "| reading | peak, MB | after the imports, MB | grown by | of the file |",
            "|---|---|---|---|---|",
        ]
        started = {
            way: subprocess.Popen(
                [sys.executable, __file__, str(path), way], stdout=subprocess.PIPE, start_new_session=True
            )
            for way in WAYS
        }
        for way, process in started.items():
            found = json.loads(process.communicate()[0])
            grown = found["peak"] - found["imported"]
            lines.append(
                f"| {way} | {found['peak']:,.0f} | {found['imported']:,.0f} | {grown:,.0f} MB | {grown / size:.0%} |"
            )
        lines += [
            "",
            "permutation: a true one of all rows (8 MB of it are the order). blocks: 1,024 neighbouring rows at a "
            "time, 64 blocks mixed. buffer: 65,536 rows from front to back. A part of the growth is not the "
            "stream's: the batch, its code and the gradients.",
        ]
        command_line = "python benchmarks/streams.py"
        write_record(
            "streams", "Training on a file larger than memory may be", command_line, "\n".join(lines), ("safetensors",)
        )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(train(Path(sys.argv[1]), sys.argv[2])))
    else:
        main()
