/**
 * Write plugins for weir in JavaScript or TypeScript.
 *
 * A plugin is an object with a name, a version and the methods of its role:
 *
 *     import { messageParser } from "weir";
 *
 *     export const { plugin, parser } = messageParser({
 *       name: "lines",
 *       version: "0.1.0",
 *       description: "One row for each line of text.",
 *       output: "text string, length bigint",
 *       parse(message, rows) {
 *         for (const line of message.text().split("\n")) rows.push(line, line.length);
 *       },
 *     });
 *
 * Columns are spelled as in a pipeline file: `"deviceId string, at timestamp"`, with
 * the types boolean, bigint, double, string, binary, timestamp, `array<…>` and
 * `struct<name: type, …>`; in a plugin `not null` may stand behind a type, where no
 * value may be missing. A null is `null`; a timestamp is a number of microseconds since
 * 1970, in UTC; a bigint is a number, and both are a BigInt where a number would not be
 * exact; an array is an array, and a struct an object.
 *
 * What is thrown rejects the message or row that it was thrown for, and its message
 * is the reason in the dead letters; where a role cannot reject, the host finds the
 * row by itself. There are no files or networks, and `Date.now()` is the time of the
 * build; `console` writes to the log.
 */

import * as host from "weir:plugin/host@0.1.0";

// The host -------------------------------------------------------------------

/** Write a line to the log of the host: debug, info, warn or error. */
export function log(message, level = "info") {
  host.log(level, String(message));
}

/** Add to a counter, which appears in the progress of the run. */
export function count(name, by = 1) {
  host.count(String(name), unsigned("by", by, 64));
}

/** The clock of the epoch, in microseconds since 1970; the same in all its calls. */
export function now() {
  return Number(host.now());
}

const lineTo = (level) => (...values) => log(values.map(shown).join(" "), level);
const shown = (value) => (typeof value === "string" ? value : asJson(value));
globalThis.console = { log: lineTo("info"), info: lineTo("info"), debug: lineTo("debug"), warn: lineTo("warn"), error: lineTo("error") };

/** The value of an argument as a BigInt, if it is a number that fits: the bindings
 * would make another number of it. */
function unsigned(name, value, bits = 32) {
  const isWhole = Number.isSafeInteger(value) || typeof value === "bigint";
  if (isWhole && BigInt.asUintN(bits, BigInt(value)) === BigInt(value)) return BigInt(value);
  throw new RangeError(`\`${name}\` is ${asJson(value)}: a whole number from 0, below 2^${bits}, is expected`);
}

// Errors ---------------------------------------------------------------------

/** Why a message or row goes to the dead letters. Any error will do; of this one
 * the message alone is the reason. */
export class Reject extends Error {}

/** What is wrong with a configuration: a dotted path into it, and why. */
export class Problem extends Error {
  constructor(path, message) {
    super(message);
    this.path = path;
  }
}

function described(error, withPlace) {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof Reject || error instanceof Misfits) return error.message;
  const place = withPlace ? /^.*@.*$/m.exec(error.stack ?? "") : null;
  return `${error.name}: ${error.message}${place ? ` (${place[0]})` : ""}`;
}

/** The contract's failure: what is thrown with a payload is the error of the call. */
class Failed {
  constructor(payload) {
    this.payload = payload;
  }
}

function failing(call) {
  return (...values) => {
    try {
      return call(...values);
    } catch (error) {
      throw error instanceof Failed ? error : new Failed({ message: described(error, true) });
    }
  };
}

/** Let a configuration that throws be refused, with what it throws as the problem. */
function refusing(configure) {
  return (...values) => {
    try {
      return configure(...values);
    } catch (error) {
      if (error instanceof Failed) throw error;
      throw refused([error instanceof Problem ? error : new Problem("", described(error, true))]);
    }
  };
}

function refused(problems) {
  return new Failed(problems.map(({ path, message }) => ({ path: String(path), message: String(message) })));
}

/** The same for calls that cannot fail: the last words are in the log. */
function trapping(call) {
  return (...values) => {
    try {
      return call(...values);
    } catch (error) {
      log(described(error, true), "error");
      throw error;
    }
  };
}

// Columns --------------------------------------------------------------------

const TYPES = { boolean: "boolean", bigint: "int64", double: "float64", string: "utf8", binary: "binary", timestamp: "timestamp" };
const NAMES = Object.fromEntries(Object.entries(TYPES).map(([name, dataType]) => [dataType, name]));

