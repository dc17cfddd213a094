"""The engine behind open_pr and pr_status: from a topic to a pull request upstream accepts.

`repository` names repositories, `github` is the only way to GitHub (the real `gh`), `fork`
the only way a push leaves this machine. `sections` reads what people wrote, `gates` judges
it, `evidence` measures it, `body` renders it, `issue` and `submission` carry it out, `record`
remembers what was done, and `tracking` looks what became of it. Nothing here parses
arguments or prints.
"""
