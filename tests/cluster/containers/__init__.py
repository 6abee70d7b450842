"""Tests that need the cluster in containers: `make cluster-test`."""