/** The columns that a text such as `"deviceId string, n bigint not null"` spells. A
 * type is its name, or `{ array: type }`, or `{ struct: columns }`. */
export function columns(text) {
  const parts = partsOf(text).map((part) => part.trim()).filter((part) => part !== "");
  return parts.map((part) => {
    const [, name, spelled = "", required] = /^(.+?)(?:\s*:\s*|\s+)((?:array|struct)<.*>|\w+)(\s+not\s+null)?$/s.exec(part) ?? [];
    const type = typeOf(spelled);
    if (type === undefined) {
      const known = `${Object.keys(TYPES).join(", ")}, array<…> and struct<name: type, …>`;
      throw new Error(`\`${part}\` is no column: write a name and one of ${known}`);
    }
    return { name, type, nullable: required === undefined };
  });
}

/** The columns that a property of a plugin spells. */
function columnsOf(definition, property) {
  const { [property]: text = "" } = definition;
  if (typeof text !== "string") {
    throw new TypeError(`\`${property}\` is ${cut(text)}: a text such as \`name string, n bigint\` is expected`);
  }
  try {
    return columns(text);
  } catch (error) {
    throw new Error(`\`${property}\`: ${error.message}`);
  }
}

/** The names of a property; a text is one name. */
function namesOf(property, value) {
  const names = typeof value === "string" ? [value] : value;
  if (Array.isArray(names) && names.every((name) => typeof name === "string")) return names;
  throw new TypeError(`\`${property}\` is ${cut(value)}: names are expected`);
}

/** What stands between the commas that are not inside of <>. */
function partsOf(text) {
  const parts = [""];
  let depth = 0;
  for (const char of text) {
    if (char === "<") depth += 1;
    else if (char === ">") depth -= 1;
    if (char === "," && depth === 0) parts.push("");
    else parts[parts.length - 1] += char;
  }
  return parts;
}

function typeOf(text) {
  if (Object.hasOwn(TYPES, text)) return text;
  const [, outer, inner] = /^(array|struct)<\s*(.*\S)\s*>$/s.exec(text) ?? [];
  if (outer === undefined) return undefined;
  if (outer === "struct") return { struct: columns(inner) };
  const array = typeOf(inner);
  return array && { array };
}

/** A type as it is spelled. */
function spell(type) {
  if (type.array) return `array<${spell(type.array)}>`;
  if (type.struct) return `struct<${type.struct.map((field) => `${field.name}: ${spell(field.type)}`).join(", ")}>`;
  return type;
}

function schemaOf(spelled) {
  return { fields: spelled.flatMap(fieldsOf) };
}

/** A column and what is inside of it, depth first. */
function fieldsOf({ name, type, nullable }) {
  if (typeof type === "string") return [{ name, dataType: TYPES[type], nullable, children: 0 }];
  const inside = type.struct ?? [{ name: "element", type: type.array, nullable: true }];
  const field = { name, dataType: type.struct ? "struct" : "list", nullable, children: inside.length };
  return [field, ...inside.flatMap(fieldsOf)];
}

/** The columns of the rows that come in. */
function inputColumns({ fields }) {
  let next = 0;
  const column = () => {
    const { name, dataType, nullable, children } = fields[next++];
    const inside = Array.from({ length: children }, column);
    const nested = dataType === "list" ? { array: inside[0].type } : { struct: inside };
    return { name, type: NAMES[dataType] ?? nested, nullable };
  };
  const found = [];
  while (next < fields.length) found.push(column());
  return found;
}

/** The names of the columns that a plugin needs and what reads them, checked against
 * its input. */
function neededOf(spelled, input) {
  const problems = [];
  const readers = spelled.map(({ name, type }) => {
    const found = input.find((column) => column.name === name);
    const reader = found && readerOf(found.type, type);
    if (!found) {
      const has = input.map((column) => column.name).join(", ") || "none";
      problems.push({ path: "", message: `it needs a column \`${name} ${spell(type)}\`; the rows have ${has}` });
    } else if (!reader) {
      problems.push({ path: "", message: `it needs \`${name}\` as ${spell(type)}, not as ${spell(found.type)}` });
    }
    return reader;
  });
  if (problems.length > 0) throw new Failed(problems);
  return { names: spelled.map((column) => column.name), readers };
}

/** What reads a column of the type `found`, with its children, as `type`: takes the
 * columns that are left and the number of rows. Undefined if that cannot be. */
