"""Small valid inputs of every kind, made by our writers and by those of the tests."""

import io
import json
import random
import tempfile
from pathlib import Path

import numpy as np
import xarray as xr
import zarr
from fuzz.mutate import Files, seeds_of_compression
from numcodecs import LZ4, GZip, VLenUTF8, Zlib, Zstd


def cohort(n_variants: int = 9, n_samples: int = 13, *, seed: int = 1, phased: bool = False) -> xr.Dataset:
    rng = np.random.default_rng(seed)
    numbers = np.arange(n_samples)
    calls = rng.integers(0, 2, (n_variants, n_samples, 2)).astype(np.int8)
    calls[rng.random(calls.shape[:2]) < 0.1] = -1
    if not phased:
        calls.sort(axis=2)
    ds = xr.Dataset(
        {
            "call_genotype": (("variants", "samples", "ploidy"), calls),
            "contig_id": ("contigs", np.array(["1", "22"], object)),
            "variant_contig": ("variants", (np.arange(n_variants) // 6).clip(0, 1).astype(np.int32)),
            "variant_position": ("variants", (100 + 7 * np.arange(n_variants)).astype(np.int32)),
            "variant_id": ("variants", np.array([f"rs{i}" for i in range(n_variants)], object)),
            "variant_allele": (("variants", "alleles"), np.array([["A", "CT"]] * n_variants, object)),
            "sample_id": ("samples", np.array([f"S{i:02d}" for i in range(n_samples)], object)),
            "sample_family_id": ("samples", np.array([f"F{i // 3}" for i in range(n_samples)], object)),
            "sample_sex": ("samples", (np.arange(n_samples) % 3).astype(np.int8)),
            "sample_phenotype": ("samples", np.where(numbers % 4 == 3, np.nan, numbers + 0.5)),
        }
    )  # fmt: skip
    if phased:
        ds["call_genotype_phased"] = (("variants", "samples"), np.ones(calls.shape[:2], bool))
    return ds


def _files(folder: Path) -> Files:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _made(write) -> Files:
    """Return what a function writes into an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        return _files(Path(folder))


def plink() -> list[Files]:
    from genoweave.io.plink import write_plink

    seeds = [_made(lambda f, n=n: write_plink(cohort(7, n), f / "case")) for n in (13, 16, 1)]
    five = dict(seeds[0])
    five["case.bim"] = b"".join(
        b"\t".join([*(c := line.split(b"\t"))[:2], *c[3:]]) + b"\n"
        for line in five["case.bim"].split(b"\n")
        if line
    )
    sample_major = {**seeds[0], "case.bed": b"\x6c\x1b\x00" + bytes(13 * 2)}
    return [*seeds, five, sample_major]


_HEAD = b'##fileformat=VCFv4.2\n##contig=<ID=1>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n'
_VCF = _HEAD + (
    b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\tS3\n"
    b"1\t10\trs1\tA\tC\t.\tPASS\tDP=3\tGT:DP\t0/1:3\t1|1:.\t./.\n"
    b"1\t20\t.\tAT\tA,<DEL>\t9\tq;r\t.\tDP:GT\t3:0/2\t.:1/2\t2:1\n"
    b"X\t2000000000\ta;b\tN\t.\t1e3\t.\t.\tGT\t0\t.\t0/.\n"
    b"X\t2000000001\t.\tG\tT\t.\t.\t.\tGT:PL:GQ\t0|0:0,1,2:9\t1/0\t0/0:.\n"
)  # fmt: skip


def vcf_text() -> list[Files]:
    return [{"case.vcf": _VCF}, {"case.vcf": _made(lambda f: _vcf(f, "vcf", phased=True))["case.vcf"]}]


def _vcf(folder: Path, kind: str, *, phased: bool = False, n: int = 13) -> None:
    from genoweave.io.vcf.writing import write_vcf

    write_vcf(cohort(9, n, phased=phased), folder / f"case.{kind}", kind)


def vcf_bgzip() -> list[Files]:
    from genoweave.io.vcf.bgzf import END_BLOCK, compress

    ours = [
        {"case.vcf.gz": _made(lambda f, p=p: _vcf(f, "vcf.gz", phased=p))["case.vcf.gz"]}
        for p in (False, True)
    ]
    whole = compress(_VCF[:400]) + compress(_VCF[400:]) + END_BLOCK
    return [*ours, {"case.vcf.gz": whole}]


def vcf_gzip() -> list[Files]:
    import gzip

    return [
        {"case.vcf.gz": gzip.compress(_VCF, mtime=0)},
        {"case.vcf.gz": gzip.compress(_VCF[:300], mtime=0) + gzip.compress(_VCF[300:], mtime=0)},
    ]


def bcf() -> list[Files]:
    return [
        {"case.bcf": _made(lambda f, p=p, n=n: _vcf(f, "bcf", phased=p, n=n))["case.bcf"]}
        for p, n in ((False, 13), (True, 2))
    ]


def bgen() -> list[Files]:
    from reference import bgen as reference

    from genoweave.io.bgen.writing import write_bgen

    seeds = [
        _made(lambda f, c=c: write_bgen(cohort(5, 7, phased=c == "zstd"), f / "case.bgen", compression=c))
        for c in ("zlib", "zstd")
    ]
    rng = random.Random(1)
    names = [f"S{i}" for i in range(5)]
    for bits, phased, compression, layout in (
        (8, 0, 0, 2),
        (1, 1, 0, 2),
        (16, 0, 1, 2),
        (13, 1, 2, 2),
        (32, 0, 0, 2),
        (16, 0, 0, 1),
        (16, 0, 1, 1),
    ):
        variants = []
        for v in range(4):
            ploidy = [rng.choice((1, 2)) if layout == 2 and v % 2 else 2 for _ in names]
            top = (1 << bits) - 1 if layout == 2 else 32768
            values = [
                (
                    [top, 0, 0]
                    if layout == 1
                    else [rng.choice((0, top)) for _ in range(p)]
                    if phased
                    else [top, 0][: 1 if p == 1 else 2]
                )
                for p in ploidy
            ]
            missing = [rng.random() < 0.2 for _ in names]
            variant = {"id": f"v{v}", "rsid": f"rs{v}", "chromosome": "01", "position": v, "bits": bits}
            data = {"ploidy": ploidy, "missing": missing, "phased": bool(phased), "values": values}
            variants.append(variant | data)
        data = reference.encode(
            variants, names if bits != 13 else None, n=5, compression=compression, layout=layout
        )
        sample = b"ID_1 ID_2 missing sex\n0 0 0 D\n" + b"".join(
            b"%s %s 0 1\n" % (n.encode(), n.encode()) for n in names
        )
        seeds.append({"case.bgen": data, "case.sample": sample})
    return seeds


def pgen() -> list[Files]:
    from reference import pgen as reference

    from genoweave.io.pgen.writing import write_pgen

    seeds = [_made(lambda f, p=p: write_pgen(cohort(6, 11, phased=p), f / "case")) for p in (False, True)]
    rng = random.Random(2)
    for n, kwargs in (
        (11, {}),
        (70, {"length_bytes": 3}),
        (5, {"nibbles": True}),
        (9, {"flags": [0, 1, 0, 1, 0, 0, 1]}),
    ):
        records: list[dict] = []
        for kind in (0, 1, 4, 6, 7, 2, 3):
            common = [kind & 3] if kind > 3 else [0, 1]
            codes = [rng.randrange(4) if rng.random() < 0.2 else rng.choice(common) for _ in range(n)]
            if kind in (2, 3):
                codes = [rng.randrange(4) if rng.random() < 0.1 else c for c in records[-1]["codes"]]
                codes = [{0: 2, 2: 0}.get(c, c) for c in codes] if kind == 3 else codes
            record = {"codes": codes, "kind": kind}
            if "nibbles" not in kwargs and len(records) % 2:
                record["phase"] = [rng.choice((None, 0, 1)) for c in codes if c == 1]
            if "nibbles" not in kwargs and len(records) % 3 == 2:
                record |= {
                    "dosages": {s: rng.randrange(32769) for s in range(0, n, 3)},
                    "dosage_kind": rng.choice((32, 64, 96)),
                }
            records.append(record)
        pvar = "##x\n#CHROM\tPOS\tID\tREF\tALT\tCM\n" + "".join(
            f"1\t{v + 1}\trs{v}\tA\tC\t{v}\n" for v in range(7)
        )
        psam = "#FID IID PAT MAT SEX PHENO1\n" + "".join(f"F S{s} 0 0 {s % 3} {s}.5\n" for s in range(n))
        files = {"case.pgen": reference.encode(records, n, **kwargs), "case.psam": psam.encode()}
        ending = (".pvar", ".pvar.zst")[n % 2]
        seeds.append(files | {f"case{ending}": seeds_of_compression(pvar.encode())[".zst" if n % 2 else ""]})
    bed = plink()[0]
    modes = {2: b"\x6c\x1b\x02\x07\0\0\0\x0d\0\0\0\x40" + bytes(28), 1: bed["case.bed"]}
    seeds += [
        {"case.pgen": data, "case.bim": bed["case.bim"], "case.fam": bed["case.fam"]}
        for data in modes.values()
    ]
    return seeds


def zarr_folder() -> list[Files]:
    from genoweave.io.store import write

    def ours(folder, *, standard, phased):
        write(cohort(9, 13, phased=phased), folder / "case.vcz", (4, 8), standard=standard)

    seeds = [
        _made(lambda f, s=s, p=p: ours(f, standard=s, phased=p)) for s in (False, True) for p in (False, True)
    ]
    foreign = [_made(lambda f, k=k: _foreign(f / "case.vcz", k)) for k in range(4)]
    # gzip writes the time into its head
    foreign[0] = {k: d[:4] + bytes(4) + d[8:] if d[:2] == b"\x1f\x8b" else d for k, d in foreign[0].items()}
    return [*seeds, *foreign]


def _foreign(path: Path, kind: int) -> None:
    """Write a store as other programs do: other codecs, other types, chunks left out."""
    ds = cohort(9, 13, phased=kind == 1)
    group = zarr.open_group(str(path), mode="w")
    group.attrs.update({"vcf_zarr_version": "0.4", "vcf_header": "##x"})
    codec = (GZip(1), Zlib(1), LZ4(), Zstd(1))[kind]
    for name, variable in ds.variables.items():
        values = variable.values
        extra = {"object_codec": VLenUTF8()} if values.dtype == object else {}
        if name == "call_genotype" and kind == 2:
            values = values.astype("<i4")
        if name == "sample_id" and kind == 3:
            values, extra = values.astype("<U4"), {}
        chunks = tuple(max(1, n // 2) if n > 2 else n for n in values.shape)
        array = group.create_dataset(
            name, data=values, chunks=chunks, compressor=codec, dimension_separator="/" if kind == 3 else ".",
            write_empty_chunks=kind != 1, fill_value=None if kind == 2 else "" if extra else 0, **extra,
        )  # fmt: skip
        array.attrs["_ARRAY_DIMENSIONS"] = list(variable.dims)


def _tables(text: str) -> list[Files]:
    """Return a table of tabs as TSV, CSV, white space and Parquet, also compressed."""
    import pandas as pd

    forms = {"tsv": text, "csv": text.replace("\t", ","), "txt": text.replace("\t", " ")}
    seeds = [
        {f"case.{form}{ending}": data}
        for form, body in forms.items()
        for ending, data in seeds_of_compression(body.encode()).items()
        if ending != ".bz2"
    ]
    frame = pd.read_csv(io.StringIO(text), sep="\t", dtype=str)
    packed = io.BytesIO()
    frame.to_parquet(packed)
    return [*seeds, {"case.parquet": packed.getvalue()}]


def ancestry() -> list[Files]:
    rows = "".join(f"S{i:02d}\t{'AB'[i % 2]}\n" for i in range(13))
    fid = "#FID\tIID\tgroup\n" + "".join(f"F{i}\tS{i:02d}\t{'AB'[i % 2]}\n" for i in range(13))
    return [*_tables("sample_id\tgroup\n" + rows), *_tables(fid)]


def values() -> list[Files]:
    """Phenotypes and covariates."""
    plink1 = "".join(f"F{i // 3}\tS{i:02d}\t{i * 1.5}\t{'-9' if i % 3 else 'NA'}\n" for i in range(13))
    plink2 = "#IID\tQT\tCC\tname\n" + "".join(f"S{i:02d}\t{i}\t{i % 2 + 1}\tc{i % 3}\n" for i in range(13))
    return [*_tables("FID\tIID\tY1\tY2\n" + plink1), *_tables(plink2), {"case.tsv": plink1.encode()}]


def pedigree() -> list[Files]:
    fam = "".join(
        f"F\tS{i:02d}\t{'S00' if i > 2 else 0}\t{'S01' if i > 2 else 0}\t{i % 2 + 1}\t-9\n" for i in range(8)
    )
    head = "FamilyID\tIndividual_ID\tPaternal.ID\tMaternalID\tGender\tx\n"
    return [*_tables(head + fam), {"case.fam": fam.encode()}]


def genetic_map() -> list[Files]:
    hapmap = "Chromosome\tPosition(bp)\tRate(cM/Mb)\tMap(cM)\n" + "".join(
        f"chr{1 if i < 5 else 22}\t{100 * (i % 5 + 1)}\t1.5\t{(i % 5) * 0.25}\n" for i in range(10)
    )
    plink_map = "".join(
        f"{1 if i < 5 else 22} rs{i} {(i % 5) * 0.25} {100 * (i % 5 + 1)}\n" for i in range(10)
    )
    return [*_tables(hapmap), {"case_chr1.map": plink_map.encode()}, {"case.map": plink_map.encode()}]


def config() -> list[Files]:
    from genoweave.config import PRESETS, build, to_toml

    return [{"case.toml": to_toml(build(preset), comments=False).encode()} for preset in PRESETS.values()]


def described(files: Files) -> str:
    """Return names and sizes, for people."""
    return json.dumps({name: len(data) for name, data in files.items()})
