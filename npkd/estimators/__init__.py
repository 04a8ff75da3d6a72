"""scikit-learn's fit and predict over the pipeline: sparse training, and students of any classifier or regressor.

Importing this imports scikit-learn, an extra of npkd (``sklearn``); without it that raises InputError.
"""

from npkd.interop.extras import need

need("sklearn", "sklearn", "npkd.estimators")

from npkd.estimators.distiller import Distiller  # noqa: E402  (after the sentence)
from npkd.estimators.sparse_mlp import SparseMLPClassifier, SparseMLPRegressor  # noqa: E402

__all__ = ["Distiller", "SparseMLPClassifier", "SparseMLPRegressor"]
