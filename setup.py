"""Names the native engine for the build. Everything else about the package is in pyproject.toml.

With ORBRIDGE_ENGINE_BUILT set, an editable install uses the engine that lies in ``codecs`` already (scripts/setup).
"""

import os

from setuptools import setup
from setuptools_rust import Binding, RustExtension

engine = RustExtension(
    "orbridge.codecs._engine",
    path="codecs/engine/Cargo.toml",
    binding=Binding.PyO3,
    py_limited_api=True,
    debug=False,
    features=["python"],
)

setup(rust_extensions=[] if os.environ.get("ORBRIDGE_ENGINE_BUILT") else [engine])
