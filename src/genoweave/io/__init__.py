"""Files: stores, PLINK filesets, tables, the release. Nothing half-written looks whole."""
