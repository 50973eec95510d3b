"""The solvers: one file each, one import line each."""

from . import alternating as alternating
from . import exact as exact
from . import greedy as greedy
from . import minlp as minlp
from . import nlp as nlp
from . import relaxed as relaxed
from . import rules as rules

__all__: list[str] = []
