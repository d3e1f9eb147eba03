"""Property tests have no time limit: how fast a machine is says nothing about whether the code is right."""

from hypothesis import settings

settings.register_profile("patchbay", deadline=None)
settings.load_profile("patchbay")
