"""Draws are the same bits on a processor without any vector extension beyond its architecture's base."""

import os
import subprocess
import sys

import numpy as np

SCRIPT = """
import numpy as np
from genoweave.kernels.channel import flip, slot_blocks, tables_of
from genoweave.kernels.meiosis import add_children
from genoweave.kernels.random import words_at
from genoweave.kernels.scores import add_scores

key, rows = np.arange(8, dtype=np.uint32), np.arange(40) + 2**40
packed = np.random.default_rng(1).integers(0, 256, (40, 2500), np.uint8)
for q in (0.3, 0.002):
    channel = np.array([[1 - 2 * q, 2 * q, 0], [q, 1 - 2 * q, q], [0, 2 * q, 1 - 2 * q]])
    flip(packed, rows, key, 3, *slot_blocks(np.arange(10_000), np.arange(10_000)), tables_of(channel))
children = np.full((40, 5), 0x55, np.uint8)
parents = np.repeat([-1, 0, 4], (4, 8, 8)), np.repeat([-1, 1, 5], (4, 8, 8))
add_children(packed, *parents, key, rows, np.arange(20), children)
words = np.empty(1000, np.uint32)
words_at(key, 5, np.arange(1000), 0, words)
scores = np.zeros((40, 8))
add_scores(packed[:, :64].copy().view(np.uint64), packed[:, :4] / 7, packed[:, 4:12] / 9, scores)
found = packed.tobytes() + children.tobytes() + words.tobytes() + scores.tobytes()
"""


def test_draws__same_bits_on_a_generic_processor(tmp_path):
    here: dict = {}
    exec(SCRIPT, here)  # the same lines, compiled for this processor
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    script = SCRIPT + "import sys; sys.stdout.buffer.write(found)"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert np.array_equal(np.frombuffer(done.stdout, np.uint8), np.frombuffer(here["found"], np.uint8))
