"""Results of five programs, read for some variants; damaged and hostile tables are refused in words."""

import gzip
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genoweave.errors import ConfigError, DataError, GenoweaveError, StoreError
from genoweave.io.gwas_columns import numbers
from genoweave.io.gwas_files import Results, write_results
from genoweave.io.gwas_results import read_results

# Two variants: rs1 at 1:100 (A>C), beta 0.5, SE 0.125, z 4, p 6.3342e-5 (normal); rs2 at X:200 (G>T).
WANTED = pd.DataFrame({"id": ["rs1", "rs2"], "contig": ["1", "X"], "position": [100, 200]})
PLINK_LINEAR = (
    "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\tERRCODE\n"
    "1\t100\trs1\tA\tC\tC\tADD\t580\t0.5\t0.125\t4\t6.33425e-05\t.\n"
    "1\t100\trs1\tA\tC\tC\tc0\t580\t1.08232\t0.0475343\t22.7692\t2.4982e-82\t.\n"
    "1\t150\trs9\tA\tC\tC\tADD\t580\t0.3\t0.1\t3\t0.0026998\t.\n"
    "X\t200\trs2\tG\tT\tG\tADD\t580\tNA\tNA\tNA\tNA\tCONST_ALLELE\n"
)
TABLES = {
    "plink2": PLINK_LINEAR,
    "odds": (
        "#CHROM\tPOS\tID\tA1\tFIRTH?\tTEST\tOBS_CT\tOR\tLOG(OR)_SE\tZ_STAT\tP\tERRCODE\n"
        "1\t100\trs1\tC\tN\tADD\t580\t1.6487213\t0.125\t4\t6.33425e-05\t.\n"
        "1\t150\trs9\tC\tN\tADD\t580\t1.3498588\t0.1\t3\t0.0026998\t.\n"
        "X\t200\trs2\tG\tN\tADD\t580\tNA\tNA\tNA\tNA\tCONST_ALLELE\n"
    ),
    "log10": (
        "#POS\tID\tP9\tSE\tBETA\tNEG_LOG10_P\tA1\n"
        "100\trs1\t3\t0.125\t0.5\t4.198305\tC\n150\trs9\t3\t0.1\t0.3\t2.568668\tC\n200\trs2\t1\tNA\tNA\tNA\tG\n"
    ),
    "regenie": (
        "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ N TEST BETA SE CHISQ LOG10P EXTRA\n"
        "1 100 rs1 A C 0.4 580 ADD 0.5 0.125 16 4.198305 NA\n"
        "1 150 rs9 A C 0.4 580 ADD 0.3 0.1 9 2.568668 NA\n"
        "23 200 rs2 T G 0.2 580 ADD NA NA NA NA TEST_FAIL\n"
    ),
    "no-split": (
        "##a remark\nCHROM GENPOS ID ALLELE0 ALLELE1 TEST BETA.other CHISQ.other BETA.pain SE.pain "
        "CHISQ.pain LOG10P.pain\n1 100 rs1 A C ADD 9 9 0.5 0.125 16 4.198305\n"
        "1 150 rs9 A C ADD 9 9 0.3 0.1 9 2.568668\n"
        "23 200 rs2 T G ADD 9 9 NA NA NA NA\n"
    ),
    "gemma": (
        "chr\trs\tps\tn_miss\tallele1\tallele0\taf\tbeta\tse\tlogl_H1\tl_remle\tp_wald\n"
        "1\trs1\t100\t0\tC\tA\t0.400\t5.000000e-01\t1.250000e-01\t-9\t1\t6.334248e-05\n"
        "1\trs9\t150\t0\tC\tA\t0.400\t3.000000e-01\t1.000000e-01\t-9\t1\t2.699796e-03\n"
        "23\trs2\t200\t0\tG\tT\t0.200\tnan\tnan\tnan\tnan\tnan\n"
    ),
    "saige": (
        "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAC_Allele2\tAF_Allele2\tMissingRate\tBETA\tSE\tTstat\tvar\t"
        "p.value\tp.value.NA\tIs.SPA\tN_case\tN_ctrl\n"
        "1\t100\trs1\tA\tC\t464\t0.4\t0\t0.5\t0.125\t32\t64\t6.334248e-05\t1e-5\tTRUE\t200\t380\n"
        "1\t150\trs9\tA\tC\t464\t0.4\t0\t0.3\t0.1\t30\t100\t2.699796e-03\t1e-3\tTRUE\t200\t380\n"
        "X\t200\trs2\tT\tG\t200\t0.2\t0\tNA\tNA\tNA\tNA\tNA\tNA\tFALSE\t200\t380\n"
    ),
    "aligned": (
        "  CHROM   POS    ID  A1   BETA     SE         P\n"
        "      1   100   rs1   C    0.5  0.125  6.33425e-05  \n"
        "      1   150   rs9   C    0.3  0.1    0.0026998\n"
        "      X   200   rs2   G     NA     NA        NA\n"
    ),
    "commas": (
        "CHROM,POS,ID,A1,BETA,SE,P\n1,100,rs1,C,0.5,0.125,6.33425e-05\n1,150,rs9,C,0.3,0.1,0.0026998\n"
        "X,200,rs2,G,NA,NA,NA\n"
    ),
    "several traits": (
        "CHROM\tPOS\tID\tA1\tBETA\tSE\tP\tPHENO\n1\t100\trs1\tC\t0.9\t0.9\t0.3\tother\n"
        "1\t100\trs1\tC\t0.5\t0.125\t6.33425e-05\tpain\n1\t150\trs9\tC\t0.3\t0.1\t0.0026998\tpain\n"
        "X\t200\trs2\tG\tNA\tNA\tNA\tpain\n"
    ),
}  # fmt: skip


