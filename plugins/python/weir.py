"""Write plugins for weir in Python.

A plugin is a class with a name, a version and the methods of its role, and one
call of `export`, whose results are the classes that the contract asks for:

    import weir

    class Lines(weir.MessageParser):
        name, version, description = "lines", "0.1.0", "One row for each line of text."
        output = "text string, length bigint"

        def parse(self, message, rows):
            for line in message.decode().splitlines():
                rows.push(line, len(line))

    Plugin, Parser = weir.export(Lines)

Columns are spelled as in a pipeline file: `"deviceId string, at timestamp"`,
with the types boolean, bigint, double, string, binary, timestamp, `array<…>` and
`struct<name: type, …>`; in a plugin `not null` may stand behind a type, where no
value may be missing. In Python a null is `None`, a timestamp a number of
microseconds since 1970, in UTC, an array a list and a struct a dict.

An exception rejects the message or row that it was raised for, and its text is
the reason in the dead letters; where a role cannot reject, the host finds the
row by itself. There are no clocks, files or networks; `print` writes to the log.
"""

import builtins
import io
import json
import linecache
import os
import re
import sys
import time
import warnings
from array import array
from collections import namedtuple
from datetime import datetime, timedelta, timezone
from itertools import accumulate, pairwise, repeat

import wit_world.exports as _exports
from componentize_py_types import Err
from wit_world.imports import columns as _wit
from wit_world.imports import host as _host

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


# The host ------------------------------------------------------------------


def log(message, level="info"):
    """Write a line to the log of the host: debug, info, warn or error."""
    _host.log(_host.Level[level.upper()], _text(message))


def count(name, by=1):
    """Add to a counter, which appears in the progress of the run."""
    _host.count(_text(name), _unsigned("by", by, bits=64))


def now():
    """The clock of the epoch, in microseconds since 1970; the same in all its calls."""
    return _host.now()


class _Log:
    """What stands for standard output: every line goes to the log."""

    def __init__(self, level):
        self._level, self._line = level, ""

    def write(self, text):
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            log(line, self._level)
        return len(text)

    def flush(self):
        pass


# Warnings and traces show lines of the source, but there are no files to read.
warnings.formatwarning = lambda message, category, *_: f"{category.__name__}: {message}\n"
linecache.updatecache = lambda *_: []


# What a plugin has not: a call would be a trap without a reason ---------------


def _missing(what, instead):
    def refuse(*_arguments, **_named):
        raise OSError(f"a plugin has no {what}: {instead}")

    return refuse


def _take_away(module, names, refuse):
    for name in names.split():
        setattr(module, name, refuse)


_take_away(
    time,
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time process_time_ns sleep",
    _missing("clock", "take a time from the data, or `weir.now()`, the clock of the epoch"),
)
_no_files = _missing("files", "let its configuration say what it needs to know")
_take_away(builtins, "open", _no_files)
_take_away(io, "open", _no_files)
_take_away(os, "open listdir scandir stat mkdir remove rename", _no_files)
_take_away(os, "urandom", _missing("random numbers of a system", "`random` gives some, the same in each run"))


# What the bindings take: all else would be a trap without a reason -----------


def _text(value):
    """A text for people, in which half of a surrogate pair is a question mark."""
    return str(value).encode(errors="replace").decode()


def _unsigned(name, value, bits=32):
    """The value of an argument, if it is a number that fits."""
    if isinstance(value, int) and 0 <= value < 1 << bits:
        return value
    raise ValueError(f"`{name}` is {value!r:.80}: a whole number from 0, below 2^{bits}, is expected")


# Errors --------------------------------------------------------------------


class Problem(Exception):
    """What is wrong with a configuration: a dotted path into it, and why."""

    def __init__(self, path, message):
        super().__init__(message)
        self.path, self.message = path, message


class Reject(Exception):
    """Why a message or row goes to the dead letters. Any exception will do; of
    this one the text alone is the reason."""


