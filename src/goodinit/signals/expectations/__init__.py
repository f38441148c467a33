"""Second moments that theory expects, followed through a model beside its values.

`following` runs the model and asks a rule of each operation: `linear`, `pointwise`, `norms`,
`pooling`, `moving`. `expected` holds what is known of a tensor, `returning` takes gradients back.
"""

from __future__ import annotations

from goodinit.signals.expectations.expected import Expected, gaussian_means, spread
from goodinit.signals.expectations.following import Follower
from goodinit.signals.expectations.returning import Passing, returned_with_noise

__all__ = ["Expected", "Follower", "Passing", "gaussian_means", "returned_with_noise", "spread"]