def put(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, text: str | bytes, **settings):
    return read_results(put(folder / "r.txt", text), WANTED, **settings)


@pytest.mark.parametrize("name", TABLES)
def test_programs__are_read_alike(tmp_path, name):
    found = read(tmp_path, TABLES[name], trait="pain")
    wanted = {"regenie": "regenie", "no-split": "regenie", "gemma": "gemma", "saige": "saige"}
    assert found.program == wanted.get(name, "plink2")
    assert (found.n_rows, found.n_missing, found.n_duplicates) == (3, 1, 0)
    rows = found.rows
    assert rows["id"].tolist() == ["rs1", "rs2"]
    assert rows["counted"].tolist() == ["C", "G"]
    assert rows["position"].tolist() == [100, 200]
    assert set(rows["contig"]) <= {"1", "23", ""}
    first = rows.iloc[0]
    assert first["beta"] == pytest.approx(0.5, abs=1e-7)
    assert first["se"] == 0.125
    assert first["log10_p"] == pytest.approx(-4.198305, abs=1e-5)
    if np.isfinite(first["statistic"]):
        assert first["statistic"] == 4
    assert rows.iloc[1][["beta", "se", "statistic", "log10_p"]].isna().all()
    assert np.isnan(first["n"]) or first["n"] == 580


def test_forms__of_one_table_are_read_alike(tmp_path):
    plain = read(tmp_path, PLINK_LINEAR)
    windows = read(tmp_path, PLINK_LINEAR.replace("\n", "\r\n"))
    marked = read(tmp_path, b"\xef\xbb\xbf" + PLINK_LINEAR.encode())
    endless = read(tmp_path, PLINK_LINEAR.rstrip("\n"))
    gz = read(tmp_path, gzip.compress(PLINK_LINEAR.encode()[:90]) + gzip.compress(PLINK_LINEAR.encode()[90:]))
    for other in (windows, marked, endless, gz):
        pd.testing.assert_frame_equal(other.rows, plain.rows)
        assert (other.n_rows, other.n_missing) == (plain.n_rows, plain.n_missing)


def test_blocks__any_cut_gives_the_same(tmp_path, monkeypatch):
    """A table of 400 rows, read some letters at a time; duplicates lie blocks apart."""
    lines = [f"1\t{k}\trs{k % 390}\tC\t0.{k + 1000}\t0.1\t0.5" for k in range(400)]
    text = "CHROM\tPOS\tID\tA1\tBETA\tSE\tP\n" + "\n".join(lines) + "\n"
    whole = read(tmp_path, text)
    assert (whole.n_rows, whole.n_duplicates, len(whole.rows)) == (400, 20, 6)
    assert whole.rows["place"].iloc[0].endswith("r.txt, line 3")
    for size in (37, 100, 4096):
        monkeypatch.setattr("genoweave.io.gwas_results._BLOCK", size)
        cut = read(tmp_path, text)
        pd.testing.assert_frame_equal(cut.rows, whole.rows)
        assert (cut.n_rows, cut.n_duplicates) == (400, 20)


