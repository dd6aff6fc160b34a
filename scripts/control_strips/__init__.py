"""The small pictures of docs/controls.md: for every control what it does to one and the same job.

Every panel of a strip is a run of its own. They are rendered by the program's own submission of a folder, so
that they share a loaded network and measured statistics, and a script that was stopped goes on where it was.
"""
