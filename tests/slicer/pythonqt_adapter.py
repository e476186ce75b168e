"""Qt as PythonQt shows it inside 3D Slicer, made from PySide6, so that the widget runs without the application.

Comes in: PySide6. Goes out: the modules `qt` and `ctk`. A wrapped object has Qt's properties as attributes, `name`, its
public methods, and signals by `connect("signal(types)", slot)` or `object.signal.connect(slot)`. As in PythonQt, a name
that Qt does not have, a property called like a method, a new attribute and a value of another type are refused; what is
not sure to work in PythonQt is refused, too. An exception in a slot does not reach the sender: it is kept in
`slot_errors`, which the tests look at.
"""

from __future__ import annotations

import inspect
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

slot_errors: list[BaseException] = []
_classes: dict[type, type] = {}
_slots: dict[tuple[int, str, Any], Any] = {}
# PySide6's own names, and what C++ keeps protected: PythonQt knows none of them.
_FOREIGN = {"connect", "disconnect", "emit", "receivers", "sender", "senderSignalIndex", "isSignalConnected", "tr"}


def wrap(value: Any) -> Any:
    """A QObject or another Qt value as PythonQt shows it; anything else as it is."""
    if isinstance(value, Wrapped):
        return value
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], QtCore.QObject):
        return [wrap(item) for item in value]
    if isinstance(value, QtCore.QObject):
        shown = object.__new__(wrapped_class(type(value)))
        object.__setattr__(shown, "_object", value)
        return shown
    return value


def unwrap(value: Any) -> Any:
    """What PySide6 takes for a wrapped value."""
    if isinstance(value, Wrapped):
        return value._object
    if isinstance(value, (list, tuple)):
        return type(value)(unwrap(item) for item in value)
    if isinstance(value, _WrappedType):
        return value._qt_class
    return value


class _WrappedType(type):
    """A Qt class: enumerators and static functions as attributes, PySide6's own names refused."""

    def __getattr__(cls, name: str) -> Any:
        found = None if name.startswith("_") else getattr(cls.__dict__.get("_qt_class"), name, None)
        if found is None or name in _FOREIGN:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}'")
        if not callable(found) or isinstance(found, type):
            return found
        return lambda *arguments: wrap(found(*(unwrap(argument) for argument in arguments)))


class Wrapped(metaclass=_WrappedType):
    """One QObject as PythonQt shows it."""

    _qt_class: type = QtCore.QObject
    _object: QtCore.QObject

    def __init__(self, *arguments: Any) -> None:
        object.__setattr__(self, "_object", type(self)._qt_class(*(unwrap(argument) for argument in arguments)))

    def __eq__(self, other: object) -> bool:
        return unwrap(other) is self._object

    def __hash__(self) -> int:
        return hash(self._object)

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        target = self._object
        if name == "name":
            return target.objectName()
        if name in _OWN_METHODS:
            return types.MethodType(_OWN_METHODS[name], self)
        if target.metaObject().indexOfProperty(name) >= 0:
            return wrap(target.property(name))
        if signatures(target, name):
            return WrappedSignal(self, name)
        method = getattr(target, name, None)
        allowed = name not in _FOREIGN and not name.startswith("_") and not name.endswith("Event")
        if not callable(method) or not allowed or not _is_public(target, name):
            raise AttributeError(f"{type(target).__name__} has no attribute named '{name}'")
        return lambda *arguments: wrap(method(*(unwrap(argument) for argument in arguments)))

    def __setattr__(self, name: str, value: Any) -> None:
        target = self._object
        if name == "name":
            target.setObjectName(value)
            return
        index = target.metaObject().indexOfProperty(name)
        if index < 0:
            raise AttributeError(
                f"'{name}' does not exist on {type(target).__name__} and creating new attributes on C++ objects is not "
                "allowed"
            )
        plain = unwrap(value)
        described = target.metaObject().property(index)
        if not described.isWritable() or not _fits(plain, described.typeName()) or not target.setProperty(name, plain):
            raise AttributeError(
                f"Property '{name}' of type '{described.typeName()}' does not accept an object of type "
                f"{type(value).__name__} ({value!r})"
            )


class WrappedSignal:
    """A signal that slots connect to."""

    def __init__(self, owner: Wrapped, name: str) -> None:
        self._owner, self._name = owner, name

    def connect(self, slot: Any) -> bool:
        """Connect to the signal with the most arguments, as PythonQt does by name."""
        return _connect(self._owner, signatures(self._owner._object, self._name)[0], slot)

    def disconnect(self, slot: Any) -> bool:
        """End the connection that `connect` made."""
        return _disconnect(self._owner, signatures(self._owner._object, self._name)[0], slot)