def test_files__of_chromosomes_are_one_table(tmp_path):
    header, *rows = TABLES["regenie"].splitlines(keepends=True)
    one, two = put(tmp_path / "1", header + rows[0] + rows[1]), put(tmp_path / "2", header + rows[2])
    found = read_results([one, two], WANTED)
    assert found.rows["id"].tolist() == ["rs1", "rs2"]
    assert found.n_rows == 3
    with pytest.raises(DataError, match="of several programs"):
        read_results([one, put(tmp_path / "3", PLINK_LINEAR)], WANTED)


@pytest.mark.parametrize("style", ["plink2", "regenie"])
@pytest.mark.parametrize("ending", ["", ".gz", ".parquet"])
@pytest.mark.parametrize("is_binary", [False, True])
def test_ours__come_back(tmp_path, style, ending, is_binary):
    rng = np.random.default_rng(1)
    n = 50
    beta, se = rng.normal(size=n), rng.uniform(0.05, 0.2, n)
    log10_p = -rng.uniform(0, 500, n)
    results = Results(
        np.full(n, "chr1", object), np.arange(n) + 1, np.array([f"v{k}" for k in range(n)], object),
        np.full(n, "A", object), np.full(n, "C", object), rng.random(n), beta, se, beta / se, log10_p,
        np.full(n, 99), np.zeros(n, np.uint8), np.zeros(n, np.uint8), ("ok",), ("wald",), is_binary,
    )  # fmt: skip
    path = tmp_path / f"r{ending}"
    write_results(results, path, style)
    wanted = pd.DataFrame({"id": [f"v{k}" for k in range(n)], "contig": "1", "position": np.arange(n) + 1})
    rows = read_results(path, wanted).rows
    for name, values in {"beta": beta, "se": se, "log10_p": log10_p, "statistic": beta / se}.items():
        assert (np.abs(rows[name] - values) <= 2 * rows[f"{name}_unit"] + 1e-12).all(), name
        assert (rows[f"{name}_unit"] < 1e-5 * np.abs(values) + 1e-6).all(), name
    assert (rows["n"] == 99).all()
    assert (rows["counted"] == "C").all()
    assert (rows["contig"] == "1").all()


@pytest.mark.parametrize(
    ("cells", "values", "units"),
    [
        (["0.123456", "1.5", "100"], [0.123456, 1.5, 100], [1e-6, 1e-5, 1e-3]),
        (["0.001", "12.300"], [0.001, 12.3], [1e-3, 1e-3]),
        (["1.234567e-05", "NA"], [1.234567e-05, np.nan], [1e-11, np.nan]),
        (["-.5", "+2.25e1"], [-0.5, 22.5], [1e-3, 1e-1]),
        (["", ".", "nan", "inf"], [np.nan] * 4, [np.nan] * 4),
    ],
)
def test_numbers__know_how_finely_they_are_printed(cells, values, units):
    found = numbers(cells, "x", ["here"] * len(cells))
    np.testing.assert_allclose(found.values, values)
    np.testing.assert_allclose(found.unit, units)


def test_p__far_below_the_smallest_float_keeps_its_exponent(tmp_path):
    for text, wanted in (("1.5e-400", -399.823909), ("3e-320", -319.522879), ("0", -np.inf), ("1", 0.0)):
        rows = read(tmp_path, PLINK_LINEAR.replace("6.33425e-05", text)).rows
        assert rows["log10_p"].iloc[0] == pytest.approx(wanted, abs=1e-5)


def test_id__that_is_no_name_is_found_by_position(tmp_path):
    wanted = WANTED.assign(id=[".", "rs2"])
    text = PLINK_LINEAR.replace("\trs1\t", "\t.\t").replace("\trs9\t", "\t.\t")
    found = read_results(put(tmp_path / "r", text), wanted)
    assert found.rows["position"].tolist() == [100, 200]
    assert found.n_duplicates == 0


