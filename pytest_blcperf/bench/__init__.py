"""How a benchmark is executed: fixture, rounds, worker, launcher, lockstep, checkout."""