def signatures(target: QtCore.QObject, name: str) -> list[str]:
    """The signal's signatures, those with the most arguments first; a stand-in names its own under `cpp_signals`."""
    own = [text for text in getattr(type(target), "cpp_signals", {}) if text.split("(")[0] == name]
    meta = target.metaObject()
    methods = (meta.method(index) for index in range(meta.methodCount()))
    found = [
        bytes(method.methodSignature().data()).decode()
        for method in methods
        if method.methodType() == QtCore.QMetaMethod.MethodType.Signal and bytes(method.name().data()).decode() == name
    ]
    return own or sorted(found, key=lambda text: -text.count(","), reverse=False)


def _is_public(target: QtCore.QObject, name: str) -> bool:
    """Stand-ins show the methods that the C++ class has (`cpp_methods`) besides those of their Qt base."""
    stand_in = type(target)
    if not hasattr(stand_in, "cpp_methods") or name in stand_in.cpp_methods:
        return True
    base = next(cls for cls in stand_in.__mro__ if cls.__module__.startswith("PySide6"))
    return hasattr(base, name)


def _fits(value: Any, type_name: str) -> bool:
    """Whether PythonQt would surely take the value for a property of this C++ type."""
    plain: dict[str, tuple[type, ...]] = {
        "bool": (bool,),
        "int": (int,),
        "double": (int, float),
        "QString": (str,),
        "QStringList": (list, tuple),
    }
    return isinstance(value, plain.get(type_name, (object,)))


def _connect(self: Wrapped, signal: str, slot: Any) -> bool:
    if not callable(slot):
        raise TypeError(f"connect: {slot!r} cannot be called")
    text = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    name = text.split("(")[0]
    if text not in signatures(self._object, name):
        raise ValueError(f"QObject::connect: No such signal {type(self._object).__name__}::{text}")
    count = _arguments(slot)

    def called(*values: Any) -> None:
        try:
            slot(*(wrap(value) for value in values[:count]))
        except Exception as error:  # PythonQt prints it and goes on.
            slot_errors.append(error)

    _slots[id(self._object), text, slot] = called
    native = getattr(type(self._object), "cpp_signals", {}).get(text, text)
    return bool(QtCore.QObject.connect(self._object, QtCore.SIGNAL(native), called))


def _disconnect(self: Wrapped, signal: str, slot: Any) -> bool:
    text = bytes(QtCore.QMetaObject.normalizedSignature(signal).data()).decode()
    called = _slots.pop((id(self._object), text, slot), None)
    native = getattr(type(self._object), "cpp_signals", {}).get(text, text)
    return called is not None and QtCore.QObject.disconnect(self._object, QtCore.SIGNAL(native), called)


def _arguments(slot: Any) -> int:
    """How many of a signal's values the slot takes; PythonQt leaves out the others."""
    parameters = inspect.signature(slot).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return 99
    return sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )


def _find_children(self: Wrapped, kind: Any = QtCore.QObject, name: str | None = None) -> list[Any]:
    return [wrap(child) for child in self._object.findChildren(unwrap(kind), name)]


def _class_name(self: Wrapped) -> str:
    return self._object.metaObject().className()


_OWN_METHODS: dict[str, Any] = {
    "connect": _connect,
    "disconnect": _disconnect,
    "findChildren": _find_children,
    "className": _class_name,
}


def wrapped_class(qt_class: type) -> type:
    """The class that stands for a PySide6 class; the same one at every call."""
    if qt_class not in _classes:
        bases = tuple(wrapped_class(base) for base in qt_class.__bases__ if issubclass(base, QtCore.QObject))
        name = qt_class.__name__
        _classes[qt_class] = _WrappedType(name, bases or (Wrapped,), {"_qt_class": qt_class})
    return _classes[qt_class]


class _QtModule(types.ModuleType):
    """`qt`: QtCore, QtGui, QtWidgets and QtUiTools under one name."""

    def __getattr__(self, name: str) -> Any:
        for module in (QtCore, QtGui, QtWidgets, QtUiTools):
            found = getattr(module, name, None)
            if found is not None and name.startswith("Q"):
                return wrapped_class(found) if isinstance(found, type) and issubclass(found, QtCore.QObject) else found
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def make_modules(stand_ins: dict[str, list[type]]) -> dict[str, types.ModuleType]:
    """`qt` with the stand-ins known to `QUiLoader`, and a module for each name of `stand_ins` with its widgets."""

    class Loader(QtUiTools.QUiLoader):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            for widgets in stand_ins.values():
                for widget in widgets:
                    self.registerCustomWidget(widget)

    qt = _QtModule("qt")
    qt.QUiLoader = wrapped_class(Loader)  # type: ignore[attr-defined]
    # PythonQt takes and gives plain text where PySide6 wants more.
    modules: dict[str, types.ModuleType] = {"qt": qt}
    for name, widgets in stand_ins.items():
        module = types.ModuleType(name)
        for widget in widgets:
            setattr(module, widget.__name__, wrapped_class(widget))
        modules[name] = module
    return modules
