"""One tiny run of five steps, watched by a real Prometheus."""

from collections.abc import Iterator

import pytest

from tests.monitoring.tiny_run import STEPS, TinyRun
from tests.prometheus import Prometheus, free_port, program, prometheus, pushgateway

FACTOR = 20.0  # minutes pass faster in the alert rules; a busy machine still starts a step within 30 of them


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    program("prometheus")  # before the work
    program("prometheus-pushgateway")
    folder = tmp_path_factory.mktemp("watched")
    run = TinyRun(folder)
    ports = {step: free_port() for step in STEPS}
    with pushgateway(folder / "push") as gateway:
        scraped = {gateway: True, **dict.fromkeys(ports.values(), False)}
        with prometheus(folder / "prometheus", scraped, FACTOR) as server:
            for step in STEPS:
                variables = {"PEBR_METRICS_PORT": str(ports[step]), "PEBR_PUSHGATEWAY": f"127.0.0.1:{gateway}"}
                run.run(step, variables={**variables, "PEBR_RUN": "tuesday", "PEBR_PEAK_FLOPS": "1e11"})
            server.wait_for('pebr_result{step="evaluate"}')  # the last values at the Pushgateway are scraped
            yield server
