"""What the Python peers share: reading the job, timing steps, reporting. The job is written by bench/run.ts."""
import json
import resource
import sys
import time


def read_job(path: str) -> dict:
    with open(path, encoding="utf8") as file:
        return json.load(file)


def peak_rss_gb() -> float:
    """Peak resident memory of this process (VmHWM; getrusage would count the parent's before exec)."""
    try:
        with open("/proc/self/status", encoding="utf8") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024 / 1e9
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def device_of(job: dict) -> str:
    """PyTorch's device: CUDA where our side has a GPU too."""
    return "cpu" if job.get("device", "cpu") == "cpu" else "cuda"


class Meter:
    """Sums seconds and tokens over the batches after the warm-up."""

    def __init__(self, label: str, warmup: int):
        self.label, self.warmup = label, warmup
        self.seconds, self.real, self.multiplied, self.count = 0.0, 0, 0, 0

    def add(self, seconds: float, real: int, multiplied: int, note: str = "") -> None:
        warm = self.count < self.warmup
        text = "warm-up" if warm else f"batch {self.count - self.warmup}"
        print(f"{self.label} {text}: {seconds:.2f} s, {real} tokens of {multiplied} multiplied {note}", file=sys.stderr, flush=True)
        if not warm:
            self.seconds += seconds
            self.real += real
            self.multiplied += multiplied
        self.count += 1

    def timed(self, work, real: int, multiplied: int) -> None:
        start = time.perf_counter()
        note = work()
        self.add(time.perf_counter() - start, real, multiplied, note)

    def report(self, **more: object) -> None:
        """The last line of standard output, read by bench/run.ts."""
        result = {
            "seconds": self.seconds,
            "realTokens": self.real,
            "multipliedTokens": self.multiplied,
            "peakRssGb": peak_rss_gb(),
        }
        print(json.dumps({**result, **more}), flush=True)
