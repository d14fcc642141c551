"""The command group. A command's module is imported when it is called, so that --help is quick."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from typing import Any

import click

from genoweave import __version__
from genoweave.errors import GenoweaveError

# name -> (module of genoweave.cli, function, what it does), in the order of the pipeline
COMMANDS = {
    "demo": ("jobs", "demo", "The whole job on a simulated founder cohort."),
    "init": ("jobs", "init", "Write a commented configuration."),
    "plan": ("jobs", "plan", "Print what a run will cost, and refuse one over the memory limit."),
    "run": ("jobs", "run", "Run the whole job; what is done is skipped."),
    "status": ("jobs", "status", "Show how far a run is."),
    "report": ("jobs", "report", "Write the report of a run again."),
    "release": ("jobs", "release", "Write the release of a run folder."),
    "simulate": ("simulating", "simulate", "Simulate founders of six populations."),
    "import": ("files", "import_", "Convert PLINK, VCF, BGEN or VCF Zarr to a chunked store."),
    "export": ("files", "export", "Write a cohort as VCF Zarr, PLINK 1 or 2, VCF, BCF, BGEN or CSV."),
    "qc": ("filters", "qc", "Filter samples and variants, in PLINK's order."),
    "pca": ("components", "pca", "Principal components, and projection of other samples."),
    "ancestry": ("components", "ancestry", "Report what the components say of ancestry labels."),
    "synthesize": ("making", "synthesize", "Make synthetic samples of every ancestry group."),
    "phenotype": ("phenotyping", "phenotype", "Simulate traits with known truth."),
    "watermark": ("watermarking", "watermark", "Hide watermark SNPs in a cohort to send."),
    "verify": ("verifying", "verify", "Tell from a server's results whether it did its work."),
    "relatives": ("making", "relatives", "Make relatives with a known pedigree."),
    "king": ("filters", "king", "KING-robust kinship of all pairs."),
    "gwas": ("associating", "gwas", "Test variants for association with traits."),
    "evaluate": ("making", "evaluate", "Compare a synthetic cohort with the real one."),
    "doctor": ("jobs", "doctor", "Check versions, threads and memory."),
}


class _Commands(click.Group):
    """Loads a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function, summary = COMMANDS[cmd_name]
        from genoweave.cli.options import command

        made = command(cmd_name, getattr(import_module(f"genoweave.cli.{module}"), function))
        if not gc.isenabled():
            gc.freeze()
            gc.enable()
        made.short_help = summary
        return made

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="genoweave")
def cli() -> None:
    """Turn a real genotype cohort into a balanced synthetic one that can be used and judged."""


def program() -> None:
    """Run the command line as a program: what its imports make is never searched for garbage.

    They make 140,000 objects that last to the end. Searching them while they come and when they go took 0.4 s
    of every command. OpenBLAS gets no threads, which take 0.2 CPU s as they turn while they wait: the bits of
    results must not depend on them, so that nothing uses more than one.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()
    main()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0, 1 for a data or user error, 2 for wrong usage."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result: Any = cli.main(args=arguments, prog_name="genoweave", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        error.show()
        return 2
    except click.ClickException as error:
        error.show()
        return 1
    except GenoweaveError as error:
        click.echo(f"genoweave: error: {error}", err=True)
        return 1
    except (KeyboardInterrupt, click.Abort):
        click.echo("genoweave: interrupted; finished work is kept, run again to go on", err=True)
        return 130
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(
            f"genoweave: error: {where}{error.strerror or error}; check the path and run again", err=True
        )
        return 1
    except MemoryError:
        click.echo(
            "genoweave: error: out of memory; lower --memory-limit's plan or use a larger machine",
            err=True,
        )
        return 1
