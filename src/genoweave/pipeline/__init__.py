"""The run: the list of stages, manifests, progress, plan. Read `stages` first."""
