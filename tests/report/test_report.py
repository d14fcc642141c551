"""The report: a page for any run folder, with small counts hidden and names escaped."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genoweave.errors import DataError
from genoweave.report import _formats as fmt
from genoweave.report import _tables as tables
from genoweave.report import figures, write_report

Q = 1 / (np.exp(6) + 2)
STATEMENT = "About 0.5 % of each person's genotypes were changed. Treat as the source data."
SIZES = {"EUR": 51_300, "AFR": 25_500, "AMR": 18_600, "EAS": 2_700, "SAS": 1_400, "WAS": 430}
KINSHIP = {"first": 0.25, "second": 0.125, "third": 0.0625}


def fake_maf(names, rng, n_variants, n_synthetic):
    parts = []
    for name in names:
        f = np.clip(10 ** rng.uniform(-2, -0.30103, n_variants), 0.01, 0.5)
        expected = f + Q * (1 - 2 * f)
        sd = np.sqrt(expected * (1 - expected) / (2 * n_synthetic))
        synthetic = np.clip(expected + sd * rng.standard_normal(n_variants), 0, 1)
        parts.append(
            pd.DataFrame(
                {
                    "group": name,
                    "variant_id": [f"rs{i}" for i in range(n_variants)],
                    "maf_real": f,
                    "maf_synthetic": np.minimum(synthetic, 1 - synthetic),
                    "frequency_expected": expected,
                    "frequency_synthetic": synthetic,
                    "frequency_se": sd,
                    "z": (synthetic - expected) / sd,
                }
            )
        )
    return pd.concat(parts)


def fake_embedding(names, rng, n):
    parts = []
    for place, name in enumerate(names):
        angle = 2 * np.pi * place / len(names)
        centre = 60 * np.array([np.cos(angle), np.sin(angle)])
        islands = rng.normal(0, 18, (5, 2))
        for kind in ("real", "synthetic"):
            pcs = centre + rng.multivariate_normal([0, 0], [[60, 25], [25, 30]], n)
            tsne = islands[rng.integers(5, size=n)] + rng.normal(0, 4, (n, 2))
            tsne[n // 2 :] = np.nan
            columns = {"pc1": pcs[:, 0], "pc2": pcs[:, 1], "tsne1": tsne[:, 0], "tsne2": tsne[:, 1]}
            parts.append(pd.DataFrame({"group": name, "kind": kind, **columns}))
    return pd.concat(parts)


def fake_kinship(names, rng, n, n_copies):
    parts = [
        pd.DataFrame({"group": g, "degree": d, "kinship": rng.normal(mean, 0.008, n)})
        for g in names
        for d, mean in KINSHIP.items()
    ]
    listed = pd.concat(parts)
    edges = np.linspace(-0.3, 0.5, 201)
    values = np.concatenate(
        [rng.normal(0, 0.012, 200_000), rng.normal(-0.13, 0.04, 300_000), listed["kinship"]]
    )
    values = np.append(values, rng.normal(0.49, 0.002, n_copies))
    pairs, _ = np.histogram(np.clip(values, -0.3, 0.5), edges)
    hist = pd.DataFrame({"left": edges[:-1], "right": edges[1:], "pairs": pairs})
    return listed, hist


def fake_watermark(rng, n):
    z = rng.normal(74.2, 0.4, n)
    joint = rng.normal(-36, 2, n)
    return pd.DataFrame(
        {
            "id": [f"rs{77_000 + 13 * i}" for i in range(n)],
            "case": "a",
            "n0": 10_710,
            "n1": 10_290,
            "n2": 9_000,
            "beta": z * 0.01736,
            "se": 0.01736,
            "z": z,
            "log10_p": -(z**2) / 2 / np.log(10) - 2.3,
            "joint_beta": 0.22,
            "joint_se": 0.018,
            "joint_log10_p": joint,
        }
    )


def fake_groups(sizes, maf, n_synthetic):
    rows = []
    for name, n in sizes.items():
        of_group = maf[maf["group"] == name]
        error = of_group["maf_synthetic"] - of_group["maf_real"]
        copies = -(-n_synthetic // n)
        rows.append(
            {
                "group": name,
                "n_real": n,
                "n_synthetic": n_synthetic,
                "n_donors": min(n, n_synthetic),
                "max_copies": copies,
                "same_source_pairs": 0 if copies == 1 else n * copies * (copies - 1) // 2,
                "rejected_identical": 0,
                "rejected_outside": 7 if name == "AMR" else 31,
                "maf_rmse": float(np.sqrt((error**2).mean())),
                "maf_r2": float(np.corrcoef(of_group["maf_real"], of_group["maf_synthetic"])[0, 1]) ** 2,
                "max_abs_z": float(of_group["z"].abs().max()),
                "confusion_agreement": 0.985 if n > 500 else 0.93,
            }
        )
    return pd.DataFrame(rows)


def fake_confusion(sizes):
    rows = []
    for label, n in sizes.items():
        for other in sizes:
            away = {0: 0, 1: 12, 2: 160}[hash_free(label, other) % 3]
            rows.append({"label": label, "predicted": other, "n": n if label == other else away})
    return pd.DataFrame(rows)


def hash_free(label, other):
    return sum(map(ord, label)) * 7 + sum(map(ord, other))


def fake_run(folder: Path, sizes=SIZES, n_variants=3000, n_synthetic=5000) -> Path:
    """Write a run folder as the pipeline would leave it."""
    rng = np.random.default_rng(5)
    names = list(sizes)
    maf = fake_maf(names, rng, n_variants, n_synthetic)
    groups = fake_groups(sizes, maf, n_synthetic)
    listed, hist = fake_kinship(names, rng, 400, groups["same_source_pairs"].sum())
    total = sum(sizes.values())
    qc = pd.DataFrame(
        [
            ("input", 0, 0, total + 3012, 202_959),
            ("mind", 14, 0, total + 2998, 202_959),
            ("geno", 0, 4_100, total + 2998, 198_859),
            ("hwe", 0, 12_345, total + 2998, 186_514),
            ("maf", 0, 186_514 - n_variants, total + 2998, n_variants),
            ("king", 2998, 0, total, n_variants),
        ],
        columns=["step", "samples_removed", "variants_removed", "samples_left", "variants_left"],
    )
    found = {
        "maf": maf,
        "embedding": fake_embedding(names, rng, 1200),
        "kinship_listed": listed,
        "kinship_histogram": hist,
        "watermark": fake_watermark(rng, 20),
        "qc": qc,
        "groups": groups,
        "confusion": fake_confusion(sizes),
        "pca": pd.DataFrame({"component": range(1, 201), "eigenvalue": 90 / np.arange(1, 201) + 2}),
    }
    (folder / "evaluation").mkdir(parents=True)
    for name, table in found.items():
        table.reset_index(drop=True).to_parquet(folder / "evaluation" / f"{name}.parquet")
    write_json(folder / "evaluation.json", fake_evaluation(sizes, n_variants, n_synthetic, listed))
    fake_manifests(folder / "manifest", total, n_variants)
    (folder / "release").mkdir()
    for ending in ("_snp.csv", "_phenotype.csv", "_watermark_snp.csv", "_relative_snps.csv"):
        (folder / "release" / f"cohort{ending}").write_text("SampleID\n" * 300)
    (folder / "config.toml").write_text('[input]\npath = "cohort"\n')
    return folder


def fake_evaluation(sizes, n_variants, n_synthetic, listed):
    by = listed.groupby("degree")["kinship"]
    means = {d: {"n": len(v), "mean": v.mean(), "sd": v.std()} for d, v in by}
    return {
        "name": "Six ancestries",
        "mechanism": "syngen6",
        "epsilon": 6.0,
        "flip_probability": Q,
        "n_real": sum(sizes.values()),
        "n_synthetic": n_synthetic * len(sizes),
        "n_variants": n_variants,
        "n_relatives": 350 * len(sizes),
        "n_listed_pairs": 1200 * len(sizes),
        "n_related_pairs": 1700 * len(sizes),
        "n_causal": n_variants // 10,
        "heritability": 0.9,
        "prevalence": 0.5,
        "groups": list(sizes),
        "unused_groups": [],
        "joint_fit": "ok",
        "privacy": {"guarantee": "none", "statement": STATEMENT},
        "kinship_means": means,
        "flips_per_record": 35.4,
        "kept_share": 0.995067,
        "versions": {"genoweave": "0.1.0", "numpy": "2.1.3", "dask": "2024.8.0"},
        "warnings": ["Group WAS has fewer participants than records: donors are copied 12 times."],
    }


def fake_manifests(folder, total, n_variants):
    folder.mkdir()
    counts = {
        "import": {"samples": total + 3012, "variants": 202_959},
        "qc": {"samples": total, "variants": n_variants, "samples_removed": 3012},
        "pca": {"components": 200},
        "synthesis": {"records": 30_000, "rejected": 9},
        "relatives": {"relatives": 2100, "listed_pairs": 7200},
        "validate": {},
    }
    for place, (stage, found) in enumerate(counts.items()):
        manifest = {
            "stage": stage,
            "wall_seconds": 3.2 * 6**place,
            "cpu_seconds": 6.1 * 6**place,
            "peak_memory_bytes": (1 + place) * 310_000_000,
            "counts": found,
        }
        write_json(folder / f"{stage}.json", manifest)


def write_json(path, content):
    path.write_text(json.dumps(content))


def edit_evaluation(folder, **changes):
    path = folder / "evaluation.json"
    write_json(path, {**json.loads(path.read_text()), **changes})


def small_run(folder, sizes):
    return fake_run(folder, sizes, n_variants=400, n_synthetic=600)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    return fake_run(folder, {"EUR": 51_300, "AMR": 18_600, "WAS": 430}, 2000)


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text()


def without_images(page):
    return re.sub(r'base64,[^"]*', "base64,", page)


def test_write_report__page_figures_and_tables_are_written(run, page):
    assert "<!DOCTYPE html>" in page
    drawn = {path.stem for path in (run / "report" / "figures").glob("*.png")}
    assert drawn == {
        "maf", "maf_change", "embedding", "pca_overview", "kinship_degree", "kinship_histogram",
        "watermark", "scree",
    }  # fmt: skip
    written = {path.stem for path in (run / "report" / "tables").glob("*.tsv")}
    assert {"qc", "groups", "frequencies", "watermark", "confusion"} <= written
    assert not list((run / "report").rglob("*.partial"))


def test_write_report__statement_comes_before_everything_else(page):
    body = page[page.index("<main>") :]
    assert body.index("No differential-privacy guarantee") < body.index('id="summary"')
    assert STATEMENT.replace("'", "&#39;") in body


def test_write_report__page_needs_no_other_file(page):
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page


def test_write_report__small_counts_of_people_are_hidden(run, page):
    page = without_images(page)
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page)
    assert "≤20" in cells
    assert "14" not in cells  # removed by mind
    assert "7" not in cells  # redrawn in AMR
    assert "rejected ≤20" in page
    for total in ("73,342", "73,328", "73342", "73328"):  # before and after the hidden 14
        assert total not in page
        assert total not in (run / "report" / "tables" / "qc.tsv").read_text()
    assert "≤20" in (run / "report" / "tables" / "groups.tsv").read_text()


def test_write_report__extreme_p_values_are_not_zero(page):
    assert re.search(r"×10⁻¹[¹²][⁰¹²³⁴⁵⁶⁷⁸⁹]{2}", page)
    assert re.search(r"×10⁻³[⁰¹²³⁴⁵⁶⁷⁸⁹]", page)


def test_write_report__same_run_gives_same_bytes(run, page):
    before = {p: p.read_bytes() for p in (run / "report").rglob("*") if p.is_file()}
    write_report(run)
    after = {p: p.read_bytes() for p in (run / "report").rglob("*") if p.is_file()}
    assert before == after


def test_write_report__names_are_escaped(tmp_path):
    folder = small_run(tmp_path / "run", {"<b>x": 900, "cost $a$ $": 800})
    edit_evaluation(folder, name="<script>alert(1)</script>", warnings=["<i>hm</i>"])
    (folder / "release" / "<u>.csv").write_text("x")
    page = without_images(write_report(folder).read_text())
    for raw in ("<b>x", "<script", "<i>hm", "<u>"):
        assert raw not in page
    assert "&lt;b&gt;x" in page


def test_write_report__one_group(tmp_path):
    page = write_report(small_run(tmp_path / "run", {"ALL": 700})).read_text()
    assert "1 ancestry group " in page


def test_write_report__only_the_evaluation(tmp_path):
    write_json(tmp_path / "evaluation.json", {"name": "bare"})
    page = without_images(write_report(tmp_path).read_text())
    assert "Treat these records as the source data" in page
    assert "None" not in page
    assert "nan" not in page


def test_write_report__missing_values_and_empty_watermark(tmp_path):
    folder = small_run(tmp_path / "run", {"A": 700, "B": 12})
    evaluation = folder / "evaluation"
    pd.read_parquet(evaluation / "watermark.parquet")[:0].to_parquet(evaluation / "watermark.parquet")
    for name, columns in {
        "groups": ["maf_rmse", "confusion_agreement"],
        "embedding": ["tsne1"],
        "maf": ["frequency_expected"],
        "qc": ["variants_left"],
        "pca": ["eigenvalue"],
    }.items():
        table = pd.read_parquet(evaluation / f"{name}.parquet")
        table[columns] = np.nan
        table.to_parquet(evaluation / f"{name}.parquet")
    write_json(folder / "manifest" / "odd.json", {"stage": "odd", "counts": None})
    page = without_images(write_report(folder).read_text())
    assert "Not measured" in page
    assert ">12<" not in page
    assert ">50<" not in page  # the copies that would tell of 12 donors
    assert "712" not in page  # the total would tell the size of B
    assert "nan" not in page


def test_write_report__joint_fit_that_failed(tmp_path):
    folder = small_run(tmp_path / "run", {"A": 700})
    path = folder / "evaluation" / "watermark.parquet"
    pd.read_parquet(path).assign(joint_log10_p=np.nan, joint_beta=np.nan).to_parquet(path)
    edit_evaluation(folder, joint_fit="separation")
    assert "joint fit: separation" in write_report(folder).read_text()


def test_write_report__row_level_is_said(tmp_path):
    folder = small_run(tmp_path / "run", {"A": 700})
    assert "row-level" not in write_report(folder).read_text()
    aggregate = (folder / "report" / "figures" / "embedding.png").read_bytes()
    assert "row-level data" in write_report(folder, allow_row_level=True).read_text()
    assert (folder / "report" / "figures" / "embedding.png").read_bytes() != aggregate


def test_write_report__errors_name_the_file(tmp_path):
    with pytest.raises(DataError, match=r"no evaluation\.json"):
        write_report(tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        write_report(tmp_path)
    write_json(tmp_path / "evaluation.json", {})
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "maf.parquet").write_text("no table")
    with pytest.raises(DataError, match="is not a Parquet table"):
        write_report(tmp_path)


EMPTY = {
    "maf": (figures.maf_figure, ["group", "maf_real", "maf_synthetic", "frequency_expected"]),
    "change": (
        figures.maf_change_figure,
        ["group", "maf_real", "maf_synthetic", "frequency_expected"],
    ),
    "embedding": (figures.embedding_figure, ["group", "kind", "pc1", "pc2", "tsne1", "tsne2"]),
    "overview": (figures.pca_overview_figure, ["group", "kind", "pc1", "pc2"]),
    "degree": (figures.kinship_degree_figure, ["group", "degree", "kinship"]),
    "histogram": (figures.kinship_histogram_figure, ["left", "right", "pairs"]),
    "scree": (figures.scree_figure, ["component", "eigenvalue"]),
    "watermark": (figures.watermark_figure, ["id", "log10_p", "joint_log10_p"]),
}


@pytest.mark.parametrize("name", EMPTY)
def test_figures__empty_table(name):
    draw, columns = EMPTY[name]
    assert figures.figure_png(draw(pd.DataFrame(columns=columns)))[:4] == b"\x89PNG"


@pytest.mark.parametrize("name", EMPTY)
@pytest.mark.parametrize("n_rows", [1, 30])
def test_figures__constant_columns(name, n_rows):
    draw, columns = EMPTY[name]
    words = {"group": "A", "kind": "real", "degree": "first", "id": "rs1"}
    row = {c: words.get(c, 1.0 if c in ("right", "pairs") else 0.25) for c in columns}
    assert figures.figure_png(draw(pd.DataFrame([row] * n_rows)))[:4] == b"\x89PNG"


@pytest.mark.parametrize("n_groups", [1, 2, 3, 8])
def test_figures__deterministic_bytes(n_groups):
    names = [f"group {i}" for i in range(n_groups)]

    def draw():
        rng = np.random.default_rng(1)
        maf = figures.maf_figure(fake_maf(names, rng, 350, 500), names)
        return figures.figure_png(maf, dpi=40), figures.figure_png(
            figures.embedding_figure(fake_embedding(names, rng, 60), names), dpi=40
        )

    assert draw() == draw()


def test_figures__few_participants_are_not_drawn():
    table = fake_embedding(["A"], np.random.default_rng(2), 300)
    few = pd.concat([table[table["kind"] == "real"][:20], table[table["kind"] == "synthetic"]])
    axes = figures.embedding_figure(few).get_axes()[0]
    assert [t.get_text() for t in axes.texts] == ["≤20 real people: not drawn"]
    assert len(axes.collections) == 1  # the synthetic points


@pytest.mark.parametrize(
    ("n", "shown"),
    [(0, "0"), (1, "≤20"), (20, "≤20"), (21, "21"), (12345, "12,345"), (np.nan, "–"), (None, "–")],
)
def test_masked_count(n, shown):
    assert fmt.masked_count(n) == shown


@pytest.mark.parametrize(
    ("share", "total", "shown"),
    [
        (0.9, 1000, "90.0 %"),
        (0.995, 1000, "≥98.0 %"),  # 5 people
        (0.005, 1000, "≤2.0 %"),
        (1.0, 1000, "100.0 %"),
        (0.5, 20, "not shown"),
        (np.nan, 1000, "–"),
    ],
)
def test_masked_share__tells_of_no_small_count(share, total, shown):
    assert fmt.masked_share(share, total) == shown


@pytest.mark.parametrize(
    ("log10_p", "shown"),
    [
        (-1198.0, "1.0×10⁻¹¹⁹⁸"),
        (-35.02, "9.5×10⁻³⁶"),
        (-9.99999, "1.0×10⁻¹⁰"),
        (-0.30103, "0.5"),
        (np.nan, "–"),
        (-np.inf, "0"),
    ],
)
def test_power_of_ten(log10_p, shown):
    assert fmt.power_of_ten(log10_p) == shown


def test_mean_log10_p__stays_on_the_log_scale():
    assert tables.mean_log10_p(pd.Series([-1200.0, -1200.0])) == pytest.approx(-1200)
    assert tables.mean_log10_p(pd.Series([-1200.0, -1000.0])) == pytest.approx(-1000 - np.log10(2))


def test_confusion_table__hidden_count_cannot_be_worked_out():
    counts = pd.DataFrame(
        {"label": ["A", "A", "B", "B"], "predicted": ["A", "B", "A", "B"], "n": [590, 12, 0, 430]}
    )
    assert tables.confusion_table(counts, ["A", "B"]).cells == [
        ["A", "≈600", "≤20"],
        ["B", "0", "430"],
    ]


def test_frequency_table__tells_good_from_bad():
    rng = np.random.default_rng(3)
    maf = fake_maf(["A", "B"], rng, 2000, 5000)
    groups = fake_groups({"A": 9000, "B": 9000}, maf, 5000)
    groups.loc[1, "max_abs_z"] = 9.0
    readings = [row[-1] for row in tables.frequency_table(groups, maf).cells]
    assert readings[0].startswith("Good")
    assert readings[1].startswith("Check")
