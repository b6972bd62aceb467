"use strict";

const POLL_MS = 1000;
const ANSWER_MS_MAX = 10000;
const RATES_KEPT = 60; // of each stream, one a poll: the last minute

// ------------------------------------------------------------------------------------------------------ text in, text out

/** A number that a double does not hold as it was written; it keeps its digits. */
class ExactNumber {
  constructor(digits) { this.digits = digits; }
  toString() { return this.digits; }
}

/** The members of an object that was parsed, as [name, value] in the order in which they were written. */
const MEMBERS = Symbol("members");

function parse(text) {
  // An object puts names like 10 before all others. With a sign before it no name is a number, and all stay in order.
  const named = text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"(?=(\s*:)?)/g, (string, colon) => colon ? `"=${string.slice(1)}` : string);
  return JSON.parse(named, (_, value, written) => {
    if (typeof value === "number") {
      return written?.source && String(value) !== written.source ? new ExactNumber(written.source) : value;
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
    const members = Object.entries(value).map(([name, member]) => [name.slice(1), member]);
    return Object.assign(Object.fromEntries(members), { [MEMBERS]: members });
  });
}

const whole = (number) => Number(number).toLocaleString("en-US");

function perSecond(rate) {
  if (rate === null) return "–";
  return rate < 10 && rate > 0 ? rate.toFixed(1) : whole(Math.round(rate));
}

/** `2026-01-31 12:00:00.5` of RFC 3339 text in UTC; without the zeros at its end. */
function instant(text) {
  if (text === null || text === undefined) return "–";
  return String(text).replace("T", " ").replace(/(\.\d*?)0*Z$/, "$1").replace(/[.Z]$/, "");
}

function duration(ms) {
  if (!Number.isFinite(ms)) return "–";
  const units = [["d", 86400000], ["h", 3600000], ["min", 60000], ["s", 1000]];
  const sign = ms < 0 ? "−" : "";
  const size = Math.abs(ms);
  if (size > 0 && size < 1000) return `${sign}${Math.round(size)} ms`;
  if (size < 10000) return `${sign}${Number((size / 1000).toFixed(1))} s`;
  const first = Math.max(0, units.findIndex(([, unit]) => size >= unit));
  const parts = units.slice(first, first + 2).map(([name, unit], place) =>
    `${Math.floor((place ? size % units[first][1] : size) / unit)} ${name}`);
  return sign + parts.join(" ");
}

/** Milliseconds from one RFC 3339 instant to a later one; NaN where one is unknown. */
const between = (earlier, later) => earlier && later ? Date.parse(later) - Date.parse(earlier) : NaN;

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${(count / 1024 ** power).toFixed(power && count / 1024 ** power < 100 ? 1 : 0)} ${units[power]}`;
}

/** A value of an answer, as it was written. */
function valueText(value) {
  if (value === null) return "NULL";
  if (Array.isArray(value)) return `[${value.map(elementText).join(", ")}]`;
  return typeof value === "object" && !(value instanceof ExactNumber) ? mapText(value) : String(value);
}

function mapText(map) {
  return `{${map[MEMBERS].map(([key, value]) => `${JSON.stringify(key)}: ${elementText(value)}`).join(", ")}}`;
}

function elementText(value) {
  return typeof value === "string" ? JSON.stringify(value) : valueText(value);
}

// ---------------------------------------------------------------------------------------------------------- the document

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children); // strings become text nodes
  return node;
}

/** Sets a text only if it is another one, so that a selection in it stays. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Puts the nodes in place of the parent's children, unless they look the same. */
function fill(parent, ...nodes) {
  const fresh = nodes.map((node) => typeof node === "string" ? document.createTextNode(node) : node);
  const isSame = fresh.length === parent.childNodes.length &&
    fresh.every((node, place) => node.isEqualNode(parent.childNodes[place]));
  if (!isSame) parent.replaceChildren(...fresh);
}

const pairs = (list) => list.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)]);

function smallTable(titles, rows) {
  const head = make("tr", {}, ...titles.map((title) => make("th", { scope: "col" }, title)));
  const body = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** Gives a table its head and an empty body. On a narrow screen its rows are laid out as cards, hence roles and titles. */
function cardBody(id, columns) {
  const heads = columns.map(({ title, look = "" }) => make("th", { scope: "col", role: "columnheader", class: look }, title));
  const body = make("tbody", { role: "rowgroup" });
  byId(id).append(make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)), body);
  return body;
}