REFUSED = {
    "empty": ("", "is empty"),
    "blank": ("\n\n", "is empty"),
    "other header": ("a b c\n1 2 3\n", "no program known here"),
    "a genotype file": (b"\x6c\x1b\x01\x00\xff\xfe", "not UTF-8|no program known|header"),
    "short line": (PLINK_LINEAR.replace("\t6.33425e-05\t.", ""), "line 2: wanted 13 columns .* found 11"),
    "long line": (PLINK_LINEAR.replace("6.33425e-05", "1\t2"), "line 2: wanted 13 columns .* found 14"),
    "cut": (PLINK_LINEAR[:-20], "line 5: wanted 13 columns"),
    "a word": (PLINK_LINEAR.replace("0.125", "small"), "line 2, column 'SE': wanted a number, found 'small'"),
    "hexadecimal": (PLINK_LINEAR.replace("0.125", "0x1p3"), "column 'SE': wanted a number"),
    "other digits": (PLINK_LINEAR.replace("0.125", "٠٫١"), "column 'SE': wanted a number"),
    "p above 1": (PLINK_LINEAR.replace("6.33425e-05", "1.5"), "line 2: wanted a p between 0 and 1"),
    "negative p": (PLINK_LINEAR.replace("6.33425e-05", "-0.1"), "line 2: wanted a p between 0 and 1"),
    "negative error": (PLINK_LINEAR.replace("0.125", "-0.125"), "line 2: wanted a standard error"),
    "other test": (PLINK_LINEAR.replace("ADD", "DOMDEV"), "no row of the additive test .*DOMDEV"),
    "two columns": (PLINK_LINEAR.replace("OBS_CT", "BETA"), "names 'BETA' twice"),
    "no results": ("#CHROM\tPOS\tID\tA1\n1\t100\trs1\tC\n", "no column has an effect .* or a p"),
    "split traits": ("CHROM GENPOS ID ALLELE1 BETA.a SE.a\n1 100 rs1 C 1 1\n", "several traits; .*BETA.a"),
    "not text": (PLINK_LINEAR.encode().replace(b"0.125", b"0.1\xff5"), "line 2 is not UTF-8"),
    "half a gzip": (gzip.compress(PLINK_LINEAR.encode())[:-9], "damaged or cut short"),
    "no gzip": (b"\x1f\x8b\x08\x00hello", "damaged or cut short"),
    "half a Parquet": (b"PAR1\x00\x01PAR1", "cannot be read as Parquet"),
    "no end of line": ("CHROM\tPOS\tID\tA1\tP\n" + "x" * 3_000_000, "longer than 1048576 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_table__is_refused_with_the_place(tmp_path, name):
    text, message = REFUSED[name]
    with pytest.raises(DataError, match=message):
        read(tmp_path, text, trait="pain")


def test_missing_file_and_format__are_refused(tmp_path):
    with pytest.raises(StoreError, match=r"there are no results .*nowhere; check the path"):
        read_results(tmp_path / "nowhere", WANTED)
    with pytest.raises(ConfigError, match="'bolt' is not known"):
        read(tmp_path, PLINK_LINEAR, program="bolt")
    with pytest.raises(DataError, match="gemma calls the variants' names rs"):
        read(tmp_path, PLINK_LINEAR, program="gemma")


def test_repeats__of_a_wanted_row_without_end_are_refused(tmp_path):
    row = PLINK_LINEAR.splitlines()[1]
    text = PLINK_LINEAR + f"{row}\n" * 13_000
    with pytest.raises(DataError, match="more than 12000 rows have a wanted id"):
        read(tmp_path, text)


ODD = [b"1e999999", b"-inf", b"1e-99999999999", b"\r", b"nan\t", b"0" * 500]
SEEDS = [text.encode() for text in TABLES.values()]


@pytest.mark.parametrize("block", range(4))
def test_fuzz__damaged_tables_are_refused_in_words_or_read(tmp_path, block):
    """400 damaged tables: bytes changed, cut, doubled and mixed; fixed seeds."""
    read_count = 0
    for number in range(100):
        rng = random.Random(1000 * block + number)
        data = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 4)):
            at, kind = rng.randrange(len(data) + 1), rng.randrange(5)
            if kind == 0:
                letters = b"\x00\t\n ,.#-9e\"'\xff" if at % 2 else bytes(range(256))
                data[at : at + 1] = bytes([rng.choice(letters)])
            elif kind == 1:
                del data[at : at + rng.randint(1, 40)]
            elif kind == 2:
                data[at:at] = data[: rng.randint(1, 200)]
            elif kind == 3:
                data[at:at] = rng.choice(ODD)
            else:
                data = bytearray(gzip.compress(bytes(data)))
        said = "read"
        try:
            read(tmp_path, bytes(data), trait="pain")
        except GenoweaveError as error:
            said = str(error)
        assert said
        assert "\n" not in said
        read_count += said == "read"
    assert 5 < read_count < 95, "some of each are wanted"
