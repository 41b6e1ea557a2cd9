"""What tests of the kit and of its plugins share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that does other work beside the tests stalls for longer than hypothesis' 200 ms. How
# fast something is, benchmarks/ measures. On what CI sets besides (the same examples in each run)
# this builds.
settings.register_profile(
    "lmkit",
    parent=settings.get_profile(settings.get_current_profile_name()),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lmkit")
