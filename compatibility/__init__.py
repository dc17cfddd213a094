"""Compatibility, executed: which version of Metaflow reads what which version wrote."""
