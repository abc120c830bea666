"""Errors of telemetry."""

from __future__ import annotations

import sys

from tests.errors.scene import Scene


def test_its_packages_are_not_installed(scene: Scene) -> None:
    scene.patch.setitem(sys.modules, "opentelemetry.sdk.metrics", None)
    scene.write("autoglm.yaml", "telemetry: {exporter: otlp}\n")
    scene.write("ok.sh", "true\n")
    scene.run_task("script: ok.sh")
    scene.shows("telemetry-missing")