function readerOf(found, type) {
  if (found === type) return (left, rows) => read(left.next().value, rows);
  if (found === "bigint" && type === "double") {
    return (left, rows) => read(left.next().value, rows).map((value) => (value === null ? null : Number(value)));
  }
  if (found.array && type.array) {
    const items = readerOf(found.array, type.array);
    return items && ((left, rows) => readLists(left.next().value, rows, (count) => items(left, count)));
  }
  if (found.struct && type.struct) {
    const wanted = new Map(type.struct.map((field) => [field.name, field.type]));
    // Fields that are not asked for are passed over.
    const readers = found.struct.map(({ name, type: inside }) => [name, readerOf(inside, wanted.get(name) ?? inside)]);
    const there = new Set(readers.map(([name]) => name));
    if (readers.every(([, reader]) => reader) && [...wanted.keys()].every((name) => there.has(name))) {
      return (left, rows) => readStructs(left.next().value, rows, left, readers, wanted);
    }
  }
  return undefined;
}

function readLists({ validity, values: { val: offsets } }, rows, itemsOf) {
  const items = itemsOf(offsets[rows]);
  const values = Array.from({ length: rows }, (_, row) => Array.from(items.slice(offsets[row], offsets[row + 1])));
  return withNulls(values, validity, rows);
}

