"""scikit-learn's fit and predict over the pipeline. Importing this imports scikit-learn, or raises InputError."""

from npkd.interop.extras import need

need("sklearn", "sklearn", "npkd.estimators")

from npkd.estimators.interface import Distiller, SparseMLPClassifier, SparseMLPRegressor  # noqa: E402

__all__ = ["Distiller", "SparseMLPClassifier", "SparseMLPRegressor"]
