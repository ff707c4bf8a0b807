"""`python -m tests.benchmarks [NAME …]`: run the benchmarks, all of them by default."""

import sys

from tests.benchmarks import bench_cluster, bench_connect, bench_gateway, bench_install, bench_one_machine

BENCHMARKS = {
    "gateway": bench_gateway.main,
    "one_machine": bench_one_machine.main,
    "install": bench_install.main,
    "cluster": bench_cluster.main,
    "connect": bench_connect.main,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)} (known: {', '.join(BENCHMARKS)})\n")
        return 2
    for name in names or BENCHMARKS:
        sys.stdout.write(f"\n== {name} ==\n")
        sys.stdout.flush()
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
