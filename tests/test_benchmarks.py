"""The benchmarks run at toy size, so that they cannot rot."""

import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STAGES = ["import", "qc", "pca", "ancestry", "synthesis", "phenotype", "watermark", "relatives", "kinship",
          "validate", "release"]  # fmt: skip
PEERS = ("PLINK2", "PLINK2ZARR", "SGKIT_PYTHON", "SKLEARN_PYTHON")


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture
def no_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PEERS:
        monkeypatch.setenv(f"GENOWEAVE_PEER_{name}", "")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def module(name: str) -> ModuleType:
    return import_module(name)


def test_stages__toy_run_gives_a_row_per_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = module("stages")
    saved = tmp_path / "results" / "stages.csv"
    monkeypatch.setattr(bench.save, "__defaults__", (saved,))
    assert bench.main(["--toy", "--save"]) == 0
    shown = capsys.readouterr().out
    assert all(f"\n{stage} " in shown for stage in STAGES)
    table = pd.read_csv(saved)
    assert list(table["stage"]) == STAGES
    assert (table["wall_seconds"] > 0).all()
    assert (table["peak_mb"] > 10).all()
    assert table.loc[0, "genotypes"] == 120 * 400
    assert {"cores", "system", "genoweave"} <= set(table.columns)


def test_cohort__has_the_frequencies_and_missing_calls_it_says() -> None:
    bench = module("stages")
    ds = bench.cohort(400, 1500, seed=1)
    calls = ds["call_genotype"].values
    assert calls.shape == (1500, 400, 2)
    assert set(np.unique(calls)) == {-1, 0, 1}
    # 600,000 calls: 5 standard errors of the share
    assert abs((calls[:, :, 0] < 0).mean() - bench.MISSING) < 5 * np.sqrt(bench.MISSING / 600_000)
    # mean of uniform frequencies on (0.05, 0.5); 5 standard errors over 1,500 variants
    assert abs(calls[calls >= 0].mean() - 0.275) < 5 * 0.13 / np.sqrt(1500)
    assert (ds["sample_ancestry"].to_series().value_counts() == 100).all()


def test_shapes__scale_and_are_made_once(data: Path) -> None:
    shapes = module("shapes")
    assert shapes.scaled(shapes.PAPER, Fraction(1, 4), Fraction(1, 16)) == shapes.Shape(61_348, 12_685, True)
    prefix = shapes.make(shapes.SHAPES["toy"], data / "toy")
    assert Path(f"{prefix}.bed").stat().st_size == 3 + 600 * 100
    made = Path(f"{prefix}.bed").stat().st_mtime_ns
    shapes.make(shapes.SHAPES["toy"], data / "toy")
    assert Path(f"{prefix}.bed").stat().st_mtime_ns == made