/** A row of such a table: what its first cell holds, and the cells of the other columns. */
function card(columns, first) {
  const cells = columns.slice(1).map(({ title, look = "" }) => make("td", { role: "cell", class: look, "data-title": title }));
  const line = make("tr", { role: "row", class: "object" }, make("th", { scope: "row", role: "rowheader" }, first), ...cells);
  return { line, cells };
}

/**
 * A table of objects by name, each with a row of details that opens under it. Rows stay while their text changes: focus,
 * selection and open details live on.
 */
class ObjectTable {
  constructor(id, columns, details) {
    Object.assign(this, { id, columns, details, rows: new Map(), names: null });
    this.body = cardBody(id, columns);
  }

  update(objects) {
    const names = JSON.stringify(objects.map((object) => object.name));
    if (names !== this.names) {
      this.rows = new Map(objects.map((object, place) => [object.name, this.row(object, place)]));
      this.body.replaceChildren(...[...this.rows.values()].flatMap((row) => [row.line, row.detail]));
      this.names = names;
    }
    for (const object of objects) this.refresh(this.rows.get(object.name), object);
  }

  row(object, place) {
    const detailId = `${this.id}-detail-${place}`;
    const opener = { type: "button", class: "name", "aria-expanded": "false", "aria-controls": detailId };
    const name = make("button", opener, object.name);
    const { line, cells } = card(this.columns, name);
    const inside = make("td", { colspan: this.columns.length, role: "cell" });
    const row = { line, cells, inside, object, detail: make("tr", { id: detailId, role: "row", class: "detail" }, inside) };
    row.detail.hidden = true;
    name.addEventListener("click", () => this.toggle(row, name));
    return row;
  }

  toggle(row, name) {
    row.detail.hidden = !row.detail.hidden;
    name.setAttribute("aria-expanded", String(!row.detail.hidden));
    this.refresh(row, row.object);
  }

  refresh(row, object) {
    row.object = object;
    this.columns.slice(1).forEach((column, place) => {
      const shown = column.show(object);
      if (typeof shown === "string") say(row.cells[place], shown);
      else fill(row.cells[place], shown);
      if (column.isSome) row.cells[place].classList.toggle("some", column.isSome(object));
    });
    if (!row.detail.hidden) fill(row.inside, ...this.details(object));
  }
}

// ------------------------------------------------------------------------------------------------------------ the server

/** An answer that is an error; `kind`, `message` and `hint` are the server's own. */
class Refusal extends Error {
  constructor(status, { kind, message, hint }) {
    super(message);
    Object.assign(this, { status, kind, hint });
  }
}

/** No answer at all. */
class Gone extends Error {}

async function ask(path, body) {
  const began = performance.now();
  const request = { signal: AbortSignal.timeout(ANSWER_MS_MAX), cache: "no-store" };
  if (body !== undefined) Object.assign(request, { method: "POST", body, headers: { "content-type": "application/json" } });
  let response, text;
  try {
    response = await fetch(path, request);
    text = await response.text();
  } catch (error) {
    throw new Gone(error.message);
  }
  const ms = performance.now() - began;
  if (!response.ok) throw refusal(response, text);
  return { answer: parse(text), ms };
}

function refusal(response, text) {
  let error = null;
  try { error = JSON.parse(text).error; } catch { /* not of our server: a proxy's answer is shown as it is */ }
  return new Refusal(response.status, error ?? { kind: `HTTP ${response.status}`, message: text || response.statusText });
}

/** Says whether the server answers. */
const presence = {
  answered: null, // when it last did

  here() {
    this.answered = new Date();
    document.body.classList.remove("gone");
    fill(byId("gone"));
  },

  refused(error) {
    this.here();
    fill(byId("gone"), ...problem(error));
  },

  gone() {
    document.body.classList.add("gone");
    const last = this.answered ? `its last answer came at ${this.answered.toLocaleTimeString()}` : "it has not answered yet";
    fill(byId("gone"), make("p", {}, `The server does not answer; ${last}. Trying again each second.`));
  },
};

function problem(error) {
  const text = [make("p", {}, error.kind ? `${error.kind.replaceAll("_", " ")}: ${error.message}` : error.message)];
  if (error.hint) text.push(make("p", { class: "hint" }, `hint: ${error.hint}`));
  return text;
}

