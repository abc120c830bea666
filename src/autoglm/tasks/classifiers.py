"""Trained models from files: scikit-learn's, saved by skops, and ONNX. Never a pickle: opening one runs what is in it.

The libraries are extras, imported when the first model is opened (``open-autoglm[ml]``, ``open-autoglm[onnx]``).
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from autoglm.base.errors import TaskError

Features = Sequence[Any] | Mapping[str, Any]


class Classifier(Protocol):
    """A trained model, opened."""

    def predict(self, features: Features) -> dict[str, Any]:
        """Return ``prediction``, ``probability``, ``probabilities``. Raises TaskError ``features-invalid``."""


class Classifiers:
    """Opened models by file; a file that has changed is opened again. May be called from any thread."""

    def __init__(self) -> None:
        self._opened: dict[tuple[Path, tuple[str, ...]], tuple[tuple[int, int], Classifier]] = {}
        self._lock = threading.Lock()

    def get(self, path: Path, name: str, trusted: tuple[str, ...] = ()) -> Classifier:
        """Return the model in a file. Raises TaskError, with a code that begins with ``model-file``."""
        try:
            found = path.stat()
        except OSError:
            raise _refused("model-file-missing", f"there is no model file {name}", "train and save it first") from None
        state = (found.st_mtime_ns, found.st_size)
        with self._lock:
            known = self._opened.get((path, trusted))
            if known is None or known[0] != state:
                known = (state, _open(path, name, trusted))
                self._opened[path, trusted] = known
        return known[1]


def _open(path: Path, name: str, trusted: tuple[str, ...]) -> Classifier:
    try:
        return _Skops(path, name, trusted) if path.suffix.lower() == ".skops" else _Onnx(path, name)
    except TaskError:
        raise
    except Exception as error:  # noqa: BLE001  # whatever a library says of a damaged file
        message = f"the model file {name} cannot be opened: {type(error).__name__}: {error}"
        raise _refused(
            "model-file-unreadable", message[:500], "save it anew, with the version that is installed here"
        ) from None


class _Skops:
    """A scikit-learn estimator that skops saved."""

    def __init__(self, path: Path, name: str, trusted: tuple[str, ...]) -> None:
        io = _library("skops.io", "ml")
        unknown = [each for each in io.get_untrusted_types(file=path) if each not in trusted]
        if unknown:
            listed = ", ".join(unknown[:5])
            hint = f"if you know what they do, write `trusted: [{listed}]`"
            raise _refused("model-file-untrusted", f"{name} holds types that are not trusted: {listed}", hint)
        self._model = io.load(path, trusted=list(trusted))
        # Rows are given in the order of the names that the model was trained with; it need not say so again.
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)

    def predict(self, features: Features) -> dict[str, Any]:
        model = self._model
        row = _row(features, [str(each) for each in getattr(model, "feature_names_in_", ())])
        try:
            prediction = _plain(model.predict([row])[0])
            shares = model.predict_proba([row])[0] if hasattr(model, "predict_proba") else None
        except Exception as error:  # noqa: BLE001  # whatever a model says of its input
            raise _unfit(error) from None
        if shares is None:
            return {"prediction": prediction, "probability": None, "probabilities": {}}
        return _answer(
            prediction, {_plain(each): float(share) for each, share in zip(model.classes_, shares, strict=True)}
        )


class _Onnx:
    """An ONNX model: one row in, the label and mostly the probabilities out."""

    def __init__(self, path: Path, name: str) -> None:
        runtime = _library("onnxruntime", "onnx")
        self._numpy = _library("numpy", "onnx")
        self._session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def predict(self, features: Features) -> dict[str, Any]:
        try:
            outputs = self._session.run(None, self._fed(features))
            prediction = _plain(outputs[0].reshape(-1)[0])
            shares = outputs[1][0] if len(outputs) > 1 else None
        except TaskError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever a model says of its input
            raise _unfit(error) from None
        if shares is None:
            return {"prediction": prediction, "probability": None, "probabilities": {}}
        pairs = shares.items() if isinstance(shares, Mapping) else enumerate(shares)
        return _answer(prediction, {_plain(each): float(share) for each, share in pairs})

    def _fed(self, features: Features) -> dict[str, Any]:
        inputs = self._session.get_inputs()
        if len(inputs) == 1:
            row = list(features.values()) if isinstance(features, Mapping) else list(features)
            return {inputs[0].name: self._numpy.array([row], dtype=_dtype(inputs[0].type))}
        values = _row(features, [each.name for each in inputs])
        return {
            each.name: self._numpy.array([[value]], dtype=_dtype(each.type))
            for each, value in zip(inputs, values, strict=True)
        }


def _dtype(kind: str) -> str:
    return {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(int64)": "int64"}.get(kind, "object")


def _row(features: Features, names: list[str]) -> list[Any]:
    """Return the values in the order in which the model wants them."""
    if not isinstance(features, Mapping):
        return list(features)
    if not names:
        return list(features.values())
    missing = [name for name in names if name not in features]
    extra = [name for name in features if name not in names]
    if missing or extra:
        said = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(extra)}, which the model does not know"
        hint = f"the model was trained with: {', '.join(names[:20])}"
        raise _refused("features-invalid", f"`features` {said}", hint)
    return [features[name] for name in names]


def _answer(prediction: Any, probabilities: dict[Any, float]) -> dict[str, Any]:
    named = {str(each): share for each, share in probabilities.items()}
    # An ONNX model may give shares without names: the largest is the predicted class's.
    probability = named.get(str(prediction), max(named.values(), default=None))
    return {"prediction": prediction, "probability": probability, "probabilities": named}


def _plain(value: Any) -> Any:
    """Return a numpy scalar as JSON has it."""
    return value.item() if hasattr(value, "item") else value


def _library(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        message = f"the model needs the package {name.partition('.')[0]}, which is not installed"
        raise _refused("model-file-needs-extra", message, f"pip install 'open-autoglm[{extra}]'") from None


def _unfit(error: Exception) -> TaskError:
    first = next(iter(str(error).splitlines()), "")
    message = f"the model cannot take these features: {type(error).__name__}: {first}"
    return _refused("features-invalid", message[:500], "give as many as it was trained with, in their order")


def _refused(code: str, message: str, hint: str) -> TaskError:
    return TaskError(message, code=code, retryable=False, hint=hint)
