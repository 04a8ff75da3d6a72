"""scikit-learn's fit and predict over the pipeline. Importing this imports scikit-learn, or raises InputError."""

from npkd.interop.extras import need

try:
    from npkd.estimators.interface import Distiller, SparseMLPClassifier, SparseMLPRegressor
except ImportError:
    need("sklearn", "sklearn", "npkd.estimators")
    raise

__all__ = ["Distiller", "SparseMLPClassifier", "SparseMLPRegressor"]
