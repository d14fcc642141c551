"""Genetic maps in the formats that are about, and centimorgans between their points."""

import gzip

import helpers
import numpy as np
import pytest

from genoweave.errors import DataError
from genoweave.io.tables import add_genetic_positions, interpolate_map, read_genetic_map

HAPMAP = "Chromosome\tPosition(bp)\tRate(cM/Mb)\tMap(cM)\n"
FORMS = {
    "x.txt": HAPMAP + "chr22\t100\t1.5\t0\nchr22\t300\t2\t1.5\nchr22\t400\t0\t2e0\n",
    "eagle.txt": "chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n"
    "22 100 1.5 0\n22 300 2 1.5\n22 400 0 2\n",
    "x.map": "22 a 0 100\n22 b 1.5 300\n22 c 2 400\n",
    "x.bim": "22\ta\t0\t100\tA\tC\n22\tb\t1.5\t300\tA\tC\n22\tc\t2\t400\tA\tC\n",
    "genetic_map_chr22_b37.txt": "position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n"
    "100 1.5 0\n300 2 1.5\n400 0 2\n",
    "plain.chr22.map": "100 1.5 0\n300 2 1.5\n400 0 2\n",
    "shapeit4": "pos\tchr\tcM\n100\t22\t0\n300\t22\t1.5\n400\t22\t2\n",
}


def write(folder, text, name="x.map"):
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("compressed", [False, True])
def test_read_genetic_map__usual_forms(tmp_path, name, compressed):
    path = write(tmp_path, FORMS[name], name)
    if compressed:
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress(FORMS[name].encode()))
    found = read_genetic_map(path)
    assert found.columns.tolist() == ["contig", "position", "cM"]
    assert [str(dtype) for dtype in found.dtypes[1:]] == ["int64", "float64"]
    assert found["contig"].str.removeprefix("chr").tolist() == ["22"] * 3
    assert found["position"].tolist() == [100, 300, 400]
    assert found["cM"].tolist() == [0, 1.5, 2]


def test_read_genetic_map__the_chromosome_may_be_given(tmp_path):
    path = write(tmp_path, FORMS["plain.chr22.map"], "my_map")
    assert read_genetic_map(path, "X")["contig"].tolist() == ["X"] * 3
    with pytest.raises(DataError, match="does not say which chromosome"):
        read_genetic_map(path)


def test_read_genetic_map__rows_that_plink_leaves_out(tmp_path):
    text = "0 a 0 0\n1 b 0.5 100\n1 c 0.5 100\n1 d 9 -9\n1 e 0.7 200\n2 f 0 50\n2 g 1 60\n"
    found = read_genetic_map(write(tmp_path, text))
    assert found.values.tolist() == [["1", 100, 0.5], ["1", 200, 0.7], ["2", 50, 0.0], ["2", 60, 1.0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 a 0 100\n1 b 1 90\n", r"x\.map, line 2: the position is below"),
        ("1 a 0 100\n2 b 0 50\nchr1 c 1 90\n", r"line 3: the position is below"),
        ("1 a 2 100\n1 b 1 200\n", r"line 2: the genetic position is 1 cM after 2 cM"),
        ("1 a 1 100\n1 b 2 100\n", r"line 2: the genetic position is 2 cM after 1 cM"),
        ("1 a x 100\n1 b 2 200\n", r"line 1: wanted a genetic position in centimorgans, found 'x'"),
        ("1 a 1 100\n1 b nan 200\n", r"line 2: wanted a genetic position in centimorgans, found 'nan'"),
        ("1 a 1 1e999\n", r"line 1: wanted a position in base pairs, found '1e999'"),
        ("1 a 1 100.5\n", r"line 1: a position is a whole number"),
        ("1 a 0 100\n1 b 0 200\n", "has no genetic positions"),
        ("1 a 0\n1 b 0\n", "line 1: wanted a position|does not say|has no genetic"),
        ("chr\tposition\trate\n1\t1\t1\n", "line 1: wanted a genetic map"),
        ("1 a 100 A C\n", "found 5 columns"),
        (HAPMAP + "1\t100\t0\t0\n1\t200\t0\n", "line 3: wanted 4 columns"),
        ("", "is empty"),
    ],
)
def test_read_genetic_map__malformed(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_genetic_map(write(tmp_path, text))


@pytest.fixture
def genetic_map(tmp_path):
    text = HAPMAP + "chr1\t100\t0\t1\nchr1\t300\t0\t2\nchr1\t500\t0\t5\nchrX\t1000\t0\t0.5\n"
    return read_genetic_map(write(tmp_path, text))


@pytest.mark.parametrize(
    ("position", "cm"),
    [(100, 1), (200, 1.5), (300, 2), (350, 2.75), (500, 5), (600, 6), (50, 0.5), (0, 0), (-100, -1)],
)
@pytest.mark.parametrize("contig", ["1", "chr1", "CHR1"])
def test_interpolate_map__by_hand(genetic_map, contig, position, cm):
    # the mean rate of the chromosome is 4 cM in 400 base pairs
    found = interpolate_map(genetic_map, contig, [position])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [cm], atol=1e-12)


def test_interpolate_map__several_chromosomes(genetic_map):
    found = interpolate_map(genetic_map, np.array(["1", "23", "chrX", "chr1"], object), [200, 1000, 7, 500])
    assert found.tolist() == [1.5, 0.5, 0.5, 5]
    assert interpolate_map(genetic_map, "X", 1000).tolist() == [0.5]
    with pytest.raises(DataError, match="no chromosome 2; it has 1, 23"):
        interpolate_map(genetic_map, "2", [1])


def test_interpolate_map__never_falls(genetic_map):
    assert (np.diff(interpolate_map(genetic_map, "1", np.arange(1000))) > 0).all()


def test_add_genetic_positions__where_there_is_a_map(genetic_map):
    ds = helpers.cohort(np.zeros((4, 2), np.int8), contigs=("1", "2"), position=np.array([200, 500, 1, 2]))
    found = add_genetic_positions(ds, genetic_map)["variant_genetic_position"]
    assert found.dims == ("variants",)
    np.testing.assert_array_equal(found.values, [1.5, 5, np.nan, np.nan])
    with pytest.raises(DataError, match=r"no variant is on a chromosome of the genetic map; it has 1, 23"):
        add_genetic_positions(ds.assign(contig_id=("contigs", np.array(["3", "4"], object))), genetic_map)


@pytest.mark.oracle
def test_interpolate_map__as_plink19_does(plink19, tmp_path):
    rng = np.random.default_rng(5)
    bp = np.sort(rng.choice(10**6, 40, replace=False)) + 1
    cm = np.sort(rng.uniform(0, 50, 40))
    lines = "".join(f"{p} 0 {c:.6f}\n" for p, c in zip(bp, cm, strict=True))
    path = write(tmp_path, "position rate map\n" + lines, "chr1.txt")
    inside = np.sort(rng.integers(bp[0], bp[-1], 100))
    ds = helpers.cohort(np.zeros((100, 2), np.int8), position=inside)
    helpers.write_bed(ds, tmp_path / "x")
    theirs = plink19("--bfile", tmp_path / "x", "--cm-map", path, "1", "--make-just-bim", out=tmp_path / "t")
    printed = [float(line.split()[2]) for line in helpers.suffixed(theirs, ".bim").read_text().splitlines()]
    mine = interpolate_map(read_genetic_map(path), "1", inside)
    np.testing.assert_allclose(mine, printed, rtol=1e-6)