@pytest.mark.usefixtures("no_peers")
def test_against__measures_ours_where_peers_are_absent(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "against.csv"
    arguments = [
        "--rows",
        "import,king,flips,linear,hwe",
        "--small",
        "--data",
        str(data),
        "--save",
        str(saved),
    ]
    assert module("against").main(arguments) == 0
    shown = capsys.readouterr().out
    assert re.search(r"plink2 --make-king-table +toy +absent", shown)
    assert re.search(r"agrees: 0\.003\d+ of genotypes changed, expected 0\.003700", shown)
    table = pd.read_csv(saved)
    assert set(table["task"]) == {
        "import",
        "KING, all pairs",
        "flips (kernel only)",
        "linear regression",
        "HWE (kernel only)",
    }
    ours = table[table["program"].str.startswith("genoweave")]
    assert (ours["cpu_seconds"] >= 0).all()
    assert (ours["peak_gib"] > 0.05).all()
    assert table.loc[table["program"] == "plink2zarr convert", "cpu_seconds"].isna().all()
    assert {"processor", "openblas_coretype", "peer_plink2"} <= set(table.columns)


@pytest.mark.oracle
@pytest.mark.slow
@pytest.mark.usefixtures("plink2")
def test_against__agrees_with_plink2(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        module("against").main(
            ["--rows", "qc,pca20,king,linear,logistic,fits", "--small", "--data", str(data)]
        )
        == 0
    )
    shown = capsys.readouterr().out
    assert "DIFFERS" not in shown
    assert shown.count("agrees: the same") == 2
    assert len(re.findall(r"600 [tz] statistics", shown)) == 4


def test_against__unknown_row_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        module("against").main(["--rows", "king,sorting"])
    assert "no row sorting" in capsys.readouterr().err


def test_run__measures_cpu_memory_and_failure(tmp_path: Path) -> None:
    measuring = module("measuring")
    script = (
        f"x = bytearray(300_000_000); open({str(tmp_path / 'f')!r}, 'wb').write(x[:5000])\n"
        "for i in range(3_000_000): pass\nprint('done')"
    )
    found = measuring.run([sys.executable, "-c", script], watch=tmp_path)
    assert 0.01 < found.cpu < 60
    assert found.wall > 0.01
    assert found.peak_bytes > 300_000_000
    assert found.disk_bytes == 5000
    assert found.output == "done\n"
    with pytest.raises(measuring.CommandError, match="no good"):
        measuring.run([sys.executable, "-c", "raise SystemExit('no good')"])
    with pytest.raises(measuring.CommandError, match="absent-program"):
        measuring.run(["absent-program"])


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_outputs__pairs_of_plink2_match_in_either_order(tmp_path: Path) -> None:
    outputs = module("outputs")
    theirs = write(
        tmp_path / "a.kin0",
        "#IID1\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\ns2\ts1\t100\t0.2\t0\t0.25\ns3\ts1\t99\t0.1\t0.01\t0.06\n",
    )
    ours = write(
        tmp_path / "b.kin0", "#FID1\tIID1\tFID2\tIID2\tKINSHIP\n0\ts1\t0\ts3\t0.0600004\n0\ts1\t0\ts2\t0.25\n"
    )
    a, b = outputs.kin0(ours), outputs.kin0(theirs)
    assert outputs.same_numbers("pairs", a, b, 1e-6).passed
    close = outputs.same_numbers("pairs", a, b, 1e-7)
    assert (close.passed, close.text) == (False, "2 pairs, largest difference 4e-07")
    assert not outputs.same_numbers("pairs", a[:1], b, 1).passed


def test_outputs__regressions_of_plink2(tmp_path: Path) -> None:
    outputs = module("outputs")
    theirs = write(
        tmp_path / "a.glm.linear",
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\tERRCODE\n"
        "1\t5\trs1\tA\tC\tC\tADD\t99\t0.1\t0.1\t1.5\t0.1\t.\n"
        "1\t5\trs1\tA\tC\tC\tC1\t99\t0.1\t0.1\t7\t0.1\t.\n"
        "1\t6\trs2\tA\tC\tA\tADD\t99\t0.1\t0.1\t2\t0.1\t.\n"
        "1\t7\trs3\tA\tC\tC\tADD\t99\tNA\tNA\tNA\tNA\tCONST_ALLELE\n",
    )
    ours = write(tmp_path / "b.tsv", "ID\tA1\tT_STAT\nrs1\tC\t1.5\nrs2\tC\t-2.0001\nrs3\tC\tNA\n")
    assert outputs.same_numbers("t", outputs.glm(ours), outputs.glm(theirs), 1e-3).passed
    ours.write_text("ID\tA1\tT_STAT\nrs1\tC\t1.5\nrs2\tC\tNA\nrs3\tC\tNA\n")
    check = outputs.same_numbers("t", outputs.glm(ours), outputs.glm(theirs), 1e-3)
    assert not check.passed
    assert "1 without a number" in check.text


def test_outputs__names_and_eigenvalues(tmp_path: Path) -> None:
    outputs = module("outputs")
    bim = write(tmp_path / "a.bim", "1\trs1\t0\t5\tA\tC\n1\trs2\t0\t6\tA\tC\n")
    assert outputs.column(bim, 1) == ["rs1", "rs2"]
    assert outputs.same_names("variants", ["rs1", "rs2"], ["rs1", "rs2"]).passed
    differ = outputs.same_names("variants", ["rs1", "rs3"], ["rs1", "rs2"])
    assert (differ.passed, differ.text) == (False, "variants: 2 against 2, 2 in one only")
    assert outputs.eigenvalues(write(tmp_path / "e", "3.5\n2\n")).tolist() == [3.5, 2.0]
    leading = module("rows").leading
    assert leading(np.array([2.0, 1.0]), np.array([2.001, 1.0]), 2, 1e-3).passed
    assert not leading(np.array([2.0, 1.0]), np.array([2.1, 1.0]), 2, 1e-3).passed


@pytest.mark.parametrize(
    ("found", "at_least", "verdict"),
    [(30, True, "aim"), (22, True, "must"), (5, True, "MISSED"), (30, False, "MISSED"), (20, False, "must")],
)
def test_target__verdict(found: float, at_least: bool, verdict: str) -> None:
    target = module("lab").Target("x", found, 20, 25 if at_least else 10, at_least)
    assert target.verdict == verdict


def test_paper_scale__toy_run_gives_stages_and_the_whole(tmp_path: Path) -> None:
    saved = tmp_path / "out.csv"
    assert module("paper_scale").main(["--folder", str(tmp_path), "--toy", "--save", str(saved)]) == 0
    table = pd.read_csv(saved)
    assert list(table["stage"]) == [*STAGES, "whole command"]
    assert (table["samples"] == 600).all()
    whole = table.iloc[-1]
    assert whole["cpu_seconds"] > 1
    assert whole["disk_gib"] > 0
    assert saved.with_suffix(".json").exists()


def runs(model: dict[str, list[float]]) -> pd.DataFrame:
    """Runs at five sizes that cost exactly what a model says."""
    curves = module("curves")
    shapes = [(4e3, 3e3, 400), (2e4, 1e4, 2e3), (6e4, 5e4, 8e3), (2e5, 2e4, 3e4), (5e4, 2e5, 3e4)]
    sizes = [curves.Size(n, m, 0.8 * n, 0.1 * m, synthetic) for n, m, synthetic in shapes]
    return pd.DataFrame(
        {"stage": stage, "cpu_seconds": float(np.dot(c, curves.features(stage, size))), **vars(size)}
        for stage, c in model.items()
        for size in sizes
    )


def test_curves__find_the_model_back_and_spread_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    curves = module("curves")
    truth = {"import": [2.0, 1e-9], "qc": [1.0, 2e-9, 3e-13], "kinship": [0.5, 1e-12]}
    model = curves.fit(runs(truth))
    for stage, coefficients in truth.items():
        np.testing.assert_allclose(model[stage], coefficients, rtol=1e-6)
    size = curves.size_at(500_000, 800_000)
    two, many = (curves.predict(model, size, cores).set_index("stage") for cores in (2, 1_000))
    assert two.loc["import", "cpu_seconds"] == pytest.approx(402)
    assert two.loc["import", "wall_seconds"] == pytest.approx(202)
    assert many.loc["import", "wall_seconds"] == pytest.approx(2.5)
    assert two.loc["all", "cpu_seconds"] == pytest.approx(two["cpu_seconds"][:-1].sum())
    table = tmp_path / "runs.csv"
    runs(truth).to_csv(table, index=False)
    records = {"task": ["a", "a"], "program": ["genoweave x", "other"], "cpu_per_ours": [np.nan, 12]}
    against = pd.DataFrame(records)
    against.to_csv(tmp_path / "against.csv", index=False)
    arguments = ["--runs", table, "--against", tmp_path / "against.csv", "--images", tmp_path]
    assert curves.main([str(a) for a in arguments]) == 0
    assert "1,000 cores" in capsys.readouterr().out
    assert (tmp_path / "cost_curves.svg").stat().st_size > 1000
    assert (tmp_path / "against.svg").stat().st_size > 1000