def _describe(error, place=False):
    """An exception in a line, with the place in the plugin where it was raised."""
    if isinstance(error, (Reject, _Misfits)):
        return _text(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if place:
        trace, inside = error.__traceback__, None
        while trace:
            if trace.tb_frame.f_code.co_filename != __file__:
                inside = trace
            trace = trace.tb_next
        if inside:
            file = inside.tb_frame.f_code.co_filename.rpartition("/")[2]
            text += f" ({file}, line {inside.tb_lineno})"
    return _text(text)


def _failing(call):
    """Let a call that raises fail with the exception as its reason."""

    def guarded(*arguments):
        try:
            return call(*arguments)
        except Err:
            raise
        except BaseException as error:
            raise Err(_wit.Error(_describe(error, place=True))) from None

    return guarded


def _refusing(configure):
    """Let a configuration that raises be refused, with the exception as the problem."""

    def guarded(*arguments):
        sys.stdout, sys.stderr = _Log("info"), _Log("warn")
        try:
            return configure(*arguments)
        except Err:
            raise
        except Problem as problem:
            raise _refused([problem]) from None
        except BaseException as error:
            raise _refused([Problem("", _describe(error, place=True))]) from None

    return guarded


def _refused(problems):
    return Err([_wit.Problem(_text(problem.path), _text(problem.message)) for problem in problems])


def _trapping(call):
    """The same for calls that cannot fail: the last words are in the log."""

    def guarded(*arguments):
        try:
            return call(*arguments)
        except BaseException as error:
            log(_describe(error, place=True), "error")
            raise

    return guarded


# Columns -------------------------------------------------------------------

Column = namedtuple("Column", "name type nullable")

_TYPES = {
    "boolean": _wit.DataType.BOOLEAN,
    "bigint": _wit.DataType.INT64,
    "double": _wit.DataType.FLOAT64,
    "string": _wit.DataType.UTF8,
    "binary": _wit.DataType.BINARY,
    "timestamp": _wit.DataType.TIMESTAMP,
}
_NAMES = {data_type: name for name, data_type in _TYPES.items()}

#: The type of a column of lists: the type of an item, which may be null.
Array = namedtuple("Array", "item")
#: The type of a column of structs: its fields, each a `Column`.
Struct = namedtuple("Struct", "fields")

_COLUMN = re.compile(r"(.+?)(?:\s*:\s*|\s+)((?:array|struct)<.*>|\w+)(\s+not\s+null)?", re.DOTALL)


def columns(text):
    """The columns that a text such as `"deviceId string, n bigint not null"` spells."""
    spelled = []
    for part in filter(None, map(str.strip, _parts(text))):
        match = _COLUMN.fullmatch(part)
        kind = match and _type(match[2])
        if not kind:
            known = f"{', '.join(_TYPES)}, array<…> and struct<name: type, …>"
            raise ValueError(f"`{part}` is no column: write a name and one of {known}")
        spelled.append(Column(match[1], kind, match[3] is None))
    return spelled


def _parts(text):
    """What stands between the commas that are not inside of <>."""
    depth, start = 0, 0
    for at, char in enumerate(text):
        depth += (char == "<") - (char == ">")
        if char == "," and depth == 0:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _type(text):
    outer, opened, inner = text.partition("<")
    if not opened:
        return text if text in _TYPES else None
    if not inner.endswith(">") or not (inner := inner[:-1].strip()):
        return None
    if outer == "array":
        item = _type(inner)
        return item and Array(item)
    return Struct(columns(inner)) if outer == "struct" else None


def _spell(kind):
    """A type as it is spelled."""
    if isinstance(kind, Array):
        return f"array<{_spell(kind.item)}>"
    if isinstance(kind, Struct):
        return f"struct<{', '.join(f'{field.name}: {_spell(field.type)}' for field in kind.fields)}>"
    return kind


def _columns(plugin, attribute):
    """The columns that an attribute of a plugin names: a text, or a list of them."""
    spelled = getattr(plugin, attribute)
    if isinstance(spelled, str):
        try:
            return columns(spelled)
        except ValueError as error:
            raise ValueError(f"`{attribute}`: {error}") from None
    if isinstance(spelled, (list, tuple)) and all(isinstance(column, Column) for column in spelled):
        return list(spelled)
    raise TypeError(f"`{attribute}` is {spelled!r:.80}: a text such as `name string, n bigint` is expected")


def _names(plugin, attribute):
    """The names of an attribute; a text is one name."""
    names = getattr(plugin, attribute)
    names = [names] if isinstance(names, str) else list(names)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"`{attribute}` is {names!r:.80}: names are expected")
    return names