function readStructs({ validity }, rows, left, readers, wanted) {
  const inside = readers.map(([name, reader]) => [name, reader(left, rows)]).filter(([name]) => wanted.has(name));
  const value = (_, row) => Object.fromEntries(inside.map(([name, values]) => [name, values[row]]));
  return withNulls(Array.from({ length: rows }, value), validity, rows);
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Values of variable length: the text of all where it is ASCII, so that a text is a slice. */
class VarBytes {
  constructor({ offsets, data }) {
    this.offsets = offsets;
    this.data = data;
    this.all = undefined;
    try {
      const all = utf8.decode(data);
      if (all.length === data.length) this.all = all;
    } catch {
      // Some value is no UTF-8: which, is told when it is read.
    }
  }

  get length() {
    return this.offsets.length - 1;
  }

  bytes(index) {
    return this.data.subarray(this.offsets[index], this.offsets[index + 1]);
  }

  text(index) {
    const start = this.offsets[index];
    const end = this.offsets[index + 1];
    if (this.all !== undefined) return this.all.slice(start, end);
    try {
      return utf8.decode(this.data.subarray(start, end));
    } catch {
      throw new Reject("it is not UTF-8");
    }
  }
}

const MAX_SAFE = Number.MAX_SAFE_INTEGER;
const MAX = BigInt(MAX_SAFE);
const exact = (value) => (value > MAX || value < -MAX ? value : Number(value));

/** The values of a column of a batch, `null` for nulls. */
function read({ validity, values: { tag, val } }, rows) {
  let values;
  switch (tag) {
    case "boolean":
      values = Array.from({ length: rows }, (_, row) => ((val[row >> 3] >> (row & 7)) & 1) === 1);
      break;
    case "int64":
    case "timestamp":
      values = Array.from(val, exact);
      break;
    case "float64":
      values = validity ? Array.from(val) : val;
      break;
    case "utf8":
    case "binary": {
      const bytes = new VarBytes(val);
      values = Array.from({ length: rows }, (_, row) => (tag === "utf8" ? bytes.text(row) : bytes.bytes(row)));
      break;
    }
    default:
      throw new Error(`columns of type ${tag} are not read`);
  }
  return withNulls(values, validity, rows);
}

function withNulls(values, validity, rows) {
  if (validity) {
    for (let row = 0; row < rows; row++) if (((validity[row >> 3] >> (row & 7)) & 1) === 0) values[row] = null;
  }
  return values;
}

/** The columns that a plugin needs, as it spelled them. */
function readAll({ rows, columns }, readers) {
  const left = columns.values();
  return readers.map((reader) => reader(left, rows));
}

/** Call once for each row, with `first` and its values as arguments. */
function eachRow(rows, columns, first, call) {
  const values = new Array(first.length + columns.length);
  for (let index = 0; index < first.length; index++) values[index] = first[index];
  for (let row = 0; row < rows; row++) {
    for (let index = 0; index < columns.length; index++) values[first.length + index] = columns[index][row];
    call(row, values);
  }
}

/** Rows that do not fit their columns: the reason of each. */
class Misfits extends Error {
  constructor(reasons) {
    super([...reasons.values()][0]);
    this.reasons = reasons;
  }
}

const isInt64 = (value) => typeof value === "bigint" && BigInt.asIntN(64, value) === value;
const isInteger = (value) => Number.isSafeInteger(value) || isInt64(value);
const isTime = (value) => value instanceof Date && !Number.isNaN(value.getTime());

const FITS = {
  boolean: (value) => typeof value === "boolean",
  bigint: isInteger,
  double: (value) => typeof value === "number" || typeof value === "bigint",
  string: (value) => typeof value === "string" && value.isWellFormed(),
  binary: (value) => value instanceof Uint8Array,
  timestamp: (value) => isInteger(value) || isTime(value),
};

const isNone = (value) => value === null || value === undefined;

function fits(type, value) {
  if (type.array) return Array.isArray(value) && value.every((item) => isNone(item) || fits(type.array, item));
  if (!type.struct) return FITS[type](value);
  const names = new Set(type.struct.map((field) => field.name));
  const fitsIn = (field) => (isNone(value[field.name]) ? field.nullable : fits(field.type, value[field.name]));
  return isObject(value) && Object.keys(value).every((name) => names.has(name)) && type.struct.every(fitsIn);
}

const isObject = (value) => typeof value === "object" && !Array.isArray(value);

/** A value as people read it: JSON, and what JSON does not have by its own name. */
function asJson(value) {
  const hasNoJson = (inside) => typeof inside === "bigint" || (typeof inside === "number" && !Number.isFinite(inside));
  if (hasNoJson(value)) return String(value);
  return String(JSON.stringify(value, (_, inside) => (hasNoJson(inside) ? String(inside) : inside)));
}

const cut = (value) => asJson(value).slice(0, 80);
const kindOf = (value) => Object.prototype.toString.call(value).slice(8, -1);
/** JSON does not show a promise. */
const told = (value) => (value !== null && isObject(value) ? `a value of type ${kindOf(value)}` : cut(value));

/** Why a row does not fit, none if it does. */
function misfit(spelled, row) {
  if (row.length !== spelled.length) return `a row of ${row.length} values for ${spelled.length} columns`;
  for (const [index, { name, type, nullable }] of spelled.entries()) {
    const value = row[index];
    if (isNone(value)) {
      if (!nullable) return `column ${name}: no value`;
    } else if (!fits(type, value)) {
      const isInexact = (type === "bigint" || type === "timestamp") && Number.isInteger(value);
      const hint = isInexact ? ": a number is not exact beyond 2^53, push a BigInt" : "";
      return `column ${name}: ${cut(value)} is no ${spell(type)}${hint}`;
    }
  }
  return undefined;
}

// A loop for each type, column by column, because calls are dear without a compiler.
// What does not fit throws anything; then the rows are looked at one by one.
const WRITE = {
  boolean(rows, index, nulls) {
    const val = new Uint8Array((rows.length + 7) >> 3);
    for (let row = 0; row < rows.length; row++) {
      const value = rows[row][index];
      if (value === true) val[row >> 3] |= 1 << (row & 7);
      else if (value !== false) nulls.push(none(row, value));
    }
    return { tag: "boolean", val };
  },
  bigint: (rows, index, nulls) => ({ tag: "int64", val: integers(rows, index, nulls) }),
  timestamp: (rows, index, nulls) => ({ tag: "timestamp", val: integers(rows, index, nulls) }),
  double(rows, index, nulls) {
    const val = new Float64Array(rows.length);
    for (let row = 0; row < rows.length; row++) {
      const value = rows[row][index];
      if (typeof value === "number") val[row] = value;
      else if (typeof value === "bigint") val[row] = Number(value);
      else nulls.push(none(row, value));
    }
    return { tag: "float64", val };
  },
  string(rows, index, nulls) {
    const texts = new Array(rows.length);
    const offsets = new Int32Array(rows.length + 1);
    let end = 0;
    for (let row = 0; row < rows.length; row++) {
      let value = rows[row][index];
      if (typeof value !== "string") {
        nulls.push(none(row, value));
        value = "";
      }
      texts[row] = value;
      offsets[row + 1] = end += value.length;
    }
    const all = texts.join("");
    const data = encoder.encode(all);
    if (data.length === end) return { tag: "utf8", val: { offsets, data } };
    if (!all.isWellFormed()) throw new Error("half of a surrogate pair");
    return { tag: "utf8", val: varBytes(texts.map((text) => encoder.encode(text))) };
  },
  binary(rows, index, nulls) {
    const values = rows.map((row, at) => {
      if (row[index] instanceof Uint8Array) return row[index];
      nulls.push(none(at, row[index]));
      return new Uint8Array();
    });
    return { tag: "binary", val: varBytes(values) };
  },
};

function none(row, value) {
  if (value !== null && value !== undefined) throw new Error("no value of the type");
  return row;
}

function integers(rows, index, nulls) {
  const val = new BigInt64Array(rows.length);
  const halves = new Int32Array(val.buffer);
  for (let row = 0; row < rows.length; row++) {
    const value = rows[row][index];
    if (typeof value === "number" && value % 1 === 0 && value <= MAX_SAFE && value >= -MAX_SAFE) {
      // Both halves at once would be a BigInt, which costs an allocation.
      const low = value >>> 0;
      halves[2 * row] = low;
      halves[2 * row + 1] = (value - low) / 4294967296;
    } else if (isInt64(value)) val[row] = value;
    else if (isTime(value)) val[row] = BigInt(value.getTime()) * 1000n;
    else nulls.push(none(row, value));
  }
  return val;
}

/** The column at an index of all rows, and what is inside of it, depth first. */
function written({ type, nullable }, rows, index) {
  const nulls = [];
  const [values, inside] = type.array || type.struct ? nested(type, rows, index, nulls) : [WRITE[type](rows, index, nulls), []];
  if (nulls.length === 0) return [{ validity: undefined, values }, ...inside];
  if (!nullable) throw new Error("a null");
  const validity = new Uint8Array((rows.length + 7) >> 3).fill(0xff);
  for (const row of nulls) validity[row >> 3] &= ~(1 << (row & 7));
  return [{ validity, values }, ...inside];
}

function nested(type, rows, index, nulls) {
  const values = rows.map((row, at) => {
    if (isNone(row[index])) nulls.push(at);
    else if (!fits(type, row[index])) throw new Error("no value of the type");
    return row[index] ?? empty(type);
  });
  if (type.array) {
    const items = written({ type: type.array, nullable: true }, values.flat().map((item) => [item]), 0);
    return [{ tag: "list", val: offsetsOf(values) }, items];
  }
  const fields = type.struct.map((field) => written(field, values.map((value) => [value[field.name]]), 0));
  return [{ tag: "struct" }, fields.flat()];
}

const EMPTY = { boolean: false, bigint: 0, double: 0, string: "", binary: new Uint8Array(), timestamp: 0 };

/** What stands behind a null. */
function empty(type) {
  if (type.array) return [];
  if (!type.struct) return EMPTY[type];
  return Object.fromEntries(type.struct.map((field) => [field.name, field.nullable ? null : empty(field.type)]));
}

/** Rows, each an array of values, as columns. Throws those that do not fit. */
function batchOf(spelled, rows) {
  try {
    if (rows.some((row) => row.length !== spelled.length)) throw new Error("too few values, or too many");
    return { rows: rows.length, columns: spelled.flatMap((column, index) => written(column, rows, index)) };
  } catch (error) {
    const reasons = new Map();
    rows.forEach((row, index) => {
      const reason = misfit(spelled, row);
      if (reason !== undefined) reasons.set(index, reason);
    });
    if (reasons.size === 0) throw error;
    throw new Misfits(reasons);
  }
}

function offsetsOf(values) {
  const offsets = new Int32Array(values.length + 1);
  let end = 0;
  for (let index = 0; index < values.length; index++) offsets[index + 1] = end += values[index].length;
  return offsets;
}

function varBytes(values) {
  const offsets = offsetsOf(values);
  const data = new Uint8Array(offsets[values.length]);
  values.forEach((value, index) => data.set(value, offsets[index]));
  return { offsets, data };
}

// What plugins are given -----------------------------------------------------

/** The rows and rejections of a chunk. */
class Rows {
  constructor(fields) {
    this._rows = [];
    this._origins = [];
    this._rejected = [];
    this._fields = fields;
    this._input = 0;
  }

  /** Append a row: a value for each column, in order. */
  push(...values) {
    this._rows.push(values);
    this._origins.push(this._input);
  }

  /** Reject a part of the message, an element of it or its bytes from start to end;
   * the rows that were pushed stay. */
  reject(reason, { element, start, end } = {}) {
    const index = isNone(element) ? undefined : Number(unsigned("element", element));
    const hasSpan = !isNone(start) || !isNone(end);
    const span = hasSpan ? { start: Number(unsigned("start", start)), end: Number(unsigned("end", end)) } : undefined;
    this._rejected.push({ input: this._input, element: index, span, reason: described(reason) });
  }

  /** A field of the message, which `messageFields` names. */
  field(name) {
    return this._fields[name][this._input];
  }
}

/** Throw for a result that was meant to be read or to be run, which nobody does. */
function unread(method, result) {
  // Generators have a next, promises a then; other results are those of short functions.
  if (!Array.isArray(result) && typeof result?.next !== "function" && typeof result?.then !== "function") return;
  const instead = { parse: "push rows", apply: "push rows", judge: "push alerts" }[method] ?? "change the state in place";
  throw new TypeError(
    `\`${method}\` returned a value of type ${kindOf(result)}, which is lost: ${instead}, and make it neither async nor a generator`,
  );
}

/** Work on each input: one that throws is rejected, and its rows are forgotten. */
function collect(inputs, spelled, fields, method, work) {
  const rows = new Rows(fields);
  for (let input = 0; input < inputs; input++) {
    rows._input = input;
    const [pushed, rejected] = [rows._rows.length, rows._rejected.length];
    try {
      const result = work(rows, input);
      if (result !== undefined) unread(method, result);
    } catch (error) {
      rows._rows.length = rows._origins.length = pushed;
      rows._rejected.length = rejected;
      rows.reject(error);
    }
  }
  try {
    return collected(spelled, rows._rows, rows._origins, rows._rejected);
  } catch (error) {
    if (!(error instanceof Misfits)) throw error;
    // An input goes as a whole, as if it had thrown the reason itself.
    const reasons = new Map();
    for (const [row, reason] of error.reasons) {
      if (!reasons.has(rows._origins[row])) reasons.set(rows._origins[row], reason);
    }
    const kept = rows._rows.filter((_, row) => !reasons.has(rows._origins[row]));
    const origins = rows._origins.filter((origin) => !reasons.has(origin));
    const rejected = rows._rejected.filter(({ input }) => !reasons.has(input));
    for (const [input, reason] of reasons) rejected.push({ input, element: undefined, span: undefined, reason });
    return collected(spelled, kept, origins, rejected.sort((a, b) => a.input - b.input));
  }
}

function collected(spelled, rows, origins, rejected) {
  return { rows: batchOf(spelled, rows), origins: new Uint32Array(origins), rejected };
}

/** A message: its bytes, and its text, which must be UTF-8. */
class Message {
  #payload;
  #index;

  constructor(payload, index) {
    this.#payload = payload;
    this.#index = index;
  }

  bytes() {
    return this.#payload.bytes(this.#index);
  }

  text() {
    return this.#payload.text(this.#index);
  }
}

/** The alerts of a chunk. */
class Alerts {
  row = 0;
  #rows = [];
  #texts = [[], [], []];

  /** Append an alert of the row that is judged. */
  push(kind, severity, message) {
    [kind, severity, message].forEach((text, index) => this.#texts[index].push(encoder.encode(String(text))));
    this.#rows.push(this.row);
  }

  _finish() {
    const [kind, severity, message] = this.#texts.map(varBytes);
    return { rows: new Uint32Array(this.#rows), kind, severity, message };
  }
}

/** The states of groups by slot; an empty group has none. */
class Groups {
  #definition;
  #states = new Map();

  constructor(definition) {
    this.#definition = definition;
  }

  get(slot) {
    let state = this.#states.get(slot);
    if (state === undefined) this.#states.set(slot, (state = this.#definition.newState()));
    return state;
  }

  peek(slot) {
    return this.#states.get(slot) ?? this.#definition.newState();
  }

  release(slots) {
    for (const slot of slots) this.#states.delete(slot);
  }

  snapshot(slots) {
    return varBytes(Array.from(slots, (slot) => encoded(this.#definition, this.peek(slot))));
  }

  restore(slots, states, version) {
    const bytes = new VarBytes(states);
    slots.forEach((slot, index) => {
      const { decode } = this.#definition;
      const state = decode ? decode.call(this.#definition, bytes.bytes(index), version) : JSON.parse(bytes.text(index));
      this.#states.set(slot, state);
    });
  }
}

/** A state as bytes: JSON, unless the plugin has its own form. */
function encoded(definition, state) {
  return definition.encode ? definition.encode(state) : encoder.encode(JSON.stringify(state));
}

/** What aggregators and rules that remember export, whatever else they do. */
function keeping(groups) {
  return {
    release: trapping((slots) => groups().release(slots)),
    snapshot: failing((slots) => groups().snapshot(slots)),
    restore: failing((slots, states, version) => groups().restore(slots, states, version)),
  };
}

function versions({ stateVersion = 1, restorable = [stateVersion] }) {
  const version = Number(unsigned("stateVersion", stateVersion));
  const others = restorable.map((other) => Number(unsigned("restorable", other)));
  return { stateVersion: version, restorable: new Uint32Array(others) };
}

function pluginOf({ name, version, description, configSchema = {} }) {
  const schema = typeof configSchema === "string" ? configSchema : JSON.stringify(configSchema);
  return { describe: () => ({ name, version, description, configSchema: schema }) };
}

/** Hand the configuration to the plugin; throws the problems that it found. */
function configured(definition, config, input) {
  const problems = definition.configure?.(JSON.parse(config), input) ?? [];
  if (!Array.isArray(problems) || !problems.every((problem) => problem instanceof Problem)) {
    throw new TypeError(`\`configure\` returned ${told(problems)}: nothing, or an array of Problem is expected`);
  }
  if (problems.length > 0) throw refused(problems);
}

// Roles ----------------------------------------------------------------------

/**
 * A parser that looks at one message at a time.
 *
 * `output` names the columns of the rows and `messageFields` what `rows.field` can be
 * asked for. `configure(config)` takes the configuration, may set `this.output`, and
 * throws or returns problems. `parse(message, rows)` pushes the rows of a message.
 */
export function messageParser(definition) {
  let output, messageFields;
  const parser = {
    configure: refusing((config) => {
      configured(definition, config);
      output = columnsOf(definition, "output");
      messageFields = namesOf("messageFields", definition.messageFields ?? []);
      return { output: schemaOf(output), messageFields };
    }),
    parse: failing(({ payload, fields }) => {
      const bytes = new VarBytes(payload);
      const named = Object.fromEntries(messageFields.map((name, index) => [name, read(fields.columns[index], fields.rows)]));
      const parse = (rows, input) => definition.parse(new Message(bytes, input), rows);
      return collect(bytes.length, output, named, "parse", parse);
    }),
  };
  return { plugin: pluginOf(definition), parser };
}

/**
 * A transform that looks at one row at a time.
 *
 * `input` names the columns that `apply(rows, ...values)` is given, `output` those of
 * the rows that it pushes: none, one or several for a row. `carried` are the columns
 * that come through as they are, their names or "*" for all others.
 * `configure(config, input)` may set `this.input` and `this.output`.
 */
export function rowTransform(definition) {
  let needed, output;
  const transform = {
    configure: refusing((config, schema) => {
      const there = inputColumns(schema);
      configured(definition, config, there);
      needed = neededOf(columnsOf(definition, "input"), there);
      output = columnsOf(definition, "output");
      const made = new Set(output.map((column) => column.name));
      const others = () => there.map((column) => column.name).filter((name) => !made.has(name));
      const { carried = "*" } = definition;
      const names = carried === "*" ? others() : namesOf("carried", carried);
      return { columns: needed.names, output: schemaOf(output), carried: names };
    }),
    apply: failing((batch) => {
      const given = readAll(batch, needed.readers);
      const apply = (rows, row) => definition.apply(rows, ...given.map((values) => values[row]));
      return collect(batch.rows, output, {}, "apply", apply);
    }),
  };
  return { plugin: pluginOf(definition), transform };
}

/**
 * An aggregator, for windows: folds rows into a state for each group.
 *
 * `newState()` is the state of a group that has seen no row; `update(state, ...values)`
 * and `merge(state, other)` change a state in place; `evaluate(state)` gives the row of
 * a group as an array, and changes nothing. States are kept as JSON unless there are
 * `encode(state)` and `decode(bytes, version)`; `stateVersion` changes with their form.
 */
export function groupAggregator(definition) {
  let needed, output, groups;
  const aggregator = {
    configure: refusing((config, schema) => {
      const there = inputColumns(schema);
      configured(definition, config, there);
      needed = neededOf(columnsOf(definition, "input"), there);
      output = columnsOf(definition, "output");
      groups = new Groups(definition);
      return { columns: needed.names, output: schemaOf(output), ...versions(definition) };
    }),
    update: failing((slots, batch) => {
      eachRow(batch.rows, readAll(batch, needed.readers), [undefined], (row, values) => {
        values[0] = groups.get(slots[row]);
        const result = definition.update.apply(definition, values);
        if (result !== undefined && result !== values[0]) unread("update", result);
      });
    }),
    merge: failing((into, sources) => {
      into.forEach((slot, index) => {
        const state = groups.get(slot);
        const result = definition.merge(state, groups.peek(sources[index]));
        if (result !== undefined && result !== state) unread("merge", result);
      });
    }),
    evaluate: failing((slots) => {
      const rows = Array.from(slots, (slot) => definition.evaluate(groups.peek(slot)));
      for (const row of rows) {
        if (Array.isArray(row) && row.length === output.length) continue;
        throw new TypeError(`\`evaluate\` must return an array of ${output.length} values, not ${told(row)}`);
      }
      return batchOf(output, rows);
    }),
    ...keeping(() => groups),
  };
  return { plugin: pluginOf(definition), aggregator };
}

function ruleOf(definition, memory) {
  let needed, groups;
  const isKeyed = memory === "keyed";
  const rule = {
    configure: refusing((config, schema) => {
      const there = inputColumns(schema);
      configured(definition, config, there);
      needed = neededOf(columnsOf(definition, "input"), there);
      groups = isKeyed ? new Groups(definition) : undefined;
      return { columns: needed.names, memory, ...versions(definition) };
    }),
    evaluate: failing((slots, batch) => {
      const alerts = new Alerts();
      eachRow(batch.rows, readAll(batch, needed.readers), isKeyed ? [alerts, undefined] : [alerts], (row, values) => {
        alerts.row = row;
        if (isKeyed) values[1] = groups.get(slots[row]);
        const result = definition.judge.apply(definition, values);
        if (result !== undefined) unread("judge", result);
      });
      return alerts._finish();
    }),
    ...keeping(() => groups),
  };
  return { plugin: pluginOf(definition), rule };
}

/**
 * A rule that judges each row alone: `judge(alerts, ...values)` is given the columns
 * that `input` names, and calls `alerts.push(kind, severity, message)`.
 */
export function rowRule(definition) {
  return ruleOf(definition, "stateless");
}

/**
 * A rule that remembers, for each key: `judge(alerts, state, ...values)`, which also
 * changes the state in place. States are those of `groupAggregator`.
 */
export function keyedRule(definition) {
  return ruleOf(definition, "keyed");
}

// Instants -------------------------------------------------------------------

const RFC_3339 = /^((?!0000)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/;
const DAY_MS = 86_400_000;
/** So many milliseconds around 1970 are exact as a number of microseconds. */
const EXACT_MS = 9e12;

/** The instant that an RFC 3339 text such as `2025-10-05T18:40:10Z` names, in
 * microseconds since 1970: a number, and a BigInt where that would not be exact. Throws
 * for any other text. */
export function timestamp(text) {
  // The two usual forms are those that `Date` reads exactly.
  const { length } = text;
  if ((length === 20 || (length === 24 && text[19] === ".")) && text[10] === "T" && text[length - 1] === "Z") {
    const millis = Date.parse(text);
    if (millis < EXACT_MS && millis > -EXACT_MS) {
      // `Date` takes hour 24, which gives midnight, and days behind the end of a month.
      const tens = text.charCodeAt(8);
      const isSure = millis % DAY_MS !== 0 && (tens < 50 || (tens === 50 && text.charCodeAt(9) < 57));
      if (isSure || isDay(text, millis)) return millis * 1000;
    }
  }
  const [, seconds, fraction = "", offset] = RFC_3339.exec(text) ?? [];
  const millis = seconds === undefined ? NaN : Date.parse(seconds + offset);
  if (Number.isNaN(millis) || !isDay(seconds, Date.parse(`${seconds}Z`))) throw new Reject(`${JSON.stringify(text)} is no timestamp`);
  const micros = Number(fraction.slice(0, 6).padEnd(6, "0"));
  if (millis < EXACT_MS && millis > -EXACT_MS) return millis * 1000 + micros;
  return exact(BigInt(millis) * 1000n + BigInt(micros));
}

/** Whether the day is that of the text: `Date` may have taken it for the next. */
const isDay = (text, millis) => new Date(millis).getUTCDate() === Number(text.slice(8, 10));
