"""Prints the table of docs/explorer.md: what each rule of configs/rules.py takes in a step.

python docs/make_explorer_table.py
"""

import numpy as np

from diffpattern import problem
from diffpattern.configs import rules
from diffpattern.data.statistics import summarise
from diffpattern.data.trajectories import Trajectories
from diffpattern.explorer import passes, speed, steps
from diffpattern.grid.geometry import Grid


def main():
    """Prints a row for each rule, of 16 channels if it is an automaton, else of two."""
    values = np.random.default_rng(0).uniform(0.2, 0.8, (1, 3, 8, 8, 2))
    data = Trajectories(values, 16.0 * np.arange(3), ("A", "B"), Grid((8, 8)))
    print("| rule | passes | reads | writes | operations | weights | steps a second |")
    print("|---|---|---|---|---|---|---|")
    for name in rules.NAMES:
        config = rules.get_config(name)
        statistics = summarise([data], problem.whitened_degrees(config))
        sought = problem.build(config, statistics)
        given = {"state": sought.channels}
        # Zeros, with which last layers begin, would be left out.
        parameters = {
            key: _filled(value, np.random.default_rng(1))
            for key, value in sought.initialise(0).items()
        }
        graph = steps.graph_of(config, statistics, parameters, config.solver.name, given)
        program = passes.compile_graph(graph, given)
        counts = program.per_cell()
        pace = speed.steps_a_second(counts, 256 * 256)
        row = [
            name,
            str(len(program.passes)),
            f"{counts['reads']:.3g}",
            f"{counts['writes']:.3g}",
            f"{counts['operations']:,.0f}",
            f"{counts['weights']:,.0f}",
            f"{float(f'{pace:.2g}'):,g}",
        ]
        print(f"| {' | '.join(row)} |")


def _filled(value, random):
    if isinstance(value, dict):
        return {key: _filled(inner, random) for key, inner in value.items()}
    return np.asarray(value + random.uniform(0.1, 0.9, np.shape(value)), np.float32)


if __name__ == "__main__":
    main()