def _schema(spelled):
    return _wit.Schema([field for column in spelled for field in _fields(column)])


def _fields(column):
    """A column and what is inside of it, depth first."""
    name, kind, nullable = column
    if isinstance(kind, str):
        return [_wit.Field(name, _TYPES[kind], nullable, 0)]
    is_array = isinstance(kind, Array)
    inside = [Column("element", kind.item, True)] if is_array else kind.fields
    data_type = _wit.DataType.LIST if is_array else _wit.DataType.STRUCT
    fields = [field for child in inside for field in _fields(child)]
    return [_wit.Field(name, data_type, nullable, len(inside)), *fields]


def input_columns(schema):
    """The columns of the rows that come in."""
    fields = iter(schema.fields)

    def column(field):
        kind = _NAMES.get(field.data_type)
        if field.data_type == _wit.DataType.LIST:
            kind = Array(column(next(fields)).type)
        elif field.data_type == _wit.DataType.STRUCT:
            kind = Struct([column(next(fields)) for _ in range(field.children)])
        return Column(field.name, kind, field.nullable)

    return [column(field) for field in fields]


def _needed(spelled, schema):
    """Names and readers of the columns that a plugin needs, checked against its input."""
    there = {column.name: column for column in input_columns(schema)}
    readers, problems = [], []
    for name, kind, _ in spelled:
        found = there.get(name)
        reader = found and _reader(found.type, kind)
        if found is None:
            has = ", ".join(there) or "none"
            problems.append(_wit.Problem("", f"it needs a column `{name} {_spell(kind)}`; the rows have {has}"))
        elif reader is None:
            problems.append(_wit.Problem("", f"it needs `{name}` as {_spell(kind)}, not as {_spell(found.type)}"))
        else:
            readers.append(reader)
    if problems:
        raise Err(problems)
    return [column.name for column in spelled], readers


def _reader(found, kind):
    """What reads a column of the type `found`, with its children, as `kind`: takes the
    columns that are left, and gives the values. None if that cannot be."""
    if found == kind and isinstance(kind, str):
        return lambda columns: read(next(columns))
    if (found, kind) == ("bigint", "double"):
        return lambda columns: [None if value is None else float(value) for value in read(next(columns))]
    if isinstance(found, Array) and isinstance(kind, Array):
        items = _reader(found.item, kind.item)
        return items and (lambda columns: _read_lists(next(columns), items(columns)))
    if isinstance(found, Struct) and isinstance(kind, Struct):
        wanted = {field.name: field.type for field in kind.fields}
        # Fields that are not asked for are passed over.
        readers = [(name, _reader(inside, wanted.get(name, inside))) for name, inside, _ in found.fields]
        if wanted.keys() <= {name for name, _ in readers} and all(reader for _, reader in readers):
            return lambda columns: _read_structs(next(columns), columns, readers, wanted)
    return None


def _read_lists(column, items):
    return _with_nulls(column, [items[start:end] for start, end in pairwise(column.values.value)])


