"""For pytest -p: a failing Hypothesis test fails at once; what the smallest example would be is of no interest here."""

from hypothesis import Phase, settings

settings.register_profile("mutate", phases=[Phase.explicit, Phase.generate], database=None, derandomize=True)
settings.load_profile("mutate")
