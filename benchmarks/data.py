"""Rows per second and peak memory of ingest and filter, against the `datasets` library on the same rows.

    make bench NAME=data

As in Mulberry-SFT, one JSON file of conversations stands beside one tar, whose images of 30 to 300 KB are named by many
rows. Ours: `ingest`, then `filter` (decode, check, write Parquet), each as a process. Theirs: read the same rows from
Parquet and decode each image. Both run on one core. Then the tar is ingested from a real S3 server, and fetched by the
store alone.
"""

import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from io import BytesIO
from pathlib import Path

from PIL import Image

from benchmarks.result import finish, seconds
from pebr.ingest.settings import Settings
from pebr.ingest.work import work
from pebr.store.opening import open_store
from tests.s3_server import BUCKET, environment, s3_server

ALL_ROWS = 272_000
ROWS = 13_600  # 5 % of them: all would write 45 GB
IMAGES = 3_000  # distinct
GOAL, LARGEST_PEAK, S3_GOAL = 1.0, 10**9, 0.7
ANSWER = (
    "### Image Description:\nNoise of many colours.\n\n### Rationales:\nWe look.\n\n### Let's think step by step."
    "\n\n### Step 1:\nIt is noise.\n\n### The final answer is:\n{}"
)
READ = """
import sys
from datasets import Image, List, load_dataset
rows = load_dataset("parquet", data_files=sys.argv[1] + "/*.parquet", split="train", streaming=True)
rows = rows.cast_column("images", List(Image()))
count = 0
for row in rows:
    for image in row["images"]:
        image.load()
    count += 1
print(count)
"""


def image(draw: random.Random) -> bytes:
    """A JPEG of 30 to 300 KB."""
    width, height = draw.randint(200, 600), draw.randint(200, 600)
    small = Image.frombytes("RGB", (width // 2, height // 2), draw.randbytes(width // 2 * (height // 2) * 3))
    buffer = BytesIO()
    small.resize((width, height)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def make(folder: Path) -> list[int]:
    """Write the data set; returns the sizes of its images."""
    folder.mkdir()
    draw = random.Random(0)
    sizes = []
    with tarfile.open(folder / "mulberry_images.tar", "w") as tar:
        for number in range(IMAGES):
            data = image(draw)
            member = tarfile.TarInfo(f"mulberry_images/set{number % 17}/images/{number}.jpg")
            member.size = len(data)
            sizes.append(len(data))
            tar.addfile(member, BytesIO(data))
    with (folder / "mulberry_sft.json").open("w") as file:
        for row in range(ROWS):
            number = draw.randrange(IMAGES)
            turns = [
                {"role": "user", "content": f"<image>What is number {row}?"},
                {"role": "assistant", "content": ANSWER.format(row)},
            ]
            item = {"messages": turns, "images": f"set{number % 17}/images/{number}.jpg"}
            file.write(("[\n" if not row else ",\n") + json.dumps(item))
        file.write("\n]\n")
    return sizes


def run(*words: str) -> tuple[float, int, str]:
    """Run Python on one core; returns seconds, peak resident bytes, and its output."""
    code = "import os, resource, subprocess, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});" \
        "done = subprocess.run([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE, text=True, check=True);" \
        "print(done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # fmt: skip
    command = [sys.executable, "-c", code, *words]
    duration, done = seconds(lambda: subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True))
    *output, peak = done.stdout.split()
    return duration, int(peak) * 1024, " ".join(output)


def through_s3(source: Path, folder: Path) -> float:
    """Throughput of ingest from an S3 server over that of the store alone, both without the start of a process."""
    with s3_server(folder / "server") as address:
        os.environ.update(environment(address))
        location = f"s3://{BUCKET}/bench"
        store = open_store(location)
        store.put(source, "data")
        times: dict[str, list[float]] = {"alone": [], "ours": []}
        for number in range(3):
            settings = Settings(source=f"{location}/data", output=str(folder / f"ours{number}"))
            times["alone"].append(seconds(partial(store.get, "data", folder / f"alone{number}"))[0])
            times["ours"].append(seconds(partial(work, settings))[0])
    return min(times["alone"]) / min(times["ours"])


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sizes = make(folder / "source")
        ingest = ["-m", "pebr.ingest", "--source", str(folder / "source"), "--output", str(folder / "brought")]
        filter_rows = ["-m", "pebr.filter", "--source", str(folder / "brought"), "--output", str(folder / "rows")]
        steps = [run(*ingest), run(*filter_rows)]
        ours = sum(step[0] for step in steps)
        theirs, their_peak, count = run("-c", READ, str(folder / "rows"))
        assert int(count) == ROWS
        s3 = through_s3(folder / "source", folder)
    peak = max(step[1] for step in steps)
    numbers = {
        "rows": ROWS,
        "share_of_all_rows": ROWS / ALL_ROWS,
        "image_kilobytes": [round(f(sizes) / 1e3) for f in (min, max)],
        "rows_per_second": {"pebr": round(ROWS / ours), "datasets": round(ROWS / theirs)},
        "seconds": {"ingest": round(steps[0][0], 1), "filter": round(steps[1][0], 1), "datasets": round(theirs, 1)},
        "peak_megabytes": {"pebr": round(peak / 1e6), "datasets": round(their_peak / 1e6), "goal": LARGEST_PEAK / 1e6},
        "s3_throughput_of_store": {"ratio": round(s3, 2), "goal": S3_GOAL},
    }
    is_small = peak < LARGEST_PEAK and s3 >= S3_GOAL
    finish("data", theirs / ours if is_small else 0.0, GOAL, numbers)


if __name__ == "__main__":
    main()