def _read_structs(column, columns, readers, wanted):
    read = [(name, reader(columns)) for name, reader in readers]
    named = [(name, values) for name, values in read if name in wanted]
    names = [name for name, _ in named]
    rows = zip(*[values for _, values in named])
    return _with_nulls(column, [dict(zip(names, row)) for row in rows])


def read(column):
    """The values of a column of a batch as a list, `None` for nulls."""
    return _with_nulls(column, _READ[type(column.values)](column.values.value))


def _with_nulls(column, values):
    if column.validity is None:
        return values
    bits = bin(int.from_bytes(column.validity, "little") | 1 << 8 * len(column.validity))[:2:-1]
    return [value if bit == "1" else None for value, bit in zip(values, bits)]


def _read_bits(data):
    return [bit == "1" for bit in bin(int.from_bytes(data, "little") | 1 << 8 * len(data))[:2:-1]]


def _read_bytes(values):
    data = values.data
    return [data[start:end] for start, end in pairwise(values.offsets)]


def _read_texts(values):
    data = values.data
    if data.isascii():
        text = data.decode()
        return [text[start:end] for start, end in pairwise(values.offsets)]
    return [data[start:end].decode() for start, end in pairwise(values.offsets)]


_READ = {
    _wit.Values_Boolean: _read_bits,
    _wit.Values_Int64: list,
    _wit.Values_Float64: list,
    _wit.Values_Timestamp: list,
    _wit.Values_Utf8: _read_texts,
    _wit.Values_Binary: _read_bytes,
}


