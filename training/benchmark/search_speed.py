"""How searching grows with the photos: the index as it is, and an approximate one (usearch, HNSW) beside it.

The vectors are made: unit vectors around a thousand centres, as photos of a thousand subjects would lie. What is
searched is what `valm-find` searches; the model, which takes its time once a query whatever the index holds, is left
out.

Example:
    python -m training.search_speed --sizes 10000 100000 1000000 --report docs/reports/running/search_speed.json
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from training.measuring.common import write_report
from valm_core.retrieval.index import Known, PhotoIndex
from valm_core.retrieval.matching import CELL_STEPS, Finder, PhotoKeys, Query, match

WIDTH, CELLS = 256, 49  # of the shipped model that finds photos
CENTRES, SPREAD = 1000, 0.6
WHOLE = 100_000  # photos up to which a graph is built and a whole index written: minutes, and 13 KB a photo
NEAREST = 50  # as many as are then compared word by cell


class StillFinder:
    """What an index asks of a ``Finder``, without a model."""

    fingerprint, width, cells = "search_speed", WIDTH, CELLS

    def scores(self, query: Query, keys: PhotoKeys) -> np.ndarray:
        """As ``Finder.scores``, with both scales 1."""
        photos = keys.vectors.astype(np.float32), keys.cells.astype(np.float32) / CELL_STEPS
        return match(np.ones(2, dtype=np.float32), (query.vector, query.pieces, query.shares), photos)

    def found_share(self, score: float) -> None:
        """Nobody measured it."""


def made_vectors(count: int, seed: int) -> np.ndarray:
    """Unit vectors [count, WIDTH] float32 around ``CENTRES``, which are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((CENTRES, WIDTH), dtype=np.float32)
    chance = np.random.default_rng(seed)
    vectors = centres[chance.integers(0, CENTRES, count)]
    vectors += SPREAD * chance.standard_normal((count, WIDTH), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def milliseconds(search: Callable[[np.ndarray], Any], queries: np.ndarray) -> dict[str, float]:
    """Median and 95th percentile of the time that one query takes."""
    search(queries[0])
    times = []
    for query in queries:
        begin = time.perf_counter()
        search(query)
        times.append(1000 * (time.perf_counter() - begin))
    return {"p50_ms": float(np.percentile(times, 50)), "p95_ms": float(np.percentile(times, 95))}


def measure_exact(vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """All vectors compared, as the index does: memory, and time a query."""
    known = Known(tuple(map(str, range(len(vectors)))), vectors)
    found = milliseconds(lambda query: known.nearest(query, NEAREST), queries)
    return found | {"memory_mb": vectors.nbytes / 2**20, "recall": 1.0, "build_s": 0.0}


def measure_usearch(vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    """A graph of neighbours (HNSW, Malkov & Yashunin 2018, https://arxiv.org/abs/1603.09320) in half precision."""
    from usearch.index import Index

    graph = Index(ndim=WIDTH, metric="cos", dtype="f16")
    begin = time.perf_counter()
    graph.add(np.arange(len(vectors)), vectors)
    seconds = time.perf_counter() - begin
    found = milliseconds(lambda query: graph.search(query, NEAREST), queries)
    known = Known(tuple(map(str, range(len(vectors)))), vectors)
    shared = [
        len({*known.nearest(query, NEAREST)} & {*map(int, graph.search(query, NEAREST).keys)}) for query in queries
    ]
    recall = float(np.mean(shared)) / NEAREST
    return found | {"memory_mb": graph.memory_usage / 2**20, "recall": recall, "build_s": seconds}


def measure_index(vectors: np.ndarray, queries: np.ndarray, folder: Path) -> dict[str, float]:
    """The whole index: opened, and searched with the best ``NEAREST`` compared word by cell, read from its file."""
    finder = cast(Finder, StillFinder())
    (folder / "photos").mkdir()
    index = PhotoIndex(folder / "index", folder / "photos", finder)
    chance, begin = np.random.default_rng(1), time.perf_counter()
    with index._opened() as database:
        for first in range(0, len(vectors), 1000):
            part = vectors[first : first + 1000].astype(np.float16)
            cells = chance.integers(-127, 128, (len(part), CELLS, WIDTH), dtype=np.int8)
            rows = [
                (f"{first + place}.jpg", 1, 1, vector.tobytes(), of_photo.tobytes())
                for place, (vector, of_photo) in enumerate(zip(part, cells, strict=True))
            ]
            database.executemany("INSERT INTO photos (name, size, changed, vector, cells) VALUES (?, ?, ?, ?, ?)", rows)
            database.commit()
    built = time.perf_counter() - begin
    begin = time.perf_counter()
    index = PhotoIndex(folder / "index", folder / "photos", finder)
    opened = time.perf_counter() - begin
    shares = np.full(6, 1 / 6, np.float32)

    def search(vector: np.ndarray) -> Any:
        return index.search(Query("", (), vector, np.tile(vector, (6, 1)), shares, (0,) * 6))

    size = (folder / "index").stat().st_size / 2**20
    return milliseconds(search, queries) | {"build_s": built, "open_s": opened, "file_mb": size}


def measure(size: int, queries: int) -> dict[str, dict[str, float]]:
    """All stores with ``size`` photos, over ``queries`` queries."""
    vectors, asked = made_vectors(size, 1), made_vectors(queries, 2)
    found = {"exact": measure_exact(vectors, asked)}
    if size <= WHOLE:
        found["usearch"] = measure_usearch(vectors, asked)
        with tempfile.TemporaryDirectory() as folder:
            found["index"] = measure_index(vectors, asked, Path(folder))
    return found


def table(figures: dict) -> str:
    """The figures as Markdown."""
    lines = [
        "# Searching, by how many photos",
        "",
        f"`{figures['command']}` on {figures['cores']} cores, load average {figures['load_average']:.1f} at the begin; "
        f"{figures['queries']} queries a size, one at a time. Made vectors of {WIDTH} numbers; the model's own time "
        f"(once a query) is left out. Graph and index up to {WHOLE:,} photos.",
        "",
        "| photos | store | p50 (ms) | p95 (ms) | 50 nearest found | memory (MB) | build (s) | open (s) | file (MB) |",
        "|---:|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    titles = {
        "exact": "all vectors compared",
        "usearch": "usearch (HNSW, half precision)",
        "index": "the whole index, 50 compared word by cell",
    }

    def shown(row: dict[str, float], name: str, digits: int) -> str:
        return f"{row[name]:,.{digits}f}" if name in row else "–"

    for size, stores in figures["sizes"].items():
        for store, row in stores.items():
            recall = f"{100 * row['recall']:.1f} %" if "recall" in row else "–"
            cells = [f"{int(size):,}", titles[store], shown(row, "p50_ms", 1), shown(row, "p95_ms", 1), recall]
            cells += [shown(row, "memory_mb", 0), shown(row, "build_s", 1), shown(row, "open_s", 1)]
            lines.append(f"| {' | '.join([*cells, shown(row, 'file_mb', 0)])} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000], help="how many photos, each")
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--report", required=True, help="JSON file to write; a Markdown table is written beside it")
    options = parser.parse_args(arguments)
    if min(*options.sizes, options.queries, 10**9) < NEAREST:
        parser.exit(2, f"--sizes and --queries must be at least {NEAREST}.\n")
    command = " ".join(["python -m training.search_speed", *(sys.argv[1:] if arguments is None else arguments)])
    figures: dict[str, Any] = {"command": command, "cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    figures |= {"queries": options.queries, "sizes": {}}
    for size in options.sizes:
        figures["sizes"][str(size)] = measure(size, options.queries)
        print(size, figures["sizes"][str(size)], flush=True)
    write_report(options.report, figures, table(figures))


if __name__ == "__main__":
    main()
