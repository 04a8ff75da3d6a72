"""Metadata and requirements; tools are set in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

TORCH, ONNX = ["torch>=2.3", "safetensors>=0.4"], ["onnx>=1.16", "onnxruntime>=1.18"]
SKLEARN, PANDAS = ["scikit-learn>=1.6"], ["pandas>=2.2"]

setup(
    name="npkd",
    version="0.2.0",
    description="Sparse neural networks by knowledge distillation, written by hand in NumPy",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["npkd", "npkd.*"]),
    package_data={"npkd": ["py.typed"], "npkd.data": ["digits.npz"], "npkd.interop": ["*.in"],
                  "npkd.report": ["page.js"]},
    install_requires=["numpy>=2.0", "scipy>=1.13", "matplotlib>=3.8", "tqdm>=4.66", "joblib>=1.5"],
    extras_require={
        "torch": TORCH,
        "onnx": ONNX,
        "sklearn": SKLEARN,
        "pandas": PANDAS,
        "dask": ["distributed>=2024"],
        "interop": [*TORCH, *ONNX, *SKLEARN, *PANDAS, "onnxscript>=0.3", "skl2onnx>=1.18"],
        "test": ["pytest>=8", "pytest-cov>=5", "pytest-xdist>=3.5", "hypothesis>=6.100", "ruff>=0.6", "mypy>=1.11",
                 "sphinx>=8.2", "myst-parser>=4", "furo>=2025.9", "math-core>=0.9", "playwright>=1.50",
                 "axe-playwright-python>=0.1.5"],
        "peers": ["torch>=2.3", "jax>=0.4.30", "scikit-learn>=1.5", "river>=0.26", "skglm>=0.4"],
    },
    entry_points={"console_scripts": ["npkd = npkd.cli.main:main"]},
)
