"""Sweeps beyond one process: units of work, their workers, and the engines that run these.

A unit is some batches of lanes, written as JSON. An engine gives each unit to a worker, once more
where the worker was lost, and yields the answers. A worker calls the same `run_sweep` as ever on
its part, writes its own shards into the sweep's folder and claims what it trains, so that a unit
may be given twice, and to anyone.
"""
