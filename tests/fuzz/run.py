"""Feed damaged files to every reader.

``python tests/fuzz/run.py --seconds 600 --seed 1 [--readers vcf,bgen] [--bounds FOLDER]``

Inputs are read in a process of their own, so that a crash, a hang and a lack of memory are seen. Prints what
came of them by reader, keeps each input that failed, and exits 1 if one did.
"""

import argparse
import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

# An input may take so long, the first one of a process longer: it compiles.
SECONDS, FIRST_SECONDS = 20, 300
# Above what a process holds that has read every seed.
MEMORY = 1536 * 2**20


def child(options: argparse.Namespace) -> None:
    """Try inputs one after another, and tell about each before and after."""
    import dask
    from fuzz.readers import READ, Cases

    warnings.simplefilter("error", RuntimeWarning)
    dask.config.set(scheduler="synchronous")
    folder = Path(options.folder)
    starts = json.loads(options.starts)
    for name, start in starts.items():
        cases = Cases(name, options.seed)
        for number in range(len(cases.seeds)):
            _say("warm", name, number, {})
            _try(cases, number, folder)
        _limit_memory()
        # so that a number stands for one input however long the seeds took
        number, until = max(start, 0), time.monotonic() + options.seconds / len(starts)
        while time.monotonic() < until and number - start < options.inputs:
            _say("try", name, number, {})
            outcome, detail = _try(cases, number, folder)
            _say("done", name, number, {"outcome": outcome, "detail": detail})
            number += 1
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
    _say("end", READ, 0, {})


def _try(cases, number: int, folder: Path) -> tuple[str, str]:
    try:
        return cases.run(number, folder / "case")
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        return "failure", traceback.format_exc()[-3000:]


def _limit_memory() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))


def _say(kind: str, name: str, number: int, facts: dict) -> None:
    print(json.dumps({"kind": kind, "reader": name, "number": number} | facts), flush=True)


class Trial:
    """Runs children, starts another behind an input that killed one, and counts."""

    def __init__(
        self,
        readers: list[str],
        seed: int,
        seconds: float,
        inputs: int,
        save: Path,
        bounds: str | None = None,
    ) -> None:
        self.starts = dict.fromkeys(readers, 0)
        self.seed, self.seconds, self.inputs, self.save = seed, seconds, inputs, save
        self.counts = {name: Counter() for name in readers}
        self.failures: list[tuple[str, int, str]] = []
        # numba's cache does not tell code that checks bounds from code that does not
        checked = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": bounds} if bounds else {}
        self.environment = os.environ | checked
        self.cases: dict[str, object] = {}
        self.messages: dict[str, Counter] = {name: Counter() for name in readers}

    def run(self) -> None:
        """Try every reader."""
        per_reader = self.seconds / len(self.starts)
        while self.starts:
            ended_at = self._one(per_reader * len(self.starts))
            if ended_at is None:
                return
            name, number, why = ended_at
            if name not in self.starts:
                raise RuntimeError(f"the fuzzer itself does not start: {why}")
            self._failed(name, number, why)
            names = list(self.starts)
            # a reader that kills process after process gets no third one
            deaths = sum(reader == name and what.startswith("it ") for reader, _, what in self.failures)
            self.starts = {n: self.starts[n] for n in names[names.index(name) :] if n != name or deaths < 3}
            if name in self.starts:
                self.starts[name] = number + 1

    def _one(self, seconds: float) -> tuple[str, int, str] | None:
        """Run a child; return the input that ended it, if one did."""
        with tempfile.TemporaryDirectory(prefix="genoweave-fuzz-") as folder:
            command = [
                sys.executable,
                __file__,
                "--child",
                "--seed",
                str(self.seed),
                "--seconds",
                str(seconds),
            ]
            command += ["--inputs", str(self.inputs), "--folder", folder, "--starts", json.dumps(self.starts)]
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0, env=self.environment
            ) as process:
                try:
                    return self._listen(process)
                finally:
                    process.kill()

    def _listen(self, process: subprocess.Popen) -> tuple[str, int, str] | None:
        now, rest, errors = ("start", 0), b"", b""
        limit = FIRST_SECONDS
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            ready.register(process.stderr, selectors.EVENT_READ)
            while True:
                events = ready.select(limit)
                if not events:
                    return *now, f"it took more than {limit} s"
                for key, _ in events:
                    data = os.read(key.fd, 2**16)
                    if key.fileobj is process.stderr:
                        errors = (errors + data)[-3000:]
                        if not data:
                            ready.unregister(process.stderr)
                        continue
                    if not data:
                        code = process.wait()
                        return (
                            *now,
                            f"it ended the process with code {code}: {errors.decode(errors='replace')}",
                        )
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        said = json.loads(line)
                        if said["kind"] == "end":
                            return None
                        now = said["reader"], said["number"]
                        limit = FIRST_SECONDS if said["kind"] == "warm" else SECONDS
                        if said["kind"] == "done":
                            self._note(said)

    def _note(self, said: dict) -> None:
        name = said["reader"]
        self.counts[name][said["outcome"]] += 1
        if said["outcome"] == "failure":
            self._failed(name, said["number"], said["detail"])
        elif said["detail"]:
            self.messages[name][
                "".join(c for c in said["detail"].split(": ")[-1] if not c.isdigit())[:60]
            ] += 1

    def _failed(self, name: str, number: int, why: str) -> None:
        from fuzz.readers import READERS, Cases

        self.failures.append((name, number, why))
        if name not in READERS:
            return
        if not why.startswith("Traceback"):
            self.counts[name]["failure"] += 1
        folder = self.save / f"{name}-{self.seed}-{number}"
        cases = self.cases.setdefault(name, Cases(name, self.seed))
        for file, data in cases.files(number).items():
            path = folder / file.replace("..", "__").lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (folder / "why.txt").write_text(why)

    def table(self) -> str:
        """Return the counts, a line a reader."""
        rows = [
            f"{'reader':10} {'inputs':>8} {'errors':>8} {'reads':>8} {'failures':>8} {'kinds of error':>14}"
        ]
        for name, count in self.counts.items():
            total = sum(count.values())
            rows.append(
                f"{name:10} {total:8} {count['error']:8} {count['read']:8} {count['failure']:8} "
                f"{len(self.messages[name]):14}"
            )
        return "\n".join(rows)


def main(arguments: list[str] | None = None) -> int:
    from fuzz.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--readers", default=",".join(READERS))
    parser.add_argument("--inputs", type=int, default=10**9, help="of each reader at most")
    parser.add_argument(
        "--save", type=Path, default=Path("fuzz-failures"), help="folder for inputs that fail"
    )
    parser.add_argument(
        "--bounds", metavar="FOLDER", help="check the bounds of arrays in kernels; their cache"
    )
    for hidden in ("--child", "--folder", "--starts"):
        parser.add_argument(
            hidden, help=argparse.SUPPRESS, **({"action": "store_true"} if hidden == "--child" else {})
        )
    options = parser.parse_args(arguments)
    if options.child:
        child(options)
        return 0
    trial = Trial(
        options.readers.split(","),
        options.seed,
        options.seconds,
        options.inputs,
        options.save,
        options.bounds,
    )
    trial.run()
    print(trial.table())
    for name, number, why in trial.failures:
        print(f"\nFAILURE {name} input {number} (seed {options.seed}):\n{why}")
    return 1 if trial.failures else 0


if __name__ == "__main__":
    sys.exit(main())