// --------------------------------------------------------------------------------------------- streams, views, services

/** Events per second of each stream, from the counts of one poll to the next. */
const rates = {
  last: new Map(),
  kept: new Map(),

  take(streams, at) {
    for (const { name, counts } of streams) {
      const last = this.last.get(name);
      const isLater = last && at > last.at && counts.in >= last.count; // fewer than before: another server
      const kept = isLater ? this.kept.get(name) : [];
      if (isLater) kept.push((counts.in - last.count) * 1000 / (at - last.at));
      this.kept.set(name, kept.slice(-RATES_KEPT));
      this.last.set(name, { at, count: counts.in });
    }
  },

  now(name) { return this.kept.get(name)?.at(-1) ?? null; },

  line(name) {
    const kept = this.kept.get(name) ?? [];
    const most = Math.max(...kept, 1e-9);
    const points = kept.map((rate, place) => `${place + RATES_KEPT - kept.length},${(15 - 14 * rate / most).toFixed(1)}`);
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute("points", points.join(" "));
    svg.setAttribute("viewBox", `0 0 ${RATES_KEPT} 16`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    svg.append(line);
    return svg;
  },
};

let job = null; // the last answer of /v1/objects
const objectsOf = (kind) => job.objects.filter((object) => object.kind === kind);
const rejectedOf = (stream) => Object.values(stream.counts.rejected).reduce((sum, count) => sum + count, 0);

function phaseOf({ replay }) {
  if (job.phase !== "reading" || !replay?.bytes) return job.phase;
  return `reading ${Math.floor(100 * replay.bytes_read / replay.bytes)} %`;
}

const streamTable = new ObjectTable("streams", [
  { title: "Stream" },
  { title: "Phase", show: phaseOf },
  { title: "Used", look: "number", show: (stream) => whole(stream.counts.used) },
  { title: "In", look: "number", show: (stream) => whole(stream.counts.in) },
  { title: "Events/s", look: "number", show: (stream) => perSecond(rates.now(stream.name)) },
  { title: "Last minute", look: "number rates", show: (stream) => rates.line(stream.name) },
  { title: "Newest event", look: "time wide", show: (stream) => instant(stream.newest_event) },
  { title: "Watermark", look: "time wide", show: (stream) => instant(stream.watermark) },
  { title: "Freshness", look: "number", show: (stream) => duration(between(stream.newest_event, job.now)) },
  { title: "Late", look: "number", show: (stream) => whole(stream.counts.late), isSome: (stream) => stream.counts.late > 0 },
  { title: "Duplicate", look: "number", show: (stream) => whole(stream.counts.duplicate),
    isSome: (stream) => stream.counts.duplicate > 0 },
  { title: "Rejected", look: "number", show: (stream) => whole(rejectedOf(stream)), isSome: (stream) => rejectedOf(stream) > 0 },
], streamDetails);

function streamDetails(stream) {
  const { source, replay } = stream;
  const facts = [
    ["Source", source ? Object.entries(source).map(([name, value]) => `${name} ${value}`).join(", ") : "–"],
    ["Order", `${stream.time_column}, allowed lateness ${duration(stream.lateness_ms)}`],
    ["Primary key", stream.primary_key.join(", ") || "none"],
    ["Position", stream.position.map(whole).join(", ")],
    ["Arrival lag", stream.arrival_lag_ms === null ? "not told by the source" : duration(Number(stream.arrival_lag_ms))],
    ["Rejected", Object.entries(stream.counts.rejected).map(([reason, count]) => `${reason} ${whole(count)}`).join(", ")],
  ];
  if (stream.held) {
    const { keys, versions, bytes: size } = stream.held;
    facts.push(["Table", `${whole(keys)} keys, ${whole(versions)} versions held for joins, ${bytes(size)}`]);
  }
  if (replay) {
    facts.push(["Replay", `${whole(replay.rows)} rows; ${bytes(replay.bytes_read)} of ${bytes(replay.bytes)} read`]);
  }
  const nodes = [make("dl", {}, ...pairs(facts))];
  if (stream.reasons.length > 0) {
    nodes.push(smallTable(["Reason", "Events", "First at offset", "What was wrong with it"],
      stream.reasons.map(({ name, count, offset, detail }) => [name, whole(count), whole(offset), detail])));
  }
  return nodes;
}

const derivedTable = new ObjectTable("derived", [
  { title: "Derived stream" },
  { title: "Reads", show: (stream) => stream.reads.join(", ") },
  { title: "Rows", look: "number", show: (stream) => whole(stream.counts.rows) },
  { title: "Watermark", look: "time wide", show: (stream) => instant(stream.watermark) },
  { title: "Set aside", look: "number", show: (stream) => whole(stream.counts.set_aside),
    isSome: (stream) => stream.counts.set_aside > 0 },
], derivedDetails);

function derivedDetails(stream) {
  const positions = Object.entries(stream.positions).map(([source, offsets]) => `${source} ${offsets.map(whole).join(", ")}`);
  const facts = [["Order", stream.time_column], ["Primary key", stream.primary_key.join(", ") || "none"],
    ["Position", positions.join("; ")]];
  return [
    make("dl", {}, ...pairs([...facts, ...windowFacts(stream.windows)])),
    smallTable(["Column", "Type"], stream.columns.map(({ name, type }) => [name, type])),
  ];
}

function windowFacts(windows) {
  if (!windows) return [];
  return [
    ["Windows", `${windows.shape} by ${windows.key.join(", ") || "all"}`],
    ["Open", `${whole(windows.open_entities)} entities, ${whole(windows.open_events)} events, ${bytes(windows.open_bytes)}`],
    ["Closed", `newest ${instant(windows.newest_row)}, ${whole(windows.rows_set_aside)} set aside`],
    ["Too late", `${whole(windows.too_late)} events`],
  ];
}

function featureDetails(object) {
  const columns = (list) => list.map(({ name, type }) => `${name} ${type}`).join(", ");
  const [title, asked] = object.key ? ["Entity key", object.key] : ["Request", object.request];
  return [
    make("dl", {}, ...pairs([["Reads", object.reads.join(", ")], [title, columns(asked)]])),
    smallTable(["Feature", "Type", "SQL"], object.features.map(({ name, type, sql }) => [name, type, sql ?? ""])),
  ];
}

function lookUpButton(object) {
  const button = make("button", { type: "button", class: "plain", "aria-label": `Look up in ${object.name}` }, "Look up");
  button.addEventListener("click", () => lookup.open(lookup.find(object.kind, object.name)));
  return button;
}

const lookUpColumn = { title: "", look: "number wide", show: lookUpButton };

const viewTable = new ObjectTable("views", [
  { title: "View" },
  { title: "Entities", look: "number", show: (view) => whole(view.entities) },
  { title: "Events held", look: "number", show: (view) => whole(view.events_held) },
  { title: "State", look: "number", show: (view) => bytes(view.state_bytes) },
  { title: "Set aside", look: "number", show: (view) => whole(view.set_aside), isSome: (view) => view.set_aside > 0 },
  lookUpColumn,
], featureDetails);

const serviceTable = new ObjectTable("services", [
  { title: "Service" },
  { title: "Features", look: "number", show: (service) => whole(service.features.length) },
  { title: "Request columns", look: "number", show: (service) => whole(service.request.length) },
  { title: "Views read", look: "number", show: (service) => whole(service.reads.length) },
  lookUpColumn,
], featureDetails);

function showJob(answer) {
  job = answer;
  const isDerived = (stream) => stream.source.connector === "derived";
  const streams = [...objectsOf("stream").filter((stream) => !isDerived(stream)), ...objectsOf("table")];
  const derived = objectsOf("stream").filter(isDerived);
  rates.take(streams, performance.now());
  say(byId("phase"), job.ready ? job.phase : `${job.phase}, not ready`);
  byId("phase").className = `badge ${job.ready ? "good" : "warn"}`;
  say(byId("clock"), `${job.clock} clock: ${job.now ? `${instant(job.now)} UTC` : "no event yet"}`);
  streamTable.update(streams);
  derivedTable.update(derived);
  byId("derived").hidden = derived.length === 0;
  viewTable.update(objectsOf("feature view"));
  serviceTable.update(objectsOf("feature service"));
  lookup.offer([...objectsOf("feature service"), ...objectsOf("feature view")]);
}

// ------------------------------------------------------------------------------------------------------------ the lookup

const isNumeric = (type) => /^(SMALLINT|INTEGER|BIGINT|REAL|DOUBLE)/.test(type);
const isText = (type) => type === "VARCHAR";
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** The JSON of a typed text. What does not read as its type goes as text: the server says what is wrong with it. */
function encoded(text, type) {
  if (text === null) return "null";
  const bare = text.trim();
  const isBare = (isNumeric(type) && NUMBER.test(bare)) || (type === "BOOLEAN" && /^(true|false)$/.test(bare)) ||
    (type === "TIMESTAMP" && /^-?\d+$/.test(bare));
  return isBare ? bare : JSON.stringify(isText(type) ? text : bare);
}

const callPath = (kind, name) =>
  `/v1/${kind === "feature view" ? "views" : "services"}/${encodeURIComponent(name)}/features`;

function encodedInstant(text) {
  return /^-?\d+$/.test(text) ? text : JSON.stringify(text);
}

/** The pairs after `#`, in their order. A `+` is a plus. */
function readPairs(hash) {
  const decode = (text) => { try { return decodeURIComponent(text); } catch { return text; } };
  return hash.replace(/^#/, "").split("&").filter(Boolean).map((pair) => {
    const [name, ...value] = pair.split("=");
    return [decode(name), decode(value.join("="))];
  });
}

