from tests.jobs.workers import hold, no_worker_left, on_cpu

__all__ = ["hold", "no_worker_left", "on_cpu"]
