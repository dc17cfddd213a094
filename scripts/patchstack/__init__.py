"""The engine behind the doors: upstream at a pin, a series of patches on top of it.

`series` reads what is intended, `source` brings upstream, `stack` builds branches from
patches, `apply`, `export`, `rebase`, `check` and `wheel` are one command each. Nothing
here parses arguments or prints; expected failures are `errors.PatchStackError`.
"""
