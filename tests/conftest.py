"""Settings that hold for every test."""

from __future__ import annotations

import cv2
from hypothesis import HealthCheck, settings

# a busy machine is slow, and that is no failure
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
cv2.setNumThreads(1)