const writePairs = (list) => `#${list.map((pair) => pair.map(encodeURIComponent).join("=")).join("&")}`;

const lookup = {
  offered: [], //      services, then views
  signature: null, //  of what is offered, to see that it changed
  target: null, //     the chosen one
  fields: [], //       of its request columns: {column, input, isNull}
  waitsForExample: false, // until the first event
  asked: null, //      {path, body, title, target}: what "live" repeats
  number: 0, //        of the last call: an answer to an earlier one comes too late
  shown: null, //      {asked, cells}: what the table of values shows

  /** Takes what the server offers, at each poll. */
  offer(objects) {
    this.offered = objects;
    const signature = JSON.stringify(objects.map(({ kind, name, key, request, features }) =>
      [kind, name, key ?? request, features]));
    if (signature !== this.signature) { // at first, and when the server came back with another project
      this.signature = signature;
      this.list();
      this.follow();
    }
    if (this.waitsForExample) this.useExample();
  },

  find(kind, name) { return this.offered.find((object) => object.kind === kind && object.name === name); },

  list() {
    const group = (label, kind) => make("optgroup", { label }, ...this.offered.flatMap((object, place) =>
      object.kind === kind ? [make("option", { value: place }, object.name)] : []));
    byId("target").replaceChildren(group("Services", "feature service"), group("Views", "feature view"));
  },

  place(target) {
    return this.offered.findIndex((object) => object.kind === target.kind && object.name === target.name);
  },

  /** Opens what the link says, else the first object with an entity of its own. */
  follow() {
    const [first, ...rest] = readPairs(location.hash);
    const kind = { service: "feature service", view: "feature view" }[first?.[0]];
    const linked = kind && this.find(kind, first[1]);
    if (linked) this.openLink(linked, rest);
    else if (this.offered.length > 0) this.open(this.offered[0], kind === undefined);
    if (kind && !linked) this.refuseLink(kind, first[1]);
  },

  /** The server itself says what is wrong with the name. */
  refuseLink(kind, name) {
    this.waitsForExample = false;
    this.asked = { path: callPath(kind, name), body: '{"rows":[]}', title: name };
    this.call();
  },

  openLink(object, values) {
    this.choose(object);
    this.waitsForExample = false;
    const left = [...values];
    const columns = this.fields.map(({ column }) => column.name);
    // Of a request column called `as_of` itself, the last value is the column's.
    const instants = left.filter(([name]) => name === "as_of").length - (columns.includes("as_of") ? 1 : 0);
    byId("as-of").value = instants > 0 ? left.splice(left.findIndex(([name]) => name === "as_of"), 1)[0][1] : "";
    const given = new Map(left);
    for (const field of this.fields) this.set(field, given.get(field.column.name) ?? null);
    const stray = left.find(([name]) => !columns.includes(name));
    if (stray) {
      this.asked = null;
      this.refuse({
        message: `the link gives \`${stray[0]}\`, which \`${object.name}\` does not ask for`,
        hint: `it asks for ${columns.map((name) => `\`${name}\``).join(", ")}`,
      });
    } else this.submit(false);
  },

  /** Opens an object with an example of its own. */
  open(object, isAsked = true) {
    this.choose(object);
    byId("as-of").value = "";
    this.waitsForExample = isAsked;
    if (!isAsked) return;
    history.replaceState(null, "", location.pathname); // the link was of another lookup
    this.useExample();
  },

  choose(object) {
    this.target = object;
    this.asked = null;
    this.number += 1; // an answer still on its way is about another object
    byId("command").hidden = true;
    byId("target").value = this.place(object);
    this.fields = (object.request ?? object.key).map((column, place) => this.field(column, place));
    byId("columns").replaceChildren(...this.fields.map(({ box }) => box));
    this.hide();
    fill(byId("problem"));
  },

  hide() {
    byId("answered").hidden = true;
    byId("unanswered").hidden = false;
  },

  field(column, place) {
    const id = `column-${place}`;
    const label = make("label", { for: id }, column.name, " ", make("span", { class: "type" }, column.type));
    const input = make("input", { type: "text", id, spellcheck: "false", autocapitalize: "off" });
    const isNull = make("input", { type: "checkbox", "aria-label": `${column.name} is NULL` });
    const box = make("div", { class: "field" },
      make("div", { class: "above" }, label, make("label", { class: "null" }, isNull, "NULL")), input);
    const field = { column, input, isNull, box };
    input.addEventListener("input", () => {
      this.waitsForExample = false;
      this.setNull(field, input.value === "" && !isText(column.type));
    });
    isNull.addEventListener("change", () => {
      this.waitsForExample = false;
      this.set(field, isNull.checked ? null : "");
    });
    this.set(field, null);
    return field;
  },

  set(field, text) {
    field.input.value = text ?? "";
    this.setNull(field, text === null);
  },

  setNull(field, isNull) {
    field.isNull.checked = isNull;
    field.input.placeholder = isNull ? "NULL" : "";
  },

  /** Fills in an entity that an event was lately taken in for, once there is one. */
  useExample() {
    const object = this.find(this.target.kind, this.target.name);
    const example = object?.example_request ?? object?.example_key;
    const values = this.fields.map(({ column }) => example?.[column.name] ?? null);
    if (values.every((value) => value === null)) return;
    this.fields.forEach((field, place) => this.set(field, values[place] === null ? null : String(values[place])));
    this.waitsForExample = false;
    this.submit(false);
  },

  values() {
    return this.fields.map(({ column, input, isNull }) => ({ ...column, text: isNull.checked ? null : input.value }));
  },

  /** Asks what the form says, and makes it the page's link if a person pressed the button. */
  submit(isLinked = true) {
    const { kind, name } = this.target;
    const values = this.values();
    const asOf = byId("as-of").value.trim();
    const isView = kind === "feature view";
    const row = values.map((value) => `${JSON.stringify(value.name)}:${encoded(value.text, value.type)}`).join(",");
    this.asked = {
      path: callPath(kind, name),
      body: `{"rows":[{${row}}]${asOf ? `,"as_of":${encodedInstant(asOf)}` : ""}}`,
      title: `${name}  ${values.map((value) => `${value.name}=${value.text ?? "NULL"}`).join("  ")}`,
      target: this.target,
    };
    if (isLinked) {
      const given = values.filter((value) => value.text !== null).map((value) => [value.name, value.text]);
      const instantPair = asOf || values.some((value) => value.name === "as_of") ? [["as_of", asOf]] : [];
      history.replaceState(null, "", writePairs([[isView ? "view" : "service", name], ...instantPair, ...given]));
    }
    return this.call();
  },

  async call() {
    const asked = this.asked;
    const number = ++this.number;
    say(byId("curl"), `curl -s ${quoted(location.origin + asked.path)} -d ${quoted(asked.body)}`);
    byId("command").hidden = false;
    try {
      const { answer, ms } = await ask(asked.path, asked.body);
      if (number === this.number) this.show(asked, answer, ms);
    } catch (error) {
      if (number === this.number) this.refuse(error);
    }
  },

  /** Asks again while live. A request that is wrong in itself waits for the next press of the button. */
  async refresh() {
    if (!this.asked || !byId("live").checked || this.asked.isWrong) return;
    await this.call();
  },

  refuse(error) {
    if (error instanceof Gone) {
      byId("answered").classList.add("old");
      return;
    }
    if (this.asked) this.asked.isWrong = error.status === 400 || error.status === 404;
    this.hide();
    fill(byId("problem"), ...problem(error));
  },

  show(asked, answer, ms) {
    fill(byId("problem"));
    byId("unanswered").hidden = true;
    byId("answered").hidden = false;
    byId("answered").classList.remove("old");
    say(byId("title"), asked.title);
    fill(byId("facts"), "as of ", make("b", { id: "answered-as-of" }, `${instant(answer.as_of)} UTC`),
      make("span", { class: "quiet" }, `, answered in ${ms.toFixed(1)} ms there and back`));
    fill(byId("known"), ...Object.entries(answer.known).map(knownChip));
    fill(freshnessBody, ...Object.entries(answer.streams).map(([name, stream]) =>
      freshnessRow(name, answer.position[name], stream, answer.as_of)));
    this.showValues(asked, answer.columns, answer.rows[0] ?? []);
  },

  showValues(asked, columns, values) {
    const isSame = this.shown?.asked === asked && JSON.stringify(this.shown.columns) === JSON.stringify(columns);
    if (!isSame) this.shown = { asked, columns, cells: columns.map(() => make("td", { class: "value" })) };
    const { cells } = this.shown;
    values.forEach((value, place) => showValue(cells[place], value, isSame));
    if (isSame) return;
    const types = new Map(asked.target?.features.map(({ name, type }) => [name, type]));
    byId("values").replaceChildren(...columns.map((name, place) => make("tr", {},
      make("th", { scope: "row" }, name), cells[place], make("td", { class: "type" }, types.get(name) ?? ""))));
  },
};

function showValue(cell, value, flashes) {
  const text = valueText(value);
  const isChanged = cell.textContent !== text || cell.classList.contains("null") !== (value === null);
  if (!isChanged) return;
  cell.classList.remove("changed");
  cell.classList.toggle("null", value === null);
  say(cell, text);
  if (!flashes) return;
  void cell.offsetWidth; // lets the animation begin anew
  cell.classList.add("changed");
}

function knownChip([view, known]) {
  const [look, word, why] = known[0]
    ? ["good", "known", "some frame of the view holds an event as of then"]
    : ["warn", "unknown", "no frame of the view holds an event as of then"];
  return make("span", { class: `badge ${look}`, title: why }, `${view}: ${word}`);
}

const FRESHNESS = [
  { title: "Stream" }, { title: "Position", look: "number" }, { title: "Newest event", look: "wide" },
  { title: "Watermark", look: "wide" }, { title: "Freshness", look: "number" },
];
const freshnessBody = cardBody("freshness", FRESHNESS);

/** Freshness is as-of minus the newest event used; as of the past that event was another one, which is not told. */
function freshnessRow(name, position, { newest_event, watermark }, asOf) {
  const age = between(newest_event, asOf);
  const freshness = age < 0 ? "as of the past" : duration(age);
  const texts = [position.map(whole).join(", "), instant(newest_event), instant(watermark), freshness];
  const { line, cells } = card(FRESHNESS, name);
  texts.forEach((text, place) => say(cells[place], text));
  return line;
}

/** For a POSIX shell. */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

async function copyCommand() {
  const text = byId("curl").textContent;
  try {
    await navigator.clipboard.writeText(text);
    say(byId("copy"), "Copied");
  } catch { // no clipboard without TLS or leave: the text stands marked, ready for the keyboard
    getSelection().selectAllChildren(byId("curl"));
    say(byId("copy"), "Press Ctrl+C");
  }
  setTimeout(() => say(byId("copy"), "Copy"), 2000);
}

// ----------------------------------------------------------------------------------------------------------- every second

async function pollJob() {
  try {
    const { answer } = await ask("/v1/objects");
    presence.here();
    showJob(answer);
  } catch (error) {
    if (error instanceof Gone) presence.gone();
    else if (error instanceof Refusal) presence.refused(error);
    else throw error;
  }
}

/** Runs a task now and then a second after its end, again and again; not while nobody looks. */
function eachSecond(task) {
  const again = () => {
    const round = document.hidden ? Promise.resolve() : task();
    round.finally(() => setTimeout(again, POLL_MS));
  };
  again();
}

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  lookup.waitsForExample = false;
  if (lookup.target) lookup.submit();
});
byId("target").addEventListener("change", (event) => lookup.open(lookup.offered[Number(event.target.value)]));
byId("example").addEventListener("click", () => {
  if (lookup.target) lookup.open(lookup.find(lookup.target.kind, lookup.target.name));
});
byId("copy").addEventListener("click", copyCommand);
window.addEventListener("hashchange", () => { if (job) lookup.follow(); });
eachSecond(pollJob);
eachSecond(() => lookup.refresh());
