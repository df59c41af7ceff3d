"""Launches gathered once, sessions drawn from them by the thousand: how often the gate is right (docs/accuracy.md).

`gather` records launches of real workloads with known changes; `draw` plays the product's procedure over them; `rivals`
plays other tools' rules over launches that were recorded as those tools take them.
"""
