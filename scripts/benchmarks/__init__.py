"""What tilefarm costs on this machine. Run it with scripts/bench.

Every timing alternates what it compares within one process and reports the median with the smallest and
the largest value; ratios are formed within each round, and the median is taken of the ratios.

The JSON file holds `machine` (`machine.Machine`), `scale` (`context.Scale`), `seconds` (of the whole run)
and `sections`: for each section that was run, by name, the list of its records. Each section has a module
of its name, and the record's class there documents its keys. A measured value is an object with `median`,
`smallest`, `largest` and `count` (`timing.Spread`).
"""