def _pack(bits):
    """Bits as bytes, the least significant first."""
    return int("".join(["1" if bit else "0" for bit in bits])[::-1] or "0", 2).to_bytes((len(bits) + 7) // 8, "little")


def write(kind, values):
    """A column of this type and those inside of it, depth first.

    Raises TypeError, ValueError or OverflowError for values that do not fit.
    """
    validity = None
    if None in values:
        validity = _pack([value is not None for value in values])
        empty = _empty(kind)
        values = [empty if value is None else value for value in values]
    if isinstance(kind, Array):
        if not set(map(type, values)) <= {list, tuple}:
            raise TypeError("it is no list")
        offsets = list(accumulate(map(len, values), initial=0))
        items = write(kind.item, [item for value in values for item in value])
        return [_wit.Column(validity, _wit.Values_List(offsets)), *items]
    if isinstance(kind, Struct):
        names = {field.name for field in kind.fields}
        if not all(isinstance(value, dict) and value.keys() <= names for value in values):
            raise TypeError("it is no dict, or has other keys")
        inside = [column for field in kind.fields for column in _write_field(field, values)]
        return [_wit.Column(validity, _wit.Values_Struct()), *inside]
    return [_wit.Column(validity, _WRITE[kind](values))]


def _write_field(field, dicts):
    written = write(field.type, [value.get(field.name) for value in dicts])
    if written[0].validity and not field.nullable:
        raise ValueError(f"{field.name} has no value")
    return written


def _empty(kind):
    """What stands behind a null."""
    if isinstance(kind, Array):
        return []
    if isinstance(kind, Struct):
        return {field.name: None if field.nullable else _empty(field.type) for field in kind.fields}
    return _EMPTY[kind]


def _write_booleans(values):
    if not set(map(type, values)) <= {bool}:
        raise TypeError("it is not True or False")
    return _wit.Values_Boolean(_pack(values))


def _write_timestamps(values):
    try:
        return _wit.Values_Timestamp(array("q", values).tolist())
    except TypeError:
        return _wit.Values_Timestamp(array("q", list(map(_instant, values))).tolist())


def _instant(value):
    return (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value


def _write_texts(values):
    text = "".join(values)
    if text.isascii():
        return _wit.Values_Utf8(_wit.VarBytes(list(accumulate(map(len, values), initial=0)), text.encode()))
    return _wit.Values_Utf8(_var_bytes([value.encode() for value in values]))


def _var_bytes(values):
    return _wit.VarBytes(list(accumulate(map(len, values), initial=0)), b"".join(values))


_WRITE = {
    "boolean": _write_booleans,
    "bigint": lambda values: _wit.Values_Int64(array("q", values).tolist()),
    "double": lambda values: _wit.Values_Float64(array("d", values).tolist()),
    "string": _write_texts,
    "binary": lambda values: _wit.Values_Binary(_var_bytes(values)),
    "timestamp": _write_timestamps,
}
_EMPTY = {"boolean": False, "bigint": 0, "double": 0.0, "string": "", "binary": b"", "timestamp": 0}


class _Misfits(Exception):
    """Rows that do not fit their columns, with the reason."""

    def __init__(self, reasons):
        super().__init__("; ".join(f"row {row}: {reason}" for row, reason in list(reasons.items())[:3]))
        self.reasons = reasons


def batch(spelled, rows):
    """Rows, each a tuple of values, as columns."""
    try:
        turned = zip(*rows, strict=True) if rows else repeat((), len(spelled))
        written = [write(column.type, values) for column, values in zip(spelled, turned, strict=True)]
        if not any(columns[0].validity and not spelled.nullable for columns, spelled in zip(written, spelled)):
            return _wit.Batch(len(rows), [column for columns in written for column in columns])
    except (TypeError, ValueError, OverflowError, AttributeError):
        pass
    raise _Misfits({index: reason for index, row in enumerate(rows) if (reason := _misfit(spelled, row))})


def _misfit(spelled, row):
    """Why a row does not fit, none if it does."""
    if len(row) != len(spelled):
        return f"a row of {len(row)} values for {len(spelled)} columns"
    for column, value in zip(spelled, row):
        if value is None:
            if not column.nullable:
                return f"column {column.name}: no value"
            continue
        try:
            write(column.type, [value])
        except UnicodeError as error:
            return f"column {column.name}: {error}"
        except (TypeError, ValueError, OverflowError, AttributeError):
            return f"column {column.name}: {value!r:.80} is no {_spell(column.type)}"
    return None


# What plugins are made of --------------------------------------------------


class _Described:
    """What every plugin says of itself."""

    name = version = description = ""
    #: The JSON Schema of the configuration, which the host checks first.
    config_schema = {}


class Rows:
    """The rows and rejections of a chunk."""

    def __init__(self, fields=()):
        self._rows, self._origins, self._rejected, self._fields, self._input = [], [], [], fields, 0

    def push(self, *values):
        """Append a row: a value for each column, in order."""
        self._rows.append(values)
        self._origins.append(self._input)

    def reject(self, reason, element=None, start=None, end=None):
        """Reject a part of the message, an element of it or its bytes from start
        to end; the rows that were pushed stay."""
        if element is not None:
            _unsigned("element", element)
        span = None
        if start is not None or end is not None:
            span = _wit.Span(_unsigned("start", start), _unsigned("end", end))
        self._rejected.append(_wit.Rejection(self._input, element, span, _text(reason)))

    def field(self, name):
        """A field of the message, which `message_fields` names."""
        return self._fields[name][self._input]

    def _each(self, inputs, method, work):
        """Work on each input; what raises is rejected, and its rows are forgotten."""
        for self._input, values in enumerate(inputs):
            rows, rejected = len(self._rows), len(self._rejected)
            try:
                result = work(*values)
                if result is not None:
                    _unread(method, result)
            except Exception as error:
                del self._rows[rows:], self._origins[rows:], self._rejected[rejected:]
                self.reject(_describe(error))

    def _finish(self, spelled):
        try:
            return batch(spelled, self._rows), self._origins, self._rejected
        except _Misfits as misfits:
            reasons = {}
            for row, reason in misfits.reasons.items():
                reasons.setdefault(self._origins[row], reason)
        # An input goes as a whole, as if it had raised the reason itself.
        kept = [index for index, origin in enumerate(self._origins) if origin not in reasons]
        rejected = [rejection for rejection in self._rejected if rejection.input not in reasons]
        rejected += [_wit.Rejection(origin, None, None, _text(reason)) for origin, reason in reasons.items()]
        rejected.sort(key=lambda rejection: rejection.input)
        return batch(spelled, [self._rows[row] for row in kept]), [self._origins[row] for row in kept], rejected


class MessageParser(_Described):
    """A parser that looks at one message at a time."""

    #: The columns of the rows.
    output = ""
    #: The fields of messages that `rows.field` can be asked for, such as `file_name`.
    message_fields = ()

    def configure(self, config):
        """Take the configuration, a dict. May set `output`. Raise or return problems."""

    def parse(self, message, rows):
        """Push the rows of a message, which is bytes."""
        raise NotImplementedError


class RowTransform(_Described):
    """A transform that looks at one row at a time."""

    #: The columns that `apply` is given.
    input = ""
    #: The columns of the rows that it pushes.
    output = ""
    #: Columns that come through as they are: their names, or "*" for all others.
    carried = "*"

    def configure(self, config, input):
        """Take the configuration, and the columns of the rows. May set `input` and `output`."""

    def apply(self, rows, *values):
        """Push what becomes of a row: nothing, a row, or several."""
        raise NotImplementedError


class _Stateful(_Described):
    #: The version of the state; change it with what a state is made of.
    state_version = 1
    #: The versions that `decode` reads.
    restorable = None

    def new_state(self):
        """The state of a group that has seen no row. It is changed in place."""
        return {}

    def encode(self, state):
        """A state as bytes; JSON of a dict, a list or the attributes of an object."""
        return json.dumps(state if isinstance(state, (dict, list)) else vars(state), separators=(",", ":")).encode()

    def decode(self, data, version):
        """The state that `encode` wrote, in the version that it had then."""
        value, state = json.loads(data), self.new_state()
        if isinstance(state, (dict, list)):
            return value
        vars(state).update(value)
        return state


class GroupAggregator(_Stateful):
    """An aggregator, for windows: folds rows into a state for each group."""

    input = ""
    output = ""

    def configure(self, config, input):
        """Take the configuration, and the columns of the rows. May set `input` and `output`."""

    def update(self, state, *values):
        """Fold a row into the state of its group."""
        raise NotImplementedError

    def merge(self, state, other):
        """Fold another state into this one, which comes first."""
        raise NotImplementedError

    def evaluate(self, state):
        """The row of a group, a tuple. Changes nothing."""
        raise NotImplementedError


class RowRule(_Described):
    """A rule that judges each row alone."""

    input = ""

    def configure(self, config, input):
        """Take the configuration, and the columns of the rows. May set `input`."""

    def judge(self, alerts, *values):
        """Raise alerts for a row, with `alerts.push(kind, severity, message)`."""
        raise NotImplementedError


class KeyedRule(_Stateful):
    """A rule that remembers, for each key."""

    input = ""

    def configure(self, config, input):
        """Take the configuration, and the columns of the rows. May set `input`."""

    def judge(self, alerts, state, *values):
        """Raise alerts for a row, and change the state of its key."""
        raise NotImplementedError


class Alerts:
    """The alerts of a chunk."""

    def __init__(self):
        self._row, self._rows, self._texts = 0, [], ([], [], [])

    def push(self, kind, severity, message):
        """Append an alert of the row that is judged."""
        for texts, text in zip(self._texts, (kind, severity, message)):
            texts.append(str(text).encode(errors="replace"))
        self._rows.append(self._row)


class _Groups:
    """The states of groups by slot; an empty group has none."""

    def __init__(self, plugin):
        self._plugin, self._states = plugin, {}

    def get(self, slot):
        state = self._states.get(slot)
        if state is None:
            state = self._states[slot] = self._plugin.new_state()
        return state

    def peek(self, slot):
        state = self._states.get(slot)
        return self._plugin.new_state() if state is None else state

    def release(self, slots):
        for slot in slots:
            self._states.pop(slot, None)

    def snapshot(self, slots):
        return _var_bytes([self._plugin.encode(self.peek(slot)) for slot in slots])

    def restore(self, slots, states, version):
        for slot, state in zip(slots, _read_bytes(states), strict=True):
            self._states[slot] = self._plugin.decode(state, version)


def _rows(batch, readers):
    """The rows of a batch as tuples."""
    if not readers:
        return repeat((), batch.rows)
    columns = iter(batch.columns)
    return zip(*[reader(columns) for reader in readers])


def _unread(method, result):
    """Raise for a result that was meant to be read or to be run, which nobody does."""
    if isinstance(result, (list, tuple)) or any(hasattr(result, name) for name in _RUN):
        instead = {"parse": "push rows", "apply": "push rows", "judge": "push alerts"}
        raise TypeError(
            f"`{method}` returned a value of type {type(result).__name__}, which is lost: "
            f"{instead.get(method, 'change the state in place')}, and make it neither async nor a generator"
        )


#: What generators and coroutines have.
_RUN = ("__next__", "__anext__", "__await__")


def _configured(make, config, *input):
    """An instance that has taken its configuration; raises the problems that it found."""
    plugin = make()
    problems = plugin.configure(json.loads(config), *input) or []
    if not isinstance(problems, (list, tuple)) or not all(isinstance(problem, Problem) for problem in problems):
        raise TypeError(f"`configure` returned {problems!r:.80}: nothing, or a list of weir.Problem is expected")
    if problems:
        raise _refused(problems)
    return plugin


def export(kind):
    """The classes that the contract asks for: `Plugin`, and one named after the role.

        Plugin, Parser = weir.export(Lines)
    """
    for base, role in _ROLES.items():
        if issubclass(kind, base):
            return type("Plugin", (), {"describe": _manifest(kind)}), role(kind)
    raise TypeError(f"{kind.__name__} has no role: derive it from {', '.join(base.__name__ for base in _ROLES)}")


def _manifest(kind):
    schema = kind.config_schema if isinstance(kind.config_schema, str) else json.dumps(kind.config_schema)
    return lambda _: _exports.plugin.Manifest(kind.name, kind.version, kind.description, schema)


class _Single:
    """There is one instance: the contract's classes are called anew for each call."""

    _instance = None

    def __new__(cls):
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance


def _parser(make):
    class Parser(_Single):
        @_refusing
        def configure(self, config, stored):
            self.plugin = _configured(make, config)
            self.output, self.fields = _columns(self.plugin, "output"), _names(self.plugin, "message_fields")
            return _exports.parser.ParserInfo(_schema(self.output), self.fields)

        @_failing
        def parse(self, chunk):
            rows = Rows({name: read(column) for name, column in zip(self.fields, chunk.fields.columns)})
            rows._each(((message, rows) for message in _read_bytes(chunk.payload)), "parse", self.plugin.parse)
            return _exports.parser.Parsed(*rows._finish(self.output))

    return Parser


def _transform(make):
    class Transform(_Single):
        @_refusing
        def configure(self, config, input):
            self.plugin = plugin = _configured(make, config, input_columns(input))
            self.output = _columns(plugin, "output")
            names, self.readers = _needed(_columns(plugin, "input"), input)
            if plugin.carried == "*":
                made = {column.name for column in self.output}
                carried = [column.name for column in input_columns(input) if column.name not in made]
            else:
                carried = _names(plugin, "carried")
            return _exports.transform.TransformInfo(names, _schema(self.output), carried)

        @_failing
        def apply(self, batch):
            rows = Rows()
            rows._each(((rows, *values) for values in _rows(batch, self.readers)), "apply", self.plugin.apply)
            return _exports.transform.Transformed(*rows._finish(self.output))

    return Transform


class _Keeping(_Single):
    """What aggregators and rules that remember share."""

    def _keep(self):
        self.groups = _Groups(self.plugin)
        version = _unsigned("state_version", self.plugin.state_version)
        return version, [_unsigned("restorable", version) for version in self.plugin.restorable or (version,)]

    @_trapping
    def release(self, groups):
        self.groups.release(groups)

    @_failing
    def snapshot(self, groups):
        return self.groups.snapshot(groups)

    @_failing
    def restore(self, groups, states, state_version):
        self.groups.restore(groups, states, state_version)


def _aggregator(make):
    class Aggregator(_Keeping):
        @_refusing
        def configure(self, config, input):
            self.plugin = _configured(make, config, input_columns(input))
            self.output = _columns(self.plugin, "output")
            names, self.readers = _needed(_columns(self.plugin, "input"), input)
            return _exports.aggregator.AggregatorInfo(names, _schema(self.output), *self._keep())

        @_failing
        def update(self, groups, batch):
            get, update = self.groups.get, self.plugin.update
            for group, values in zip(groups, _rows(batch, self.readers), strict=True):
                state = get(group)
                result = update(state, *values)
                if result is not None and result is not state:
                    _unread("update", result)

        @_failing
        def merge(self, into, sources):
            for group, source in zip(into, sources, strict=True):
                state = self.groups.get(group)
                result = self.plugin.merge(state, self.groups.peek(source))
                if result is not None and result is not state:
                    _unread("merge", result)

        @_failing
        def evaluate(self, groups):
            rows = [self.plugin.evaluate(self.groups.peek(group)) for group in groups]
            for row in rows:
                if not isinstance(row, (tuple, list)) or len(row) != len(self.output):
                    wanted = f"a tuple of {len(self.output)} values"
                    raise TypeError(f"`evaluate` must return {wanted}, not {row!r:.80}")
            return batch(self.output, rows)

    return Aggregator


def _rule(make):
    keyed = issubclass(make, KeyedRule)

    class Rule(_Keeping):
        @_refusing
        def configure(self, config, input):
            self.plugin = _configured(make, config, input_columns(input))
            names, self.readers = _needed(_columns(self.plugin, "input"), input)
            memory = _exports.rule.Memory.KEYED if keyed else _exports.rule.Memory.STATELESS
            kept = self._keep() if keyed else (1, [1])
            return _exports.rule.RuleInfo(names, memory, *kept)

        @_failing
        def evaluate(self, groups, batch):
            alerts, judge = Alerts(), self.plugin.judge
            if keyed:
                get = self.groups.get
                for group, values in zip(groups, _rows(batch, self.readers), strict=True):
                    result = judge(alerts, get(group), *values)
                    if result is not None:
                        _unread("judge", result)
                    alerts._row += 1
            else:
                for values in _rows(batch, self.readers):
                    result = judge(alerts, *values)
                    if result is not None:
                        _unread("judge", result)
                    alerts._row += 1
            return _exports.rule.Alerts(alerts._rows, *map(_var_bytes, alerts._texts))

    return Rule


_ROLES = {
    MessageParser: _parser,
    RowTransform: _transform,
    GroupAggregator: _aggregator,
    RowRule: _rule,
    KeyedRule: _rule,
}


# Instants ------------------------------------------------------------------


# `fromisoformat` takes other forms of ISO 8601, too, which leave more to guess.
_is_rfc_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
).fullmatch


def timestamp(text):
    """The instant that an RFC 3339 text such as `2025-10-05T18:40:10Z` names, in
    microseconds since 1970. Raises ValueError for any other text."""
    if not _is_rfc_3339(text):
        raise ValueError(f"{text!r} is no date with a time of day and an offset")
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


def to_datetime(micros):
    """The datetime, in UTC, of microseconds since 1970."""
    return _EPOCH + micros * _MICROSECOND
