"""Genetic methods: dataset in, dataset out. No files, no configuration, no cluster."""
